/* tests/eval/runner.c - the evaluation runner on rows in memory. */
#include "core/log.h"
#include "eval/rig.h"

#include <sae/rng.h>

enum { D = 8, ROWS = 500 };

static float rows[ROWS * D], grad[ROWS * D], truth[ROWS * 2], atoms[2 * D];
static sae_token tok[ROWS];
static rig g, other;
static const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};

static void setup(void)
{
    for (uint32_t i = 0; i < ROWS * D; i++) {
        rows[i] = (float)(1 + sae_normal(1, SAE_STREAM_SYNTHETIC, 0, i));
        grad[i] = (float)sae_normal(1, SAE_STREAM_SYNTHETIC, 1, i);
    }
    for (uint32_t r = 0; r < ROWS; r++)
        tok[r] = (sae_token){r / 9, r % 9, r};
    rig_open(&g, rows, ROWS, D, "ref");
    g.src.tok = tok;
    g.ds.gives = SAE_GIVES_TOKENS;
}

static void teardown(void)
{
    rig_close(&g);
}

/* Any batch size, bitwise; one batch at a time is the reference. */
START_TEST(batches_do_not_matter)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    static const int64_t B[] = {1, 7, 499, 500, 4096};
    for (size_t i = 0; i < sizeof B / sizeof B[0]; i++) {
        g.stream.B = B[i];
        ck_assert_ok(rig_run(&g, 0), g.err);
        ck_assert_mem_eq(g.result, other.result, sizeof g.result);
        ck_assert_mem_eq(g.point, other.point, sizeof g.point);
    }
    ck_assert_double_eq(rig_value(&g, 0, "reconstruction.mse"), 0);
    ck_assert_double_eq(rig_value(&g, 1, "reconstruction.nmse"), 1);
    ck_assert_double_eq(rig_value(&g, 1, "reconstruction.cosine"), 0);
    ck_assert_double_eq(rig_value(&g, 0, "sparsity.density_max"), 1);
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, ROWS);
    ck_assert_double_eq(rig_find(&g, 0, "reconstruction.mse")->se, 0);
}
END_TEST

/* An SAE is measured the same alone and in company. */
START_TEST(subjects_do_not_matter)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    g.subject[0] = g.subject[1];
    g.subjects = 1;
    ck_assert_ok(rig_run(&g, 0), g.err);
    for (int i = 0; i < g.results; i++)
        ck_assert_mem_eq(&g.result[i].value, &rig_find(&other, 1, g.result[i].key)->value,
                         sizeof(double));
    g.subjects = 2;
}
END_TEST

START_TEST(rows_are_limited)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    ck_assert_ok(rig_run(&g, 100), g.err);
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, 100);
    ck_assert_ok(rig_run(&g, 10 * ROWS), g.err); /* never a second epoch */
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, ROWS);
}
END_TEST

/* Without documents every row is its own: the error of the mean is the textbook one. */
START_TEST(rows_without_documents_are_independent)
{
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
    g.src.tok = NULL;
    g.ds.gives = 0;
    ck_assert_ok(rig_run(&g, 0), g.err);
    double sum = 0, sum2 = 0;
    for (int r = 0; r < ROWS; r++) {
        double xx = 0;
        for (int i = 0; i < D; i++)
            xx += pow((double)rows[r * D + i], 2);
        sum += xx / ROWS;
        sum2 += xx * xx / ROWS;
    }
    /* m = 220 filled groups of about two rows: relative deviation of the estimate 1 / sqrt(2 m)
     * times a kurtosis factor below 2; four of these */
    double se = rig_find(&g, 0, "reconstruction.mse")->se;
    ck_assert_double_eq_tol(se / sqrt((sum2 - sum * sum) / ROWS), 1, 4 * 2 / sqrt(2 * 220.0));
}
END_TEST

