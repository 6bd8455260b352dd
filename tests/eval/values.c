/* tests/eval/values.c - values and standard errors against independent computations in double. */
#include "eval/bench.h"

#include <sae/quantile.h>

static world w;
static results o;

/* Every expected value below is recomputed row by row with other formulas (two passes, sorting,
 * enumeration); the tolerance is the one of laws.c: sums of ROWS terms, condition below 100. */
static void expect(const char *key, double want)
{
    double got = value_of(&o, key);
    ck_assert_msg(fabs(got - want) <= 6e-12 * fmax(1, fabs(want)), "%s: %.15g, expected %.15g", key,
                  got, want);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* numpy.quantile's default: linear between order statistics. */
static double quantile(const double *v, int n, double q)
{
    double s[ROWS], h = q * (n - 1);
    memcpy(s, v, (size_t)n * sizeof *v);
    qsort(s, (size_t)n, sizeof *s, by_value);
    int i = (int)floor(h);
    return i + 1 < n ? s[i] * (1 - (h - i)) + s[i + 1] * (h - i) : s[n - 1];
}

static double product(const sae_real *a, const sae_real *b, int d)
{
    double s = 0;
    for (int i = 0; i < d; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

START_TEST(reconstruction_values)
{
    world_fill(&w, 21);
    measure(&w, "reconstruction", 7, 0, &o);
    double err[ROWS], rel[ROWS], mean[D] = {0}, dev = 0, sse = 0, nmse = 0, cosine = 0, ratio = 0;
    double xx = 0, hh = 0, xh = 0, nx = 0, nh = 0, abs_err = 0, rel_err = 0;
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < D; i++)
            mean[i] += (double)w.x[r * D + i] / ROWS;
    for (int r = 0; r < ROWS; r++) {
        const sae_real *x = &w.x[r * D], *h = &w.xhat[r * D];
        double ee = 0;
        for (int i = 0; i < D; i++) {
            ee += pow((double)x[i] - (double)h[i], 2);
            dev += pow((double)x[i] - mean[i], 2);
        }
        double a = product(x, x, D), b = product(h, h, D), c = product(x, h, D);
        err[r] = sqrt(ee);
        rel[r] = sqrt(ee / a);
        sse += ee;
        nmse += ee / a / ROWS;
        cosine += c / sqrt(a * b) / ROWS;
        ratio += sqrt(b / a) / ROWS;
        xx += a;
        hh += b;
        xh += c;
        nx += sqrt(a);
        nh += sqrt(b);
        abs_err += err[r] / ROWS;
        rel_err += rel[r] / ROWS;
    }
    expect("mse", sse / ROWS);
    expect("mse_per_element", sse / ROWS / D);
    expect("nmse", nmse);
    expect("nmse_pooled", sse / xx);
    expect("fvu", sse / dev);
    expect("explained_variance", 1 - sse / dev);
    expect("cosine", cosine);
    expect("l2_norm", nx / ROWS);
    expect("l2_ratio", ratio);
    expect("l2_ratio_of_means", nh / nx);
    expect("relative_bias", hh / xh);
    expect("abs_error", abs_err);
    expect("rel_error", rel_err);
    expect("abs_error_p99", quantile(err, ROWS, 0.99));
    expect("rel_error_p99", quantile(rel, ROWS, 0.99));
}
END_TEST

START_TEST(sparsity_values)
{
    world_fill(&w, 22);
    for (int i = 0; i < ROWS * N; i += 3)
        w.z[i] = -w.z[i];
    w.z[5] = (sae_real)1e-8; /* active, below the threshold */
    for (int r = 0; r < ROWS; r++) {
        w.z[r * N + 8] = -(sae_real)fabs((double)w.z[r * N + 8]);    /* never positive */
        w.z[r * N + 9] = w.z[r * N + 9] != 0 ? (sae_real)0.25 : 0; /* never above 0.3 */
    }
    measure(&w, "sparsity:threshold=1e-6,rare=0.25,window=500,dead_value=0.3", 7, 0, &o);
    double l0 = 0, positive = 0, above = 0, l1 = 0, count[ROWS], dead = 0, rare = 0, lo = 1, hi = 0;
    for (int r = 0; r < ROWS; r++) {
        count[r] = 0;
        for (int j = 0; j < N; j++) {
            double z = (double)w.z[r * N + j];
            count[r] += z != 0;
            positive += z > 0;
            above += z > 1e-6;
            l1 += fabs(z);
        }
        l0 += count[r];
    }
    expect("l0", l0 / ROWS);
    expect("l0_positive", positive / ROWS);
    expect("l0_threshold", above / ROWS);
    expect("l1", l1 / ROWS);
    expect("l0_p99", quantile(count, ROWS, 0.99));
    for (int j = 0; j < N; j++) {
        double density = 0;
        for (int r = 0; r < ROWS; r++)
            density += w.z[r * N + j] != 0 ? 1.0 / ROWS : 0;
        dead += density == 0;
        rare += density > 0 && density < 0.25;
        lo = fmin(lo, density);
        hi = fmax(hi, density);
        for (int i = 0; i < o.points; i++)
            if (!strcmp(o.point[i].key, "density") && o.point[i].index == j)
                ck_assert_double_eq_tol(o.point[i].value, density, 1e-13);
    }
    expect("dead_share", dead / N);
    expect("dead_share_positive", dead / N + 0.1);
    expect("dead_share_value", dead / N + 0.1);
    expect("rare_share", rare / N);
    expect("density_min", lo);
    expect("density_max", hi);
    /* fired 0, 10, ... of 1000 rows, last at 0, 100, ...: dead are 0 (never) and 1 .. 5 (before the
     * last 500 rows); rare are 1 .. 9, all below a quarter */
    expect("train_dead_share", 0.6);
    expect("train_dead_share_1m", 0.1); /* windows beyond the run: never fired */
    expect("train_dead_share_4m", 0.1);
    expect("train_rare_share", 0.9);
}
END_TEST

/* Densities 1, 0.1 and 0 fall where metrics/sparsity.md says; bins reach down to 1 / rows. */
START_TEST(density_histogram)
{
    world_fill(&w, 23);
    memset(w.z, 0, sizeof w.z);
    for (int r = 0; r < ROWS; r++)
        w.z[r * N] = 1;
    for (int r = 0; r < ROWS / 10; r++)
        w.z[r * N + 1] = 1;
    measure(&w, "sparsity", ROWS, 0, &o);
    double bins = 0, total = 0;
    for (int i = 0; i < o.points; i++)
        if (!strcmp(o.point[i].key, "density_log10")) {
            int64_t b = o.point[i].index;
            ck_assert_double_eq(o.point[i].value, b == 0 || b == -4 ? 1 : 0);
            bins++;
            total += o.point[i].value;
        }
    ck_assert_double_eq(bins, ceil(4 * log10(ROWS)) + 1);
    ck_assert_double_eq(total, 2);
}
END_TEST

static void expect_positions(void)
{
    double tokens[ROWS] = {0}, increase[ROWS] = {0};
    int points = 0;
    for (int t = 0; t < ROWS; t++) {
        tokens[w.tok[t].pos] += 1;
        increase[w.tok[t].pos] += w.loss[1][t] - w.loss[0][t];
    }
    for (int i = 0; i < 4 && tokens[i] > 0; i++, points++) { /* positions=4 */
        ck_assert_str_eq(o.point[i].key, "ce_increase_by_position");
        ck_assert_int_eq(o.point[i].index, i);
        ck_assert_double_eq_tol(o.point[i].value, increase[i] / tokens[i], 6e-12);
    }
    ck_assert(points == 4 && o.points == 4 && tokens[4] > 0);
}

/* What happens at BOS, whose row no SAE sees, and with it. */
static void expect_bos(void)
{
    double sum[8] = {0}, all[8] = {0}, seen = 0, agree = 0;
    for (int t = 0; t < ROWS; t++) {
        seen += w.kept[t];
        agree += w.kept[t] && w.top[0][t] == w.top[1][t];
        for (int k = 0; k < 8; k++) {
            sum[k] += w.kept[t] ? w.loss[k][t] : 0;
            all[k] += w.loss[k][t];
        }
    }
    expect("ce_clean_without_bos", sum[0] / seen);
    expect("ce_spliced_without_bos", sum[1] / seen);
    expect("ce_increase_without_bos", (sum[1] - sum[0]) / seen);
    expect("kl_spliced_without_bos", sum[4] / seen);
    expect("top_agreement", agree / seen);
    expect("ce_zero_with_bos", all[6] / ROWS);
    expect("kl_zero_with_bos", all[7] / ROWS);
    expect("loss_recovered_zero_with_bos", (all[6] - all[1]) / (all[6] - all[0]));
    expect("kl_recovered_with_bos", 1 - all[4] / all[7]);
}

START_TEST(downstream_values)
{
    double mean[6] = {0};
    world_fill(&w, 24);
    measure(&w, "downstream:positions=4", 7, 0, &o);
    expect_positions();
    expect_bos();
    for (int k = 0; k < 6; k++)
        for (int t = 0; t < ROWS; t++)
            mean[k] += w.loss[k][t] / ROWS;
    static const char *const key[] = {"ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl_spliced",
                                      "kl_zero"};
    for (int k = 0; k < 6; k++)
        expect(key[k], mean[k]);
    expect("ce_increase", mean[1] - mean[0]);
    expect("loss_recovered_zero", (mean[2] - mean[1]) / (mean[2] - mean[0]));
    expect("loss_recovered_mean", (mean[3] - mean[1]) / (mean[3] - mean[0]));
    expect("kl_recovered", 1 - mean[4] / mean[5]);
    memcpy(w.loss[1], w.loss[0], sizeof w.loss[0]); /* an SAE without effect */
    memset(w.loss[4], 0, sizeof w.loss[4]);
    measure(&w, "downstream", 7, 0, &o);
    ck_assert(value_of(&o, "loss_recovered_zero") == 1 && value_of(&o, "kl_recovered") == 1);
    ck_assert(se_of(&o, "loss_recovered_zero") == 0);
    memcpy(w.loss[1], w.loss[2], sizeof w.loss[0]); /* an SAE that outputs zero */
    measure(&w, "downstream", 7, 0, &o);
    ck_assert(value_of(&o, "loss_recovered_zero") == 0);
}
END_TEST

/* ---- recovery: the best one-to-one matching by enumeration ----------------------------------- */

static double cosines[N][ATOMS];
static double best_total;
static int best_match[ATOMS], trial[ATOMS];

static void enumerate(int atom, unsigned used, double total)
{
    if (atom == ATOMS) {
        if (total > best_total) {
            best_total = total;
            memcpy(best_match, trial, sizeof trial);
        }
        return;
    }
    for (int i = 0; i < N; i++)
        if (!(used >> i & 1)) {
            trial[atom] = i;
            enumerate(atom + 1, used | 1u << i, total + cosines[i][atom]);
        }
}

/* Features outside the matching count as false alarms. */
static void expect_supports(void)
{
    double agreed = 0, predicted = 0, actual = 0;
    for (int r = 0; r < ROWS; r++) {
        for (int j = 0; j < ATOMS; j++) {
            actual += w.truth[r * ATOMS + j] != 0;
            agreed += w.truth[r * ATOMS + j] != 0 && w.z[r * N + best_match[j]] != 0;
        }
        for (int i = 0; i < N; i++)
            predicted += w.z[r * N + i] != 0;
    }
    expect("support_precision", agreed / predicted);
    expect("support_recall", agreed / actual);
    expect("support_f1", 2 * agreed / (predicted + actual));
    expect("true_l0", actual / ROWS);
}

START_TEST(recovery_values)
{
    world_fill(&w, 31 + (uint64_t)_i);
    w.caps = _i % 2 ? SAE_CAP_SIGNED : 0;
    measure(&w, "recovery:threshold=0.7", 7, 0, &o);
    double best_atom[ATOMS], atoms = 0, features = 0, above = 0, reverse = 0;
    unsigned seen = 0;
    for (int j = 0; j < ATOMS; j++)
        best_atom[j] = -1;
    for (int i = 0; i < N; i++) {
        int arg = 0;
        for (int j = 0; j < ATOMS; j++) {
            const sae_real *a = &w.w_dec[i * D], *b = &w.dict[j * D];
            double c = product(a, b, D) / sqrt(product(a, a, D) * product(b, b, D));
            cosines[i][j] = w.caps ? fabs(c) : c;
            best_atom[j] = fmax(best_atom[j], cosines[i][j]);
            arg = cosines[i][j] > cosines[i][arg] ? j : arg;
        }
        features += cosines[i][arg] / N;
        reverse += cosines[i][arg] > 0.7;
        seen |= 1u << arg;
    }
    for (int j = 0; j < ATOMS; j++) {
        atoms += best_atom[j] / ATOMS;
        above += best_atom[j] > 0.7;
    }
    best_total = -1e9;
    enumerate(0, 0, 0);
    /* products in float, width D: D + 2 roundings of 2^-24 per cosine */
    double tol = (D + 2) * 0x1p-24;
    ck_assert_double_eq_tol(value_of(&o, "max_cosine"), atoms, tol);
    ck_assert_double_eq_tol(value_of(&o, "max_cosine_reverse"), features, tol);
    ck_assert_double_eq_tol(value_of(&o, "matched_cosine"), best_total / ATOMS, tol);
    expect("share_recovered", above / ATOMS);
    expect("share_recovered_reverse", reverse / N);
    expect("uniqueness", __builtin_popcount(seen) / (double)N);
    expect_supports();
}
END_TEST

START_TEST(dictionary_values)
{
    world_fill(&w, 25);
    measure(&w, "dictionary:antipodal=0.4", ROWS, 0, &o);
    double norms = 0, nearest = 0, absolute = 0, pairs = 0, some = 0, bin[50] = {0};
    for (int i = 0; i < N; i++) {
        const sae_real *a = &w.w_dec[i * D];
        double best = -1, antipodes = 0;
        for (int j = 0; j < N; j++) {
            const sae_real *b = &w.w_dec[j * D];
            double c = product(a, b, D) / sqrt(product(a, a, D) * product(b, b, D));
            if (j == i)
                continue;
            best = fmax(best, c);
            absolute += fabs(c) / N / (N - 1);
            antipodes += c <= -0.4;
            bin[(int)floor((c + 1) * 25)]++;
        }
        nearest += best / N;
        pairs += antipodes / 2;
        some += antipodes > 0;
        norms += sqrt(product(a, a, D)) / N;
    }
    expect("decoder_norm", norms);
    ck_assert_double_eq_tol(value_of(&o, "max_decoder_cosine"), nearest, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "mean_abs_cosine"), absolute, (D + 2) * 0x1p-24);
    ck_assert(pairs > 1 && some < N); /* some have an antipode, some have none */
    expect("antipodal_pairs", pairs);
    expect("antipodal_share", some / N);
    for (int i = 0; i < o.points; i++)
        if (!strcmp(o.point[i].key, "cosine_histogram"))
            ck_assert_double_eq(o.point[i].value, bin[o.point[i].index + 25]);
}
END_TEST

/* ---- standard errors ------------------------------------------------------------------------- */

/* Consecutive document numbers fill all groups evenly: 1000 each, six standard deviations. */
START_TEST(groups_are_even)
{
    int64_t count[SAE_GROUPS] = {0};
    for (uint64_t doc = 0; doc < 1000 * SAE_GROUPS; doc++)
        count[sae_group_of(doc)]++;
    for (int g = 0; g < SAE_GROUPS; g++)
        ck_assert_double_eq_tol((double)count[g], 1000, 6 * sqrt(1000));
}
END_TEST

/* The jackknife written out: drop one group of documents at a time and measure again. */
START_TEST(jackknife_by_dropping_documents)
{
    static world all;
    static results rest;
    double value[SAE_GROUPS], mean = 0, ss = 0;
    int m = 0;
    world_fill(&all, 41);
    w = all;
    measure(&all, "reconstruction", ROWS, 0, &o);
    for (int64_t g = 0; g < SAE_GROUPS; g++) {
        w.rows = 0;
        for (int r = 0; r < ROWS; r++)
            if (sae_group_of(all.tok[r].doc) != g) {
                memcpy(&w.x[w.rows * D], &all.x[r * D], D * sizeof w.x[0]);
                memcpy(&w.xhat[w.rows * D], &all.xhat[r * D], D * sizeof w.x[0]);
                w.tok[w.rows++] = all.tok[r];
            }
        if (w.rows == ROWS)
            continue;
        measure(&w, "reconstruction", ROWS, 0, &rest);
        value[m++] = value_of(&rest, "fvu");
    }
    ck_assert_int_gt(m, 20);
    for (int g = 0; g < m; g++)
        mean += value[g] / m;
    for (int g = 0; g < m; g++)
        ss += pow(value[g] - mean, 2);
    ck_assert_double_eq_tol(se_of(&o, "fvu"), sqrt((m - 1.0) / m * ss), 16 * 6e-12);
}
END_TEST

/* Fresh worlds: the spread of a value over them is what its standard error estimates. With R worlds
 * a sample variance has relative standard deviation sqrt(2 / (R - 1)) for values near normal; 4 of
 * these, plus the jackknife's own bias of order 1 / documents (about 50 here: 0.02, times a factor
 * of 5 for the ratios), bound the ratio of the variances. */
enum { R = 400 };

static void assert_spread(const char *what, double estimated, double true_variance)
{
    double ratio = estimated / true_variance, tol = 4 * sqrt(2.0 / (R - 1)) + 0.1;
    ck_assert_msg(fabs(ratio - 1) < tol, "%s: variance ratio %g", what, ratio);
}

START_TEST(standard_errors_match_the_true_spread)
{
    enum { KEYS = 6 };
    static const char *const key[KEYS] = {"l2_norm", "mse", "fvu", "cosine", "l2_ratio",
                                          "rel_error"};
    double mean[KEYS] = {0}, m2[KEYS] = {0}, var[KEYS] = {0}, independent = 0;
    bench b;
    world_fill(&w, 1);
    bench_open(&b, &w, "reconstruction:quantile_rows=256");
    for (int t = 0; t < R; t++) {
        world_fill(&w, 1000 + (uint64_t)t);
        void *state = bench_begin(&b);
        bench_show(&b, state, &w, 0, ROWS, 0);
        bench_end(&b, state, &o);
        double sum = 0, sum2 = 0;
        for (int i = 0; i < ROWS; i++) {
            double xx = product(&w.x[i * D], &w.x[i * D], D);
            sum += sqrt(xx) / ROWS;
            sum2 += xx / ROWS;
        }
        independent += (sum2 - sum * sum) / ROWS / R;
        for (int k = 0; k < KEYS; k++) {
            double v = value_of(&o, key[k]), delta = v - mean[k];
            mean[k] += delta / (t + 1);
            m2[k] += delta * (v - mean[k]);
            var[k] += pow(se_of(&o, key[k]), 2) / R;
        }
    }
    bench_close(&b);
    for (int k = 0; k < KEYS; k++)
        assert_spread(key[k], var[k], m2[k] / (R - 1));
    /* rows taken for independent, as is common, would claim less than half of the true variance */
    ck_assert_double_lt(independent, 0.5 * m2[0] / (R - 1));
}
END_TEST

/* ---- quantiles ------------------------------------------------------------------------------- */

static sae_sample *sample_new(int64_t cap)
{
    sae_sample *s = sae_alloc(sae_sample_bytes(cap));
    ck_assert_ptr_nonnull(s);
    s->cap = cap;
    return s;
}

/* Row i of R documents of ten rows each; rows of a document share half of their variance. */
static void sample_row(sae_sample *s, uint64_t seed, uint64_t i)
{
    sae_token tok = {i / 10, (uint32_t)(i % 10), 0};
    sae_sample_add(s, &tok, draw(seed, i / 10, 0) + draw(seed, 1000000 + i, 1));
}

START_TEST(quantile_errors_match_the_true_spread)
{
    static double block[(SAE_GROUPS + 2) * 2];
    double mean = 0, m2 = 0, var = 0;
    sae_sample *s = sample_new(4096);
    for (int t = 0; t < R; t++) {
        double v, se;
        s->count = s->level = 0;
        for (uint64_t i = 0; i < 4000; i++)
            sample_row(s, 100 + (uint64_t)t, i);
        sae_sample_quantile(s, 0.9, block, &v, &se);
        double delta = v - mean;
        mean += delta / (t + 1);
        m2 += delta * (v - mean);
        var += se * se / R;
    }
    sae_free(s);
    assert_spread("quantile 0.9", var, m2 / (R - 1));
    /* normal with variance 2: 1.28155 sqrt(2); four standard errors of the mean of R values */
    ck_assert_double_eq_tol(mean, 1.2815515655446004 * sqrt(2), 4 * sqrt(m2 / (R - 1) / R) + 1e-3);
}
END_TEST

/* Beyond the capacity: the same rows are kept in any order and through any merge, and they are a
 * uniform sample. */
START_TEST(quantiles_beyond_capacity)
{
    enum { CAP = 1000, ALL = 20000 };
    static double block[(SAE_GROUPS + 2) * 2];
    sae_sample *up = sample_new(CAP), *down = sample_new(CAP), *a = sample_new(CAP);
    sae_sample *b = sample_new(CAP);
    for (uint64_t i = 0; i < ALL; i++) {
        sample_row(up, 1, i);
        sample_row(down, 1, ALL - 1 - i);
        sample_row(i < 700 ? a : b, 1, i);
    }
    sae_sample_merge(a, b);
    sae_sample *const all[] = {up, down, a};
    for (int k = 0; k < 3; k++) {
        double v, se;
        sae_sample_quantile(all[k], 0.9, block, &v, &se);
        ck_assert_int_eq(all[k]->count, up->count);
        ck_assert_mem_eq(sae_sample_rows(all[k]), sae_sample_rows(up),
                         (size_t)up->count * sizeof(sae_sampled));
        /* four standard deviations of the share below the true quantile, independent rows times
         * the design effect 1 + 9 / 2 of ten correlated rows, over the density 0.124 there */
        ck_assert_double_eq_tol(v, 1.8124, 4 * sqrt(0.09 / (double)up->count * 5.5) / 0.124);
    }
    /* 20000 / 2^5 = 625 expected; six standard deviations */
    ck_assert_int_eq(up->level, 5);
    ck_assert_double_eq_tol((double)up->count, 625, 6 * sqrt(625));
    for (int k = 0; k < 3; k++)
        sae_free(all[k]);
    sae_free(b);
}
END_TEST

START_TEST(quantile_of_one_hash)
{
    sae_sample *s = sample_new(256);
    sae_token tok = {1, 2, 3};
    for (int i = 0; i < 1000; i++)
        sae_sample_add(s, &tok, i);
    ck_assert_int_le(s->count, 256);
    sae_free(s);
}
END_TEST

Suite *suite_values(void)
{
    Suite *s = suite_create("values");
    TCase *t = tcase_create("values");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, reconstruction_values);
    tcase_add_test(t, sparsity_values);
    tcase_add_test(t, density_histogram);
    tcase_add_test(t, downstream_values);
    tcase_add_loop_test(t, recovery_values, 0, 6);
    tcase_add_test(t, dictionary_values);
    tcase_add_test(t, groups_are_even);
    tcase_add_test(t, jackknife_by_dropping_documents);
    tcase_add_test(t, standard_errors_match_the_true_spread);
    tcase_add_test(t, quantile_errors_match_the_true_spread);
    tcase_add_test(t, quantiles_beyond_capacity);
    tcase_add_test(t, quantile_of_one_hash);
    suite_add_tcase(s, t);
    return s;
}
