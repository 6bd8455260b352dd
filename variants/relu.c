/* variants/relu.c - ReLU with an L1 penalty (relu.md).
 *
 * Training works on dense codes: early in training half of all entries are active, and dense
 * products beat sparse ones by far. Backward goes through the batch in slabs of rows, so that the
 * gradient of the codes never exists as a whole. Evaluation selects pre > 0 in the fused kernel.
 */
#include <sae/stock_init.h>
#include <sae/stock_loss.h>

enum { DECODER_UNIT, DECODER_FREE };
enum { SLAB = 1024 }; /* rows of dz at a time */
enum { LOSS_MSE, LOSS_L1 };

typedef struct opt {
    double l1, dec_norm;
    int64_t decoder, mse;
    stock_init_opt init;
} opt;

static const char *const decoders[] = {"unit", "free", NULL};

static const sae_option options[] = {
    {"l1", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, l1), 0.03, 0, 1e9, NULL, NULL, "1",
     "weight of the L1 penalty (lambda); schedules ramp it up"},
    {"decoder", SAE_OPT_ENUM, 0, offsetof(opt, decoder), DECODER_UNIT, 0, DECODER_FREE, decoders,
     NULL, "1", "unit: rows of W_dec have norm 1; free: the penalty weighs z_j by |W_dec[j]|"},
    {"dec_norm", SAE_OPT_REAL, 0, offsetof(opt, dec_norm), 0.1, 1e-6, 1e3, NULL, NULL, "1",
     "first row norm of W_dec with decoder=free"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), {0}};
static const char *const losses[] = {"mse", "l1", NULL};

typedef struct memory {
    stock_work w;
    sae_real *weight;  /* [n] of z_j in the penalty */
    double *norm2;     /* [n] |W_dec[j]|^2 */
    sae_real *penalty; /* [B] */
    sae_real *ones;    /* [B] */
    /* TRAIN */
    sae_real *dz;    /* [min(SLAB, B) x n] */
    sae_real *total; /* [n] sum of z_j over the batch, then over |W_dec[j]| */
    sae_csc diagonal; /* of an n x n diagonal matrix whose values are total */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *mem)
{
    stock_bump s = stock_bump_at(scratch);
    int64_t n = dim->n;
    stock_take_work(&s, dim, B, mode, &mem->w);
    mem->weight = stock_take_real(&s, 1, n);
    mem->norm2 = (double *)stock_take(&s, n, sizeof(double));
    mem->penalty = stock_take_real(&s, B, 1);
    mem->ones = stock_take_real(&s, B, 1);
    if (mode == SAE_EVAL)
        return s;
    mem->dz = stock_take_real(&s, B < SLAB ? B : SLAB, n);
    mem->total = stock_take_real(&s, 1, n);
    stock_take_csc(&s, n, n, &mem->diagonal);
    return s;
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    int free_rows = ((const opt *)o)->decoder == DECODER_FREE;
    return free_rows ? spec->flags & ~(uint32_t)SAE_T_UNIT_ROWS : spec->flags;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory mem;
    (void)o;
    stock_bump s = layout(dim, B, mode, NULL, &mem);
    int64_t guess = dim->n < 256 ? dim->n : 256;
    out->scratch = s.used;
    out->code_cap = s.overflow ? 0 : B * guess;
    out->dense_code = mode == SAE_TRAIN;
    out->dense_pre = 0;
    return s.overflow ? SAE_ENOMEM : SAE_OK;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    return stock_init(m, c, sample, &o->init, o->decoder == DECODER_FREE ? o->dec_norm : 1);
}

