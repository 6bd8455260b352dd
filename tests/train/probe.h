/* tests/train/probe.h - a variant that records what the trainer does to it.
 *
 * Row r of a batch fires feature r % n with value 1. Gradients are a fixed function of the weights
 * and the step. Everything is written by the host, so the backend must share its memory.
 */
#ifndef SAE_TESTS_PROBE_H
#define SAE_TESTS_PROBE_H

#include "train/rig.h"

typedef struct probe_opt {
    double amp;
    int64_t need, nan_loss_at, nan_grad_at, done_at, grow;
} probe_opt;

static struct probe_seen {
    double amp, w_forward, w_adapt; /* W[0] as forward and adapt of the last step saw it */
    uint64_t tokens_forward, tokens_adapt;
    int64_t n_forward, steps, finalized;
    int has_g, has_tok, grow_rc, fresh_zero, fired_now;
} seen;

static const sae_option probe_options[] = {
    {"amp", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(probe_opt, amp), 1, 0, 10, NULL, NULL, "1", "-"},
    {"need", SAE_OPT_INT, 0, offsetof(probe_opt, need), 0, 0, 15, NULL, NULL, "1", "-"},
    {"nan_loss_at", SAE_OPT_INT, 0, offsetof(probe_opt, nan_loss_at), -1, -1, 1e9, NULL, NULL,
     "steps", "-"},
    {"nan_grad_at", SAE_OPT_INT, 0, offsetof(probe_opt, nan_grad_at), -1, -1, 1e9, NULL, NULL,
     "steps", "-"},
    {"done_at", SAE_OPT_INT, 0, offsetof(probe_opt, done_at), -1, -1, 1e9, NULL, NULL, "steps",
     "-"},
    {"grow", SAE_OPT_INT, 0, offsetof(probe_opt, grow), 0, 0, 1e9, NULL, NULL, "1", "-"},
    {0}};

static const sae_tensor_spec probe_tensors[] = {
    {"W_dec", SAE_PARAM, SAE_REAL, SAE_T_UNIT_ROWS, SAE_DIM_N, SAE_DIM_OUT},
    {"b_enc", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {"born", SAE_STATE, SAE_U64, 0, SAE_DIM_1, SAE_DIM_N},
    {0}};
static const char *const probe_losses[] = {"first", "second", NULL};

static inline uint64_t probe_caps_for(const void *opt)
{
    return ((const probe_opt *)opt)->grow ? SAE_CAP_GROWS | SAE_CAP_HOST_ONLY : SAE_CAP_HOST_ONLY;
}

static inline uint64_t probe_needs(const void *opt, enum sae_mode mode)
{
    (void)mode;
    return (uint64_t)((const probe_opt *)opt)->need;
}

static inline int probe_workspace(const void *opt, const sae_dims *dim, int64_t B,
                                  enum sae_mode mode, sae_workspace *out)
{
    (void)opt, (void)dim, (void)mode;
    *out = (sae_workspace){.scratch = 64, .code_cap = B};
    return SAE_OK;
}

static inline int probe_init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    (void)sample;
    memset(&seen, 0, sizeof seen);
    sae_real *w = m->t[0].w, *b = m->t[1].w;
    for (int64_t i = 0; i < m->t[0].rows * m->t[0].cols; i++)
        w[i] = (sae_real)sae_normal(c->seed, SAE_STREAM_INIT, 0, (uint32_t)i);
    for (int64_t j = 0; j < m->dim.n; j++)
        b[j] = (sae_real)0.25;
    return c->k->unit_rows(c->dev, (sae_mat){w, m->t[0].rows, m->t[0].cols, m->t[0].cols});
}

static inline int probe_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                sae_tape *t)
{
    const probe_opt *o = c->opt;
    sae_code *z = &t->code;
    z->nnz = 0;
    for (int64_t r = 0; r < b->B; r++) {
        z->rowptr[r] = z->nnz;
        if (m->dim.n == 0)
            continue;
        z->idx[z->nnz] = (int32_t)(r % m->dim.n);
        z->val[z->nnz++] = 1;
    }
    z->rowptr[b->B] = z->nnz;
    seen.amp = o->amp;
    seen.has_g = b->g != NULL;
    seen.has_tok = b->tok != NULL;
    seen.n_forward = m->dim.n;
    seen.tokens_forward = c->stats->tokens;
    seen.w_forward = m->dim.n ? (double)((sae_real *)m->t[0].w)[0] : 0;
    t->loss[0] = c->step == o->nan_loss_at ? (double)NAN : 2;
    t->loss[1] = 3;
    t->coef[0] = 1;
    t->coef[1] = 0.5;
    return SAE_OK;
}

