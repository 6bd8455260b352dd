/* suite/eval/conformance_numbers.c - clauses that compare numbers: gradients and
 * reconstructions. */
#include "eval/conformance_parts.h"

#include "core/error.h"
#include "core/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const double UNIT = (double)FLT_EPSILON / 2; /* roundoff of sae_real in the product */

/* ---- codes on the host ----------------------------------------------------------------------- */

int sae_check_code_get(sae_check *k, const sae_code *z, sae_host_code *h)
{
    memset(h, 0, sizeof *h);
    if (!z->dense) {
        SAE_TRY(sae_snap_bytes(&h->ptr, k->p.e, z->rowptr, z->B + 1, sizeof *z->rowptr, k->err));
        SAE_TRY(sae_snap_bytes(&h->idx, k->p.e, z->idx, z->nnz, sizeof *z->idx, k->err));
    }
    SAE_TRY(sae_snap_bytes(&h->val, k->p.e, z->val, z->dense ? z->B * z->n : z->nnz,
                           sizeof *z->val, k->err));
    h->rowptr = (const int64_t *)(void *)h->ptr.p;
    h->j = (const int32_t *)(void *)h->idx.p;
    h->v = (const sae_real *)(void *)h->val.p;
    return SAE_OK;
}

void sae_check_code_drop(sae_host_code *h)
{
    sae_snap_free(&h->ptr);
    sae_snap_free(&h->idx);
    sae_snap_free(&h->val);
}

/* ---- C10: decode ----------------------------------------------------------------------------- */

/* |got - (z W_dec + b_dec)| <= (K + 1) u S per element, S the sum of the absolute values of the K
 * products and the bias: the bound of a sum in any order. */
static int check_linear(sae_check *k, const sae_host_code *h, const sae_real *got)
{
    const sae_code *z = &k->p.tape.code;
    int64_t d = k->p.model.dim.d_out;
    sae_snapshot w = {0}, bias = {0};
    const sae_tensor *dec = sae_model_tensor(&k->p.model, "W_dec");
    const sae_tensor *b = sae_model_tensor(&k->p.model, "b_dec");
    if (!dec)
        return sae_say(k, SAE_VERDICT_FAIL, "SAE_CAP_LINEAR_DEC without a tensor W_dec");
    SAE_TRY(sae_snap_bytes(&w, k->p.e, dec->w, z->n * d, sizeof(sae_real), k->err));
    if (b)
        SAE_TRY(sae_snap_bytes(&bias, k->p.e, b->w, d, sizeof(sae_real), k->err));
    const sae_real *wp = (const sae_real *)(void *)w.p, *bp = (const sae_real *)(void *)bias.p;
    int verdict = SAE_VERDICT_PASS;
    for (int64_t r = 0; r < z->B && verdict == SAE_VERDICT_PASS; r++)
        for (int64_t c = 0; c < d; c++) {
            int64_t first = z->dense ? r * z->n : h->rowptr[r];
            int64_t end = z->dense ? (r + 1) * z->n : h->rowptr[r + 1];
            double sum = b ? (double)bp[c] : 0, size = fabs(sum);
            for (int64_t i = first; i < end; i++) {
                int64_t j = z->dense ? i - first : h->j[i];
                double term = (double)h->v[i] * (double)wp[j * d + c];
                sum += term;
                size += fabs(term);
            }
            double bound = (double)(end - first + 1) * UNIT * size;
            if (!(fabs(sum - (double)got[r * d + c]) <= bound))
                verdict = sae_say(k, SAE_VERDICT_FAIL,
                                  "xhat[%lld,%lld] is %.9g, z W_dec + b_dec is %.9g",
                                  (long long)r, (long long)c, (double)got[r * d + c], sum);
        }
    sae_snap_free(&w);
    sae_snap_free(&bias);
    return verdict;
}

int sae_c10_decode(sae_check *k)
{
    sae_host_code h = {0};
    sae_snapshot tape = {0}, decoded = {0};
    int64_t d = k->p.model.dim.d_out, all = k->p.batch.B * d;
    sae_mat xhat = {k->p.tape.xhat, k->p.batch.B, d, d};
    int rc = sae_check_forward(k, &k->p.tape), verdict = SAE_VERDICT_PASS;
    if (rc < 0)
        return sae_check_refusal(k, "forward", rc);
    SAE_TRY(sae_snap_bytes(&tape, k->p.e, xhat.p, all, sizeof *xhat.p, k->err));
    rc = k->p.v->decode(&k->p.model, &k->p.ctx, &k->p.tape.code, xhat);
    if (rc < 0)
        return sae_check_refusal(k, "decode", rc);
    SAE_TRY(sae_snap_bytes(&decoded, k->p.e, xhat.p, all, sizeof *xhat.p, k->err));
    SAE_TRY(sae_check_code_get(k, &k->p.tape.code, &h));
    int whole = !(k->caps & SAE_CAP_SKIP);
    if (k->caps & SAE_CAP_LINEAR_DEC) {
        if (whole)
            verdict = check_linear(k, &h, (const sae_real *)(void *)tape.p);
        if (verdict == SAE_VERDICT_PASS)
            verdict = check_linear(k, &h, (const sae_real *)(void *)decoded.p);
    } else if (whole && !sae_snap_equal(&tape, &decoded)) {
        verdict = sae_say(k, SAE_VERDICT_FAIL, "decode(code) differs from forward's xhat");
    }
    sae_check_code_drop(&h);
    sae_snap_free(&tape);
    sae_snap_free(&decoded);
    return verdict;
}

