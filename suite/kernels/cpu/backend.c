/* suite/kernels/cpu/backend.c - the vectorised kernels as a backend. */
#include "cpu/cpu.h"

#include <omp.h>
#include <stdio.h>

int sae_simd_best(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return SAE_SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return SAE_SIMD_AVX2;
#endif
    return SAE_SIMD_GENERIC;
}

const sae_simd *sae_simd_at(int level)
{
#ifdef __x86_64__
    if (level >= SAE_SIMD_AVX512)
        return &sae_simd_avx512;
    if (level >= SAE_SIMD_AVX2)
        return &sae_simd_avx2;
#endif
    (void)level;
    return &sae_simd_generic;
}

void sae_cpu_force(sae_device *dev, int level)
{
    int best = sae_simd_best();
    dev->simd = level < best ? level : best;
    snprintf(dev->library, sizeof dev->library, "own panelled products, %s", simd_of(dev)->name);
}

static int score(void)
{
    return 10;
}

static int open_cpu(sae_device **dev, int index, int threads, sae_err *err)
{
    (void)index;
    if (threads > 0)
        omp_set_num_threads(threads); /* loops outside the kernels follow: models, datasets */
    int rc = sae_host_open(dev, threads > 0 ? threads : omp_get_max_threads(), "", err);
    if (!rc)
        sae_cpu_force(*dev, SAE_SIMD_LEVELS);
    return rc;
}

static void kernels(sae_device *dev, sae_kernels *k)
{
    (void)dev;
#define ASSIGN(op) k->op = SAE_CPU(op);
    SAE_CPU_LIST(ASSIGN)
#undef ASSIGN
}

extern const sae_backend sae_backend_cpu;
const sae_backend sae_backend_cpu = {
    .abi = SAE_BACKEND_ABI,
    .size = sizeof(sae_backend),
    .name = "cpu",
    .summary = "vectorised and threaded; same bits for any number of threads",
    .score = score,
    .open = open_cpu,
    .close = sae_host_close,
    .props = sae_host_props,
    .alloc = sae_host_alloc,
    .release = sae_host_release,
    .copy = sae_host_copy,
    .sync = sae_host_sync,
    .kernels = kernels,
    .share = sae_host_share,
    .after = sae_host_after,
};
