/* tests/prop/selection.c - laws of the variants that select entries of one encoder's output. */
#include "core/error.h"
#include "core/memory.h"
#include "core/probe.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { B = 12, D = 8, N = 96, SCALE = 4 };

static sae_registry *reg;
static sae_engine engine;
static sae_err err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&engine, sae_find_backend(reg, "ref"), 0, 1, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

/* A model with its tape in the mode; `spec` stays open for its options. */
typedef struct subject {
    sae_spec spec;
    sae_probe p;
    sae_tape t;
} subject;

static void take_mode(subject *s, enum sae_mode mode)
{
    sae_tape_close(&s->t, &engine);
    s->p.ctx.mode = mode;
    ck_assert_ok(sae_probe_tape(&s->p, mode, &s->t), s->p.err);
}

static void open_subject(subject *s, const char *spec, sae_probe_shape shape, enum sae_mode mode)
{
    memset(s, 0, sizeof *s);
    ck_assert_ok(sae_spec_parse(&s->spec, reg, SAE_KIND_VARIANT, spec, &err), err);
    ck_assert_ok(sae_probe_open(&s->p, s->spec.variant, s->spec.opts, shape, 3, &engine, &err),
                 err);
    take_mode(s, mode);
}

static void close_subject(subject *s)
{
    sae_tape_close(&s->t, &engine);
    sae_probe_close(&s->p);
    sae_spec_free(&s->spec);
}

static void forward(subject *s)
{
    ck_assert_ok(sae_forward(&s->p.model, &s->p.ctx, &s->p.batch, &s->t, &engine), s->p.err);
}

static sae_real *tensor(const subject *s, const char *name)
{
    const sae_tensor *t = sae_model_tensor(&s->p.model, name);
    ck_assert_ptr_nonnull(t);
    return t->w;
}

/* Value of entry (r, j), 0 when it is not listed. */
static sae_real entry(const sae_code *z, int64_t r, int64_t j)
{
    if (z->dense)
        return z->val[r * z->n + j];
    for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++)
        if (z->idx[i] == j)
            return z->val[i];
    return 0;
}

static int64_t active(const sae_code *z, int64_t r)
{
    int64_t count = 0;
    for (int64_t j = 0; j < z->n; j++)
        count += entry(z, r, j) != 0;
    return count;
}

static const sae_probe_shape shape = {B, D, N};

/* Every case in both modes. `free_rows`: TRAIN codes do not depend on other rows. */
static const struct {
    const char *spec;
    int free_rows;
} cases[] = {{"relu", 1},
             {"relu:decoder=free", 1},
             {"topk:k=5", 1},
             {"batchtopk:k=3.5", 0},
             {"abstopk:k=5", 1},
             {"batch_abstopk:k=3.5", 0}};
enum { CASES = sizeof cases / sizeof cases[0] };

/* ---- symmetries ------------------------------------------------------------------------------ */

/* A permutation of [0, m): multiplication by 5, coprime to the sizes used here. */
static int64_t moved(int64_t i, int64_t m)
{
    return 5 * i % m;
}

static void permute_rows(sae_real *a, int64_t rows, int64_t cols)
{
    sae_real old[N * D];
    ck_assert_int_le(rows * cols, N * D);
    memcpy(old, a, sizeof *a * (size_t)(rows * cols));
    for (int64_t r = 0; r < rows; r++)
        memcpy(a + moved(r, rows) * cols, old + r * cols, sizeof *a * (size_t)cols);
}

static void rows_move_codes(subject *s, subject *other, int exact)
{
    forward(s);
    permute_rows(other->p.x, B, D);
    forward(other);
    for (int64_t r = 0; r < B && exact; r++)
        for (int64_t j = 0; j < N; j++)
            ck_assert_msg(entry(&s->t.code, r, j) == entry(&other->t.code, moved(r, B), j),
                          "entry (%d, %d)", (int)r, (int)j);
}

