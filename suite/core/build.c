/* suite/core/build.c - facts about this build, handed over by the Makefile. */
#include "core/build.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__x86_64__)
#define TARGET "x86_64"
#elif defined(__aarch64__)
#define TARGET "aarch64"
#else
#define TARGET "other"
#endif

const sae_build_facts *sae_build(void)
{
    static const sae_build_facts facts = {
        .version = "0.1.0",
        .git = SAE_GIT_ID,
        .config = SAE_CONFIG,
        .compiler = COMPILER,
        .flags = SAE_CFLAGS,
        .target = TARGET,
        .blas = SAE_BLAS_FOUND,
        .cuda = SAE_CUDA_FOUND,
        .mpi = SAE_MPI_FOUND,
        .seccomp = SAE_SECCOMP_FOUND,
    };
    return &facts;
}
