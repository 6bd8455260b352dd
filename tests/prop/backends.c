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
#include "support/backends.h"
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

/* Backend memory as host memory; the caller frees. */
static void *fetch(const sae_engine *e, const void *p, int64_t count, size_t size)
{
    sae_err err = {0};
    void *out = NULL;
    size_t bytes = (size_t)count * size;
    ck_assert_ok(sae_new(&out, (int64_t)bytes + 1, 1, "copy", &err), err);
    ck_assert_int_ge(e->be->copy(e->dev, out, p, bytes, SAE_COPY_D2H), 0);
    return out;
}

static void same_code(const sae_probe *pa, const sae_probe *pb, const char *name)
{
    const sae_code *a = &pa->tape.code, *b = &pb->tape.code;
    ck_assert_msg(a->dense == b->dense && a->nnz == b->nnz, "%s: %lld entries, reference %lld",
                  name, (long long)b->nnz, (long long)a->nnz);
    if (a->dense)
        return;
    int64_t *row = fetch(pb->e, b->rowptr, b->B + 1, sizeof *row);
    int32_t *idx = fetch(pb->e, b->idx, b->nnz, sizeof *idx);
    for (int64_t r = 0; r <= a->B; r++)
        ck_assert_msg(a->rowptr[r] == row[r], "%s: row %lld", name, (long long)r);
    for (int64_t i = 0; i < a->nnz; i++)
        ck_assert_msg(a->idx[i] == idx[i], "%s: entry %lld is of feature %d, reference %d", name,
                      (long long)i, idx[i], a->idx[i]);
    sae_free(row);
    sae_free(idx);
}

static void same_gradients(const sae_probe *pa, const sae_probe *pb, const char *name)
{
    for (int i = 0; i < pa->model.nt; i++) {
        const sae_tensor *a = &pa->model.t[i], *b = &pb->model.t[i];
        double largest = 0;
        int64_t count = a->grad ? a->rows * a->cols : 0;
        sae_real *got = fetch(pb->e, b->grad, count, sizeof *got);
        for (int64_t k = 0; k < count; k++)
            largest = fmax(largest, fabs((double)a->grad[k]));
        for (int64_t k = 0; k < count; k++)
            ck_assert_msg(fabs((double)a->grad[k] - (double)got[k]) <= BOUND * largest,
                          "%s: gradient of %s[%lld] is %g, reference %g (largest %g)", name,
                          a->spec->name, (long long)k, (double)got[k], (double)a->grad[k], largest);
        sae_free(got);
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
    same_code(a, b, name);
    double size = mean_square(a->batch.y, a->batch.B, a->model.dim.d_out) +
                  mean_square(s->xhat, a->batch.B, a->model.dim.d_out);
    for (int i = 0; a->v->losses[i]; i++)
        ck_assert_msg(fabs(s->loss[i] - t->loss[i]) <= BOUND * (fabs(s->loss[i]) + size),
                      "%s: loss %s is %.9g, reference %.9g", name, a->v->losses[i], t->loss[i],
                      s->loss[i]);
    same_gradients(a, b, name);
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
    int backends = test_backend_count();
    sae_err err = {0};
    sae_engine ref, e;
    const sae_backend *be = test_backend(reg, _i % backends);
    ck_assert_ok(sae_engine_open(&ref, sae_find_backend(reg, "ref"), 0, 1, &err), err);
    if (be->score() > 0) {
        ck_assert_ok(sae_engine_open(&e, be, 0, 2, &err), err);
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
    int variants = 0, backends = test_backend_count();
    while (sae_list_variants[variants])
        variants++;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, variants * backends);
    suite_add_tcase(s, t);
    return s;
}