/* Each SAE sees its own normalisation and gives back raw units. */
START_TEST(normalisation_is_undone)
{
    sae_norm_const scaled = {.kind = SAE_NORM_MEAN_SQ1, .scale = 3};
    sae_norm_const unit = {.kind = SAE_NORM_UNIT_ROW, .scale = 1};
    rig_probe(&g, "scaled", run_identity, NULL, scaled);
    rig_probe(&g, "unit", run_identity, NULL, unit);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    ck_assert_ok(rig_run(&g, 0), g.err);
    for (int i = 0; i < 2; i++) /* two roundings of 2^-24 per element */
        ck_assert_double_lt(rig_value(&g, i, "reconstruction.rel_error_p99"), 3 * 0x1p-24);
    double l0 = rig_value(&g, 0, "sparsity.l0");
    /* raw units; one rounding of each side */
    ck_assert_double_eq_tol(rig_value(&g, 0, "sparsity.l1") / (3 * l0), 1, 2 * 0x1p-53);
}
END_TEST

START_TEST(gradients_in_model_units)
{
    sae_norm_const scaled = {.kind = SAE_NORM_MEAN_SQ1, .scale = 4};
    rig_probe(&g, "gradient", run_gradient, gradient_needs, scaled);
    rig_metric(&g, "reconstruction");
    ck_assert_int_eq(rig_run(&g, 0), SAE_ENEEDS);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "gradients"));
    g.ds.gives |= SAE_GIVES_GRAD;
    g.src.g = grad;
    ck_assert_ok(rig_run(&g, 0), g.err);
    /* the probe outputs 4 g, which becomes 16 g in raw units */
    double hh = 0, xh = 0;
    for (int i = 0; i < ROWS * D; i++) {
        hh += pow(16 * (double)grad[i], 2);
        xh += 16 * (double)grad[i] * (double)rows[i];
    }
    ck_assert_double_eq_tol(rig_value(&g, 0, "reconstruction.relative_bias") / (hh / xh), 1, 1e-9);
}
END_TEST

/* SAEs with a target are compared with it, in their own units; the others in the same evaluation
 * with their input. */
START_TEST(targets)
{
    enum { OUT = 3 };
    static float y[ROWS * OUT];
    double mean[OUT] = {0};
    for (uint32_t i = 0; i < ROWS * OUT; i++)
        y[i] = (float)(5 + sae_normal(1, SAE_STREAM_SYNTHETIC, 2, i));
    g.src.y = y;
    g.src.d_out = OUT;
    g.target = (sae_norm_const){.kind = SAE_NORM_UNIT_ROW, .scale = 1};
    rig_probe(&g, "target", run_target, target_needs, none);
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "nothing", run_zero, target_needs, none);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    ck_assert_int_eq(rig_run(&g, 0), SAE_ENEEDS);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "needs a separate target"));
    g.ds.gives |= SAE_GIVES_TARGET;
    g.stream.dim.d_out = OUT;
    g.stream.target = (sae_norm_const){.scale = 1, .mean = mean};
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_lt(rig_value(&g, 0, "reconstruction.nmse"), 9 * 0x1p-48); /* to and fro */
    ck_assert_double_eq(rig_value(&g, 1, "reconstruction.mse"), 0);
    ck_assert_double_eq(rig_value(&g, 2, "reconstruction.nmse"), 1);
    double sum = 0;
    for (int i = 0; i < ROWS * OUT; i++)
        sum += (double)y[i] * (double)y[i];
    ck_assert_double_eq_tol(rig_value(&g, 2, "reconstruction.mse") / (sum / ROWS), 1, 1e-12);
    ck_assert_double_eq(rig_value(&g, 0, "sparsity.l0"), rig_value(&g, 1, "sparsity.l0"));
}
END_TEST

/* One SAE's gradients are not shown to another. */
START_TEST(undeclared_inputs_are_not_shown)
{
    g.ds.gives |= SAE_GIVES_GRAD;
    g.src.g = grad;
    rig_probe(&g, "gradient", run_gradient, gradient_needs, none);
    rig_probe(&g, "alone", run_alone, NULL, none);
    rig_metric(&g, "reconstruction");
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, 1, "reconstruction.mse"), 0);
}
END_TEST

static char logged[4096];
static void keep_log(void *arg, enum sae_level level, const char *component, const char *message)
{
    (void)arg, (void)level, (void)component;
    strncat(logged, message, sizeof logged - strlen(logged) - 1);
}

