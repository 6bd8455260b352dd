/* suite/eval/conformance_clauses.c - clauses about who reads and writes what, and when. */
#include "eval/conformance_parts.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <string.h>

int sae_check_refusal(sae_check *k, const char *method, int rc)
{
    return sae_say(k, SAE_VERDICT_FAIL, "%s answers %s: %s", method, sae_status_name(rc),
               k->p.err.msg);
}

int sae_check_forward(sae_check *k, sae_tape *t)
{
    return sae_forward(&k->p.model, &k->p.ctx, &k->p.batch, t, k->p.e);
}

int sae_check_backward(sae_check *k)
{
    return k->p.v->backward(&k->p.model, &k->p.ctx, &k->p.batch, &k->p.tape);
}

/* ---- C1, C11: a pure forward that writes every loss ------------------------------------------ */

static int poison(sae_check *k, sae_tape *t, int byte)
{
    sae_workspace ws = {0};
    unsigned char chunk[4096];
    const sae_engine *e = k->p.e;
    size_t d = (size_t)k->p.model.dim.d_out, all = (size_t)k->p.batch.B * d * sizeof *t->xhat;
    SAE_TRY(k->p.v->workspace(k->p.ctx.opt, &k->p.model.dim, k->p.batch.B, SAE_TRAIN, &ws));
    memset(chunk, byte, sizeof chunk);
    struct {
        void *p;
        size_t bytes;
    } area[] = {{t->scratch, ws.scratch}, {t->xhat, all}, {t->resid, all},
                {t->code.val, (size_t)t->val_cap * sizeof *t->code.val}};
    for (size_t a = 0; a < sizeof area / sizeof area[0]; a++)
        for (size_t i = 0; i < area[a].bytes; i += sizeof chunk) {
            size_t left = area[a].bytes - i, some = left < sizeof chunk ? left : sizeof chunk;
            SAE_TRY(e->be->copy(e->dev, (unsigned char *)area[a].p + i, chunk, some,
                                SAE_COPY_H2D));
        }
    for (int i = 0; i < SAE_MAX_LOSS && k->p.v->losses[i]; i++)
        t->loss[i] = t->coef[i] = (double)NAN;
    return SAE_OK;
}

static int twice(sae_check *k, sae_tape *second, sae_snapshot *a, sae_snapshot *b)
{
    int64_t d = k->p.model.dim.d_out;
    SAE_TRY(sae_probe_tape(&k->p, SAE_TRAIN, second));
    SAE_TRY(poison(k, &k->p.tape, 0x00));
    SAE_TRY(poison(k, second, 0xAA));
    SAE_TRY(sae_check_forward(k, &k->p.tape));
    SAE_TRY(sae_check_forward(k, second));
    SAE_TRY(sae_snap_tape(a, k->p.e, &k->p.tape, d, k->err));
    return sae_snap_tape(b, k->p.e, second, d, k->err);
}

int sae_c1_pure(sae_check *k)
{
    sae_tape second = {0};
    sae_snapshot a = {0}, b = {0};
    int rc = twice(k, &second, &a, &b);
    int equal = rc >= 0 && sae_snap_equal(&a, &b);
    sae_snap_free(&a);
    sae_snap_free(&b);
    sae_tape_close(&second, k->p.e);
    if (rc < 0)
        return sae_check_refusal(k, "forward", rc);
    return equal ? SAE_VERDICT_PASS
                 : sae_say(k, SAE_VERDICT_FAIL, "two forwards with different scratch differ");
}

int sae_c11_losses(sae_check *k)
{
    double total = 0;
    int rc = poison(k, &k->p.tape, 0xAA);
    if (rc >= 0)
        rc = sae_check_forward(k, &k->p.tape);
    if (rc < 0)
        return sae_check_refusal(k, "forward", rc);
    for (int i = 0; k->p.v->losses[i]; i++) {
        if (isnan(k->p.tape.loss[i]) || isnan(k->p.tape.coef[i]))
            return sae_say(k, SAE_VERDICT_FAIL, "loss %s was not written", k->p.v->losses[i]);
        total += k->p.tape.coef[i] * k->p.tape.loss[i];
    }
    return isfinite(total) ? SAE_VERDICT_PASS
                           : sae_say(k, SAE_VERDICT_FAIL, "the total loss is %g", total);
}

/* ---- C2, C7: rows by themselves -------------------------------------------------------------- */

/* The batch restricted to rows [r0, r0 + rows). */
static sae_batch part_of(const sae_batch *b, const sae_dims *dim, int64_t r0, int64_t rows)
{
    sae_batch out = *b;
    out.B = rows;
    out.x += r0 * dim->d_in;
    out.y += r0 * dim->d_out;
    out.g = b->g ? b->g + r0 * dim->d_in : NULL;
    out.tok = b->tok ? b->tok + r0 : NULL;
    out.row0 += (uint64_t)r0;
    return out;
}

