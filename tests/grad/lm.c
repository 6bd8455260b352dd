/* tests/grad/lm.c - backward of language models against central differences.
 *
 * Built with sae_real = double. Every kind of block of tests/models/lm_models.h: the gradient at
 * every hook, and those of all parameters.
 */
#include "core/list.h"
#include "core/model.h"
#include "models/lm_models.h"
#include "models/lm_tape.h"
#include "support/support.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 39, AT_HOOK = 24, AT_PART = 5 };

static int64_t start[] = {0, 20, 20, 37, 38, ROWS}; /* longer than the windows; empty; one token */
static int32_t tok[ROWS];
static const sae_contexts contexts = {5, start, tok};
static const char *const hooks[] = {"resid_pre.0", "resid_mid.0", "resid_post.1", "attn_out.1",
                                    "mlp_out.0",   "attn_z.0",    "mlp_act.1",    "attn_z.1"};
enum { HOOKS = sizeof hooks / sizeof hooks[0] };

typedef struct rig {
    sae_engine e;
    sae_lm_model *m;
    sae_err err;
} rig;

static void open_rig(rig *r, int config)
{
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_config c = lm_config(config);
    *r = (rig){0};
    ck_assert_ok(sae_engine_open(&r->e, sae_list_backends[0], 0, 1, &r->err), r->err);
    ck_assert_ok(sae_lm_model_open(&r->m, &c, &src, sae_lm_place_of(&r->e), &r->err), r->err);
    for (int i = 0; i < ROWS; i++)
        tok[i] = (int32_t)(sae_philox(3, SAE_STREAM_SYNTHETIC, (uint64_t)i, 0).v[0] %
                           (uint64_t)c.vocab);
}

static void close_rig(rig *r)
{
    sae_lm_model_close(&r->m);
    sae_engine_close(&r->e);
}

static double total(const double *ce)
{
    double sum = 0;
    for (int64_t r = 0; r < ROWS; r++)
        sum += isnan(ce[r]) ? 0 : ce[r];
    return sum;
}

/* Rounding of a central difference: the sum of losses f carries the errors of some hundred chained
 * double operations, so the quotient is off by c u |f| / h with c = 512; its truncation error is
 * h^2 / 6 times a third derivative, which the norms and capped scores of these models keep below
 * 1e4 (h = 1e-5: 2e-7). */
static void compare(double up, double down, double h, double got, const char *what, int64_t i)
{
    double want = (up - down) / (2 * h), size = fabs(up) + fabs(down);
    double bound = 1e-6 * (fabs(want) + fabs(got)) + 2e-7 + 512 * DBL_EPSILON * size / h;
    ck_assert_msg(fabs(want - got) <= bound,
                  "%s[%lld]: difference quotient %.10g, backward %.10g, bound %.2g", what,
                  (long long)i, want, got, bound);
}

static int64_t pick(int64_t count, int64_t i, uint32_t stream)
{
    return (int64_t)(sae_philox(11, SAE_STREAM_SYNTHETIC, (uint64_t)i, stream).v[0] %
                     (uint64_t)count);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static double loss_at(rig *r, sae_lm_pass *pass, const sae_real *x)
{
    double ce[ROWS];
    ck_assert_ok(r->m->api.finish(pass, x, &(sae_lm_out){.ce = ce}, &r->err), r->err);
    return total(ce);
}

static void check_hook(rig *r, const char *name)
{
    const sae_lm *lm = &r->m->api;
    sae_lm_pass *pass = NULL;
    int64_t width;
    ck_assert_ok(lm->hook(lm->self, name, &width, &r->err), r->err);
    ck_assert_ok(lm->begin(lm->self, name, &contexts, &pass, &r->err), r->err);
    int64_t count = ROWS * width;
    sae_real *x = calloc((size_t)count, sizeof *x), *grad = calloc((size_t)count, sizeof *grad);
    memcpy(x, lm->acts(pass), (size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) /* not where the model would go by itself */
        x[i] += 0.1 * sae_normal(5, SAE_STREAM_SYNTHETIC, 1, (uint32_t)i);
    ck_assert_ok(lm->finish(pass, x, &(sae_lm_out){.grad = grad}, &r->err), r->err);
    double largest = 0;
    for (int64_t k = 0; k < AT_HOOK; k++) {
        int64_t i = pick(count, k, 7);
        double h = 1e-5, old = x[i];
        x[i] = old + h;
        double up = loss_at(r, pass, x);
        x[i] = old - h;
        double down = loss_at(r, pass, x);
        x[i] = old;
        compare(up, down, h, grad[i], name, i);
        largest = fmax(largest, fabs(grad[i]));
    }
    ck_assert_msg(largest > 1e-3, "%s: gradients vanish", name);
    free(x);
    free(grad);
    lm->end(&pass);
}

START_TEST(at_every_hook)
{
    rig r;
    open_rig(&r, _i);
    for (int k = 0; k < HOOKS; k++)
        if (!(r.m->cfg.parallel && strstr(hooks[k], "resid_mid")))
            check_hook(&r, hooks[k]);
    close_rig(&r);
}
END_TEST

/* ---- parameters ------------------------------------------------------------------------------ */

static double loss_of(rig *r)
{
    const sae_lm *lm = &r->m->api;
    sae_lm_pass *pass = NULL;
    ck_assert_ok(lm->begin(lm->self, "resid_pre.0", &contexts, &pass, &r->err), r->err);
    double loss = loss_at(r, pass, NULL);
    lm->end(&pass);
    return loss;
}

static void check_slot(rig *r, const sae_lm_slot *s, const sae_real *grad)
{
    char what[64];
    snprintf(what, sizeof what, "part %d of layer %lld", (int)s->part, (long long)s->layer);
    for (int64_t k = 0; k < AT_PART; k++) {
        int64_t i = s->at + pick(s->rows * s->cols, k, (uint32_t)s->at);
        sae_real *w = r->m->w.base + i, old = *w;
        double h = 1e-5 * fmax(1, fabs(old));
        *w = old + h;
        double up = loss_of(r);
        *w = old - h;
        double down = loss_of(r);
        *w = old;
        compare(up, down, h, grad[i], what, i - s->at);
    }
}

START_TEST(of_every_parameter)
{
    rig r;
    open_rig(&r, _i);
    const sae_lm_weights *w = &r.m->w;
    double ce[ROWS], again[ROWS];
    sae_real *grad = calloc((size_t)w->count, sizeof *grad);
    sae_real *twice = calloc((size_t)w->count, sizeof *twice);
    ck_assert_ok(sae_lm_loss_grad(r.m, &contexts, grad, ce, &r.err), r.err);
    ck_assert_double_eq(total(ce), loss_of(&r));
    for (int64_t i = 0; i < w->slots; i++)
        check_slot(&r, &w->slot[i], grad);
    /* gradients add up */
    for (int k = 0; k < 2; k++)
        ck_assert_ok(sae_lm_loss_grad(r.m, &contexts, twice, again, &r.err), r.err);
    for (int64_t i = 0; i < w->count; i++)
        ck_assert_double_eq_tol(twice[i], 2 * grad[i], 1e-11 * (1 + fabs(grad[i])));
    free(grad);
    free(twice);
    close_rig(&r);
}
END_TEST

Suite *suite_lm(void)
{
    Suite *s = suite_create("lm");
    TCase *t = tcase_create("lm");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, at_every_hook, 0, LM_CONFIGS);
    tcase_add_loop_test(t, of_every_parameter, 0, LM_CONFIGS);
    suite_add_tcase(s, t);
    return s;
}
