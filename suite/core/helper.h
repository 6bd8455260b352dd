/* suite/core/helper.h - a thread that does a job while its owner does other things. */
#ifndef SAE_CORE_HELPER_H
#define SAE_CORE_HELPER_H

#include <sae/base.h>

typedef struct sae_helper sae_helper;

/* job(arg, err) will run on a thread of its own; its loops have as many threads as the caller's.
 * The thread lives until closing: those of its loops are made once. */
int sae_helper_open(sae_helper **h, int (*job)(void *arg, sae_err *err), void *arg, sae_err *err);
void sae_helper_close(sae_helper **h); /* NULL-safe; waits for the job */
/* Run the job once. Not before the last one has been waited for. */
void sae_helper_start(sae_helper *h);
/* Wait for the job; its status, its error in *err unless one is recorded. err may be NULL. */
int sae_helper_wait(sae_helper *h, sae_err *err);

#endif
