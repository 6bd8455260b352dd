/* tests/plugin/hardshrink.c - an example plug-in: one variant, built outside the tree's lists.
 *
 * HardShrink keeps every pre-activation whose magnitude exceeds a fixed threshold, sign included:
 * the proximal map of theta^2/2 times the L0 norm. Build it anywhere with
 *     cc -shared -fPIC -I PREFIX/include hardshrink.c -o hardshrink.so
 * and try it with `saemark check hardshrink.so` and `saemark run ... --plugin hardshrink.so`.
 */
#include <sae/plugin.h>
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

typedef struct opt {
    double theta;
    int64_t mse;
    stock_init_opt init;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"theta", SAE_OPT_REAL, 0, offsetof(opt, theta), 0.3, 0, 1e6, NULL, NULL, "1",
     "magnitude above which a pre-activation is kept"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 0, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

/* A threshold bounds no count, so there is room for every entry of a row. */
static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_THRESHOLD, SAE_KEY_ABS, 1e9, o->theta, o->mse, &o->auxk, 0};
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

static const sae_variant hardshrink = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "hardshrink",
    .summary = "every pre-activation above a fixed magnitude, sign kept",
    .source = "the proximal map of the L0 norm; an example plug-in",
    .caps = SAE_CAP_SIGNED | SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
};

static const sae_variant *const variants[] = {&hardshrink, NULL};

const sae_plugin *sae_plugin_entry(uint32_t host_abi)
{
    static const sae_plugin plugin = {
        .abi = SAE_PLUGIN_ABI,
        .size = sizeof(sae_plugin),
        .name = "hardshrink",
        .version = "1.0",
        .author = "the saemark authors",
        .licence = "MIT",
        .variants = variants,
    };
    return host_abi == SAE_PLUGIN_ABI ? &plugin : NULL;
}
