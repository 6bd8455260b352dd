/* tests/train/divided.c - an SAE divided over two devices trains as it does on one.
 *
 * Every element that a host backend computes has the same bits in a range of the output as in all
 * of it, so the bits of a whole training are those of one device; also where a device is emulated,
 * whose products are loops. Those of a real one may depend on their extents: losses then agree
 * within the bound of devices.c.
 */
#include "core/divide.h"
#include "core/list.h"
#include "eval/snapshot.h"
#include "support/backends.h"
#include "train/rig.h"

#include <float.h>
#include <stdlib.h>

enum { N = 40, B = 48, STEPS = 12, FEW = 4 }; /* FEW where the processor emulates a device */
#define BOUND (STEPS * 1024 * (double)FLT_EPSILON / 2)

typedef struct trained {
    rig r;
    sae_learner l;
    sae_snapshot end;
} trained;

static void open_on(trained *t, const sae_backend *be)
{
    memset(t, 0, sizeof *t);
    rig_open_on(&t->r, be->name, 2, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
}

/* Where there is one device it is two. */
static void open_divided(trained *t, const sae_backend *be)
{
    rig *r = &t->r;
    sae_engine e[2];
    memset(t, 0, sizeof *t);
    ck_assert_ok(sae_registry_open(&r->reg, &r->err), r->err);
    ck_assert_ok(sae_engine_open(&e[0], be, 0, 1, &r->err), r->err);
    if (sae_engine_open(&e[1], be, 1, 1, NULL) < 0)
        ck_assert_ok(sae_engine_open(&e[1], be, 0, 1, &r->err), r->err);
    ck_assert_ok(sae_engine_divide(e, 2, &r->err), r->err);
    sae_engine_divide_least(e, 1);
    r->e = e[0];
    rig_begin(r, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
}

static int is_emulated(const trained *t)
{
    return strstr(t->r.e.props.name, "emulated") != NULL;
}

static void train(trained *t, const char *variant)
{
    sae_spec spec;
    int64_t steps = is_emulated(t) ? FEW : STEPS;
    sae_train_config c = rig_config(steps, B);
    rig_spec(&t->r, &spec, sae_find_variant(t->r.reg, variant), N);
    rig_learner(&t->r, &t->l, &spec, &c);
    rig_train(&t->r, &t->l, steps);
    ck_assert_ok(sae_snap_tensors(&t->end, &t->r.e, &t->l.model, &t->r.err), t->r.err);
}

static void close_trained(trained *t)
{
    sae_snap_free(&t->end);
    sae_learner_close(&t->l);
    rig_close(&t->r);
}

static void close_losses(const trained *one, const trained *all, const char *variant)
{
    ck_assert_int_eq(one->l.step, all->l.step);
    for (int k = 0; one->l.model.v->losses[k]; k++)
        ck_assert_msg(fabs(one->l.loss[k] - all->l.loss[k]) <= BOUND * (1 + fabs(one->l.loss[k])),
                      "%s: %s is %.9g, %.9g on one device", variant, one->l.model.v->losses[k],
                      all->l.loss[k], one->l.loss[k]);
}

/* _i counts variants and, within each, backends. */
START_TEST(every_variant)
{
    static trained one, all, again;
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    const sae_backend *be = test_backend(reg, _i % test_backend_count());
    const char *variant = sae_all_variants(reg)[_i / test_backend_count()]->name;
    open_on(&one, be);
    open_divided(&all, be);
    open_divided(&again, be);
    train(&one, variant);
    train(&all, variant);
    train(&again, variant);
    close_losses(&one, &all, variant);
    ck_assert_msg(sae_snap_equal(&all.end, &again.end), "%s: two runs differ", variant);
    int exact = one.r.e.props.shares_host || is_emulated(&one);
    ck_assert_msg(!exact || sae_snap_equal(&one.end, &all.end), "%s: other bits", variant);
    close_trained(&one);
    close_trained(&all);
    close_trained(&again);
    sae_registry_close(&reg);
}
END_TEST

/* ---- devices --------------------------------------------------------------------------------- */

START_TEST(names)
{
    static const struct {
        const char *device, *say;
    } wrong[] = {
        {"cpu:0,divided", "expected several devices"},
        {"cpu,divided", "expected several devices"},
        {"cpu:0-1", "this takes one device, or several that are divided"},
        {"cpu:0-1 divided", "expected NAME[:NUMBER[-NUMBER]][,divided][,fp32|tf32|bf16]"},
        {"cpu:0-1,divide", "this takes one device, or several that are divided"},
        {"cpu:0-1,divided,bf16", "products in bf16 are not available"},
        {"cpu:0-1,divided,", "products in  are not available"},
    };
    sae_engine e;
    sae_registry *reg;
    sae_err err = {0};
    char name[SAE_ENGINE_NAME];
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        err = (sae_err){0};
        ck_assert_int_eq(sae_device_open(&e, reg, wrong[i].device, 5, &err), SAE_EINVAL);
        ck_assert_msg(strstr(err.msg, wrong[i].say) != NULL, "%s: %s", wrong[i].device, err.msg);
    }
    err = (sae_err){0};
    ck_assert_ok(sae_device_open(&e, reg, "cpu:0-2,divided,fp32", 5, &err), err);
    ck_assert_int_eq(sae_engine_devices(&e), 3);
    ck_assert_int_eq(e.props.threads, 1); /* of 5 */
    ck_assert_str_eq(sae_engine_name(&e, name), "cpu,divided/3");
    sae_engine_close(&e);
    sae_registry_close(&reg);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

static const sae_backend *inner;
static int shares, follows, fail_at;

static int share_not(sae_device *lead, sae_device *const *peer, int count, sae_err *err)
{
    shares++;
    if (fail_at == 0)
        return SAE_SET(err, SAE_ENEEDS, "devices 0 and 1 do not reach each other");
    return inner->share(lead, peer, count, err);
}

static int after_or_not(sae_device *dev, sae_device *other)
{
    return ++follows == fail_at ? SAE_EBACKEND : inner->after(dev, other);
}

static void open_two(sae_engine e[2], const sae_backend *be)
{
    sae_err err = {0};
    for (int i = 0; i < 2; i++)
        ck_assert_ok(sae_engine_open(&e[i], be, i, 1, &err), err);
}

/* What does not share memory stays two engines. */
START_TEST(apart)
{
    sae_engine e[2];
    sae_err err = {0};
    sae_backend be = *(inner = sae_list_backends[0]);
    be.share = NULL;
    be.after = NULL;
    open_two(e, &be);
    ck_assert_int_eq(sae_engine_divide(e, 2, &err), SAE_ENEEDS);
    ck_assert_str_eq(err.msg, "devices of this backend do not share memory");
    ck_assert_ptr_null(e[0].peers);
    for (int i = 0; i < 2; i++)
        sae_engine_close(&e[i]);
    be = *inner;
    be.share = share_not;
    open_two(e, &be);
    err = (sae_err){0};
    ck_assert_int_eq(sae_engine_divide(e, 2, &err), SAE_ENEEDS);
    ck_assert_str_eq(err.msg, "devices 0 and 1 do not reach each other");
    ck_assert_int_eq(shares, 1);
    ck_assert_int_eq(sae_engine_divide(e, 1, NULL), SAE_EINVAL);
    for (int i = 0; i < 2; i++)
        sae_engine_close(&e[i]);
}
END_TEST

static int unit_or_not(sae_device *dev, sae_mat w)
{
    (void)dev;
    for (int64_t i = 0; i < w.rows * w.ld; i++)
        w.p[i] += 1;
    return w.p[0] > 1.5F ? SAE_ENOMEM : SAE_OK;
}

/* A device's failure is the entry's, behind what the others did; so is one of waiting. */
START_TEST(one_fails)
{
    enum { ROWS = 10, COLS = 3 };
    sae_engine e[2];
    sae_err err = {0};
    sae_real w[ROWS * COLS] = {0};
    sae_mat m = {w, ROWS, COLS, COLS};
    sae_backend be = *(inner = sae_list_backends[0]);
    be.share = share_not;
    be.after = after_or_not;
    fail_at = -1;
    open_two(e, &be);
    e[0].k.unit_rows = unit_or_not;
    ck_assert_ok(sae_engine_divide(e, 2, &err), err);
    sae_engine_divide_least(&e[0], 1);
    ck_assert_int_eq(e[0].k.unit_rows(e[0].dev, m), SAE_OK);
    w[ROWS / 2 * COLS] = 1; /* the first of the second device */
    ck_assert_int_eq(e[0].k.unit_rows(e[0].dev, m), SAE_ENOMEM);
    ck_assert(w[0] == 2 && w[ROWS * COLS - 1] == 2);
    w[ROWS / 2 * COLS] = 0;
    follows = 0;
    for (fail_at = 1; fail_at <= 2; fail_at++) {
        follows = 0;
        w[0] = w[ROWS / 2 * COLS] = 0;
        ck_assert_int_eq(e[0].k.unit_rows(e[0].dev, m), SAE_EBACKEND);
        ck_assert(w[0] == (fail_at == 2)); /* without order nothing begins */
    }
    sae_engine_close(&e[0]);
}
END_TEST

/* ---- room for parts -------------------------------------------------------------------------- */

static struct {
    void *p;
    size_t bytes;
} taken[32];
static int takes, take_fails;

static void *take_or_not(sae_device *dev, size_t bytes)
{
    void *p = takes == take_fails ? NULL : inner->alloc(dev, bytes);
    ck_assert_int_lt(takes, (int)(sizeof taken / sizeof taken[0]));
    taken[takes].p = p;
    taken[takes++].bytes = bytes;
    return p;
}

static size_t room_at(const void *p)
{
    int i = takes;
    while (i-- > 0 && taken[i].p != p)
        ;
    return i < 0 ? 0 : taken[i].bytes;
}

/* No entries, in what has room for all that it says. */
static int pick_none(sae_device *dev, const sae_encoder *e, enum sae_key key, int64_t k,
                     sae_code *z)
{
    (void)dev, (void)key, (void)k;
    z->B = e->x.rows;
    z->n = e->w.rows;
    z->nnz = z->nan = 0;
    ck_assert_uint_ge(room_at(z->rowptr), (size_t)(z->B + 1) * sizeof *z->rowptr);
    ck_assert_uint_ge(room_at(z->idx), (size_t)z->cap * sizeof *z->idx);
    ck_assert_uint_ge(room_at(z->val), (size_t)z->cap * sizeof *z->val);
    memset(z->rowptr, 0, (size_t)(z->B + 1) * sizeof *z->rowptr);
    return SAE_OK;
}

static int pick_rows(const sae_engine *e, int64_t rows, int64_t cap)
{
    enum { D = 2, FEATURES = 4, MOST = 100 };
    static sae_real x[MOST * D], w[FEATURES * D], val[MOST];
    static int64_t rowptr[MOST + 1];
    static int32_t idx[MOST];
    sae_encoder enc = {.x = {x, rows, D, D}, .w = {w, FEATURES, D, D}};
    sae_code z = {.cap = cap, .rowptr = rowptr, .idx = idx, .val = val};
    return e->k.encode_topk(e->dev, &enc, SAE_KEY_VALUE, 1, &z);
}

/* Whichever allocation fails of those that more rows and entries need: what is there behind it is
 * no more than there was. */
START_TEST(no_room_for_parts)
{
    sae_backend be = *(inner = sae_list_backends[0]);
    be.alloc = take_or_not;
    for (int fails = 0; fails < 6; fails++) { /* three for each device */
        sae_engine e[2];
        sae_err err = {0};
        takes = 0;
        take_fails = -1;
        open_two(e, &be);
        e[0].k.encode_topk = pick_none;
        ck_assert_ok(sae_engine_divide(e, 2, &err), err);
        sae_engine_divide_least(&e[0], 1);
        ck_assert_int_eq(pick_rows(&e[0], 50, 50), SAE_OK);
        take_fails = takes + fails;
        ck_assert_int_eq(pick_rows(&e[0], 100, 100), SAE_ENOMEM);
        ck_assert_int_eq(pick_rows(&e[0], 20, 20), SAE_OK);
        ck_assert_int_eq(pick_rows(&e[0], 40, 40), SAE_OK);
        sae_engine_close(&e[0]);
    }
}
END_TEST

Suite *suite_divided(void);
Suite *suite_divided(void)
{
    Suite *s = suite_create("divided");
    TCase *t = tcase_create("variants");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, test_variant_count() * test_backend_count());
    suite_add_tcase(s, t);
    t = tcase_create("devices");
    tcase_add_test(t, names);
    tcase_add_test(t, apart);
    tcase_add_test(t, one_fails);
    tcase_add_test(t, no_room_for_parts);
    suite_add_tcase(s, t);
    return s;
}
