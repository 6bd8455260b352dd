/* suite/core/build.h - facts about this build, fixed at compile time. */
#ifndef SAE_CORE_BUILD_H
#define SAE_CORE_BUILD_H

typedef struct sae_build_facts {
    const char *version;  /* "0.1.0" */
    const char *git;      /* commit, "-dirty" when the tree had changes, "unknown" outside git */
    const char *config;   /* release, debug, asan */
    const char *compiler; /* name and version */
    const char *flags;    /* optimisation flags */
    const char *target;   /* "x86_64", "aarch64", ... */
    const char *blas, *cuda, *mpi, *seccomp; /* probes: "yes" or "no" */
} sae_build_facts;

const sae_build_facts *sae_build(void);

#endif
