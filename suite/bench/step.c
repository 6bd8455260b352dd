/* suite/bench/step.c - the cost of a top-k training step and evaluation against one SGEMM.
 *
 * Everything is measured in one process, interleaved: round by round each part once, medians over
 * the rounds. The yardstick is the faster product x w^T, [B x d] [d x n], of the run: OpenBLAS with
 * as many threads of its own, or ours.
 *
 * usage: step [--d N] [--n N] [--B N] [--k N] [--threads N] [--rounds N]
 */
#include "core/list.h"

#include <math.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef SAE_HAVE_OPENBLAS
#include <cblas.h>
#endif

enum { MAX_PARTS = 48, MAX_ROUNDS = 99, IN_TRAIN = 1, IN_EVAL = 2, IN_BOTH = 3 };

typedef struct shape {
    int64_t d, n, B, k;
    int threads, rounds;
} shape;

typedef struct bench {
    shape s;
    enum sae_key key;
    sae_device *dev;
    const sae_backend *be;
    sae_kernels k;
    int failed; /* first status below 0 */
    float *x, *xs, *xhat, *resid, *product;
    float *w_enc, *w_dec, *b_enc, *b_dec;             /* parameters */
    float *grad[4], *m[4], *v[4];                     /* of w_enc, w_dec, b_enc, b_dec */
    double *sse, norm2;
    sae_code z;
    float *dval;
    sae_csc t;
    uint64_t *fired, *count;
} bench;

typedef struct part {
    const char *name;
    void (*run)(bench *b);
    double flops, bytes; /* per call; bytes that must move between memory and processor */
    int uses;            /* IN_TRAIN, IN_EVAL: which sums of parts it belongs to */
    enum sae_key key;
} part;

typedef struct timing {
    double round[MAX_ROUNDS], median;
} timing;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(bench *b, int rc)
{
    if (rc < 0 && !b->failed)
        b->failed = rc;
}

static sae_cmat in(const float *p, int64_t rows, int64_t cols)
{
    sae_cmat m = {p, rows, cols, cols};
    return m;
}

static sae_mat out(float *p, int64_t rows, int64_t cols)
{
    sae_mat m = {p, rows, cols, cols};
    return m;
}

static sae_encoder encoder(const bench *b)
{
    sae_encoder e = {in(b->x, b->s.B, b->s.d), b->b_dec, in(b->w_enc, b->s.n, b->s.d), b->b_enc,
                     NULL, 0};
    return e;
}

/* ---- parts ---------------------------------------------------------------------------------- */

#ifdef SAE_HAVE_OPENBLAS
static void run_openblas(bench *b)
{
    const shape *s = &b->s;
    openblas_set_num_threads(s->threads);
    int B = (int)s->B, n = (int)s->n, d = (int)s->d;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, B, n, d, 1, b->x, d, b->w_enc, d, 0,
                b->product, n);
}
#endif

static void run_gemm(bench *b)
{
    must(b, b->k.gemm(b->dev, 0, 1, 1, in(b->x, b->s.B, b->s.d), in(b->w_enc, b->s.n, b->s.d), 0,
                      out(b->product, b->s.B, b->s.n)));
}

static void run_encode(bench *b)
{
    sae_encoder e = encoder(b);
    must(b, b->k.encode_topk(b->dev, &e, b->key, b->s.k, &b->z));
}

static void run_encode_flat(bench *b)
{
    sae_encoder e = encoder(b);
    must(b, b->k.encode_flat_topk(b->dev, &e, b->key, b->s.k * b->s.B, &b->z));
}

/* With the bound that lets about k entries of a standard normal row through. */
static void run_above(bench *b)
{
    sae_encoder e = encoder(b);
    must(b, b->k.encode_threshold(b->dev, &e, b->key, 3.2, NULL, &b->z));
}

static void run_decode(bench *b)
{
    must(b, b->k.code_decode(b->dev, &b->z, in(b->w_dec, b->s.n, b->s.d), b->b_dec,
                             out(b->xhat, b->s.B, b->s.d)));
}

static void run_residual(bench *b)
{
    double total;
    must(b, b->k.residual(b->dev, in(b->xhat, b->s.B, b->s.d), in(b->x, b->s.B, b->s.d),
                          out(b->resid, b->s.B, b->s.d), b->sse));
    must(b, b->k.sum(b->dev, b->s.B, b->sse, &total));
}

