/* tests/models/lm_math.c - exponential, norms, gate and attention against double arithmetic. */
#include "models/lm_math.h"

#include "support/support.h"
#include <sae/rng.h>

#include <math.h>
#include <stdlib.h>

static float normal(uint32_t stream, int64_t i)
{
    return (float)sae_normal(5, SAE_STREAM_SYNTHETIC + stream, 0, (uint32_t)i);
}

/* 2 ulp of float: the rounding of r (half an ulp of a number below 0.35, twice), of the last two
 * steps of the series and of the product; the truncated tail is 6e-9. */
START_TEST(exponential)
{
    double worst = 0;
    for (int i = -86000; i <= 87900; i++) {
        float x = (float)i * 1e-3f + 1.7e-5f;
        double want = exp((double)x);
        worst = fmax(worst, fabs((double)sae_lm_exp(x) - want) / want);
    }
    ck_assert_msg(worst <= 2 * 0x1p-23, "relative error %g", worst);
    ck_assert(sae_lm_exp(0.0f) == 1.0f);
    ck_assert(sae_lm_exp(-INFINITY) == sae_lm_exp(-87.0f) && sae_lm_exp(-88.0f) > 0.0f);
    ck_assert(isfinite(sae_lm_exp(INFINITY)) && sae_lm_exp(1e30f) == sae_lm_exp(88.0f));
    ck_assert(isnan(sae_lm_exp(NAN)) && isnan(sae_lm_exp(-NAN)));
}
END_TEST

START_TEST(norms)
{
    enum { ROWS = 3, N = 37 };
    float x[ROWS * N], w[N], out[ROWS * N];
    for (int i = 0; i < ROWS * N; i++)
        x[i] = i < N ? 0.0f : 3 * normal(0, i); /* a row of zeros */
    for (int i = 0; i < N; i++)
        w[i] = normal(1, i);
    for (int kind = SAE_LM_NORM_RMS; kind <= SAE_LM_NORM_UNIT; kind++) {
        int rms = kind == SAE_LM_NORM_RMS;
        sae_lm_normer k = {(enum sae_lm_norm)kind, 1e-5, N, rms ? w : NULL, NULL};
        ck_assert_int_eq(sae_lm_host_ops.norm(NULL, &k, ROWS, x, out), SAE_OK);
        for (int r = 0; r < ROWS; r++) {
            double s = 0;
            for (int i = 0; i < N; i++)
                s += (double)x[r * N + i] * (double)x[r * N + i];
            double f = rms ? 1 / sqrt(s / N + 1e-5) : 1 / (fmax(sqrt(s), 1e-12) * sqrt(N));
            for (int i = 0; i < N; i++) { /* three roundings: the factor and two products */
                double want = (double)x[r * N + i] * f * (rms ? (double)w[i] : 1);
                ck_assert_double_eq_tol((double)out[r * N + i], want,
                                        4 * 0x1p-24 * fabs(want) + 0x1p-126);
            }
        }
    }
}
END_TEST

START_TEST(gate)
{
    enum { N = 45 };
    float gu[2 * N], out[N];
    for (int i = 0; i < N; i++) {
        gu[i] = (float)(i - 22) * 6; /* beyond where the exponential saturates */
        gu[N + i] = normal(2, i);
    }
    ck_assert_int_eq(sae_lm_host_ops.mix(NULL, SAE_LM_SILU, 1, 1, N, gu, out), SAE_OK);
    for (int i = 0; i < N; i++) {
        double g = (double)gu[i], want = g / (1 + exp(-g)) * (double)gu[N + i];
        /* exponential 2 ulp, sum, quotient, product; below -87 the exponential stops growing */
        double floor = g < -87 ? 1e-35 : 0x1p-126;
        ck_assert_double_eq_tol((double)out[i], want, 8 * 0x1p-24 * fabs(want) + floor);
    }
}
END_TEST

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct shape {
    int64_t heads, kv_heads, head, T;
} shape;
static const shape shapes[] = {
    {1, 1, 2, 1},  {2, 1, 6, 2},   {4, 2, 8, 15},   {3, 3, 4, 16},  {2, 2, 64, 17},
    {6, 2, 20, 33}, {8, 4, 16, 100}, {2, 1, 128, 48},
};

/* Component c of a head at a position, rotated: pairs (c, c + head / 2). */
static double rotated(const float *x, int64_t head, int64_t c, int64_t pos)
{
    int64_t half = head / 2, i = c % half;
    double a = (double)pos * pow(10000.0, -2.0 * (double)i / (double)head);
    double first = (double)x[i], second = (double)x[half + i];
    return c < half ? first * cos(a) - second * sin(a) : second * cos(a) + first * sin(a);
}

