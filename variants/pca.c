/* variants/pca.c - principal components of the activations, from a running covariance (pca.md). */
#include <sae/stock_dictionary.h>

typedef struct opt {
    stock_project_opt p; /* first, as stock_dictionary.h expects */
} opt;

static const sae_option options[] = {STOCK_PROJECT_OPTIONS(opt, p), {0}};

/* Sums run over rows x - shift, shift the mean of the first batch: the covariance is then not the
 * difference of two large numbers. */
enum { SHIFT = STOCK_DICTIONARY_COUNT, SUM, CROSS, ROWS };
static const sae_tensor_spec tensors[] = {
    STOCK_DICTIONARY_TENSORS,
    {"shift", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_IN},
    {"sum", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_IN},
    {"cross", SAE_STATE, SAE_F64, 0, SAE_DIM_IN, SAE_DIM_IN},
    {"rows", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},
    {0},
};
static const char *const losses[] = {"mse", NULL};

typedef struct memory { /* in the scratch; NULL in EVAL but for row */
    double *row;     /* [B] */
    sae_real *xc;    /* [B x d] x - shift */
    sae_real *ones;  /* [B] */
    double *work;    /* [d x d + d] */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *s)
{
    stock_bump at = stock_bump_at(scratch);
    int64_t d = dim->d_in;
    s->row = stock_take(&at, B, sizeof(double));
    if (mode == SAE_EVAL)
        return at;
    s->xc = stock_take_real(&at, B, d);
    s->ones = stock_take_real(&at, B, 1);
    s->work = stock_take(&at, d < INT64_MAX / (d + 1) ? d * (d + 1) : -1, sizeof(double));
    return at;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory s;
    return stock_workspace(layout(dim, B, mode, NULL, &s),
                           stock_most_entries(((const opt *)o)->p.k, dim, B), 0, 0, out);
}

/* Sums start at 0 as the host made them. */
static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    int64_t d = m->dim.d_in;
    SAE_TRY(c->grow(m, d < m->dim.n_cap ? d : m->dim.n_cap, c->err));
    SAE_TRY(stock_offset_init(m, c, sample, 1));
    return c->be->copy(c->dev, m->t[SHIFT].w, m->t[STOCK_OFFSET].w, (size_t)d * sizeof(sae_real),
                       SAE_COPY_D2D);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    memory s;
    layout(&m->dim, b->B, c->mode, t->scratch, &s);
    return stock_project_forward(m, c, b, c->opt, s.row, t);
}

/* ---- components ------------------------------------------------------------------------------ */

/* a = cross - sum sum^T / rows, one chunk of a row at a time. */
static int covariance(const sae_model *m, const sae_ctx *c, double rows, double *a)
{
    double sum[STOCK_CHUNK], cross[STOCK_CHUNK], own;
    int64_t d = m->dim.d_in;
    const double *s = m->t[SUM].w, *x = m->t[CROSS].w;
    for (int64_t i = 0; i < d; i++) {
        SAE_TRY(stock_get(c, &own, s + i, sizeof own));
        for (int64_t j = 0; j < d; j += STOCK_CHUNK) {
            int64_t some = stock_some(d - j);
            size_t bytes = (size_t)some * sizeof *sum;
            SAE_TRY(stock_get(c, sum, s + j, bytes));
            SAE_TRY(stock_get(c, cross, x + i * d + j, bytes));
            for (int64_t k = 0; k < some; k++)
                cross[k] -= own * sum[k] / rows;
            SAE_TRY(stock_put(c, a + i * d + j, cross, bytes));
        }
    }
    return SAE_OK;
}

/* dst = shift + by * src, `count` numbers; shift may be NULL. */
static int to_real(const sae_ctx *c, sae_real *dst, const sae_real *shift, double by,
                   const double *src, int64_t count)
{
    double in[STOCK_CHUNK];
    sae_real out[STOCK_CHUNK] = {0};
    for (int64_t i = 0; i < count; i += STOCK_CHUNK) {
        int64_t some = stock_some(count - i);
        SAE_TRY(stock_get(c, in, src + i, (size_t)some * sizeof *in));
        if (shift)
            SAE_TRY(stock_get(c, out, shift + i, (size_t)some * sizeof *out));
        for (int64_t k = 0; k < some; k++)
            out[k] = (sae_real)((shift ? (double)out[k] : 0) + by * in[k]);
        SAE_TRY(stock_put(c, dst + i, out, (size_t)some * sizeof *out));
    }
    return SAE_OK;
}

/* W_dec and b_dec from the sums; work [d x d + d]. */
static int decompose(sae_model *m, const sae_ctx *c, double *work)
{
    double rows;
    int64_t d = m->dim.d_in;
    SAE_TRY(stock_get(c, &rows, m->t[ROWS].w, sizeof rows));
    if (!(rows > 0))
        return SAE_OK;
    SAE_TRY(covariance(m, c, rows, work));
    SAE_TRY(c->k->eigh(c->dev, d, work, work + d * d));
    SAE_TRY(to_real(c, m->t[STOCK_ATOMS].w, NULL, 1, work, m->dim.n * d));
    return to_real(c, m->t[STOCK_OFFSET].w, m->t[SHIFT].w, 1 / rows, m->t[SUM].w, d);
}

static int accumulate(sae_model *m, const sae_ctx *c, const sae_batch *b, const memory *s)
{
    int64_t d = m->dim.d_in;
    double rows;
    sae_cmat xc = stock_cmat(s->xc, b->B, d), ones = stock_cmat(s->ones, b->B, 1);
    SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(b->x, b->B, d), -1, m->t[SHIFT].w,
                             stock_mat(s->xc, b->B, d)));
    SAE_TRY(stock_fill(c, s->ones, b->B, 1));
    SAE_TRY(c->k->cross(c->dev, ones, xc, m->t[SUM].w));
    SAE_TRY(c->k->cross(c->dev, xc, xc, m->t[CROSS].w));
    SAE_TRY(stock_get(c, &rows, m->t[ROWS].w, sizeof rows));
    rows += (double)b->B;
    return stock_put(c, m->t[ROWS].w, &rows, sizeof rows);
}

/* The components follow the sums after 1, 2, 4, 8, ... steps, so that the loss can be watched. */
static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    memory s;
    layout(&m->dim, b->B, c->mode, t->scratch, &s);
    SAE_TRY(accumulate(m, c, b, &s));
    return c->step & (c->step + 1) ? SAE_OK : decompose(m, c, s.work);
}

static int finalize(sae_model *m, const sae_ctx *c)
{
    size_t d = (size_t)m->dim.d_in;
    double *work = c->be->alloc(c->dev, d * (d + 1) * sizeof *work);
    if (!work)
        return SAE_RECORD(c->err, SAE_ENOMEM, "out of memory for a covariance of width %zu", d);
    int rc = decompose(m, c, work);
    c->be->release(c->dev, work);
    return rc;
}

extern const sae_variant sae_variant_pca;
const sae_variant sae_variant_pca = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "pca",
    .summary = "baseline: principal components, the k largest projections of a row",
    .source = "Pearson 1901; as a baseline in Cunningham et al. 2023",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_GROWS | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_dictionary_decode,
    .caps_for = stock_project_caps,
    .check = stock_check,
    .adapt = adapt,
    .finalize = finalize,
    .flops = stock_project_flops,
};
