/* suite/kernels/cpu/simd_body.h - template of one instruction set's inner loops.
 *
 * The including file defines SIMD_NAME, SIMD_VL (floats in a register), SIMD_HEIGHT (rows of a
 * tile) and SIMD_BITS(a, b): one bit per lane of the comparison a >= b. Products are written with
 * the compiler's vector types: contraction makes them fused where the machine can.
 */
#include "cpu/simd.h"
#include "shared/sum.h"

#include <math.h>
#include <string.h>

enum { VL = SIMD_VL, WIDTH = 2 * VL, HEIGHT = SIMD_HEIGHT };

typedef float vf __attribute__((vector_size(4 * SIMD_VL)));
typedef float vfu __attribute__((vector_size(4 * SIMD_VL), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * SIMD_VL)));

static inline vf load(const float *p)
{
    return *(const vfu *)p;
}

static inline void store(float *p, vf v)
{
    *(vfu *)p = v;
}

static inline vf all(float x)
{
    return x - (vf){0};
}

/* ---- tiles ---------------------------------------------------------------------------------- */

#define TILE_ROW(h, p)                                                                             \
    if ((h) < HEIGHT) {                                                                            \
        const float b = *(const float *)(const void *)(p);                                         \
        acc[h][0] += x0 * b;                                                                       \
        acc[h][1] += x1 * b;                                                                       \
    }

/* Rows are reached as base + {0, 1, 2, 3, 4} strides from three bases: that is what x86 addressing
 * can express, and more pointers would not fit into its registers. */
static void product(int64_t depth, const float *a, int64_t lda, const float *packed,
                    const float *const next[2], float *out)
{
    vf acc[SAE_TILE_MAX_HEIGHT][2];
    for (int h = 0; h < HEIGHT; h++) {
        acc[h][0] = load(out + h * WIDTH);
        acc[h][1] = load(out + h * WIDTH + VL);
    }
    int64_t s1 = lda * (int64_t)sizeof(float), s3 = 3 * s1;
    const char *p0 = (const char *)a;
    const char *p5 = HEIGHT > 5 ? p0 + 5 * s1 : p0, *p10 = HEIGHT > 10 ? p0 + 10 * s1 : p0;
    __asm__("" : "+r"(s1), "+r"(s3), "+r"(p0), "+r"(p5), "+r"(p10)); /* keep this form */
    for (int64_t k = 0; k < depth; k++) {
        if (k % 16 == 0) {
            __builtin_prefetch(next[0] + k, 0, 2);
            __builtin_prefetch(next[1] + k, 0, 2);
        }
        vf x0 = load(packed), x1 = load(packed + VL);
        TILE_ROW(0, p0)
        TILE_ROW(1, p0 + s1)
        TILE_ROW(2, p0 + 2 * s1)
        TILE_ROW(3, p0 + s3)
        TILE_ROW(4, p0 + 4 * s1)
        TILE_ROW(5, p5)
        TILE_ROW(6, p5 + s1)
        TILE_ROW(7, p5 + 2 * s1)
        TILE_ROW(8, p5 + s3)
        TILE_ROW(9, p5 + 4 * s1)
        TILE_ROW(10, p10)
        TILE_ROW(11, p10 + s1)
        TILE_ROW(12, p10 + 2 * s1)
        TILE_ROW(13, p10 + s3)
        packed += WIDTH;
        p0 += sizeof(float);
        p5 += sizeof(float);
        p10 += sizeof(float);
    }
    for (int h = 0; h < HEIGHT; h++) {
        store(out + h * WIDTH, acc[h][0]);
        store(out + h * WIDTH + VL, acc[h][1]);
    }
}

static inline vf score_of(vf v, uint32_t mask)
{
    return (vf)((vi)v & (int32_t)mask);
}

static inline uint32_t at_least(vf score, vf lo)
{
    return SIMD_BITS(score, lo);
}

static int screen(sae_screen *s, float *tile)
{
    vf lo0 = load(s->lo_col), lo1 = load(s->lo_col + VL);
    uint32_t any = 0;
    for (int h = 0; h < s->height; h++) {
        float bias = s->bias ? s->bias[h] : 0;
        vf v0 = load(tile + h * WIDTH) + bias, v1 = load(tile + h * WIDTH + VL) + bias;
        store(tile + h * WIDTH, v0);
        store(tile + h * WIDTH + VL, v1);
        vf s0 = score_of(v0, s->mask), s1 = score_of(v1, s->mask);
        uint32_t hit = at_least(s0, lo0) | at_least(s1, lo1) << VL;
        uint32_t number = at_least(v0, v0) | at_least(v1, v1) << VL;
        if (s->lo_row)
            hit &= at_least(s0, all(s->lo_row[h])) | at_least(s1, all(s->lo_row[h])) << VL;
        s->hit[h] = hit & s->valid;
        s->nan += __builtin_popcount(~number & s->valid);
        any |= s->hit[h];
    }
    return any != 0;
}

static uint64_t scan(const float *v, int count, uint32_t mask, const float *lo, int step,
                     uint64_t *nan)
{
    uint64_t hit = 0, number = 0;
    int i = 0;
    for (; i + VL <= count; i += VL) {
        vf x = load(v + i), bound = step ? load(lo + i) : all(*lo);
        hit |= (uint64_t)at_least(score_of(x, mask), bound) << i;
        number |= (uint64_t)at_least(x, x) << i;
    }
    for (; i < count; i++) {
        float x = v[i], score = mask >> 31 ? x : fabsf(x);
        hit |= (uint64_t)(score >= lo[i * step]) << i;
        number |= (uint64_t)(x == x) << i;
    }
    *nan = ~number & (count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX);
    return hit;
}

static int64_t count_ge(const uint32_t *key, int64_t n, uint32_t bound)
{
    int64_t total = 0;
    while (n > 0) { /* 32-bit counts inside a piece */
        int64_t piece = n < 1 << 20 ? n : 1 << 20;
        uint32_t c = 0;
        for (int64_t i = 0; i < piece; i++)
            c += key[i] >= bound;
        total += c;
        key += piece;
        n -= piece;
    }
    return total;
}

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
    for (int64_t i = 0; i < n; i += SAE_SUM_BLOCK)
        sae_pairwise_add(&p, dot_block(a + i, b + i, n - i < SAE_SUM_BLOCK ? n - i : SAE_SUM_BLOCK));
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
        float grad = g[i] * s.grad_scale;
        float mean = s.beta1 * m[i] + s.rate1 * grad;
        float square = s.beta2 * v[i] + s.rate2 * grad * grad;
        w[i] = s.keep * w[i] - s.step * mean / (sqrtf(square) * s.root + s.eps);
        m[i] = mean;
        v[i] = square;
        g[i] = 0;
    }
}

extern const sae_simd SIMD_TABLE;
const sae_simd SIMD_TABLE = {
    .name = SIMD_NAME,
    .height = HEIGHT,
    .width = WIDTH,
    .product = product,
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
};
