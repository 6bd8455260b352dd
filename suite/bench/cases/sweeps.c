/* suite/bench/cases/sweeps.c - cost against one thing at a time, with the curve it follows: the
 * fused encoder against dictionary size, sparsity and width, and against threads; a training step
 * against the number of SAEs on one stream of rows.
 *
 * Named by what varies: sweep/encode_topk/n: the rest of the shape stands in the arguments.
 */
#include "bench/cases/work.h"
#include "train/learner.h"

#include <stdio.h>

enum { ROWS = 256, MAX_SAES = 8 };

typedef struct sweep {
    sae_cases *c;
    int varies; /* index of the argument */
} sweep;

/* ---- the encoder ----------------------------------------------------------------------------- */

typedef struct encoding {
    sae_work *w;
    const sae_engine *e; /* who computes; the data is on the host */
} encoding;

static int encode(void *arg, sae_err *err)
{
    const encoding *o = arg;
    const sae_shape *s = &o->w->s;
    sae_encoder in = {.x = sae_matrix_in(sae_work_get(o->w, SLOT_X), s->B, s->d),
                      .w = sae_matrix_in(sae_work_get(o->w, SLOT_W), s->n, s->d)};
    sae_code *z = sae_work_made(o->w);
    (void)err;
    SAE_TRY(o->w->rc);
    return sae_cases_wait(o->e, o->e->k.encode_topk(o->e->dev, &in, SAE_KEY_RELU, s->k, z));
}

/* The loop, its rates and N. */
static void time_encoder(sae_bench_state *st, sae_cases *c, const sae_engine *e, int64_t N)
{
    const sae_shape s = sae_cases_shape_of(st);
    encoding o = {c->work, e};
    sae_err err = {0};
    sae_work_shape(c->work, &s);
    int rc = encode(&o, &err); /* makes the data, warms up */
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        return;
    }
    double seconds = sae_cases_loop(st, encode, &o);
    if (seconds < 0)
        return;
    sae_bench_set_complexity_n(st, N);
    sae_cases_rates(c, st, seconds,
                    2.0 * (double)sae_bench_iterations(st) * (double)s.B * (double)s.n *
                        (double)s.d, 0);
}

static void run_encoder(sae_bench_state *st)
{
    const sweep *s = sae_bench_user(st);
    time_encoder(st, s->c, s->c->e, sae_bench_range_of(st, s->varies));
}

/* A device of its own with so many threads; argument 4. */
static void run_threads(sae_bench_state *st)
{
    const sweep *s = sae_bench_user(st);
    sae_engine e;
    sae_err err = {0};
    int64_t threads = sae_bench_range_of(st, 4);
    int rc = sae_engine_like(&e, s->c->e, (int)threads, &err);
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        return;
    }
    time_encoder(st, s->c, &e, threads);
    sae_engine_close(&e);
}

/* ---- several SAEs on one stream -------------------------------------------------------------- */

typedef struct group {
    sae_learner l[MAX_SAES];
    int64_t count;
    sae_batch b;
} group;

static int open_group(group *g, sae_cases *c, const sae_shape *s, int64_t count, sae_err *err)
{
    const sae_variant *const *v = sae_all_variants(c->reg);
    sae_dims dim = {.d_in = s->d, .d_out = s->d};
    sae_train_config cfg;
    while (sae_cases_beyond_rows(*v)) /* the first that trains on rows alone */
        v++;
    sae_train_config_default(&cfg);
    cfg.steps = 1000000;
    cfg.B = s->B;
    for (; g->count < count; g->count++) {
        sae_spec spec = {0};
        int rc = sae_spec_parse(&spec, c->reg, SAE_KIND_VARIANT, (*v)->name, err);
        if (rc >= 0) {
            spec.n = s->n;
            rc = sae_learner_open(&g->l[g->count], &spec, (uint64_t)g->count + 1, &cfg, &dim, c->e,
                                  err);
        }
        sae_spec_free(&spec);
        SAE_TRY(rc);
    }
    return SAE_OK;
}

static int step_group(void *arg, sae_err *err)
{
    group *g = arg;
    for (int64_t i = 0; i < g->count; i++)
        SAE_TRY(sae_learner_step(&g->l[i], &g->b, err));
    return SAE_OK;
}

