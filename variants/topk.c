/* variants/topk.c - TopK: the k largest positive pre-activations of every row (topk.md). */
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

typedef struct opt {
    int64_t k, mse, bias;
    stock_init_opt init;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1", "active features per row"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_SPARSE_BIAS_OPTION(opt, bias),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_train_defaults openai_train = {
    .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 6.25e-10};
static const sae_train_defaults lens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};
static const sae_train_defaults sparsify_train = {
    .lr = 2e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 1};
static const sae_train_defaults btk_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};

static const sae_preset presets[] = {
    {"openai", "mse=fvu,init_b_dec=median,k_aux=256", &openai_train, "openai/sparse_autoencoder"},
    {"dictionary_learning", "init_b_dec=median", NULL, "dictionary_learning trainers/top_k.py"},
    {"saelens", "init_b_dec=zero,auxk=1,auxk_norm=mse,auxk_scale=1,dead=4096000",
     &lens_train, "SAELens 6 saes/topk_sae.py"},
    {"sparsify", "mse=fvu,auxk=0", &sparsify_train, "sparsify 1.3 with optimizer=adam"},
    {"batchtopk_repo",
     "mse=element,bias=0,init_b_dec=zero,auxk_norm=mse,auxk_detach=0,k_aux=512,dead=20480",
     &btk_train,
     "bartbussmann/BatchTopK sae.py"},
    {0},
};

static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_ROWS, SAE_KEY_RELU, (double)o->k, 0, o->mse, &o->auxk, !o->bias};
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

extern const sae_variant sae_variant_topk;
const sae_variant sae_variant_topk = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "topk",
    .summary = "the k largest positive pre-activations of every row, dead features revived by AuxK",
    .source = "Gao et al. 2024, Scaling and evaluating sparse autoencoders, sections 2.3 and A.2",
    .caps = SAE_CAP_LINEAR_DEC,
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
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .saelens = &(const sae_saelens){.architecture = "topk", .k = "k", .activation = "topk"},
    .presets = presets,
};
