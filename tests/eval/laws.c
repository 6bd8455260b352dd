/* tests/eval/laws.c - laws every registered metric obeys, and the optimum each documents. */
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
        w.x[i] = w.xhat[i] = w.peer_xhat[i] = 1;
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

START_TEST(perfect_reconstruction)
{
    static results o;
    world_fill(&w, 3);
    memcpy(w.xhat, w.x, sizeof w.x);
    memset(w.x, 0, D * sizeof w.x[0]); /* a zero row, reproduced */
    memset(w.xhat, 0, D * sizeof w.x[0]);
    measure(&w, "reconstruction", 7, 0, &o);
    static const char *const zero[] = {"mse", "mse_per_element", "nmse", "nmse_pooled", "fvu",
                                       "abs_error", "rel_error", "abs_error_p99",
                                       "rel_error_p99"};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
        ck_assert_msg(value_of(&o, zero[i]) == 0, "%s", zero[i]);
    ck_assert(value_of(&o, "explained_variance") == 1);
    ck_assert(value_of(&o, "l2_ratio") == 1);
    ck_assert(value_of(&o, "l2_ratio_of_means") == 1);
    ck_assert(value_of(&o, "relative_bias") == 1);
    /* xx / (sqrt(xx) sqrt(xx)): three roundings a row, then a mean of ROWS of them */
    ck_assert_double_eq_tol(value_of(&o, "cosine"), 1, (3 + ROWS) * 0x1p-53);
    ck_assert_int_eq(o.row[find_row(&o, "rel_error")].count, ROWS - 1);
    ck_assert_int_eq(o.row[find_row(&o, "mse")].count, ROWS);
}
END_TEST

START_TEST(predicting_the_mean_explains_nothing)
{
    static results o;
    world_fill(&w, 4);
    double mean[D] = {0};
    for (int64_t r = 0; r < ROWS; r++)
        for (int i = 0; i < D; i++)
            mean[i] += (double)w.x[r * D + i] / ROWS;
    for (int64_t r = 0; r < ROWS; r++)
        for (int i = 0; i < D; i++)
            w.xhat[r * D + i] = (sae_real)mean[i];
    measure(&w, "reconstruction", ROWS, 0, &o);
    /* Rounding the mean to float adds ROWS (2^-24 |mean|)^2, a share below 2^-45; the sums round at
     * 6e-12 as above. */
    ck_assert_double_eq_tol(value_of(&o, "fvu"), 1, 6e-12);
    ck_assert_double_eq_tol(value_of(&o, "explained_variance"), 0, 6e-12);
}
END_TEST

START_TEST(zero_denominators)
{
    static results o;
    world_fill(&w, 5);
    for (int64_t i = 0; i < ROWS * D; i++)
        w.x[i] = w.xhat[i] = (sae_real)0.1; /* constant rows */
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(value_of(&o, "fvu") == 0);
    w.xhat[0] += 1;
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "fvu")) && isnan(value_of(&o, "explained_variance")));
    ck_assert(value_of(&o, "mse") > 0);
    memset(w.x, 0, sizeof w.x); /* only zero rows */
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "nmse")) && isnan(value_of(&o, "l2_ratio")));
    ck_assert(value_of(&o, "cosine") == 0);
    memcpy(w.loss[2], w.loss[0], sizeof w.loss[0]); /* an ablation without effect */
    measure(&w, "downstream", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "loss_recovered_zero")));
    ck_assert(!isnan(value_of(&o, "loss_recovered_mean")));
    memset(w.z, 0, sizeof w.z); /* a silent SAE */
    measure(&w, "recovery", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "support_precision")));
    ck_assert(value_of(&o, "support_recall") == 0 && value_of(&o, "support_f1") == 0);
    measure(&w, "sparsity", ROWS, 0, &o);
    ck_assert(value_of(&o, "dead_share") == 1 && value_of(&o, "l0") == 0);
}
END_TEST

