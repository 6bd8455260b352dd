/* tests/prop/density.c - codes that are dense or sparse: both ways compute the same.
 *
 * Which way a batch goes is decided by some of its rows, equally spaced. Half of the rows here are
 * loud (half of their entries are active), half are quiet (few are), and they alternate: with the
 * loud rows first the decision sees loud rows only, with the quiet ones first quiet ones only. The
 * batch is the same in another order, so losses and gradients must be the same but for rounding,
 * within the bound of backends.c.
 */
#include "core/probe.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/backends.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <sae/stock_run.h>
#include <string.h>

/* The second one's sparse code has more entries than a run. */
static const sae_probe_shape usual = {64, 24, 80}, large = {640, 8, 8192};
enum { ROWS = 640 * 8, MOST = 8192 * 8 };
#define BOUND (16 * 1024 * (double)FLT_EPSILON / 2)

static const char *const specs[] = {
    "relu",
    "relu:mse=fvu",
    "relu:decoder=free",
    "relu:decoder=free,p=2",
    "relu:decoder=free,p=2,root=0",
    "relu:p=1.5,shrink=0.1",
    "p_anneal",
    "p_anneal:p_end=0.5,root=1",
    "jumprelu:theta=0.3,bandwidth=0.2",
    "jumprelu:theta=0.3,bandwidth=0.2,penalty=tanh,decoder=free,mse=fvu",
    "jumprelu:theta=0.3,bandwidth=0.2,penalty=l0,weight=0.1,param=log,pre_bias=0",
    "jumprelu:theta=0.3,bandwidth=0.1,window=post,decoder=free",
    "jumprelu:theta=0.25,bandwidth=0.3,window=post", /* holds codes of 0, where theta < 0.15 */
    "abs_jumprelu:theta=0.7,bandwidth=0.2",
    "abs_jumprelu:theta=0.7,bandwidth=0.2,window=post,penalty=l0,decoder=free",
};
enum { SPECS = sizeof specs / sizeof specs[0] };

static sae_registry *reg;
static sae_engine engine;

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

static void put(void *dst, const void *src, size_t bytes)
{
    ck_assert_int_ge(engine.be->copy(engine.dev, dst, src, bytes, SAE_COPY_H2D), 0);
}

static void get(void *dst, const void *src, size_t bytes)
{
    ck_assert_int_ge(engine.be->copy(engine.dev, dst, src, bytes, SAE_COPY_D2H), 0);
}

enum { NAN_NOWHERE, NAN_IN_X, NAN_IN_BIAS, NAN_IN_THETA };

/* Feature 0 has scores that are exactly 0, and a threshold whose window has them. */
static void fill_thresholds(sae_probe *p, int nan)
{
    const sae_tensor *theta = sae_model_tensor(&p->model, "theta");
    const sae_real zero[24] = {0}, low = 0.001f, none = (sae_real)NAN;
    if (!theta)
        return;
    put(p->model.t[STOCK_W_ENC].w, zero, (size_t)p->model.dim.d_in * sizeof *zero);
    put(p->model.t[STOCK_B_ENC].w, zero, sizeof *zero);
    put(theta->w, &low, sizeof low);
    if (nan == NAN_IN_THETA)
        put((sae_real *)theta->w + 1, &none, sizeof none);
}

/* Rows of both kinds, those of kind `first` (1: loud) at even places, and a model for which they
 * are so. A penalty whose exponent changes has its last one. */
static void fill(sae_probe *p, int first, int nan)
{
    static sae_real x[ROWS], rows[ROWS], bias[8192];
    const sae_real zero[24] = {0};
    const int64_t B = p->batch.B, D = p->model.dim.d_in, N = p->model.dim.n, updates = 1000;
    int64_t from[2] = {0, B / 2};
    const sae_tensor *state = sae_model_tensor(&p->model, "updates");
    get(x, p->x, (size_t)(B * D) * sizeof *x);
    for (int64_t r = 0; r < B; r++) {
        int loud = r % 2 == 0 ? first : !first;
        double size = 0, scale = loud ? 10 : 0.5;
        const sae_real *row = x + from[loud]++ * D;
        for (int64_t c = 0; c < D; c++)
            size += (double)row[c] * (double)row[c];
        for (int64_t c = 0; c < D; c++)
            rows[r * D + c] = (sae_real)(scale * (double)row[c] / sqrt(size));
    }
    for (int64_t j = 0; j < N; j++)
        bias[j] = -0.2f;
    if (nan == NAN_IN_X)
        rows[D + 1] = (sae_real)NAN;
    if (nan == NAN_IN_BIAS)
        bias[N - 1] = (sae_real)NAN;
    put(p->x, rows, (size_t)(B * D) * sizeof *rows);
    put(p->model.t[STOCK_B_ENC].w, bias, (size_t)N * sizeof *bias);
    put(p->model.t[STOCK_B_DEC].w, zero, (size_t)D * sizeof *zero);
    if (state)
        put(state->w, &updates, sizeof updates);
    fill_thresholds(p, nan);
}

static void step(sae_probe *p)
{
    ck_assert_ok(sae_forward(&p->model, &p->ctx, &p->batch, &p->tape, p->e), p->err);
    ck_assert_ok(p->v->backward(&p->model, &p->ctx, &p->batch, &p->tape), p->err);
}

