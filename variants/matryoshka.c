/* variants/matryoshka.c - BatchTopK whose dictionary reconstructs by every one of nested prefixes
 * (matryoshka.md).
 *
 * The prefixes cut the code into slices. Forward decodes every slice once and adds up; backward
 * goes from the last slice to the first, so that each one sees the sum of the residuals of all
 * prefixes that contain it.
 */
#include <sae/rng.h>
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

#include <stdlib.h>

enum { MOST_PREFIXES = 32 };
enum { LOSS_MSE, LOSS_AUXK, LOSS_PREFIX };

typedef struct opt {
    double k, law;
    int64_t mse, random, power;
    const char *groups;
    stock_init_opt init;
    stock_auxk_opt auxk;
    stock_theta_opt theta;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_REAL, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1",
     "mean active features per row in training"},
    {"groups", SAE_OPT_STR, 0, offsetof(opt, groups), 0, 0, 0, NULL, "0.03125+0.0625+0.125+0.25",
     "1", "sizes of all groups but the last, shares of n below 1, else features; joined by +"},
    {"group_power", SAE_OPT_INT, 0, offsetof(opt, power), 0, 0, 2, NULL, NULL, "1",
     "the loss of each of G prefixes is divided by G to this power"},
    {"random", SAE_OPT_INT, 0, offsetof(opt, random), 0, 0, MOST_PREFIXES - 1, NULL, NULL, "1",
     "proper prefixes drawn anew in every step instead of groups; 0: groups"},
    {"random_law", SAE_OPT_REAL, 0, offsetof(opt, law), 0.5, 0.01, 100, NULL, NULL, "1",
     "a random prefix is shorter than v with probability (v / n) to this power"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    STOCK_THETA_OPTIONS(opt, theta),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_THETA_TENSOR, {0}};
static const char *const losses[] = {"mse", "auxk", "prefix", NULL};

static const sae_train_defaults saelens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};

static const sae_preset presets[] = {
    {"dictionary_learning", "group_power=2,init_b_dec=median,theta_rate=0.001,theta_start=1001",
     NULL, "dictionary_learning trainers/matryoshka_batch_top_k.py"},
    {"saelens",
     "init_b_dec=zero,auxk=1,auxk_norm=mse,auxk_scale=1,dead=4096000,theta_first=zero",
     &saelens_train, "SAELens 6 saes/matryoshka_batchtopk_sae.py"},
    {"random", "random=9,group_power=1", NULL, "noanabeshima/matryoshka-saes sae.py: its prefixes"},
    {0},
};

/* ---- prefixes -------------------------------------------------------------------------------- */

/* Lengths of the prefixes of o->groups, ascending and n last, and how many there are; 0 when the
 * text is not a list of sizes. */
static int group_prefixes(const opt *o, int64_t n, int64_t *cut)
{
    const char *at = o->groups;
    double end = 0;
    int G = 0;
    while (*at && G < MOST_PREFIXES - 1) {
        char *stop;
        double size = strtod(at, &stop);
        int last = *stop == '\0';
        if (stop == at || !(size > 0 && size < 1e15) || !(last || *stop == '+') ||
            (size >= 1 && size != floor(size)))
            return 0;
        end += size < 1 ? floor(size * (double)n) : size;
        cut[G++] = end < (double)n ? (int64_t)end : n;
        at = last ? stop : stop + 1;
        if (!last && !*at)
            return 0;
    }
    cut[G] = n;
    return *at ? 0 : G + 1;
}

/* Number i of the lengths drawn in a step. */
static int64_t draw_prefix(const sae_ctx *c, double law, int64_t n, int64_t i)
{
    sae_u4 bits = sae_philox(c->seed, SAE_STREAM_PREFIX, (uint64_t)c->step, (uint32_t)i);
    double v = (double)n * pow(sae_u01_wide(bits.v[0], bits.v[1]), 1 / law);
    return v < 1 && n > 0 ? 1 : (int64_t)v;
}

/* The prefixes of this step: lengths cut[0..G), ascending, the last one n. */
static int step_prefixes(const opt *o, const sae_ctx *c, int64_t n, int64_t *cut)
{
    if (o->random == 0)
        return group_prefixes(o, n, cut);
    for (int64_t i = 0; i < o->random; i++) {
        int64_t length = draw_prefix(c, o->law, n, i), at = i;
        for (; at > 0 && cut[at - 1] > length; at--)
            cut[at] = cut[at - 1];
        cut[at] = length;
    }
    cut[o->random] = n;
    return (int)o->random + 1;
}

static int check(const void *o, const sae_dims *dim, sae_err *e)
{
    int64_t cut[MOST_PREFIXES];
    SAE_TRY(stock_check(o, dim, e));
    if (group_prefixes(o, dim->n, cut) > 0)
        return SAE_OK;
    return SAE_RECORD(e, SAE_EINVAL,
                      "groups=%s: expected at most %d sizes joined by +, each a share of n below 1 "
                      "or a whole number of features", ((const opt *)o)->groups, MOST_PREFIXES - 1);
}

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct memory {
    stock_sparse_mem sparse;
    /* TRAIN */
    sae_code slice;  /* the entries between two prefixes */
    sae_real *sum;   /* [B x d] one slice decoded; backward: residuals added up */
    sae_real *inner; /* [(G - 1) x B x d] residuals of the proper prefixes */
} memory;

static stock_sparse rule(const opt *o, enum sae_mode mode)
{
    enum stock_how how = stock_theta_how(&o->theta, mode);
    stock_sparse s = {how, SAE_KEY_RELU, o->k, 0, o->mse, &o->auxk, 0};
    return s;
}

