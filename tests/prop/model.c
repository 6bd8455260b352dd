/* tests/prop/model.c - engine, model, tape, repeated forward, statistics. */
#include "core/list.h"
#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"
#include "support/probe.h"
#include "support/support.h"

#include <string.h>

static sae_registry *reg;
static sae_engine e;
static sae_variant probe;
static const sae_dims dims = {.d_in = 3, .d_out = 5, .n = 4, .n_cap = 7};

static void open_engine(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&e, sae_find_backend(reg, "ref"), 0, 1, &err), err);
    ck_assert_ok(sae_admit_variant(&probe_variant, &probe, &err), err);
}

static void close_engine(void)
{
    sae_engine_close(&e);
    sae_registry_close(&reg);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}

/* ---- engine ---------------------------------------------------------------------------------- */

static sae_kernels table;

static void keep_table(sae_device *dev, sae_kernels *k)
{
    (void)dev;
    table = *k; /* what the backend finds is the complete table of ref */
}

static void drop_one(sae_device *dev, sae_kernels *k)
{
    (void)dev;
    k->unit_rows = NULL;
}

static int unusable(void)
{
    return 0;
}

START_TEST(engine)
{
    sae_err err = {0};
    sae_engine x;
    sae_backend b = *sae_find_backend(reg, "ref");
    b.kernels = keep_table;
    ck_assert_ok(sae_engine_open(&x, &b, 0, 1, &err), err);
    ck_assert_uint_eq(x.k.size, sizeof x.k);
    ck_assert_uint_eq(x.k.abi, SAE_KERNELS_ABI);
    ck_assert(x.k.gemm && x.k.gemm == table.gemm);
    sae_engine_close(&x);
    b.kernels = drop_one;
    ck_assert_int_eq(sae_engine_open(&x, &b, 0, 1, &err), SAE_EBACKEND);
    ck_assert_ptr_nonnull(strstr(err.msg, "unit_rows"));
    err = (sae_err){0};
    b.score = unusable;
    ck_assert_int_eq(sae_engine_open(&x, &b, 0, 1, &err), SAE_EBACKEND);
    ck_assert_ptr_nonnull(strstr(err.msg, "ref"));
}
END_TEST

/* ---- model ----------------------------------------------------------------------------------- */

static int refuse(const void *opt, const sae_dims *dim, sae_err *err)
{
    (void)opt, (void)dim, (void)err;
    return SAE_EINVAL;
}

static uint32_t no_flags(const void *opt, const sae_tensor_spec *spec)
{
    (void)opt, (void)spec;
    return 0;
}

START_TEST(tensors)
{
    static const int64_t shape[][2] = {{4, 3}, {1, 4}, {4, 5}, {1, 5}, {1, 1}, {4, 3}};
    static const int64_t grown[][2] = {{6, 3}, {1, 6}, {6, 5}, {1, 5}, {1, 1}, {6, 3}};
    sae_err err = {0};
    sae_model m;
    int64_t reals = 7 * 3 + 7 + 7 * 5 + 5;
    size_t bytes = (size_t)reals * sizeof(sae_real) + 8 + 7 * 3 * 8;
    ck_assert_uint_eq(sae_model_bytes(&probe, &dims, 0), bytes);
    ck_assert_uint_eq(sae_model_bytes(&probe, &dims, 1), bytes + (size_t)reals * sizeof(sae_real));
    ck_assert_ok(sae_model_open(&m, &probe, NULL, &dims, &e, 1, &err), err);
    ck_assert_int_eq(m.nt, 6);
    for (int i = 0; i < m.nt; i++) {
        const sae_tensor *t = &m.t[i];
        ck_assert_int_eq(t->rows, shape[i][0]);
        ck_assert_int_eq(t->cols, shape[i][1]);
        ck_assert_uint_eq(t->flags, probe_tensors[i].flags);
        ck_assert_uint_eq((uintptr_t)t->w % 64, 0);
        ck_assert((t->grad != NULL) == (probe_tensors[i].role == SAE_PARAM));
    }
    for (int64_t i = 0; i < 7 * 3; i++) /* zero to the full capacity */
        ck_assert_double_eq((double)((sae_real *)m.t[0].w)[i] + (double)m.t[0].grad[i], 0);
    ck_assert_ptr_eq(sae_model_tensor(&m, "theta"), &m.t[4]);
    ck_assert_ptr_null(sae_model_tensor(&m, "thet"));
    ck_assert_ok(sae_model_grow(&m, 6, &err), err);
    for (int i = 0; i < m.nt; i++)
        ck_assert(m.t[i].rows == grown[i][0] && m.t[i].cols == grown[i][1]);
    ck_assert_int_eq(sae_model_grow(&m, 8, &err), SAE_ECAPACITY);
    ck_assert_int_eq(sae_model_grow(&m, 5, NULL), SAE_ECAPACITY);
    ck_assert_int_eq(m.dim.n, 6);
    sae_model_close(&m, &e);
    sae_variant plain = probe;
    plain.tensor_flags = no_flags;
    err = (sae_err){0};
    ck_assert_ok(sae_model_open(&m, &plain, NULL, &dims, &e, 0, &err), err);
    ck_assert_uint_eq(m.t[2].flags, 0);
    ck_assert_ptr_null(m.t[0].grad);
    sae_model_close(&m, &e);
}
END_TEST

