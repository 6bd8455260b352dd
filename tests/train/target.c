/* tests/train/target.c - targets other than the input: their units, who sees them, what a file
 * keeps of them, and the two variants that need them. */
#include "train/rig.h"

#include "core/file.h"

enum { B = 96, N = 48 };

static char *in_dir(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

/* The scale of targets as norm.c estimates it, from the first 2^15 of them. */
static double scale_of(enum sae_norm kind)
{
    enum { ROWS = 1 << 15 };
    double square = 0, norm = 0;
    for (uint64_t r = 0; r < ROWS; r++) {
        sae_real y[RIG_OUT];
        double own = 0;
        rig_target(r, y);
        for (int i = 0; i < RIG_OUT; i++)
            own += (double)y[i] * (double)y[i];
        square += own / ROWS;
        norm += sqrt(own) / ROWS;
    }
    return kind == SAE_NORM_MEAN_SQ1 ? sqrt(square) : norm / sqrt(RIG_OUT);
}

/* Targets are divided by a scale of their own, rows that are normalised one by one by their own. */
START_TEST(own_units)
{
    static const enum sae_norm kinds[] = {SAE_NORM_NONE, SAE_NORM_MEAN_SQ1, SAE_NORM_SQRT_D,
                                          SAE_NORM_UNIT_ROW};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        rig r;
        sae_batch b;
        rig_open(&r, 1, kinds[k], RIG_GIVES, B);
        ck_assert_ok(sae_stream_fill(&r.s, SAE_SPLIT_TRAIN, 500, B, SAE_NEED_TARGET, &b, &r.err),
                     r.err);
        ck_assert_ptr_ne(b.x, b.y);
        ck_assert_ptr_null(b.g);
        double scale = sae_norm_is_per_row(kinds[k]) || k == 0 ? 1 : scale_of(kinds[k]);
        ck_assert_double_eq_tol(r.s.target.scale, scale, 1e-12 * scale);
        for (int64_t i = 0; i < B; i++) {
            sae_real y[RIG_OUT];
            double sq = 0;
            rig_target(500 + (uint64_t)i, y);
            for (int j = 0; j < RIG_OUT; j++)
                sq += (double)y[j] * (double)y[j];
            double by = kinds[k] == SAE_NORM_UNIT_ROW ? sqrt(sq) : scale;
            for (int j = 0; j < RIG_OUT; j++) { /* one rounding to float */
                double want = (double)y[j] / by, got = (double)b.y[i * RIG_OUT + j];
                ck_assert_double_le(fabs(got - want), 1.01 * 0x1p-24 * fabs(want));
            }
        }
        rig_close(&r);
    }
}
END_TEST

/* Who needs no target trains as on a dataset without: bit for bit. */
START_TEST(unseen_by_others)
{
    rig with, without;
    sae_learner a, b;
    sae_train_config c = rig_config(6, B);
    rig_open(&with, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    rig_open(&without, 1, SAE_NORM_MEAN_SQ1, SAE_GIVES_TOKENS | SAE_GIVES_GRAD, B);
    rig *r[] = {&with, &without};
    sae_learner *l[] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        sae_spec spec;
        rig_spec(r[i], &spec, sae_find_variant(r[i]->reg, "topk"), N);
        rig_learner(r[i], l[i], &spec, &c);
        ck_assert_int_eq(l[i]->model.dim.d_out, RIG_D);
        for (int64_t step = 0; step < 6; step++) {
            sae_batch batch;
            uint64_t need = i ? 0 : SAE_NEED_TARGET; /* of another learner of the run */
            ck_assert_ok(sae_stream_fill(&r[i]->s, SAE_SPLIT_TRAIN, (uint64_t)(step * B), B, need,
                                         &batch, &r[i]->err), r[i]->err);
            if (step == 0)
                ck_assert_ok(sae_learner_init(l[i], &batch, &r[i]->err), r[i]->err);
            ck_assert_ok(sae_learner_step(l[i], &batch, &r[i]->err), r[i]->err);
        }
    }
    rig_same(&a, &b);
    sae_learner_close(&a);
    sae_learner_close(&b);
    rig_close(&with);
    rig_close(&without);
}
END_TEST

