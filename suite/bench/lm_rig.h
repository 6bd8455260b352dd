/* suite/bench/lm_rig.h - what the benchmarks of language models share. */
#ifndef SAE_BENCH_LM_RIG_H
#define SAE_BENCH_LM_RIG_H

#include "core/error.h"
#include "core/file.h"
#include "core/list.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/model.h"
#include "models/lm_file.h"
#include "models/lm_model.h"

#include <math.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 1536, PRODUCTS = 8 };

typedef struct bench {
    sae_engine e;
    double flops_per_s;
    sae_err err;
} bench;

/* Shapes: a Llama, and GPT-2 small. */
#define BENCH_LLAMA(d_, layers_, hidden_, heads_, kv_, vocab_)                                     \
    {.arch = "llama", .d = d_, .hidden = hidden_, .layers = layers_, .vocab = vocab_, .ctx = 1024, \
     .heads = heads_, .kv_heads = kv_, .head = d_ / heads_, .rotary = d_ / heads_,                 \
     .norm_in = SAE_LM_NORM_RMS, .norm_final = SAE_LM_NORM_RMS, .eps = 1e-5, .gated = 1,           \
     .rope = {{.theta = 10000}, {.theta = 10000}}, .tied = 1, .bos = -1, .eos = -1}
#define BENCH_GPT2                                                                                 \
    {.arch = "gpt2", .d = 768, .hidden = 3072, .layers = 12, .vocab = 50257, .ctx = 1024,          \
     .heads = 12, .kv_heads = 12, .head = 64, .norm_in = SAE_LM_NORM_LAYER,                        \
     .norm_final = SAE_LM_NORM_LAYER, .eps = 1e-5, .act = SAE_LM_GELU_TANH, .bias_qkv = 1,         \
     .bias_o = 1, .bias_mlp = 1, .learned_positions = 1, .tied = 1, .bos = -1, .eos = -1}

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

/* A model of the shape with such weights. */
static inline int bench_model(bench *b, const sae_lm_config *c, sae_lm_model **m)
{
    sae_lm_source src = {NULL, bench_weights};
    return sae_lm_model_open(m, c, &src, &b->e.k, b->e.dev, &b->err);
}

typedef int (*bench_measure)(bench *b, const char *name, sae_lm_model *m);

static inline int bench_shape(bench *b, const char *name, const sae_lm_config *c, bench_measure fn)
{
    sae_lm_model *m = NULL;
    SAE_TRY(bench_model(b, c, &m));
    int rc = fn(b, name, m);
    sae_lm_model_close(&m);
    return rc;
}

/* A model of the data collection (SAEMARK_DATA), if it is there. */
static inline int bench_file(bench *b, const char *name, const char *file, bench_measure fn)
{
    const char *root = getenv("SAEMARK_DATA");
    char path[1024];
    sae_lm *lm = NULL;
    snprintf(path, sizeof path, "%s/%s/%s", root ? root : "", name, file);
    if (!root || !sae_file_exists(path)) {
        printf("%-14s is not there, left out\n", name);
        return SAE_OK;
    }
    SAE_TRY(sae_lm_open(&lm, path, "", &b->e.k, b->e.dev, &b->err));
    int rc = fn(b, name, lm->self);
    sae_lm_close(&lm);
    return rc;
}

/* 0, or 1 with the error on stderr. */
static inline int bench_close(bench *b, const char *name, int rc)
{
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", name, b->err.msg);
    sae_engine_close(&b->e);
    return rc < 0;
}

#endif
