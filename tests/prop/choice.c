/* tests/prop/choice.c - Mutual Choice and Feature Choice: the published budgets, the Zipf fit,
 * selections by definition, and what they share with other variants bit for bit. */
#include "core/memory.h"
#include "core/probe.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/support.h"

#include <math.h>
#include <sae/stock_quota.h>
#include <sae/stock_zipf.h>
#include <string.h>

static sae_registry *reg;
static sae_engine engine;
static sae_ctx ctx;
static sae_err err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&engine, sae_find_backend(reg, "ref"), 0, 1, &err), err);
    ctx = (sae_ctx){.k = &engine.k, .dev = engine.dev, .be = engine.be};
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

/* ---- budgets --------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b)
{
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    return (p < q) - (p > q);
}

static int64_t count_of(const int64_t *v, int64_t n, int64_t what)
{
    int64_t count = 0;
    for (int64_t j = 0; j < n; j++)
        count += v[j] == what;
    return count;
}

/* Quotas of (n, k, B, alpha, beta) with rank = feature; they add up to k B. */
static int64_t *share_out(int64_t n, int64_t k, int64_t rows, double alpha, double beta, double u)
{
    int64_t sum = 0, *quota = calloc((size_t)n, sizeof *quota);
    double *weight = calloc((size_t)n, sizeof *weight);
    ck_assert(quota && weight);
    for (int64_t j = 0; j < n; j++)
        weight[j] = pow((double)(j + 1) + beta, -alpha);
    stock_quota q = {.weight = weight, .n = n, .M = k * rows, .B = rows};
    ck_assert_int_eq(stock_quota_fill(&ctx, &q, u, quota), SAE_OK);
    for (int64_t j = 0; j < n; j++)
        sum += quota[j];
    ck_assert_int_eq(sum, k * rows);
    free(weight);
    return quota;
}

/* Largest, median, how many features have 1 match and how many all B: the values of the routine of
 * the specification (section 2.2). */
START_TEST(published_budgets)
{
    static const struct {
        int64_t n, B;
        double alpha, beta;
        int64_t largest, median, ones, full;
    } want[] = {{12288, 4096, 1, 10, 1686, 3, 259, 0},
                {12288, 4096, 1, 0, 4096, 2, 2423, 3},
                {12288, 4096, 1.2, 0, 4096, 1, 7413, 6},
                {32768, 1024, 1, 10, 1, 1, 32768, 0}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int64_t n = want[i].n;
        int64_t *quota = share_out(n, 32, want[i].B, want[i].alpha, want[i].beta, -1);
        for (int64_t j = 1; j < n; j++)
            ck_assert_msg(quota[j] <= quota[j - 1], "case %d, rank %d", (int)i, (int)j + 1);
        qsort(quota, (size_t)n, sizeof *quota, descending);
        ck_assert_int_eq(quota[0], want[i].largest);
        ck_assert_int_eq(quota[n / 2], want[i].median);
        ck_assert_int_eq(count_of(quota, n, 1), want[i].ones);
        ck_assert_int_eq(count_of(quota, n, want[i].B), want[i].full);
        free(quota);
    }
}
END_TEST

/* Fewer matches than features: 0 or 1 each, of mean t_j. Over a grid of D offsets the count of a
 * feature is D t_j to within 1. */
START_TEST(random_budgets)
{
    enum { N = 96, ROWS = 16, DRAWS = 1000 };
    int64_t times[N] = {0};
    double sum = 0;
    for (int64_t d = 0; d < DRAWS; d++) {
        int64_t *quota = share_out(N, 2, ROWS, 0.5, 3, (0.5 + (double)d) / DRAWS);
        for (int64_t j = 0; j < N; j++) {
            ck_assert(quota[j] == 0 || quota[j] == 1);
            times[j] += quota[j];
        }
        free(quota);
    }
    for (int64_t j = 0; j < N; j++)
        sum += pow((double)(j + 1) + 3, -0.5);
    for (int64_t j = 0; j < N; j++) {
        double t = 2 * ROWS * pow((double)(j + 1) + 3, -0.5) / sum;
        ck_assert(t < 1);
        ck_assert_double_eq_tol((double)times[j], DRAWS * t, 1 + 1e-6);
    }
}
END_TEST

