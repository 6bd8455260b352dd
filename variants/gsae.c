/* variants/gsae.c - g-SAE: TopK whose selection in training weighs every activation by how much the
 * model's loss depends on its feature (gsae.md).
 *
 * factor = base + weight |<ghat, W_dec[j]>| and pre exist as B x n; codes, decoder and backward are
 * sparse as in TopK. Evaluation with sel=plain is TopK's fused kernel.
 */
#include <sae/stock_auxk.h>
#include <sae/stock_init.h>

enum { SCORE_ADDITIVE, SCORE_PRODUCT, SCORE_SIGNED };
enum { EMIT_Z, EMIT_SCORE };
enum { SEL_PLAIN, SEL_GRAD };
enum { GNORM_EMA, GNORM_NONE };
enum { G_NORM = STOCK_TENSOR_COUNT, G_CUT };

typedef struct opt {
    double beta, rate, clip;
    int64_t k, score, emit, sel, gnorm, shuffle, relu, pre_bias, mse;
    stock_init_opt init;
    stock_auxk_opt auxk;
} opt;

static const char *const scores[] = {"additive", "product", "signed", NULL};
static const char *const emits[] = {"z", "score", NULL};
static const char *const sels[] = {"plain", "grad", NULL};
static const char *const gnorms[] = {"ema", "none", NULL};

static const sae_option options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1", "active features per row"},
    {"beta", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, beta), 3, 0, 1e9, NULL, NULL, "1",
     "weight of the gradient in an additive score"},
    {"score", SAE_OPT_ENUM, 0, offsetof(opt, score), SCORE_ADDITIVE, 0, SCORE_SIGNED, scores, NULL,
     "1", "what is ranked: z (1 + beta a), z a, or -z <W_dec, g>"},
    {"emit", SAE_OPT_ENUM, 0, offsetof(opt, emit), EMIT_Z, 0, EMIT_SCORE, emits, NULL, "1",
     "what is decoded: z, or the score"},
    {"sel", SAE_OPT_ENUM, 0, offsetof(opt, sel), SEL_PLAIN, 0, SEL_GRAD, sels, NULL, "1",
     "evaluation selects without gradients, or with them"},
    {"gnorm", SAE_OPT_ENUM, 0, offsetof(opt, gnorm), GNORM_EMA, 0, GNORM_NONE, gnorms, NULL, "1",
     "gradients are divided by the moving average of their norm, or taken as they are"},
    {"gnorm_rate", SAE_OPT_REAL, 0, offsetof(opt, rate), 0.01, 0, 1, NULL, NULL, "1",
     "rate of the moving averages of norm and cut"},
    {"clip", SAE_OPT_REAL, 0, offsetof(opt, clip), 0.001, 0, 1, NULL, NULL, "1",
     "share of the rows whose gradient is cut to the norm that the others stay below; 0: none"},
    {"shuffle", SAE_OPT_BOOL, 0, offsetof(opt, shuffle), 0, 0, 1, NULL, NULL, "1",
     "control: every training row gets the gradient of another row of its batch"},
    {"relu", SAE_OPT_BOOL, 0, offsetof(opt, relu), 1, 0, 1, NULL, NULL, "1",
     "only positive pre-activations can be selected"},
    STOCK_PRE_BIAS_OPTION(opt, pre_bias, 1),
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(SAE_T_UNIT_ROWS),
    {"g_norm", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},
    {"g_cut", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},
    {0},
};
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_preset presets[] = {
    {"figure1", "emit=score,relu=0,pre_bias=0,gnorm=none,clip=0,auxk=0", NULL,
     "Olmo et al. 2024, figure 1 to the letter"},
    {0},
};

typedef struct memory {
    stock_work w;
    double *norm;        /* [B] of the rows of g */
    sae_real *g;         /* [B x d] */
    sae_real *by, *base; /* [B] */
    sae_real *ones;      /* [n] */
    sae_real *factor;    /* [B x n] score / pre */
    sae_real *score;     /* [B x n]; factor itself with emit=z */
    sae_code kept;       /* emit=score: the factors of the code's entries */
    stock_links links;   /* TRAIN */
    stock_auxk a;        /* TRAIN */
} memory;

static int with_gradient(const opt *o, enum sae_mode mode)
{
    return mode == SAE_TRAIN || o->sel == SEL_GRAD;
}

static uint64_t needs(const void *o, enum sae_mode mode)
{
    return with_gradient(o, mode) ? SAE_NEED_GRAD : 0;
}