START_TEST(file_keeps_units)
{
    rig r;
    sae_learner l;
    sae_spec spec;
    sae_loaded s;
    sae_train_config c = rig_config(3, B);
    rig_open(&r, 1, SAE_NORM_SQRT_D, RIG_GIVES, B);
    rig_spec(&r, &spec, sae_find_variant(r.reg, "transcoder"), N);
    rig_learner(&r, &l, &spec, &c);
    rig_train(&r, &l, 3);
    ck_assert_ok(sae_file_export(in_dir("sae"), &l, &r.s, &r.err), r.err);
    ck_assert(!sae_file_exists(in_dir("sae/sae_weights.safetensors")));
    ck_assert_ok(sae_file_import(&s, in_dir("sae"), NULL, r.reg, &r.e, &r.err), r.err);
    ck_assert_int_eq(s.model.dim.d_out, RIG_OUT);
    ck_assert_int_eq(s.target.kind, SAE_NORM_SQRT_D);
    ck_assert_int_eq(s.target.rows, r.s.target.rows);
    ck_assert_double_eq(s.target.scale, r.s.target.scale);
    ck_assert_mem_eq(s.target.mean, r.s.target.mean, RIG_OUT * sizeof(double));
    ck_assert_double_eq(s.norm.scale, r.s.norm.scale);
    sae_loaded_close(&s, &r.e);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* ---- layer_map ------------------------------------------------------------------------------- */

static void open_map(rig *r, sae_learner *l, int64_t steps, const char *bias, const char *rows)
{
    sae_spec spec;
    sae_train_config c = rig_config(steps, B);
    rig_spec(r, &spec, sae_find_variant(r->reg, "layer_map"), N);
    ck_assert_ok(sae_opts_set(spec.opts, "bias", bias, &r->err), r->err);
    ck_assert_ok(sae_opts_set(spec.opts, "rows", rows, &r->err), r->err);
    rig_learner(r, l, &spec, &c);
}

/* Residuals of the rows it was fitted to, and what the base makes of them; [steps * B x ...]. */
static void residuals(rig *r, sae_learner *l, int64_t rows, double *resid, double *u, double *size)
{
    sae_ctx c = {.size = sizeof c, .mode = SAE_EVAL, .opt = l->opt_now, .k = &r->e.k,
                 .dev = r->e.dev, .be = r->e.be, .stats = &l->stats.view, .err = &r->err};
    const sae_real *D = l->model.t[0].w;
    sae_tape t;
    sae_extras_give(l->extras, &c);
    ck_assert_ok(sae_tape_open(&t, l->model.v, c.opt, &l->model.dim, B, SAE_EVAL, &r->e, &r->err),
                 r->err);
    for (int64_t r0 = 0; r0 < rows; r0 += B) {
        const sae_tape *base;
        sae_batch b;
        ck_assert_ok(sae_stream_fill(&r->s, SAE_SPLIT_TRAIN, (uint64_t)r0, B, SAE_NEED_TARGET, &b,
                                     &r->err), r->err);
        ck_assert_ok(sae_forward(&l->model, &c, &b, &t, &r->e), r->err);
        ck_assert_ok(c.base->encode(c.base, &b, &base, &r->err), r->err);
        ck_assert_int_eq(t.code.nnz, base->code.nnz);
        ck_assert_mem_eq(t.code.val, base->code.val, (size_t)t.code.nnz * sizeof(sae_real));
        for (int64_t i = 0; i < B; i++) {
            for (int64_t j = 0; j < RIG_D; j++)
                u[(r0 + i) * RIG_D + j] = (double)base->xhat[i * RIG_D + j];
            for (int64_t j = 0; j < RIG_OUT; j++) {
                double own = fabs((double)((sae_real *)l->model.t[1].w)[j]);
                for (int64_t p = t.code.rowptr[i]; p < t.code.rowptr[i + 1]; p++)
                    own += fabs((double)t.code.val[p] * (double)D[t.code.idx[p] * RIG_OUT + j]);
                size[(r0 + i) * RIG_OUT + j] = own + fabs((double)b.y[i * RIG_OUT + j]);
                resid[(r0 + i) * RIG_OUT + j] = (double)t.resid[i * RIG_OUT + j];
            }
        }
    }
    sae_tape_close(&t, &r->e);
}

/* Least squares: residuals are orthogonal to the regressors, and to 1 with a bias. What is left of
 * U^T R is the ridge (1e-9 of the mean of G's diagonal, below the rest) and rounding to float.
 * An entry of xhat is off by at most (d + k + 4) 2^-24 of the sum of the absolute values of all its
 * products; `size` leaves out the inner sums over d of W_dec = D W, hence d times that. */
START_TEST(map_is_least_squares)
{
    enum { STEPS = 5, ROWS = STEPS * B };
    static double resid[ROWS * RIG_OUT], u[ROWS * RIG_D], size[ROWS * RIG_OUT];
    int bias = _i;
    rig r;
    sae_learner l;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    open_map(&r, &l, STEPS, bias ? "1" : "0", "0");
    rig_train(&r, &l, STEPS);
    ck_assert_int_eq(l.done, 1);
    residuals(&r, &l, ROWS, resid, u, size);
    for (int j = 0; j < RIG_OUT; j++) {
        double unit = RIG_D * (RIG_D + 3 + 4) * 0x1p-24, sum = 0, most = 0;
        for (int64_t i = 0; i < ROWS; i++) {
            sum += resid[i * RIG_OUT + j];
            most += size[i * RIG_OUT + j];
        }
        if (bias)
            ck_assert_double_le(fabs(sum), unit * most);
        for (int k = 0; k < RIG_D; k++) {
            double dot = 0, bound = 0;
            for (int64_t i = 0; i < ROWS; i++) {
                dot += u[i * RIG_D + k] * resid[i * RIG_OUT + j];
                bound += fabs(u[i * RIG_D + k]) * size[i * RIG_OUT + j];
            }
            ck_assert_msg(fabs(dot) <= unit * bound, "u%d r%d: %g, at most %g", k, j, dot,
                          unit * bound);
        }
    }
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

START_TEST(map_ends_after_its_rows)
{
    rig r;
    sae_learner l;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    open_map(&r, &l, 10, "1", "200");
    rig_train(&r, &l, 10);
    ck_assert_int_eq(l.done, 1);
    ck_assert_int_eq(l.step, 3); /* 3 batches of 96 */
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

START_TEST(map_refuses)
{
    rig r;
    sae_learner l;
    sae_spec spec;
    sae_batch b;
    sae_train_config c = rig_config(1, B);
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    rig_spec(&r, &spec, sae_find_variant(r.reg, "layer_map"), N);
    rig_base(&r, &spec);
    spec.n = N + 1;
    ck_assert_ok(sae_learner_open(&l, &spec, 5, &c, &r.s.dim, &r.e, &r.err), r.err);
    ck_assert_ok(sae_learner_extras(&l, r.reg, &r.s, &r.err), r.err);
    ck_assert_ok(sae_stream_fill(&r.s, SAE_SPLIT_TRAIN, 0, B, l.needs, &b, &r.err), r.err);
    ck_assert_int_eq(sae_learner_init(&l, &b, &r.err), SAE_EINVAL);
    ck_assert_msg(strstr(r.err.msg, "expected the base's 48, found 49"), "%s", r.err.msg);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

Suite *suite_target(void);
Suite *suite_target(void)
{
    Suite *s = suite_create("target");
    TCase *t = tcase_create("target");
    tcase_add_test(t, own_units);
    tcase_add_test(t, unseen_by_others);
    tcase_add_test(t, file_keeps_units);
    tcase_add_loop_test(t, map_is_least_squares, 0, 2);
    tcase_add_test(t, map_ends_after_its_rows);
    tcase_add_test(t, map_refuses);
    suite_add_tcase(s, t);
    return s;
}
