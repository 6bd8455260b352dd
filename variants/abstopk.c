/* variants/abstopk.c - AbsTopK: the k pre-activations of largest magnitude, sign kept
 * (abstopk.md). */
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

typedef struct opt {
    int64_t k, mse;
    stock_init_opt init;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1", "active features per row"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_train_defaults lens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};

static const sae_preset presets[] = {
    {"abstopk_paper", "mse=element,init_b_dec=zero,auxk_norm=mse,k_aux=512,dead=1000000", NULL,
     "arXiv 2510.00404 section 3 and appendix B, with AuxK so that large n survives"},
    {"abstopk_text", "mse=element,init_b_dec=zero,auxk=0", NULL,
     "arXiv 2510.00404 section 3 and appendix B, literally: no AuxK"},
    {"saelens", "init_b_dec=zero,auxk=1,auxk_norm=mse,auxk_scale=1,dead=4096000", &lens_train,
     "SAELens 6.54 saes/abstopk_sae.py"},
    {0},
};

static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_ROWS, SAE_KEY_ABS, (double)o->k, 0, o->mse, &o->auxk, 0};
    return s;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_sparse s = rule(o);
    return stock_sparse_workspace(&s, dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    return stock_init(m, c, sample, &o->init, 1);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule(c->opt);
    return stock_sparse_forward(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule(c->opt);
    return stock_sparse_backward(m, c, b, &s, t);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_abstopk;
const sae_variant sae_variant_abstopk = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "abstopk",
    .summary = "the k pre-activations of largest magnitude of every row, of either sign",
    .source = "Zhu, Khalili and Zhu 2025, AbsTopK (arXiv 2510.00404), section 3",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .presets = presets,
};