static inline int probe_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                               sae_mat xhat)
{
    const sae_tensor *w = &m->t[0];
    return c->k->code_decode(c->dev, z, (sae_cmat){w->w, w->rows, w->cols, w->cols}, NULL, xhat);
}

/* Mostly along the row itself, so that projecting before or after clipping is not the same. */
static inline double probe_grad(double w, int64_t i, int64_t step)
{
    return 3 * w + sin((double)(i + 1) * (double)(step + 1));
}

static inline int probe_backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)b, (void)t;
    for (int k = 0; k < 2; k++) {
        const sae_real *w = m->t[k].w;
        for (int64_t i = 0; i < m->t[k].rows * m->t[k].cols; i++)
            m->t[k].grad[i] += (sae_real)probe_grad((double)w[i], i, c->step);
    }
    if (c->step == ((const probe_opt *)c->opt)->nan_grad_at)
        m->t[1].grad[0] = (sae_real)INFINITY;
    return SAE_OK;
}

/* What growth promises: zero rows, and new features that fired just now. */
static inline void probe_check_grown(const sae_model *m, const sae_ctx *c, int64_t old)
{
    const sae_real *w = m->t[0].w, *b = m->t[1].w;
    const uint64_t *born = m->t[2].w;
    seen.fresh_zero = seen.fired_now = 1;
    for (int64_t j = old; j < m->dim.n; j++) {
        for (int64_t i = 0; i < m->t[0].cols; i++)
            seen.fresh_zero &= w[j * m->t[0].cols + i] == 0;
        seen.fresh_zero &= b[j] == 0 && born[j] == 0;
        seen.fired_now &= c->stats->last_fired[j] == c->stats->tokens &&
                          c->stats->fire_count[j] == 0;
    }
    seen.fired_now &= c->stats->n == m->dim.n;
}

static inline int probe_adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const probe_opt *o = c->opt;
    int64_t old = m->dim.n, room = m->dim.n_cap - old;
    (void)b, (void)t;
    seen.steps++;
    seen.w_adapt = old ? (double)((sae_real *)m->t[0].w)[0] : 0;
    seen.tokens_adapt = c->stats->tokens;
    if (o->grow) {
        seen.grow_rc = c->grow(m, old + (o->grow < room ? o->grow : room), c->err);
        probe_check_grown(m, c, old);
        sae_real *w = m->t[0].w;
        for (int64_t j = old; j < m->dim.n; j++) {
            w[j * m->t[0].cols + j % m->t[0].cols] = 1;
            ((uint64_t *)m->t[2].w)[j] = c->stats->tokens;
        }
    }
    return c->step == o->done_at ? SAE_DONE : SAE_OK;
}

static inline int probe_finalize(sae_model *m, const sae_ctx *c)
{
    (void)m, (void)c;
    seen.finalized++;
    return SAE_OK;
}

static const sae_variant probe_variant = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "probe",
    .summary = "records its calls",
    .source = "tests/train/probe.h",
    .caps = SAE_CAP_GROWS | SAE_CAP_HOST_ONLY,
    .opt_size = sizeof(probe_opt),
    .options = probe_options,
    .tensors = probe_tensors,
    .losses = probe_losses,
    .train = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 0.1, .clip_norm = 1,
              .weight_decay = 0.01, .warmup = 4, .decay = 0.5},
    .workspace = probe_workspace,
    .init = probe_init,
    .forward = probe_forward,
    .decode = probe_decode,
    .caps_for = probe_caps_for,
    .needs = probe_needs,
    .backward = probe_backward,
    .adapt = probe_adapt,
    .finalize = probe_finalize,
};

/* A learner of the probe with options "key=value" pairs, NULL-terminated. */
static inline void probe_open(rig *r, sae_learner *l, sae_variant *admitted, int64_t n,
                              const sae_train_config *c, const char *const *pairs)
{
    sae_spec spec;
    rig_own_spec(&spec, &probe_variant, admitted, n);
    for (; pairs && *pairs; pairs += 2)
        ck_assert_ok(sae_opts_set(spec.opts, pairs[0], pairs[1], &r->err), r->err);
    rig_learner(r, l, &spec, c);
}

#endif
