/* variants/gated.c - Gated SAE: one encoder, a path that selects and a path that measures
 * (gated.md).
 *
 * b_enc is the bias of the selecting path: tape.pre = (x - b_dec) W_enc^T + b_enc is its
 * pre-activation p, and the measuring path is e^r (p - b_enc) + b_mag = e^r p + level with
 * level = b_mag - e^r b_enc. As e^r > 0, p > 0 is the same as e^r p + level > level: evaluation is
 * a comparison with one threshold per feature in the fused kernel, with an encoder of rows
 * e^r W_enc.
 */
#include <sae/stock_dense.h>

enum { LOSS_MSE, LOSS_L1, LOSS_AUX };
enum { B_MAG = STOCK_TENSOR_COUNT, R_MAG };

typedef struct opt {
    double l1, aux;
    int64_t detach, mse;
    stock_decoder_opt decoder;
    stock_init_opt init;
} opt;

static const sae_option options[] = {
    {"l1", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, l1), 0.04, 0, 1e9, NULL, NULL, "1",
     "weight of the L1 penalty on the selecting path (lambda); schedules ramp it up"},
    {"aux", SAE_OPT_REAL, 0, offsetof(opt, aux), 1, 0, 1e6, NULL, NULL, "1",
     "weight of the reconstruction from the selecting path, in units of the mse coefficient"},
    {"detach", SAE_OPT_BOOL, 0, offsetof(opt, detach), 1, 0, 1, NULL, NULL, "1",
     "W_dec and b_dec are constants of that reconstruction's derivative"},
    STOCK_DECODER_OPTIONS(opt, decoder),
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(SAE_T_UNIT_ROWS),
    {"b_mag", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {"r_mag", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {0},
};
static const char *const losses[] = {"mse", "l1", "aux", NULL};

static const sae_train_defaults dl_train = {
    .lr = 5e-5, .beta1 = 0, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 0.2};
static const sae_train_defaults lens_train = {
    .lr = 3e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};

static const sae_preset presets[] = {
    {"saebench", "l1=lin(0,0.04,0,5000),init_b_dec=zero", NULL,
     "SAEBench's baselines: dictionary_learning_demo demo_config.py"},
    {"dictionary_learning", "init_b_dec=zero", &dl_train,
     "dictionary_learning trainers/gdm.py"},
    {"saelens", "l1=1,decoder=free,detach=0,init_b_dec=zero", &lens_train,
     "SAELens 6 saes/gated_sae.py"},
    {0},
};

typedef struct memory {
    stock_dense d;
    sae_real *gain;  /* [n] e^r */
    sae_real *level; /* [n] */
    /* EVAL */
    sae_real *enc; /* [n x d_in] e^r W_enc */
    double *wide;  /* [n] level */
    /* TRAIN */
    sae_real *err;   /* [B x d_out] reconstruction of the selecting path - y */
    sae_real *sum;   /* [n] w_j sum_r max(p, 0) */
    sae_real *d_mag; /* [n] gradient of b_mag */
    sae_real *d_r;   /* [n] gradient of r_mag */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *mem)
{
    stock_bump s = stock_bump_at(scratch);
    stock_take_dense(&s, dim, B, mode, 1, &mem->d);
    mem->gain = stock_take_real(&s, 1, dim->n);
    mem->level = stock_take_real(&s, 1, dim->n);
    if (mode == SAE_EVAL) {
        mem->enc = stock_take_real(&s, dim->n, dim->d_in);
        mem->wide = (double *)stock_take(&s, dim->n, sizeof(double));
        return s;
    }
    mem->err = stock_take_real(&s, B, dim->d_out);
    mem->sum = stock_take_real(&s, 1, dim->n);
    mem->d_mag = stock_take_real(&s, 1, dim->n);
    mem->d_r = stock_take_real(&s, 1, dim->n);
    return s;
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    return stock_decoder_flags(((const opt *)o)->decoder.rows, spec);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory mem;
    (void)o;
    return stock_dense_workspace(layout(dim, B, mode, NULL, &mem), dim, B, mode, 1, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    SAE_TRY(stock_fill(c, stock_w_out(m, B_MAG).p, m->dim.n, 0));
    SAE_TRY(stock_fill(c, stock_w_out(m, R_MAG).p, m->dim.n, 0));
    return stock_init(m, c, sample, &o->init, stock_decoder_norm(&o->decoder));
}

/* gain = e^r, level = b_mag - gain b_enc. */
static int path(const sae_model *m, const sae_ctx *c, const memory *mem)
{
    int64_t n = m->dim.n;
    SAE_TRY(c->k->map(c->dev, SAE_FN_EXP, 0, 0, stock_w(m, R_MAG), stock_mat(mem->gain, 1, n)));
    SAE_TRY(c->k->mul(c->dev, -1, stock_cmat(mem->gain, 1, n), stock_w(m, STOCK_B_ENC),
                      stock_mat(mem->level, 1, n)));
    return stock_add(c, mem->level, 1, m->t[B_MAG].w, n);
}

/* z = max(gain p + level, 0) where p > 0; with a held tape, gain p + level where its code is
 * active. */
static int dense_code(const sae_ctx *c, const sae_encoder *e, sae_tape *t, const memory *mem)
{
    int64_t B = e->x.rows, n = e->w.rows;
    sae_cmat z = stock_dense_code(&t->code, B, n), pre = stock_cmat(t->pre, B, n);
    sae_mat out = stock_mat(t->code.val, B, n);
    SAE_TRY(c->k->encode_dense(c->dev, e, stock_mat(t->pre, B, n)));
    SAE_TRY(c->k->scale(c->dev, pre, NULL, mem->gain, out));
    SAE_TRY(c->k->shift_rows(c->dev, z, 1, mem->level, out));
    if (c->hold)
        return c->k->gate(c->dev, z, stock_cmat(c->hold->code.val, B, n), out);
    SAE_TRY(c->k->gate(c->dev, z, z, out));
    return c->k->gate(c->dev, z, pre, out);
}

static int sparse_code(const sae_model *m, const sae_ctx *c, sae_encoder *e, sae_code *z,
                       const memory *mem)
{
    int64_t n = m->dim.n;
    SAE_TRY(stock_widen(c, mem->wide, mem->level, n));
    SAE_TRY(c->k->scale(c->dev, e->w, mem->gain, NULL, stock_mat(mem->enc, n, m->dim.d_in)));
    e->w = stock_cmat(mem->enc, n, m->dim.d_in);
    e->bias = m->t[B_MAG].w;
    return c->k->encode_threshold(c->dev, e, SAE_KEY_RELU, 0, mem->wide, z);
}

/* The model whose decoder reconstructs from the selecting path. */
static const sae_model *frozen(const sae_model *m, const sae_ctx *c)
{
    const opt *o = c->opt;
    return c->hold_m && o->detach ? c->hold_m : m;
}

/* work[0] = max(p, 0) of the slab; positive parts of the held tape stay so. */
static int selected(const sae_ctx *c, const sae_tape *t, const memory *mem, stock_slab s)
{
    sae_cmat gate = stock_slab_rows(s, c->hold ? c->hold->pre : t->pre);
    return c->k->gate(c->dev, stock_slab_rows(s, t->pre), gate,
                      stock_slab_mat(s, mem->d.work[0]));
}

/* Losses of the selecting path; err and sum stay for backward. */
static int select_losses(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                         memory *mem)
{
    int64_t B = b->B, n = m->dim.n, d = m->dim.d_out;
    const sae_model *fixed = frozen(m, c);
    sae_cmat err = stock_cmat(mem->err, B, d), sum = stock_cmat(mem->sum, 1, n);
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    SAE_TRY(stock_fill(c, mem->sum, n, 0));
    while (stock_slab_next(&s, B)) {
        SAE_TRY(selected(c, t, mem, s));
        sae_cmat g = stock_slab_cmat(s, mem->d.work[0]);
        SAE_TRY(c->k->col_sum(c->dev, g, 1, mem->sum));
        SAE_TRY(c->k->gemm(c->dev, 0, 0, 1, g, stock_w(fixed, STOCK_W_DEC), 0,
                           stock_mat(mem->err + s.r0 * d, s.rows, d)));
    }
    SAE_TRY(c->k->mul(c->dev, 1, sum, stock_cmat(mem->d.weight, 1, n), stock_mat(mem->sum, 1, n)));
    SAE_TRY(stock_mean_of(c, &mem->d, mem->sum, n, B, &t->loss[LOSS_L1]));
    SAE_TRY(c->k->shift_rows(c->dev, err, 1, fixed->t[STOCK_B_DEC].w, stock_mat(mem->err, B, d)));
    SAE_TRY(c->k->residual(c->dev, err, stock_cmat(b->y, B, d), stock_mat(mem->err, B, d),
                           mem->d.w.row));
    return stock_mean(c, B, mem->d.w.row, &t->loss[LOSS_AUX]);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    sae_encoder e = stock_encoder(m, b, 1);
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(path(m, c, &mem));
    for (int i = LOSS_L1; i <= LOSS_AUX; i++)
        t->loss[i] = t->coef[i] = 0;
    if (c->mode == SAE_EVAL) {
        SAE_TRY(sparse_code(m, c, &e, &t->code, &mem));
        return stock_mse(m, c, b, t, o->mse, &mem.d.w);
    }
    SAE_TRY(dense_code(c, &e, t, &mem));
    SAE_TRY(stock_mse(m, c, b, t, o->mse, &mem.d.w));
    SAE_TRY(stock_dense_weights(m, c, &o->decoder, b->B, &mem.d));
    t->coef[LOSS_L1] = o->l1;
    t->coef[LOSS_AUX] = o->aux * t->coef[LOSS_MSE];
    return select_losses(m, c, b, t, &mem);
}

/* dz of the slab, the gradient of z, becomes that of p - b_enc through the measuring path. */
static int measure_back(const sae_ctx *c, const sae_tape *t, const memory *mem, stock_slab s)
{
    sae_mat dz = stock_slab_mat(s, mem->d.dz);
    sae_cmat cdz = stock_slab_cmat(s, mem->d.dz), z = stock_slab_rows(s, t->code.val);
    SAE_TRY(c->k->gate(c->dev, cdz, z, dz));
    SAE_TRY(c->k->col_sum(c->dev, cdz, 1, mem->d_mag));
    SAE_TRY(c->k->mul(c->dev, 1, cdz, z, stock_slab_mat(s, mem->d.work[0])));
    SAE_TRY(c->k->col_sum(c->dev, stock_slab_cmat(s, mem->d.work[0]), 1, mem->d_r));
    return c->k->scale(c->dev, cdz, NULL, mem->gain, dz);
}

/* Adds the gradient of p through the selecting path; b_enc is in no other. */
static int select_back(sae_model *m, const sae_ctx *c, const sae_tape *t, const memory *mem,
                       stock_slab s)
{
    const opt *o = c->opt;
    sae_real alpha = stock_alpha(t->coef[LOSS_AUX], t->B);
    sae_cmat err = stock_slab_part(s, stock_cmat(mem->err, t->B, m->dim.d_out));
    sae_cmat v = stock_slab_cmat(s, mem->d.work[0]);
    sae_mat out = stock_slab_mat(s, mem->d.work[0]);
    if (!o->detach) {
        SAE_TRY(selected(c, t, mem, s));
        SAE_TRY(c->k->gemm(c->dev, 1, 0, alpha, v, err, 1, stock_grad(m, STOCK_W_DEC)));
        SAE_TRY(c->k->col_sum(c->dev, err, alpha, m->t[STOCK_B_DEC].grad));
    }
    SAE_TRY(c->k->gemm(c->dev, 0, 1, alpha, err, stock_w(m, STOCK_W_DEC), 0, out));
    SAE_TRY(c->k->shift_rows(c->dev, v, (sae_real)(t->coef[LOSS_L1] / (double)t->B),
                             mem->d.weight, out));
    SAE_TRY(c->k->gate(c->dev, v, stock_slab_rows(s, t->pre), out));
    SAE_TRY(c->k->col_sum(c->dev, v, 1, m->t[STOCK_B_ENC].grad));
    return stock_slab_add(c, s, mem->d.dz, 1, v.p);
}

/* b_mag and r_mag: where z is active, d z / d r = gain (p - b_enc) = z - b_mag. */
static int own_back(sae_model *m, const sae_ctx *c, const memory *mem)
{
    int64_t n = m->dim.n;
    SAE_TRY(stock_add(c, m->t[B_MAG].grad, 1, mem->d_mag, n));
    SAE_TRY(stock_add(c, m->t[R_MAG].grad, 1, mem->d_r, n));
    SAE_TRY(c->k->mul(c->dev, -1, stock_cmat(mem->d_mag, 1, n), stock_w(m, B_MAG),
                      stock_mat(mem->d_mag, 1, n)));
    return stock_add(c, m->t[R_MAG].grad, 1, mem->d_mag, n);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    int64_t n = m->dim.n;
    stock_slab s = stock_slab_of(n, STOCK_DENSE_ROWS);
    if (b->B == 0)
        return SAE_OK;
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_dense_open(m, c, b, 1, &mem.d));
    SAE_TRY(stock_fill(c, mem.d_mag, n, 0));
    SAE_TRY(stock_fill(c, mem.d_r, n, 0));
    while (stock_slab_next(&s, b->B)) {
        SAE_TRY(stock_dense_dz(m, c, t, &mem.d, 0, s));
        SAE_TRY(measure_back(c, t, &mem, s));
        SAE_TRY(select_back(m, c, t, &mem, s));
        SAE_TRY(stock_dense_enc(m, c, &mem.d, s));
    }
    SAE_TRY(stock_add(c, mem.d.pull, t->coef[LOSS_L1] / (double)b->B, mem.sum, n));
    SAE_TRY(own_back(m, c, &mem));
    SAE_TRY(stock_dense_dec(m, c, t, &o->decoder, &mem.d));
    return stock_b_dec_back(m, c, stock_resid(m, t), stock_alpha(t->coef[LOSS_MSE], b->B), 1,
                            mem.d.w.dbe);
}

/* Five products as every dense training, and two more of the selecting path. */
static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return stock_dense_flops(dim, B, mode) * (mode == SAE_TRAIN ? 7.0 / 5 : 1);
}

extern const sae_variant sae_variant_gated;
const sae_variant sae_variant_gated = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "gated",
    .summary = "one encoder with a path that selects features and a path that measures them",
    .source = "Rajamanoharan et al. 2024, Improving dictionary learning with gated sparse "
              "autoencoders",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .flops = flops,
    .tensor_flags = tensor_flags,
    .presets = presets,
};