/* Four times the activations: exact, because 4 is a power of two. */
START_TEST(scale_laws)
{
    static const struct {
        const char *key;
        double factor;
    } law[] = {{"mse", 16}, {"mse_per_element", 16}, {"nmse", 1}, {"fvu", 1}, {"cosine", 1},
               {"l2_norm", 4}, {"l2_ratio", 1}, {"relative_bias", 1}, {"abs_error", 4},
               {"rel_error", 1}, {"abs_error_p99", 4}, {"rel_error_p99", 1}};
    static results a, b;
    world_fill(&w, 6);
    measure(&w, "reconstruction", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * D; i++) {
        w.x[i] *= 4;
        w.xhat[i] *= 4;
    }
    measure(&w, "reconstruction", ROWS, 0, &b);
    for (size_t i = 0; i < sizeof law / sizeof law[0]; i++) {
        ck_assert_msg(value_of(&b, law[i].key) == law[i].factor * value_of(&a, law[i].key), "%s",
                      law[i].key);
        ck_assert_msg(se_of(&b, law[i].key) == law[i].factor * se_of(&a, law[i].key), "se of %s",
                      law[i].key);
    }
    measure(&w, "sparsity", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * N; i++)
        w.z[i] *= 4;
    w.scale = 2;
    measure(&w, "sparsity", ROWS, 0, &b);
    ck_assert(value_of(&b, "l1") == 8 * value_of(&a, "l1"));
    ck_assert(value_of(&b, "l0") == value_of(&a, "l0"));
}
END_TEST

START_TEST(flipped_signs)
{
    static results a, b;
    world_fill(&w, 7);
    measure(&w, "sparsity", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * N; i += 2)
        w.z[i] = -w.z[i];
    measure(&w, "sparsity", ROWS, 0, &b);
    static const char *const blind[] = {"l0", "l1", "dead_share", "density_max", "l0_p99"};
    for (size_t i = 0; i < sizeof blind / sizeof blind[0]; i++)
        ck_assert_msg(value_of(&a, blind[i]) == value_of(&b, blind[i]), "%s", blind[i]);
    ck_assert(value_of(&b, "l0_positive") < value_of(&a, "l0_positive"));
    ck_assert_int_eq(b.points, a.points + N); /* density_positive appears */
    w.caps = SAE_CAP_SIGNED;
    memcpy(w.w_dec, w.dict, sizeof w.dict);
    for (int i = 0; i < D; i++)
        w.w_dec[i] = -w.w_dec[i]; /* the first atom, with its sign turned */
    measure(&w, "recovery", ROWS, 0, &a);
    ck_assert(value_of(&a, "share_recovered") == 1);
    w.caps = 0;
    measure(&w, "recovery", ROWS, 0, &b);
    ck_assert(value_of(&b, "share_recovered") < 1);
}
END_TEST

START_TEST(perfect_recovery)
{
    static results o;
    world_fill(&w, 8);
    memcpy(w.w_dec, w.dict, sizeof w.dict);
    for (int i = ATOMS * D; i < N * D; i++)
        w.w_dec[i] = 0; /* unused features */
    memset(w.z, 0, sizeof w.z);
    for (int64_t r = 0; r < ROWS; r++)
        memcpy(&w.z[r * N], &w.truth[r * ATOMS], ATOMS * sizeof w.z[0]);
    measure(&w, "recovery", 7, 0, &o);
    /* float products and norms of width D: D + 2 roundings of 2^-24 */
    ck_assert_double_eq_tol(value_of(&o, "max_cosine"), 1, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "matched_cosine"), 1, (D + 2) * 0x1p-24);
    ck_assert(value_of(&o, "share_recovered") == 1);
    ck_assert_double_eq(value_of(&o, "share_recovered_reverse"), (double)ATOMS / N);
    ck_assert(value_of(&o, "support_precision") == 1 && value_of(&o, "support_recall") == 1);
    ck_assert(value_of(&o, "support_f1") == 1);
    ck_assert(value_of(&o, "splitting") == 1 && value_of(&o, "absorption") == 0);
    ck_assert_double_eq(value_of(&o, "latent_f1"), (double)ATOMS / N);
    /* a coefficient is off by the rounding of its atom's norm: D + 2 roundings of 2^-24 */
    ck_assert_double_eq_tol(value_of(&o, "coefficient_slope"), 1, (D + 2) * 0x1p-24);
    ck_assert_double_le(value_of(&o, "coefficient_error"), pow((D + 2) * 0x1p-24, 2));
    ck_assert_double_eq_tol(value_of(&o, "child_holds_parent"), 0, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "parent_holds_child"), 0, (D + 2) * 0x1p-24);
}
END_TEST

