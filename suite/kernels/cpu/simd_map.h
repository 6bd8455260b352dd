/* suite/kernels/cpu/simd_map.h - template: functions and products of single elements, and sums in
 * double.
 *
 * Part of simd_body.h, which says what the including file defines. Functions are computed in double
 * and rounded once; their own error, some 1e-11, does not show in a float.
 */
#include <sae/rng.h>

/* ---- exp and log, without branches ----------------------------------------------------------- */

/* 2^k times the Taylor series of the rest, |rest| <= ln 2 / 2: its 11th term is below 7e-12. */
static inline double exp_of(double x)
{
    const double round = 0x1.8p52; /* adding it leaves an integer in the low bits */
    x = x < -200 ? -200 : x;       /* both ends are out of the range of float */
    x = x > 200 ? 200 : x;
    double k = x * 0x1.71547652b82fep0 + round;
    double r = x - (k - round) * 0x1.62e42fefa39efp-1;
    double e = 1.0 / 362880;
    e = e * r + 1.0 / 40320;
    e = e * r + 1.0 / 5040;
    e = e * r + 1.0 / 720;
    e = e * r + 1.0 / 120;
    e = e * r + 1.0 / 24;
    e = e * r + 1.0 / 6;
    e = e * r + 0.5;
    e = e * r + 1;
    e = e * r + 1;
    return e * sae_bits_double((sae_double_bits(k) + 1023) << 52);
}

/* Of a positive float: k ln 2 + ln m, m in [sqrt 1/2, sqrt 2), by the series of atanh. */
static inline double log_of(double x)
{
    const uint64_t half_root = UINT64_C(0x3fe6a09e667f3bcd);
    uint64_t u = sae_double_bits(x), over = u - half_root + (UINT64_C(1024) << 52);
    double k = sae_bits_double(over >> 52 | UINT64_C(0x4330000000000000)) - (0x1p52 + 1024);
    double m = sae_bits_double((over & (UINT64_MAX >> 12)) + half_root);
    double s = (m - 1) / (m + 1), t = s * s;
    double series = 1.0 / 13;
    series = series * t + 1.0 / 11;
    series = series * t + 1.0 / 9;
    series = series * t + 1.0 / 7;
    series = series * t + 1.0 / 5;
    series = series * t + 1.0 / 3;
    series = series * t + 1;
    return k * 0x1.62e42fefa39efp-1 + 2 * s * series;
}

static inline double tanh_of(double x)
{
    double t = x < 0 ? -x : x, far = 1 - 2 / (exp_of(2 * t) + 1);
    double near = x - x * x * x * (1.0 / 3 - x * x * (2.0 / 15)); /* next: 17/315 x^7 */
    return t < 0x1p-7 ? near : x < 0 ? -far : far;
}

static inline double power_of(double x, double p)
{
    double l = x < (double)INFINITY ? log_of(x) : 0x1p1000;
    return x > 0 ? exp_of(p * l) : x <= 0 ? 0 : x;
}

/* ---- elementwise ----------------------------------------------------------------------------- */

/* out may be an input: no iteration sees another's result. */
#define EACH(formula)                                                                              \
    _Pragma("omp simd")                                                                            \
    for (int64_t i = 0; i < n; i++)                                                                \
    out[i] = (float)(formula)

static void map(enum sae_fn f, double p, double q, const float *x, float *out, int64_t n)
{
    switch (f) {
    case SAE_FN_EXP:
        EACH(exp_of((double)x[i]));
        break;
    case SAE_FN_TANH:
        EACH(tanh_of((double)x[i]));
        break;
    case SAE_FN_ABS:
        EACH(fabsf(x[i]));
        break;
    case SAE_FN_SIGN:
        EACH(x[i] > 0 ? 1 : x[i] < 0 ? -1 : x[i] == 0 ? 0 : x[i]);
        break;
    case SAE_FN_POWER:
        EACH(power_of((double)x[i], p));
        break;
    case SAE_FN_CLAMP:
        EACH((double)x[i] < p ? p : (double)x[i] > q ? q : (double)x[i]);
        break;
    }
}

static void mul(double alpha, const float *a, const float *b, float *out, int64_t n)
{
    EACH(alpha * (double)a[i] * (double)b[i]);
}

static void scale_by(const float *x, double row, const float *col, float *out, int64_t n)
{
    if (col)
        EACH(row * (double)col[i] * (double)x[i]);
    else
        EACH(row * (double)x[i]);
}

static void window(const float *value, const float *gate_, float half, float *out, int64_t n)
{
    EACH(gate_[i] != gate_[i] ? gate_[i] : fabsf(gate_[i]) < half ? value[i] : 0);
}

