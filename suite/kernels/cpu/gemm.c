/* suite/kernels/cpu/gemm.c - products of dense matrices, cut into blocks of c.
 *
 * A block is computed by one worker: strips of depth are packed and added to accumulators that stay
 * in float, so an element is one chain of multiply-adds over k however c is cut.
 */
#include "cpu/cpu.h"
#include "cpu/pack.h"

#include <omp.h>
#include <string.h>

enum { DEPTH = 512, BLOCK_ROWS = 504, BLOCK_GROUPS = 8 }; /* packed b, sums: 1/2 MiB each */

typedef struct product {
    sae_device *dev;
    const sae_simd *simd;
    int ta, tb;
    float alpha, beta;
    sae_cmat a, b;
    sae_mat c;
    int64_t depth, block_rows, block_cols;
} product;

typedef struct block {
    int64_t i0, j0, rows, cols, k0, depth;
    float *packed; /* [groups][depth][width] of op(b) */
    float *rows_a; /* [height][depth] of op(a), where a itself cannot be read by rows */
    float *sum;    /* [row tiles][groups][height][width] */
} block;

static void pack_b(const product *p, const block *k)
{
    int width = p->simd->width;
    for (int64_t j = 0; j < k->cols; j += width) {
        int64_t col = k->j0 + j, live = min_i64(width, k->cols - j);
        float *out = k->packed + j * k->depth;
        const float *b = p->b.p + (p->tb ? col * p->b.ld + k->k0 : k->k0 * p->b.ld + col);
        if (p->tb)
            sae_pack_rows(b, p->b.ld, live, k->depth, NULL, width, out);
        else
            sae_pack_cols(b, p->b.ld, live, k->depth, width, out);
    }
}

/* Rows [i, i + height) of op(a), columns of this strip. */
static const float *rows_of_a(const product *p, const block *k, int64_t i, int64_t *ld)
{
    int64_t row = k->i0 + i, live = min_i64(p->simd->height, k->rows - i), depth = k->depth;
    if (!p->ta && live == p->simd->height) {
        *ld = p->a.ld;
        return p->a.p + row * p->a.ld + k->k0;
    }
    *ld = depth;
    if (p->ta) {
        sae_pack_transposed(p->a.p + k->k0 * p->a.ld + row, p->a.ld, live, depth, p->simd->height,
                            k->rows_a);
        return k->rows_a;
    }
    for (int64_t h = 0; h < live; h++)
        memcpy(k->rows_a + h * depth, p->a.p + (row + h) * p->a.ld + k->k0,
               (size_t)depth * sizeof(float));
    memset(k->rows_a + live * depth, 0, (size_t)((p->simd->height - live) * depth) * sizeof(float));
    return k->rows_a;
}

static void add_strip(const product *p, const block *k)
{
    const sae_simd *s = p->simd;
    pack_b(p, k);
    float *sum = k->sum;
    for (int64_t i = 0; i < k->rows; i += s->height) {
        int64_t ld;
        const float *a = rows_of_a(p, k, i, &ld);
        for (int64_t j = 0; j < k->cols; j += s->width, sum += s->height * s->width) {
            const float *ahead[2] = {a + (s->height + j / s->width) * ld,
                                     a + (s->height + j / s->width + BLOCK_GROUPS) * ld};
            s->product(k->depth, a, ld, k->packed + j * k->depth, ahead, sum);
        }
    }
}

static void store_block(const product *p, const block *k)
{
    int height = p->simd->height, width = p->simd->width;
    const float *sum = k->sum;
    for (int64_t i = 0; i < k->rows; i += height)
        for (int64_t j = 0; j < k->cols; j += width, sum += height * width)
            for (int64_t h = 0; h < height && i + h < k->rows; h++) {
                float *out = p->c.p + (k->i0 + i + h) * p->c.ld + k->j0 + j;
                int64_t live = min_i64(width, k->cols - j);
                const float *from = sum + h * width;
                if (p->beta == 0)
                    for (int64_t l = 0; l < live; l++)
                        out[l] = p->alpha * from[l];
                else
                    for (int64_t l = 0; l < live; l++)
                        out[l] = p->alpha * from[l] + p->beta * out[l];
            }
}

