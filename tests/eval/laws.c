/* tests/eval/laws.c - laws every registered metric obeys. */
#include "eval/bench.h"

static world w;

/* Other options, and defaults for which the world is too small. */
static const char *const also[] = {"absorption",
                                   "probing",
                                   "scr:min_rows=2",
                                   "tpp",
                                   "error_scaling",
                                   "mdl",
                                   "darkmatter",
                                   "darkmatter:min_rows=2,insert=1",
                                   "darkmatter:min_rows=2,bias=0,skip_first=1,rows=200",
                                   "steering:label=sentiment,purity=0.5,seen=1",
                                   "unlearning:label=gender,class=1,retain_density=0.6",
                                   NULL};

/* Run a check for every registered metric. */
static void for_each(void (*check)(const char *metric))
{
    sae_err err = {0};
    sae_registry *reg;
    int count = 0;
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (const sae_metric *const *m = sae_all_metrics(reg); *m; m++, count++) {
        world_fill(&w, 11);
        check(spec_of((*m)->name));
    }
    sae_registry_close(&reg);
    for (const char *const *m = also; *m; m++) {
        world_fill(&w, 11);
        check(*m);
    }
    ck_assert_int_ge(count, 5);
}

static void check_splits(const char *metric)
{
    static results whole, cut;
    static const int64_t cuts[] = {1, 7, ROWS - 1};
    measure(&w, metric, ROWS, 0, &whole);
    ck_assert_int_gt(whole.rows, strchr(metric, ':') ? 2 : 0); /* what is asked for is measured */
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        measure(&w, metric, cuts[i], 0, &cut);
        ck_assert_msg(!memcmp(&whole, &cut, sizeof whole), "%s differs in batches of %d", metric,
                      (int)cuts[i]);
    }
    measure(&w, metric, 7, 1, &cut);
    ck_assert_msg(!memcmp(&whole, &cut, sizeof whole), "%s: dense codes differ", metric);
}

START_TEST(splits_are_bitwise_equal)
{
    for_each(check_splits);
}
END_TEST

/* Sums of up to ROWS terms of one sign carry a relative error of ROWS u = 2.7e-14; values here are
 * quotients of sums and of differences of sums with condition below 100: 2 * 100 * ROWS u < 6e-12.
 * A standard error is a Euclidean norm of differences of at most 256 such values: 16 times that. */
static void assert_close(const char *metric, const results *a, const results *b)
{
    ck_assert_int_eq(a->rows, b->rows);
    ck_assert_int_eq(a->points, b->points);
    for (int i = 0; i < a->rows; i++) {
        double x = a->row[i].value, y = b->row[i].value, tol = 6e-12 * fmax(1, fabs(x));
        double s = a->row[i].se, t = b->row[i].se;
        ck_assert_str_eq(a->row[i].key, b->row[i].key);
        ck_assert_int_eq(a->row[i].count, b->row[i].count);
        ck_assert_msg(fabs(x - y) <= tol || (isnan(x) && isnan(y)), "%s.%s: %.17g and %.17g",
                      metric, a->row[i].key, x, y);
        ck_assert_msg(fabs(s - t) <= 16 * tol || (isnan(s) && isnan(t)),
                      "%s.%s: se %.17g and %.17g", metric, a->row[i].key, s, t);
    }
    for (int i = 0; i < a->points; i++)
        ck_assert_double_eq_tol(a->point[i].value, b->point[i].value, 6e-12);
}

/* merge(A, B), merge(B, A) and the unsplit rows agree; so does a merge with an empty state. */
static void check_merge(const char *metric)
{
    static results whole, got;
    for (int order = 0; order < 3; order++) {
        int64_t half = order == 2 ? ROWS : 101; /* in the middle of a document */
        bench b;
        measure(&w, metric, ROWS, 0, &whole);
        bench_open(&b, &w, metric);
        void *first = bench_begin(&b), *second = bench_begin(&b);
        void *into = order == 1 ? second : first, *from = order == 1 ? first : second;
        memset(&got, 0, sizeof got);
        for (int rc = SAE_AGAIN; rc == SAE_AGAIN;) {
            bench_show(&b, first, &w, 0, half, 0);
            if (half < ROWS)
                bench_show(&b, second, &w, half, ROWS - half, 0);
            ck_assert_ok(b.spec.metric->merge(&b.r, into, from), b.err);
            rc = bench_pass(&b, into, &got);
            memcpy(from, into, b.spec.metric->state_size(&b.r)); /* all start from there */
        }
        sae_free(first);
        sae_free(second);
        assert_close(metric, &whole, &got);
        bench_close(&b);
    }
}

START_TEST(merge_equals_union)
{
    for_each(check_merge);
}
END_TEST