/* Output of query head h at position t. */
static void attend_slowly(const shape *s, const float *qkv, int64_t h, int64_t t, double *out)
{
    int64_t ld = (s->heads + 2 * s->kv_heads) * s->head, kv = h / (s->heads / s->kv_heads);
    double sum = 0, *p = calloc((size_t)t + 1, sizeof *p);
    const float *q = qkv + t * ld + h * s->head;
    for (int64_t j = 0; j <= t; j++) {
        const float *k = qkv + j * ld + (s->heads + kv) * s->head;
        for (int64_t c = 0; c < s->head; c++)
            p[j] += rotated(q, s->head, c, t) * rotated(k, s->head, c, j);
        p[j] = exp(p[j] / sqrt((double)s->head));
        sum += p[j];
    }
    for (int64_t c = 0; c < s->head; c++) {
        out[c] = 0;
        for (int64_t j = 0; j <= t; j++)
            out[c] += p[j] / sum *
                      (double)qkv[j * ld + (s->heads + s->kv_heads + kv) * s->head + c];
    }
    free(p);
}

/* Components are normal, so a score is a sum of `head` products with |q| |k| / sqrt(head) below
 * 4 sqrt(head); its error, head + 4 roundings of that, moves every weight by as much relatively,
 * and so the output, a mean of values below 4.5, on top of T roundings of its own sums. */
START_TEST(attention)
{
    const shape *s = &shapes[_i];
    int64_t width = s->heads * s->head, ld = width + 2 * s->kv_heads * s->head, rows = 2 * s->T;
    int64_t start[3] = {0, s->T, rows};
    sae_real *rope = calloc((size_t)(s->T * s->head), sizeof *rope);
    int32_t *pos = calloc((size_t)rows, sizeof *pos);
    float *qkv = calloc((size_t)(rows * ld), sizeof *qkv);
    float *turned = calloc((size_t)(rows * ld), sizeof *turned);
    float *out = calloc((size_t)(rows * width), sizeof *out);
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t i = 0; i < s->head / 2; i++) {
            double a = (double)t * pow(10000.0, -2.0 * (double)i / (double)s->head);
            rope[t * s->head + i] = (float)cos(a);
            rope[t * s->head + s->head / 2 + i] = (float)sin(a);
        }
    for (int64_t i = 0; i < rows * ld; i++)
        qkv[i] = normal(3, i);
    for (int64_t r = 0; r < rows; r++)
        pos[r] = (int32_t)(r % s->T);
    sae_lm_heads heads = {.heads = s->heads, .kv_heads = s->kv_heads, .head = s->head,
                      .rotary = s->head, .rope = rope, .window = s->T,
                      .scale = 1 / sqrt((double)s->head)};
    sae_lm_rows g = {.N = 2, .rows = rows, .longest = s->T, .start = start, .pos = pos};
    size_t count = (size_t)sae_lm_host_ops.attention_room(&heads, rows, s->T, 0);
    float *room = aligned_alloc(64, count * sizeof *room);
    for (size_t i = 0; i < count; i++)
        room[i] = NAN; /* scratch is not assumed to be anything */
    ck_assert_int_eq(sae_lm_host_ops.position(NULL, &heads, &g, qkv, turned), SAE_OK);
    ck_assert_int_eq(sae_lm_host_ops.attention(NULL, &heads, &g, NULL, turned, out, room), SAE_OK);
    free(turned);
    free(room);
    free(rope);
    free(pos);
    double score = 4 * sqrt((double)s->head) * (double)(s->head + 4) * 0x1p-24;
    double bound = 4.5 * (2 * score + (double)(s->T + 8) * 0x1p-24);
    double *want = calloc((size_t)s->head, sizeof *want);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < s->heads; h++) {
            attend_slowly(s, qkv + (r < s->T ? 0 : s->T) * ld, h, r % s->T, want);
            for (int64_t c = 0; c < s->head; c++)
                ck_assert_double_eq_tol((double)out[r * width + h * s->head + c], want[c], bound);
        }
    free(want);
    free(qkv);
    free(out);
}
END_TEST

Suite *suite_lm_math(void)
{
    Suite *s = suite_create("lm_math");
    TCase *t = tcase_create("lm_math");
    tcase_add_test(t, exponential);
    tcase_add_test(t, norms);
    tcase_add_test(t, gate);
    tcase_add_loop_test(t, attention, 0, sizeof shapes / sizeof shapes[0]);
    suite_add_tcase(s, t);
    return s;
}
