/* variants/mutual_choice.c - Mutual Choice: the k B best matches of rows and features of a batch,
 * and a loss that pulls features up to a Zipf curve of densities (mutual_choice.md). */
#include <sae/stock_init.h>
#include <sae/stock_zipf.h>

typedef struct opt {
    double k, topk;
    int64_t mse;
    stock_init_opt init;
    stock_auxk_opt auxk;
    stock_theta_opt theta;
    stock_zipf_opt zipf;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_REAL, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1",
     "mean active features per row in training"},
    {"topk_share", SAE_OPT_REAL, 0, offsetof(opt, topk), 0, 0, 1, NULL, NULL, "1",
     "first share of the steps that selects k per row instead"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    STOCK_THETA_OPTIONS(opt, theta),
    STOCK_ZIPF_OPTIONS(opt, zipf),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_THETA_TENSOR, STOCK_ZIPF_TENSORS, {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_preset presets[] = {
    {"batchtopk", "dying=0", NULL, "the same as the variant batchtopk"},
    {0},
};

static stock_sparse rule(const opt *o, enum sae_mode mode)
{
    enum stock_how how = stock_theta_how(&o->theta, mode);
    stock_sparse s = {how, SAE_KEY_RELU, o->k, 0, o->mse, &o->auxk, 0};
    return s;
}

static stock_sparse rule_now(const sae_ctx *c)
{
    const opt *o = c->opt;
    stock_sparse s = rule(o, c->mode);
    if (c->mode == SAE_TRAIN && (double)c->step < o->topk * (double)c->steps)
        s.how = STOCK_ROWS;
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
    SAE_TRY(stock_zipf_init(m, c, &o->zipf, o->k));
    return stock_init(m, c, sample, &o->init, 1);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule_now(c);
    SAE_TRY(stock_theta(m, c, &s.theta));
    return stock_sparse_forward(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule_now(c);
    return stock_sparse_backward(m, c, b, &s, t);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    stock_sparse s = rule_now(c);
    stock_sparse_mem mem;
    stock_sparse_layout(&s, &m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(c->k->code_transpose(c->dev, &t->code, &mem.links.csc));
    SAE_TRY(stock_zipf_adapt(m, c, &o->zipf, &mem.links.csc, b->B, 0, 1));
    return stock_theta_adapt(m, c, t, &o->theta);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o, mode);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_mutual_choice;
const sae_variant sae_variant_mutual_choice = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "mutual_choice",
    .summary = "the k B best matches of rows and features of a batch; rare features are revived",
    .source = "Ayonrinde 2024, Adaptive sparse allocation with Mutual Choice and Feature Choice",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL,
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
    .saelens = &(const sae_saelens){.architecture = "jumprelu", .threshold = "theta"},
    .presets = presets,
};
