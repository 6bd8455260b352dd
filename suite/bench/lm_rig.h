/* suite/bench/lm_rig.h - what the benchmarks of language models share. */
#ifndef SAE_BENCH_LM_RIG_H
#define SAE_BENCH_LM_RIG_H

#include "core/error.h"
#include "core/list.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/model.h"
#include "models/lm_model.h"

#include <math.h>
#include <sae/rng.h>
#include <stdio.h>

enum { SIDE = 1536, PRODUCTS = 8 };

typedef struct bench {
    sae_engine e;
    double flops_per_s;
    sae_err err;
} bench;

/* Best rate of a large square product. */
static inline int bench_product(bench *b)
{
    float *m[3] = {0};
    int rc = SAE_OK;
    for (int i = 0; i < 3 && rc >= 0; i++)
        rc = sae_new(&m[i], SIDE * SIDE, sizeof(float), "bench", &b->err);
    for (int64_t i = 0; rc >= 0 && i < SIDE * SIDE; i++)
        m[0][i] = m[1][i] = (float)(i % 7) - 3;
    for (int k = 0; k < PRODUCTS && rc >= 0; k++) {
        sae_cmat a = {m[0], SIDE, SIDE, SIDE}, w = {m[1], SIDE, SIDE, SIDE};
        sae_mat c = {m[2], SIDE, SIDE, SIDE};
        double t = sae_clock();
        rc = b->e.k.gemm(b->e.dev, 0, 1, 1.0f, a, w, 0.0f, c);
        t = 2.0 * SIDE * SIDE * SIDE / (sae_clock() - t);
        b->flops_per_s = t > b->flops_per_s ? t : b->flops_per_s;
    }
    for (int i = 0; i < 3; i++)
        sae_free(m[i]);
    return rc;
}

/* The best backend, and the rate of its large product, printed behind the benchmark's name. */
static inline int bench_open(bench *b, const char *name)
{
    const sae_backend *best = sae_list_backends[0];
    for (int i = 1; sae_list_backends[i]; i++)
        best = sae_list_backends[i]->score() > best->score() ? sae_list_backends[i] : best;
    SAE_TRY(sae_engine_open(&b->e, best, 0, 0, &b->err));
    SAE_TRY(bench_product(b));
    printf("%s: backend %s, %d threads, product of side %d: %.1f GFLOP/s\n", name, best->name,
           b->e.props.threads, SIDE, b->flops_per_s / 1e9);
    return SAE_OK;
}

/* Normal weights of variance 1 / columns; norms of one. */
static inline int bench_weights(void *self, const sae_lm_config *c, enum sae_lm_part p,
                                int64_t layer, sae_real *out, sae_err *err)
{
    (void)self, (void)err;
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    uint64_t row = (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p);
    for (int64_t i = 0; out && i < rows * cols; i++)
        out[i] = sae_lm_part_is_vector(p)
                     ? 1.0f
                     : (float)(sae_normal(3, SAE_STREAM_SYNTHETIC, row, (uint32_t)i) /
                               sqrt((double)cols));
    return SAE_OK;
}

#endif
