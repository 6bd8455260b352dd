/* suite/models/lm_tape.c - recording a forward pass and going back over it. */
#include "models/lm_tape.h"

#include "core/error.h"
#include "core/memory.h"

#include <omp.h>

enum { MOST_ROWS = 2048, LEAST_ROWS = 128 };

struct sae_lm_tape {
    int64_t rows, longest, threads; /* what there is room for */
    int64_t slots;        /* halves whose wide, mid and pre are kept: 2 layers, or 1 */
    sae_real *x;          /* [2 layers][rows x d] the stream before every half */
    sae_real *wide;       /* [slots][rows x in] */
    sae_real *attended;   /* [slots][rows x heads head] mid of attention halves */
    sae_real *pre;        /* [slots][rows x d], where there is a post norm */
    sae_real *turned, *dwide, *dmid, *dx, *dout, *dh, *hat; /* of the half at hand */
    sae_real *hook_pre;   /* pre of a half that a hook cuts in two */
    sae_real *room;       /* attention's scratch */
};

static int64_t widest(const sae_lm_config *c)
{
    return sae_lm_larger(sae_lm_in_width(c, 0), sae_lm_in_width(c, 1));
}

/* Elements that one row of one kept half takes beside the stream. */
static int64_t kept_width(const sae_lm_config *c)
{
    return widest(c) + c->heads * c->head + (c->post_norm ? c->d : 0);
}

