/* suite/eval/lane.c - one SAE of an evaluation. */
#include "eval/lane.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>

static int device_new(const sae_engine *e, void *out, int64_t count, size_t size, const char *what,
                      sae_err *err)
{
    size_t bytes;
    SAE_TRY(sae_size_mul(&bytes, count, (int64_t)size, err));
    void *p = e->be->alloc(e->dev, bytes);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s: %zu bytes for %s", e->be->name, bytes,
                 what);
    memcpy(out, &p, sizeof p);
    return SAE_OK;
}

static int copy(const sae_engine *e, void *dst, const void *src, size_t bytes, enum sae_copy kind,
                sae_err *err)
{
    if (bytes == 0 || e->be->copy(e->dev, dst, src, bytes, kind) >= 0)
        return SAE_OK;
    SAE_FAIL(err, SAE_EBACKEND, "%s: copy of %zu bytes failed", e->be->name, bytes);
}

static int open_stats(sae_lane *l, sae_err *err)
{
    int64_t n = l->s->model->dim.n;
    if (l->s->stats) {
        l->view = *l->s->stats;
    } else {
        SAE_TRY(sae_stats_open(&l->blank, n, l->e, err));
        l->view = l->blank.view;
    }
    l->host_view = l->view;
    if (l->e->props.shares_host)
        return SAE_OK;
    size_t bytes = (size_t)n * sizeof(uint64_t);
    SAE_TRY(sae_new(&l->host_stats, 2 * n, sizeof *l->host_stats, "statistics copy", err));
    SAE_TRY(copy(l->e, l->host_stats, l->view.last_fired, bytes, SAE_COPY_D2H, err));
    SAE_TRY(copy(l->e, l->host_stats + n, l->view.fire_count, bytes, SAE_COPY_D2H, err));
    l->host_view.last_fired = l->host_stats;
    l->host_view.fire_count = l->host_stats + n;
    return SAE_OK;
}

static int reads_target(const sae_lane *l)
{
    return (l->needs & SAE_NEED_TARGET) != 0;
}

static int open_rows(sae_lane *l, int64_t B, sae_err *err)
{
    const sae_engine *e = l->e;
    const sae_dims *dim = &l->s->model->dim;
    int grad = (l->needs & SAE_NEED_GRAD) != 0;
    SAE_TRY(sae_side_open(&l->in, l->s->norm, dim->d_in, B, e, err));
    if (reads_target(l))
        SAE_TRY(sae_side_open(&l->out, l->s->target, dim->d_out, B, e, err));
    if (grad)
        SAE_TRY(sae_new(&l->g, B * dim->d_in, sizeof *l->g, "evaluation gradients", err));
    l->dev_g = l->g;
    if (e->props.shares_host) {
        l->xhat = l->tape.xhat;
        return SAE_OK;
    }
    l->dev_g = NULL;
    if (grad)
        SAE_TRY(device_new(e, &l->dev_g, B * dim->d_in, sizeof *l->g, "evaluation gradients", err));
    SAE_TRY(sae_new(&l->xhat, B * dim->d_out, sizeof *l->xhat, "decoded rows", err));
    return sae_new(&l->code.rowptr, B + 1, sizeof *l->code.rowptr, "code rows", err);
}

static int check_needs(const sae_lane *l, uint64_t have, sae_err *err)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } need[] = {{SAE_NEED_GRAD, "gradients"},
                {SAE_NEED_LM, "a language model"},
                {SAE_NEED_TRUTH, "the true dictionary"}};
    for (size_t i = 0; i < sizeof need / sizeof need[0]; i++)
        if (l->needs & ~have & need[i].bit)
            SAE_FAIL(err, SAE_ENEEDS, "%s needs %s for evaluation, which the dataset does not give",
                     l->s->spec, need[i].name);
    return SAE_OK;
}

int sae_lane_open(sae_lane *l, const sae_evaluation *ev, const sae_subject *s, int64_t B,
                  uint64_t have, const sae_lm *lm, sae_err *err)
{
    const sae_engine *e = ev->e;
    const sae_model *m = s->model;
    int rc = SAE_OK;
    memset(l, 0, sizeof *l);
    l->s = s;
    l->e = e;
    l->needs = m->v->needs(m->opt, SAE_EVAL);
    SAE_TRY(check_needs(l, have, err));
    SAE_GOTO(open_stats(l, err));
    SAE_GOTO(sae_extras_open(&l->extras, m, l->needs, ev->reg, ev->stream, s->norm, B, e, err));
    l->ctx = (sae_ctx){.size = sizeof l->ctx,
                       .mode = SAE_EVAL,
                       .seed = s->seed,
                       .opt = s->opt ? s->opt : m->opt,
                       .k = &e->k,
                       .dev = e->dev,
                       .be = e->be,
                       .lm = l->needs & SAE_NEED_LM ? lm : NULL,
                       .stats = &l->view,
                       .err = err};
    sae_extras_give(l->extras, &l->ctx);
    l->host = l->ctx;
    l->host.stats = &l->host_view;
    SAE_GOTO(sae_tape_open(&l->tape, m->v, l->ctx.opt, &m->dim, B, SAE_EVAL, e, err));
    SAE_GOTO(open_rows(l, B, err));
    SAE_GOTO(sae_model_freeze(m, e, err));
    l->frozen = 1;
    return SAE_OK;
fail:
    sae_lane_close(l);
    return rc;
}