static void run_block(const product *p, int64_t index)
{
    int t = omp_get_thread_num();
    int64_t down = chunks_of(p->c.rows, p->block_rows);
    block k = {.i0 = index % down * p->block_rows, .j0 = index / down * p->block_cols};
    k.rows = min_i64(p->block_rows, p->c.rows - k.i0);
    k.cols = min_i64(p->block_cols, p->c.cols - k.j0);
    k.packed = sae_ws_own(p->dev, t, OWN_PACK);
    k.rows_a = sae_ws_own(p->dev, t, OWN_ROWS);
    k.sum = sae_ws_own(p->dev, t, OWN_TILE);
    int64_t tiles = chunks_of(k.rows, p->simd->height) * chunks_of(k.cols, p->simd->width);
    memset(k.sum, 0, (size_t)(tiles * p->simd->height * p->simd->width) * sizeof *k.sum);
    for (k.k0 = 0; k.k0 < p->depth; k.k0 += DEPTH) {
        k.depth = min_i64(DEPTH, p->depth - k.k0);
        add_strip(p, &k);
    }
    store_block(p, &k);
}

/* ---- few rows of a --------------------------------------------------------------------------- */

/* A product with the sides of a tile exchanged: the rows of a are its lanes, and those of b, which
 * are read once, stay where they lie. The same chain of multiply-adds. */
static void run_thin(const product *p, const float *lanes, int64_t j0)
{
    int t = omp_get_thread_num();
    int64_t height = p->simd->height, width = p->simd->width / 2, ld = p->b.ld;
    int64_t live = min_i64(height, p->c.cols - j0);
    const float *b = p->b.p + j0 * ld;
    float *sum = sae_ws_own(p->dev, t, OWN_TILE);
    if (live < height) {
        float *own = sae_ws_own(p->dev, t, OWN_ROWS);
        for (int64_t h = 0; h < live; h++)
            memcpy(own + h * p->depth, b + h * ld, (size_t)p->depth * sizeof *own);
        memset(own + live * p->depth, 0, (size_t)((height - live) * p->depth) * sizeof *own);
        b = own;
        ld = p->depth;
    }
    const float *ahead[2] = {b + height * ld, b + (height + 1) * ld};
    memset(sum, 0, (size_t)(height * width) * sizeof *sum);
    p->simd->product_thin(p->depth, b, ld, lanes, ahead, sum);
    for (int64_t r = 0; r < p->c.rows; r++)
        for (int64_t h = 0; h < live; h++) {
            float *out = p->c.p + r * p->c.ld + j0 + h;
            float v = p->alpha * sum[h * width + r];
            *out = p->beta == 0 ? v : v + p->beta * *out;
        }
}

static int thin(const product *p)
{
    int height = p->simd->height, width = p->simd->width / 2;
    float *lanes = sae_ws_shared(p->dev, ALL_LANES, p->depth * width, sizeof *lanes);
    if (!lanes)
        return SAE_ENOMEM;
    int rc = sae_ws_reserve(p->dev, OWN_ROWS, height * p->depth, sizeof(float));
    if (!rc)
        rc = sae_ws_reserve(p->dev, OWN_TILE, height * width, sizeof(float));
    if (rc)
        return rc;
    sae_pack_rows(p->a.p, p->a.ld, p->c.rows, p->depth, NULL, width, lanes);
    PARALLEL_FOR(p->dev, i, chunks_of(p->c.cols, height), 8)
    run_thin(p, lanes, i * height);
    return SAE_OK;
}

/* ---- dispatch -------------------------------------------------------------------------------- */

/* Blocks as large as the cache allows, but several for every thread. */
static void cut(product *p)
{
    int64_t height = p->simd->height;
    p->block_cols = BLOCK_GROUPS * p->simd->width;
    p->block_rows = BLOCK_ROWS;
    int64_t across = chunks_of(p->c.cols, p->block_cols);
    while (p->block_rows > 4 * height &&
           across * chunks_of(p->c.rows, p->block_rows) < 4 * p->dev->threads)
        p->block_rows = chunks_of(p->block_rows / 2, height) * height;
}

SAE_DECL_gemm(SAE_CPU(gemm))
{
    int64_t depth = ta ? a.rows : a.cols;
    if (bad_gemm(ta, tb, a, b, c))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    product p = {dev, s, ta, tb, alpha, beta, a, b, c, depth, 0, 0};
    if (!ta && tb && c.rows <= s->width / 2)
        return thin(&p);
    cut(&p);
    int64_t strip = min_i64(depth, DEPTH);
    int rc = sae_ws_reserve(dev, OWN_PACK, p.block_cols * strip, sizeof(float));
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_ROWS, s->height * strip, sizeof(float));
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_TILE, p.block_rows * p.block_cols, sizeof(float));
    if (rc)
        return rc;
    PARALLEL_FOR(dev, i, chunks_of(c.rows, p.block_rows) * chunks_of(c.cols, p.block_cols), 1)
    run_block(&p, i);
    return SAE_OK;
}
