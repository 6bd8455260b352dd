/* suite/bench/cases/steps.c - a training step and an evaluation step of every variant, each beside
 * the product of its encoder.
 *
 * The step is the trainer's own (sae_learner_step): forward, backward, projection, clipping, Adam,
 * statistics, adapt. Weights are fresh; where that lets half of the features through, the biases of
 * the features are lowered until k of them pass, as after training.
 *
 * Step and product x w^T, [B x d] [d x n], alternate; only the step is timed. `of_product` is
 * the median of the pairs' ratios, so that a busy machine slows both sides, and `of_product_cpu`
 * the same in CPU time of all threads. `peak_bytes` is what the whole process held at most,
 * before the product's result is allocated, and `of_memory_limit` its share of parameters +
 * optimiser state + 256 MiB. Variants that read more than rows, tokens and gradients are left
 * out.
 */
#include "bench/cases/work.h"
#include "track/stats.h"
#include "train/learner.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { WARM_STEPS = 3, MAX_PAIRS = 64 };

typedef struct subject {
    sae_cases *c;
    const sae_variant *v;
    int eval;
} subject;

typedef struct side { /* what a benchmark opens */
    sae_learner l;
    sae_batch b;
    sae_engine e;  /* its own: a workspace that no other benchmark has grown */
    sae_tape tape; /* of evaluation */
    sae_ctx ctx;
    sae_real *x, *g;
    sae_real *w, *product; /* the encoder alone: [n x d] frozen, [B x n] */
    sae_token *tok;
    double ratio[MAX_PAIRS], cpu_ratio[MAX_PAIRS];
    double peak; /* bytes; 0: not known */
    int engine_open, open, tape_open;
} side;

/* ---- opening --------------------------------------------------------------------------------- */

static int open_learner(side *s, const subject *of, const sae_shape *shape, sae_err *err)
{
    sae_spec spec = {0};
    sae_train_config c;
    char k[24];
    sae_dims dim = {.d_in = shape->d, .d_out = shape->d};
    sae_train_config_default(&c);
    c.steps = 1000000;
    c.B = shape->B;
    snprintf(k, sizeof k, "%lld", (long long)shape->k);
    int rc = sae_spec_parse(&spec, of->c->reg, SAE_KIND_VARIANT, of->v->name, err);
    if (rc >= 0 && sae_opts_given(spec.opts, "k") == 0)
        rc = sae_opts_set(spec.opts, "k", k, err);
    if (rc >= 0) {
        spec.n = shape->n;
        rc = sae_learner_open(&s->l, &spec, 1, &c, &dim, &s->e, err);
    }
    sae_spec_free(&spec);
    s->open = rc >= 0;
    return rc;
}

/* Normal directions with |x| = 1, the stream's usual units. */
static int open_batch(side *s, const sae_shape *shape, sae_err *err)
{
    const sae_engine *e = &s->e;
    const int64_t B = shape->B, d = shape->d;
    const size_t bytes = (size_t)(B * d) * sizeof(sae_real);
    int with_grad = (s->l.needs & SAE_NEED_GRAD) != 0;
    s->x = e->be->alloc(e->dev, bytes);
    s->g = with_grad ? e->be->alloc(e->dev, bytes) : NULL;
    if (!s->x || (with_grad && !s->g))
        SAE_FAIL(err, SAE_ENOMEM, "no memory for a batch");
    SAE_TRY(sae_new(&s->tok, B, sizeof *s->tok, "bench.tokens", err));
    s->b = (sae_batch){.B = B, .x = s->x, .y = s->x, .g = s->g, .tok = s->tok};
    SAE_TRY(e->k.normal_fill(e->dev, 1, SAE_STREAM_SYNTHETIC, 0, sae_matrix_out(s->x, B, d)));
    SAE_TRY(e->k.unit_rows(e->dev, sae_matrix_out(s->x, B, d)));
    return with_grad
               ? e->k.normal_fill(e->dev, 2, SAE_STREAM_SYNTHETIC, 0, sae_matrix_out(s->g, B, d))
               : SAE_OK;
}

