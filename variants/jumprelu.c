/* variants/jumprelu.c - JumpReLU: entries above a trained threshold of their feature
 * (jumprelu.md). */
#include <sae/stock_jump.h>

typedef struct opt {
    stock_jump_opt j;
} opt;

static const sae_option options[] = {
    STOCK_JUMP_OPTIONS(opt, j, stock_jump_penalties, STOCK_JUMP_TANH),
    {"tanh_scale", SAE_OPT_REAL, 0, offsetof(opt, j.tanh_scale), 4, 1e-6, 1e6, NULL, NULL, "1",
     "slope c of penalty=tanh, the sum of tanh(c z_j w_j)"},
    {"pre_act", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, j.pre_act), 0, 0, 1e6, NULL, NULL, "1",
     "weight of the pull on pre-activations of dead features; 0 switches it off"},
    {"dead", SAE_OPT_INT, 0, offsetof(opt, j.dead), 4096000, 1, 1e15, NULL, NULL, "tokens",
     "rows without activity after which a feature is dead"},
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_JUMP_TENSOR, {0}};
static const char *const losses[] = STOCK_JUMP_LOSSES;

static const sae_train_defaults dl_train = {.lr = 7e-5, .beta1 = 0, .beta2 = 0.999, .eps = 1e-8,
                                            .clip_norm = 1, .warmup = 1000, .decay = 0.2};
static const sae_train_defaults lens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};
static const sae_train_defaults btk_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};

static const sae_preset presets[] = {
    {"saebench", "window=post,pre_bias=0,init_b_dec=zero,weight=lin(0,1,0,5000)", NULL,
     "SAEBench's baselines: dictionary_learning_demo demo_config.py"},
    {"dictionary_learning", "window=post,pre_bias=0,init_b_dec=zero", &dl_train,
     "dictionary_learning trainers/jumprelu.py"},
    {"saelens",
     "penalty=l0,theta=0.01,bandwidth=0.05,param=clamped,decoder=free,init_b_dec=zero", &lens_train,
     "SAELens from 6.48 saes/jumprelu_sae.py"},
    {"saelens_log", "penalty=l0,theta=0.01,bandwidth=0.05,param=log,decoder=free,init_b_dec=zero",
     &lens_train, "SAELens up to 6.47"},
    {"saelens_tanh",
     "penalty=tanh,theta=0.01,bandwidth=0.05,param=clamped,decoder=free,init_b_dec=zero,"
     "pre_act=3e-6", &lens_train, "SAELens from 6.48, jumprelu_sparsity_loss_mode=tanh"},
    {"batchtopk_repo",
     "penalty=l0,weight=0.004,theta=1,param=log_unscaled,window=post,pre_bias=0,mse=element,"
     "init_b_dec=zero", &btk_train, "bartbussmann/BatchTopK sae.py; the coefficient is AbsTopK's"},
    {0},
};

static stock_jump rule(const void *o)
{
    stock_jump j = {SAE_KEY_RELU, &((const opt *)o)->j};
    return j;
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    return stock_decoder_flags(((const opt *)o)->j.decoder.rows, spec);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_jump j = rule(o);
    return stock_jump_workspace(&j, dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    return stock_jump_init(m, c, sample, &((const opt *)c->opt)->j);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_jump j = rule(c->opt);
    return stock_jump_forward(m, c, b, &j, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_jump j = rule(c->opt);
    return stock_jump_backward(m, c, b, &j, t);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)b, (void)t;
    return stock_jump_adapt(m, c, &((const opt *)c->opt)->j);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return stock_dense_flops(dim, B, mode);
}

extern const sae_variant sae_variant_jumprelu;
const sae_variant sae_variant_jumprelu = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "jumprelu",
    .summary = "pre-activations above a trained threshold of their feature, thresholds by "
               "straight-through gradients",
    .source = "Rajamanoharan et al. 2024, Jumping ahead: improving reconstruction fidelity with "
              "JumpReLU sparse autoencoders",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1, .warmup = 1000,
              .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .tensor_flags = tensor_flags,
    .saelens = &(const sae_saelens){.architecture = "jumprelu", .threshold = "theta",
                                    .param = "param", .centre = "pre_bias"},
    .presets = presets,
};
