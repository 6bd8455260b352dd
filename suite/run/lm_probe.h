/* suite/run/lm_probe.h - linear probes of a corpus's labels on the activations of a language
 * model. */
#ifndef SAE_RUN_LM_PROBE_H
#define SAE_RUN_LM_PROBE_H

#include "eval/probe_linear.h"
#include "models/lm_corpus.h"

typedef struct sae_lm_probing {
    const sae_lm *lm;
    const sae_lm_corpus *corpus; /* its documents carry labels */
    const char *hook;
    int64_t docs, eval_docs; /* of TRAIN to fit on, of EVAL to test on */
    const sae_label *table;
    const int64_t *label; /* [count] which of the labels */
    int64_t count;
} sae_lm_probing;

/* One probe per label. Rows are the positions behind BOS: activations against the state after that
 * token. The same bits for any number of threads. */
int sae_lm_probe(const sae_lm_probing *s, sae_linprobe_result *out, sae_err *err);

#endif