int64_t sae_lm_tape_rows(const sae_lm_model *m)
{
    const sae_lm_config *c = &m->cfg;
    int64_t bytes = 2 * c->layers * (kept_width(c) + c->d) * (int64_t)sizeof(sae_real);
    int64_t rows = m->tape_bytes / bytes;
    if (m->at.be && rows > SAE_LM_DEVICE_ROWS)
        rows = rows / SAE_LM_DEVICE_ROWS * SAE_LM_DEVICE_ROWS;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

void sae_lm_tape_close(sae_lm_model *m)
{
    sae_lm_tape *t = m->tape;
    m->tape = NULL;
    if (!t)
        return;
    sae_real *all[] = {t->x,    t->wide, t->attended, t->pre, t->turned, t->dwide,
                       t->dmid, t->dx,   t->dout,     t->dh,  t->hat,    t->hook_pre, t->room};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sae_lm_free(&m->at, all[i]);
    sae_free(t);
}

int sae_lm_tape_reserve(sae_lm_model *m, const sae_contexts *contexts, sae_err *err)
{
    int rc = SAE_OK;
    const sae_lm_config *c = &m->cfg;
    const sae_lm_work *w = &m->work;
    int64_t halves = 2 * c->layers, most = sae_lm_tape_rows(m);
    int64_t rows = sae_lm_largest_group(contexts, most).rows;
    SAE_TRY(sae_lm_reserve_groups(m, contexts, most, err));
    int64_t threads = omp_get_max_threads();
    if (m->tape && m->tape->rows >= rows && m->tape->longest >= w->longest &&
        m->tape->threads >= threads)
        return SAE_OK;
    sae_lm_tape_close(m);
    SAE_TRY(sae_new(&m->tape, 1, sizeof *m->tape, "lm.tape", err));
    sae_lm_tape *t = m->tape;
    t->slots = rows <= most ? halves : 1;
    sae_lm_heads heads = sae_lm_heads_of(m, 0);
    int64_t mid = sae_lm_larger(sae_lm_mid_width(c, 0), sae_lm_mid_width(c, 1));
    const struct {
        sae_real **p;
        int64_t count;
    } want[] = {
        {&t->x, halves * rows * c->d},
        {&t->wide, t->slots * rows * widest(c)},
        {&t->attended, t->slots * rows * c->heads * c->head},
        {&t->pre, c->post_norm ? t->slots * rows * c->d : 0},
        {&t->turned, rows * sae_lm_qkv_width(c)},
        {&t->dwide, rows * widest(c)},
        {&t->dmid, rows * mid},
        {&t->dx, rows * c->d},
        {&t->dout, rows * c->d},
        {&t->dh, rows * c->d},
        {&t->hat, rows * sae_lm_larger(c->d, 2 * c->head)},
        {&t->hook_pre, c->post_norm ? rows * c->d : 0},
        {&t->room, m->at.ops->attention_room(&heads, rows, w->longest, 1)},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        SAE_GOTO(sae_lm_new(&m->at, want[i].p, want[i].count, sizeof(sae_real), "lm.tape", err));
    t->rows = rows;
    t->longest = w->longest;
    t->threads = threads;
    return SAE_OK;
fail:
    sae_lm_tape_close(m);
    return rc;
}

/* ---- recording ------------------------------------------------------------------------------- */

/* The stream that half p reads. */
static sae_real *stream_of(const sae_lm_model *m, int64_t p)
{
    int64_t at = m->cfg.parallel ? p / 2 * 2 : p;
    return m->tape->x + at * m->tape->rows * m->cfg.d;
}

static sae_lm_frame frame_of(const sae_lm_model *m, int64_t p)
{
    const sae_lm_tape *t = m->tape;
    const sae_lm_config *c = &m->cfg;
    int64_t slot = t->slots > 1 ? p : 0;
    sae_lm_frame f = {.wide = t->wide + slot * t->rows * widest(c), .turned = t->turned};
    f.mid = p % 2 ? m->work.mid : t->attended + slot * t->rows * c->heads * c->head;
    f.pre = c->post_norm ? t->pre + slot * t->rows * c->d : NULL;
    return f;
}

static int half_record(sae_lm_model *m, const sae_lm_group *g, int64_t p, sae_real *delta,
                       sae_err *err)
{
    sae_lm_frame f = frame_of(m, p);
    SAE_TRY(sae_lm_half_mid(m, g, p, stream_of(m, p), &f, err));
    return sae_lm_half_out(m, g, p, f.mid, &f, delta, err);
}

int sae_lm_tape_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, sae_real *x,
                        sae_err *err)
{
    int together = m->cfg.parallel ? 2 : 1;
    for (; p < 2 * m->cfg.layers; p += together) {
        SAE_TRY(sae_lm_copy(m, g->rows, m->cfg.d, x, stream_of(m, p), err));
        for (int i = 0; i < together; i++)
            SAE_TRY(half_record(m, g, p + i, m->work.delta[i], err));
        for (int i = 0; i < together; i++)
            SAE_TRY(sae_lm_add(m, g->rows, m->work.delta[i], x, err));
    }
    return SAE_OK;
}

sae_real *sae_lm_tape_pre(const sae_lm_model *m)
{
    return m->cfg.post_norm ? m->tape->hook_pre : NULL;
}

sae_real *sae_lm_tape_dmid(const sae_lm_model *m)
{
    return m->tape->dmid;
}

/* ---- going back ------------------------------------------------------------------------------ */

/* The gradient of a weight in a buffer of gradients; NULL when there is none of the two. */
static sae_real *slot_of(const sae_lm_model *m, sae_real *grad, const sae_real *weight)
{
    return grad && weight ? grad + (weight - m->w.base) : NULL;
}

/* out [cols] += column sums of x [rows x cols]; out NULL: nothing. */
static int add_columns(const sae_lm_model *m, int64_t rows, int64_t cols, const sae_real *x,
                       sae_real *out, sae_err *err)
{
    sae_cmat all = {x, rows, cols, cols};
    if (!out)
        return SAE_OK;
    return sae_lm_done(&m->at, m->at.k->col_sum(m->at.dev, all, 1, out), "summing a gradient",
                       err);
}

/* Through y = x w^T + b: dx [rows x k] from dy [rows x n]; dw, db += theirs (NULL: none). */
static int product_back(const sae_lm_model *m, int64_t rows, int64_t k, int64_t n,
                        const sae_real *x, const sae_real *w, const sae_real *dy, sae_real *dx,
                        sae_real *dw, sae_real *db, sae_err *err)
{
    sae_cmat y = {dy, rows, n, n};
    if (dw)
        SAE_TRY(sae_lm_gemm(m, 1, 0, y, (sae_cmat){x, rows, k, k}, 1, (sae_mat){dw, n, k, k},
                            err));
    SAE_TRY(add_columns(m, rows, n, dy, db, err));
    return sae_lm_gemm(m, 0, 0, y, (sae_cmat){w, n, k, k}, 0, (sae_mat){dx, rows, k, k}, err);
}

/* Through a norm, with its parameters. */
static int norm_back(const sae_lm_model *m, const sae_lm_normer *norm, int64_t rows,
                     const sae_real *x, const sae_real *dy, int add, sae_real *dx, sae_real *grad,
                     sae_err *err)
{
    sae_real *dw = slot_of(m, grad, norm->w), *hat = dw ? m->tape->hat : NULL;
    SAE_TRY(add_columns(m, rows, norm->n, dy, slot_of(m, grad, norm->b), err));
    SAE_TRY(sae_lm_done(&m->at, m->at.ops->norm_back(m->at.dev, norm, rows, x, dy, add, dx, hat),
                        "the gradient of a norm", err));
    return add_columns(m, rows, norm->n, hat, dw, err);
}

int sae_lm_half_out_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *mid,
                         const sae_real *pre, const sae_real *ddelta, sae_real *dmid,
                         sae_real *grad, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    sae_lm_normer inner = {c->norm_mid, c->eps, sae_lm_mid_width(c, p), NULL, NULL};
    const sae_real *in = mid;
    if (half->post) {
        sae_lm_normer post = {c->norm_in, c->eps, c->d, half->post, NULL};
        SAE_TRY(norm_back(m, &post, g->rows, pre, ddelta, 0, m->tape->dh, grad, err));
        ddelta = m->tape->dh;
    }
    if (c->norm_mid != SAE_LM_NORM_NONE && grad) {
        SAE_TRY(sae_lm_norm(m, &inner, g->rows, mid, m->work.mid_normed, err));
        in = m->work.mid_normed;
    }
    SAE_TRY(product_back(m, g->rows, inner.n, c->d, in, half->w_out, ddelta, dmid,
                         slot_of(m, grad, half->w_out), slot_of(m, grad, half->b_out), err));
    if (c->norm_mid == SAE_LM_NORM_NONE)
        return SAE_OK;
    return norm_back(m, &inner, g->rows, mid, dmid, 0, dmid, NULL, err);
}