/* weight[j] = 1, or |W_dec[j]| with free rows. */
static int penalty_weights(const sae_model *m, const sae_ctx *c, const opt *o, const memory *mem)
{
    sae_cmat dec = stock_w(m, STOCK_W_DEC);
    double norm2[STOCK_CHUNK];
    sae_real weight[STOCK_CHUNK];
    if (o->decoder == DECODER_UNIT)
        return stock_fill(c, mem->weight, m->dim.n, 1);
    SAE_TRY(c->k->row_dot(c->dev, dec, dec, mem->norm2));
    for (int64_t j = 0; j < m->dim.n; j += STOCK_CHUNK) {
        int64_t some = stock_some(m->dim.n - j);
        SAE_TRY(stock_get(c, norm2, mem->norm2 + j, (size_t)some * sizeof *norm2));
        for (int64_t i = 0; i < some; i++)
            weight[i] = (sae_real)sqrt(norm2[i]);
        SAE_TRY(stock_put(c, mem->weight + j, weight, (size_t)some * sizeof *weight));
    }
    return SAE_OK;
}

/* loss l1 = (1 / B) sum_r sum_j weight[j] z[r,j]; weight and z are not negative. */
static int l1_loss(const sae_model *m, const sae_ctx *c, const opt *o, sae_tape *t,
                   const memory *mem)
{
    int64_t B = t->B;
    sae_cmat penalty = stock_cmat(mem->penalty, B, 1);
    SAE_TRY(penalty_weights(m, c, o, mem));
    SAE_TRY(stock_fill(c, mem->ones, B, 1));
    SAE_TRY(c->k->code_decode(c->dev, &t->code, stock_cmat(mem->weight, m->dim.n, 1), NULL,
                              stock_mat(mem->penalty, B, 1)));
    SAE_TRY(c->k->row_dot(c->dev, penalty, stock_cmat(mem->ones, B, 1), mem->w.row));
    t->coef[LOSS_L1] = o->l1;
    return stock_mean(c, B, mem->w.row, &t->loss[LOSS_L1]);
}

/* The whole of z = max(pre, 0); with a held tape, pre where the held code is active. */
static int dense_code(const sae_ctx *c, const sae_encoder *e, sae_code *z)
{
    int64_t B = e->x.rows, n = e->w.rows;
    sae_mat out = stock_mat(z->val, B, n);
    const sae_real *gate = c->hold ? c->hold->code.val : z->val;
    z->B = B;
    z->n = n;
    z->nnz = B * n;
    z->nan = 0;
    SAE_TRY(c->k->encode_dense(c->dev, e, out));
    return c->k->gate(c->dev, stock_cmat(z->val, B, n), stock_cmat(gate, B, n), out);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    sae_encoder e = stock_encoder(m, b);
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    if (c->mode == SAE_TRAIN)
        SAE_TRY(dense_code(c, &e, &t->code));
    else
        SAE_TRY(c->k->encode_threshold(c->dev, &e, SAE_KEY_RELU, 0, NULL, &t->code));
    SAE_TRY(stock_mse(m, c, b, t, o->mse, &mem.w));
    return l1_loss(m, c, o, t, &mem);
}

/* Rows [r0, r0 + rows) of the batch: dz = (alpha resid W_dec^T + l1 / B weight) where z > 0, into
 * the gradients of W_enc and b_enc. */
static int slab_back(sae_model *m, const sae_ctx *c, const sae_tape *t, const memory *mem,
                     int64_t r0, int64_t rows)
{
    int64_t n = m->dim.n, d = m->dim.d_out;
    sae_mat dz = stock_mat(mem->dz, rows, n);
    sae_cmat rdz = stock_cmat(mem->dz, rows, n), xc = stock_cmat(mem->w.xc + r0 * d, rows, d);
    sae_cmat z = stock_cmat(t->code.val + r0 * n, rows, n);
    sae_real slope = (sae_real)(t->coef[LOSS_L1] / (double)t->B);
    SAE_TRY(c->k->gemm(c->dev, 0, 1, stock_alpha(t->coef[LOSS_MSE], t->B),
                       stock_cmat(t->resid + r0 * d, rows, d), stock_w(m, STOCK_W_DEC), 0, dz));
    SAE_TRY(c->k->shift_rows(c->dev, rdz, slope, mem->weight, dz));
    SAE_TRY(c->k->gate(c->dev, rdz, z, dz));
    SAE_TRY(c->k->gemm(c->dev, 1, 0, 1, rdz, xc, 1, stock_grad(m, STOCK_W_ENC)));
    return c->k->col_sum(c->dev, rdz, 1, mem->w.dbe);
}

