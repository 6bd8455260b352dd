/* sae/stock_jump_code.h - the family "entries above a trained threshold of their feature": options,
 * memory, codes. stock_jump.h has the losses, stock_jump_back.h the gradients.
 *
 *     z = pre where score(pre) > theta_j, else 0      score = pre (only pre > 0) or |pre|
 *
 * theta_j follows from tensor STOCK_JUMP as `param` says. A step has no useful derivative, so theta
 * gets a straight-through one (Rajamanoharan et al. 2024): with the rectangle kernel
 * K(u) = 1[|u| < 1/2] of bandwidth e and s = sign(pre),
 *
 *     dz / dtheta = -(s theta / e) K((score - theta) / e)
 *     d 1[score > theta] / dtheta = -(1 / e) K((score - theta) / e)
 *
 * Every other gradient is exact with the set of active entries held. Both need the entries above
 * theta - e / 2 only: once those are few, codes of training list them (stock_dense_list), the
 * inactive ones as 0, and tape.pre holds their pre-activations in the same order.
 *
 * Losses, in this order: "mse" (stock_loss.h), "sparsity", "pre_act"; the last two are 0 with
 * coefficient 0 in EVAL.
 */
#ifndef SAE_STOCK_JUMP_CODE_H
#define SAE_STOCK_JUMP_CODE_H

#include "stock_dense.h"
#include "stock_run.h"

enum { STOCK_JUMP = STOCK_TENSOR_COUNT };
#define STOCK_JUMP_TENSOR                                                                          \
    {"theta", SAE_PARAM, SAE_REAL, SAE_T_STE | SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N}
#define STOCK_JUMP_LOSSES {"mse", "sparsity", "pre_act", NULL}

enum { STOCK_JUMP_TARGET, STOCK_JUMP_L0, STOCK_JUMP_TANH };
static const char *const stock_jump_penalties[] = {"target", "l0", "tanh", NULL};
enum { STOCK_JUMP_RAW, STOCK_JUMP_CLAMPED, STOCK_JUMP_LOG, STOCK_JUMP_LOG_UNSCALED };
static const char *const stock_jump_params[] = {"raw", "clamped", "log", "log_unscaled", NULL};
enum { STOCK_JUMP_PRE, STOCK_JUMP_POST };
static const char *const stock_jump_windows[] = {"pre", "post", NULL};

typedef struct stock_jump_opt {
    double weight, target, theta, bandwidth;
    double tanh_scale, pre_act; /* score = pre only */
    int64_t penalty, param, window, pre_bias, mse, dead;
    stock_decoder_opt decoder;
    stock_init_opt init;
} stock_jump_opt;

/* Rows of an option table; T is the option struct, m its stock_jump_opt member, last: the last
 * STOCK_JUMP_* penalty that the variant has. */
#define STOCK_JUMP_OPTIONS(T, m, penalties, last)                                                  \
    {"penalty", SAE_OPT_ENUM, 0, offsetof(T, m.penalty), STOCK_JUMP_TARGET, 0, (last),             \
     (penalties), NULL, "1", "what makes codes sparse: distance of L0 to a target, L0, ..."},      \
        {"weight", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(T, m.weight), 1, 0, 1e9, NULL, NULL, "1", \
         "weight of the penalty (lambda); schedules ramp it up"},                                  \
        {"target_l0", SAE_OPT_REAL, 0, offsetof(T, m.target), 20, 1e-3, 1e9, NULL, NULL, "1",      \
         "mean active features per row that penalty=target aims at"},                              \
        {"theta", SAE_OPT_REAL, 0, offsetof(T, m.theta), 1e-3, 1e-6, 1e6, NULL, NULL, "1",         \
         "first threshold"},                                                                       \
        {"bandwidth", SAE_OPT_REAL, 0, offsetof(T, m.bandwidth), 1e-3, 1e-9, 1e6, NULL, NULL, "1", \
         "width of the window around theta whose entries move it (epsilon)"},                      \
        {"param", SAE_OPT_ENUM, 0, offsetof(T, m.param), STOCK_JUMP_RAW, 0,                        \
         STOCK_JUMP_LOG_UNSCALED, stock_jump_params, NULL, "1",                                    \
         "the trained number is theta (as it is or kept >= 0) or its logarithm"},               \
        {"window", SAE_OPT_ENUM, 0, offsetof(T, m.window), STOCK_JUMP_PRE, 0, STOCK_JUMP_POST,     \
         stock_jump_windows, NULL, "1",                                                            \
         "the penalty's window is around pre-activations or around codes"},                        \
        STOCK_PRE_BIAS_OPTION(T, m.pre_bias, 1), STOCK_DECODER_OPTIONS(T, m.decoder),              \
        STOCK_MSE_OPTION(T, m.mse),                                                                \
        STOCK_INIT_OPTIONS(T, m.init)