/* Orthonormal atoms: the pursuit finds every code, whatever the encoder did. */
START_TEST(pursuit_of_orthonormal_atoms)
{
    static results o;
    world_fill(&w, 13);
    w.caps = SAE_CAP_SIGNED;
    memset(w.w_dec, 0, sizeof w.w_dec);
    memset(w.dict, 0, sizeof w.dict);
    memset(w.x, 0, sizeof w.x);
    for (int a = 0; a < D; a++) { /* the last atom is never there */
        w.dict[a * D + a] = 1;
        w.w_dec[(N - 1 - a) * D + a] = a % 2 ? -4 : 2;
    }
    for (int64_t r = 0; r < ROWS; r++) {
        w.truth[r * ATOMS + D] = 0;
        for (int a = 0; a < D; a++)
            w.x[r * D + a] = w.truth[r * ATOMS + a];
    }
    measure(&w, "recovery:oracle_rows=20", 7, 0, &o);
    ck_assert(value_of(&o, "oracle_f1") == 1 && value_of(&o, "support_f1") < 1);
    ck_assert_double_le(value_of(&o, "oracle_coefficient_error"), pow((D + 2) * 0x1p-24, 2));
    ck_assert_int_le(o.row[find_row(&o, "oracle_f1")].count, 20);
    ck_assert_int_ge(o.row[find_row(&o, "oracle_f1")].count, 15);
    measure(&w, "recovery:oracle_rows=0", 7, 0, &o);
    for (int i = 0; i < o.rows; i++)
        ck_assert(strncmp(o.row[i].key, "oracle", 6) != 0);
}
END_TEST

/* The same features in another order, signed ones also with their signs turned. */
START_TEST(consistent_pair)
{
    static results o;
    world_fill(&w, 12);
    w.caps = _i ? SAE_CAP_SIGNED : 0;
    for (int j = 0; j < N; j++) {
        sae_real turn = _i && j % 2 ? -1 : 1;
        for (int i = 0; i < D; i++)
            w.peer_w_dec[j * D + i] = turn * w.w_dec[(N - 1 - j) * D + i];
        for (int64_t r = 0; r < ROWS; r++)
            w.peer_z[r * N + j] = turn * w.z[r * N + N - 1 - j];
    }
    measure(&w, "consistency", 7, 0, &o);
    static const char *const one[] = {"matched_cosine", "matched_cosine_active", "dcs",
                                      "max_cosine", "max_cosine_reverse"};
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) /* roundings as in perfect_recovery */
        ck_assert_double_eq_tol(value_of(&o, one[i]), 1, (D + 2) * 0x1p-24);
    ck_assert(value_of(&o, "share_shared") == 1 && value_of(&o, "support_iou") == 1);
    ck_assert(value_of(&o, "code_error") == 0);
    ck_assert_int_eq(o.row[find_row(&o, "matched_cosine_active")].count, N - 1); /* 3 is dead */
    memset(w.z, 0, sizeof w.z);
    measure(&w, "consistency", 7, 0, &o);
    ck_assert(value_of(&o, "support_iou") == 0 && value_of(&o, "code_error") == 2);
    memset(w.peer_z, 0, sizeof w.peer_z); /* both silent */
    measure(&w, "consistency", 7, 0, &o);
    ck_assert(isnan(value_of(&o, "support_iou")) && isnan(value_of(&o, "code_error")));
    ck_assert(isnan(value_of(&o, "matched_cosine_active")) && value_of(&o, "share_shared") == 1);
}
END_TEST

