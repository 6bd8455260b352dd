/* variants/kmeans.c - directions of k-means centres as atoms (kmeans.md). */
#include <sae/rng.h>
#include <sae/stock_dictionary.h>

#include <math.h>

enum { CODES_PURSUIT, CODES_NEAREST };
static const char *const codes_names[] = {"pursuit", "nearest", NULL};

typedef struct opt {
    stock_pursuit_opt p;
    int64_t codes;
} opt;

static const sae_option options[] = {
    STOCK_PURSUIT_OPTIONS(opt, p, 32, SAE_SOLVE_OMP, 0, 0),
    {"codes", SAE_OPT_ENUM, 0, offsetof(opt, codes), CODES_PURSUIT, 0, CODES_NEAREST, codes_names,
     NULL, "1", "a pursuit over the directions of the centres, or the nearest centre alone"},
    {0},
};

/* W_dec holds the directions of the centres; square = |centre|^2, norm its root, bias = -square /
 * 2: the nearest centre has the largest <x, centre> + bias. mass: rows that a centre has been
 * given. */
enum { CENTRE = STOCK_DICTIONARY_COUNT, SQUARE, BIAS, NORM, MASS };
static const sae_tensor_spec tensors[] = {
    STOCK_DICTIONARY_TENSORS,
    {"centre", SAE_STATE, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},
    {"square", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},
    {"bias", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_N},
    {"norm", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_N},
    {"mass", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},
    {0},
};
static const char *const losses[] = {"mse", NULL};

typedef struct memory { /* in the scratch; EVAL: p only */
    stock_pursuit_mem p;
    sae_csc csc;
    sae_real *val;                 /* [B] */
    sae_real *count, *keep, *rate; /* [n] rows of the batch; weights of the old and the new */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *s)
{
    stock_bump at = stock_bump_at(scratch);
    stock_take_pursuit(&at, dim, B, &s->p);
    if (mode == SAE_EVAL)
        return at;
    stock_take_csc(&at, dim->n, B, &s->csc);
    s->val = stock_take_real(&at, B, 1);
    s->count = stock_take_real(&at, 1, dim->n);
    s->keep = stock_take_real(&at, 1, dim->n);
    s->rate = stock_take_real(&at, 1, dim->n);
    return at;
}

/* Training is k-means whatever the codes are afterwards. */
static int by_nearest(const opt *o, enum sae_mode mode)
{
    return mode == SAE_TRAIN || o->codes == CODES_NEAREST;
}

static uint64_t caps_for(const void *opt_)
{
    const opt *o = opt_;
    return SAE_CAP_LINEAR_DEC | (o->codes == CODES_NEAREST ? 0 : stock_pursuit_caps(&o->p));
}

static int check(const void *o, const sae_dims *dim, sae_err *e)
{
    return stock_pursuit_check(&((const opt *)o)->p, dim, e);
}

static int workspace(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    const opt *o = opt_;
    memory s;
    int64_t per_row = by_nearest(o, mode) ? 1 : o->p.k;
    return stock_workspace(layout(dim, B, mode, NULL, &s), stock_most_entries(per_row, dim, B), 0,
                           0, out);
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* The nearest centre of every row, with its norm as value: the row is decoded to the centre. */
static int nearest(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_code *z)
{
    sae_encoder e = {.x = stock_cmat(b->x, b->B, m->dim.d_in),
                     .shift = stock_offset(m),
                     .w = stock_w(m, CENTRE),
                     .bias = m->t[BIAS].w};
    SAE_TRY(c->k->encode_topk(c->dev, &e, SAE_KEY_VALUE, 1, z));
    SAE_TRY(stock_fill(c, z->val, z->nnz, 1));
    return c->k->code_scale(c->dev, z, z->val, NULL, m->t[NORM].w, z->val);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory s;
    layout(&m->dim, b->B, c->mode, t->scratch, &s);
    if (!by_nearest(o, c->mode))
        return stock_pursuit_forward(m, c, b, &o->p, NULL, &s.p, t);
    SAE_TRY(nearest(m, c, b, &t->code));
    return stock_dictionary_loss(m, c, b, t, s.p.row);
}

/* ---- centres --------------------------------------------------------------------------------- */

/* W_dec, bias and norm from the centres. */
static int refresh(sae_model *m, const sae_ctx *c)
{
    double square[STOCK_CHUNK];
    sae_real norm[STOCK_CHUNK], bias[STOCK_CHUNK];
    int64_t n = m->dim.n, d = m->dim.d_in;
    sae_cmat centre = stock_w(m, CENTRE);
    sae_mat w = stock_w_out(m, STOCK_ATOMS);
    SAE_TRY(c->be->copy(c->dev, w.p, centre.p, (size_t)(n * d) * sizeof *w.p, SAE_COPY_D2D));
    SAE_TRY(c->k->unit_rows(c->dev, w));
    SAE_TRY(c->k->row_dot(c->dev, centre, centre, m->t[SQUARE].w));
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        size_t bytes = (size_t)some * sizeof *norm;
        SAE_TRY(stock_get(c, square, (double *)m->t[SQUARE].w + j, (size_t)some * sizeof *square));
        for (int64_t i = 0; i < some; i++) {
            norm[i] = (sae_real)sqrt(square[i]);
            bias[i] = (sae_real)(-square[i] / 2);
        }
        SAE_TRY(stock_put(c, (sae_real *)m->t[NORM].w + j, norm, bytes));
        SAE_TRY(stock_put(c, (sae_real *)m->t[BIAS].w + j, bias, bytes));
    }
    return SAE_OK;
}