START_TEST(unmet_needs_are_skipped)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "downstream");
    rig_metric(&g, "recovery");
    sae_log_to(keep_log, NULL, SAE_LOG_INFO);
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_int_eq(g.results, 0);
    ck_assert_ptr_nonnull(strstr(logged, "downstream skipped: dataset memory gives no language"));
    ck_assert_ptr_nonnull(strstr(logged, "recovery skipped: dataset memory gives no ground truth"));
    rig_metric(&g, "reconstruction");
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_int_eq(g.results, 15);
    sae_log_to(NULL, NULL, SAE_LOG_INFO);
}
END_TEST

START_TEST(truth_reaches_recovery)
{
    sae_code code = {.B = ROWS, .n = 2, .nnz = 2 * ROWS, .cap = 2 * ROWS, .dense = 1, .val = truth};
    for (int r = 0; r < ROWS; r++) { /* what the probe emits */
        truth[2 * r] = 1;
        truth[2 * r + 1] = rows[r * D] > 0 ? 1 : 0;
    }
    atoms[0] = atoms[D + 1] = 1;
    rig_probe(&g, "identity", run_identity, NULL, none);
    memcpy(g.model[0].t[0].w, atoms, sizeof atoms);
    g.ds.gives |= SAE_GIVES_TRUTH;
    g.src.truth = (sae_truth){2, D, atoms, &code, NULL};
    rig_metric(&g, "recovery");
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, 0, "recovery.matched_cosine"), 1);
    ck_assert_double_eq(rig_value(&g, 0, "recovery.support_f1"), 1);
}
END_TEST

START_TEST(training_statistics_reach_metrics)
{
    uint64_t last[2] = {900, 0}, count[2] = {10, 0};
    sae_stats stats = {2, 1000, last, count};
    rig_probe(&g, "identity", run_identity, NULL, none);
    g.subject[0].stats = &stats;
    rig_metric(&g, "sparsity");
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, 0, "sparsity.train_dead_share"), 0.5);
    g.subject[0].stats = NULL;
    ck_assert_ok(rig_run(&g, 0), g.err);
    for (int i = 0; i < g.results; i++)
        ck_assert_str_ne(g.result[i].key, "sparsity.train_dead_share");
}
END_TEST

/* ---- a metric that wants two passes ---------------------------------------------------------- */

typedef struct passes {
    int64_t rows, ends;
} passes;
static size_t passes_size(const sae_measure *r)
{
    (void)r;
    return sizeof(passes);
}
static int passes_begin(const sae_measure *r, void *s)
{
    (void)r, (void)s;
    return SAE_OK;
}
static int passes_batch(const sae_measure *r, void *s, const sae_eval *e)
{
    (void)r;
    ck_assert(!e->xhat && !e->code && !e->truth && !e->splice && !e->g && !e->label);
    ((passes *)s)->rows += e->B;
    return SAE_OK;
}
static int passes_merge(const sae_measure *r, void *a, const void *b)
{
    (void)r, (void)a, (void)b;
    return SAE_OK;
}
static int passes_end(const sae_measure *r, void *s)
{
    passes *p = s;
    if (++p->ends < 2)
        return SAE_AGAIN;
    sae_row row = {"rows", (double)p->rows, 0, 0, "rows", SAE_INFO};
    return r->emit(r->sink, &row);
}
static const sae_metric passes_metric = {.name = "passes", .opt_size = 1, .options = no_options,
                                         .state_size = passes_size, .begin = passes_begin,
                                         .batch = passes_batch, .merge = passes_merge,
                                         .end = passes_end};

START_TEST(another_pass)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    g.metric[1] = &(sae_spec){.name = "passes", .metric = &passes_metric, .opts = g.spec[0].opts};
    g.metrics = 2;
    ck_assert_ok(rig_run(&g, 0), g.err);
    g.metrics = 1;
    ck_assert_double_eq(rig_value(&g, 0, "passes.rows"), 2 * ROWS);
    /* metrics that were done after the first pass saw every row once */
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, ROWS);
}
END_TEST

/* Takes the first batch of a pass only; with its wants it would see codes. */
static int64_t coded;
static int early_batch(const sae_measure *r, void *s, const sae_eval *e)
{
    (void)r;
    ck_assert(!e->code && e->row0 == 0);
    ((passes *)s)->rows += e->B;
    return SAE_DONE;
}
static uint32_t early_wants(const void *opt)
{
    (void)opt;
    return 0;
}
static int counted_identity(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    int rc = run_identity(m, c, b, t);
    coded += rc == SAE_OK ? b->B : 0; /* it is asked again where the code needs more room */
    return rc;
}

