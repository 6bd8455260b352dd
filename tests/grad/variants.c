/* tests/grad/variants.c - backward of every registered variant against central differences.
 *
 * Built with sae_real = double. Two equal probes: `held` computes the tape and its gradients;
 * `moved` evaluates sum coef * loss with one coordinate shifted, every decision, detached value and
 * coefficient taken from `held`. Each configuration of sae_probe_options is checked, and once more
 * with biases so low, or thresholds so high, that codes which are dense at first are sparse.
 */
#include "core/list.h"
#include "core/probe.h"
#include "core/registry.h"
#include "core/memory.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <sae/rng.h>
#include <sae/stock.h>
#include <stdio.h>

typedef struct pair {
    sae_probe held, moved;
    char name[160]; /* for messages */
} pair;

static const sae_probe_shape shapes[] = {{9, 8, 160}, {7, 12, 5}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], COORDINATES = 25, SEEDS = 3,
       LARGEST = 160 * 160 };

static sae_registry *reg;
static sae_engine engine;

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&engine, sae_find_backend(reg, "ref"), 0, 1, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

/* sum coef * loss of the moved probe; *size = sum |coef * loss|. */
static double total(pair *p, double *size)
{
    double sum = 0;
    *size = 0;
    ck_assert_ok(sae_forward(&p->moved.model, &p->moved.ctx, &p->moved.batch, &p->moved.tape,
                             &engine), p->moved.err);
    for (int i = 0; p->held.v->losses[i]; i++) {
        double term = p->held.tape.coef[i] * p->moved.tape.loss[i];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* A central difference with step h rounds f twice: at most c u |f| / h, c covering the roundings
 * inside f (pairwise sums of fewer than 2^12 terms and chains of fewer than 64 operations). */
static void check_coordinate(pair *p, int tensor, int64_t i)
{
    sae_real *w = (sae_real *)p->moved.model.t[tensor].w + i, old = *w;
    double h = 1e-5 * fmax(1, fabs((double)old)), size = 0;
    *w = old + (sae_real)h;
    double up = total(p, &size);
    *w = old - (sae_real)h;
    double down = total(p, &size);
    *w = old;
    double expected = (up - down) / (2 * h), got = (double)p->held.model.t[tensor].grad[i];
    double bound = 1e-5 * (fabs(expected) + fabs(got)) + 64 * DBL_EPSILON * size / h;
    ck_assert_msg(fabs(expected - got) <= bound,
                  "%s: %s[%lld]: difference quotient %.10g, backward %.10g, bound %.2g", p->name,
                  p->held.model.t[tensor].spec->name, (long long)i, expected, got, bound);
}

/* All coordinates of a small tensor; of a large one the largest gradient, the least, and some. */
static void check_tensor(pair *p, int tensor, uint64_t seed)
{
    const sae_tensor *t = &p->held.model.t[tensor];
    int64_t count = t->rows * t->cols, most = 0, least = 0;
    if (t->spec->role != SAE_PARAM || t->flags & SAE_T_STE)
        return;
    if (count <= COORDINATES) {
        for (int64_t i = 0; i < count; i++)
            check_coordinate(p, tensor, i);
        return;
    }
    for (int64_t i = 1; i < count; i++) {
        most = fabs((double)t->grad[i]) > fabs((double)t->grad[most]) ? i : most;
        least = fabs((double)t->grad[i]) < fabs((double)t->grad[least]) ? i : least;
    }
    check_coordinate(p, tensor, most);
    check_coordinate(p, tensor, least);
    for (uint32_t k = 0; k < COORDINATES; k++) {
        sae_u4 u = sae_philox(seed, 4096, (uint64_t)tensor, k);
        check_coordinate(p, tensor, (int64_t)(u.v[0] % (uint64_t)count));
    }
}

/* backward adds to what the gradient holds: a second call doubles it. Both sums have fewer than
 * 2^14 terms of at most the largest gradient, so 2^14 u of it bounds the difference. */
static void check_adds(pair *p, int tensor, const double *once)
{
    const sae_tensor *t = &p->held.model.t[tensor];
    double largest = 0;
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        largest = fmax(largest, fabs(once[i]));
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        ck_assert_msg(fabs((double)t->grad[i] - 2 * once[i]) <= 16384 * DBL_EPSILON * largest,
                      "%s: %s[%lld]: %g after two calls, %g after one", p->name, t->spec->name,
                      (long long)i, (double)t->grad[i], once[i]);
}

static void check_second_call(pair *p)
{
    static double once[SAE_MAX_TENSOR][LARGEST];
    sae_model *m = &p->held.model;
    for (int i = 0; i < m->nt; i++) {
        int64_t count = m->t[i].grad ? m->t[i].rows * m->t[i].cols : 0;
        ck_assert_int_le(count, LARGEST);
        for (int64_t k = 0; k < count; k++)
            once[i][k] = (double)m->t[i].grad[k];
    }
    ck_assert_ok(p->held.v->backward(m, &p->held.ctx, &p->held.batch, &p->held.tape),
                 p->held.err);
    for (int i = 0; i < m->nt; i++)
        if (m->t[i].grad)
            check_adds(p, i, once[i]);
}

static void check_rows(pair *p, enum sae_probe_rows rows, uint64_t seed)
{
    sae_probe *h = &p->held;
    ck_assert_ok(sae_probe_fill(h, rows, seed), h->err);
    ck_assert_ok(sae_probe_fill(&p->moved, rows, seed), h->err);
    ck_assert_ok(sae_forward(&h->model, &h->ctx, &h->batch, &h->tape, &engine), h->err);
    ck_assert_ok(h->v->backward(&h->model, &h->ctx, &h->batch, &h->tape), h->err);
    p->moved.ctx.hold = &h->tape;
    p->moved.ctx.hold_m = &h->model;
    for (int i = 0; i < h->model.nt; i++)
        check_tensor(p, i, seed);
    check_second_call(p);
    for (int i = 0; i < h->model.nt; i++)
        for (int64_t k = 0; h->model.t[i].grad && k < h->model.t[i].rows * h->model.t[i].cols; k++)
            h->model.t[i].grad[k] = 0;
}

/* 0 when there is nothing to check: the options are refused, or a language model is needed. */
static int open_pair(pair *p, const sae_variant *v, const sae_opts *o, const char *label,
                     sae_probe_shape shape, uint64_t seed)
{
    sae_err err = {0};
    snprintf(p->name, sizeof p->name, "%s:%s (B %d, d %d, n %d, seed %d)", v->name, label,
             (int)shape.B, (int)shape.d, (int)shape.n, (int)seed);
    int rc = sae_probe_open(&p->held, v, o, shape, seed, &engine, &err);
    if (rc == SAE_EINVAL || rc == SAE_ENEEDS)
        return 0;
    ck_assert_msg(rc >= 0, "%s: %s", p->name, err.msg);
    ck_assert_ok(sae_probe_open(&p->moved, v, o, shape, seed, &engine, &err), err);
    return 1;
}

/* Lower b_enc of both, or raise their thresholds, until the code of the rows is sparse; 0 where the
 * options keep it dense. */
static int settle(pair *p, enum sae_probe_rows rows, uint64_t seed)
{
    enum { MOVES = 64 };
    sae_probe *h = &p->held, *both[] = {h, &p->moved};
    const int of = sae_model_tensor(&h->model, "theta") ? STOCK_TENSOR_COUNT : STOCK_B_ENC;
    const double move = of == STOCK_B_ENC ? -0.25 : 0.25;
    ck_assert_ok(sae_probe_fill(h, rows, seed), h->err);
    for (int k = 0; k < MOVES; k++) {
        for (int i = 0; i < 2; i++)
            for (int64_t j = 0; j < h->model.dim.n; j++)
                ((sae_real *)both[i]->model.t[of].w)[j] += move;
        ck_assert_ok(sae_forward(&h->model, &h->ctx, &h->batch, &h->tape, &engine), h->err);
        if (!h->tape.code.dense)
            break;
    }
    ck_assert_msg(h->tape.code.nnz > 0, "%s: no entry", p->name);
    return !h->tape.code.dense;
}

/* Only for variants whose forward chooses between dense and sparse codes; the first configuration
 * has both. */
static void check_settled(const sae_variant *v, const sae_opts *o, const char *label)
{
    sae_workspace ws = {0};
    pair p;
    const sae_dims dim = {shapes[0].d, shapes[0].d, shapes[0].n, shapes[0].n};
    ck_assert_int_eq(v->workspace(sae_opts_base(o), &dim, shapes[0].B, SAE_TRAIN, &ws), SAE_OK);
    if (ws.dense_code != SAE_CODE_EITHER || !open_pair(&p, v, o, label, shapes[0], 1))
        return;
    if (settle(&p, SAE_ROWS_NORMAL, 101))
        check_rows(&p, SAE_ROWS_NORMAL, 101);
    else
        ck_assert_msg(*label, "%s: never sparse", p.name);
    sae_probe_close(&p.held);
    sae_probe_close(&p.moved);
}

static void check_configuration(const sae_variant *v, const sae_opts *o, const char *label)
{
    check_settled(v, o, label);
    for (int s = 0; s < SHAPES; s++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            pair p;
            if (!open_pair(&p, v, o, label, shapes[s], seed))
                return;
            check_rows(&p, SAE_ROWS_NORMAL, seed + 100);
            check_rows(&p, SAE_ROWS_CONSTANT, seed + 100);
            sae_probe_close(&p.held);
            sae_probe_close(&p.moved);
        }
}

START_TEST(every_variant)
{
    const sae_variant *v = sae_all_variants(reg)[_i];
    sae_err err = {0};
    for (int i = 0;; i++) {
        sae_opts *o = NULL;
        char *label = NULL;
        int rc = sae_probe_options(v, i, &o, &label, &err);
        ck_assert_ok(rc, err);
        if (rc == SAE_DONE)
            break;
        check_configuration(v, o, label);
        sae_opts_close(&o);
        sae_free(label);
    }
}
END_TEST

Suite *suite_variants(void);
Suite *suite_variants(void)
{
    Suite *s = suite_create("gradients of variants");
    TCase *t = tcase_create("held differences");
    int count = 0;
    while (sae_list_variants[count])
        count++;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, count);
    suite_add_tcase(s, t);
    return s;
}
