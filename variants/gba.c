/* variants/gba.c - Group Bias Adaptation: biases driven to target activation frequencies (gba.md).
 *
 * Codes are sparse from the first step on, though half of all entries are active while the biases
 * are 0: backward goes through the batch in runs of rows whose entries fit in scratch.
 */
#include <sae/stock_init.h>
#include <sae/stock_loss.h>
#include <sae/stock_run.h>

enum { ACT_GATE, ACT_RELU };
enum { PRE_ZERO, PRE_MEAN, PRE_TRAIN };
enum { SCALE_TRAIN, SCALE_FIXED };

typedef struct opt {
    double htf, ltf, up, down, silent, b_min;
    int64_t groups, act, b_pre, scale, period;
} opt;

static const char *const acts[] = {"gate", "relu", NULL};
static const char *const pre_names[] = {"zero", "mean", "train", NULL};
static const char *const scale_names[] = {"train", "fixed", NULL};

static const sae_option options[] = {
    {"htf", SAE_OPT_REAL, 0, offsetof(opt, htf), 0.1, 1e-9, 1, NULL, NULL, "1",
     "highest target frequency, of the first group (p_1)"},
    {"ltf", SAE_OPT_REAL, 0, offsetof(opt, ltf), 1e-3, 1e-9, 1, NULL, NULL, "1",
     "lowest target frequency, of the last group (p_K)"},
    {"groups", SAE_OPT_INT, 0, offsetof(opt, groups), 10, 1, 1e6, NULL, NULL, "1",
     "groups with geometric target frequencies (K); 1: single-group BA with target htf"},
    {"act", SAE_OPT_ENUM, 0, offsetof(opt, act), ACT_GATE, 0, ACT_RELU, acts, NULL, "1",
     "gate: the bias decides only whether a neuron fires; relu: it also shifts the output"},
    {"b_pre", SAE_OPT_ENUM, 0, offsetof(opt, b_pre), PRE_MEAN, 0, PRE_TRAIN, pre_names, NULL, "1",
     "b_dec: 0, the mean of the first batch, or trained from there"},
    {"scale", SAE_OPT_ENUM, 0, offsetof(opt, scale), SCALE_TRAIN, 0, SCALE_FIXED, scale_names, NULL,
     "1", "output scales a are trained, or stay 1"},
    {"period", SAE_OPT_INT, 0, offsetof(opt, period), 50, 1, 1e9, NULL, NULL, "steps",
     "steps between adaptations (T_b), all of whose rows are counted"},
    {"up", SAE_OPT_REAL, 0, offsetof(opt, up), 0.01, 0, 1e3, NULL, NULL, "1",
     "rise of a silent neuron's bias, in mean peaks of its group (gamma_+)"},
    {"down", SAE_OPT_REAL, 0, offsetof(opt, down), 0.01, 0, 1e3, NULL, NULL, "1",
     "fall of an over-active neuron's bias, in its own peaks (gamma_-)"},
    {"silent", SAE_OPT_REAL, 0, offsetof(opt, silent), 1e-6, 0, 1, NULL, NULL, "1",
     "frequency below which a neuron counts as silent (epsilon)"},
    {"b_min", SAE_OPT_REAL, 0, offsetof(opt, b_min), -1, -1e6, 0, NULL, NULL, "1",
     "lower end of the biases' range; the upper end is 0"},
    {0},
};

#define V1 "Chen et al. 2025, arXiv v1"
#define ICLR "Chen et al., ICLR 2026 version"
static const sae_preset presets[] = {
    {"v1", "", NULL, V1 ": TAF 0.1 to 1e-3 in 10 groups"},
    {"iclr_a", "ltf=1e-4", NULL, ICLR ": 10 % to 0.01 %"},
    {"iclr_b", "htf=0.5", NULL, ICLR ": highest target 0.5, lowest 1e-3"},
    {"imp", "act=relu,period=80", NULL, "GBATrainer of a JSALT 2025 project, 80 batches of 512"},
    {"ba", "groups=1,htf=0.02", NULL, V1 ": one group; the target is measured, see gba.md"},
    {0},
};

