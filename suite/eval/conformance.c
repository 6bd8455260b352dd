/* suite/eval/conformance.c - the contract of variants, checked on any one: configurations, shapes,
 * edge cases, verdicts. */
#include "eval/conformance_parts.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/registry.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int sae_say(sae_check *k, int verdict, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(k->r.detail, sizeof k->r.detail, fmt, ap);
    va_end(ap);
    return verdict;
}

static const struct {
    const char *id, *what;
    int (*run)(sae_check *k);
} clauses[] = {
    {"C3", "backward is the gradient of the losses with decisions held", sae_c3_gradient},
    {"C1", "forward is pure", sae_c1_pure},
    {"C2", "an evaluated row depends on itself only", sae_c2_rows},
    {"C4", "forward, backward and decode do not write tensors", sae_c4_writes},
    {"C5", "n changes in adapt only", sae_c5_growth},
    {"C6", "needs are constant and complete", sae_c6_needs},
    {"C7", "random numbers follow the row", sae_c7_random},
    {"C8", "steps do not allocate and stay inside their scratch", sae_c8_allocation},
    {"C9", "codes are well formed", sae_c9_codes},
    {"C10", "decode agrees with forward", sae_c10_decode},
    {"C11", "every loss is written and finite", sae_c11_losses},
    {"C13", "adapt reads the tape and answers OK or DONE", sae_c13_adapt},
};

static void report(sae_check *k, const char *id, const char *what, int verdict)
{
    k->r.id = id;
    k->r.what = what;
    k->r.verdict = (enum sae_verdict)verdict;
    k->failed += verdict == SAE_VERDICT_FAIL;
    if (verdict == SAE_VERDICT_PASS)
        k->r.detail[0] = '\0';
    k->to->on_clause(k->to->arg, &k->r);
}

/* ---- C12: edge shapes and rows --------------------------------------------------------------- */

static int known_status(int rc)
{
    return rc >= SAE_EINTR && rc <= SAE_AGAIN;
}

/* Whether somebody who looks at the tape sees that the input was not finite. */
static int shows(const sae_tape *t, const sae_variant *v)
{
    double total = 0;
    for (int i = 0; v->losses[i]; i++)
        total += t->coef[i] * t->loss[i];
    return t->code.nan > 0 || !isfinite(total);
}

int sae_c12_rows(sae_check *k, enum sae_probe_rows what)
{
    SAE_TRY(sae_probe_fill(&k->p, what, 7));
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        sae_tape t = {0};
        k->p.ctx.mode = (enum sae_mode)mode;
        SAE_TRY(sae_probe_tape(&k->p, (enum sae_mode)mode, &t));
        int rc = sae_check_forward(k, &t), seen = rc < 0 || shows(&t, k->p.v);
        if (rc >= 0 && mode == SAE_TRAIN)
            rc = k->p.v->backward(&k->p.model, &k->p.ctx, &k->p.batch, &t);
        if (rc >= 0 && mode == SAE_TRAIN)
            rc = k->p.v->adapt(&k->p.model, &k->p.ctx, &k->p.batch, &t);
        sae_tape_close(&t, k->p.e);
        k->p.ctx.mode = SAE_TRAIN;
        if (!known_status(rc))
            return sae_say(k, SAE_VERDICT_FAIL, "unknown status %d", rc);
        if (what == SAE_ROWS_NAN && !seen && k->p.batch.B > 0)
            return sae_say(k, SAE_VERDICT_FAIL, "a NaN in x shows neither in a status, the losses "
                                                "nor code.nan");
        if (what != SAE_ROWS_NAN && rc < 0)
            return sae_check_refusal(k, "a method", rc);
    }
    return SAE_VERDICT_PASS;
}

static int edge_rows(sae_check *k)
{
    static const enum sae_probe_rows kinds[] = {SAE_ROWS_NORMAL, SAE_ROWS_CONSTANT, SAE_ROWS_ZERO,
                                                SAE_ROWS_NAN};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int verdict = sae_c12_rows(k, kinds[i]);
        if (verdict != SAE_VERDICT_PASS)
            return verdict;
    }
    return SAE_VERDICT_PASS;
}

/* ---- configurations -------------------------------------------------------------------------- */

/* Statuses are the variant's doing, except those of the machine. */
static int run_clause(sae_check *k, int (*run)(sae_check *k))
{
    int rc = run(k);
    if (rc < 0 && rc != SAE_ENOMEM && rc != SAE_EBACKEND)
        rc = sae_check_refusal(k, "a method", rc);
    return rc;
}

/* Every clause on one shape; a variant that refuses these options is skipped, unless it must not
 * refuse them. */
static int check_shape(sae_check *k, const sae_variant *v, const sae_engine *e, int must)
{
    sae_err why = {0};
    k->seed = 1;
    int rc = sae_probe_open(&k->p, v, k->opts, k->r.shape, k->seed, e, &why);
    if ((rc == SAE_EINVAL && !must) || rc == SAE_ENEEDS) {
        report(k, "C12", "options", sae_say(k, SAE_VERDICT_SKIP, "%s", why.msg));
        return SAE_OK;
    }
    if (rc < 0) {
        report(k, "C12", "init, forward and adapt on small shapes",
               sae_say(k, SAE_VERDICT_FAIL, "%s", why.msg));
        return rc == SAE_ENOMEM ? rc : SAE_OK;
    }
    k->caps = sae_caps(v, k->p.ctx.opt);
    for (size_t i = 0; i < sizeof clauses / sizeof clauses[0] && rc >= 0 && k->p.e; i++) {
        k->p.err = (sae_err){0};
        rc = run_clause(k, clauses[i].run);
        if (rc >= 0)
            report(k, clauses[i].id, clauses[i].what, rc);
    }
    if (rc >= 0 && k->p.e)
        rc = run_clause(k, edge_rows);
    if (rc >= 0 && k->p.e)
        report(k, "C12", "edge cases have a defined outcome", rc);
    if (rc < 0 && k->p.err.code)
        SAE_SET(k->err, k->p.err.code, "%s", k->p.err.msg);
    sae_probe_close(&k->p);
    return rc < 0 ? rc : SAE_OK;
}

/* All shapes for the defaults, the first one for other options. */
static int check_options(sae_check *k, const sae_variant *v, const sae_engine *e)
{
    static const sae_probe_shape shapes[] = {{9, 8, 160}, {1, 5, 40}, {6, 4, 3},
                                             {4, 3, 0},   {33, 7, 64}, {0, 6, 20}};
    size_t count = k->r.options[0] ? 1 : sizeof shapes / sizeof shapes[0];
    for (size_t s = 0; s < count; s++) {
        k->r.shape = shapes[s];
        SAE_TRY(check_shape(k, v, e, s == 0 && !k->r.options[0]));
    }
    return SAE_OK;
}

int sae_conformance(const sae_variant *v, const sae_engine *e, const sae_conformance_to *to,
                    int64_t *failed, sae_err *err)
{
    sae_check k = {.to = to, .err = err};
    int rc = SAE_OK;
    k.r.variant = v->name;
    for (int i = 0; rc == SAE_OK; i++) {
        sae_opts *o = NULL;
        char *label = NULL;
        rc = sae_probe_options(v, i, &o, &label, err);
        if (rc != SAE_OK)
            break;
        k.opts = o;
        k.r.options = label;
        rc = check_options(&k, v, e);
        sae_opts_close(&o);
        sae_free(label);
    }
    *failed = k.failed;
    return rc < 0 ? rc : SAE_OK;
}
