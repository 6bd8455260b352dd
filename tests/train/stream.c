/* tests/train/stream.c - normalisation and what a batch shows. */
#include "train/rig.h"

#include <stdlib.h>

enum { B = 50 };

static void raw_rows(double *out, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        sae_real x[RIG_D];
        rig_row((uint64_t)r, x);
        for (int i = 0; i < RIG_D; i++)
            out[r * RIG_D + i] = (double)x[i];
    }
}

static double norm_of(const double *x)
{
    double s = 0;
    for (int i = 0; i < RIG_D; i++)
        s += x[i] * x[i];
    return sqrt(s);
}

/* The constants against plain sums over the first 2^15 rows, whatever the batch size. Sums of 2^15
 * terms of one sign in double: relative error below 2^15 x 2^-53 = 4e-12. */
START_TEST(constants)
{
    enum { ROWS = 1 << 15 };
    double *x = malloc(sizeof *x * ROWS * RIG_D), sq = 0, len = 0, mean[RIG_D] = {0};
    raw_rows(x, ROWS);
    for (int64_t r = 0; r < ROWS; r++) {
        double n = norm_of(x + r * RIG_D);
        sq += n * n / ROWS;
        len += n / ROWS;
        for (int i = 0; i < RIG_D; i++)
            mean[i] += x[r * RIG_D + i] / ROWS;
    }
    free(x);
    const double want[] = {1, sqrt(sq), len / sqrt(RIG_D), 1};
    for (int kind = 0; kind < 4; kind++) {
        rig a, b;
        rig_open(&a, 1, (enum sae_norm)kind, RIG_GIVES, B);
        rig_open(&b, 1, (enum sae_norm)kind, RIG_GIVES, 4096);
        ck_assert_double_eq_tol(a.s.norm.scale, want[kind], 1e-11 * want[kind]);
        ck_assert_double_eq(a.s.norm.scale, b.s.norm.scale);
        ck_assert_int_eq(a.s.norm.rows, ROWS);
        for (int i = 0; i < RIG_D; i++)
            ck_assert_double_eq_tol(a.s.norm.mean[i], mean[i], 1e-11);
        ck_assert_mem_eq(a.s.norm.mean, b.s.norm.mean, sizeof(double) * RIG_D);
        rig_close(&a);
        rig_close(&b);
    }
}
END_TEST

/* x, the gradient per unit of x, and the way back; one rounding each: 2^-24 relative. */
/* Standard deviation with d - 1 of a row, plus 1e-5, and its mean. */
static double std_of(const double *x, double *mean)
{
    double sum = 0, square = 0;
    for (int j = 0; j < RIG_D; j++)
        sum += x[j];
    *mean = sum / RIG_D;
    for (int j = 0; j < RIG_D; j++)
        square += (x[j] - *mean) * (x[j] - *mean);
    return sqrt(square / (RIG_D - 1)) + 1e-5;
}

START_TEST(batch_units)
{
    for (int kind = 0; sae_norm_names[kind]; kind++) {
        rig r;
        sae_batch b;
        sae_real raw[RIG_D], back[B * RIG_D];
        rig_open(&r, 1, (enum sae_norm)kind, RIG_GIVES, B);
        ck_assert_ok(sae_stream_fill(&r.s, SAE_SPLIT_TRAIN, 1000, B,
                                     SAE_NEED_GRAD | SAE_NEED_TOKENS, &b, &r.err), r.err);
        ck_assert_ptr_eq(b.x, b.y);
        ck_assert_uint_eq(b.row0, 1000);
        memcpy(back, b.x, sizeof back);
        sae_norm_undo(&r.s.norm, r.s.now.in.row, (sae_mat){back, B, RIG_D, RIG_D});
        for (int64_t i = 0; i < B; i++) {
            double wide[RIG_D], scale = r.s.norm.scale;
            rig_row(1000 + (uint64_t)i, raw);
            for (int j = 0; j < RIG_D; j++)
                wide[j] = (double)raw[j];
            double shift = 0;
            if (kind == SAE_NORM_UNIT_ROW)
                scale = norm_of(wide);
            if (kind == SAE_NORM_ROW_STD)
                scale = std_of(wide, &shift);
            ck_assert_uint_eq(b.tok[i].doc, (1000 + (uint64_t)i) / 64);
            for (uint32_t j = 0; j < RIG_D; j++) {
                double x = (double)b.x[i * RIG_D + j], g = (double)b.g[i * RIG_D + j];
                double u = 1.01 * 0x1p-24, dx = (wide[j] - shift) / scale;
                double dg = (double)(float)sae_normal(1, RIG_STREAM + 2, 1000 + (uint64_t)i, j) *
                            scale;
                ck_assert_double_le(fabs(x - dx), u * fabs(dx));
                ck_assert_double_le(fabs(g - dg), u * fabs(dg));
                ck_assert_double_le(fabs((double)back[i * RIG_D + j] - wide[j]),
                                    u * (fabs(wide[j]) + fabs(dx * scale)));
            }
        }
        rig_close(&r);
    }
}
END_TEST