/* Indices as stock parts expect them, with the scale in the place of W_enc. theta = -b: with
 * act=gate the threshold on u and b_enc is 0, with act=relu b_enc = -theta. */
enum { SCALE = STOCK_W_ENC, THETA = STOCK_TENSOR_COUNT, PEAK, COUNT, ROWS };
static const sae_tensor_spec tensors[] = {
    {"a", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {"b_enc", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_N},
    {"W_dec", SAE_PARAM, SAE_REAL, SAE_T_UNIT_ROWS, SAE_DIM_N, SAE_DIM_OUT},
    {"b_dec", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_OUT},
    {"theta", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},
    {"peak", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_N}, /* of z since the last adaptation */
    {"count", SAE_STATE, SAE_U64, 0, SAE_DIM_1, SAE_DIM_N}, /* of active rows, likewise */
    {"rows", SAE_STATE, SAE_U64, 0, SAE_DIM_1, SAE_DIM_1},  /* seen, likewise */
    {0},
};
static const char *const losses[] = {"mse", NULL};

typedef struct memory {
    stock_work w; /* TRAIN: dbe holds alpha sum_r <resid, w> first */
    /* TRAIN */
    sae_real *peak;   /* [n] statistics with this batch */
    uint64_t *count;  /* [n] */
    uint64_t *fired;  /* [n] not read */
    sae_real *shift;  /* [n] */
    stock_run run;
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, enum sae_mode mode, void *scratch,
                         memory *mem)
{
    stock_bump s = stock_bump_at(scratch);
    stock_take_work(&s, dim, B, mode, &mem->w);
    if (mode == SAE_EVAL)
        return s;
    mem->peak = stock_take_real(&s, 1, dim->n);
    mem->count = (uint64_t *)stock_take(&s, dim->n, sizeof(uint64_t));
    mem->fired = (uint64_t *)stock_take(&s, dim->n, sizeof(uint64_t));
    mem->shift = stock_take_real(&s, 1, dim->n);
    stock_take_run(&s, dim, B, &mem->run);
    return s;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory mem;
    (void)o;
    stock_bump s = layout(dim, B, mode, NULL, &mem);
    return stock_workspace(s, stock_most_entries(STOCK_GUESS, dim, B), 0, 0, out);
}

static int clear_statistics(sae_model *m, const sae_ctx *c)
{
    uint64_t zero[STOCK_CHUNK] = {0};
    for (int64_t j = 0; j < m->dim.n; j += STOCK_CHUNK)
        SAE_TRY(stock_put(c, (uint64_t *)m->t[COUNT].w + j, zero,
                          (size_t)stock_some(m->dim.n - j) * sizeof *zero));
    SAE_TRY(stock_put(c, m->t[ROWS].w, zero, sizeof *zero));
    return stock_fill(c, m->t[PEAK].w, m->dim.n, 0);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    const double zero[STOCK_CHUNK] = {0};
    sae_mat dec = stock_w_out(m, STOCK_W_DEC);
    SAE_TRY(c->k->normal_fill(c->dev, c->seed, SAE_STREAM_INIT, (uint64_t)STOCK_W_DEC << 32, dec));
    SAE_TRY(c->k->unit_rows(c->dev, dec));
    SAE_TRY(stock_fill(c, m->t[SCALE].w, m->dim.n, 1));
    SAE_TRY(stock_fill(c, m->t[STOCK_B_ENC].w, m->dim.n, 0));
    for (int64_t j = 0; j < m->dim.n; j += STOCK_CHUNK)
        SAE_TRY(stock_put(c, (double *)m->t[THETA].w + j, zero,
                          (size_t)stock_some(m->dim.n - j) * sizeof *zero));
    SAE_TRY(clear_statistics(m, c));
    return stock_init_bias(m, c, sample, o->b_pre == PRE_ZERO ? STOCK_BIAS_ZERO : STOCK_BIAS_MEAN);
}

/* The model with what the gradient must not see taken from ctx.hold_m. */
static sae_model detached(const sae_model *m, const sae_ctx *c)
{
    const opt *o = c->opt;
    sae_model out = *m;
    if (c->hold_m && o->b_pre != PRE_TRAIN)
        out.t[STOCK_B_DEC] = c->hold_m->t[STOCK_B_DEC];
    if (c->hold_m && o->scale == SCALE_FIXED)
        out.t[SCALE] = c->hold_m->t[SCALE];
    return out;
}

/* z = u or y where y > 0, before its scale. */
static int active(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_code *z)
{
    const opt *o = c->opt;
    const double *theta = m->t[THETA].w;
    sae_encoder e = stock_encoder(m, b, 1);
    e.w = stock_w(m, STOCK_W_DEC);
    if (c->hold)
        return stock_hold_code(&e, &c->hold->code, z);
    return c->k->encode_threshold(c->dev, &e, SAE_KEY_RELU, 0, o->act == ACT_GATE ? theta : NULL,
                                  z);
}

/* The statistics since the last adaptation with this batch. */
static int gather(const sae_model *m, const sae_ctx *c, const sae_code *z, const memory *mem)
{
    int64_t n = m->dim.n;
    SAE_TRY(c->be->copy(c->dev, mem->peak, m->t[PEAK].w, (size_t)n * sizeof *mem->peak,
                        SAE_COPY_D2D));
    SAE_TRY(c->be->copy(c->dev, mem->count, m->t[COUNT].w, (size_t)n * sizeof *mem->count,
                        SAE_COPY_D2D));
    SAE_TRY(c->k->code_max(c->dev, z, mem->peak));
    return c->k->fire_update(c->dev, z, 0, mem->fired, mem->count);
}

static int forward(const sae_model *model, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    memory mem;
    sae_model m = detached(model, c);
    layout(&m.dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(active(&m, c, b, &t->code));
    if (c->mode == SAE_TRAIN)
        SAE_TRY(gather(&m, c, &t->code, &mem));
    SAE_TRY(c->k->code_scale(c->dev, &t->code, t->code.val, NULL, m.t[SCALE].w, t->code.val));
    SAE_TRY(stock_mse(&m, c, b, t, STOCK_MSE_ROW, &mem.w));
    t->coef[0] = 0.5;
    return SAE_OK;
}

/* One run of rows. With g = <resid, w> of an entry, its value a z has the gradient alpha g, so
 *     dw += alpha (a z resid + a g in)     da += alpha (u + b_enc) g     dbe += alpha g. */
static int run_back(sae_model *m, const sae_ctx *c, const memory *mem, sae_cmat resid,
                     sae_real alpha)
{
    const opt *o = c->opt;
    const stock_run *run = &mem->run;
    sae_csc csc = run->links.csc;
    sae_cmat dx = stock_run_rows(run, resid);
    sae_cmat in = stock_run_rows(run, mem->w.in);
    const sae_kernels *k = c->k;
    sae_cmat w = stock_w(m, STOCK_W_DEC);
    sae_mat dw = stock_grad(m, STOCK_W_DEC);
    sae_real *g = run->links.dval;
    int64_t nnz = run->part.nnz;
    SAE_TRY(k->code_grad(c->dev, &run->part, dx, w, g));
    SAE_TRY(k->code_transpose(c->dev, &run->part, &csc));
    SAE_TRY(k->code_outer(c->dev, &csc, run->part.val, alpha, dx, dw));
    SAE_TRY(k->code_col_sum(c->dev, &csc, g, alpha, mem->w.dbe));
    if (o->scale == SCALE_TRAIN) {
        SAE_TRY(k->code_grad(c->dev, &run->part, in, w, run->val));
        SAE_TRY(k->mul(c->dev, 1, stock_cmat(run->val, 1, nnz), stock_cmat(g, 1, nnz),
                       stock_mat(run->val, 1, nnz)));
        SAE_TRY(k->code_col_sum(c->dev, &csc, run->val, alpha, m->t[SCALE].grad));
    }
    SAE_TRY(k->code_scale(c->dev, &run->part, g, NULL, m->t[SCALE].w, g));
    return k->code_outer(c->dev, &csc, g, alpha, in, dw);
}

/* What is summed over rows: da += b_enc dbe, and with a trained b_dec both of its paths. */
static int vectors_back(sae_model *m, const sae_ctx *c, sae_cmat dx, sae_real alpha,
                        const memory *mem)
{
    const opt *o = c->opt;
    int64_t n = m->dim.n;
    sae_cmat dbe = stock_cmat(mem->w.dbe, 1, n);
    if (o->scale == SCALE_TRAIN) {
        SAE_TRY(c->k->mul(c->dev, 1, stock_w(m, STOCK_B_ENC), dbe, stock_mat(mem->shift, 1, n)));
        SAE_TRY(stock_add(c, m->t[SCALE].grad, 1, mem->shift, n));
    }
    if (o->b_pre != PRE_TRAIN)
        return SAE_OK;
    SAE_TRY(c->k->mul(c->dev, 1, stock_w(m, SCALE), dbe, stock_mat(mem->shift, 1, n)));
    SAE_TRY(c->k->col_sum(c->dev, dx, alpha, m->t[STOCK_B_DEC].grad));
    return stock_shift_back(m, c, STOCK_W_DEC, 1, mem->shift);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    memory mem;
    sae_cmat dx = stock_resid(m, t);
    sae_real alpha = stock_alpha(t->coef[0], b->B);
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_begin_back(m, c, b, 1, &mem.w));
    for (int64_t r = 0; r < b->B; r += mem.run.part.B) {
        SAE_TRY(stock_run_at(c, &t->code, r, &mem.run));
        SAE_TRY(run_back(m, c, &mem, dx, alpha));
    }
    return vectors_back(m, c, dx, alpha, &mem);
}

/* ---- the controller -------------------------------------------------------------------------- */

/* Of group k = 0 .. K - 1: htf (ltf / htf)^(k / (K - 1)). */
static double target_of(const opt *o, int64_t k)
{
    double share = o->groups > 1 ? (double)k / (double)(o->groups - 1) : 0;
    return o->htf * pow(o->ltf / o->htf, share);
}

typedef struct neurons { /* some of them on the host */
    int64_t j, count;    /* the first, how many */
    double theta[STOCK_CHUNK];
    sae_real peak[STOCK_CHUNK];
    uint64_t fires[STOCK_CHUNK];
} neurons;

/* Neurons from j on, at most up to end. */
static int read_neurons(const sae_model *m, const sae_ctx *c, int64_t j, int64_t end, neurons *out)
{
    size_t some = (size_t)stock_some(end - j);
    out->j = j;
    out->count = (int64_t)some;
    SAE_TRY(stock_get(c, out->theta, (double *)m->t[THETA].w + j, some * sizeof *out->theta));
    SAE_TRY(stock_get(c, out->peak, (sae_real *)m->t[PEAK].w + j, some * sizeof *out->peak));
    return stock_get(c, out->fires, (uint64_t *)m->t[COUNT].w + j, some * sizeof *out->fires);
}

/* r = max(0, largest y): peaks are of u with act=gate. */
static double peak_of(const opt *o, const neurons *v, int64_t i)
{
    double y = (double)v->peak[i] - (o->act == ACT_GATE ? v->theta[i] : 0);
    return y > 0 ? y : 0;
}

/* R of neurons [j, end): mean of r where r > 0; `otherwise` when there is none. */
static int mean_peak(const sae_model *m, const sae_ctx *c, int64_t j, int64_t end,
                     double otherwise, double *out)
{
    neurons v;
    double sum = 0;
    int64_t fired = 0;
    for (; j < end; j += STOCK_CHUNK) {
        SAE_TRY(read_neurons(m, c, j, end, &v));
        for (int64_t i = 0; i < v.count; i++) {
            double r = peak_of(c->opt, &v, i);
            sum += r;
            fired += r > 0;
        }
    }
    *out = fired ? sum / (double)fired : otherwise;
    return SAE_OK;
}

/* Over-active neurons lose a share of their own peak, silent ones gain a share of R. */
static void move(const opt *o, double target, double rows, double R, neurons *v)
{
    for (int64_t i = 0; i < v->count; i++) {
        double frequency = (double)v->fires[i] / rows;
        if (frequency > target)
            v->theta[i] = fmin(v->theta[i] + o->down * peak_of(o, v, i), -o->b_min);
        else if (frequency < o->silent)
            v->theta[i] = fmax(v->theta[i] - o->up * R, 0);
    }
}

static int adapt_group(sae_model *m, const sae_ctx *c, int64_t j, int64_t end, double target,
                       double rows, double mean)
{
    const opt *o = c->opt;
    neurons v;
    sae_real b_enc[STOCK_CHUNK];
    double R;
    SAE_TRY(mean_peak(m, c, j, end, mean, &R));
    for (; j < end; j += STOCK_CHUNK) {
        SAE_TRY(read_neurons(m, c, j, end, &v));
        move(o, target, rows, R, &v);
        SAE_TRY(stock_put(c, (double *)m->t[THETA].w + j, v.theta,
                          (size_t)v.count * sizeof *v.theta));
        if (o->act == ACT_GATE)
            continue;
        for (int64_t i = 0; i < v.count; i++)
            b_enc[i] = (sae_real)-v.theta[i];
        SAE_TRY(stock_put(c, (sae_real *)m->t[STOCK_B_ENC].w + j, b_enc,
                          (size_t)v.count * sizeof *b_enc));
    }
    return SAE_OK;
}

/* The first n mod K groups have a neuron more. */
static int adapt_biases(sae_model *m, const sae_ctx *c, double rows)
{
    const opt *o = c->opt;
    int64_t n = m->dim.n, size = n / o->groups, more = n % o->groups, j = 0;
    double mean;
    SAE_TRY(mean_peak(m, c, 0, n, 0, &mean));
    for (int64_t k = 0; k < o->groups && j < n; k++) {
        int64_t end = j + size + (k < more);
        SAE_TRY(adapt_group(m, c, j, end, target_of(o, k), rows, mean));
        j = end;
    }
    return clear_statistics(m, c);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    memory mem;
    uint64_t rows;
    size_t n = (size_t)m->dim.n;
    sae_cmat a = stock_w(m, SCALE);
    layout(&m->dim, b->B, c->mode, t->scratch, &mem);
    SAE_TRY(c->k->gate(c->dev, a, a, stock_w_out(m, SCALE))); /* a >= 0 */
    SAE_TRY(c->be->copy(c->dev, m->t[PEAK].w, mem.peak, n * sizeof *mem.peak, SAE_COPY_D2D));
    SAE_TRY(c->be->copy(c->dev, m->t[COUNT].w, mem.count, n * sizeof *mem.count, SAE_COPY_D2D));
    SAE_TRY(stock_get(c, &rows, m->t[ROWS].w, sizeof rows));
    rows += (uint64_t)b->B;
    SAE_TRY(stock_put(c, m->t[ROWS].w, &rows, sizeof rows));
    return rows == 0 || (c->step + 1) % o->period ? SAE_OK : adapt_biases(m, c, (double)rows);
}

/* The encoder's product and, for as many entries as the targets allow, decode and five sparse
 * products of backward. */
static double flops(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    const opt *o = opt_;
    double mean = 0;
    for (int64_t k = 0; k < o->groups; k++)
        mean += target_of(o, k) / (double)o->groups;
    return 2 * (double)dim->d_in * (double)B * (double)dim->n *
           (1 + mean * (mode == SAE_TRAIN ? 6 : 1));
}

extern const sae_variant sae_variant_gba;
const sae_variant sae_variant_gba = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "gba",
    .summary = "tied encoder whose biases are moved to target activation frequencies, not trained",
    .source = "Chen et al. 2025, Taming polysemanticity in LLMs, arXiv 2506.14002",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .presets = presets,
};
