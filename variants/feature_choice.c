/* variants/feature_choice.c - Feature Choice: every feature takes its own number of best rows of a
 * batch (feature_choice.md).
 *
 * Training runs through up to three phases: k per row, k B per batch, quotas per feature. Quotas
 * follow the ranking of densities by a Zipf curve. Evaluation compares with one threshold per
 * feature.
 */
#include <sae/rng.h>
#include <sae/stock_init.h>
#include <sae/stock_quota.h>
#include <sae/stock_zipf.h>

enum { BUDGET_ZIPF, BUDGET_UNIFORM };
static const char *const budgets[] = {"zipf", "uniform", NULL};
enum { ROUND_RANDOM, ROUND_LARGEST };
static const char *const roundings[] = {"random", "largest", NULL};

typedef struct opt {
    double k, topk, mutual;
    int64_t mse, budget, rounding;
    stock_init_opt init;
    stock_auxk_opt auxk;
    stock_theta_opt theta;
    stock_zipf_opt zipf;
} opt;

static const sae_option options[] = {
    {"k", SAE_OPT_REAL, 0, offsetof(opt, k), 32, 0, 1e9, NULL, NULL, "1",
     "mean active features per row in training; the quotas of a batch add up to k B"},
    {"topk_share", SAE_OPT_REAL, 0, offsetof(opt, topk), 0, 0, 1, NULL, NULL, "1",
     "first share of the steps: k per row"},
    {"mutual_share", SAE_OPT_REAL, 0, offsetof(opt, mutual), 0.7, 0, 1, NULL, NULL, "1",
     "next share of the steps: k B per batch; quotas per feature in the rest"},
    {"budget", SAE_OPT_ENUM, 0, offsetof(opt, budget), BUDGET_ZIPF, 0, BUDGET_UNIFORM, budgets,
     NULL, "1", "quotas follow the curve of densities, or are equal"},
    {"rounding", SAE_OPT_ENUM, 0, offsetof(opt, rounding), ROUND_RANDOM, 0, ROUND_LARGEST,
     roundings, NULL, "1", "with fewer matches than features: quotas 0 or 1 at random or fixed"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    STOCK_AUXK_OPTIONS(opt, auxk, 1.0 / 32, 1e7),
    STOCK_THETA_OPTIONS(opt, theta),
    STOCK_ZIPF_OPTIONS(opt, zipf),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(SAE_T_UNIT_ROWS),
    {"theta", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},
    STOCK_ZIPF_TENSORS,
    {"cut", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},
    {"gain", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},
    {0},
};
enum { CUT = STOCK_ZIPF_END, GAIN };
static const char *const losses[] = {"mse", "auxk", NULL};

static const sae_preset presets[] = {
    {"from_scratch", "mutual_share=0", NULL, "quotas per feature from the first step"},
    {"uniform", "mutual_share=0,budget=uniform,dying=0", NULL,
     "the paper's abstract: every feature takes at most m rows"},
    {0},
};

/* ---- phases and memory ----------------------------------------------------------------------- */

static int64_t first_column_step(const sae_ctx *c)
{
    const opt *o = c->opt;
    return (int64_t)ceil((o->topk + o->mutual) * (double)c->steps);
}

/* Whether this call selects by feature. */
static int by_column(const sae_ctx *c)
{
    const opt *o = c->opt;
    if (c->mode == SAE_EVAL)
        return o->theta.infer == STOCK_INFER_BATCH;
    return c->step >= first_column_step(c);
}

/* Where selection is by feature, `how` gives the number of entries only. */
static stock_sparse rule(const opt *o)
{
    stock_sparse s = {STOCK_FLAT, SAE_KEY_RELU, o->k, 0, o->mse, &o->auxk, 0};
    return s;
}

static stock_sparse rule_now(const sae_ctx *c)
{
    const opt *o = c->opt;
    stock_sparse s = rule(o);
    if (c->mode == SAE_TRAIN && (double)c->step < o->topk * (double)c->steps)
        s.how = STOCK_ROWS;
    return s;
}

typedef struct memory {
    stock_sparse_mem sparse;
    int64_t *quota;    /* [n] */
    sae_real *col_min; /* [n] */
    int64_t *rowptr;   /* [B + 1] of a code that is only counted */
} memory;

static stock_bump layout(const stock_sparse *s, const sae_dims *dim, int64_t B, enum sae_mode mode,
                         void *scratch, memory *mem)
{
    stock_bump at = stock_sparse_layout(s, dim, B, mode, scratch, &mem->sparse);
    mem->quota = (int64_t *)stock_take(&at, dim->n, sizeof(int64_t));
    mem->col_min = stock_take_real(&at, 1, dim->n);
    mem->rowptr = (int64_t *)stock_take(&at, B + 1, sizeof(int64_t));
    return at;
}

static int workspace(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    const opt *o = opt_;
    stock_sparse s = rule(o);
    memory mem;
    stock_bump at = layout(&s, dim, B, mode, NULL, &mem);
    SAE_TRY(stock_sparse_workspace(&s, dim, B, mode, out));
    out->scratch = at.used;
    out->dense_pre = mode == SAE_TRAIN || o->theta.infer == STOCK_INFER_BATCH;
    return at.overflow ? SAE_ENOMEM : SAE_OK;
}

static uint64_t caps_for(const void *opt_)
{
    const opt *o = opt_;
    uint64_t draws = o->rounding == ROUND_RANDOM ? SAE_CAP_STOCHASTIC : 0;
    return SAE_CAP_LINEAR_DEC | stock_theta_caps(&o->theta) | draws;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    double unset = -1, gain = 1;
    for (int64_t j = 0; j < m->dim.n; j++) {
        SAE_TRY(stock_put(c, (double *)m->t[STOCK_THETA].w + j, &unset, sizeof unset));
        SAE_TRY(stock_put(c, (double *)m->t[CUT].w + j, &unset, sizeof unset));
    }
    SAE_TRY(stock_put(c, m->t[GAIN].w, &gain, sizeof gain));
    SAE_TRY(stock_zipf_init(m, c, &o->zipf, o->k));
    return stock_init(m, c, sample, &o->init, 1);
}

/* ---- forward and backward -------------------------------------------------------------------- */

/* The rows of every feature: its quota of the batch's largest positive pre-activations. */
static int column_code(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                       const stock_sparse *s, int64_t *quota, sae_tape *t)
{
    const opt *o = c->opt;
    int64_t n = m->dim.n, M = stock_sparse_cap(s, &m->dim, b->B);
    int random = c->mode == SAE_TRAIN && M < n && o->rounding == ROUND_RANDOM;
    sae_u4 bits = sae_philox(c->seed, SAE_STREAM_NOISE, b->row0, 0);
    stock_quota q = {.n = n, .M = M, .B = b->B};
    sae_encoder e = stock_encoder(m, b, 1);
    sae_scores pre = {stock_cmat(t->pre, b->B, n), {NULL, b->B, n, n}, SAE_KEY_RELU};
    if (o->budget == BUDGET_ZIPF)
        q.weight = (const double *)m->t[STOCK_EXPECTED].w;
    SAE_TRY(stock_quota_fill(c, &q, random ? sae_u01_wide(bits.v[0], bits.v[1]) : -1, quota));
    if (c->hold)
        return stock_hold_code(&e, &c->hold->code, &t->code);
    SAE_TRY(c->k->encode_dense(c->dev, &e, stock_mat(t->pre, b->B, n)));
    return c->k->col_topk(c->dev, &pre, quota, &t->code);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule_now(c);
    memory mem;
    layout(&s, &m->dim, b->B, c->mode, t->scratch, &mem);
    sae_encoder e = stock_encoder(m, b, 1);
    if (by_column(c))
        SAE_TRY(column_code(m, c, b, &s, mem.quota, t));
    else if (c->mode == SAE_EVAL)
        SAE_TRY(c->k->encode_threshold(c->dev, &e, SAE_KEY_RELU, 0,
                                       (const double *)m->t[STOCK_THETA].w, &t->code));
    else
        SAE_TRY(stock_sparse_code(m, c, b, &s, &t->code));
    return stock_sparse_losses(m, c, b, &s, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_sparse s = rule_now(c);
    return stock_sparse_backward(m, c, b, &s, t);
}

/* ---- thresholds ------------------------------------------------------------------------------ */

/* The value that a feature's threshold moves to: the last row that its quota took, 0 where fewer
 * rows were positive; negative: no news. */
static double column_target(int64_t quota, int64_t rows, double smallest)
{
    if (quota == 0)
        return -1;
    return rows < quota ? 0 : smallest;
}

static double moved(double theta, double target, const stock_theta_opt *o, int fresh)
{
    if (target < 0)
        return theta;
    if (fresh)
        return target;
    if (theta < 0)
        theta = o->first == STOCK_THETA_SET ? target : 0;
    return theta + o->rate * (target - theta);
}

/* gain *= (L0 / k)^rate, L0 what the thresholds would list in this batch. Counting needs no room
 * for the entries: the selection answers with the room it would take. */
static int correct_gain(sae_model *m, const sae_ctx *c, const sae_tape *t, const memory *mem,
                        double *gain)
{
    const opt *o = c->opt;
    stock_sparse s = rule(o);
    int64_t n = m->dim.n, M = stock_sparse_cap(&s, &m->dim, t->B);
    sae_scores pre = {stock_cmat(t->pre, t->B, n), {NULL, t->B, n, n}, SAE_KEY_RELU};
    sae_code count = {.B = t->B, .n = n, .rowptr = mem->rowptr};
    int rc = c->k->threshold(c->dev, &pre, 0, (const double *)m->t[STOCK_THETA].w, &count);
    if (rc != SAE_ECAPACITY)
        SAE_TRY(rc);
    if (M > 0 && count.nnz > 0)
        *gain *= pow((double)count.nnz / (double)M, o->theta.rate);
    return stock_put(c, m->t[GAIN].w, gain, sizeof *gain);
}

/* cut follows the targets, the same for every feature in phases without quotas; theta = gain cut.
 */
static int move_thresholds(sae_model *m, const sae_ctx *c, const sae_tape *t, const memory *mem)
{
    const opt *o = c->opt;
    const sae_csc *csc = &mem->sparse.links.csc;
    int64_t n = m->dim.n, colptr[STOCK_CHUNK + 1], quota[STOCK_CHUNK];
    double cut[STOCK_CHUNK], theta[STOCK_CHUNK], common, gain;
    sae_real smallest[STOCK_CHUNK];
    int columns = by_column(c), fresh = columns && c->step == first_column_step(c);
    SAE_TRY(stock_fill(c, mem->col_min, n, (sae_real)INFINITY));
    SAE_TRY(c->k->code_col_min(c->dev, csc, t->code.val, mem->col_min));
    SAE_TRY(stock_smallest_active(c, &t->code, &common));
    SAE_TRY(stock_get(c, &gain, m->t[GAIN].w, sizeof gain));
    if (columns && !fresh)
        SAE_TRY(correct_gain(m, c, t, mem, &gain));
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        int64_t some = stock_some(n - j);
        size_t bytes = (size_t)some * sizeof *cut;
        SAE_TRY(stock_get(c, cut, (double *)m->t[CUT].w + j, bytes));
        if (columns) {
            SAE_TRY(stock_get(c, quota, mem->quota + j, bytes));
            SAE_TRY(stock_get(c, colptr, csc->colptr + j, bytes + sizeof *colptr));
            SAE_TRY(stock_get(c, smallest, mem->col_min + j, (size_t)some * sizeof *smallest));
        }
        for (int64_t i = 0; i < some; i++) {
            double target = columns ? column_target(quota[i], colptr[i + 1] - colptr[i],
                                                    (double)smallest[i])
                                    : common;
            cut[i] = moved(cut[i], target, &o->theta, fresh);
            theta[i] = cut[i] > 0 ? gain * cut[i] : cut[i];
        }
        SAE_TRY(stock_put(c, (double *)m->t[CUT].w + j, cut, bytes));
        SAE_TRY(stock_put(c, (double *)m->t[STOCK_THETA].w + j, theta, bytes));
    }
    return SAE_OK;
}

/* The curve is fitted to densities that selection did not impose: until the first column step. */
static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    stock_sparse s = rule_now(c);
    memory mem;
    layout(&s, &m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(c->k->code_transpose(c->dev, &t->code, &mem.sparse.links.csc));
    if (c->step >= o->theta.start)
        SAE_TRY(move_thresholds(m, c, t, &mem));
    return stock_zipf_adapt(m, c, &o->zipf, &mem.sparse.links.csc, b->B,
                            c->step + 1 == first_column_step(c), !by_column(c));
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    stock_sparse s = rule(o);
    return stock_sparse_flops(&s, dim, B, mode);
}

extern const sae_variant sae_variant_feature_choice;
const sae_variant sae_variant_feature_choice = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "feature_choice",
    .summary = "every feature takes its own number of best rows of a batch: no dead features",
    .source = "Ayonrinde 2024, Adaptive sparse allocation with Mutual Choice and Feature Choice",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL | SAE_CAP_STOCHASTIC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .caps_for = caps_for,
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .saelens = &(const sae_saelens){.architecture = "jumprelu", .threshold = "theta"},
    .presets = presets,
};