START_TEST(permuted_rows_permute_codes)
{
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        subject s, other;
        open_subject(&s, cases[_i].spec, shape, (enum sae_mode)mode);
        open_subject(&other, cases[_i].spec, shape, (enum sae_mode)mode);
        rows_move_codes(&s, &other, mode == SAE_EVAL || cases[_i].free_rows);
        close_subject(&s);
        close_subject(&other);
    }
}
END_TEST

/* |a - b| of two sums of the same K products in different order: at most 2 K u S. */
static void same_reconstruction(const subject *a, const subject *b)
{
    const sae_real *w = tensor(a, "W_dec");
    for (int64_t r = 0; r < B; r++)
        for (int64_t i = 0; i < D; i++) {
            double size = fabs((double)tensor(a, "b_dec")[i]);
            for (int64_t j = 0; j < N; j++)
                size += fabs((double)entry(&a->t.code, r, j) * (double)w[j * D + i]);
            double bound = 2 * (N + 1) * ((double)FLT_EPSILON / 2) * size;
            ck_assert_double_le(fabs((double)a->t.xhat[r * D + i] - (double)b->t.xhat[r * D + i]),
                                bound);
        }
}

START_TEST(permuted_features_permute_codes)
{
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        subject s, other;
        open_subject(&s, cases[_i].spec, shape, (enum sae_mode)mode);
        open_subject(&other, cases[_i].spec, shape, (enum sae_mode)mode);
        permute_rows(tensor(&other, "W_enc"), N, D);
        permute_rows(tensor(&other, "b_enc"), N, 1);
        permute_rows(tensor(&other, "W_dec"), N, D);
        forward(&s);
        forward(&other);
        for (int64_t r = 0; r < B; r++)
            for (int64_t j = 0; j < N; j++)
                ck_assert(entry(&s.t.code, r, j) == entry(&other.t.code, r, moved(j, N)));
        same_reconstruction(&s, &other);
        close_subject(&s);
        close_subject(&other);
    }
}
END_TEST

static void scale(sae_real *a, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        a[i] *= SCALE;
}

/* Rows, biases and threshold times a power of two: everything scales, bit for bit. */
START_TEST(homogeneous)
{
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        subject s, other;
        open_subject(&s, cases[_i].spec, shape, (enum sae_mode)mode);
        open_subject(&other, cases[_i].spec, shape, (enum sae_mode)mode);
        scale(other.p.x, B * D);
        scale(tensor(&other, "b_enc"), N);
        scale(tensor(&other, "b_dec"), D);
        if (sae_model_tensor(&other.p.model, "theta"))
            *(double *)sae_model_tensor(&other.p.model, "theta")->w *= SCALE;
        forward(&s);
        forward(&other);
        for (int64_t i = 0; i < B * D; i++)
            ck_assert(SCALE * s.t.xhat[i] == other.t.xhat[i]);
        for (int64_t r = 0; r < B; r++)
            for (int64_t j = 0; j < N; j++)
                ck_assert(SCALE * entry(&s.t.code, r, j) == entry(&other.t.code, r, j));
        close_subject(&s);
        close_subject(&other);
    }
}
END_TEST

/* ---- how many -------------------------------------------------------------------------------- */

/* Active entries of the unselected encoder: positive ones, or all (an exact 0 does not occur). */
static int64_t eligible(int64_t r, int absolute)
{
    subject all;
    open_subject(&all, "relu", shape, SAE_TRAIN);
    forward(&all);
    int64_t count = absolute ? N : active(&all.t.code, r);
    close_subject(&all);
    return count;
}

START_TEST(counts_of_rows)
{
    static const struct {
        const char *spec;
        int64_t k;
        int absolute;
    } rules[] = {{"topk:k=5", 5, 0},   {"topk:k=1000", 1000, 0}, {"topk:k=0", 0, 0},
                 {"abstopk:k=5", 5, 1}, {"abstopk:k=1000", 1000, 1}};
    for (size_t c = 0; c < sizeof rules / sizeof rules[0]; c++) {
        subject s;
        open_subject(&s, rules[c].spec, shape, SAE_TRAIN);
        forward(&s);
        for (int64_t r = 0; r < B; r++) {
            int64_t most = eligible(r, rules[c].absolute);
            ck_assert_int_eq(active(&s.t.code, r), rules[c].k < most ? rules[c].k : most);
        }
        close_subject(&s);
    }
}
END_TEST