/* What is not asked for is not shown; what cannot be supplied is refused; zero rows stay zero. */
START_TEST(needs_and_edges)
{
    rig r;
    sae_batch b;
    sae_err err = {0};
    rig_open(&r, 1, SAE_NORM_NONE, SAE_GIVES_TOKENS, B);
    ck_assert_ok(sae_stream_fill(&r.s, SAE_SPLIT_EVAL, 0, 1, 0, &b, &err), err);
    ck_assert(!b.g && !b.tok);
    ck_assert_int_eq(sae_stream_fill(&r.s, SAE_SPLIT_EVAL, 0, 1, SAE_NEED_GRAD, &b, &err),
                     SAE_ENEEDS);
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sae_stream_fill(&r.s, SAE_SPLIT_EVAL, 0, B + 1, 0, &b, &err), SAE_EINVAL);
    ck_assert_uint_eq(sae_stream_lacks(&r.s, SAE_NEED_TOKENS | SAE_NEED_LM), SAE_NEED_LM);
    rig_close(&r);
    sae_norm_const unit = {.kind = SAE_NORM_UNIT_ROW, .scale = 1};
    sae_real zero[4] = {0}, x[4];
    sae_norm_row row[1];
    sae_norm_apply(&unit, (sae_cmat){zero, 1, 4, 4}, (sae_mat){x, 1, 4, 4}, row);
    ck_assert_double_eq(row[0].scale, 1);
    ck_assert_mem_eq(x, zero, sizeof x);
    unit.kind = SAE_NORM_ROW_STD; /* a constant row becomes 0 and comes back */
    sae_real constant[4] = {3, 3, 3, 3};
    sae_norm_apply(&unit, (sae_cmat){constant, 1, 4, 4}, (sae_mat){x, 1, 4, 4}, row);
    ck_assert_mem_eq(x, zero, sizeof x);
    sae_norm_undo(&unit, row, (sae_mat){x, 1, 4, 4});
    ck_assert_mem_eq(x, constant, sizeof x);
}
END_TEST

static int bad_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t rows,
                    const sae_fill *out, sae_err *err)
{
    int rc = rig_fill(s, split, row0, rows, out, err);
    if (row0 <= 77 && row0 + (uint64_t)rows > 77)
        out->x[(77 - (int64_t)row0) * RIG_D + 3] = (sae_real)NAN;
    return rc;
}

static int zero_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t rows,
                     const sae_fill *out, sae_err *err)
{
    (void)s, (void)split, (void)row0, (void)err;
    memset(out->x, 0, (size_t)(rows * RIG_D) * sizeof *out->x);
    return SAE_OK;
}

START_TEST(bad_rows_are_named)
{
    rig r;
    double mean[RIG_D];
    sae_real buf[B * RIG_D];
    sae_err err = {0};
    sae_norm_const n = {.kind = SAE_NORM_MEAN_SQ1, .mean = mean};
    sae_mat m = {buf, B, RIG_D, RIG_D};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    r.ds.fill = bad_fill;
    ck_assert_int_eq(sae_norm_estimate(&n, &r.ds, r.s.src, 0, m, &err), SAE_ENONFINITE);
    ck_assert_msg(strstr(err.msg, "row 77 ") != NULL, "%s", err.msg);
    memset(&err, 0, sizeof err);
    r.ds.fill = zero_fill;
    ck_assert_int_eq(sae_norm_estimate(&n, &r.ds, r.s.src, 0, m, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "zero") != NULL, "%s", err.msg);
    rig_close(&r);
}
END_TEST

static int64_t no_training_rows(const sae_source *s, enum sae_split split)
{
    (void)s;
    return split == SAE_SPLIT_TRAIN ? 0 : 77;
}

/* A source that is held out as a whole can be measured on, but not trained on. */
START_TEST(evaluation_only)
{
    rig r;
    double mean[RIG_D], want[RIG_D] = {0};
    sae_real buf[B * RIG_D], x[RIG_D];
    sae_err err = {0};
    sae_norm_const n = {.kind = SAE_NORM_NONE, .mean = mean};
    sae_mat m = {buf, B, RIG_D, RIG_D};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    r.ds.rows = no_training_rows;
    ck_assert_ok(sae_norm_estimate(&n, &r.ds, r.s.src, 0, m, &err), err);
    ck_assert_int_eq(n.rows, 77);
    for (uint64_t i = 0; i < 77; i++) {
        rig_row((UINT64_C(1) << 40) + i, x);
        for (int j = 0; j < RIG_D; j++)
            want[j] += (double)x[j];
    }
    for (int j = 0; j < RIG_D; j++) /* the same sums in the same order */
        ck_assert_double_eq(mean[j], want[j] / 77);
    n.kind = SAE_NORM_MEAN_SQ1;
    ck_assert_int_eq(sae_norm_estimate(&n, &r.ds, r.s.src, 0, m, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "no training rows") != NULL, "%s", err.msg);
    rig_close(&r);
}
END_TEST

Suite *suite_stream(void)
{
    Suite *s = suite_create("stream");
    TCase *t = tcase_create("stream");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, constants);
    tcase_add_test(t, batch_units);
    tcase_add_test(t, needs_and_edges);
    tcase_add_test(t, bad_rows_are_named);
    tcase_add_test(t, evaluation_only);
    suite_add_tcase(s, t);
    return s;
}