static void max_to(float *acc, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        acc[i] = x[i] > acc[i] ? x[i] : acc[i];
}

/* ---- random numbers -------------------------------------------------------------------------- */

/* First the words, four by a call, then the pairs: both loops become vector code. */
static void normals(uint64_t seed, uint32_t stream, uint64_t row, int64_t n, float *out)
{
    enum { CALLS = 64 };
    uint32_t word[4 * CALLS];
    float z[4 * CALLS];
    for (int64_t i = 0; i < n; i += 4 * CALLS) {
        int64_t live = n - i < 4 * CALLS ? n - i : 4 * CALLS;
        for (int k = 0; k < (live + 3) / 4; k++) {
            sae_u4 u = sae_philox(seed, stream, row, (uint32_t)(i / 4) + (uint32_t)k);
            for (int h = 0; h < 4; h++)
                word[4 * k + h] = u.v[h];
        }
        for (int k = 0; k < (live + 1) / 2; k++) {
            double pair[2];
            sae_normal_pair(word[2 * k], word[2 * k + 1], pair);
            z[2 * k] = (float)pair[0];
            z[2 * k + 1] = (float)pair[1];
        }
        memcpy(out + i, z, (size_t)live * sizeof *z);
    }
}

/* ---- in double ------------------------------------------------------------------------------- */

typedef double vd __attribute__((vector_size(4 * SIMD_VL)));
typedef double vdu __attribute__((vector_size(4 * SIMD_VL), aligned(8), may_alias));

/* Products of floats are exact in double: the chains over the rows are those of the reference. */
static void cross(int64_t rows, const double *a, const double *b, double *tile)
{
    enum { PART = VL / 2 };
    vd acc[SAE_CROSS_HEIGHT][2];
    for (int h = 0; h < SAE_CROSS_HEIGHT; h++) {
        acc[h][0] = *(const vdu *)(tile + h * VL);
        acc[h][1] = *(const vdu *)(tile + h * VL + PART);
    }
    for (int64_t r = 0; r < rows; r++, a += SAE_CROSS_HEIGHT, b += VL) {
        vd b0 = *(const vdu *)b, b1 = *(const vdu *)(b + PART);
        for (int h = 0; h < SAE_CROSS_HEIGHT; h++) {
            acc[h][0] += b0 * a[h];
            acc[h][1] += b1 * a[h];
        }
    }
    for (int h = 0; h < SAE_CROSS_HEIGHT; h++) {
        *(vdu *)(tile + h * VL) = acc[h][0];
        *(vdu *)(tile + h * VL + PART) = acc[h][1];
    }
}

/* 16 lanes, folded by halves. */
static double wide_dot(const double *r, const float *w, int64_t n)
{
    double lane[SAE_SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SAE_SUM_LANES <= n; i += SAE_SUM_LANES)
        for (int l = 0; l < SAE_SUM_LANES; l++)
            lane[l] += r[i + l] * (double)w[i + l];
    for (int l = 0; i < n; i++, l++)
        lane[l] += r[i] * (double)w[i];
    return sae_fold_lanes(lane);
}

static double wide_add(double *restrict r, double by, const float *restrict w, int64_t n)
{
    double lane[SAE_SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SAE_SUM_LANES <= n; i += SAE_SUM_LANES)
        for (int l = 0; l < SAE_SUM_LANES; l++) {
            r[i + l] += by * (double)w[i + l];
            lane[l] += r[i + l] * r[i + l];
        }
    for (int l = 0; i < n; i++, l++) {
        r[i] += by * (double)w[i];
        lane[l] += r[i] * r[i];
    }
    return sae_fold_lanes(lane);
}

/* ---- the largest score ----------------------------------------------------------------------- */

static inline vf larger(vf a, vf b) /* b where a is NaN */
{
    vi more = a > b;
    return (vf)(((vi)a & more) | ((vi)b & ~more));
}

static float peak(float *c, float by, const float *g, int64_t n, uint32_t mask)
{
    vf top[2] = {all(-INFINITY), all(-INFINITY)};
    float best = -INFINITY, lane[VL];
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        for (int q = 0; q < 2; q++) {
            vf x = load(c + i + q * VL);
            if (g) {
                x += load(g + i + q * VL) * by;
                store(c + i + q * VL, x);
            }
            top[q] = larger(score_of(x, mask), top[q]);
        }
    for (; i < n; i++) {
        if (g)
            c[i] += g[i] * by;
        float score = mask >> 31 ? c[i] : fabsf(c[i]);
        best = score > best ? score : best;
    }
    store(lane, larger(top[0], top[1]));
    for (int l = 0; l < VL; l++)
        best = lane[l] > best ? lane[l] : best;
    return best;
}