static void close_group(group *g)
{
    while (g->count > 0)
        sae_learner_close(&g->l[--g->count]);
    sae_free(g);
}

static int prepare_group(group *g, sae_cases *c, const sae_shape *s, int64_t count, sae_err *err)
{
    const sae_real *x = sae_work_get(c->work, SLOT_X);
    SAE_TRY(c->work->rc);
    g->b = (sae_batch){.B = s->B, .x = x, .y = x};
    SAE_TRY(open_group(g, c, s, count, err));
    for (int64_t i = 0; i < count; i++)
        SAE_TRY(sae_learner_init(&g->l[i], &g->b, err));
    return step_group(g, err);
}

static void time_group(sae_bench_state *st, sae_cases *c, group *g, const sae_shape *s)
{
    double seconds = sae_cases_loop(st, step_group, g);
    double steps = (double)sae_bench_iterations(st) * (double)g->count;
    if (seconds < 0)
        return;
    sae_bench_set_complexity_n(st, g->count);
    sae_bench_set_items(st, (int64_t)steps * s->B);
    sae_cases_rates(c, st, seconds, steps * 2 * (double)s->B * (double)s->n * (double)s->d, 0);
}

static void run_group(sae_bench_state *st)
{
    sae_cases *c = ((const sweep *)sae_bench_user(st))->c;
    const sae_shape s = sae_cases_shape_of(st);
    sae_err err = {0};
    group *g = NULL;
    sae_work_shape(c->work, &s);
    int rc = sae_new(&g, 1, sizeof *g, "bench.group", &err);
    if (rc >= 0)
        rc = prepare_group(g, c, &s, sae_bench_range_of(st, 4), &err);
    if (rc < 0)
        sae_cases_fail(st, rc, &err);
    else
        time_group(st, c, g, &s);
    if (g)
        close_group(g);
}

/* ---- registration ---------------------------------------------------------------------------- */

static sae_bench *add(sae_cases *c, const char *name, sae_bench_fn *fn, int varies, sae_err *err)
{
    sweep *s = sae_cases_keep(c, sizeof *s, err);
    if (!s)
        return NULL;
    *s = (sweep){c, varies};
    sae_bench *b = sae_cases_timed(sae_bench_add(name, fn, s));
    return sae_bench_complexity(b, SAE_BENCH_O_AUTO);
}

int sae_cases_sweeps(sae_cases *c, sae_err *err)
{
    sae_bench *n = add(c, "sweep/encode_topk/n", run_encoder, 1, err);
    sae_bench *k = add(c, "sweep/encode_topk/k", run_encoder, 3, err);
    sae_bench *d = add(c, "sweep/encode_topk/d", run_encoder, 0, err);
    sae_bench *threads = add(c, "sweep/encode_topk/threads", run_threads, 4, err);
    sae_bench *saes = add(c, "sweep/train/saes", run_group, 4, err);
    if (!n || !k || !d || !threads || !saes)
        return SAE_ENOMEM;
    for (int64_t i = 1024; i <= 131072; i *= 2)
        SAE_BENCH_ARGS(n, 256, i, ROWS, 32);
    for (int64_t i = 8; i <= 512; i *= 2)
        SAE_BENCH_ARGS(k, 256, 16384, ROWS, i);
    for (int64_t i = 64; i <= 4096; i *= 2)
        SAE_BENCH_ARGS(d, i, 8192, ROWS, 32);
    for (int64_t i = 1; i <= (c->e->props.shares_host ? c->e->props.threads : 1); i *= 2)
        SAE_BENCH_ARGS(threads, 512, 16384, ROWS, 32, i);
    for (int64_t i = 1; i <= MAX_SAES; i *= 2)
        SAE_BENCH_ARGS(saes, 256, 4096, ROWS, 32, i);
    sae_bench *const four[] = {n, k, d};
    for (size_t i = 0; i < 3; i++)
        SAE_BENCH_ARG_NAMES(four[i], "d", "n", "B", "k");
    SAE_BENCH_ARG_NAMES(threads, "d", "n", "B", "k", "threads");
    SAE_BENCH_ARG_NAMES(saes, "d", "n", "B", "k", "saes");
    return SAE_OK;
}