START_TEST(counts_of_batches)
{
    static const char *const specs[] = {"batchtopk:k=3.5", "batch_abstopk:k=3.5"};
    for (int c = 0; c < 2; c++) {
        subject s;
        int64_t total = 0;
        open_subject(&s, specs[c], shape, SAE_TRAIN);
        forward(&s);
        for (int64_t r = 0; r < B; r++)
            total += active(&s.t.code, r);
        ck_assert_int_eq(total, 42); /* floor(3.5 * 12) */
        close_subject(&s);
    }
}
END_TEST

/* ---- known vectors: the proximal table of the AbsTopK paper ---------------------------------- */

static void check_vector(const char *spec, const double *expected)
{
    static const sae_real u[4] = {-1, 2, -3, (sae_real)0.5};
    subject s;
    open_subject(&s, spec, (sae_probe_shape){1, 4, 4}, SAE_TRAIN);
    for (int i = 0; i < 16; i++)
        tensor(&s, "W_enc")[i] = i % 5 == 0;
    for (int i = 0; i < 4; i++)
        tensor(&s, "b_enc")[i] = tensor(&s, "b_dec")[i] = 0;
    memcpy(s.p.x, u, sizeof u);
    forward(&s);
    for (int64_t j = 0; j < 4; j++)
        ck_assert_double_eq((double)entry(&s.t.code, 0, j), expected[j]);
    close_subject(&s);
}

/* infer=batch: evaluation selects what training does, whatever theta is. */
START_TEST(batch_selection_at_inference)
{
    static const char *const specs[] = {"batchtopk:k=3.5,infer=batch",
                                        "batch_abstopk:k=3.5,infer=batch"};
    for (size_t i = 0; i < 2; i++) {
        subject s;
        sae_real train[B][N];
        open_subject(&s, specs[i], shape, SAE_TRAIN);
        ck_assert(s.p.v->caps_for(sae_opts_base(s.spec.opts)) & SAE_CAP_BATCH_EVAL);
        forward(&s);
        for (int64_t r = 0; r < B; r++)
            for (int64_t j = 0; j < N; j++)
                train[r][j] = entry(&s.t.code, r, j);
        *(double *)sae_model_tensor(&s.p.model, "theta")->w = 1e9;
        take_mode(&s, SAE_EVAL);
        forward(&s);
        ck_assert_int_eq(s.t.code.nnz, (int64_t)(3.5 * B));
        for (int64_t r = 0; r < B; r++)
            for (int64_t j = 0; j < N; j++)
                ck_assert(entry(&s.t.code, r, j) == train[r][j]);
        close_subject(&s);
    }
}
END_TEST

START_TEST(proximal_vectors)
{
    check_vector("relu", (const double[]){0, 2, 0, 0.5});
    check_vector("topk:k=3", (const double[]){0, 2, 0, 0.5});
    check_vector("topk:k=1", (const double[]){0, 2, 0, 0});
    check_vector("abstopk:k=3", (const double[]){-1, 2, -3, 0});
    check_vector("abstopk:k=1", (const double[]){0, 0, -3, 0});
    check_vector("batchtopk:k=1", (const double[]){0, 2, 0, 0});
}
END_TEST

/* Training's dense code and evaluation's sparse one list the same active entries. */
START_TEST(relu_modes_agree)
{
    subject s, e;
    open_subject(&s, "relu", shape, SAE_TRAIN);
    open_subject(&e, "relu", shape, SAE_EVAL);
    forward(&s);
    forward(&e);
    ck_assert(s.t.code.dense && !e.t.code.dense);
    for (int64_t r = 0; r < B; r++)
        for (int64_t j = 0; j < N; j++)
            ck_assert(entry(&s.t.code, r, j) == entry(&e.t.code, r, j));
    close_subject(&s);
    close_subject(&e);
}
END_TEST