START_TEST(model_refusals)
{
    sae_err err = {0};
    sae_model m;
    sae_dims bad = dims;
    bad.n_cap = 3;
    ck_assert_int_eq(sae_model_open(&m, &probe, NULL, &bad, &e, 1, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "n 4 of 3"));
    err = (sae_err){0};
    bad = (sae_dims){1 << 20, 1 << 20, INT64_C(1) << 31, INT64_C(1) << 31};
    ck_assert_int_eq(sae_model_open(&m, &probe, NULL, &bad, &e, 1, &err), SAE_ENOMEM);
    ck_assert_ptr_nonnull(strstr(err.msg, "probe"));
    bad.n = bad.n_cap = INT64_MAX / 2;
    ck_assert_uint_eq(sae_model_bytes(&probe, &bad, 0), SIZE_MAX);
    err = (sae_err){0};
    sae_variant picky = probe;
    picky.check = refuse;
    ck_assert_int_eq(sae_model_open(&m, &picky, NULL, &dims, &e, 1, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "probe refuses"));
}
END_TEST

/* ---- forward --------------------------------------------------------------------------------- */

static int insatiable(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c;
    t->code.nnz = b->B * t->code.n + 1;
    return SAE_ECAPACITY;
}

static int stuck(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c, (void)b;
    t->code.nnz = t->code.cap;
    return SAE_ECAPACITY;
}

static int mute(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_ENONFINITE;
}

START_TEST(forward)
{
    enum { B = 6 };
    sae_err err = {0};
    sae_model m;
    sae_tape t;
    sae_real x[B * 3];
    for (int i = 0; i < B * 3; i++)
        x[i] = (sae_real)1;
    ck_assert_ok(sae_model_open(&m, &probe, NULL, &dims, &e, 0, &err), err);
    for (int i = 0; i < 4 * 3; i++)
        ((sae_real *)m.t[0].w)[i] = (sae_real)(i < 9 ? 1 : -1); /* features 0, 1, 2 fire */
    ck_assert_ok(sae_tape_open(&t, &probe, NULL, &dims, B, SAE_TRAIN, &e, &err), err);
    ck_assert_int_eq(t.code.cap, 1);
    sae_stats_store stats;
    ck_assert_ok(sae_stats_open(&stats, 4, &e, &err), err);
    sae_ctx c = {.size = sizeof c, .mode = SAE_TRAIN, .k = &e.k, .dev = e.dev, .be = e.be,
                 .stats = &stats.view, .err = &err};
    sae_batch b = {.B = B, .x = x, .y = x};
    ck_assert_ok(sae_forward(&m, &c, &b, &t, &e), err);
    ck_assert_int_eq(t.code.nnz, 3 * B);
    ck_assert_int_ge(t.code.cap, 3 * B);
    for (int r = 0; r < B; r++)
        for (int j = 0; j < 3; j++)
            ck_assert(t.code.rowptr[r] == 3 * r && t.code.idx[3 * r + j] == j &&
                      t.code.val[3 * r + j] == (sae_real)3);
    /* The same and smaller batches fit now: nothing is allocated. */
    uint64_t calls = sae_alloc_calls();
    const sae_real *val = t.code.val;
    ck_assert_ok(sae_forward(&m, &c, &b, &t, &e), err);
    b.B = 2;
    ck_assert_ok(sae_forward(&m, &c, &b, &t, &e), err);
    ck_assert_int_eq(t.code.nnz, 6);
    ck_assert_uint_eq(sae_alloc_calls(), calls);
    ck_assert_ptr_eq(t.code.val, val);
    b.B = B;
    static int (*const bad[])(const sae_model *, const sae_ctx *, const sae_batch *, sae_tape *) = {
        insatiable, stuck, mute};
    static const int code[] = {SAE_ECAPACITY, SAE_ECAPACITY, SAE_ENONFINITE};
    static const char *const says[] = {"25 entries", "code entries and has", "step 0"};
    for (int i = 0; i < 3; i++) {
        sae_variant v = probe;
        v.forward = bad[i];
        m.v = &v;
        err = (sae_err){0};
        ck_assert_int_eq(sae_forward(&m, &c, &b, &t, &e), code[i]);
        ck_assert_msg(strstr(err.msg, says[i]), "%s", err.msg);
    }
    sae_stats_close(&stats, &e);
    sae_tape_close(&t, &e);
    sae_model_close(&m, &e);
}
END_TEST

