/* suite/train/ahead.h - a thread that does a job while its owner does other things. */
#ifndef SAE_TRAIN_AHEAD_H
#define SAE_TRAIN_AHEAD_H

#include <sae/base.h>

typedef struct sae_ahead sae_ahead;

/* job(arg, err) will run on a thread of its own; its loops have as many threads as the caller's.
 * The thread lives until closing: those of its loops are made once. */
int sae_ahead_open(sae_ahead **a, int (*job)(void *arg, sae_err *err), void *arg, sae_err *err);
void sae_ahead_close(sae_ahead **a); /* NULL-safe; waits for the job */
/* Run the job once. Not before the last one has been waited for. */
void sae_ahead_start(sae_ahead *a);
/* Wait for the job; its status, its error in *err unless one is recorded. err may be NULL. */
int sae_ahead_wait(sae_ahead *a, sae_err *err);

#endif
