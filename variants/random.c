/* variants/random.c - random directions as a dictionary that is never trained; the encoder is
 * (random.md). */
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

/* STOCK_TENSORS with a decoder that no optimiser moves. */
static const sae_tensor_spec tensors[] = {
    {"W_enc", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},
    {"b_enc", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {"W_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},
    {"b_dec", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_OUT},
    {0},
};
static const char *const losses[] = {"mse", "auxk", NULL};

static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_ROWS, SAE_KEY_RELU, (double)o->k, 0, o->mse, &o->auxk, 0};
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

extern const sae_variant sae_variant_random;
const sae_variant sae_variant_random = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "random",
    .summary = "baseline: a frozen random dictionary with a trained TopK encoder",
    .source = "the frozen-decoder control of Sanity checks for sparse autoencoders, 2026",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4,
              .beta1 = 0.9,
              .beta2 = 0.999,
              .eps = 1e-8,
              .clip_norm = 1,
              .warmup = 1000,
              .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
};