/* What an atom of length 0 does is nothing. */
START_TEST(zero_atoms_do_not_fire)
{
    static const char *const keys[] = {"support_iou", "code_error", "matched_cosine_active"};
    static results a, b;
    world_fill(&w, 12);
    memset(w.w_dec, 0, D * sizeof w.w_dec[0]);
    memset(w.peer_w_dec, 0, D * sizeof w.peer_w_dec[0]);
    measure(&w, "consistency", 7, 0, &a);
    for (int64_t r = 0; r < ROWS; r++)
        w.z[r * N] = w.peer_z[r * N] = 0;
    measure(&w, "consistency", 7, 0, &b);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(value_of(&a, keys[i]) == value_of(&b, keys[i]), "%s", keys[i]);
}
END_TEST

/* Blocks that would overlap: 300 atoms, of which 260 are asked for. */
START_TEST(sampled_features_count_once)
{
    enum { MANY = 300 };
    static sae_real atoms[MANY * D];
    static results o;
    int seen[MANY] = {0};
    bench b;
    world_fill(&w, 13);
    bench_open(&b, &w, "dictionary:features=260");
    for (int i = 0; i < MANY * D; i++)
        atoms[i] = (sae_real)draw(13, 7000, (uint32_t)i);
    b.m.dim.n = b.m.dim.n_cap = b.m.t[1].rows = MANY;
    b.m.t[1].w = atoms;
    bench_end(&b, bench_begin(&b), &o);
    for (int i = 0; i < o.points; i++)
        if (!strcmp(o.point[i].key, "nearest"))
            ck_assert_int_eq(++seen[o.point[i].index], 1);
    ck_assert_int_ge(o.row[find_row(&o, "max_decoder_cosine")].count, 260);
    bench_close(&b);
}
END_TEST

START_TEST(perfect_probing)
{
    static const char *const keys[] = {"k1_auc", "k2_auc", "k16_auc", "k1_balanced_accuracy",
                                       "k1_accuracy", "k1_f1"};
    static results o;
    world_fill(&w, 9);
    memset(w.z, 0, sizeof w.z);
    for (int64_t r = 0; r < ROWS; r++) /* a latent per class */
        w.z[r * N + 2 + w.label[r * LABELS]] = w.z[r * N + 6 + w.label[r * LABELS + 1]] = 3;
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(value_of(&o, keys[i]) == 1 && se_of(&o, keys[i]) == 0, "%s", keys[i]);
    for (int64_t r = 0; r < ROWS; r++) /* the other pole: clipped, there is nothing */
        w.z[r * N + 2 + w.label[r * LABELS]] = w.z[r * N + 6 + w.label[r * LABELS + 1]] = -3;
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    ck_assert(value_of(&o, "k1_auc") == 1 && value_of(&o, "k1_auc_stock") == 0.5);
    memset(w.z, 0, sizeof w.z);
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    ck_assert(value_of(&o, "k16_auc") == 0.5 && value_of(&o, "k16_balanced_accuracy") == 0.5);
    ck_assert(value_of(&o, "x_auc") > 0.5);
}
END_TEST

Suite *suite_laws(void)
{
    Suite *s = suite_create("laws");
    TCase *t = tcase_create("laws");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, splits_are_bitwise_equal);
    tcase_add_test(t, merge_equals_union);
    tcase_add_test(t, no_rows);
    tcase_add_test(t, one_document_has_no_error);
    tcase_add_test(t, flat_inputs);
    tcase_add_test(t, perfect_reconstruction);
    tcase_add_test(t, predicting_the_mean_explains_nothing);
    tcase_add_test(t, zero_denominators);
    tcase_add_test(t, scale_laws);
    tcase_add_test(t, flipped_signs);
    tcase_add_test(t, perfect_recovery);
    tcase_add_test(t, pursuit_of_orthonormal_atoms);
    tcase_add_loop_test(t, consistent_pair, 0, 2);
    tcase_add_test(t, zero_atoms_do_not_fire);
    tcase_add_test(t, sampled_features_count_once);
    tcase_add_test(t, perfect_probing);
    suite_add_tcase(s, t);
    return s;
}