static uint64_t caps_for(const void *opt_)
{
    const opt *o = opt_;
    return SAE_CAP_LINEAR_DEC | (o->relu ? 0u : SAE_CAP_SIGNED) |
           (o->shuffle ? SAE_CAP_BATCH_TRAIN : 0u);
}

static stock_bump layout(const opt *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                         void *scratch, memory *mem)
{
    stock_bump at = stock_bump_at(scratch);
    int64_t n = dim->n, cap = stock_most_entries(o->k, dim, B);
    *mem = (memory){.a = {.o = &o->auxk, .key = SAE_KEY_RELU, .loss = 1}};
    stock_take_work(&at, dim, B, mode, &mem->w);
    if (!with_gradient(o, mode))
        return at;
    mem->norm = stock_take(&at, B, sizeof *mem->norm);
    mem->g = stock_take_real(&at, B, dim->d_in);
    mem->by = stock_take_real(&at, B, 1);
    mem->base = stock_take_real(&at, B, 1);
    mem->ones = stock_take_real(&at, 1, n);
    mem->factor = stock_take_real(&at, B, n);
    mem->score = o->emit == EMIT_SCORE ? stock_take_real(&at, B, n) : mem->factor;
    if (mode == SAE_EVAL)
        return at;
    stock_take_links(&at, n, cap, &mem->links);
    if (o->emit == EMIT_SCORE) {
        mem->kept = stock_take_code(&at, B, n, cap);
        mem->links.factor = mem->kept.val;
    }
    if (o->auxk.alpha > 0)
        stock_take_auxk(&at, dim, B, &mem->a);
    return at;
}

static int workspace(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    const opt *o = opt_;
    memory mem;
    return stock_workspace(layout(o, dim, B, mode, NULL, &mem), stock_most_entries(o->k, dim, B), 0,
                           with_gradient(o, mode), out);
}

/* ---- gradient norms -------------------------------------------------------------------------- */

/* The largest values seen; at[0] is the smallest of them. */
typedef struct tops {
    double at[STOCK_CHUNK];
    int64_t count, most;
} tops;

static void tops_add(tops *t, double v)
{
    int64_t i = 0;
    if (t->count == t->most && v <= t->at[0])
        return;
    if (t->count < t->most) { /* sorted upwards: shift the larger ones up, else the smaller down */
        for (i = t->count++; i > 0 && t->at[i - 1] > v; i--)
            t->at[i] = t->at[i - 1];
    } else {
        for (; i + 1 < t->count && t->at[i + 1] < v; i++)
            t->at[i] = t->at[i + 1];
    }
    t->at[i] = v;
}

/* Mean of norm[0..B), and the norm that a share of `clip` of them reaches, one at least. With more
 * than STOCK_CHUNK such rows it is the largest STOCK_CHUNK'th. B > 0. */
static int norm_statistics(const sae_ctx *c, const double *norm, int64_t B, double clip,
                           double *mean, double *cut)
{
    double chunk[STOCK_CHUNK], share = ceil(clip * (double)B);
    tops t = {.most = share < STOCK_CHUNK ? (int64_t)share : STOCK_CHUNK};
    *mean = *cut = 0;
    for (int64_t r = 0; r < B; r += STOCK_CHUNK) {
        int64_t some = stock_some(B - r);
        SAE_TRY(stock_get(c, chunk, norm + r, (size_t)some * sizeof *chunk));
        for (int64_t i = 0; i < some; i++) {
            *mean += chunk[i] / (double)B;
            if (t.most > 0)
                tops_add(&t, chunk[i]);
        }
    }
    if (t.count > 0)
        *cut = t.at[0];
    return SAE_OK;
}

/* A moving average in STATE i; 0 is "none yet". */
static int average(sae_model *m, const sae_ctx *c, int i, double rate, double value)
{
    double old;
    SAE_TRY(stock_get(c, &old, m->t[i].w, sizeof old));
    old = old > 0 ? old + rate * (value - old) : value;
    return stock_put(c, m->t[i].w, &old, sizeof old);
}