static void run_grad(bench *b)
{
    must(b, b->k.code_grad(b->dev, &b->z, in(b->resid, b->s.B, b->s.d),
                           in(b->w_dec, b->s.n, b->s.d), b->dval));
}

static void run_transpose(bench *b)
{
    must(b, b->k.code_transpose(b->dev, &b->z, &b->t));
}

static void run_outer_dec(bench *b)
{
    must(b, b->k.code_outer(b->dev, &b->t, b->z.val, 1, in(b->resid, b->s.B, b->s.d),
                            out(b->grad[1], b->s.n, b->s.d)));
}

static void run_shift(bench *b)
{
    must(b, b->k.shift_rows(b->dev, in(b->x, b->s.B, b->s.d), -1, b->b_dec,
                            out(b->xs, b->s.B, b->s.d)));
}

static void run_outer_enc(bench *b)
{
    must(b, b->k.code_outer(b->dev, &b->t, b->dval, 1, in(b->xs, b->s.B, b->s.d),
                            out(b->grad[0], b->s.n, b->s.d)));
}

static void run_bias(bench *b)
{
    must(b, b->k.code_col_sum(b->dev, &b->t, b->dval, 1, b->grad[2]));
    must(b, b->k.col_sum(b->dev, in(b->resid, b->s.B, b->s.d), 1, b->grad[3]));
}

/* Norms for clipping: the decoder's gradient is projected, the others are only measured. */
static void run_project(bench *b)
{
    must(b, b->k.project_rows(b->dev, in(b->w_dec, b->s.n, b->s.d),
                              out(b->grad[1], b->s.n, b->s.d), &b->norm2));
    must(b, b->k.project_rows(b->dev, in(NULL, 0, 0), out(b->grad[0], b->s.n, b->s.d), &b->norm2));
}

static void adam(bench *b, int i, float *w, int64_t rows, int64_t cols, int unit)
{
    sae_adam a = {1e-4, 0.9, 0.999, 1e-8, 0, 1, 100, unit};
    must(b, b->k.adam_step(b->dev, &a, out(w, rows, cols), b->grad[i], b->m[i], b->v[i]));
}

static void run_adam(bench *b)
{
    adam(b, 0, b->w_enc, b->s.n, b->s.d, 0);
    adam(b, 1, b->w_dec, b->s.n, b->s.d, 1);
    adam(b, 2, b->b_enc, 1, b->s.n, 0);
    adam(b, 3, b->b_dec, 1, b->s.d, 0);
}

static void run_fire(bench *b)
{
    must(b, b->k.fire_update(b->dev, &b->z, 1, b->fired, b->count));
}

static void run_train(bench *b)
{
    static void (*const step[])(bench *) = {
        run_encode, run_decode,    run_residual, run_grad, run_transpose, run_outer_dec,
        run_shift,  run_outer_enc, run_bias,     run_project, run_adam,   run_fire};
    for (size_t i = 0; i < sizeof step / sizeof step[0]; i++)
        step[i](b);
}

static void run_eval(bench *b)
{
    run_encode(b);
    run_decode(b);
    run_residual(b);
}

/* ---- the run --------------------------------------------------------------------------------*/