START_TEST(a_pass_ends_early)
{
    const sae_metric early = {.name = "early", .opt_size = 1, .options = no_options,
                              .wants = SAE_MNEED_CODE, .wants_for = early_wants,
                              .state_size = passes_size, .begin = passes_begin,
                              .batch = early_batch, .merge = passes_merge, .end = passes_end};
    rig_probe(&g, "identity", counted_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    sae_spec *all = g.metric[0], spec = {.name = "early", .metric = &early, .opts = all->opts};
    g.metric[1] = &spec;
    g.metrics = 2;
    coded = 0;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, 0, "early.rows"), 2 * (double)g.stream.B);
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, ROWS);
    ck_assert_int_eq(coded, ROWS + g.stream.B); /* all for the other metric, then one batch */
    g.metric[0] = &spec;
    g.metrics = 1;
    coded = 0;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_int_eq(coded, 2 * g.stream.B);
    g.metric[0] = all;
}
END_TEST

/* ---- a metric of pairs ----------------------------------------------------------------------- */

static int pairs_wanted(const sae_measure *r)
{
    ck_assert_ptr_ne(r->m, r->peer->m);
    ck_assert(r->spec && r->peer->spec);
    return strcmp(r->spec, r->peer->spec) < 0;
}
static size_t pairs_size(const sae_measure *r)
{
    (void)r;
    return sizeof(double);
}
/* The squared distance of the two reconstructions. */
static int pairs_batch(const sae_measure *r, void *s, const sae_eval *e)
{
    (void)r;
    ck_assert(e->peer && e->peer->xhat && !e->peer->code && !e->code);
    for (int64_t i = 0; i < e->B * e->d; i++)
        *(double *)s += pow((double)e->xhat[i] - (double)e->peer->xhat[i], 2);
    return SAE_OK;
}
static int pairs_end(const sae_measure *r, void *s)
{
    sae_row row = {"distance", *(double *)s, (double)NAN, 0, "x^2", SAE_INFO};
    return r->emit(r->sink, &row);
}
static const sae_metric pairs_metric = {.name = "pairs", .opt_size = 1, .options = no_options,
                                        .needs = SAE_MNEED_PEER | SAE_MNEED_XHAT,
                                        .state_size = pairs_size, .begin = passes_begin,
                                        .batch = pairs_batch, .merge = passes_merge,
                                        .end = pairs_end, .pair = pairs_wanted};

START_TEST(pairs_see_both)
{
    double norm = 0;
    for (int i = 0; i < ROWS * D; i++)
        norm += pow((double)rows[i], 2);
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_probe(&g, "again", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    g.metric[1] = &(sae_spec){.name = "pairs", .metric = &pairs_metric, .opts = g.spec[0].opts};
    g.metrics = 2;
    ck_assert_ok(rig_run(&g, 0), g.err);
    g.metrics = 1;
    int found = 0;
    for (int i = 0; i < g.results; i++) {
        const rig_result *o = &g.result[i];
        if (strcmp(o->key, "pairs.distance") != 0) {
            ck_assert_int_eq(o->peer, -1);
            continue;
        }
        found++; /* only in the order that was asked for: again < identity < zero */
        if (o->peer == 0)
            ck_assert(o->subject == 2 && o->value == 0);
        else
            ck_assert(o->peer == 1 && o->value == norm);
    }
    ck_assert_int_eq(found, 3);
}
END_TEST

/* A standard error by the jackknife is the size of its deviations. */
START_TEST(deviations_follow_rows)
{
    int checked = 0;
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
    ck_assert_ok(rig_run(&g, 0), g.err);
    for (int i = 0; i < g.results; i++)
        if (g.result[i].spread != 0.0 && !isnan(g.result[i].spread)) {
            ck_assert_double_eq(g.result[i].spread, g.result[i].se);
            checked++;
        }
    ck_assert_int_gt(checked, 3);
}
END_TEST

START_TEST(width_mismatch)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    g.stream.dim.d_in = D + 1;
    ck_assert_int_eq(rig_run(&g, 0), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "width 8"));
}
END_TEST