/* ---- sparsity -------------------------------------------------------------------------------- */

static sae_ctx eval_context(side *s, sae_err *err)
{
    return (sae_ctx){.size = sizeof s->ctx, .mode = SAE_EVAL, .seed = 1, .opt = s->l.opt_now,
                     .k = &s->e.k, .dev = s->e.dev, .be = s->e.be, .stats = &s->l.stats.view,
                     .err = err};
}

/* What is 0 or lower the fewer features pass: trained thresholds with the sign changed, or where
 * there are none biases. */
static int is_threshold(const sae_tensor *t)
{
    return strcmp(t->spec->name, "theta") == 0 && t->spec->role == SAE_PARAM;
}

static int is_bias(const sae_tensor *t)
{
    return strncmp(t->spec->name, "b_", 2) == 0;
}

/* All of them = value; 0: there are none. */
static int fill_levels(side *s, sae_real value, sae_err *err)
{
    const sae_engine *e = &s->e;
    const sae_model *m = &s->l.model;
    const sae_tensor *theta = sae_model_tensor(m, "theta");
    const int thresholds = theta && is_threshold(theta);
    sae_real *v = NULL;
    int found = 0, rc = sae_new(&v, m->dim.n, sizeof *v, "bench.bias", err);
    for (int64_t j = 0; rc >= 0 && j < m->dim.n; j++)
        v[j] = thresholds ? -value : value;
    for (int i = 0; rc >= 0 && i < m->nt; i++) {
        const sae_tensor *t = &m->t[i];
        if (!(thresholds ? is_threshold(t) : is_bias(t)) || t->spec->dtype != SAE_REAL ||
            t->rows != 1 || t->cols != m->dim.n)
            continue;
        found = 1;
        rc = e->be->copy(e->dev, t->w, v, (size_t)m->dim.n * sizeof *v, SAE_COPY_H2D);
    }
    sae_free(v);
    return rc < 0 ? rc : found;
}

/* Lower the biases of features, or raise their thresholds, until k of them pass in a row; as they
 * were where that does not work. */
static int settle(side *s, const sae_shape *shape, sae_err *err)
{
    enum { ROWS = 64, HALVINGS = 24 };
    sae_tape t;
    sae_ctx c = eval_context(s, err);
    sae_batch b = s->b;
    double lo = -4, hi = 0;
    b.B = shape->B < ROWS ? shape->B : ROWS;
    sae_extras_give(s->l.extras, &c);
    SAE_TRY(sae_tape_open(&t, s->l.model.v, c.opt, &s->l.model.dim, b.B, SAE_EVAL, &s->e, err));
    int rc = sae_forward(&s->l.model, &c, &b, &t, &s->e);
    const int64_t most = 2 * shape->k * b.B;
    const int lower = rc >= 0 && !t.code.dense && t.code.nnz > most;
    for (int i = 0; lower && rc >= 0 && i < HALVINGS; i++) {
        rc = fill_levels(s, (sae_real)((lo + hi) / 2), err);
        if (rc > 0)
            rc = sae_forward(&s->l.model, &c, &b, &t, &s->e);
        *(t.code.nnz > shape->k * b.B ? &hi : &lo) = (lo + hi) / 2;
    }
    if (lower && rc >= 0 && (t.code.nnz > most || t.code.nnz < most / 4))
        rc = sae_learner_init(&s->l, &s->b, err);
    sae_tape_close(&t, &s->e);
    return rc;
}

