/* suite/kernels/cpu/simd_tile.h - template: tiles of products and their screening.
 *
 * Part of simd_body.h, which says what the including file defines.
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
        if (parts > 1)                                                                             \
            acc[h][1] += x1 * b;                                                                   \
    }

/* Rows are reached as base + {0, 1, 2, 3, 4} strides from three bases: that is what x86 addressing
 * can express, and more pointers would not fit into its registers. */
static inline __attribute__((always_inline)) void
product_tile(int64_t depth, const float *a, int64_t lda, const float *packed,
             const float *const next[2], float *out, const int parts)
{
    vf acc[SAE_TILE_MAX_HEIGHT][2];
    for (int h = 0; h < HEIGHT; h++) {
        acc[h][0] = load(out + h * parts * VL);
        acc[h][1] = parts > 1 ? load(out + h * WIDTH + VL) : all(0);
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
        vf x0 = load(packed), x1 = parts > 1 ? load(packed + VL) : x0;
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
        packed += parts * VL;
        p0 += sizeof(float);
        p5 += sizeof(float);
        p10 += sizeof(float);
    }
    for (int h = 0; h < HEIGHT; h++) {
        store(out + h * parts * VL, acc[h][0]);
        if (parts > 1)
            store(out + h * WIDTH + VL, acc[h][1]);
    }
}

static void product(int64_t depth, const float *a, int64_t lda, const float *packed,
                    const float *const next[2], float *out)
{
    product_tile(depth, a, lda, packed, next, out, 2);
}

static void product_thin(int64_t depth, const float *a, int64_t lda, const float *packed,
                         const float *const next[2], float *out)
{
    product_tile(depth, a, lda, packed, next, out, 1);
}

static inline vf score_of(vf v, uint32_t mask)
{
    return (vf)((vi)v & (int32_t)mask);
}

static inline uint32_t at_least(vf score, vf lo)
{
    return SIMD_BITS(score, lo);
}

static uint32_t screen(sae_screen *s, float *tile)
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
        any |= (uint32_t)(s->hit[h] != 0) << h;
    }
    return any;
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
