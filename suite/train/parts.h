/* suite/train/parts.h - a batch of a stream, divided between the devices of a team. */
#ifndef SAE_TRAIN_PARTS_H
#define SAE_TRAIN_PARTS_H

#include "train/stream.h"
#include "train/team.h"

typedef struct sae_parts {
    sae_team *team;
    const sae_stream *s;
    int64_t B;                      /* rows of a part */
    sae_batch of[SAE_MAX_DEVICES];  /* what each device computes on */
    sae_real *x[SAE_MAX_DEVICES], *y[SAE_MAX_DEVICES], *g[SAE_MAX_DEVICES]; /* in the memory of all
                             but the first; NULL: not needed, or shared with the host */
} sae_parts;

/* For batches of B rows, which the devices divide; `need`: a union of SAE_NEED_*. */
int sae_parts_open(sae_parts *p, sae_team *team, const sae_stream *s, int64_t B, uint64_t need,
                   sae_err *err);
void sae_parts_close(sae_parts *p); /* also when all of it is 0 */
/* p->of = the last batch of the stream; the first device has its rows already. */
int sae_parts_load(sae_parts *p, sae_err *err);

#endif