/* Forward of the whole batch and of pieces of `step` rows; the first row whose code or xhat differ
 * bitwise, or -1. */
static int compare_pieces(sae_check *k, enum sae_mode mode, int64_t step, int64_t *differs)
{
    sae_tape whole = {0}, piece = {0};
    sae_snapshot a = {0}, b = {0};
    int64_t B = k->p.batch.B, d = k->p.model.dim.d_out;
    int rc;
    *differs = -1;
    k->p.ctx.mode = mode;
    SAE_GOTO(sae_probe_tape(&k->p, mode, &whole));
    SAE_GOTO(sae_probe_tape(&k->p, mode, &piece));
    SAE_GOTO(sae_check_forward(k, &whole));
    for (int64_t r = 0; r < B && *differs < 0; r += step) {
        int64_t rows = B - r < step ? B - r : step;
        sae_batch part = part_of(&k->p.batch, &k->p.model.dim, r, rows);
        SAE_GOTO(sae_forward(&k->p.model, &k->p.ctx, &part, &piece, k->p.e));
        a.bytes = b.bytes = 0;
        SAE_GOTO(sae_snap_rows(&a, k->p.e, &whole, d, r, rows, k->err));
        SAE_GOTO(sae_snap_rows(&b, k->p.e, &piece, d, 0, rows, k->err));
        if (!sae_snap_equal(&a, &b))
            *differs = r;
    }
fail:
    k->p.ctx.mode = SAE_TRAIN;
    sae_snap_free(&a);
    sae_snap_free(&b);
    sae_tape_close(&whole, k->p.e);
    sae_tape_close(&piece, k->p.e);
    return rc;
}

static int pieces(sae_check *k, enum sae_mode mode, int64_t step, const char *how)
{
    int64_t differs;
    int rc = compare_pieces(k, mode, step, &differs);
    if (rc < 0)
        return sae_check_refusal(k, "forward", rc);
    if (differs >= 0)
        return sae_say(k, SAE_VERDICT_FAIL, "row %lld %s differs from the whole batch",
                   (long long)differs, how);
    return SAE_VERDICT_PASS;
}

int sae_c2_rows(sae_check *k)
{
    if (k->caps & SAE_CAP_BATCH_EVAL)
        return sae_say(k, SAE_VERDICT_SKIP, "declares SAE_CAP_BATCH_EVAL");
    int verdict = pieces(k, SAE_EVAL, 1, "alone");
    return verdict == SAE_VERDICT_PASS ? pieces(k, SAE_EVAL, 4, "in parts of 4") : verdict;
}

int sae_c7_random(sae_check *k)
{
    if (k->caps & SAE_CAP_BATCH_TRAIN)
        return sae_say(k, SAE_VERDICT_SKIP, "declares SAE_CAP_BATCH_TRAIN");
    return pieces(k, SAE_TRAIN, (k->p.batch.B + 1) / 2, "in half a batch with its own row0");
}

/* ---- C4, C5, C13: who writes tensors --------------------------------------------------------- */

static int tensors_after(sae_check *k, const sae_snapshot *before, const char *method)
{
    sae_snapshot now = {0};
    SAE_TRY(sae_snap_tensors(&now, k->p.e, &k->p.model, k->err));
    int equal = sae_snap_equal(before, &now);
    sae_snap_free(&now);
    return equal ? SAE_VERDICT_PASS : sae_say(k, SAE_VERDICT_FAIL, "%s wrote to a tensor", method);
}

int sae_c4_writes(sae_check *k)
{
    sae_snapshot before = {0};
    int64_t d = k->p.model.dim.d_out;
    sae_mat xhat = {k->p.tape.xhat, k->p.batch.B, d, d};
    SAE_TRY(sae_snap_tensors(&before, k->p.e, &k->p.model, k->err));
    int rc = sae_check_forward(k, &k->p.tape);
    int verdict = rc < 0 ? sae_check_refusal(k, "forward", rc)
                         : tensors_after(k, &before, "forward");
    if (verdict == SAE_VERDICT_PASS) {
        rc = sae_check_backward(k);
        verdict = rc < 0 ? sae_check_refusal(k, "backward", rc)
                         : tensors_after(k, &before, "backward");
    }
    if (verdict == SAE_VERDICT_PASS) {
        rc = k->p.v->decode(&k->p.model, &k->p.ctx, &k->p.tape.code, xhat);
        verdict = rc < 0 ? sae_check_refusal(k, "decode", rc) : tensors_after(k, &before, "decode");
    }
    sae_snap_free(&before);
    return verdict;
}