static int learn_norms(sae_model *m, const sae_ctx *c, const double *norm, int64_t B)
{
    const opt *o = c->opt;
    double mean, cut;
    if (B == 0)
        return SAE_OK;
    SAE_TRY(norm_statistics(c, norm, B, o->clip, &mean, &cut));
    if (!isfinite(mean)) /* such a row selects nothing; the averages must outlive it */
        return SAE_OK;
    SAE_TRY(average(m, c, G_NORM, o->rate, mean));
    return average(m, c, G_CUT, o->rate, cut);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    double zero = 0;
    double *norm = c->be->alloc(c->dev, ((size_t)sample->B + 1) * sizeof *norm);
    int rc = norm ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0)
        rc = stock_put(c, m->t[G_NORM].w, &zero, sizeof zero);
    if (rc >= 0)
        rc = stock_put(c, m->t[G_CUT].w, &zero, sizeof zero);
    if (rc >= 0)
        rc = stock_row_norms(c, stock_cmat(sample->g, sample->B, m->dim.d_in), norm);
    if (rc >= 0)
        rc = learn_norms(m, c, norm, sample->B);
    c->be->release(c->dev, norm);
    return rc < 0 ? rc : stock_init(m, c, sample, &o->init, 1);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    memory mem;
    layout(c->opt, &m->dim, b->B, c->mode, t->scratch, &mem);
    return learn_norms(m, c, mem.norm, b->B);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* mem.g = the gradients; the control turns the batch by a random number of rows, which are in no
 * order. */
static int take_gradients(const sae_ctx *c, const opt *o, const sae_batch *b, int64_t d,
                          const memory *mem)
{
    size_t row = (size_t)d * sizeof *b->g;
    int64_t turn = 0;
    if (o->shuffle && c->mode == SAE_TRAIN && b->B > 1) {
        sae_u4 u = sae_philox(c->seed, SAE_STREAM_NOISE, b->row0, 0);
        turn = 1 + (int64_t)(u.v[0] % (uint64_t)(b->B - 1));
    }
    int64_t rest = b->B - turn;
    SAE_TRY(c->be->copy(c->dev, mem->g, b->g + turn * d, (size_t)rest * row, SAE_COPY_D2D));
    return c->be->copy(c->dev, mem->g + rest * d, b->g, (size_t)turn * row, SAE_COPY_D2D);
}

/* by[r]: what gradient r is multiplied by. base[r]: the score's share that needs no gradient; a row
 * whose gradient is 0 ranks as plain TopK does. */
static int row_factors(const sae_model *m, const sae_ctx *c, const opt *o, int64_t B,
                       const memory *mem)
{
    double norm[STOCK_CHUNK], mean = 1, cut;
    sae_real by[STOCK_CHUNK], base[STOCK_CHUNK];
    SAE_TRY(stock_get(c, &cut, m->t[G_CUT].w, sizeof cut));
    if (o->gnorm == GNORM_EMA)
        SAE_TRY(stock_get(c, &mean, m->t[G_NORM].w, sizeof mean));
    for (int64_t r = 0; r < B; r += STOCK_CHUNK) {
        int64_t some = stock_some(B - r);
        size_t bytes = (size_t)some * sizeof *by;
        SAE_TRY(stock_get(c, norm, mem->norm + r, (size_t)some * sizeof *norm));
        for (int64_t i = 0; i < some; i++) {
            double clipped = o->clip > 0 && norm[i] > cut ? cut / norm[i] : 1;
            int none = norm[i] <= 0 || mean <= 0;
            by[i] = (sae_real)(none ? 0 : clipped / mean);
            base[i] = o->score == SCORE_ADDITIVE || none ? 1 : 0;
        }
        SAE_TRY(stock_put(c, mem->by + r, by, bytes));
        SAE_TRY(stock_put(c, mem->base + r, base, bytes));
    }
    return SAE_OK;
}

/* mem.factor. */
static int factors(const sae_model *m, const sae_ctx *c, const sae_batch *b, const opt *o,
                   const memory *mem)
{
    int64_t B = b->B, n = m->dim.n, d = m->dim.d_in;
    sae_cmat g = stock_cmat(mem->g, B, d);
    sae_mat f = stock_mat(mem->factor, B, n);
    double weight = o->score == SCORE_ADDITIVE ? o->beta : o->score == SCORE_SIGNED ? -1 : 1;
    SAE_TRY(take_gradients(c, o, b, d, mem));
    SAE_TRY(stock_row_norms(c, g, mem->norm));
    SAE_TRY(row_factors(m, c, o, B, mem));
    SAE_TRY(c->k->scale(c->dev, g, mem->by, NULL, stock_mat(mem->g, B, d)));
    SAE_TRY(c->k->gemm(c->dev, 0, 1, (sae_real)weight, g, stock_w(m, STOCK_W_DEC), 0, f));
    if (o->score != SCORE_SIGNED)
        SAE_TRY(c->k->map(c->dev, SAE_FN_ABS, 0, 0, stock_cmat(mem->factor, B, n), f));
    SAE_TRY(stock_fill(c, mem->ones, n, 1));
    return c->k->gemm(c->dev, 0, 0, 1, stock_cmat(mem->base, B, 1), stock_cmat(mem->ones, 1, n), 1,
                      f);
}

