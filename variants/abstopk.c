/* variants/abstopk.c - AbsTopK: the k pre-activations of largest magnitude, sign kept
 * (abstopk.md). */
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

typedef struct opt {
    double k;
    int64_t scope, mse;
    stock_init_opt init;
    stock_auxk_opt auxk;
    stock_theta_opt theta;
} opt;

enum { SCOPE_ROW, SCOPE_BATCH };
static const char *const scopes[] = {"row", "batch", NULL};

static const sae_option options[] = {
    {"k", SAE_OPT_REAL, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1",
     "active features per row (scope=batch: their mean in training)"},
    {"scope", SAE_OPT_ENUM, 0, offsetof(opt, scope), SCOPE_ROW, 0, SCOPE_BATCH, scopes, NULL, "1",
     "select from every row, or in training from the whole batch"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    STOCK_THETA_OPTIONS(opt, theta),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_THETA_TENSOR, {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

/* scope=batch is BatchTopK on magnitudes. */
static stock_sparse rule(const opt *o, enum sae_mode mode)
{
    enum stock_how how = o->scope == SCOPE_ROW ? STOCK_ROWS : stock_theta_how(&o->theta, mode);
    stock_sparse s = {how, SAE_KEY_ABS, o->k, 0, o->mse, &o->auxk};
    return s;
}

static uint64_t caps_for(const void *opt_)
{
    const opt *o = opt_;
    uint64_t always = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED;
    return o->scope == SCOPE_BATCH ? always | stock_theta_caps(&o->theta) : always;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_sparse s = rule(o, mode);
    return stock_sparse_workspace(&s, dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    SAE_TRY(stock_theta_init(m, c));
    return stock_init(m, c, sample, &o->init, 1);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule(c->opt, c->mode);
    SAE_TRY(stock_theta(m, c, &s.theta));
    return stock_sparse_forward(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule(c->opt, c->mode);
    return stock_sparse_backward(m, c, b, &s, t);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    (void)b;
    return o->scope == SCOPE_BATCH ? stock_theta_adapt(m, c, t, &o->theta) : SAE_OK;
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o, mode);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_abstopk;
const sae_variant sae_variant_abstopk = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "abstopk",
    .summary = "the k pre-activations of largest magnitude, of either sign",
    .source = "Zhu, Khalili and Zhu 2025, AbsTopK (arXiv 2510.00404), section 3",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .caps_for = caps_for,
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
};