static int list_parts(const shape *s, part *p)
{
    double B = (double)s->B, d = (double)s->d, n = (double)s->n, k = (double)s->k;
    double product = 2 * B * d * n, sparse = 2 * B * k * d, bd = 4 * B * d, nd = 4 * n * d;
    const part all[] = {
#ifdef SAE_HAVE_OPENBLAS
        {"sgemm OpenBLAS", run_openblas, product, bd + nd + 4 * B * n, 0, SAE_KEY_RELU},
#endif
        {"sgemm ours", run_gemm, product, bd + nd + 4 * B * n, 0, SAE_KEY_RELU},
        {"encode_topk relu", run_encode, product, bd + nd, IN_BOTH, SAE_KEY_RELU},
        {"encode_topk abs", run_encode, product, bd + nd, 0, SAE_KEY_ABS},
        {"encode_flat_topk relu", run_encode_flat, product, bd + nd, 0, SAE_KEY_RELU},
        {"encode_threshold relu", run_above, product, bd + nd, 0, SAE_KEY_RELU},
        {"code_decode", run_decode, sparse, nd + bd, IN_BOTH, SAE_KEY_RELU},
        {"residual + sum", run_residual, 3 * B * d, 3 * bd, IN_BOTH, SAE_KEY_RELU},
        {"code_grad", run_grad, sparse, nd + bd, IN_TRAIN, SAE_KEY_RELU},
        {"code_transpose", run_transpose, 0, 20 * B * k, IN_TRAIN, SAE_KEY_RELU},
        {"code_outer decoder", run_outer_dec, sparse, 2 * nd + bd, IN_TRAIN, SAE_KEY_RELU},
        {"shift_rows", run_shift, B * d, 2 * bd, IN_TRAIN, SAE_KEY_RELU},
        {"code_outer encoder", run_outer_enc, sparse, 2 * nd + bd, IN_TRAIN, SAE_KEY_RELU},
        {"bias gradients", run_bias, B * d, bd, IN_TRAIN, SAE_KEY_RELU},
        {"project_rows, norms", run_project, 10 * n * d, 4 * nd, IN_TRAIN, SAE_KEY_RELU},
        {"adam_step, unit rows", run_adam, 26 * n * d, 16 * nd, IN_TRAIN, SAE_KEY_RELU},
        {"fire_update", run_fire, 0, 8 * B * k, IN_TRAIN, SAE_KEY_RELU},
        {"TRAIN step relu", run_train, product, 0, 0, SAE_KEY_RELU},
        {"TRAIN step abs", run_train, product, 0, 0, SAE_KEY_ABS},
        {"EVAL relu", run_eval, product, 0, 0, SAE_KEY_RELU},
        {"EVAL abs", run_eval, product, 0, 0, SAE_KEY_ABS},
    };
    memcpy(p, all, sizeof all);
    return (int)(sizeof all / sizeof all[0]);
}

static float *reals(bench *b, int64_t count)
{
    return b->be->alloc(b->dev, (size_t)count * sizeof(float));
}

static int open_bench(bench *b)
{
    const shape *s = &b->s;
    const int64_t nd = s->n * s->d, bd = s->B * s->d, cap = 2 * s->B * s->k;
    const int64_t size[4] = {nd, nd, s->n, s->d};
    float **rows[] = {&b->x, &b->xs, &b->xhat, &b->resid};
    float **param[] = {&b->w_enc, &b->w_dec, &b->b_enc, &b->b_dec};
    int ok = 1;
    for (int i = 0; i < 4; i++) {
        ok &= (*rows[i] = reals(b, bd)) != NULL && (*param[i] = reals(b, size[i])) != NULL;
        ok &= (b->grad[i] = reals(b, size[i])) != NULL && (b->m[i] = reals(b, size[i])) != NULL;
        ok &= (b->v[i] = reals(b, size[i])) != NULL;
    }
    sae_code z = {.cap = cap, .rowptr = b->be->alloc(b->dev, 8 * (size_t)(s->B + 1)),
                  .idx = b->be->alloc(b->dev, 4 * (size_t)cap), .val = reals(b, cap)};
    sae_csc t = {.cap = cap, .colptr = b->be->alloc(b->dev, 8 * (size_t)(s->n + 1)),
                 .row = b->be->alloc(b->dev, 4 * (size_t)cap),
                 .pos = b->be->alloc(b->dev, 8 * (size_t)cap)};
    b->z = z;
    b->t = t;
    b->dval = reals(b, cap);
    b->product = reals(b, s->B * s->n);
    b->sse = b->be->alloc(b->dev, 8 * (size_t)s->B);
    b->fired = b->be->alloc(b->dev, 8 * (size_t)s->n);
    b->count = b->be->alloc(b->dev, 8 * (size_t)s->n);
    return ok && z.rowptr && z.idx && z.val && t.colptr && t.row && t.pos && b->dval &&
           b->product && b->sse && b->fired && b->count;
}

