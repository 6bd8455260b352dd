/* variants/p_anneal.c - ReLU with an Lp penalty whose exponent falls during training
 * (p_anneal.md). */
#include <sae/stock_lp.h>

enum { UPDATES = STOCK_TENSOR_COUNT, FACTOR, QUEUE, QUEUED };
enum { QUEUE_LENGTH = 10 };

typedef struct opt {
    double l1, p_start, p_end, from, until;
    int64_t updates, root, mse;
    stock_init_opt init;
} opt;

static const sae_option options[] = {
    {"l1", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(opt, l1), 0.015, 0, 1e9, NULL, NULL, "1",
     "weight of the penalty while p = p_start (lambda); schedules ramp it up"},
    {"p_start", SAE_OPT_REAL, 0, offsetof(opt, p_start), 1, 1, 2, NULL, NULL, "1",
     "first exponent"},
    {"p_end", SAE_OPT_REAL, 0, offsetof(opt, p_end), 0.2, 0.05, 2, NULL, NULL, "1",
     "last exponent"},
    {"updates", SAE_OPT_INT, 0, offsetof(opt, updates), 10, 1, 1e6, NULL, NULL, "1",
     "times that p is set, from p_start to p_end"},
    {"anneal_start", SAE_OPT_REAL, 0, offsetof(opt, from), 0.04, 0, 1, NULL, NULL, "1",
     "share of the steps before the first of them"},
    {"anneal_end", SAE_OPT_REAL, 0, offsetof(opt, until), 1, 0, 1, NULL, NULL, "1",
     "share of the steps before the last of them"},
    {"root", SAE_OPT_BOOL, 0, offsetof(opt, root), 0, 0, 1, NULL, NULL, "1",
     "the penalty is the Lp norm of the code, not its p-th power"},
    STOCK_MSE_OPTION(opt, mse),
    STOCK_INIT_OPTIONS(opt, init),
    {0},
};

static const sae_tensor_spec tensors[] = {
    STOCK_TENSORS(SAE_T_UNIT_ROWS),
    {"updates", SAE_STATE, SAE_I64, 0, SAE_DIM_1, SAE_DIM_1}, /* times that p was set */
    {"factor", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_1},  /* on l1 */
    {"queue", SAE_STATE, SAE_F64, 0, QUEUE_LENGTH, 2},        /* penalty at p and at the next p */
    {"queued", SAE_STATE, SAE_I64, 0, SAE_DIM_1, SAE_DIM_1},  /* rows ever put into queue */
    {0},
};
static const char *const losses[] = {"mse", "lp", NULL};

static const sae_train_defaults dl_train = {
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .warmup = 1000, .decay = 0.2};

static const sae_preset presets[] = {
    {"saebench", "l1=lin(0,0.015,0,5000),init_b_dec=zero", NULL,
     "SAEBench's baselines: dictionary_learning_demo demo_config.py"},
    {"dictionary_learning", "root=1,p_end=0.1,init_b_dec=zero", &dl_train,
     "dictionary_learning trainers/p_anneal.py, with p_end above 0"},
    {0},
};

static const stock_decoder_opt unit_rows = {STOCK_DECODER_UNIT, 1};

/* Exponent number i of 0 .. updates - 1; the last one beyond. */
static double exponent(const opt *o, int64_t i)
{
    double last = (double)(o->updates - 1);
    if (o->updates == 1)
        return o->p_start;
    return (double)i >= last ? o->p_end : o->p_start + (o->p_end - o->p_start) * (double)i / last;
}

/* The step at whose end p is set for the i-th time, from 0. */
static int64_t update_step(const opt *o, int64_t steps, int64_t i)
{
    double from = o->from * (double)steps, until = o->until * (double)steps;
    double share = o->updates > 1 ? (double)i / (double)(o->updates - 1) : 0;
    return (int64_t)(from + (until - from) * share);
}

/* The penalty after `updates` updates. */
static stock_lp rule(const opt *o, int64_t updates, double factor)
{
    double p = exponent(o, updates > 0 ? updates - 1 : 0);
    stock_lp l = {p, o->l1 * factor, 0, o->root, o->mse, &unit_rows};
    return l;
}

