/* variants/relu.c - ReLU with an L1 (Lp) penalty, and with a fixed shrinkage (relu.md). */
#include <sae/stock_lp.h>

typedef struct opt {
    double l1, p, shrink;
    int64_t root, mse;
    stock_decoder_opt decoder;
    stock_init_opt init;
} opt;

static const sae_option options[] = {
    {"l1", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, l1), 0.03, 0, 1e9, NULL, NULL, "1",
     "weight of the L1 penalty (lambda); schedules ramp it up"},
    {"p", SAE_OPT_REAL, 0, offsetof(opt, p), 1, 1, 16, NULL, NULL, "1",
     "exponent of the penalty, sum of z^p"},
    {"root", SAE_OPT_BOOL, 0, offsetof(opt, root), 1, 0, 1, NULL, NULL, "1",
     "the penalty is the Lp norm of the code, not its p-th power"},
    {"shrink", SAE_OPT_REAL, 0, offsetof(opt, shrink), 0, 0, 1e9, NULL, NULL, "1",
     "subtracted from every pre-activation (lambda of ReLU_lambda)"},
    STOCK_DECODER_OPTIONS(opt, decoder),
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "l1", NULL};

static const sae_train_defaults lens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};
static const sae_train_defaults april_train = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999,
                                               .eps = 1e-8, .clip_norm = 1, .warmup = 1000,
                                               .decay = 0.2};

static const sae_preset presets[] = {
    {"saebench", "l1=lin(0,0.03,0,5000),init_b_dec=zero", NULL,
     "SAEBench's baselines: dictionary_learning_demo demo_config.py, Standard"},
    {"saelens", "decoder=free,l1=1,init_b_dec=zero", &lens_train, "SAELens 6 saes/standard_sae.py"},
    {"april_update", "decoder=free,l1=lin(0,5,0,5%),init_b_dec=zero", &april_train,
     "Anthropic, April 2024 update; dictionary_learning StandardTrainerAprilUpdate"},
    {0},
};

static stock_lp rule(const opt *o)
{
    stock_lp l = {o->p, o->l1, o->shrink, o->root, o->mse, &o->decoder};
    return l;
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    return stock_decoder_flags(((const opt *)o)->decoder.rows, spec);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    (void)o;
    return stock_lp_workspace(dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    return stock_init(m, c, sample, &o->init, stock_decoder_norm(&o->decoder));
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_lp l = rule(c->opt);
    return stock_lp_forward(m, c, b, &l, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_lp l = rule(c->opt);
    return stock_lp_backward(m, c, b, &l, t);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return stock_dense_flops(dim, B, mode);
}

extern const sae_variant sae_variant_relu;
const sae_variant sae_variant_relu = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "relu",
    .summary = "positive part of the pre-activations, sparse through an L1 penalty",
    .source = "Bricken et al. 2023, Towards monosemanticity; Cunningham et al. 2023",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .tensor_flags = tensor_flags,
    .saelens = &(const sae_saelens){.architecture = "standard", .activation = "relu",
                                    .shrink = "shrink"},
    .presets = presets,
};
