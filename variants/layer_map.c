/* variants/layer_map.c - predict activations linearly from what a trained SAE makes of others
 * (layer_map.md).
 *
 * Least squares over the rows of training from sums in double: G = sum u^T u, C = sum u^T y with u
 * the base's reconstruction. Solved after 1, 2, 4, ... steps and at the end; no gradients.
 */
#include <sae/stock_loss.h>

enum { W_DEC, B_DEC, GRAM, CROSS, SUM_U, SUM_Y, ROWS };

typedef struct opt {
    const char *base;
    int64_t bias, rows;
    double ridge;
} opt;

static const sae_option options[] = {
    {"base", SAE_OPT_STR, 0, offsetof(opt, base), 0, 0, 0, NULL, "", "path",
     "directory of the trained SAE of the input"},
    {"bias", SAE_OPT_BOOL, 0, offsetof(opt, bias), 1, 0, 1, NULL, NULL, "1",
     "regress with a constant"},
    {"rows", SAE_OPT_INT, 0, offsetof(opt, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "rows to regress on, rounded up to whole batches; 0: all that training shows"},
    {"ridge", SAE_OPT_REAL, 0, offsetof(opt, ridge), 1e-9, 1e-13, 1e6, NULL, NULL, "1",
     "added to the diagonal of G, in units of its mean"},
    {0},
};

static const sae_tensor_spec tensors[] = {
    {"W_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},
    {"b_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_OUT},
    {"gram", SAE_STATE, SAE_F64, 0, SAE_DIM_IN, SAE_DIM_IN},
    {"cross", SAE_STATE, SAE_F64, 0, SAE_DIM_IN, SAE_DIM_OUT},
    {"sum_u", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_IN},
    {"sum_y", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_OUT},
    {"rows", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},
    {0},
};
static const char *const losses[] = {"mse", NULL};

/* ---- scratch --------------------------------------------------------------------------------- */

typedef struct memory {
    double *row;    /* [B] */
    sae_real *u;    /* [B x d_in] the base's reconstruction; NULL in EVAL, like the rest */
    sae_real *ones; /* [B] */
    double *a, *b;  /* [d_in x d_in], [d_in x d_out] the system, then its solution in b */
    sae_real *map;  /* [d_in x d_out] the solution */
    sae_real *off;  /* [d_in] the base's bias less the mean of u */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *mem)
{
    stock_bump at = stock_bump_at(scratch);
    int64_t in = dim->d_in, out = dim->d_out;
    int fits = in < INT32_MAX && out < INT32_MAX; /* their products are in range */
    mem->row = stock_take(&at, B, sizeof(double));
    if (mode == SAE_EVAL)
        return at;
    mem->u = stock_take_real(&at, B, in);
    mem->ones = stock_take_real(&at, B, 1);
    mem->a = stock_take(&at, fits ? in * in : -1, sizeof(double));
    mem->b = stock_take(&at, fits ? in * out : -1, sizeof(double));
    mem->map = stock_take_real(&at, in, out);
    mem->off = stock_take_real(&at, 1, in);
    return at;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    enum { GUESS = 64 }; /* entries of a row */
    memory mem = {0};
    (void)o;
    stock_bump at = layout(dim, B, mode, NULL, &mem);
    out->scratch = at.used;
    out->code_cap = B < INT64_MAX / GUESS ? B * GUESS : B;
    out->dense_code = out->dense_pre = 0;
    return at.overflow ? SAE_ENOMEM : SAE_OK;
}

/* ---- codes ----------------------------------------------------------------------------------- */

static uint64_t needs(const void *o, enum sae_mode mode)
{
    (void)o, (void)mode;
    return SAE_NEED_TARGET | SAE_NEED_BASE;
}

/* What is done to the base's codes afterwards is only right for these. */
static int check_base(const sae_model *m, const sae_ctx *c)
{
    const sae_model *base = c->base->m;
    uint64_t caps = base->v->caps & base->v->caps_for(base->opt);
    if (!(caps & SAE_CAP_LINEAR_DEC) || caps & (SAE_CAP_SKIP | SAE_CAP_BATCH_EVAL))
        return SAE_RECORD(c->err, SAE_EINVAL, "base: expected an SAE whose output is linear in "
                          "codes of single rows, found a %s", base->v->name);
    if (base->dim.n != m->dim.n)
        return SAE_RECORD(c->err, SAE_EINVAL, "n: expected the base's %lld, found %lld",
                          (long long)base->dim.n, (long long)m->dim.n);
    return SAE_OK;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    (void)sample;
    return check_base(m, c); /* all tensors start at zero */
}

static int copy_code(const sae_ctx *c, const sae_code *from, sae_code *to)
{
    sae_scores s = {stock_cmat(from->val, from->B, from->n), {NULL, 0, 0, 0}, SAE_KEY_ABS};
    if (from->dense)
        return c->k->threshold(c->dev, &s, 0, NULL, to);
    return c->k->code_slice(c->dev, from, 0, from->n, to);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    memory mem = {0};
    const sae_tape *of_base = NULL;
    size_t bytes = (size_t)(b->B * m->dim.d_in) * sizeof(sae_real);
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(c->base->encode(c->base, b, &of_base, c->err));
    SAE_TRY(copy_code(c, &of_base->code, &t->code));
    if (mem.u)
        SAE_TRY(c->be->copy(c->dev, mem.u, of_base->xhat, bytes, SAE_COPY_D2D));
    t->coef[0] = 1;
    return stock_reconstruct(m, c, b, t, mem.row, &t->loss[0]);
}

static int decode(const sae_model *m, const sae_ctx *c, const sae_code *z, sae_mat xhat)
{
    return c->k->code_decode(c->dev, z, stock_w(m, W_DEC), m->t[B_DEC].w, xhat);
}

/* ---- the regression -------------------------------------------------------------------------- */

/* [rows x cols] -= left^T right / count, in double. */
static int centre(const sae_ctx *c, double *a, int64_t rows, int64_t cols, const double *left,
                  const double *right, double count)
{
    double x[STOCK_CHUNK], r[STOCK_CHUNK], l;
    for (int64_t i = 0; i < rows; i++) {
        SAE_TRY(stock_get(c, &l, left + i, sizeof l));
        for (int64_t j = 0; j < cols; j += STOCK_CHUNK) {
            int64_t some = stock_some(cols - j);
            size_t bytes = (size_t)some * sizeof *x;
            SAE_TRY(stock_get(c, x, a + i * cols + j, bytes));
            SAE_TRY(stock_get(c, r, right + j, bytes));
            for (int64_t k = 0; k < some; k++)
                x[k] -= l * r[k] / count;
            SAE_TRY(stock_put(c, a + i * cols + j, x, bytes));
        }
    }
    return SAE_OK;
}

/* The diagonal of a gets ridge times its mean; a matrix of zeros becomes the identity. */
static int regularise(const sae_ctx *c, double *a, int64_t d, double ridge)
{
    double v, trace = 0;
    for (int64_t i = 0; i < d; i++) {
        SAE_TRY(stock_get(c, &v, a + i * d + i, sizeof v));
        trace += v > 0 ? v : 0;
    }
    double by = trace > 0 ? ridge * trace / (double)d : 1;
    for (int64_t i = 0; i < d; i++) {
        SAE_TRY(stock_get(c, &v, a + i * d + i, sizeof v));
        v = (v > 0 ? v : 0) + by;
        SAE_TRY(stock_put(c, a + i * d + i, &v, sizeof v));
    }
    return SAE_OK;
}

/* out[0..n) = s * v + t * w; w may be NULL. */
static int narrow(const sae_ctx *c, sae_real *out, int64_t n, double s, const double *v, double t,
                  const sae_real *w)
{
    double wide[STOCK_CHUNK];
    sae_real thin[STOCK_CHUNK];
    for (int64_t i = 0; i < n; i += STOCK_CHUNK) {
        int64_t some = stock_some(n - i);
        size_t bytes = (size_t)some * sizeof *thin;
        SAE_TRY(stock_get(c, wide, v + i, (size_t)some * sizeof *wide));
        if (w)
            SAE_TRY(stock_get(c, thin, w + i, bytes));
        for (int64_t k = 0; k < some; k++)
            thin[k] = (sae_real)(s * wide[k] + (w ? t * (double)thin[k] : 0));
        SAE_TRY(stock_put(c, out + i, thin, bytes));
    }
    return SAE_OK;
}

/* mem->map = W and the two tensors that follow from it: W_dec = W_dec(base) W,
 * b_dec = mean(y) + (b_dec(base) - mean(u)) W. Without bias the means are 0. */
static int solve(sae_model *m, const sae_ctx *c, const memory *mem)
{
    const opt *o = c->opt;
    int64_t in = m->dim.d_in, out = m->dim.d_out;
    const sae_tensor *dec = sae_model_tensor(c->base->m, "W_dec");
    const sae_tensor *bias = sae_model_tensor(c->base->m, "b_dec");
    const double *sum_u = m->t[SUM_U].w, *sum_y = m->t[SUM_Y].w;
    double count;
    SAE_TRY(stock_get(c, &count, m->t[ROWS].w, sizeof count));
    SAE_TRY(c->be->copy(c->dev, mem->a, m->t[GRAM].w, (size_t)(in * in) * sizeof(double),
                        SAE_COPY_D2D));
    SAE_TRY(c->be->copy(c->dev, mem->b, m->t[CROSS].w, (size_t)(in * out) * sizeof(double),
                        SAE_COPY_D2D));
    if (o->bias && count > 0) {
        SAE_TRY(centre(c, mem->a, in, in, sum_u, sum_u, count));
        SAE_TRY(centre(c, mem->b, in, out, sum_u, sum_y, count));
    }
    SAE_TRY(regularise(c, mem->a, in, o->ridge));
    SAE_TRY(c->k->solve_spd(c->dev, in, out, mem->a, mem->b));
    SAE_TRY(narrow(c, mem->map, in * out, 1, mem->b, 0, NULL));
    double share = o->bias && count > 0 ? 1 / count : 0;
    SAE_TRY(narrow(c, mem->off, in, -share, sum_u, 1, bias ? bias->w : NULL));
    SAE_TRY(narrow(c, m->t[B_DEC].w, out, share, sum_y, 0, NULL));
    sae_cmat map = stock_cmat(mem->map, in, out);
    SAE_TRY(c->k->gemm(c->dev, 0, 0, 1, stock_cmat(mem->off, 1, in), map, 1,
                       stock_w_out(m, B_DEC)));
    return c->k->gemm(c->dev, 0, 0, 1, stock_cmat(dec->w, dec->rows, dec->cols), map, 0,
                      stock_w_out(m, W_DEC));
}

static int is_power_of_two(int64_t n)
{
    return (n & (n - 1)) == 0;
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    memory mem = {0};
    double count;
    layout(&m->dim, b->B, SAE_TRAIN, t->scratch, &mem);
    sae_cmat u = stock_cmat(mem.u, b->B, m->dim.d_in), y = stock_cmat(b->y, b->B, m->dim.d_out);
    sae_cmat ones = stock_cmat(mem.ones, b->B, 1);
    SAE_TRY(stock_fill(c, mem.ones, b->B, 1));
    SAE_TRY(c->k->cross(c->dev, u, u, m->t[GRAM].w));
    SAE_TRY(c->k->cross(c->dev, u, y, m->t[CROSS].w));
    SAE_TRY(c->k->cross(c->dev, ones, u, m->t[SUM_U].w));
    SAE_TRY(c->k->cross(c->dev, ones, y, m->t[SUM_Y].w));
    SAE_TRY(stock_get(c, &count, m->t[ROWS].w, sizeof count));
    count += (double)b->B;
    SAE_TRY(stock_put(c, m->t[ROWS].w, &count, sizeof count));
    int done = c->step + 1 >= c->steps || (o->rows > 0 && count >= (double)o->rows);
    if (done || is_power_of_two(c->step + 1))
        SAE_TRY(solve(m, c, &mem));
    return done ? SAE_DONE : SAE_OK;
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    double in = (double)dim->d_in, out = (double)dim->d_out;
    (void)o;
    return mode == SAE_TRAIN ? 2 * (double)B * in * (in + out) : 0;
}

extern const sae_variant sae_variant_layer_map;
const sae_variant sae_variant_layer_map = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "layer_map",
    .summary = "a linear map from a trained SAE's output to other activations, by least squares",
    .source = "Engels et al. 2024, Decomposing the dark matter of sparse autoencoders, section 6.2",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = decode,
    .needs = needs,
    .adapt = adapt,
    .flops = flops,
};