static int dense_workspace(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode,
                           sae_workspace *out)
{
    (void)opt, (void)dim, (void)B, (void)mode;
    *out = (sae_workspace){.scratch = 0, .dense_code = 1, .dense_pre = 1};
    return SAE_OK;
}

/* Dense or sparse: room for one listed entry at first. */
static int either_workspace(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode,
                            sae_workspace *out)
{
    (void)opt, (void)dim, (void)B, (void)mode;
    *out = (sae_workspace){.code_cap = 1, .dense_code = SAE_CODE_EITHER};
    return SAE_OK;
}

static int no_workspace(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode,
                        sae_workspace *out)
{
    (void)opt, (void)dim, (void)B, (void)mode, (void)out;
    return SAE_EINVAL;
}

START_TEST(tapes)
{
    sae_err err = {0};
    sae_tape t;
    sae_variant v = probe;
    v.workspace = dense_workspace;
    ck_assert_ok(sae_tape_open(&t, &v, NULL, &dims, 6, SAE_TRAIN, &e, &err), err);
    ck_assert_int_eq(t.code.cap, 6 * 7);
    ck_assert(t.code.dense && !t.code.idx && !t.code.rowptr && t.pre && t.xhat && t.resid);
    ck_assert_int_eq(sae_tape_grow_code(&t, 100, &e, &err), SAE_ECAPACITY);
    ck_assert_int_eq(t.code.cap, 6 * 7);
    sae_tape_close(&t, &e);
    err = (sae_err){0};
    v.workspace = either_workspace;
    ck_assert_ok(sae_tape_open(&t, &v, NULL, &dims, 6, SAE_TRAIN, &e, &err), err);
    const sae_real *val = t.code.val;
    ck_assert(!t.code.dense && t.code.rowptr && t.code.cap == 1 && t.val_cap == 6 * 7);
    ck_assert_ok(sae_tape_grow_code(&t, 20, &e, &err), err);
    ck_assert(t.code.cap == 24 && t.val_cap == 6 * 7 && t.code.val == val);
    sae_tape_close(&t, &e);
    v.workspace = no_workspace;
    ck_assert_int_eq(sae_tape_open(&t, &v, NULL, &dims, 6, SAE_TRAIN, &e, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "no workspace"));
}
END_TEST

Suite *suite_model(void)
{
    Suite *s = suite_create("model");
    TCase *c = tcase_create("model");
    tcase_add_checked_fixture(c, open_engine, close_engine);
    tcase_add_test(c, engine);
    tcase_add_test(c, tensors);
    tcase_add_test(c, model_refusals);
    tcase_add_test(c, forward);
    tcase_add_test(c, tapes);
    suite_add_tcase(s, c);
    return s;
}