/* ---- threshold ------------------------------------------------------------------------------- */

static double smallest_active(const sae_code *z)
{
    double least = DBL_MAX;
    for (int64_t i = 0; i < z->nnz; i++)
        if (z->val[i] != 0)
            least = fmin(least, fabs((double)z->val[i]));
    return least;
}

START_TEST(threshold_follows_the_batch)
{
    subject s;
    open_subject(&s, "batchtopk:k=3,theta_rate=0.25,theta_start=5", shape, SAE_TRAIN);
    double *theta = sae_model_tensor(&s.p.model, "theta")->w;
    ck_assert_double_eq(*theta, -1); /* the probe's three rounds lie before theta_start */
    forward(&s);
    double least = smallest_active(&s.t.code);
    s.p.ctx.step = 5;
    ck_assert_ok(s.p.v->adapt(&s.p.model, &s.p.ctx, &s.p.batch, &s.t), s.p.err);
    ck_assert_double_eq(*theta, least);
    *theta = 2 * least;
    ck_assert_ok(s.p.v->adapt(&s.p.model, &s.p.ctx, &s.p.batch, &s.t), s.p.err);
    ck_assert_double_eq(*theta, 2 * least - 0.25 * least);
    take_mode(&s, SAE_EVAL);
    *theta = least;
    forward(&s);
    ck_assert_double_gt(smallest_active(&s.t.code), least);
    close_subject(&s);
}
END_TEST

/* ---- initialisation -------------------------------------------------------------------------- */

static double sum_of_distances(const sae_real *x, const double *b)
{
    double total = 0;
    for (int64_t r = 0; r < B; r++) {
        double d2 = 0;
        for (int64_t i = 0; i < D; i++)
            d2 += ((double)x[r * D + i] - b[i]) * ((double)x[r * D + i] - b[i]);
        total += sqrt(d2);
    }
    return total;
}

/* init again, without the noise of the probe. */
static void init_subject(subject *s, const char *spec)
{
    open_subject(s, spec, shape, SAE_TRAIN);
    ck_assert_ok(s->p.v->init(&s->p.model, &s->p.ctx, &s->p.batch), s->p.err);
}

START_TEST(decoder_starts_at_unit_norm_and_tied)
{
    subject s;
    init_subject(&s, "topk:init_enc=0.5,init_b_dec=zero");
    for (int64_t j = 0; j < N; j++) {
        double norm2 = 0;
        for (int64_t i = j * D; i < (j + 1) * D; i++) {
            norm2 += (double)tensor(&s, "W_dec")[i] * (double)tensor(&s, "W_dec")[i];
            ck_assert(tensor(&s, "W_enc")[i] == (sae_real)0.5 * tensor(&s, "W_dec")[i]);
        }
        ck_assert_double_eq_tol(norm2, 1, 2 * (D + 2) * (double)FLT_EPSILON);
        ck_assert(tensor(&s, "b_enc")[j] == 0);
    }
    for (int64_t i = 0; i < D; i++)
        ck_assert(tensor(&s, "b_dec")[i] == 0);
    close_subject(&s);
}
END_TEST