/* tape->dwide from tape->dmid, through the attention of a layer. */
static int attention_back(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                          const sae_lm_frame *f, sae_real *grad, sae_err *err)
{
    sae_lm_tape *t = m->tape;
    const sae_lm_ops *ops = m->at.ops;
    const sae_lm_rows *rows = &m->work.group;
    sae_lm_heads h = sae_lm_heads_of(m, layer);
    sae_real *hat_q = t->hat, *hat_k = t->hat + g->rows * h.head;
    int rc = ops->position(m->at.dev, &h, rows, f->wide, t->turned);
    if (rc >= 0)
        rc = ops->attention_back(m->at.dev, &h, rows, t->turned, f->mid, t->dmid, t->dwide,
                                 t->room);
    if (rc >= 0)
        rc = ops->position_back(m->at.dev, &h, rows, f->wide, t->dwide, hat_q, hat_k);
    SAE_TRY(sae_lm_done(&m->at, rc, "the gradient of attention", err));
    SAE_TRY(add_columns(m, g->rows, h.head, hat_q, slot_of(m, grad, h.q_norm), err));
    return add_columns(m, g->rows, h.head, hat_k, slot_of(m, grad, h.k_norm), err);
}

/* dwide, in place of f->wide (MLP) or in tape->dwide (attention), from tape->dmid. */
static int mid_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_lm_frame *f,
                    sae_real *grad, const sae_real **dwide, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    *dwide = p % 2 ? f->wide : m->tape->dwide;
    if (p % 2 == 0)
        return attention_back(m, g, p / 2, f, grad, err);
    return sae_lm_done(&m->at, m->at.ops->mix_back(m->at.dev, c->act, c->gated, g->rows, c->hidden,
                                                   m->tape->dmid, f->wide),
                       "the gradient of a nonlinearity", err);
}

