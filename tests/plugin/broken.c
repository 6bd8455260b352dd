/* tests/plugin/broken.c - a plug-in that admission accepts and conformance must not: its forward
 * changes a tensor (C4) and its codes are out of order (C9). */
#include <sae/plugin.h>

typedef struct opt {
    double unused;
} opt;

static const sae_option options[] = {{0}};
static const sae_tensor_spec tensors[] = {
    {"W_dec", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},
    {0},
};
static const char *const losses[] = {"mse", NULL};

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    (void)o, (void)dim, (void)mode;
    out->scratch = 64;
    out->code_cap = 2 * B;
    out->dense_code = out->dense_pre = 0;
    return SAE_OK;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    (void)m, (void)c, (void)sample;
    return SAE_OK;
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    sae_real *w = m->t[0].w;
    if (m->dim.n > 1)
        w[0] += 1;
    t->code.B = b->B;
    t->code.n = m->dim.n;
    t->code.nnz = m->dim.n > 1 ? 2 * b->B : 0;
    t->code.rowptr[0] = 0;
    for (int64_t r = 0; r < b->B; r++) {
        t->code.rowptr[r + 1] = m->dim.n > 1 ? 2 * (r + 1) : 0;
        for (int64_t i = t->code.rowptr[r]; i < t->code.rowptr[r + 1]; i++) {
            t->code.idx[i] = i % 2 == 0;
            t->code.val[i] = 1;
        }
    }
    for (int64_t i = 0; i < b->B * m->dim.d_out; i++)
        t->xhat[i] = t->resid[i] = 0;
    (void)c;
    t->loss[0] = 0;
    t->coef[0] = 1;
    return SAE_OK;
}

static int decode(const sae_model *m, const sae_ctx *c, const sae_code *z, sae_mat xhat)
{
    (void)c, (void)z;
    for (int64_t r = 0; r < xhat.rows; r++)
        for (int64_t i = 0; i < m->dim.d_out; i++)
            xhat.p[r * xhat.ld + i] = 0;
    return SAE_OK;
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_OK;
}

static const sae_variant broken = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "broken",
    .summary = "breaks the contract on purpose",
    .source = "tests",
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = decode,
    .backward = backward,
};

static const sae_variant *const variants[] = {&broken, NULL};

const sae_plugin *sae_plugin_entry(uint32_t host_abi)
{
    static const sae_plugin plugin = {
        .abi = SAE_PLUGIN_ABI,
        .size = sizeof(sae_plugin),
        .name = "broken",
        .version = "1.0",
        .author = "the saemark authors",
        .licence = "MIT",
        .variants = variants,
    };
    return host_abi == SAE_PLUGIN_ABI ? &plugin : NULL;
}
