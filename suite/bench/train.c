/* suite/bench/train.c - the cost of a training step of every variant against its encoder's product.
 *
 * The step is the trainer's own (sae_learner_step): forward, backward, projection, clipping, Adam,
 * statistics, adapt. Step and product x w^T [B x d] [d x n] alternate in one process; medians over
 * the rounds. Every variant runs in a process of its own, so that its peak memory is its own; it is
 * read before the product's B x n result is allocated, and set against parameters + optimiser state
 * + 256 MiB. usage: train [--d N] [--n N] [--B N] [--k N] [--threads N] [--rounds N] [SPEC...]
 */
#include "core/log.h"
#include "core/memory.h"
#include "train/learner.h"

#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ROUNDS = 99, WARM_STEPS = 3 };

typedef struct shape {
    int64_t d, n, B, k, threads, rounds;
} shape;

typedef struct bench {
    shape s;
    sae_registry *reg;
    sae_engine e;
    sae_learner l;
    sae_batch b;
    sae_real *product;
    double step[MAX_ROUNDS], gemm[MAX_ROUNDS];
    size_t peak; /* bytes resident after a few steps */
} bench;

static sae_real *reals(bench *b, int64_t count)
{
    return b->e.be->alloc(b->e.dev, (size_t)count * sizeof(sae_real));
}

/* Normal directions with |x| = 1, the stream's usual units. */
static int open_batch(bench *b)
{
    int64_t B = b->s.B, d = b->s.d;
    sae_real *x = reals(b, B * d), *g = b->l.needs & SAE_NEED_GRAD ? reals(b, B * d) : NULL;
    sae_token *tok = sae_alloc((size_t)B * sizeof *tok);
    if (!x || !tok || (b->l.needs & SAE_NEED_GRAD && !g))
        return SAE_ENOMEM;
    b->b = (sae_batch){.B = B, .x = x, .y = x, .g = g, .tok = tok};
    int rc = b->e.k.normal_fill(b->e.dev, 1, SAE_STREAM_SYNTHETIC, 0, (sae_mat){x, B, d, d});
    if (rc >= 0)
        rc = b->e.k.unit_rows(b->e.dev, (sae_mat){x, B, d, d});
    if (rc >= 0 && g)
        rc = b->e.k.normal_fill(b->e.dev, 2, SAE_STREAM_SYNTHETIC, 0, (sae_mat){g, B, d, d});
    return rc;
}

static int open_learner(bench *b, const char *text, sae_err *err)
{
    sae_spec spec = {0};
    sae_train_config c;
    char k[24];
    sae_dims dim = {.d_in = b->s.d, .d_out = b->s.d};
    sae_train_config_default(&c);
    c.steps = 1000;
    c.B = b->s.B;
    snprintf(k, sizeof k, "%lld", (long long)b->s.k);
    int rc = sae_spec_parse(&spec, b->reg, SAE_KIND_VARIANT, text, err);
    if (rc >= 0 && sae_opts_given(spec.opts, "k") == 0)
        rc = sae_opts_set(spec.opts, "k", k, err);
    if (rc >= 0) {
        spec.n = b->s.n;
        rc = sae_learner_open(&b->l, &spec, 1, &c, &dim, &b->e, err);
    }
    sae_spec_free(&spec);
    return rc;
}

static int run_gemm(bench *b)
{
    const sae_tensor *w = sae_model_tensor(&b->l.model, "W_dec"); /* any n x d matrix */
    int64_t B = b->s.B, d = b->s.d, n = w->rows;
    return b->e.k.gemm(b->e.dev, 0, 1, 1, (sae_cmat){b->b.x, B, d, d}, (sae_cmat){w->w, n, d, d}, 0,
                       (sae_mat){b->product, B, n, n});
}

static int measure(bench *b, sae_err *err)
{
    int rc = sae_learner_init(&b->l, &b->b, err);
    for (int i = 0; i < WARM_STEPS && rc >= 0; i++)
        rc = sae_learner_step(&b->l, &b->b, err);
    b->peak = sae_memory_peak_rss();
    b->product = reals(b, b->s.B * b->s.n);
    if (!b->product)
        return SAE_ENOMEM;
    for (int64_t i = -1; i < b->s.rounds && rc >= 0; i++) { /* round -1 warms the product up */
        double t0 = sae_clock();
        rc = sae_learner_step(&b->l, &b->b, err);
        double t1 = sae_clock();
        if (rc >= 0)
            rc = run_gemm(b);
        if (i >= 0) {
            b->step[i] = t1 - t0;
            b->gemm[i] = sae_clock() - t1;
        }
    }
    return rc;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int64_t count)
{
    qsort(v, (size_t)count, sizeof *v, ascending);
    return v[count / 2];
}

