/* variants/vsae_topk.c - TopK of noisy activations with a KL penalty on their distribution
 * (vsae_topk.md). */
#include <sae/stock_vsae_backward.h>

typedef struct opt {
    int64_t k, kl;
    stock_vsae_opt vsae;
    stock_var_opt var;
    stock_auxk_opt auxk;
} opt;

enum { KL_ALL, KL_MASKED };
static const char *const kinds[] = {"all", "masked", NULL};

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 64, 0, 1e9, NULL, NULL, "1", "active features per row"},
    {"kl", SAE_OPT_ENUM, 0, offsetof(opt, kl), KL_ALL, 0, KL_MASKED, kinds, NULL, "1",
     "the penalty covers all features, or the selected ones"},
    STOCK_VSAE_OPTIONS(opt, vsae, 1e-4, 1),
    STOCK_VAR_OPTIONS(opt, var),
    STOCK_AUXK_OPTIONS(opt, auxk, 0, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_VAR_TENSORS, {0}};
static const char *const losses[] = {"mse", "kl", "auxk", NULL};

static const sae_train_defaults class_train = {
    .lr = 5e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1, .warmup = 200,
    .decay = 0.2};

static const sae_preset presets[] = {
    {"restudy", "k=256,beta=0.0001,auxk=0.03125", NULL, "the authors' re-study of 2026, noise on"},
    {"masked_kl", "kl=masked,relu_mu=0,dead=10000", NULL, "the code's vsae_topk_masked_kl"},
    {"lesswrong", "beta=1,var=fixed,sigma=1", NULL, "the text of the first version: variance 1"},
    {"class_defaults", "beta=500,auxk=0.03125", &class_train, "defaults of the code's class"},
    {0},
};

static stock_vsae rule(const opt *o)
{
    stock_vsae s = {&o->vsae, &o->var, &o->auxk, o->k, o->kl == KL_MASKED};
    return s;
}

static uint64_t caps_for(const void *o)
{
    stock_vsae s = rule(o);
    return SAE_CAP_LINEAR_DEC | stock_vsae_caps(&s);
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    return stock_decoder_flags(((const opt *)o)->vsae.decoder, spec);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_vsae s = rule(o);
    return stock_vsae_workspace(&s, dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    stock_vsae s = rule(c->opt);
    return stock_vsae_init(m, c, sample, &s);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_vsae s = rule(c->opt);
    return stock_vsae_forward(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_vsae s = rule(c->opt);
    return stock_vsae_backward(m, c, b, &s, t);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_vsae s = rule(o);
    return stock_vsae_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_vsae_topk;
const sae_variant sae_variant_vsae_topk = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "vsae_topk",
    .summary = "TopK of noisy activations, with a KL penalty on their distribution",
    .source = "Baker and Li 2025, Analysis of variational sparse autoencoders, text and code",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED | SAE_CAP_STOCHASTIC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 8e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1, .warmup = 200,
              .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .caps_for = caps_for,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .tensor_flags = tensor_flags,
    .presets = presets,
};