/* Edges: nothing to share, everything, one feature, no feature. */
START_TEST(extreme_budgets)
{
    free(share_out(5, 0, 7, 1, 0, -1));
    free(share_out(5, 5, 7, 1, 0, -1));
    free(share_out(1, 1, 7, 1, 0, -1));
    free(share_out(5, 1, 5, 3, 0, -1));
    stock_quota none = {.n = 0, .M = 0, .B = 4};
    ck_assert_int_eq(stock_quota_fill(&ctx, &none, -1, NULL), SAE_OK);
}
END_TEST

/* ---- the fit --------------------------------------------------------------------------------- */

/* Densities on a curve are fitted by that curve: with beta on the grid R^2 is 1 up to rounding, and
 * golden section keeps the better of two. */
START_TEST(fit_finds_the_curve)
{
    enum { N = 4000 };
    static const double curves[][3] = {{1, 16, 0.5}, {0.7, 0, 0.2}, {1.3, 256, 40}, {2, 4096, 1e5}};
    double density[N];
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        stock_curve f = {0, 0, 0, 0};
        for (int64_t r = 0; r < N; r++)
            density[r] = r < N - 500 ? curves[i][2] * pow((double)(r + 1) + curves[i][1],
                                                          -curves[i][0]) : 0;
        ck_assert_int_eq(stock_curve_fit(density, N, &f), 1);
        ck_assert_double_eq_tol(f.alpha, curves[i][0], 1e-3 * curves[i][0]);
        ck_assert_double_eq_tol(f.r2, 1, 1e-9);
        for (int64_t r = 1; r < N - 500; r += 97)
            ck_assert_double_eq_tol(stock_curve_at(&f, r) / density[r - 1], 1, 1e-3);
    }
}
END_TEST

START_TEST(fit_refuses_what_has_no_slope)
{
    const double flat[] = {0.5, 0.5, 0.5, 0.5}, two[] = {0.5, 0.25, 0, 0};
    stock_curve f = {7, 7, 7, 7};
    ck_assert_int_eq(stock_curve_fit(flat, 4, &f), 0);
    ck_assert_int_eq(stock_curve_fit(two, 4, &f), 0);
    ck_assert_int_eq(stock_curve_fit(NULL, 0, &f), 0);
    ck_assert(f.alpha == 7 && f.r2 == 7);
}
END_TEST

/* ---- selections ------------------------------------------------------------------------------ */

typedef struct subject {
    sae_spec spec;
    sae_probe p;
    sae_tape t;
} subject;

static void run_subject(subject *s, const char *spec, sae_probe_shape shape, enum sae_mode mode)
{
    memset(s, 0, sizeof *s);
    ck_assert_ok(sae_spec_parse(&s->spec, reg, SAE_KIND_VARIANT, spec, &err), err);
    ck_assert_ok(sae_probe_open(&s->p, s->spec.variant, s->spec.opts, shape, 3, &engine, &err),
                 err);
    s->p.ctx.mode = mode;
    ck_assert_ok(sae_probe_tape(&s->p, mode, &s->t), s->p.err);
    ck_assert_ok(sae_forward(&s->p.model, &s->p.ctx, &s->p.batch, &s->t, &engine), s->p.err);
    if (mode == SAE_TRAIN)
        ck_assert_ok(s->spec.variant->backward(&s->p.model, &s->p.ctx, &s->p.batch, &s->t),
                     s->p.err);
}

static void close_subject(subject *s)
{
    sae_tape_close(&s->t, &engine);
    sae_probe_close(&s->p);
    sae_spec_free(&s->spec);
}

static void same(const void *a, const void *b, size_t bytes, const char *what)
{
    ck_assert_msg(memcmp(a, b, bytes) == 0, "%s differ", what);
}

static void same_codes(const sae_code *a, const sae_code *b)
{
    ck_assert_int_eq(a->nnz, b->nnz);
    ck_assert_int_gt(a->nnz, 0);
    same(a->rowptr, b->rowptr, (size_t)(a->B + 1) * sizeof *a->rowptr, "rows");
    same(a->idx, b->idx, (size_t)a->nnz * sizeof *a->idx, "features");
    same(a->val, b->val, (size_t)a->nnz * sizeof *a->val, "values");
}

/* Mutual Choice selects as BatchTopK does, in training and, with the threshold that both have moved
 * there, in evaluation. dying=0 makes its dead-feature loss AuxK: every gradient is the same. */
