/* variants/vsae_l2.c - TopK with an L2 penalty on all pre-TopK activations: the variational SAE as
 * its preprint evaluated it (vsae_l2.md). */
#include <sae/stock_vsae_backward.h>

typedef struct opt {
    int64_t k;
    stock_vsae_opt vsae;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 64, 0, 1e9, NULL, NULL, "1", "active features per row"},
    STOCK_VSAE_OPTIONS(opt, vsae, 1, 1),
    STOCK_AUXK_OPTIONS(opt, auxk, 0, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "l2", "auxk", NULL};

static const sae_train_defaults baseline_train = {
    .lr = 2.83e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1, .warmup = 200,
    .decay = 0.2};

static const sae_preset presets[] = {
    {"paper_full", "beta=1,auxk=0", NULL, "the preprint's Pythia runs"},
    {"october", "beta=0.5,auxk=0.5,dead=1000", NULL, "the same preset in the code of October 2025"},
    {"gelu_sweep", "k=256,beta=1,auxk=0.03125", NULL, "the sweep over beta on gelu-1l"},
    {"topk_baseline",
     "beta=0,auxk=0.03125,pre_bias=1,init_b_dec=median,decoder=unit,init_norm=1", &baseline_train,
     "the preprint's TopK baseline"},
    {0},
};

static stock_vsae rule(const opt *o)
{
    stock_vsae s = {&o->vsae, NULL, &o->auxk, o->k, 0};
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

extern const sae_variant sae_variant_vsae_l2;
const sae_variant sae_variant_vsae_l2 = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "vsae_l2",
    .summary = "TopK with an L2 penalty on all activations before the selection",
    .source = "Baker and Li 2025, Analysis of variational sparse autoencoders, as evaluated",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
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