static void print(bench *b, const char *text)
{
    const double MiB = 1048576;
    const sae_variant *v = b->l.model.v;
    size_t bare = sae_model_bytes(v, &b->l.model.dim, 0);
    size_t moment = sae_model_bytes(v, &b->l.model.dim, 1) - bare;
    double step = median(b->step, b->s.rounds), gemm = median(b->gemm, b->s.rounds);
    printf("%-24s %9.2f %9.2f %9.2f %8.3f %9.1f %9.1f\n", text, 1e3 * step, 1e3 * b->step[0],
           1e3 * gemm, step / gemm, (double)b->peak / MiB,
           ((double)bare + 2 * (double)moment) / MiB + 256);
}

/* One variant. */
static int run(const shape *s, const char *text)
{
    static bench b;
    sae_err err = {0};
    b.s = *s;
    int rc = sae_registry_open(&b.reg, &err);
    if (rc >= 0)
        rc = sae_engine_open(&b.e, sae_all_backends(b.reg)[0], 0, (int)s->threads, &err);
    if (rc >= 0)
        rc = open_learner(&b, text, &err);
    if (rc >= 0)
        rc = open_batch(&b);
    if (rc >= 0)
        rc = measure(&b, &err);
    if (rc < 0)
        fprintf(stderr, "train: %s: %s\n", text, err.msg[0] ? err.msg : "out of memory");
    else
        print(&b, text);
    return rc < 0;
}

/* What is measured, on what. */
static int head(const shape *s, const char *text)
{
    (void)text;
    sae_engine e;
    sae_registry *reg;
    sae_err err = {0};
    if (sae_registry_open(&reg, &err) < 0 ||
        sae_engine_open(&e, sae_all_backends(reg)[0], 0, (int)s->threads, &err) < 0) {
        fprintf(stderr, "train: %s\n", err.msg);
        return 1;
    }
    printf(
        "%s; %s; backend %s, %d threads\nd %lld, n %lld, B %lld, k %lld, medians of %lld rounds\n",
        e.props.name, e.props.library, e.be->name, e.props.threads, (long long)s->d,
        (long long)s->n, (long long)s->B, (long long)s->k, (long long)s->rounds);
    printf("%-24s %9s %9s %9s %8s %9s %9s\n", "variant", "step ms", "min ms", "sgemm ms", "/ sgemm",
           "peak MiB", "limit MiB");
    sae_engine_close(&e);
    sae_registry_close(&reg);
    return 0;
}

/* In a child process: its memory is counted alone, and no thread exists before the fork. */
static int apart(int (*fn)(const shape *, const char *), const shape *s, const char *text)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        status = fn(s, text);
        fflush(stdout);
        _exit(status);
    }
    return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

/* Options first, then specs; *at is the first spec. */
static int parse(int argc, char **argv, shape *s, int *at)
{
    const struct {
        const char *name;
        int64_t *value;
    } option[] = {{"--d", &s->d},
                  {"--n", &s->n},
                  {"--B", &s->B},
                  {"--k", &s->k},
                  {"--threads", &s->threads},
                  {"--rounds", &s->rounds}};
    const size_t count = sizeof option / sizeof option[0];
    for (*at = 1; *at < argc && argv[*at][0] == '-'; *at += 2) {
        size_t i = 0;
        while (i < count && strcmp(argv[*at], option[i].name) != 0)
            i++;
        if (i == count || *at + 1 == argc || sae_int_parse(argv[*at + 1], option[i].value) < 0 ||
            *option[i].value < 1)
            return 0;
    }
    return s->rounds <= MAX_ROUNDS;
}

/* Whether a variant reads what there is none of here: a model, a target, a dictionary, a SAE. */
static int beyond_rows(const sae_variant *v)
{
    sae_opts *o = NULL;
    sae_err err = {0};
    if (sae_opts_open(&o, v->options, v->opt_size, &err) < 0)
        return 1;
    uint64_t needs = v->needs(sae_opts_base(o), SAE_TRAIN);
    sae_opts_close(&o);
    return (needs & ~(uint64_t)(SAE_NEED_GRAD | SAE_NEED_TOKENS)) != 0;
}

int main(int argc, char **argv)
{
    shape s = {768, 16384, 4096, 32, 0, 9};
    int at = 1, failed = 0;
    sae_registry *reg;
    sae_err err = {0};
    if (!parse(argc, argv, &s, &at)) {
        fprintf(stderr, "usage: train [--d N] [--n N] [--B N] [--k N] [--threads N] [--rounds N] "
                        "[SPEC...]\n");
        return 2;
    }
    if (sae_registry_open(&reg, &err) < 0 || apart(head, &s, NULL))
        return 1;
    for (int i = at; i < argc; i++)
        failed |= apart(run, &s, argv[i]);
    for (const sae_variant *const *v = sae_all_variants(reg); at == argc && *v; v++)
        if (!beyond_rows(*v))
            failed |= apart(run, &s, (*v)->name);
    sae_registry_close(&reg);
    return failed;
}