typedef struct stock_jump { /* the rule */
    enum sae_key key; /* SAE_KEY_RELU or SAE_KEY_ABS */
    const stock_jump_opt *o;
} stock_jump;

typedef struct stock_jump_mem {
    stock_dense d;
    sae_real *theta; /* [n] theta as the window sees it */
    sae_real *level; /* [n] max(theta, 0): what codes exceed */
    double *bound;   /* [n] what scores of listed entries exceed; EVAL: level */
    /* TRAIN */
    double *l0;          /* [1] mean active features per row */
    sae_real *near_grad; /* [n] sum of s dL/dz over the window */
    sae_real *near;      /* [n] entries in the window */
    sae_real *silent;    /* [n] 1 where entries that are not listed are in the window, else 0 */
    sae_real *sum, *col; /* [n] work */
    sae_real *dead;      /* [n] w_j of dead features, 0 for the others */
    sae_real *active;    /* [n] rows on which a feature is active */
    int64_t *count;      /* [B] active features of a row */
    stock_run run;       /* no longer than a slab */
    sae_real *dz;        /* unit * dz: the gradient of the run's codes */
    double unit;
} stock_jump_mem;

static inline stock_bump stock_jump_layout(const stock_jump *j, const sae_dims *dim, int64_t B,
                                           enum sae_mode mode, void *scratch, stock_jump_mem *mem)
{
    stock_bump s = stock_bump_at(scratch);
    int64_t n = dim->n;
    stock_take_dense(&s, dim, B, mode, j->key == SAE_KEY_ABS ? 2 : 1, &mem->d);
    mem->theta = stock_take_real(&s, 1, n);
    mem->level = stock_take_real(&s, 1, n);
    mem->bound = (double *)stock_take(&s, n, sizeof(double));
    if (mode == SAE_EVAL)
        return s;
    mem->l0 = (double *)stock_take(&s, 1, sizeof(double));
    mem->near_grad = stock_take_real(&s, 1, n);
    mem->near = stock_take_real(&s, 1, n);
    mem->silent = stock_take_real(&s, 1, n);
    mem->sum = stock_take_real(&s, 1, n);
    mem->col = stock_take_real(&s, 1, n);
    mem->dead = stock_take_real(&s, 1, n);
    mem->active = stock_take_real(&s, 1, n);
    mem->count = (int64_t *)stock_take(&s, B, sizeof(int64_t));
    stock_take_run(&s, dim, B, &mem->run);
    if (mem->run.cap > mem->d.room)
        mem->run.cap = mem->d.room;
    return s;
}

static inline int stock_jump_workspace(const stock_jump *j, const sae_dims *dim, int64_t B,
                                       enum sae_mode mode, sae_workspace *out)
{
    stock_jump_mem mem;
    stock_bump s = stock_jump_layout(j, dim, B, mode, NULL, &mem);
    return stock_workspace(s, stock_most_entries(STOCK_GUESS, dim, B),
                           mode == SAE_TRAIN ? SAE_CODE_EITHER : 0, mode == SAE_TRAIN, out);
}

static inline int stock_jump_init(sae_model *m, const sae_ctx *c, const sae_batch *sample,
                                  const stock_jump_opt *o)
{
    double first = o->param < STOCK_JUMP_LOG ? o->theta : log(o->theta);
    SAE_TRY(stock_fill(c, stock_w_out(m, STOCK_JUMP).p, m->dim.n, (sae_real)first));
    return stock_init(m, c, sample, &o->init, stock_decoder_norm(&o->decoder));
}

static inline int stock_jump_levels(const sae_model *m, const sae_ctx *c, const stock_jump_opt *o,
                                    const stock_jump_mem *mem)
{
    sae_cmat t = stock_w(m, STOCK_JUMP), theta = stock_cmat(mem->theta, 1, m->dim.n);
    sae_mat out = stock_mat(mem->theta, 1, m->dim.n), level = stock_mat(mem->level, 1, m->dim.n);
    if (o->param >= STOCK_JUMP_LOG)
        SAE_TRY(c->k->map(c->dev, SAE_FN_EXP, 0, 0, t, out));
    else
        SAE_TRY(o->param == STOCK_JUMP_CLAMPED
                    ? c->k->gate(c->dev, t, t, out)
                    : c->k->scale(c->dev, t, NULL, NULL, out));
    return c->k->gate(c->dev, theta, theta, level);
}

/* score(v), in the matrix `work` where it differs from v. */
static inline int stock_jump_score(const sae_ctx *c, const stock_jump *j, sae_cmat v, sae_mat work,
                                   sae_cmat *score)
{
    *score = v;
    if (j->key != SAE_KEY_ABS)
        return SAE_OK;
    *score = stock_cmat(work.p, work.rows, work.cols);
    return c->k->map(c->dev, SAE_FN_ABS, 0, 0, v, work);
}