/* The penalty's own pull on free decoder rows: l1 / B (sum_r z[r,j]) W_dec[j] / |W_dec[j]|, and 0
 * for a zero row. A product with an n x n diagonal matrix. */
static int free_rows_back(sae_model *m, const sae_ctx *c, const sae_tape *t, memory *mem)
{
    int64_t n = m->dim.n, index[STOCK_CHUNK];
    int32_t row[STOCK_CHUNK];
    sae_real total[STOCK_CHUNK], weight[STOCK_CHUNK];
    SAE_TRY(stock_fill(c, mem->total, n, 0));
    SAE_TRY(c->k->col_sum(c->dev, stock_cmat(t->code.val, t->B, n), 1, mem->total));
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        size_t reals = (size_t)some * sizeof *total, ints = (size_t)some * sizeof *index;
        SAE_TRY(stock_get(c, total, mem->total + j, reals));
        SAE_TRY(stock_get(c, weight, mem->weight + j, reals));
        for (int64_t i = 0; i < some; i++) {
            total[i] = weight[i] > 0 ? total[i] / weight[i] : 0;
            index[i] = j + i;
            row[i] = (int32_t)(j + i);
        }
        SAE_TRY(stock_put(c, mem->total + j, total, reals));
        SAE_TRY(stock_put(c, mem->diagonal.colptr + j, index, ints));
        SAE_TRY(stock_put(c, mem->diagonal.pos + j, index, ints));
        SAE_TRY(stock_put(c, mem->diagonal.row + j, row, (size_t)some * sizeof *row));
    }
    mem->diagonal.nnz = n;
    SAE_TRY(stock_put(c, mem->diagonal.colptr + n, &n, sizeof n));
    return c->k->code_outer(c->dev, &mem->diagonal, mem->total,
                            (sae_real)(t->coef[LOSS_L1] / (double)t->B), stock_w(m, STOCK_W_DEC),
                            stock_grad(m, STOCK_W_DEC));
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    int64_t B = b->B;
    sae_cmat dx = stock_resid(m, t), z = stock_cmat(t->code.val, B, m->dim.n);
    sae_real alpha = stock_alpha(t->coef[LOSS_MSE], B);
    if (B == 0)
        return SAE_OK;
    layout(&m->dim, B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_begin_back(m, c, b, &mem.w));
    for (int64_t r0 = 0; r0 < B; r0 += SLAB)
        SAE_TRY(slab_back(m, c, t, &mem, r0, B - r0 < SLAB ? B - r0 : (int64_t)SLAB));
    SAE_TRY(c->k->gemm(c->dev, 1, 0, alpha, z, dx, 1, stock_grad(m, STOCK_W_DEC)));
    SAE_TRY(stock_bias_back(m, c, dx, alpha, mem.w.dbe));
    return o->decoder == DECODER_FREE ? free_rows_back(m, c, t, &mem) : SAE_OK;
}

/* One dense product forward to the codes and one back to x; three more in backward. */
static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return 2.0 * (double)B * (double)dim->n * (double)dim->d_in * (mode == SAE_TRAIN ? 5 : 1);
}

extern const sae_variant sae_variant_relu;
const sae_variant sae_variant_relu = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "relu",
    .summary = "positive part of the pre-activations, sparse through an L1 penalty",
    .source = "Bricken et al. 2023, Towards monosemanticity; Cunningham et al. 2023",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .saelens = &(const sae_saelens){"standard", NULL, 0, NULL, "relu"},
    .tensor_flags = tensor_flags,
};
