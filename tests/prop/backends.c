/* tests/prop/backends.c - every variant computes on every backend what it computes on the
 * reference.
 *
 * The same probe (options, seed, rows) on both; after forward and backward the losses, codes and
 * gradients are compared. Sums have fewer than 2^7 terms here and paths fewer than 2^10 roundings,
 * so a loss is off by at most 2^10 u (loss + mean |y|^2 + mean |xhat|^2) and a gradient by 2^10 u
 * of the tensor's largest one, times COND where states were adapted through several rounds. A score
 * within rounding of a cut may fall to the other side: with new random rows that has a chance of
 * about 2^-20 per entry, so supports must be equal.
 */
#include "core/list.h"
#include "core/memory.h"
#include "core/probe.h"
#include "core/registry.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum { COND = 16 };
#define BOUND (COND * 1024 * (double)FLT_EPSILON / 2)

static sae_registry *reg;

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
}

static void teardown(void)
{
    sae_registry_close(&reg);
}

static double mean_square(const sae_real *x, int64_t rows, int64_t cols)
{
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; i++)
        sum += (double)x[i] * (double)x[i];
    return rows ? sum / (double)rows : 0;
}

static void same_code(const sae_code *a, const sae_code *b, const char *name)
{
    ck_assert_msg(a->dense == b->dense && a->nnz == b->nnz, "%s: %lld entries, reference %lld",
                  name, (long long)b->nnz, (long long)a->nnz);
    if (a->dense)
        return;
    for (int64_t r = 0; r <= a->B; r++)
        ck_assert_msg(a->rowptr[r] == b->rowptr[r], "%s: row %lld", name, (long long)r);
    for (int64_t i = 0; i < a->nnz; i++)
        ck_assert_msg(a->idx[i] == b->idx[i], "%s: entry %lld is of feature %d, reference %d", name,
                      (long long)i, b->idx[i], a->idx[i]);
}

static void same_gradients(const sae_model *a, const sae_model *b, const char *name)
{
    for (int i = 0; i < a->nt; i++) {
        double largest = 0;
        int64_t count = a->t[i].grad ? a->t[i].rows * a->t[i].cols : 0;
        for (int64_t k = 0; k < count; k++)
            largest = fmax(largest, fabs((double)a->t[i].grad[k]));
        for (int64_t k = 0; k < count; k++)
            ck_assert_msg(fabs((double)a->t[i].grad[k] - (double)b->t[i].grad[k]) <=
                              BOUND * largest,
                          "%s: gradient of %s[%lld] is %g, reference %g (largest %g)", name,
                          a->t[i].spec->name, (long long)k, (double)b->t[i].grad[k],
                          (double)a->t[i].grad[k], largest);
    }
}

static void step(sae_probe *p)
{
    ck_assert_ok(sae_forward(&p->model, &p->ctx, &p->batch, &p->tape, p->e), p->err);
    ck_assert_ok(p->v->backward(&p->model, &p->ctx, &p->batch, &p->tape), p->err);
}

static void compare(sae_probe *a, sae_probe *b, const char *name)
{
    const sae_tape *s = &a->tape, *t = &b->tape;
    /* rows that no state was fitted to */
    ck_assert_ok(sae_probe_fill(a, SAE_ROWS_NORMAL, 100), a->err);
    ck_assert_ok(sae_probe_fill(b, SAE_ROWS_NORMAL, 100), b->err);
    step(a);
    step(b);
    ck_assert_int_eq(a->model.dim.n, b->model.dim.n);
    same_code(&s->code, &t->code, name);
    double size = mean_square(a->batch.y, a->batch.B, a->model.dim.d_out) +
                  mean_square(s->xhat, a->batch.B, a->model.dim.d_out);
    for (int i = 0; a->v->losses[i]; i++)
        ck_assert_msg(fabs(s->loss[i] - t->loss[i]) <= BOUND * (fabs(s->loss[i]) + size),
                      "%s: loss %s is %.9g, reference %.9g", name, a->v->losses[i], t->loss[i],
                      s->loss[i]);
    same_gradients(&a->model, &b->model, name);
}

static void check(const sae_variant *v, const sae_engine *ref, const sae_engine *e)
{
    static const sae_probe_shape shape = {48, 24, 40}; /* n < B: atoms taken from rows differ */
    for (int i = 0;; i++) {
        sae_opts *o = NULL;
        char *label = NULL, name[200];
        sae_err err = {0};
        sae_probe a, b;
        int rc = sae_probe_options(v, i, &o, &label, &err);
        ck_assert_ok(rc, err);
        if (rc == SAE_DONE)
            return;
        snprintf(name, sizeof name, "%s:%s on %s", v->name, label, e->be->name);
        rc = sae_probe_open(&a, v, o, shape, 1, ref, &err);
        if (rc >= 0) {
            ck_assert_ok(sae_probe_open(&b, v, o, shape, 1, e, &err), err);
            compare(&a, &b, name);
            sae_probe_close(&a);
            sae_probe_close(&b);
        } else {
            ck_assert_msg(rc == SAE_EINVAL || rc == SAE_ENEEDS, "%s: %s", name, err.msg);
        }
        sae_opts_close(&o);
        sae_free(label);
    }
}

/* _i counts variants and, within each, the backends that this machine can use. */
START_TEST(every_variant)
{
    int backends = 0;
    sae_err err = {0};
    sae_engine ref, e;
    while (sae_list_backends[backends])
        backends++;
    const sae_backend *be = sae_list_backends[_i % backends];
    sae_device_props props;
    ck_assert_ok(sae_engine_open(&ref, sae_find_backend(reg, "ref"), 0, 1, &err), err);
    if (be->score() > 0) {
        ck_assert_ok(sae_engine_open(&e, be, 0, 2, &err), err);
        props = e.props;
        if (props.shares_host) /* the comparison reads backend memory */
            check(sae_all_variants(reg)[_i / backends], &ref, &e);
        sae_engine_close(&e);
    }
    sae_engine_close(&ref);
}
END_TEST

Suite *suite_backends(void);
Suite *suite_backends(void)
{
    Suite *s = suite_create("backends");
    TCase *t = tcase_create("variants");
    int variants = 0, backends = 0;
    while (sae_list_variants[variants])
        variants++;
    while (sae_list_backends[backends])
        backends++;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, variants * backends);
    suite_add_tcase(s, t);
    return s;
}
