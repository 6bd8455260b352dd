/* suite/eval/transfer.h - dictionaries of activations rebuilt at the origins of other dictionaries'
 * atoms (similarity.md).
 */
#ifndef SAE_EVAL_TRANSFER_H
#define SAE_EVAL_TRANSFER_H

#include "train/sae_file.h"

typedef struct sae_origins { /* where a dictionary's atoms were taken */
    sae_token *at;
    int64_t count;
    int64_t seen; /* training rows that they are a choice of, 0: unknown */
} sae_origins;

typedef struct sae_transfer { /* all borrowed */
    sae_stream *stream; /* without normalisation; TRAIN is searched for origins, EVAL measured */
    const sae_engine *e;
    const sae_registry *reg;
    const sae_loaded *sae;      /* atoms are rows of its tensor W_dec */
    const sae_origins *origins; /* [count] of the dictionaries to rebuild */
    int64_t count;
    int64_t rows; /* evaluation rows */
} sae_transfer;

/* error[0]: mean of 1 - cos(x, xhat) of the SAE; error[1 + j]: with the rows at origins[j] for
 * atoms. SAE_EINVAL names an origin that is not found. */
int sae_transfer_measure(const sae_transfer *t, double *error, sae_err *err);

#endif
