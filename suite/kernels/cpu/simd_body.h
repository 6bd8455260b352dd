/* suite/kernels/cpu/simd_body.h - template of one instruction set's inner loops.
 *
 * The including file defines SIMD_NAME, SIMD_VL (floats in a register), SIMD_HEIGHT (rows of a
 * tile) and SIMD_BITS(a, b): one bit per lane of the comparison a >= b. Products are written with
 * the compiler's vector types: contraction makes them fused where the machine can.
 */
#include "cpu/simd_tile.h"

#include "cpu/simd_map.h"

/* ---- rows ------------------------------------------------------------------------------------ */

static inline float coef(const sae_gather *g, int64_t i)
{
    return g->val[g->pos ? g->pos[i] : i];
}

/* Columns [c, c + parts * VL), their sums in registers. */
static inline void gather_strip(const sae_gather *g, int64_t c, const int parts)
{
    vf acc[8];
    for (int q = 0; q < parts; q++)
        acc[q] = all(0);
    for (int64_t i = 0; i < g->count; i++) {
        const float *m = g->m + g->row[i] * g->ld + c;
        float b = coef(g, i);
        for (int q = 0; q < parts; q++)
            acc[q] += load(m + q * VL) * b;
    }
    for (int q = 0; q < parts; q++) {
        vf base = g->base ? load(g->base + c + q * VL) : all(0);
        store(g->out + c + q * VL, base + acc[q] * g->alpha);
    }
}

static void gather(const sae_gather *g)
{
    int64_t c = 0;
    for (; c + 8 * VL <= g->d; c += 8 * VL)
        gather_strip(g, c, 8);
    for (; c + VL <= g->d; c += VL)
        gather_strip(g, c, 1);
    for (; c < g->d; c++) {
        float acc = 0;
        for (int64_t i = 0; i < g->count; i++)
            acc += g->m[g->row[i] * g->ld + c] * coef(g, i);
        g->out[c] = (g->base ? g->base[c] : 0) + acc * g->alpha;
    }
}

/* 16 lanes inside blocks of 256, blocks added in order: at most 16 + d / 256 + 4 roundings. */
static float dot_float(const float *a, const float *b, int64_t d)
{
    enum { PARTS = SAE_SUM_LANES / VL };
    float lane[SAE_SUM_LANES];
    vf total[PARTS];
    for (int q = 0; q < PARTS; q++)
        total[q] = all(0);
    int64_t i = 0;
    while (i + SAE_SUM_LANES <= d) {
        int64_t end = i + SAE_SUM_BLOCK <= d ? i + SAE_SUM_BLOCK : d - d % SAE_SUM_LANES;
        vf acc[PARTS];
        for (int q = 0; q < PARTS; q++)
            acc[q] = all(0);
        for (; i < end; i += SAE_SUM_LANES)
            for (int q = 0; q < PARTS; q++)
                acc[q] += load(a + i + q * VL) * load(b + i + q * VL);
        for (int q = 0; q < PARTS; q++)
            total[q] += acc[q];
    }
    for (int q = 0; q < PARTS; q++)
        store(lane + q * VL, total[q]);
    for (int l = 0; i < d; i++, l++)
        lane[l] += a[i] * b[i];
    for (int half = SAE_SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static void dots(int64_t count, const int32_t *idx, const float *dx, const float *w, int64_t ld,
                 int64_t d, float *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = dot_float(dx, w + idx[i] * ld, d);
}

static double dot_block(const float *a, const float *b, int64_t n)
{
    double lane[SAE_SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SAE_SUM_LANES <= n; i += SAE_SUM_LANES)
        for (int l = 0; l < SAE_SUM_LANES; l++)
            lane[l] += (double)a[i + l] * (double)b[i + l];
    for (int l = 0; i < n; i++, l++)
        lane[l] += (double)a[i] * (double)b[i];
    return sae_fold_lanes(lane);
}

static double dot(const float *a, const float *b, int64_t n)
{
    sae_pairwise p = {0};
    for (int64_t i = 0; i < n; i += SAE_SUM_BLOCK) {
        int64_t len = n - i < SAE_SUM_BLOCK ? n - i : SAE_SUM_BLOCK;
        sae_pairwise_add(&p, dot_block(a + i, b + i, len));
    }
    return sae_pairwise_total(&p);
}

static double residual(const float *a, const float *b, float *out, int64_t n)
{
    float diff[SAE_SUM_BLOCK];
    sae_pairwise p = {0};
    for (int64_t i0 = 0; i0 < n; i0 += SAE_SUM_BLOCK) {
        int64_t len = n - i0 < SAE_SUM_BLOCK ? n - i0 : SAE_SUM_BLOCK;
        for (int64_t i = 0; i < len; i++)
            diff[i] = a[i0 + i] - b[i0 + i];
        if (out)
            memcpy(out + i0, diff, (size_t)len * sizeof *out);
        sae_pairwise_add(&p, dot_block(diff, diff, len));
    }
    return sae_pairwise_total(&p);
}

static void add_scaled(const float *x, double c, const float *v, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((double)x[i] + c * (double)v[i]);
}

static void scale(float *w, double c, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        w[i] = (float)((double)w[i] * c);
}

static void gate(const float *value, const float *by, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = value[i], g = by[i];
        out[i] = g > 0 ? v : (g <= 0 ? 0 : g);
    }
}

static void add_to(double *acc, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        acc[i] += (double)x[i];
}

static void adam(const sae_adam_row *a, float *restrict w, float *restrict g, float *restrict m,
                 float *restrict v, int64_t n)
{
    const sae_adam_row s = *a;
    for (int64_t i = 0; i < n; i++) {
        sae_adam_number(&s, w + i, g[i], m + i, v + i);
        g[i] = 0;
    }
}

extern const sae_simd SIMD_TABLE;
const sae_simd SIMD_TABLE = {
    .name = SIMD_NAME,
    .height = HEIGHT,
    .width = WIDTH,
    .product = product,
    .product_thin = product_thin,
    .screen = screen,
    .scan = scan,
    .count_ge = count_ge,
    .gather = gather,
    .dots = dots,
    .dot = dot,
    .residual = residual,
    .add_scaled = add_scaled,
    .scale = scale,
    .gate = gate,
    .add_to = add_to,
    .adam = adam,
    .map = map,
    .mul = mul,
    .scale_by = scale_by,
    .window = window,
    .normals = normals,
    .max_to = max_to,
    .cross = cross,
    .wide_dot = wide_dot,
    .wide_add = wide_add,
    .peak = peak,
};