START_TEST(mutual_choice_is_batchtopk)
{
    static const sae_probe_shape shapes[] = {{12, 8, 96}, {33, 7, 64}, {1, 5, 40}};
    for (size_t i = 0; i < 3; i++)
        for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++)
            for (int plain = 0; plain < 2; plain++) {
                subject a, b;
                run_subject(&a, plain ? "mutual_choice:k=3.5,zipf_start=0,dying=0"
                                      : "mutual_choice:k=3.5,zipf_start=0", shapes[i],
                            (enum sae_mode)mode);
                run_subject(&b, "batchtopk:k=3.5", shapes[i], (enum sae_mode)mode);
                same_codes(&a.t.code, &b.t.code);
                same(a.t.xhat, b.t.xhat, (size_t)(shapes[i].B * shapes[i].d) * sizeof *a.t.xhat,
                     "reconstructions");
                for (int k = 0; mode == SAE_TRAIN && plain && k < STOCK_TENSOR_COUNT; k++)
                    same(a.p.model.t[k].grad, b.p.model.t[k].grad,
                         (size_t)(a.p.model.t[k].rows * a.p.model.t[k].cols) *
                             sizeof *a.p.model.t[k].grad, "gradients");
                close_subject(&a);
                close_subject(&b);
            }
}
END_TEST

/* The example of the specification (section 2.1) at B = 2, n = 4: TopK, Mutual Choice and Feature
 * Choice with equal quotas. */
static void check_example(const char *spec, const int32_t *row0, int64_t count0,
                          const int32_t *row1, int64_t count1)
{
    static const sae_real scores[2][4] = {{0.9f, 0.1f, 0.2f, 0.3f}, {0.8f, 0.7f, 0.05f, 0.6f}};
    sae_probe_shape shape = {2, 2, 4};
    subject s;
    memset(&s, 0, sizeof s);
    ck_assert_ok(sae_spec_parse(&s.spec, reg, SAE_KIND_VARIANT, spec, &err), err);
    ck_assert_ok(sae_probe_open(&s.p, s.spec.variant, s.spec.opts, shape, 3, &engine, &err), err);
    ck_assert_ok(sae_probe_tape(&s.p, SAE_TRAIN, &s.t), s.p.err);
    sae_real *w = s.p.model.t[STOCK_W_ENC].w, *b_enc = s.p.model.t[STOCK_B_ENC].w;
    sae_real *b_dec = s.p.model.t[STOCK_B_DEC].w;
    for (int r = 0; r < 2; r++) {
        b_dec[r] = 0;
        for (int i = 0; i < 2; i++)
            s.p.x[2 * r + i] = r == i;
        for (int j = 0; j < 4; j++) {
            w[2 * j + r] = scores[r][j];
            b_enc[j] = 0;
        }
    }
    ck_assert_ok(sae_forward(&s.p.model, &s.p.ctx, &s.p.batch, &s.t, &engine), s.p.err);
    ck_assert_int_eq(s.t.code.rowptr[1], count0);
    ck_assert_int_eq(s.t.code.rowptr[2], count0 + count1);
    same(s.t.code.idx, row0, (size_t)count0 * sizeof *row0, "features of row 0");
    same(s.t.code.idx + count0, row1, (size_t)count1 * sizeof *row1, "features of row 1");
    close_subject(&s);
}

START_TEST(worked_example)
{
    const int32_t topk[] = {0, 3, 0, 1}, mutual[] = {0, 0, 1, 3}, feature[] = {0, 2, 1, 3};
    check_example("topk:k=2", topk, 2, topk + 2, 2);
    check_example("mutual_choice:k=2", mutual, 1, mutual + 1, 3);
    check_example("mutual_choice:k=2,topk_share=1", topk, 2, topk + 2, 2);
    check_example("feature_choice:k=2", mutual, 1, mutual + 1, 3);
    check_example("feature_choice:k=2,mutual_share=0,budget=uniform", feature, 2, feature + 2, 2);
}
END_TEST

Suite *suite_choice(void);
Suite *suite_choice(void)
{
    Suite *s = suite_create("choice");
    TCase *t = tcase_create("choice");
    tcase_add_unchecked_fixture(t, setup, teardown);
    tcase_add_test(t, published_budgets);
    tcase_add_test(t, random_budgets);
    tcase_add_test(t, extreme_budgets);
    tcase_add_test(t, fit_finds_the_curve);
    tcase_add_test(t, fit_refuses_what_has_no_slope);
    tcase_add_test(t, mutual_choice_is_batchtopk);
    tcase_add_test(t, worked_example);
    suite_add_tcase(s, t);
    return s;
}
