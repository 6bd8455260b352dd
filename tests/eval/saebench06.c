/* tests/eval/saebench06.c - the fields of metrics/saebench06.md, batch by batch, against a plain
 * transcription of their definitions; merges at every place.
 */
#include "eval/bench.h"

static world w;
static results o;

/* Sums of ROWS terms, condition below 100: see laws.c. */
static void expect(const char *key, double want)
{
    double got = value_of(&o, key);
    ck_assert_msg(fabs(got - want) <= 6e-12 * fmax(1, fabs(want)), "%s: %.15g, expected %.15g", key,
                  got, want);
}

static double product(const sae_real *a, const sae_real *b)
{
    double s = 0;
    for (int i = 0; i < D; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

/* Fields that depend on batches: those of rows [first, first + n). */
typedef struct batched {
    double mse, legacy, square, mean_square, residual, bias;
} batched;

static batched one_batch(int first, int n)
{
    batched b = {0};
    double mean[D] = {0}, hh = 0, xh = 0;
    for (int r = first; r < first + n; r++)
        for (int i = 0; i < D; i++)
            mean[i] += (double)w.x[r * D + i] / n;
    for (int r = first; r < first + n; r++) {
        const sae_real *x = &w.x[r * D], *h = &w.xhat[r * D];
        double ee = 0, dev = 0;
        for (int i = 0; i < D; i++) {
            ee += pow((double)x[i] - (double)h[i], 2);
            dev += pow((double)x[i] - mean[i], 2);
        }
        b.mse += ee / n;
        b.legacy += 1 - ee / dev;
        b.square += product(x, x) / n;
        b.mean_square += product(x, x) / D / n;
        b.residual += ee / n;
        hh += product(h, h) / n;
        xh += product(x, h) / n;
    }
    b.bias = hh / xh;
    return b;
}

static void expect_batches(int size)
{
    batched sum = {0};
    int batches = ROWS / size > 0 ? ROWS / size : 1;
    size = ROWS < size ? ROWS : size;
    for (int i = 0; i < batches; i++) {
        batched b = one_batch(i * size, size);
        sum.mse += b.mse / (batches * size);
        sum.legacy += b.legacy / (batches * size);
        sum.square += b.square / batches;
        sum.mean_square += b.mean_square / batches;
        sum.residual += b.residual / batches;
        sum.bias += b.bias / batches;
    }
    expect("mse", sum.mse);
    expect("explained_variance_legacy", sum.legacy);
    expect("explained_variance", 1 - sum.residual / (sum.square - pow(sum.mean_square, 2)));
    expect("relative_reconstruction_bias", sum.bias);
}

/* Batches that divide the rows, that leave a rest (which does not count), one short batch. */
START_TEST(fields_of_batches)
{
    static const int size[] = {40, 50, 7, 2048};
    char spec[64];
    world_fill(&w, 51);
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        snprintf(spec, sizeof spec, "saebench06:batch_rows=%d", size[i]);
        measure(&w, spec, 9, 0, &o);
        expect_batches(size[i]);
    }
}
END_TEST

/* Positive values of a feature: rows, and documents that have such rows. */
static void count_firing(int j, double *rows, double *prompts)
{
    uint64_t doc = UINT64_MAX;
    *rows = *prompts = 0;
    for (int r = 0; r < ROWS; r++)
        if (w.z[r * N + j] > 0) {
            *rows += 1;
            *prompts += w.tok[r].doc != doc;
            doc = w.tok[r].doc;
        }
}

static void expect_point(const char *key, int index, double want)
{
    for (int i = 0; i < o.points; i++)
        if (!strcmp(o.point[i].key, key) && o.point[i].index == index) {
            /* products in float, width D: D + 2 roundings of 2^-24 */
            ck_assert_double_eq_tol(o.point[i].value, want, (D + 2) * 0x1p-24 * fmax(1, want));
            return;
        }
    ck_abort_msg("no point %s %d", key, index);
}

static double cosine(const sae_real *a, const sae_real *b)
{
    return product(a, b) / sqrt(product(a, a) * product(b, b));
}

static double nearest(const sae_real *m, int j)
{
    double best = -1;
    for (int i = 0; i < N; i++)
        if (i != j)
            best = fmax(best, cosine(&m[i * D], &m[j * D]));
    return best;
}

START_TEST(fields_of_features)
{
    double alive = 0, over = 0, dense = 0, total = 0, enc = 0, dec = 0;
    world_fill(&w, 52);
    w.scale = 4;
    for (int i = 0; i < ROWS * N; i += 3)
        w.z[i] = -w.z[i]; /* negative values do not count */
    for (int r = 2; r < ROWS; r++)
        w.z[r * N + 4] = 0; /* one rare feature */
    measure(&w, "saebench06:details=1", 7, 0, &o);
    for (int j = 0; j < N; j++) {
        double rows, prompts;
        count_firing(j, &rows, &prompts);
        expect_point("feature_density", j, rows / ROWS);
        if (prompts > 0)
            expect_point("consistent_activation_heuristic", j, rows / prompts);
        alive += rows > 0;
        over += rows / ROWS > 0.1;
        dense += rows / ROWS > 0.1 ? rows : 0;
        total += rows;
        enc += nearest(w.w_enc, j) / N;
        dec += nearest(w.w_dec, j) / N;
        expect_point("encoder_bias", j, 0);
        expect_point("encoder_norm", j, sqrt(product(&w.w_enc[j * D], &w.w_enc[j * D])) / 4);
        expect_point("encoder_decoder_cosine_sim", j, cosine(&w.w_enc[j * D], &w.w_dec[j * D]));
        expect_point("max_encoder_cosine_sim", j, nearest(w.w_enc, j));
        expect_point("max_decoder_cosine_sim", j, nearest(w.w_dec, j));
    }
    expect("frac_alive", alive / N);
    expect("freq_over_10_percent", over / N);
    expect("normalized_freq_over_10_percent", dense / total);
    ck_assert_double_eq_tol(value_of(&o, "average_max_encoder_cosine_sim"), enc, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "average_max_decoder_cosine_sim"), dec, (D + 2) * 0x1p-24);
}
END_TEST

