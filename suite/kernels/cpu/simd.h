/* suite/kernels/cpu/simd.h - the inner loops of the cpu backend, one set per instruction set.
 *
 * Every set computes the same sums in the same order; sets with fused multiply-add agree bitwise.
 */
#ifndef SAE_KERNELS_SIMD_H
#define SAE_KERNELS_SIMD_H

#include <sae/kernels.h>

#include "shared/adam.h"

enum sae_simd_level { SAE_SIMD_GENERIC, SAE_SIMD_AVX2, SAE_SIMD_AVX512, SAE_SIMD_LEVELS };

enum { SAE_TILE_MAX_WIDTH = 32, SAE_TILE_MAX_HEIGHT = 14, SAE_SCAN = 64, SAE_CROSS_HEIGHT = 6 };

/* What makes an entry of a tile a candidate: its score, v with the bits of `mask`, is at least the
 * bound of its column and the bound of its row of the tile. */
typedef struct sae_screen {
    const float *bias; /* [height] or NULL: added to v first */
    const float *lo_col; /* [width] */
    const float *lo_row; /* [height] or NULL */
    uint32_t mask;       /* 0x7fffffff ranks by |v|, 0xffffffff by v */
    uint32_t valid;      /* columns that take part */
    int height;          /* rows that take part */
    uint32_t hit[SAE_TILE_MAX_HEIGHT]; /* out: candidates of each row */
    int64_t nan;                       /* inout: NaN values seen */
} sae_screen;

/* out = base + alpha * sum_i coef_i * m[row[i], :]; coef_i = val[pos ? pos[i] : i]. */
typedef struct sae_gather {
    int64_t count, d, ld;
    const int32_t *row;
    const int64_t *pos;
    const float *val, *m, *base; /* base may be out, or NULL: 0 */
    float alpha;
    float *out;
} sae_gather;

typedef struct sae_simd {
    const char *name;
    int height, width; /* of a tile */
    /* acc[h][l] += sum_k a[h * lda + k] * packed[k * width + l] for a whole tile, k ascending, one
     * accumulator per entry. next: two rows to bring nearer meanwhile. */
    void (*product)(int64_t depth, const float *a, int64_t lda, const float *packed,
                    const float *const next[2], float *acc);
    /* The same for tiles of half the width. */
    void (*product_thin)(int64_t depth, const float *a, int64_t lda, const float *packed,
                         const float *const next[2], float *acc);
    /* Adds the bias in place; returns the rows with a hit, one bit each. */
    uint32_t (*screen)(sae_screen *s, float *tile);
    /* Bits of the v[0..count) whose score is >= lo[i * step]; count <= 64; NaN bits in *nan. */
    uint64_t (*scan)(const float *v, int count, uint32_t mask, const float *lo, int step,
                     uint64_t *nan);
    int64_t (*count_ge)(const uint32_t *key, int64_t n, uint32_t bound);
    void (*gather)(const sae_gather *g);
    /* out[i] = <dx, w[idx[i], :]> in float */
    void (*dots)(int64_t count, const int32_t *idx, const float *dx, const float *w, int64_t ld,
                 int64_t d, float *out);
    double (*dot)(const float *a, const float *b, int64_t n); /* the tree of shared/sum.h */
    double (*residual)(const float *a, const float *b, float *out, int64_t n);
    void (*add_scaled)(const float *x, double c, const float *v, float *out, int64_t n);
    void (*scale)(float *w, double c, int64_t n);
    void (*gate)(const float *value, const float *gate, float *out, int64_t n);
    void (*add_to)(double *acc, const float *x, int64_t n);
    void (*adam)(const sae_adam_row *a, float *w, float *g, float *m, float *v, int64_t n);
    void (*map)(enum sae_fn f, double p, double q, const float *x, float *out, int64_t n);
    void (*mul)(double alpha, const float *a, const float *b, float *out, int64_t n);
    /* out = row * col * x; col may be NULL: 1 */
    void (*scale_by)(const float *x, double row, const float *col, float *out, int64_t n);
    void (*window)(const float *value, const float *gate, float half, float *out, int64_t n);
    /* Normals [0, n) of a row, as sae_normal defines them. */
    void (*normals)(uint64_t seed, uint32_t stream, uint64_t row, int64_t n, float *out);
    void (*max_to)(float *acc, const float *x, int64_t n);
    /* tile[h * W + l] += sum_r a[r * SAE_CROSS_HEIGHT + h] * b[r * W + l], W = width / 2, r
     * ascending. */
    void (*cross)(int64_t rows, const double *a, const double *b, double *tile);
    double (*wide_dot)(const double *r, const float *w, int64_t n);
    double (*wide_add)(double *r, double by, const float *w, int64_t n); /* r += by * w; |r|^2 */
    /* c += by * g unless g is NULL; the largest c under the mask, NaN passed over. */
    float (*peak)(float *c, float by, const float *g, int64_t n, uint32_t mask);
} sae_simd;

extern const sae_simd sae_simd_generic;
#ifdef __x86_64__
extern const sae_simd sae_simd_avx2, sae_simd_avx512;
#endif

/* The set of a level, or the best one below it that this machine runs. */
const sae_simd *sae_simd_at(int level);
int sae_simd_best(void);

#endif