static stock_bump layout(const opt *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                         void *scratch, memory *mem)
{
    stock_sparse s = rule(o, mode);
    stock_bump at = stock_sparse_layout(&s, dim, B, mode, scratch, &mem->sparse);
    int64_t cap = stock_sparse_cap(&s, dim, B), d = dim->d_out, cut[MOST_PREFIXES];
    int64_t inner = o->random > 0 ? o->random : group_prefixes(o, dim->n, cut) - 1;
    if (mode == SAE_EVAL)
        return at;
    mem->slice = stock_take_code(&at, B, dim->n, cap);
    mem->sum = stock_take_real(&at, B, d);
    mem->inner = stock_take_real(&at, B, d * inner);
    return at;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory mem;
    stock_sparse s = rule(o, mode);
    stock_bump at = layout(o, dim, B, mode, NULL, &mem);
    SAE_TRY(stock_sparse_workspace(&s, dim, B, mode, out));
    out->scratch = at.used;
    return at.overflow ? SAE_ENOMEM : SAE_OK;
}

static uint64_t caps_for(const void *o)
{
    uint64_t draws = ((const opt *)o)->random > 0 ? SAE_CAP_STOCHASTIC : 0;
    return SAE_CAP_LINEAR_DEC | stock_theta_caps(&((const opt *)o)->theta) | draws;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    SAE_TRY(stock_theta_init(m, c));
    return stock_init(m, c, sample, &o->init, 1);
}

/* ---- forward and backward -------------------------------------------------------------------- */

/* Residuals of the proper prefixes into mem->inner, and *loss, the sum of their mean squares. */
static int inner_residuals(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                           const sae_tape *t, memory *mem, const int64_t *cut, int G, double *loss)
{
    int64_t d = m->dim.d_out, all = b->B * d;
    const sae_real *b_dec = (const sae_real *)m->t[STOCK_B_DEC].w;
    sae_mat sum = stock_mat(mem->sum, b->B, d);
    *loss = 0;
    for (int g = 0; g < G - 1; g++) {
        sae_mat resid = stock_mat(mem->inner + g * all, b->B, d);
        double mse;
        SAE_TRY(c->k->code_slice(c->dev, &t->code, g ? cut[g - 1] : 0, cut[g], &mem->slice));
        SAE_TRY(c->k->code_decode(c->dev, &mem->slice, stock_w(m, STOCK_W_DEC), g ? NULL : b_dec,
                                  sum));
        /* sum - y, or sum + the residual of the prefix before */
        SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(sum.p, 1, all), g ? 1 : -1,
                                 g ? resid.p - all : b->y, stock_mat(resid.p, 1, all)));
        sae_cmat r = stock_cmat(resid.p, b->B, d);
        SAE_TRY(c->k->row_dot(c->dev, r, r, mem->sparse.w.row));
        SAE_TRY(stock_mean(c, b->B, mem->sparse.w.row, &mse));
        *loss += mse;
    }
    return SAE_OK;
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    int64_t cut[MOST_PREFIXES];
    stock_sparse s = rule(o, c->mode);
    SAE_TRY(stock_theta(m, c, &s.theta));
    SAE_TRY(stock_sparse_forward(m, c, b, &s, t));
    t->loss[LOSS_PREFIX] = t->coef[LOSS_PREFIX] = 0;
    if (c->mode == SAE_EVAL)
        return SAE_OK;
    layout(o, &m->dim, b->B, c->mode, t->scratch, &mem);
    int G = step_prefixes(o, c, m->dim.n, cut);
    t->coef[LOSS_MSE] /= pow(G, (double)o->power);
    t->coef[LOSS_PREFIX] = t->coef[LOSS_MSE];
    return inner_residuals(m, c, b, t, &mem, cut, G, &t->loss[LOSS_PREFIX]);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    stock_work *w = &mem.sparse.w;
    int64_t cut[MOST_PREFIXES], d = m->dim.d_out, all = b->B * d;
    int G = step_prefixes(o, c, m->dim.n, cut);
    layout(o, &m->dim, b->B, c->mode, t->scratch, &mem);
    sae_cmat dx = stock_resid(m, t);
    sae_real alpha = stock_alpha(t->coef[LOSS_MSE], b->B);
    SAE_TRY(stock_begin_back(m, c, b, 1, w));
    SAE_TRY(stock_auxk_back(m, c, t, w, &mem.sparse.a, &dx));
    SAE_TRY(c->be->copy(c->dev, mem.sum, dx.p, (size_t)all * sizeof(sae_real), SAE_COPY_D2D));
    dx = stock_cmat(mem.sum, b->B, d);
    for (int g = G - 1; g >= 0; g--) {
        SAE_TRY(c->k->code_slice(c->dev, &t->code, g ? cut[g - 1] : 0, cut[g], &mem.slice));
        SAE_TRY(stock_code_back(m, c, &mem.slice, &mem.sparse.links, dx, alpha, w->in, w->dbe));
        if (g > 0)
            SAE_TRY(stock_add(c, mem.sum, 1, mem.inner + (g - 1) * all, all));
    }
    return stock_bias_back(m, c, dx, alpha, 1, w->dbe);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    (void)b;
    return stock_theta_adapt(m, c, t, &o->theta);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o, mode);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_matryoshka;
const sae_variant sae_variant_matryoshka = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "matryoshka",
    .summary = "BatchTopK that also reconstructs from nested prefixes of its dictionary",
    .source = "Bussmann, Nabeshima, Karvonen and Nanda 2025, arXiv 2503.17547",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL | SAE_CAP_STOCHASTIC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1,
              .warmup = 1000, .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .caps_for = caps_for,
    .check = check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .saelens = &(const sae_saelens){.architecture = "jumprelu", .threshold = "theta"},
    .presets = presets,
};