/* dx += the gradient through half p of what it adds, ddelta. */
static int half_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *ddelta,
                     sae_real *dx, sae_real *grad, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    const sae_lm_half *half = &m->w.half[p];
    const sae_real *x = stream_of(m, p), *dwide = NULL;
    sae_lm_frame f = frame_of(m, p);
    sae_lm_tape *t = m->tape;
    if (t->slots == 1) {
        SAE_TRY(sae_lm_half_mid(m, g, p, x, &f, err));
        if (half->post)
            SAE_TRY(sae_lm_half_out(m, g, p, f.mid, &f, m->work.delta[0], err));
    } else if (p % 2 && (grad || c->norm_mid != SAE_LM_NORM_NONE)) {
        SAE_TRY(sae_lm_mix(m, g->rows, f.wide, f.mid, err));
    }
    SAE_TRY(sae_lm_half_out_back(m, g, p, f.mid, f.pre, ddelta, t->dmid, grad, err));
    SAE_TRY(mid_back(m, g, p, &f, grad, &dwide, err));
    sae_lm_normer norm = {c->norm_in, c->eps, c->d, half->norm, half->norm_b};
    if (grad)
        SAE_TRY(sae_lm_norm(m, &norm, g->rows, x, m->work.h, err));
    SAE_TRY(product_back(m, g->rows, c->d, sae_lm_in_width(c, p), m->work.h, half->w_in, dwide,
                         t->dh, slot_of(m, grad, half->w_in), slot_of(m, grad, half->b_in), err));
    return norm_back(m, &norm, g->rows, x, t->dh, 1, dx, grad, err);
}

int sae_lm_tape_head(sae_lm_model *m, const sae_lm_group *g, const sae_real *x,
                     const sae_lm_out *out, sae_real *grad, sae_real **dx, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    sae_lm_normer norm = {c->norm_final, c->eps, c->d, m->w.norm_final, m->w.norm_final_b};
    sae_lm_head_back back = {m->tape->dh, grad};
    *dx = m->tape->dx;
    SAE_TRY(sae_lm_head_forward(m, g, x, out, &back, err));
    return norm_back(m, &norm, g->rows, x, back.dh, 0, *dx, grad, err);
}

int sae_lm_tape_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, sae_real *dx,
                     sae_real *grad, sae_err *err)
{
    int together = m->cfg.parallel ? 2 : 1;
    for (int64_t q = 2 * m->cfg.layers - together; q >= p; q -= together) {
        const sae_real *ddelta = dx;
        if (together == 2) { /* the second half must not see what the first adds to dx */
            SAE_TRY(sae_lm_copy(m, g->rows, m->cfg.d, dx, m->tape->dout, err));
            ddelta = m->tape->dout;
        }
        for (int i = 0; i < together; i++)
            SAE_TRY(half_back(m, g, q + i, ddelta, dx, grad, err));
    }
    return SAE_OK;
}

/* ---- parameters ------------------------------------------------------------------------------ */

static int embed_back(const sae_lm_model *m, const sae_real *dx, sae_real *grad, sae_err *err)
{
    sae_lm_tables t = sae_lm_tables_of(m);
    sae_real *de = slot_of(m, grad, t.embed), *dp = slot_of(m, grad, t.position);
    int rc = m->at.ops->embed_back(m->at.dev, &t, &m->work.group, dx, de, dp);
    return sae_lm_done(&m->at, rc, "the gradient of the embedding", err);
}

static int group_grad(sae_lm_model *m, const sae_lm_group *g, sae_real *grad, double *ce,
                      sae_err *err)
{
    sae_real *dx = NULL;
    sae_lm_out out = {.ce = ce};
    SAE_TRY(sae_lm_group_use(m, g, err));
    SAE_TRY(sae_lm_embed(m, m->work.x, err));
    SAE_TRY(sae_lm_tape_forward(m, g, 0, m->work.x, err));
    SAE_TRY(sae_lm_tape_head(m, g, m->work.x, &out, grad, &dx, err));
    SAE_TRY(sae_lm_tape_back(m, g, 0, dx, grad, err));
    return embed_back(m, dx, grad, err);
}

int sae_lm_loss_grad(sae_lm_model *m, const sae_contexts *c, sae_real *grad, double *ce,
                     sae_err *err)
{
    int64_t most = sae_lm_tape_rows(m);
    SAE_TRY(sae_lm_check_contexts(m, c, err));
    SAE_TRY(sae_lm_tape_reserve(m, c, err));
    for (int64_t i = 0; i < c->N;) {
        sae_lm_group g = sae_lm_group_at(c, i, most);
        SAE_TRY(group_grad(m, &g, grad, ce, err));
        i = g.c1;
    }
    return SAE_OK;
}