int sae_c5_growth(sae_check *k)
{
    int64_t n = k->p.model.dim.n, cap = k->p.model.dim.n_cap;
    int rc = sae_check_forward(k, &k->p.tape);
    if (rc >= 0)
        rc = sae_check_backward(k);
    if (rc < 0)
        return sae_check_refusal(k, "forward or backward", rc);
    if (k->p.model.dim.n != n)
        return sae_say(k, SAE_VERDICT_FAIL, "forward or backward changed n");
    rc = k->p.v->adapt(&k->p.model, &k->p.ctx, &k->p.batch, &k->p.tape);
    if (rc < 0)
        return sae_check_refusal(k, "adapt", rc);
    int64_t now = k->p.model.dim.n;
    int wrong = now > cap || now < n || (now > n && !(k->caps & SAE_CAP_GROWS));
    if (wrong) {
        k->p.model.dim.n = n; /* the clauses that follow run on what is allocated */
        return sae_say(k, SAE_VERDICT_FAIL, "adapt moved n from %lld to %lld of %lld",
                       (long long)n, (long long)now, (long long)cap);
    }
    return SAE_VERDICT_PASS;
}

int sae_c13_adapt(sae_check *k)
{
    sae_snapshot before = {0}, after = {0};
    int64_t d = k->p.model.dim.d_out;
    int rc = sae_check_forward(k, &k->p.tape);
    if (rc < 0)
        return sae_check_refusal(k, "forward", rc);
    SAE_TRY(sae_snap_tape(&before, k->p.e, &k->p.tape, d, k->err));
    rc = k->p.v->adapt(&k->p.model, &k->p.ctx, &k->p.batch, &k->p.tape);
    SAE_TRY(sae_snap_tape(&after, k->p.e, &k->p.tape, d, k->err));
    int equal = sae_snap_equal(&before, &after);
    sae_snap_free(&before);
    sae_snap_free(&after);
    if (rc != SAE_OK && rc != SAE_DONE)
        return sae_check_refusal(k, "adapt", rc);
    return equal ? SAE_VERDICT_PASS : sae_say(k, SAE_VERDICT_FAIL, "adapt wrote to the tape");
}

/* ---- C6, C8 ---------------------------------------------------------------------------------- */

int sae_c6_needs(sae_check *k)
{
    const uint64_t known = SAE_NEED_GRAD | SAE_NEED_TOKENS | SAE_NEED_TARGET | SAE_NEED_LM |
                           SAE_NEED_TRUTH | SAE_NEED_BASE;
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        uint64_t first = k->p.v->needs(k->p.ctx.opt, (enum sae_mode)mode);
        if (first != k->p.v->needs(k->p.ctx.opt, (enum sae_mode)mode))
            return sae_say(k, SAE_VERDICT_FAIL, "needs() answers differently when asked again");
        if (first & ~known)
            return sae_say(k, SAE_VERDICT_FAIL, "needs() answers with unknown bits");
    }
    if ((k->p.v->needs(k->p.ctx.opt, SAE_TRAIN) ^ k->p.v->needs(k->p.ctx.opt, SAE_EVAL)) &
        SAE_NEED_TARGET)
        return sae_say(k, SAE_VERDICT_FAIL, "a target is needed in one mode only");
    /* Undeclared inputs of the probe are NULL, so a variant that reads them has crashed by now. */
    return SAE_VERDICT_PASS;
}

static int step(sae_check *k)
{
    int64_t d = k->p.model.dim.d_out;
    sae_mat xhat = {k->p.tape.xhat, k->p.batch.B, d, d};
    SAE_TRY(sae_check_forward(k, &k->p.tape));
    SAE_TRY(sae_check_backward(k));
    return k->p.v->decode(&k->p.model, &k->p.ctx, &k->p.tape.code, xhat);
}

enum { GUARD = 4096 };

/* A step on scratch of exactly the size that workspace() asked for; *intact: what follows it was
 * not written. */
static int step_in_scratch(sae_check *k, unsigned char *scratch, size_t bytes, int *intact)
{
    unsigned char before[GUARD], after[GUARD];
    const sae_engine *e = k->p.e;
    void *own = k->p.tape.scratch;
    memset(before, 0xA5, sizeof before);
    SAE_TRY(e->be->copy(e->dev, scratch + bytes, before, sizeof before, SAE_COPY_H2D));
    k->p.tape.scratch = scratch;
    int rc = step(k);
    k->p.tape.scratch = own;
    SAE_TRY(e->be->copy(e->dev, after, scratch + bytes, sizeof after, SAE_COPY_D2H));
    *intact = memcmp(before, after, sizeof before) == 0;
    return rc;
}