/* tape.pre and the whole of z; with a held tape, the entries that are active there. */
static inline int stock_jump_dense(const sae_ctx *c, const stock_jump *j, const sae_encoder *e,
                                   sae_tape *t, const stock_jump_mem *mem)
{
    int64_t B = e->x.rows, n = e->w.rows;
    sae_cmat z = stock_dense_code(&t->code, B, n), pre = stock_cmat(t->pre, B, n), gate;
    sae_mat out = stock_mat(t->code.val, B, n);
    SAE_TRY(c->k->encode_dense(c->dev, e, stock_mat(t->pre, B, n)));
    if (c->hold) {
        SAE_TRY(stock_jump_score(c, j, stock_cmat(c->hold->code.val, B, n), out, &gate));
        return c->k->gate(c->dev, pre, gate, out);
    }
    SAE_TRY(stock_jump_score(c, j, pre, out, &gate));
    SAE_TRY(c->k->shift_rows(c->dev, gate, -1, mem->level, out));
    return c->k->gate(c->dev, pre, z, out);
}

/* What entries of a sparse code exceed: the lower end of the window, a little lower, so that no
 * rounding of score - theta leaves one out. A NaN in theta lists its whole feature. */
static inline int stock_jump_bounds(const sae_ctx *c, const stock_jump *j, int64_t n,
                                    const stock_jump_mem *mem)
{
    sae_real theta[STOCK_CHUNK];
    double bound[STOCK_CHUNK], half = j->o->bandwidth / 2 * (1 + 0x1p-20);
    for (int64_t i = 0; i < n; i += STOCK_CHUNK) {
        int64_t some = stock_some(n - i);
        SAE_TRY(stock_get(c, theta, mem->theta + i, (size_t)some * sizeof *theta));
        for (int64_t k = 0; k < some; k++)
            bound[k] = theta[k] < 0 || theta[k] >= 0 ? (double)theta[k] - half : -HUGE_VAL;
        SAE_TRY(stock_put(c, mem->bound + i, bound, (size_t)some * sizeof *bound));
    }
    return SAE_OK;
}

/* The run's pre-activations. */
static inline const sae_real *stock_jump_pre(const sae_tape *t, const stock_jump_mem *mem)
{
    return t->pre + (mem->run.part.val - t->code.val);
}

/* tape.pre from the listed entries of z, and 0 in z where they are not active; with a held tape,
 * where they are not active there. */
static inline int stock_jump_listed(const sae_ctx *c, const stock_jump *j, sae_tape *t,
                                    stock_jump_mem *mem)
{
    const sae_code *z = &t->code, *held = c->hold ? &c->hold->code : NULL;
    stock_run *run = &mem->run;
    SAE_TRY(c->k->scale(c->dev, stock_cmat(z->val, 1, z->nnz), NULL, NULL,
                        stock_mat(t->pre, 1, z->nnz)));
    for (int64_t r = 0; r < z->B; r += run->part.B) {
        SAE_TRY(stock_run_at(c, z, r, run));
        sae_mat v = stock_run_mat(run, mem->d.work[0]);
        sae_cmat pre = stock_run_cmat(run, stock_jump_pre(t, mem)), of = pre, gate;
        if (held)
            of.p = held->val + (run->part.val - z->val);
        SAE_TRY(stock_jump_score(c, j, of, v, &gate));
        if (!held) {
            SAE_TRY(stock_run_shift(c, run, gate, -1, mem->level, v));
            gate = stock_run_cmat(run, v.p);
        }
        SAE_TRY(c->k->gate(c->dev, pre, gate, stock_run_mat(run, run->part.val)));
    }
    return SAE_OK;
}

/* Codes of training; the pull on pre-activations needs all of those that are inactive. */
static inline int stock_jump_either(const sae_ctx *c, const stock_jump *j, const sae_encoder *e,
                                    sae_tape *t, stock_jump_mem *mem)
{
    enum sae_key key = j->key == SAE_KEY_ABS ? SAE_KEY_ABS : SAE_KEY_VALUE;
    t->code.dense = 1;
    if (!(j->o->pre_act > 0)) {
        SAE_TRY(stock_jump_bounds(c, j, e->w.rows, mem));
        SAE_TRY(stock_dense_list(c, e, key, mem->bound, &t->code));
    }
    return t->code.dense ? stock_jump_dense(c, j, e, t, mem) : stock_jump_listed(c, j, t, mem);
}

static inline int stock_jump_code(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                  const stock_jump *j, sae_tape *t, stock_jump_mem *mem)
{
    sae_encoder e = stock_encoder(m, b, j->o->pre_bias);
    if (c->mode == SAE_TRAIN)
        return stock_jump_either(c, j, &e, t, mem);
    SAE_TRY(stock_widen(c, mem->bound, mem->level, m->dim.n));
    return c->k->encode_threshold(c->dev, &e, j->key, 0, mem->bound, &t->code);
}

#endif
