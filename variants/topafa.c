/* variants/topafa.c - top-AFA: as many of the largest activations of a row as bring the norm of the
 * code nearest to that of the input (topafa.md).
 *
 * Ranking needs all pre-activations of a row, so tape.pre is B x n; scores are made in it. Codes
 * may list half of all entries: backward goes through the batch in runs of rows.
 */
#include <sae/stock_auxk.h>
#include <sae/stock_init.h>
#include <sae/stock_run.h>

enum { LOSS_MSE, LOSS_AFA, LOSS_AUXK };

typedef struct opt {
    double afa, init_enc;
    int64_t squared, consistent, bias, mse, init_b_dec;
    stock_auxk_opt auxk;
} opt;

static const sae_option options[] = {
    {"afa", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, afa), 1.0 / 32, 0, 1e6, NULL, NULL, "1",
     "weight of the loss that brings |z| to |x| (lambda_AFA)"},
    {"squared", SAE_OPT_BOOL, 0, offsetof(opt, squared), 0, 0, 1, NULL, NULL, "1",
     "the selection compares squares of norms (topafa_sq)"},
    {"consistent", SAE_OPT_BOOL, 0, offsetof(opt, consistent), 0, 0, 1, NULL, NULL, "1",
     "the loss compares what the selection does: |z_j W_dec[j]| over j with |x - b_dec|"},
    {"bias", SAE_OPT_BOOL, 0, offsetof(opt, bias), 0, 0, 1, NULL, NULL, "1",
     "b_enc is trained; else it stays 0"},
    STOCK_MSE_OPTION_AS(opt, mse, STOCK_MSE_ELEMENT),
    STOCK_BIAS_OPTION(opt, init_b_dec, STOCK_BIAS_ZERO),
    {"init_enc", SAE_OPT_REAL, 0, offsetof(opt, init_enc), 0, 0, 1e3, NULL, NULL, "1",
     "first W_enc = init_enc * W_dec; 0: sqrt(2 d / n)"},
    STOCK_AUXK_OPTIONS_AS(opt, auxk, 1.0 / 32, 512, 20480, STOCK_AUXK_MSE, 0),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "afa", "auxk", NULL};

static const sae_preset presets[] = {
    {"code", "", NULL, "SewoongLee/top-afa-sae training/sae.py"},
    {"sq", "squared=1", NULL, "the comparison of squares alone"},
    {"port", "afa=0.0625,squared=1,consistent=1,bias=1", NULL,
     "a SAELens-style port, sae_lens/saes/topafa_sae.py"},
    {0},
};

typedef struct memory {
    stock_work w;
    double *target; /* [B] norms of rows */
    double *wide;   /* [n] |W_dec[j]| */
    sae_real *norm; /* [n] the same */
    sae_real *unit; /* [n] 1 / |W_dec[j]|, 0 for a zero row */
    /* TRAIN */
    sae_real *pull; /* [B] gradient of afa on z, per z and per gradient of mse */
    stock_run run;
    stock_auxk a;
} memory;