/* Evaluation goes through the tape of that mode, as in the metric runner. */
static int open_eval(side *s, const sae_shape *shape, sae_err *err)
{
    const sae_engine *e = &s->e;
    s->ctx = eval_context(s, err);
    sae_extras_give(s->l.extras, &s->ctx);
    SAE_TRY(sae_tape_open(&s->tape, s->l.model.v, s->ctx.opt, &s->l.model.dim, shape->B, SAE_EVAL,
                          e, err));
    s->tape_open = 1;
    SAE_TRY(sae_model_freeze(&s->l.model, e, err));
    return sae_forward(&s->l.model, &s->ctx, &s->b, &s->tape, e); /* room for its codes */
}

/* The product's operands and result. Its weights are a copy that stays frozen: a step freezes its
 * own anew, as the optimiser has moved them. */
static int open_product(side *s, const sae_shape *shape, sae_err *err)
{
    const sae_engine *e = &s->e;
    const sae_tensor *from = sae_model_tensor(&s->l.model, "W_dec");
    const size_t bytes = (size_t)(shape->n * shape->d) * sizeof(sae_real);
    s->product = e->be->alloc(e->dev, (size_t)(shape->B * shape->n) * sizeof(sae_real));
    s->w = e->be->alloc(e->dev, bytes);
    if (!s->product || !s->w)
        SAE_FAIL(err, SAE_ENOMEM, "no memory for the product");
    SAE_TRY(e->be->copy(e->dev, s->w, from->w, bytes, SAE_COPY_D2D));
    return e->be->freeze ? e->be->freeze(e->dev, sae_matrix_in(s->w, shape->n, shape->d)) : SAE_OK;
}

static void close_side(side *s)
{
    const sae_engine *e = &s->e;
    if (s->tape_open)
        sae_tape_close(&s->tape, e);
    if (s->open)
        sae_learner_close(&s->l);
    if (s->engine_open) {
        e->be->release(e->dev, s->x);
        e->be->release(e->dev, s->g);
        e->be->release(e->dev, s->w);
        e->be->release(e->dev, s->product);
        sae_engine_close(&s->e);
    }
    sae_free(s->tok);
    sae_free(s);
}

/* Linux forgets the peak of a process that asks for it; 0 where it does not. */
static int forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    return f && fputs("5", f) >= 0 && fclose(f) == 0;
}

