/* suite/train/shares.h - a batch of a stream, divided between the devices of a team. */
#ifndef SAE_TRAIN_SHARES_H
#define SAE_TRAIN_SHARES_H

#include "train/stream.h"
#include "train/team.h"

typedef struct sae_shares {
    sae_team *team;
    const sae_stream *s;
    int64_t B;                      /* rows of a share */
    sae_batch of[SAE_MAX_DEVICES];  /* what each device computes on */
    sae_real *x[SAE_MAX_DEVICES], *y[SAE_MAX_DEVICES], *g[SAE_MAX_DEVICES]; /* in the memory of all
                             but the first; NULL: not needed, or shared with the host */
} sae_shares;

/* For batches of B rows, which the devices divide; `need`: a union of SAE_NEED_*. */
int sae_shares_open(sae_shares *p, sae_team *team, const sae_stream *s, int64_t B, uint64_t need,
                   sae_err *err);
void sae_shares_close(sae_shares *p); /* also when all of it is 0 */
/* p->of = the last batch of the stream; the first device has its rows already. */
int sae_shares_load(sae_shares *p, sae_err *err);

#endif
