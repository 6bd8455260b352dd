/* variants/transcoder.c - a TopK dictionary that predicts other activations than it reads
 * (transcoder.md). */
#include <sae/stock_init.h>
#include <sae/stock_sparse.h>

enum { W_SKIP = STOCK_TENSOR_COUNT };

typedef struct opt {
    int64_t k, mse, skip, init_b_dec;
    double init_enc;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1", "active features per row"},
    {"skip", SAE_OPT_BOOL, 0, offsetof(opt, skip), 0, 0, 1, NULL, NULL, "1",
     "add a linear map of the input, x W_skip^T"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_BIAS_OPTION(opt, init_b_dec, STOCK_BIAS_MEAN),
    {"init_enc", SAE_OPT_REAL, 0, offsetof(opt, init_enc), 1, 0, 1e3, NULL, NULL, "1",
     "norm of the rows of the first W_enc"},
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(0), {"W_skip", SAE_PARAM, SAE_REAL, 0, SAE_DIM_OUT, SAE_DIM_IN}, {0}};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_preset presets[] = {
    {"sparsify", "mse=fvu,auxk=0,init_enc=0.57735026918962573", NULL,
     "sparsify 1.3 with transcode; its optimiser is not available"},
    {"sparsify_skip", "mse=fvu,auxk=0,init_enc=0.57735026918962573,skip=1", NULL,
     "sparsify 1.3 with transcode and skip_connection; its optimiser is not available"},
    {0},
};

static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_ROWS, SAE_KEY_RELU, (double)o->k, 0, o->mse, &o->auxk, 0};
    return s;
}

static uint64_t caps_for(const void *o)
{
    return SAE_CAP_LINEAR_DEC | (((const opt *)o)->skip ? SAE_CAP_SKIP : 0);
}

static uint64_t needs(const void *o, enum sae_mode mode)
{
    (void)o, (void)mode;
    return SAE_NEED_TARGET;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_sparse s = rule(o);
    return stock_sparse_workspace(&s, dim, B, mode, out);
}

/* W_enc: random directions of norm init_enc. b_enc = -mean(x) W_enc^T: pre-activations start
 * centred. W_dec and W_skip start at zero; the first row of W_skip holds mean(x) on the way. */
static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    sae_mat enc = stock_w_out(m, STOCK_W_ENC), b_enc = stock_w_out(m, STOCK_B_ENC);
    sae_mat dec = stock_w_out(m, STOCK_W_DEC), skip = stock_w_out(m, W_SKIP);
    sae_real per_row = sample->B > 0 ? (sae_real)(1 / (double)sample->B) : 0;
    SAE_TRY(c->k->normal_fill(c->dev, c->seed, SAE_STREAM_INIT, (uint64_t)STOCK_W_ENC << 32, enc));
    SAE_TRY(c->k->unit_rows(c->dev, enc));
    SAE_TRY(stock_fill(c, b_enc.p, m->dim.n, (sae_real)o->init_enc));
    SAE_TRY(c->k->scale(c->dev, stock_w(m, STOCK_W_ENC), b_enc.p, NULL, enc));
    SAE_TRY(stock_fill(c, dec.p, dec.rows * dec.cols, 0));
    SAE_TRY(stock_fill(c, skip.p, skip.rows * skip.cols, 0));
    SAE_TRY(c->k->col_sum(c->dev, stock_cmat(sample->x, sample->B, m->dim.d_in), per_row, skip.p));
    SAE_TRY(c->k->gemm(c->dev, 0, 1, -1, stock_cmat(skip.p, 1, m->dim.d_in),
                       stock_w(m, STOCK_W_ENC), 0, b_enc));
    SAE_TRY(stock_fill(c, skip.p, skip.cols, 0));
    return stock_init_bias(m, c, sample, o->init_b_dec);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    stock_sparse s = rule(o);
    sae_mat xhat = stock_mat(t->xhat, b->B, m->dim.d_out);
    SAE_TRY(stock_sparse_code(m, c, b, &s, &t->code));
    SAE_TRY(stock_decode(m, c, &t->code, xhat));
    if (o->skip)
        SAE_TRY(c->k->gemm(c->dev, 0, 1, 1, stock_cmat(b->x, b->B, m->dim.d_in),
                           stock_w(m, W_SKIP), 1, xhat));
    return stock_sparse_rest(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    stock_sparse s = rule(o);
    sae_cmat dx;
    SAE_TRY(stock_sparse_back(m, c, b, &s, t, &dx));
    if (!o->skip)
        return SAE_OK;
    return c->k->gemm(c->dev, 1, 0, stock_alpha(t->coef[0], b->B), dx,
                      stock_cmat(b->x, b->B, m->dim.d_in), 1, stock_grad(m, W_SKIP));
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o);
    double skip = 2 * (double)B * (double)dim->d_in * (double)dim->d_out;
    return stock_sparse_flops(&s, dim, B, mode) +
           (((const opt *)o)->skip ? skip * (mode == SAE_TRAIN ? 2 : 1) : 0);
}

extern const sae_variant sae_variant_transcoder;
const sae_variant sae_variant_transcoder = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "transcoder",
    .summary = "TopK features that predict other activations than they read; optional linear skip",
    .source = "Paulo, Shabalin, Belrose 2025, Transcoders beat sparse autoencoders; sparsify 1.3",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SKIP,
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
    .needs = needs,
    .backward = backward,
    .flops = flops,
    .presets = presets,
};