/* Centres that no row was given to move to different rows of the batch, while there are any. */
static int relocate(sae_model *m, const sae_ctx *c, const sae_batch *b)
{
    double mass[STOCK_CHUNK];
    int64_t n = m->dim.n, d = m->dim.d_in, moved = 0;
    for (int64_t j = 0; j < n && moved < b->B; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        SAE_TRY(stock_get(c, mass, (double *)m->t[MASS].w + j, (size_t)some * sizeof *mass));
        for (int64_t i = 0; i < some && moved < b->B; i++) {
            if (mass[i] > 0)
                continue;
            int64_t r =
                (int64_t)sae_permute(c->seed, (uint64_t)c->step, (uint64_t)b->B, (uint64_t)moved++);
            sae_mat centre = stock_mat((sae_real *)m->t[CENTRE].w + (j + i) * d, 1, d);
            SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(b->x + r * d, 1, d), -1, stock_offset(m),
                                     centre));
        }
    }
    return SAE_OK;
}

/* Everything is 0 as the host made it, so every centre is free. */
static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    SAE_TRY(stock_offset_init(m, c, sample, 1));
    SAE_TRY(relocate(m, c, sample));
    return refresh(m, c);
}

/* A centre is the mean of all rows it was ever given: with `count` new ones, the old mean keeps the
 * weight mass / (mass + count) and every new row has 1 / (mass + count). */
static int weigh(sae_model *m, const sae_ctx *c, const memory *s)
{
    double mass[STOCK_CHUNK];
    sae_real count[STOCK_CHUNK], keep[STOCK_CHUNK], rate[STOCK_CHUNK];
    int64_t n = m->dim.n;
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        size_t bytes = (size_t)some * sizeof *count;
        double *own = (double *)m->t[MASS].w + j;
        SAE_TRY(stock_get(c, count, s->count + j, bytes));
        SAE_TRY(stock_get(c, mass, own, (size_t)some * sizeof *mass));
        for (int64_t i = 0; i < some; i++) {
            double all = mass[i] + (double)count[i];
            keep[i] = count[i] > 0 ? (sae_real)(mass[i] / all) : 1;
            rate[i] = count[i] > 0 ? (sae_real)(1 / all) : 0;
            mass[i] = all;
        }
        SAE_TRY(stock_put(c, own, mass, (size_t)some * sizeof *mass));
        SAE_TRY(stock_put(c, s->keep + j, keep, bytes));
        SAE_TRY(stock_put(c, s->rate + j, rate, bytes));
    }
    return SAE_OK;
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    memory s;
    int64_t d = m->dim.d_in;
    sae_mat centre = stock_w_out(m, CENTRE);
    layout(&m->dim, b->B, c->mode, t->scratch, &s);
    SAE_TRY(c->k->code_transpose(c->dev, &t->code, &s.csc));
    SAE_TRY(stock_fill(c, s.val, t->code.nnz, 1));
    SAE_TRY(stock_fill(c, s.count, m->dim.n, 0));
    SAE_TRY(c->k->code_col_sum(c->dev, &s.csc, s.val, 1, s.count));
    SAE_TRY(weigh(m, c, &s));
    SAE_TRY(c->k->scale(c->dev, stock_w(m, CENTRE), s.keep, NULL, centre));
    SAE_TRY(c->k->code_scale(c->dev, &t->code, s.val, NULL, s.rate, s.val));
    SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(b->x, b->B, d), -1, stock_offset(m),
                             stock_mat(s.p.xc, b->B, d)));
    SAE_TRY(c->k->code_outer(c->dev, &s.csc, s.val, 1, stock_cmat(s.p.xc, b->B, d), centre));
    SAE_TRY(relocate(m, c, b));
    return refresh(m, c);
}

static double flops(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    const opt *o = opt_;
    double nearest_centre = 2 * (double)B * (double)dim->n * (double)dim->d_in;
    return by_nearest(o, mode) ? nearest_centre : stock_pursuit_flops(o->p.k, dim, B);
}

extern const sae_variant sae_variant_kmeans;
const sae_variant sae_variant_kmeans = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "kmeans",
    .summary = "baseline: directions of k-means centres as atoms, coded by orthogonal pursuit",
    .source = "Sculley 2010, Web-scale k-means clustering; Coates and Ng 2012 for the coding",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_dictionary_decode,
    .caps_for = caps_for,
    .check = check,
    .adapt = adapt,
    .flops = flops,
};
