/* variants/batchtopk.c - BatchTopK: the k B largest positive pre-activations of a batch
 * (batchtopk.md). */
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

typedef struct opt {
    double k;
    int64_t mse, bias;
    stock_init_opt init;
    stock_auxk_opt auxk;
    stock_theta_opt theta;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_REAL, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1",
     "mean active features per row in training"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_SPARSE_BIAS_OPTION(opt, bias),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    STOCK_THETA_OPTIONS(opt, theta),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_THETA_TENSOR, {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_train_defaults saelens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};
static const sae_train_defaults repo_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};

static const sae_preset presets[] = {
    {"saelens", "init_b_dec=zero,auxk=1,auxk_norm=mse,auxk_scale=1,dead=4096000,theta_first=zero",
     &saelens_train, "SAELens 6 saes/batchtopk_sae.py"},
    {"dictionary_learning", "init_b_dec=median,theta_rate=0.001,theta_start=1001", NULL,
     "dictionary_learning trainers/batch_top_k.py"},
    {"batchtopk_repo",
     "mse=element,bias=0,init_b_dec=zero,auxk_norm=mse,auxk_detach=0,k_aux=512,dead=20480,"
     "infer=batch",
     &repo_train, "bartbussmann/BatchTopK sae.py"},
    {0},
};

static stock_sparse rule(const opt *o, enum sae_mode mode)
{
    enum stock_how how = stock_theta_how(&o->theta, mode);
    stock_sparse s = {how, SAE_KEY_RELU, o->k, 0, o->mse, &o->auxk, !o->bias};
    return s;
}

static uint64_t caps_for(const void *o)
{
    return SAE_CAP_LINEAR_DEC | stock_theta_caps(&((const opt *)o)->theta);
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
    return stock_theta_adapt(m, c, t, &o->theta);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o, mode);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_batchtopk;
const sae_variant sae_variant_batchtopk = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "batchtopk",
    .summary = "the k B largest positive pre-activations of a batch; a threshold at inference",
    .source = "Bussmann, Leask and Nanda 2024, BatchTopK sparse autoencoders",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL,
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
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .saelens = &(const sae_saelens){.architecture = "jumprelu", .threshold = "theta"},
    .presets = presets,
};