static void open_probe(sae_probe *p, const sae_spec *s, sae_probe_shape shape)
{
    sae_err err = {0};
    ck_assert_ok(sae_probe_open(p, s->variant, s->opts, shape, 3, &engine, &err), err);
    ck_assert_ok(sae_probe_fill(p, SAE_ROWS_NORMAL, 9), p->err);
}

static void same_gradient(const sae_tensor *a, const sae_tensor *b, const char *spec)
{
    static sae_real x[MOST], y[MOST];
    size_t count = a->grad ? (size_t)(a->rows * a->cols) : 0;
    double largest = 0;
    get(x, a->grad, count * sizeof *x);
    get(y, b->grad, count * sizeof *y);
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)x[i]));
    ck_assert_msg(count == 0 || largest > 0, "%s: no gradient of %s", spec, a->spec->name);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(fabs((double)x[i] - (double)y[i]) <= BOUND * largest,
                      "%s: gradient of %s[%d] is %g dense, %g sparse (largest %g)", spec,
                      a->spec->name, (int)i, (double)x[i], (double)y[i], largest);
}

static void compare(const char *spec, sae_probe_shape shape)
{
    sae_err err = {0};
    sae_spec s = {0};
    sae_probe dense, sparse;
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, spec, &err), err);
    open_probe(&dense, &s, shape);
    open_probe(&sparse, &s, shape);
    fill(&dense, 1, NAN_NOWHERE);
    fill(&sparse, 0, NAN_NOWHERE);
    step(&dense);
    step(&sparse);
    ck_assert_msg(dense.tape.code.dense && !sparse.tape.code.dense, "%s: %d, %d", spec,
                  dense.tape.code.dense, sparse.tape.code.dense);
    ck_assert_msg((sparse.tape.code.nnz > STOCK_RUN) == (shape.n == large.n), "%s: %d entries",
                  spec, (int)sparse.tape.code.nnz);
    for (int i = 0; dense.v->losses[i]; i++) {
        double a = dense.tape.loss[i], b = sparse.tape.loss[i];
        ck_assert_msg(a > 0 || dense.tape.coef[i] == 0, "%s: no %s", spec, dense.v->losses[i]);
        ck_assert_msg(fabs(a - b) <= BOUND * a, "%s: loss %s is %.9g dense, %.9g sparse", spec,
                      dense.v->losses[i], a, b);
    }
    for (int i = 0; i < dense.model.nt; i++)
        same_gradient(&dense.model.t[i], &sparse.model.t[i], spec);
    sae_probe_close(&dense);
    sae_probe_close(&sparse);
    sae_spec_free(&s);
}

static int use_backend(int i)
{
    sae_err err = {0};
    const sae_backend *be = test_backend(reg, i);
    if (be->score() <= 0)
        return 0;
    ck_assert_ok(sae_engine_open(&engine, be, 0, 2, &err), err);
    return 1;
}

START_TEST(both_ways_agree)
{
    if (!use_backend(_i))
        return;
    for (int i = 0; i < SPECS; i++)
        compare(specs[i], usual);
    if (!engine.props.shares_host) /* a device that is emulated takes minutes */
        return;
    compare("relu:decoder=free,p=1.5", large);
    compare("jumprelu:theta=0.2,bandwidth=0.4,penalty=tanh,decoder=free", large);
    compare("abs_jumprelu:theta=0.8,bandwidth=0.2", large);
}
END_TEST

static void check_nan(const char *spec, int where)
{
    sae_err err = {0};
    sae_spec s = {0};
    sae_probe p;
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, spec, &err), err);
    open_probe(&p, &s, usual);
    fill(&p, 0, where);
    ck_assert_ok(sae_forward(&p.model, &p.ctx, &p.batch, &p.tape, p.e), p.err);
    ck_assert_msg(isnan(p.tape.loss[0]), "%s, %d: loss %g", spec, where, p.tape.loss[0]);
    ck_assert(p.tape.code.dense == (where != NAN_IN_THETA));
    sae_probe_close(&p);
    sae_spec_free(&s);
}

/* A NaN in a row that does not decide; one that only the code can bring to the loss. */
START_TEST(nan_shows)
{
    if (!use_backend(_i))
        return;
    for (int where = NAN_IN_X; where <= NAN_IN_BIAS; where++)
        check_nan("relu", where);
    for (int where = NAN_IN_X; where <= NAN_IN_THETA; where++) {
        check_nan("jumprelu:theta=0.3", where);
        check_nan("abs_jumprelu:theta=0.7", where);
    }
}
END_TEST

/* The pull on pre-activations is on inactive ones. */
START_TEST(pre_act_keeps_codes_dense)
{
    sae_err err = {0};
    sae_spec s = {0};
    sae_probe p;
    if (!use_backend(_i))
        return;
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, "jumprelu:theta=0.3,pre_act=0.1", &err),
                 err);
    open_probe(&p, &s, usual);
    fill(&p, 0, NAN_NOWHERE);
    step(&p);
    ck_assert(p.tape.code.dense && p.tape.loss[2] > 0);
    sae_probe_close(&p);
    sae_spec_free(&s);
}
END_TEST

Suite *suite_density(void);
Suite *suite_density(void)
{
    Suite *s = suite_create("density");
    TCase *t = tcase_create("codes");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, both_ways_agree, 0, test_backend_count());
    tcase_add_loop_test(t, nan_shows, 0, test_backend_count());
    tcase_add_loop_test(t, pre_act_keeps_codes_dense, 0, test_backend_count());
    suite_add_tcase(s, t);
    return s;
}
