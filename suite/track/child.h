/* suite/track/child.h - running a program and waiting for it. */
#ifndef SAE_TRACK_CHILD_H
#define SAE_TRACK_CHILD_H

#include <sae/base.h>

/* Run argv[0] (searched on the PATH) with its output in the file `log`, and an environment longer
 * by `pad` bytes. *status: exit status, or 128 + signal. SAE_ENEEDS: it cannot be started;
 * SAE_EINTR: saemark was interrupted, as was the child. */
int sae_child_run(char *const *argv, int64_t pad, const char *log, int *status, sae_err *err);

#endif