void sae_lane_close(sae_lane *l)
{
    if (!l->e)
        return;
    const sae_engine *e = l->e;
    if (l->frozen)
        sae_model_thaw(l->s->model, e);
    if (!e->props.shares_host) {
        if (l->dev_g)
            e->be->release(e->dev, l->dev_g);
        sae_free(l->xhat);
        sae_free(l->code.rowptr);
        sae_free(l->code.idx);
        sae_free(l->code.val);
        sae_free(l->host_stats);
    }
    sae_free(l->g);
    sae_side_close(&l->in);
    sae_side_close(&l->out);
    sae_extras_close(&l->extras);
    sae_tape_close(&l->tape, e);
    sae_stats_close(&l->blank, e);
    memset(l, 0, sizeof *l);
}

/* The code of the tape as host memory. */
static int fetch_code(sae_lane *l)
{
    const sae_engine *e = l->e;
    const sae_code *z = &l->tape.code;
    sae_err *err = l->ctx.err;
    if (e->props.shares_host) {
        l->code = *z;
        return SAE_OK;
    }
    sae_code *h = &l->code;
    int64_t entries = z->dense ? z->B * z->n : z->nnz;
    if (entries > h->cap) {
        int64_t cap = entries + entries / 4;
        sae_free(h->val);
        sae_free(h->idx);
        h->val = NULL;
        h->idx = NULL;
        h->cap = 0;
        SAE_TRY(sae_new(&h->val, cap, sizeof *h->val, "code values", err));
        SAE_TRY(sae_new(&h->idx, cap, sizeof *h->idx, "code indices", err));
        h->cap = cap;
    }
    h->B = z->B;
    h->n = z->n;
    h->nnz = z->nnz;
    h->nan = z->nan;
    h->dense = z->dense;
    SAE_TRY(copy(e, h->val, z->val, (size_t)entries * sizeof *h->val, SAE_COPY_D2H, err));
    if (z->dense)
        return SAE_OK;
    SAE_TRY(copy(e, h->idx, z->idx, (size_t)entries * sizeof *h->idx, SAE_COPY_D2H, err));
    return copy(e, h->rowptr, z->rowptr, (size_t)(z->B + 1) * sizeof *h->rowptr, SAE_COPY_D2H, err);
}

int sae_lane_run(sae_lane *l, const sae_rows *in)
{
    const sae_engine *e = l->e;
    const sae_dims *dim = &l->s->model->dim;
    sae_err *err = l->ctx.err;
    size_t size = sizeof(sae_real), grads = (size_t)(in->B * dim->d_in) * size;
    const sae_norm_const *norm = reads_target(l) ? l->s->target : l->s->norm;
    sae_batch b = {.B = in->B, .g = l->dev_g, .row0 = in->row0};
    b.tok = l->needs & SAE_NEED_TOKENS ? in->tok : NULL;
    SAE_TRY(sae_side_load(&l->in, in->x, in->B, &b.x, err));
    b.y = b.x;
    if (reads_target(l))
        SAE_TRY(sae_side_load(&l->out, in->y, in->B, &b.y, err));
    if (l->g) {
        memcpy(l->g, in->g, grads);
        sae_norm_gradient(l->s->norm, l->in.row, (sae_mat){l->g, in->B, dim->d_in, dim->d_in});
        if (!e->props.shares_host)
            SAE_TRY(copy(e, l->dev_g, l->g, grads, SAE_COPY_H2D, err));
    }
    SAE_TRY(sae_forward(l->s->model, &l->ctx, &b, &l->tape, e));
    if (!e->props.shares_host)
        SAE_TRY(copy(e, l->xhat, l->tape.xhat, (size_t)(in->B * dim->d_out) * size, SAE_COPY_D2H,
                     err));
    l->norm = reads_target(l) ? l->out.row : l->in.row;
    sae_norm_undo(norm, l->norm, (sae_mat){l->xhat, in->B, dim->d_out, dim->d_out});
    return fetch_code(l);
}
