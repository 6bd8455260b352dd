/* suite/track/child.h - running two programs side by side, one at a time. */
#ifndef SAE_TRACK_CHILD_H
#define SAE_TRACK_CHILD_H

#include <sae/base.h>

typedef struct sae_child {
    char *const *argv; /* argv[0] is searched on the PATH */
    int64_t pad;       /* bytes by which its environment is longer */
    uint32_t seed;     /* BENCHMARK_SEED, where the environment has none: one order for both */
    const char *log;   /* file for its output */
    int status;        /* out: exit status, or 128 + signal */
} sae_child;

/* Run first, then second. Programs on our benchmark harness take turns with every repetition
 * (suite/bench/harness/turns.c): *turns is 1 when both did; another runs alone, the second
 * after the first. SAE_ENEEDS: one cannot be started; SAE_EINTR: saemark was interrupted, as were
 * they. */
int sae_children_run(sae_child *first, sae_child *second, int *turns, sae_err *err);

#endif