/* Samples that do not hold all rows: too many rows, too many entries of their codes. */
START_TEST(thinned_samples)
{
    static const char *const spec[] = {"mdl:fvu=0.5,entries=1024", "probing:min_rows=4,rows=150",
                                       "tpp:min_rows=2,entries=1500",
                                       "bidirectionality:entries=1024"};
    static results all, some;
    for (size_t k = 0; k < sizeof spec / sizeof spec[0]; k++) {
        char family[32];
        snprintf(family, sizeof family, "%.*s", (int)strcspn(spec[k], ":"), spec[k]);
        world_fill(&w, 11);
        for (int64_t i = 0; i < ROWS * N; i++)
            w.z[i] += w.z[i] == 0 ? (sae_real)0.125 : 0;
        measure(&w, spec_of(family), 7, 0, &all);
        measure(&w, spec[k], 7, 0, &some);
        ck_assert_msg(memcmp(&all, &some, sizeof all) != 0, "%s keeps all rows", spec[k]);
        check_splits(spec[k]);
        check_merge(spec[k]);
    }
}
END_TEST

/* No rows: no crash, and nothing that depends on rows has a value. */
static void check_empty(const char *metric)
{
    static results out;
    w.rows = 0;
    measure(&w, metric, 1, 0, &out);
    for (int i = 0; i < out.rows; i++)
        ck_assert_msg(isnan(out.row[i].se), "%s.%s", metric, out.row[i].key);
}

START_TEST(no_rows)
{
    for_each(check_empty);
}
END_TEST

/* One document says nothing about the spread between documents. */
static void check_one_document(const char *metric)
{
    static results out;
    for (int64_t r = 0; r < ROWS; r++)
        w.tok[r] = (sae_token){5, (uint32_t)r, 0};
    measure(&w, metric, ROWS, 0, &out);
    for (int i = 0; i < out.rows; i++)
        ck_assert_msg(isnan(out.row[i].se), "%s.%s", metric, out.row[i].key);
}

START_TEST(one_document_has_no_error)
{
    for_each(check_one_document);
}
END_TEST

/* ---- inputs that leave quantities undefined -------------------------------------------------- */

/* Parts of the world gone flat; every metric gives an answer or says that there is none. */
static void no_atoms(void)
{
    memset(w.w_dec, 0, sizeof w.w_dec);
    memset(w.peer_w_dec, 0, sizeof w.peer_w_dec);
}
static void one_atom(void)
{
    for (int i = 0; i < N * D; i++)
        w.w_dec[i] = w.peer_w_dec[i] = w.w_dec[i % D];
}
static void silent(void)
{
    memset(w.z, 0, sizeof w.z);
    memset(w.peer_z, 0, sizeof w.peer_z);
}
static void constant_rows(void)
{
    for (int i = 0; i < ROWS * D; i++)
        w.x[i] = w.xhat[i] = w.peer_xhat[i] = (sae_real)0.1; /* sums of squares round */
}
static void one_direction(void) /* a covariance of rank 1 */
{
    for (int i = 0; i < ROWS * D; i++)
        w.x[i] = w.x[i - i % D];
}
static void one_class(void)
{
    for (int i = 0; i < ROWS * LABELS; i++)
        w.label[i] = 0;
}
static void no_labels(void)
{
    for (int i = 0; i < ROWS * LABELS; i++)
        w.label[i] = -1;
}
static void fewer_rows_than_dimensions(void)
{
    w.rows = D - 2;
}
static void perfect(void)
{
    memcpy(w.xhat, w.x, sizeof w.x);
    memcpy(w.peer_xhat, w.x, sizeof w.x);
}

static const struct {
    const char *name;
    void (*make)(void);
} flat[] = {{"no atoms", no_atoms},
            {"one atom N times", one_atom},
            {"silent codes", silent},
            {"constant rows", constant_rows},
            {"rows on a line", one_direction},
            {"one class", one_class},
            {"no labels", no_labels},
            {"fewer rows than dimensions", fewer_rows_than_dimensions},
            {"perfect reconstruction", perfect}};

static void check_flat(const char *metric)
{
    static results out;
    for (size_t k = 0; k < sizeof flat / sizeof flat[0]; k++) {
        world_fill(&w, 11);
        flat[k].make();
        bench b;
        bench_open(&b, &w, metric);
        void *state = bench_begin(&b);
        int passes = 0, rc = SAE_AGAIN;
        memset(&out, 0, sizeof out);
        b.r.sink = &out;
        for (; rc == SAE_AGAIN; passes++) {
            ck_assert_int_lt(passes, 4);
            bench_show_all(&b, state, &w, 0, w.rows, 7);
            rc = b.spec.metric->end(&b.r, state);
        }
        ck_assert_msg(rc == SAE_OK, "%s on %s: %s", metric, flat[k].name, b.err.msg);
        for (int i = 0; i < out.rows; i++)
            ck_assert_msg(!isinf(out.row[i].value) && !isinf(out.row[i].se), "%s.%s on %s: %g",
                          metric, out.row[i].key, flat[k].name, out.row[i].value);
        sae_free(state);
        bench_close(&b);
    }
}

START_TEST(flat_inputs)
{
    for_each(check_flat);
}
END_TEST

Suite *suite_laws(void)
{
    Suite *s = suite_create("laws");
    TCase *t = tcase_create("laws");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, splits_are_bitwise_equal);
    tcase_add_test(t, merge_equals_union);
    tcase_add_test(t, thinned_samples);
    tcase_add_test(t, no_rows);
    tcase_add_test(t, one_document_has_no_error);
    tcase_add_test(t, flat_inputs);
    suite_add_tcase(s, t);
    return s;
}
