/* tests/eval/world.h - a small synthetic evaluation batch with everything a metric can ask for.
 * Documents have random lengths and rows of one document resemble each other.
 */
#ifndef SAE_TESTS_EVAL_WORLD_H
#define SAE_TESTS_EVAL_WORLD_H

#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/head_lm.h"
#include "support/support.h"

#include <math.h>
#include <sae/metric.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 6, N = 10, ATOMS = 7, LABELS = 2, ROWS = 240, VOCAB = 5 };

typedef struct world {
    int64_t rows, T;
    sae_real x[ROWS * D], xhat[ROWS * D], g[ROWS * D];
    sae_real w_dec[N * D], w_enc[N * D], dict[ATOMS * D];
    sae_real z[ROWS * N], truth[ROWS * ATOMS]; /* dense; zero where inactive */
    sae_real peer_xhat[ROWS * D], peer_w_dec[N * D], peer_z[ROWS * N]; /* a second SAE */
    sae_real head[VOCAB * D], logprob[ROWS * VOCAB]; /* a model whose logits are head x */
    int64_t self[ROWS];
    int32_t next[ROWS];
    int32_t parent[ATOMS];
    sae_token tok[ROWS];
    int32_t label[ROWS * LABELS];
    double loss[8][ROWS]; /* in the order of sae_splice */
    unsigned char kept[ROWS];
    int32_t top[2][ROWS];
    uint64_t last_fired[N], fire_count[N];
    double scale;
    uint64_t caps;
} world;

/* ---- a model that is only a dictionary ------------------------------------------------------- */

static const sae_tensor_spec world_tensors[] = {
    {"W_enc", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},
    {"W_dec", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},
    {0}};

static inline uint64_t world_caps(const void *opt)
{
    (void)opt;
    return UINT64_MAX;
}

/* ---- the world ------------------------------------------------------------------------------- */

static inline double draw(uint64_t seed, uint64_t row, uint32_t i)
{
    return sae_normal(seed, SAE_STREAM_SYNTHETIC, row, i);
}

/* The language model behind the world. */
static inline head_lm world_lm(const world *w)
{
    return (head_lm){D, VOCAB, w->head};
}
static inline void world_logprob(const world *w, const sae_real *x, double out[VOCAB])
{
    head_lm m = world_lm(w);
    head_logprob(&m, x, out);
}

/* Rows of one document share a random offset, so that they are not independent. */
static inline void world_fill(world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->rows = w->T = ROWS;
    w->scale = 1;
    uint64_t doc = 0;
    uint32_t pos = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        w->tok[r] = (sae_token){doc, pos++, (uint32_t)r % 50};
        w->label[r * LABELS] = (int32_t)(doc % 3);
        w->label[r * LABELS + 1] = draw(seed, 6500u + (uint64_t)r, 0) > 0.3;
        for (int i = 0; i < D; i++) {
            double x = 1 + draw(seed, doc, 100u + (uint32_t)i) + draw(seed, 1000u + (uint64_t)r,
                                                                      (uint32_t)i);
            double e = (0.3 + 0.1 * fabs(draw(seed, doc, 99))) *
                       draw(seed, 2000u + (uint64_t)r, (uint32_t)i);
            w->x[r * D + i] = (sae_real)x;
            w->xhat[r * D + i] = (sae_real)(0.9 * x + e);
        }
        for (int j = 0; j < N; j++) {
            double v = draw(seed, 3000u + (uint64_t)r, (uint32_t)j) - 0.5;
            w->z[r * N + j] = (sae_real)(v > 0 && j != 3 ? v : 0); /* feature 3 is dead */
        }
        for (int j = 0; j < ATOMS; j++) {
            double v = draw(seed, 4000u + (uint64_t)r, (uint32_t)j) - 0.3;
            w->truth[r * ATOMS + j] = (sae_real)(v > 0 ? v : 0);
        }
        w->kept[r] = w->tok[r].pos > 0;
        w->top[0][r] = (int32_t)(r % 7);
        w->top[1][r] = r % 4 ? w->top[0][r] : 9;
        for (int k = 0; k < 8; k++) /* clean < spliced < ablated, by clear margins */
            w->loss[k][r] = 1 + (k == 1) * 0.2 + (k == 2) * 3 + (k == 3) * 2 + (k > 5) * 4 +
                            0.1 * fabs(draw(seed, 5000u + (uint64_t)r, (uint32_t)k)) +
                            0.1 * fabs(draw(seed, doc, 98));
        if (sae_philox(seed, SAE_STREAM_SYNTHETIC, 6000u + (uint64_t)r, 0).v[0] % 5 == 0) {
            doc++;
            pos = 0;
        }
    }
    for (uint32_t i = 0; i < N * D; i++) {
        w->w_dec[i] = (sae_real)draw(seed, 7000, i);
        w->w_enc[i] = (sae_real)draw(seed, 7001, i);
    }
    for (uint32_t i = 0; i < N * D; i++) /* the same dictionary, disturbed and turned over */
        w->peer_w_dec[i] =
            w->w_dec[(N - 1 - i / D) * D + i % D] + (sae_real)(0.1 * draw(seed, 7500, i));
    for (uint32_t i = 0; i < VOCAB * D; i++)
        w->head[i] = (sae_real)draw(seed, 7501, i);
    for (int64_t r = 0; r < ROWS; r++) {
        double p[VOCAB];
        world_logprob(w, w->x + r * D, p);
        for (int v = 0; v < VOCAB; v++)
            w->logprob[r * VOCAB + v] = (sae_real)p[v];
        for (int i = 0; i < D; i++)
            w->peer_xhat[r * D + i] =
                (sae_real)(0.5 * ((double)w->x[r * D + i] + (double)w->xhat[r * D + i]));
        for (int j = 0; j < N; j++)
            w->peer_z[r * N + j] = w->z[r * N + N - 1 - j];
        w->self[r] = r;
        w->next[r] = (int32_t)(w->tok[r].id % VOCAB);
    }
    for (int j = 0; j < ATOMS; j++) /* a chain of three, then two that share a parent */
        w->parent[j] = (int32_t[ATOMS]){-1, 0, 1, -1, 3, 3, -1}[j];
    for (int j = 0; j < ATOMS; j++) {
        double norm = 0;
        for (uint32_t i = 0; i < D; i++)
            norm += pow(draw(seed, 7002u + (uint64_t)j, i), 2);
        for (uint32_t i = 0; i < D; i++)
            w->dict[j * D + (int)i] = (sae_real)(draw(seed, 7002u + (uint64_t)j, i) / sqrt(norm));
    }
    for (int j = 0; j < N; j++) {
        w->fire_count[j] = (uint64_t)j * 10;
        w->last_fired[j] = (uint64_t)j * 100;
    }
}

static const char *const world_classes[] = {"zero", "one", "two"};
static const sae_label world_labels[LABELS] = {{"gender", 3, world_classes, 0},
                                               {"sentiment", 2, world_classes, 1}};

#endif