/* ---- C3: gradients along themselves ---------------------------------------------------------- */

/* w += step * g on one tensor of the moved probe; w and g are host copies, w0 its start. */
static int move(const sae_probe *moved, int i, const sae_real *w0, const sae_real *g, int64_t count,
                double step, sae_real *w)
{
    for (int64_t j = 0; j < count; j++)
        w[j] = (sae_real)((double)w0[j] + step * (double)g[j]);
    return moved->e->be->copy(moved->e->dev, moved->model.t[i].w, w, (size_t)count * sizeof *w,
                              SAE_COPY_H2D);
}

/* sum coef * loss of the moved probe with every decision held; *size: sum |coef * loss|. */
static int held_total(sae_check *k, sae_probe *moved, double *total, double *size)
{
    SAE_TRY(sae_forward(&moved->model, &moved->ctx, &moved->batch, &moved->tape, moved->e));
    *total = *size = 0;
    for (int i = 0; k->p.v->losses[i]; i++) {
        *total += k->p.tape.coef[i] * moved->tape.loss[i];
        *size += fabs(k->p.tape.coef[i] * moved->tape.loss[i]);
    }
    return SAE_OK;
}

/* The derivative along the gradient is its squared length. Three steps, of 1, 0.1 and 0.01 times
 * the length of w; one must agree within 1 % (higher-order terms) plus what rounding of the two
 * evaluations allows, 64 u |f| / step. The exact check, in double, is tests/grad. */
static int along_gradient(sae_check *k, sae_probe *moved, int i, sae_real *buf, int64_t count)
{
    const sae_real *w0 = buf, *g = buf + count;
    sae_real *w = buf + 2 * count;
    double g2 = 0, w2 = 0, up, down, size, slope = 0;
    for (int64_t j = 0; j < count; j++) {
        g2 += (double)g[j] * (double)g[j];
        w2 += (double)w0[j] * (double)w0[j];
    }
    for (double scale = 1; scale > 0.005 && g2 > 0; scale /= 10) {
        double step = scale * sqrt((w2 + 1e-6) / g2);
        SAE_TRY(move(moved, i, w0, g, count, step, w));
        SAE_TRY(held_total(k, moved, &up, &size));
        SAE_TRY(move(moved, i, w0, g, count, -step, w));
        SAE_TRY(held_total(k, moved, &down, &size));
        SAE_TRY(move(moved, i, w0, g, count, 0, w));
        slope = (up - down) / (2 * step);
        if (fabs(slope - g2) <= 0.01 * g2 + 64 * UNIT * size / step)
            return SAE_VERDICT_PASS;
    }
    return g2 > 0 ? sae_say(k, SAE_VERDICT_FAIL,
                            "%s: slope along the gradient %.6g, its squared length %.6g",
                            k->p.model.t[i].spec->name, slope, g2)
                  : SAE_VERDICT_PASS;
}

static int tensor_gradient(sae_check *k, sae_probe *moved, int i)
{
    const sae_tensor *t = &k->p.model.t[i];
    int64_t count = t->rows * t->cols;
    sae_snapshot s = {0};
    if (t->spec->role != SAE_PARAM || t->flags & SAE_T_STE || count == 0)
        return SAE_VERDICT_PASS;
    int rc = sae_snap_bytes(&s, k->p.e, t->w, count, sizeof(sae_real), k->err);
    if (rc >= 0)
        rc = sae_snap_bytes(&s, k->p.e, t->grad, count, sizeof(sae_real), k->err);
    if (rc >= 0) /* room for the moved copy */
        rc = sae_snap_bytes(&s, k->p.e, t->w, count, sizeof(sae_real), k->err);
    if (rc >= 0)
        rc = along_gradient(k, moved, i, (sae_real *)(void *)s.p, count);
    sae_snap_free(&s);
    return rc;
}

int sae_c3_gradient(sae_check *k)
{
    sae_probe moved;
    int verdict = SAE_VERDICT_PASS;
    if (!k->p.e->props.shares_host)
        return sae_say(k, SAE_VERDICT_SKIP, "held gradients need a host backend");
    SAE_TRY(sae_probe_open(&moved, k->p.v, k->opts, k->r.shape, k->seed, k->p.e, k->err));
    sae_probe_close(&k->p); /* equal starts: clauses before this one may have moved STATE */
    SAE_TRY(sae_probe_open(&k->p, moved.v, k->opts, k->r.shape, k->seed, moved.e, k->err));
    int rc = sae_check_forward(k, &k->p.tape);
    if (rc >= 0)
        rc = sae_check_backward(k);
    if (rc < 0)
        verdict = sae_check_refusal(k, "forward or backward", rc);
    moved.ctx.hold = &k->p.tape;
    moved.ctx.hold_m = &k->p.model;
    for (int i = 0; i < k->p.model.nt && verdict == SAE_VERDICT_PASS; i++)
        verdict = tensor_gradient(k, &moved, i);
    sae_probe_close(&moved);
    return verdict;
}