/* The code by weighted selection, and with emit=score the factors of its entries. */
static int weighted_code(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                         const sae_encoder *e, const opt *o, sae_tape *t, memory *mem)
{
    int64_t B = b->B, n = m->dim.n;
    sae_cmat pre = stock_cmat(t->pre, B, n), score = stock_cmat(mem->score, B, n);
    sae_mat out = stock_mat(mem->score, B, n);
    int only_positive = o->relu || o->score == SCORE_SIGNED;
    SAE_TRY(c->k->encode_dense(c->dev, e, stock_mat(t->pre, B, n)));
    SAE_TRY(factors(m, c, b, o, mem));
    SAE_TRY(c->k->mul(c->dev, 1, pre, stock_cmat(mem->factor, B, n), out));
    if (o->relu)
        SAE_TRY(c->k->gate(c->dev, score, pre, out));
    sae_scores s = {o->emit == EMIT_SCORE ? score : pre, score,
                    only_positive ? SAE_KEY_RELU : SAE_KEY_VALUE};
    SAE_TRY(c->k->row_topk(c->dev, &s, o->k, &t->code));
    if (!mem->kept.rowptr)
        return SAE_OK;
    s.value = stock_cmat(mem->factor, B, n);
    return c->k->row_topk(c->dev, &s, o->k, &mem->kept);
}

/* Held: the code's entries and, with emit=score, their factors. */
static int held_code(const sae_ctx *c, const sae_encoder *e, const opt *o, const memory *held,
                     sae_code *z)
{
    SAE_TRY(stock_hold_code(e, &c->hold->code, z));
    if (o->emit != EMIT_SCORE)
        return SAE_OK;
    return c->k->mul(c->dev, 1, stock_cmat(z->val, 1, z->nnz),
                     stock_cmat(held->kept.val, 1, z->nnz), stock_mat(z->val, 1, z->nnz));
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem, held;
    sae_encoder e = stock_encoder(m, b, o->pre_bias);
    layout(o, &m->dim, b->B, c->mode, t->scratch, &mem);
    if (c->hold) {
        layout(o, &m->dim, b->B, c->mode, c->hold->scratch, &held);
        SAE_TRY(held_code(c, &e, o, &held, &t->code));
    } else if (with_gradient(o, c->mode)) {
        SAE_TRY(weighted_code(m, c, b, &e, o, t, &mem));
    } else {
        enum sae_key key = o->relu ? SAE_KEY_RELU : SAE_KEY_VALUE;
        SAE_TRY(c->k->encode_topk(c->dev, &e, key, o->k, &t->code));
    }
    SAE_TRY(stock_mse(m, c, b, t, o->mse, &mem.w));
    t->loss[1] = t->coef[1] = 0;
    if (c->mode == SAE_EVAL || !(o->auxk.alpha > 0))
        return SAE_OK;
    mem.a.enc = &e;
    return stock_auxk_loss(m, c, b, t, &mem.w, &mem.a, c->hold ? &held.a : NULL);
}

/* ---- backward -------------------------------------------------------------------------------- */

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    layout(o, &m->dim, b->B, c->mode, t->scratch, &mem);
    sae_cmat dx = stock_resid(m, t);
    sae_real alpha = stock_alpha(t->coef[0], b->B);
    SAE_TRY(stock_begin_back(m, c, b, o->pre_bias, &mem.w));
    SAE_TRY(stock_auxk_back(m, c, t, &mem.w, &mem.a, &dx));
    SAE_TRY(stock_code_back(m, c, &t->code, &mem.links, dx, alpha, mem.w.in, mem.w.dbe));
    return stock_bias_back(m, c, dx, alpha, o->pre_bias, mem.w.dbe);
}

/* TopK's, and the product of gradients and atoms. */
static double flops(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    const opt *o = opt_;
    double entries = (double)stock_most_entries(o->k, dim, B), d = (double)dim->d_in;
    double dense = (double)B * (double)dim->n * (with_gradient(o, mode) ? 2 : 1);
    return 2 * d * (dense + entries * (mode == SAE_TRAIN ? 4 : 1));
}

extern const sae_variant sae_variant_gsae;
const sae_variant sae_variant_gsae = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "gsae",
    .summary = "TopK whose training selection weighs features by the gradient of the loss",
    .source = "Olmo et al. 2024, Features that make a difference, figure 1",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED | SAE_CAP_BATCH_TRAIN,
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
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .presets = presets,
};