static int check_scratch(sae_check *k)
{
    sae_workspace ws = {0};
    int intact = 0;
    sae_dims full = k->p.model.dim;
    full.n = full.n_cap;
    SAE_TRY(k->p.v->workspace(k->p.ctx.opt, &full, k->p.batch.B, SAE_TRAIN, &ws));
    unsigned char *scratch = k->p.e->be->alloc(k->p.e->dev, ws.scratch + GUARD);
    if (!scratch)
        SAE_FAIL(k->err, SAE_ENOMEM, "out of memory for %zu bytes of scratch", ws.scratch);
    int rc = step_in_scratch(k, scratch, ws.scratch, &intact);
    k->p.e->be->release(k->p.e->dev, scratch);
    if (rc < 0)
        return sae_check_refusal(k, "a step", rc);
    return intact ? SAE_VERDICT_PASS
                  : sae_say(k, SAE_VERDICT_FAIL, "a step writes behind its scratch of %zu bytes",
                            ws.scratch);
}

/* Kernels may keep lists per thread that grow with the share of the work a thread happens to get,
 * so an equal step may grow them once more; but not every step. */
int sae_c8_allocation(sae_check *k)
{
    enum { STEPS = 8 };
    uint64_t (*calls)(void) = k->to->alloc_calls ? k->to->alloc_calls : sae_alloc_calls;
    uint64_t used = 0;
    for (int i = 0; i < STEPS; i++) {
        uint64_t before = calls();
        int rc = step(k);
        if (rc >= 0 && !(k->caps & SAE_CAP_GROWS))
            rc = k->p.v->adapt(&k->p.model, &k->p.ctx, &k->p.batch, &k->p.tape);
        if (rc < 0)
            return sae_check_refusal(k, "a step", rc);
        used = calls() - before;
        if (i >= 2 && used == 0)
            return check_scratch(k);
    }
    return sae_say(k, SAE_VERDICT_FAIL,
                   "every one of %d equal steps allocates, the last %llu times", STEPS,
                   (unsigned long long)used);
}

/* ---- C9: codes ------------------------------------------------------------------------------- */

static int check_values(sae_check *k, const sae_code *z, const sae_host_code *h)
{
    int64_t count = z->dense ? z->B * z->n : z->nnz;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite((double)h->v[i]))
            return sae_say(k, SAE_VERDICT_FAIL, "entry %lld is %g", (long long)i, (double)h->v[i]);
        if (h->v[i] < 0 && !(k->caps & SAE_CAP_SIGNED))
            return sae_say(k, SAE_VERDICT_FAIL, "entry %lld is %g, codes are not declared signed",
                       (long long)i, (double)h->v[i]);
    }
    return SAE_VERDICT_PASS;
}

static int check_pattern(sae_check *k, const sae_code *z, const sae_host_code *h)
{
    if (z->dense)
        return SAE_VERDICT_PASS;
    if (z->nnz > z->cap || h->rowptr[0] != 0 || h->rowptr[z->B] != z->nnz)
        return sae_say(k, SAE_VERDICT_FAIL, "nnz %lld, room %lld, row pointers from %lld to %lld",
                   (long long)z->nnz, (long long)z->cap, (long long)h->rowptr[0],
                   (long long)h->rowptr[z->B]);
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = h->rowptr[r]; i < h->rowptr[r + 1]; i++) {
            int ordered = i == h->rowptr[r] || h->j[i] > h->j[i - 1];
            if (h->j[i] < 0 || h->j[i] >= z->n || !ordered)
                return sae_say(k, SAE_VERDICT_FAIL, "row %lld: feature %d out of order or range",
                           (long long)r, (int)h->j[i]);
        }
    return SAE_VERDICT_PASS;
}

/* The code of one forward pass in the mode. */
static int check_code(sae_check *k, enum sae_mode mode)
{
    sae_tape t = {0};
    sae_host_code h = {0};
    k->p.ctx.mode = mode;
    int rc = sae_probe_tape(&k->p, mode, &t), verdict = SAE_VERDICT_PASS;
    if (rc >= 0)
        rc = sae_check_forward(k, &t);
    k->p.ctx.mode = SAE_TRAIN;
    if (rc < 0)
        verdict = sae_check_refusal(k, "forward", rc);
    else if (t.code.B != k->p.batch.B || t.code.n != k->p.model.dim.n)
        verdict = sae_say(k, SAE_VERDICT_FAIL, "code of %lld x %lld", (long long)t.code.B,
                      (long long)t.code.n);
    else
        verdict = sae_check_code_get(k, &t.code, &h);
    if (verdict == SAE_VERDICT_PASS)
        verdict = check_pattern(k, &t.code, &h);
    if (verdict == SAE_VERDICT_PASS)
        verdict = check_values(k, &t.code, &h);
    sae_check_code_drop(&h);
    sae_tape_close(&t, k->p.e);
    return verdict;
}

int sae_c9_codes(sae_check *k)
{
    int verdict = check_code(k, SAE_TRAIN);
    return verdict == SAE_VERDICT_PASS ? check_code(k, SAE_EVAL) : verdict;
}