START_TEST(bias_starts_at_mean_or_median)
{
    subject s;
    double b[D], mean[D] = {0}, size[D] = {0};
    init_subject(&s, "topk");
    for (int64_t i = 0; i < B * D; i++) {
        mean[i % D] += (double)s.p.x[i] / B;
        size[i % D] += fabs((double)s.p.x[i]) / B;
    }
    for (int64_t i = 0; i < D; i++) /* a sum of B terms and a product with 1 / B */
        ck_assert_double_eq_tol((double)tensor(&s, "b_dec")[i], mean[i],
                                (B + 2) * (double)FLT_EPSILON / 2 * size[i]);
    close_subject(&s);
    init_subject(&s, "topk:init_b_dec=median");
    for (int64_t i = 0; i < D; i++)
        b[i] = (double)tensor(&s, "b_dec")[i];
    double least = sum_of_distances(s.p.x, b);
    ck_assert_double_lt(least, sum_of_distances(s.p.x, mean));
    for (int64_t i = 0; i < D; i++)
        for (int sign = -1; sign <= 1; sign += 2) { /* a minimum: no step of 0.01 goes lower */
            b[i] += 0.01 * sign;
            ck_assert_double_lt(least, sum_of_distances(s.p.x, b));
            b[i] -= 0.01 * sign;
        }
    close_subject(&s);
}
END_TEST

/* ---- options --------------------------------------------------------------------------------- */

START_TEST(unit_rows_follow_the_option)
{
    static const struct {
        const char *spec;
        uint32_t flags;
    } rows[] = {{"relu", SAE_T_UNIT_ROWS}, {"relu:decoder=free", 0}, {"topk", SAE_T_UNIT_ROWS}};
    for (size_t c = 0; c < sizeof rows / sizeof rows[0]; c++) {
        subject s;
        open_subject(&s, rows[c].spec, shape, SAE_TRAIN);
        ck_assert_uint_eq(sae_model_tensor(&s.p.model, "W_dec")->flags, rows[c].flags);
        close_subject(&s);
    }
}
END_TEST

START_TEST(widths_must_be_equal)
{
    for (int c = 0; c < CASES; c++) {
        sae_spec spec;
        sae_err why = {0};
        sae_dims dim = {8, 9, 16, 16};
        ck_assert_ok(sae_spec_parse(&spec, reg, SAE_KIND_VARIANT, cases[c].spec, &err), err);
        ck_assert_int_eq(spec.variant->check(sae_opts_base(spec.opts), &dim, &why), SAE_EINVAL);
        ck_assert_ptr_nonnull(strstr(why.msg, "9"));
        sae_spec_free(&spec);
    }
}
END_TEST

/* Sizes that no memory holds are an error of workspace(), not an overflow. */
START_TEST(absurd_sizes_are_refused)
{
    for (int c = 0; c < CASES; c++) {
        sae_spec spec;
        sae_workspace ws;
        sae_dims dim = {INT64_MAX / 4, INT64_MAX / 4, INT64_MAX / 4, INT64_MAX / 4};
        ck_assert_ok(sae_spec_parse(&spec, reg, SAE_KIND_VARIANT, cases[c].spec, &err), err);
        const void *opt = sae_opts_base(spec.opts);
        ck_assert_int_eq(spec.variant->workspace(opt, &dim, INT64_MAX / 4, SAE_TRAIN, &ws),
                         SAE_ENOMEM);
        sae_spec_free(&spec);
    }
}
END_TEST

Suite *suite_selection(void);
Suite *suite_selection(void)
{
    Suite *s = suite_create("selection");
    TCase *t = tcase_create("laws");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, permuted_rows_permute_codes, 0, CASES);
    tcase_add_loop_test(t, permuted_features_permute_codes, 0, CASES);
    tcase_add_loop_test(t, homogeneous, 0, CASES);
    tcase_add_test(t, counts_of_rows);
    tcase_add_test(t, counts_of_batches);
    tcase_add_test(t, batch_selection_at_inference);
    tcase_add_test(t, proximal_vectors);
    tcase_add_test(t, relu_modes_agree);
    tcase_add_test(t, threshold_follows_the_batch);
    tcase_add_test(t, decoder_starts_at_unit_norm_and_tied);
    tcase_add_test(t, bias_starts_at_mean_or_median);
    tcase_add_test(t, unit_rows_follow_the_option);
    tcase_add_test(t, widths_must_be_equal);
    tcase_add_test(t, absurd_sizes_are_refused);
    suite_add_tcase(s, t);
    return s;
}