/* Standard normal rows against unit features: scores are standard normal. */
static void fill(bench *b)
{
    const shape *s = &b->s;
    must(b, b->k.normal_fill(b->dev, 1, SAE_STREAM_SYNTHETIC, 0, out(b->x, s->B, s->d)));
    must(b, b->k.normal_fill(b->dev, 2, SAE_STREAM_INIT, 0, out(b->w_enc, s->n, s->d)));
    must(b, b->k.unit_rows(b->dev, out(b->w_enc, s->n, s->d)));
    memcpy(b->w_dec, b->w_enc, (size_t)(s->n * s->d) * sizeof(float));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, const part *p, timing *time, int parts)
{
    for (int r = -1; r < b->s.rounds; r++) /* round -1 warms up */
        for (int i = 0; i < parts; i++) {
            b->key = p[i].key;
            if (p[i].run == run_decode) /* what follows works on codes of top-k */
                run_encode(b);
            double t0 = now();
            p[i].run(b);
            if (r >= 0)
                time[i].round[r] = now() - t0;
        }
    for (int i = 0; i < parts; i++) {
        qsort(time[i].round, (size_t)b->s.rounds, sizeof(double), ascending);
        time[i].median = time[i].round[b->s.rounds / 2];
    }
}

static void print(const bench *b, const part *p, const timing *time, int parts)
{
    double floor = INFINITY, train = 0, eval = 0;
    for (int i = 0; i < parts; i++) {
        if (!strncmp(p[i].name, "sgemm", 5) && time[i].median < floor)
            floor = time[i].median;
        train += p[i].uses & IN_TRAIN ? time[i].median : 0;
        eval += p[i].uses & IN_EVAL ? time[i].median : 0;
    }
    printf("%-24s %9s %9s %8s %9s %7s\n", "part", "ms", "min ms", "/ sgemm", "GFLOP/s", "GB/s");
    for (int i = 0; i < parts; i++)
        printf("%-24s %9.2f %9.2f %8.3f %9.1f %7.1f\n", p[i].name, 1e3 * time[i].median,
               1e3 * time[i].round[0], time[i].median / floor, p[i].flops / time[i].median * 1e-9,
               p[i].bytes / time[i].median * 1e-9);
    printf("sum of parts: train %.3f, eval %.3f x sgemm (%.2f ms, %d threads)\n", train / floor,
           eval / floor, 1e3 * floor, b->s.threads);
}

static int parse(int argc, char **argv, shape *s)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        int64_t v = strtoll(argv[i + 1], NULL, 10);
        if (v <= 0)
            return 0;
        if (!strcmp(argv[i], "--d"))
            s->d = v;
        else if (!strcmp(argv[i], "--n"))
            s->n = v;
        else if (!strcmp(argv[i], "--B"))
            s->B = v;
        else if (!strcmp(argv[i], "--k"))
            s->k = v;
        else if (!strcmp(argv[i], "--threads"))
            s->threads = (int)v;
        else if (!strcmp(argv[i], "--rounds"))
            s->rounds = v < MAX_ROUNDS ? (int)v : MAX_ROUNDS;
        else
            return 0;
    }
    return argc % 2;
}

int main(int argc, char **argv)
{
    bench b = {.s = {768, 16384, 4096, 32, 0, 9}};
    static part p[MAX_PARTS];
    static timing time[MAX_PARTS];
    sae_device_props props;
    sae_err err = {0};
    if (!parse(argc, argv, &b.s)) {
        fprintf(stderr, "usage: step [--d N] [--n N] [--B N] [--k N] [--threads N] [--rounds N]\n");
        return 2;
    }
    for (int i = 0; sae_list_backends[i]; i++) {
        b.be = sae_list_backends[i];
        if (!strcmp(b.be->name, "ref"))
            b.be->kernels(NULL, &b.k);
    }
    for (int i = 0; sae_list_backends[i]; i++)
        if (!strcmp(sae_list_backends[i]->name, "cpu"))
            b.be = sae_list_backends[i];
    if (b.be->open(&b.dev, 0, b.s.threads, &err) < 0 || b.be->props(b.dev, &props) < 0)
        return 1;
    b.be->kernels(b.dev, &b.k);
    b.s.threads = props.threads;
    if (!open_bench(&b)) {
        fprintf(stderr, "step: out of memory\n");
        return 1;
    }
    fill(&b);
    printf("%s; %s\nd %lld, n %lld, B %lld, k %lld, medians of %d rounds\n", props.name,
           props.library, (long long)b.s.d, (long long)b.s.n, (long long)b.s.B, (long long)b.s.k,
           b.s.rounds);
    int parts = list_parts(&b.s, p);
    measure(&b, p, time, parts);
    print(&b, p, time, parts);
    if (b.failed)
        fprintf(stderr, "step: a kernel failed with status %d\n", b.failed);
    return b.failed ? 1 : 0;
}