START_TEST(fields_of_rows)
{
    double in = 0, out = 0, ratio = 0, cos = 0, l0 = 0, l1 = 0;
    world_fill(&w, 53);
    for (int i = 0; i < D; i++)
        w.x[i] = (sae_real)1e-6; /* a norm below 1e-4 counts as 1 in the ratio */
    for (int i = 0; i < ROWS * N; i += 3)
        w.z[i] = -w.z[i];
    measure(&w, "saebench06", 7, 0, &o);
    for (int r = 0; r < ROWS; r++) {
        const sae_real *x = &w.x[r * D], *h = &w.xhat[r * D];
        double a = sqrt(product(x, x)), b = sqrt(product(h, h));
        in += a / ROWS;
        out += b / ROWS;
        ratio += b / (a < 1e-4 ? 1 : a) / ROWS;
        cos += product(x, h) / a / b / ROWS;
        for (int j = 0; j < N; j++) {
            l0 += (w.z[r * N + j] != 0) / (double)ROWS;
            l1 += (double)w.z[r * N + j] / ROWS;
        }
    }
    expect("l2_norm_in", in);
    expect("l2_norm_out", out);
    expect("l2_ratio", ratio);
    expect("cossim", cos);
    expect("l0", l0);
    expect("l1", l1);
    w.x[0] = 0;
    memset(w.x, 0, D * sizeof w.x[0]); /* undefined there, hence here */
    measure(&w, "saebench06", 7, 0, &o);
    ck_assert(isnan(value_of(&o, "cossim")) && !isnan(value_of(&o, "l2_ratio")));
}
END_TEST

/* Predictions at BOS do not count, and the ablation is the one that takes BOS along. */
START_TEST(fields_of_the_model)
{
    double mean[8] = {0}, kept = 0;
    world_fill(&w, 54);
    measure(&w, "saebench06", 7, 0, &o);
    for (int r = 0; r < ROWS; r++) {
        kept += w.kept[r];
        for (int k = 0; k < 8; k++)
            mean[k] += w.kept[r] ? w.loss[k][r] : 0;
    }
    for (int k = 0; k < 8; k++)
        mean[k] /= kept;
    expect("ce_loss_without_sae", mean[0]);
    expect("ce_loss_with_sae", mean[1]);
    expect("ce_loss_with_ablation", mean[6]);
    expect("ce_loss_score", (mean[6] - mean[1]) / (mean[6] - mean[0]));
    expect("kl_div_with_sae", mean[4]);
    expect("kl_div_with_ablation", mean[7]);
    expect("kl_div_score", 1 - mean[4] / mean[7]);
    expect("total_tokens_eval_reconstruction", ROWS);
}
END_TEST

/* Three parts of the rows, merged in every order that joins neighbours. */
START_TEST(merging_parts)
{
    static const char spec[] = "saebench06:batch_rows=50,details=1";
    static const int orders[4][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {2, 1, 0}};
    static results whole;
    world_fill(&w, 55);
    measure(&w, spec, ROWS, 0, &whole);
    for (int trial = 0; trial < 60; trial++) {
        sae_u4 u = sae_philox(55, SAE_STREAM_SYNTHETIC, (uint64_t)trial, 0);
        int64_t a = 1 + u.v[0] % (ROWS - 2), b = a + 1 + u.v[1] % (uint32_t)(ROWS - a - 1);
        int64_t cut[4] = {0, trial % 2 ? 50 : a, trial % 2 && b <= 50 ? 60 : b, ROWS};
        const int *order = orders[trial % 4];
        void *part[3];
        bench t;
        bench_open(&t, &w, spec);
        for (int i = 0; i < 3; i++) {
            part[i] = bench_begin(&t);
            bench_show(&t, part[i], &w, cut[i], cut[i + 1] - cut[i], 0);
        }
        if (trial % 4 == 0)
            ck_assert_int_eq(t.spec.metric->merge(&t.r, part[0], part[2]), SAE_EINVAL);
        for (int i = 1; i < 3; i++) {
            ck_assert_ok(t.spec.metric->merge(&t.r, part[order[0]], part[order[i]]), t.err);
            sae_free(part[order[i]]);
        }
        bench_end(&t, part[order[0]], &o);
        bench_close(&t);
        ck_assert_int_eq(o.rows, whole.rows);
        for (int i = 0; i < whole.rows; i++) {
            expect(whole.row[i].key, whole.row[i].value);
            ck_assert_int_eq(o.row[i].count, whole.row[i].count);
        }
        for (int i = 0; i < whole.points; i++)
            ck_assert(o.point[i].value == whole.point[i].value);
    }
}
END_TEST

Suite *suite_saebench06(void)
{
    Suite *s = suite_create("saebench06");
    TCase *t = tcase_create("saebench06");
    tcase_add_test(t, fields_of_batches);
    tcase_add_test(t, fields_of_features);
    tcase_add_test(t, fields_of_rows);
    tcase_add_test(t, fields_of_the_model);
    tcase_add_test(t, merging_parts);
    suite_add_tcase(s, t);
    return s;
}