static stock_bump layout(const opt *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                         void *scratch, memory *mem)
{
    stock_bump s = stock_bump_at(scratch);
    mem->a = (stock_auxk){.o = &o->auxk, .key = SAE_KEY_RELU, .loss = LOSS_AUXK};
    stock_take_work(&s, dim, B, mode, &mem->w);
    mem->target = (double *)stock_take(&s, B, sizeof(double));
    mem->wide = (double *)stock_take(&s, dim->n, sizeof(double));
    mem->norm = stock_take_real(&s, 1, dim->n);
    mem->unit = stock_take_real(&s, 1, dim->n);
    if (mode == SAE_EVAL)
        return s;
    mem->pull = stock_take_real(&s, B, 1);
    stock_take_run(&s, dim, B, &mem->run);
    if (o->auxk.alpha > 0)
        stock_take_auxk(&s, dim, B, &mem->a);
    return s;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory mem;
    stock_bump s = layout(o, dim, B, mode, NULL, &mem);
    return stock_workspace(s, stock_most_entries(STOCK_GUESS, dim, B), 0, 1, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    double kaiming = m->dim.n > 0 ? sqrt(2 * (double)m->dim.d_in / (double)m->dim.n) : 1;
    stock_init_opt how = {o->init_b_dec, o->init_enc > 0 ? o->init_enc : kaiming};
    return stock_init(m, c, sample, &how, 1);
}

/* The model with what the gradient must not see taken from ctx.hold_m. */
static sae_model detached(const sae_model *m, const sae_ctx *c)
{
    const opt *o = c->opt;
    sae_model out = *m;
    if (c->hold_m && !o->bias)
        out.t[STOCK_B_ENC] = c->hold_m->t[STOCK_B_ENC];
    return out;
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* out[r] = |x[r] - shift|; shift may be NULL: 0. room [B x d]: scratch. */
static int row_norms(const sae_ctx *c, sae_cmat x, const sae_real *shift, sae_real *room,
                     double *out)
{
    if (!shift)
        return stock_row_norms(c, x, out);
    SAE_TRY(c->k->shift_rows(c->dev, x, -1, shift, stock_mat(room, x.rows, x.cols)));
    return stock_row_norms(c, stock_cmat(room, x.rows, x.cols), out);
}

/* Norms of the atoms of m. */
static int atom_norms(const sae_model *m, const sae_ctx *c, const memory *mem)
{
    sae_cmat dec = stock_w(m, STOCK_W_DEC);
    double wide[STOCK_CHUNK];
    sae_real norm[STOCK_CHUNK], unit[STOCK_CHUNK];
    SAE_TRY(stock_row_norms(c, dec, mem->wide));
    for (int64_t j = 0; j < m->dim.n; j += STOCK_CHUNK) {
        int64_t some = stock_some(m->dim.n - j);
        SAE_TRY(stock_get(c, wide, mem->wide + j, (size_t)some * sizeof *wide));
        for (int64_t i = 0; i < some; i++) {
            norm[i] = (sae_real)wide[i];
            unit[i] = norm[i] > 0 ? 1 / norm[i] : 0;
        }
        SAE_TRY(stock_put(c, mem->norm + j, norm, (size_t)some * sizeof *norm));
        SAE_TRY(stock_put(c, mem->unit + j, unit, (size_t)some * sizeof *unit));
    }
    return SAE_OK;
}

/* ---- selection ------------------------------------------------------------------------------- */

/* The last place of the ranking of row r of the scores becomes 0, which is not eligible. */
static int drop_last(const sae_ctx *c, sae_mat scores, int64_t r)
{
    sae_real chunk[STOCK_CHUNK], least = 0, zero = 0;
    int64_t last = 0;
    sae_real *row = scores.p + r * scores.ld;
    for (int64_t j = 0; j < scores.cols; j += STOCK_CHUNK) {
        int64_t some = stock_some(scores.cols - j);
        SAE_TRY(stock_get(c, chunk, row + j, (size_t)some * sizeof *chunk));
        for (int64_t i = 0; i < some; i++)
            if (j + i == 0 || chunk[i] <= least) {
                least = chunk[i];
                last = j + i;
            }
    }
    return stock_put(c, row + last, &zero, sizeof zero);
}

/* A row never keeps all n features (n > 1): *dropped counts the rows that did, and now cannot. */
static int drop_full(const sae_ctx *c, const sae_code *z, sae_mat scores, int64_t *dropped)
{
    int64_t chunk[STOCK_CHUNK + 1];
    *dropped = 0;
    for (int64_t r = 0; r < z->B && z->n > 1; r += STOCK_CHUNK) {
        int64_t some = stock_some(z->B - r);
        SAE_TRY(stock_get(c, chunk, z->rowptr + r, (size_t)(some + 1) * sizeof *chunk));
        for (int64_t i = 0; i < some; i++)
            if (chunk[i + 1] - chunk[i] == z->n) {
                SAE_TRY(drop_last(c, scores, r + i));
                ++*dropped;
            }
    }
    return SAE_OK;
}

/* tape.code. The scores u |W_dec| are made in tape.pre; xhat is scratch. */
static int select_code(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                       const memory *mem)
{
    const opt *o = c->opt;
    sae_code *z = &t->code;
    sae_encoder e = stock_encoder(m, b, 1);
    sae_mat scores = stock_mat(t->pre, b->B, m->dim.n);
    sae_cmat s = stock_cmat(t->pre, b->B, m->dim.n), same = stock_cmat(NULL, b->B, m->dim.n);
    sae_scores ranked = {s, same, SAE_KEY_RELU};
    int64_t dropped;
    if (c->hold)
        return stock_hold_code(&e, &c->hold->code, z);
    SAE_TRY(row_norms(c, e.x, e.shift, t->xhat, mem->target));
    SAE_TRY(c->k->encode_dense(c->dev, &e, scores));
    SAE_TRY(c->k->scale(c->dev, s, NULL, mem->norm, scores));
    SAE_TRY(c->k->row_prefix(c->dev, &ranked, mem->target, (int)o->squared, z));
    SAE_TRY(drop_full(c, z, scores, &dropped));
    if (dropped)
        SAE_TRY(c->k->row_prefix(c->dev, &ranked, mem->target, (int)o->squared, z));
    return c->k->code_scale(c->dev, z, z->val, NULL, mem->unit, z->val);
}

/* ---- losses ---------------------------------------------------------------------------------- */

/* w.row[r] = |z[r]|^2, of decoder-scaled values with consistent=1. */
static int code_square(const sae_ctx *c, const sae_tape *t, memory *mem)
{
    const opt *o = c->opt;
    stock_run *run = &mem->run;
    for (int64_t r = 0; r < t->B; r += run->part.B) {
        SAE_TRY(stock_run_at(c, &t->code, r, run));
        sae_mat square = stock_mat(run->val, 1, run->part.nnz);
        sae_cmat f = stock_cmat(run->val, 1, run->part.nnz);
        SAE_TRY(c->k->code_scale(c->dev, &run->part, run->part.val, NULL,
                                 o->consistent ? mem->norm : NULL, run->val));
        SAE_TRY(c->k->mul(c->dev, 1, f, f, square));
        run->part.val = run->val;
        SAE_TRY(c->k->code_norms(c->dev, &run->part, NULL, mem->w.row + r));
    }
    return SAE_OK;
}

/* loss afa = (1 / B) sum_r (|z[r]| - target[r])^2, and pull[r] = (afa / coef of mse) (|z| - target)
 * / |z|, 0 where z is 0. */
static int afa_loss(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                    memory *mem)
{
    const opt *o = c->opt;
    double square[STOCK_CHUNK], target[STOCK_CHUNK], ratio = o->afa / t->coef[LOSS_MSE];
    sae_real pull[STOCK_CHUNK];
    const sae_model *constants = c->hold_m ? c->hold_m : m;
    const sae_real *shift = constants->t[STOCK_B_DEC].w;
    if (c->hold_m)
        SAE_TRY(atom_norms(constants, c, mem));
    SAE_TRY(row_norms(c, stock_cmat(b->x, b->B, m->dim.d_in), o->consistent ? shift : NULL,
                      mem->w.xc, mem->target));
    SAE_TRY(code_square(c, t, mem));
    for (int64_t i = 0; i < b->B; i += STOCK_CHUNK) {
        int64_t some = stock_some(b->B - i);
        size_t doubles = (size_t)some * sizeof *square;
        SAE_TRY(stock_get(c, square, mem->w.row + i, doubles));
        SAE_TRY(stock_get(c, target, mem->target + i, doubles));
        for (int64_t r = 0; r < some; r++) {
            double norm = sqrt(square[r]), off = norm - target[r];
            square[r] = off * off;
            pull[r] = norm > 0 ? (sae_real)(ratio * off / norm) : 0;
        }
        SAE_TRY(stock_put(c, mem->w.row + i, square, doubles));
        SAE_TRY(stock_put(c, mem->pull + i, pull, (size_t)some * sizeof *pull));
    }
    t->coef[LOSS_AFA] = o->afa;
    return stock_mean(c, b->B, mem->w.row, &t->loss[LOSS_AFA]);
}

static int forward(const sae_model *model, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem, held;
    sae_model m = detached(model, c);
    layout(o, &m.dim, b->B, c->mode, t->scratch, &mem);
    if (c->hold)
        layout(o, &m.dim, b->B, c->mode, c->hold->scratch, &held);
    SAE_TRY(atom_norms(&m, c, &mem));
    SAE_TRY(select_code(&m, c, b, t, &mem));
    SAE_TRY(stock_mse(&m, c, b, t, o->mse, &mem.w));
    t->loss[LOSS_AFA] = t->coef[LOSS_AFA] = t->loss[LOSS_AUXK] = t->coef[LOSS_AUXK] = 0;
    if (c->mode == SAE_EVAL)
        return SAE_OK;
    SAE_TRY(afa_loss(&m, c, b, t, &mem));
    if (!(o->auxk.alpha > 0))
        return SAE_OK;
    return stock_auxk_loss(&m, c, b, t, &mem.w, &mem.a, c->hold ? &held.a : NULL);
}

/* ---- backward -------------------------------------------------------------------------------- */

static int run_back(sae_model *m, const sae_ctx *c, const memory *mem, sae_cmat resid,
                     sae_real alpha)
{
    const opt *o = c->opt;
    const stock_run *run = &mem->run;
    const sae_kernels *k = c->k;
    sae_real *dval = run->links.dval;
    sae_csc csc = run->links.csc;
    sae_cmat dx = stock_run_rows(run, resid);
    sae_cmat in = stock_run_rows(run, mem->w.in);
    const sae_real *norm = o->consistent ? mem->norm : NULL;
    SAE_TRY(k->code_grad(c->dev, &run->part, dx, stock_w(m, STOCK_W_DEC), dval));
    SAE_TRY(
        k->code_scale(c->dev, &run->part, run->part.val, mem->pull + run->row0, norm, run->val));
    SAE_TRY(k->code_scale(c->dev, &run->part, run->val, NULL, norm, run->val));
    SAE_TRY(stock_add(c, dval, 1, run->val, run->part.nnz));
    SAE_TRY(k->code_transpose(c->dev, &run->part, &csc));
    SAE_TRY(k->code_outer(c->dev, &csc, run->part.val, alpha, dx, stock_grad(m, STOCK_W_DEC)));
    SAE_TRY(k->code_outer(c->dev, &csc, dval, alpha, in, stock_grad(m, STOCK_W_ENC)));
    return k->code_col_sum(c->dev, &csc, dval, alpha, mem->w.dbe);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    sae_cmat dx = stock_resid(m, t);
    sae_real alpha = stock_alpha(t->coef[LOSS_MSE], b->B);
    layout(o, &m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_begin_back(m, c, b, 1, &mem.w));
    SAE_TRY(stock_auxk_back(m, c, t, &mem.w, &mem.a, &dx));
    for (int64_t r = 0; r < b->B; r += mem.run.part.B) {
        SAE_TRY(stock_run_at(c, &t->code, r, &mem.run));
        SAE_TRY(run_back(m, c, &mem, dx, alpha));
    }
    SAE_TRY(stock_bias_back(m, c, dx, alpha, 1, mem.w.dbe));
    if (o->bias)
        return SAE_OK;
    return stock_fill(c, m->t[STOCK_B_ENC].grad, m->dim.n, 0); /* b_enc has no gradient */
}

/* The encoder's product; how many entries the sparse products have is not known before. */
static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o, (void)mode;
    return 2.0 * (double)B * (double)dim->n * (double)dim->d_in;
}

extern const sae_variant sae_variant_topafa;
const sae_variant sae_variant_topafa = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "topafa",
    .summary = "the largest activations of a row, as many as match the norm of the input; no k",
    .source = "Lee et al. 2025, Approximating quasi-orthogonality, arXiv 2503.24277",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .presets = presets,
};