static int current(const sae_model *m, const sae_ctx *c, stock_lp *l)
{
    int64_t updates;
    double factor;
    SAE_TRY(stock_get(c, &updates, m->t[UPDATES].w, sizeof updates));
    SAE_TRY(stock_get(c, &factor, m->t[FACTOR].w, sizeof factor));
    *l = rule(c->opt, updates, factor);
    return SAE_OK;
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    (void)o;
    return stock_lp_workspace(dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    const double one = 1, queue[QUEUE_LENGTH][2] = {{0}};
    const int64_t none = 0;
    SAE_TRY(stock_put(c, m->t[UPDATES].w, &none, sizeof none));
    SAE_TRY(stock_put(c, m->t[FACTOR].w, &one, sizeof one));
    SAE_TRY(stock_put(c, m->t[QUEUE].w, queue, sizeof queue));
    SAE_TRY(stock_put(c, m->t[QUEUED].w, &none, sizeof none));
    return stock_init(m, c, sample, &o->init, 1);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_lp l;
    SAE_TRY(current(m, c, &l));
    return stock_lp_forward(m, c, b, &l, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_lp l;
    SAE_TRY(current(m, c, &l));
    return stock_lp_backward(m, c, b, &l, t);
}

/* This batch's penalty at p and at the exponent that update number `updates` sets, into the
 * queue. */
static int push(sae_model *m, const sae_ctx *c, const sae_tape *t, int64_t updates)
{
    stock_lp l = rule(c->opt, updates + 1, 1);
    stock_lp_mem mem;
    double pair[2] = {t->loss[1], 0};
    int64_t queued;
    stock_lp_layout(&m->dim, t->B, c->mode, t->scratch, &mem);
    SAE_TRY(stock_lp_penalty(c, &l, &t->code, &mem, &pair[1]));
    SAE_TRY(stock_get(c, &queued, m->t[QUEUED].w, sizeof queued));
    SAE_TRY(stock_put(c, (double *)m->t[QUEUE].w + 2 * (queued % QUEUE_LENGTH), pair, sizeof pair));
    queued++;
    return stock_put(c, m->t[QUEUED].w, &queued, sizeof queued);
}

/* factor *= mean penalty at p / mean penalty at the next p, so that the change of p leaves the
 * penalty's size as it is. */
static int rescale(sae_model *m, const sae_ctx *c)
{
    double queue[QUEUE_LENGTH][2], sum[2] = {0}, factor;
    int64_t queued;
    SAE_TRY(stock_get(c, queue, m->t[QUEUE].w, sizeof queue));
    SAE_TRY(stock_get(c, &queued, m->t[QUEUED].w, sizeof queued));
    SAE_TRY(stock_get(c, &factor, m->t[FACTOR].w, sizeof factor));
    for (int64_t i = 0; i < queued && i < QUEUE_LENGTH; i++)
        for (int k = 0; k < 2; k++)
            sum[k] += queue[i][k];
    if (sum[0] > 0 && sum[1] > 0)
        factor *= sum[0] / sum[1];
    return stock_put(c, m->t[FACTOR].w, &factor, sizeof factor);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    int64_t updates;
    (void)b;
    SAE_TRY(stock_get(c, &updates, m->t[UPDATES].w, sizeof updates));
    if (updates >= o->updates)
        return SAE_OK;
    int64_t due = update_step(o, c->steps, updates);
    if (updates > 0 && c->step > due - QUEUE_LENGTH)
        SAE_TRY(push(m, c, t, updates));
    if (c->step < due)
        return SAE_OK;
    if (updates > 0)
        SAE_TRY(rescale(m, c));
    updates++;
    return stock_put(c, m->t[UPDATES].w, &updates, sizeof updates);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return stock_dense_flops(dim, B, mode);
}

extern const sae_variant sae_variant_p_anneal;
const sae_variant sae_variant_p_anneal = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "p_anneal",
    .summary = "positive part of the pre-activations, an Lp penalty whose p falls from 1",
    .source = "Karvonen et al. 2024, Measuring progress in dictionary learning with board games",
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
    .adapt = adapt,
    .flops = flops,
    .saelens = &(const sae_saelens){.architecture = "standard"},
    .presets = presets,
};
