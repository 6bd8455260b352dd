/* variants/vsae.c - a variational autoencoder with a wide code and no selection (vsae.md). */
#include <sae/stock_vsae_backward.h>

typedef struct opt {
    stock_vsae_opt vsae;
    stock_var_opt var;
} opt;

static const sae_option options[] = {
    STOCK_VSAE_OPTIONS(opt, vsae, 1e-4, 0),
    STOCK_VAR_OPTIONS(opt, var),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_VAR_TENSORS, {0}};
static const char *const losses[] = {"mse", "kl", NULL};

static stock_vsae rule(const opt *o)
{
    stock_vsae s = {&o->vsae, &o->var, NULL, STOCK_VSAE_ALL, 0};
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

extern const sae_variant sae_variant_vsae;
const sae_variant sae_variant_vsae = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "vsae",
    .summary = "a variational autoencoder with a wide code: noise and a KL penalty, no selection",
    .source = "Baker and Li 2025, Analysis of variational sparse autoencoders, its code's vsae_iso",
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
};