static int open_side(side *s, const subject *of, const sae_shape *shape, sae_err *err)
{
    const sae_engine *e = of->c->e;
    int known = forget_peak();
    SAE_TRY(sae_engine_like(&s->e, e, e->props.threads, err));
    s->engine_open = 1;
    SAE_TRY(open_learner(s, of, shape, err));
    SAE_TRY(open_batch(s, shape, err));
    SAE_TRY(sae_learner_init(&s->l, &s->b, err));
    SAE_TRY(settle(s, shape, err));
    for (int i = 0; i < WARM_STEPS; i++)
        SAE_TRY(sae_learner_step(&s->l, &s->b, err));
    s->peak = known && !of->eval ? (double)sae_memory_peak_rss() : 0;
    SAE_TRY(open_product(s, shape, err));
    return of->eval ? open_eval(s, shape, err) : SAE_OK;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int step(side *s, const subject *of, sae_err *err)
{
    s->ctx.err = err;
    int rc = of->eval ? sae_forward(&s->l.model, &s->ctx, &s->b, &s->tape, &s->e)
                      : sae_learner_step(&s->l, &s->b, err);
    return sae_cases_wait(&s->e, rc);
}

static int product(side *s, const sae_shape *shape)
{
    const sae_engine *e = &s->e;
    return sae_cases_wait(e, e->k.gemm(e->dev, 0, 1, 1, sae_matrix_in(s->x, shape->B, shape->d),
                                       sae_matrix_in(s->w, shape->n, shape->d), 0,
                                       sae_matrix_out(s->product, shape->B, shape->n)));
}

static void count_memory(sae_bench_state *st, const side *s)
{
    const sae_variant *v = s->l.model.v;
    size_t bare = sae_model_bytes(v, &s->l.model.dim, 0);
    size_t moment = sae_model_bytes(v, &s->l.model.dim, 1) - bare;
    double limit = (double)bare + 2 * (double)moment + 256 * 0x1p20;
    if (s->peak > 0) {
        sae_bench_counter(st, "peak_bytes", s->peak, SAE_BENCH_BASE_1024);
        sae_bench_counter(st, "of_memory_limit", s->peak / limit, SAE_BENCH_VALUE);
    }
}

static double cpu_clock(void) /* of all threads */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int measure(sae_bench_state *st, side *s, const subject *of, const sae_shape *shape,
                   sae_err *err)
{
    double seconds = 0;
    int64_t pairs = 0;
    int rc = SAE_OK;
    SAE_BENCH_LOOP(st) {
        double t0 = sae_clock(), c0 = cpu_clock();
        rc = step(s, of, err);
        double t1 = sae_clock(), c1 = cpu_clock();
        sae_bench_pause(st);
        if (rc >= 0)
            rc = product(s, shape);
        double t2 = sae_clock(), c2 = cpu_clock();
        if (rc < 0) {
            sae_cases_fail(st, rc, err);
            break;
        }
        sae_bench_resume(st);
        seconds += t1 - t0;
        s->ratio[pairs % MAX_PAIRS] = (t1 - t0) / (t2 - t1);
        s->cpu_ratio[pairs++ % MAX_PAIRS] = (c1 - c0) / (c2 - c1);
    }
    SAE_TRY(rc);
    pairs = pairs < MAX_PAIRS ? pairs : MAX_PAIRS;
    double n = (double)sae_bench_iterations(st);
    sae_bench_counter(st, "of_product", sae_median(s->ratio, pairs), SAE_BENCH_VALUE);
    sae_bench_counter(st, "of_product_cpu", sae_median(s->cpu_ratio, pairs), SAE_BENCH_VALUE);
    count_memory(st, s);
    sae_cases_rates(of->c, st, seconds,
                    n * 2 * (double)shape->B * (double)shape->n * (double)shape->d, 0);
    return SAE_OK;
}

static void run(sae_bench_state *st)
{
    const subject *of = sae_bench_user(st);
    const sae_shape shape = sae_cases_shape_of(st);
    sae_err err = {0};
    side *s = NULL;
    sae_work_close(of->c->work);
    int rc = sae_new(&s, 1, sizeof *s, "bench.side", &err);
    if (rc >= 0)
        rc = open_side(s, of, &shape, &err);
    if (rc < 0)
        sae_cases_fail(st, rc, &err);
    else
        measure(st, s, of, &shape, &err);
    if (s)
        close_side(s);
}

/* ---- registration ---------------------------------------------------------------------------- */

int sae_cases_beyond_rows(const sae_variant *v)
{
    sae_opts *o = NULL;
    sae_err err = {0};
    if (sae_opts_open(&o, v->options, v->opt_size, &err) < 0)
        return 1;
    uint64_t needs = v->needs(sae_opts_base(o), SAE_TRAIN);
    sae_opts_close(&o);
    return (needs & ~(uint64_t)(SAE_NEED_GRAD | SAE_NEED_TOKENS)) != 0;
}

int sae_cases_steps(sae_cases *c, sae_err *err)
{
    static const sae_shape shape = {768, 16384, 4096, 32};
    for (const sae_variant *const *v = sae_all_variants(c->reg); *v; v++)
        for (int eval = 0; eval < 2 && !sae_cases_beyond_rows(*v); eval++) {
            char name[96];
            subject *s = sae_cases_keep(c, sizeof *s, err);
            if (!s)
                return SAE_ENOMEM;
            *s = (subject){c, *v, eval};
            snprintf(name, sizeof name, "%s/%s", eval ? "eval" : "train", (*v)->name);
            sae_bench *b = sae_cases_shape(sae_bench_add(name, run, s), &shape);
            sae_bench_set_iterations(sae_cases_timed(b), 3);
        }
    return SAE_OK;
}