/* Nothing is allocated per batch, and nothing stays allocated. */
START_TEST(allocations)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    g.stream.B = 50;
    ck_assert_ok(rig_run(&g, 0), g.err);
    size_t live = sae_alloc_live();
    uint64_t calls = sae_alloc_calls();
    ck_assert_ok(rig_run(&g, 100), g.err);
    uint64_t two = sae_alloc_calls() - calls;
    calls = sae_alloc_calls();
    ck_assert_ok(rig_run(&g, 500), g.err);
    ck_assert_uint_eq(sae_alloc_calls() - calls, two);
    ck_assert_uint_eq(sae_alloc_live(), live);
    rig_fail_each(&g, 100);
}
END_TEST

/* Every family that rows with their truth can feed, on two SAEs of different seeds; what families
 * take themselves fails in allocations.c. */
START_TEST(allocations_of_families)
{
    const uint32_t model = SAE_MNEED_LM | SAE_MNEED_LABELS | SAE_MNEED_INSERT;
    sae_code code = {.B = ROWS, .n = 2, .nnz = 2 * ROWS, .cap = 2 * ROWS, .dense = 1, .val = truth};
    int families = 0;
    for (int i = 0; i < 2; i++) {
        rig_probe(&g, "identity", run_identity, NULL, none);
        g.subject[i].seed = (uint64_t)i;
        atoms[i * D + i] = 1;
    }
    for (int i = 0; i < 2; i++)
        memcpy(g.model[i].t[0].w, atoms, sizeof atoms);
    g.ds.gives |= SAE_GIVES_TRUTH;
    g.src.truth = (sae_truth){2, D, atoms, &code, NULL};
    for (const sae_metric *const *m = sae_all_metrics(g.reg); *m; m++) {
        if ((*m)->needs & model)
            continue;
        rig_metric(&g, (*m)->name);
        rig_fail_each(&g, 100);
        sae_spec_free(&g.spec[--g.metrics]);
        families++;
    }
    ck_assert_int_gt(families, 10);
}
END_TEST

/* A device with memory of its own, played by host memory that the runner thinks it cannot touch. */
START_TEST(copies_from_a_device)
{
    uint64_t last[2] = {900, 0}, count[2] = {10, 0};
    sae_stats stats = {2, 1000, last, count};
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "gradient", run_gradient, gradient_needs, none);
    g.subject[0].stats = &stats;
    g.ds.gives |= SAE_GIVES_GRAD;
    g.src.g = grad;
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "sparsity");
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    size_t live = sae_alloc_live();
    g.e.props.shares_host = 0;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_uint_eq(sae_alloc_live(), live);
    ck_assert_mem_eq(g.result, other.result, sizeof g.result);
    ck_assert_mem_eq(g.point, other.point, sizeof g.point);
    g.e.props.shares_host = 1;
}
END_TEST

START_TEST(interrupt)
{
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    sae_interrupt();
    ck_assert_int_eq(rig_run(&g, 0), SAE_EINTR);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "after 64 rows"));
}
END_TEST

Suite *suite_runner(void)
{
    Suite *s = suite_create("runner");
    TCase *t = tcase_create("runner");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, batches_do_not_matter);
    tcase_add_test(t, subjects_do_not_matter);
    tcase_add_test(t, rows_are_limited);
    tcase_add_test(t, rows_without_documents_are_independent);
    tcase_add_test(t, normalisation_is_undone);
    tcase_add_test(t, gradients_in_model_units);
    tcase_add_test(t, targets);
    tcase_add_test(t, undeclared_inputs_are_not_shown);
    tcase_add_test(t, unmet_needs_are_skipped);
    tcase_add_test(t, truth_reaches_recovery);
    tcase_add_test(t, training_statistics_reach_metrics);
    tcase_add_test(t, another_pass);
    tcase_add_test(t, a_pass_ends_early);
    tcase_add_test(t, pairs_see_both);
    tcase_add_test(t, deviations_follow_rows);
    tcase_add_test(t, width_mismatch);
    tcase_add_test(t, allocations);
    tcase_add_test(t, allocations_of_families);
    tcase_add_test(t, copies_from_a_device);
    tcase_add_test(t, interrupt);
    suite_add_tcase(s, t);
    return s;
}
