/* suite/bench/kernels.c - kernels beside the training step: elementwise functions against the
 * bandwidth of a copy, cross products, prefixes, eigenvectors, pursuits.
 *
 * Medians over the rounds. The pursuits' GFLOP/s count the products that a direct implementation
 * computes, 2 n d for every step of a row: what is more than the machine can do was saved.
 *
 * usage: kernels [--d N] [--n N] [--B N] [--k N] [--threads N] [--rounds N] [--ref ROWS]
 *   --ref ROWS also times the scalar reference's pursuits, on so many rows
 */
#include "core/list.h"

#include <math.h>
#include <sae/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 99, ROWS = 4096 }; /* ROWS x n: elementwise */

typedef struct bench {
    int64_t d, n, B, k, ref_rows;
    int threads, rounds, failed;
    const sae_backend *be;
    sae_device *dev;
    sae_kernels k_of;
    float *a, *b, *out, *x, *w; /* [ROWS x n] three times, [B x d], [n x d] */
    double *target, *sums, *square, *values, *start;
    sae_code z, slice;
    enum sae_fn f;
    enum sae_solver solver;
} bench;

typedef struct part {
    const char *name;
    int (*run)(bench *b);
    double flops, bytes;
    int which; /* function of map or solver */
} part;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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

/* ---- parts ----------------------------------------------------------------------------------- */

/* The yardstick: one read, one write, on as many threads. */
static int run_copy(bench *b)
{
    return b->k_of.shift_rows(b->dev, in(b->a, ROWS, b->n), 0, b->b, out(b->out, ROWS, b->n));
}

static int run_map(bench *b)
{
    double p = b->f == SAE_FN_POWER ? 0.5 : -1;
    return b->k_of.map(b->dev, b->f, p, 1, in(b->a, ROWS, b->n), out(b->out, ROWS, b->n));
}

static int run_mul(bench *b)
{
    return b->k_of.mul(b->dev, 0.5f, in(b->a, ROWS, b->n), in(b->b, ROWS, b->n),
                       out(b->out, ROWS, b->n));
}

static int run_scale(bench *b)
{
    return b->k_of.scale(b->dev, in(b->a, ROWS, b->n), b->b, b->b, out(b->out, ROWS, b->n));
}

static int run_window(bench *b)
{
    return b->k_of.window(b->dev, in(b->a, ROWS, b->n), in(b->b, ROWS, b->n), 0.5,
                          out(b->out, ROWS, b->n));
}

static int run_col_max(bench *b)
{
    return b->k_of.col_max(b->dev, in(b->a, ROWS, b->n), b->out);
}

static int run_cross(bench *b)
{
    return b->k_of.cross(b->dev, in(b->w, b->n, b->d), in(b->w, b->n, b->d), b->sums);
}

static int run_prefix(bench *b)
{
    sae_scores s = {in(b->a, b->B, b->n), {NULL, 0, 0, 0}, SAE_KEY_RELU};
    return b->k_of.row_prefix(b->dev, &s, b->target, 0, &b->z);
}

static int run_slice(bench *b)
{
    return b->k_of.code_slice(b->dev, &b->z, b->n / 4, b->n / 2, &b->slice);
}

static int run_code_scale(bench *b)
{
    return b->k_of.code_scale(b->dev, &b->z, b->z.val, b->a, b->b, b->out);
}

static int run_eigh(bench *b)
{
    memcpy(b->square, b->start, (size_t)(b->d * b->d) * sizeof *b->square);
    return b->k_of.eigh(b->dev, b->d, b->square, b->values);
}

static int run_solve(bench *b)
{
    memcpy(b->square, b->start, (size_t)(b->d * b->d) * sizeof *b->square);
    memcpy(b->values, b->start, (size_t)b->d * sizeof *b->values);
    return b->k_of.solve_spd(b->dev, b->d, 1, b->square, b->values);
}

static int run_pursuit(bench *b)
{
    sae_pursuit p = {.solver = b->solver, .k = b->k};
    return b->k_of.pursuit(b->dev, &p, in(b->x, b->B, b->d), in(b->w, b->n, b->d), &b->z);
}

/* ---- the run --------------------------------------------------------------------------------- */

static int open_bench(bench *b)
{
    int64_t all = ROWS * b->n, cap = b->B * b->n, dd = b->d * b->d;
    void **p[] = {(void **)&b->a, (void **)&b->b, (void **)&b->out, (void **)&b->x, (void **)&b->w,
                  (void **)&b->z.val, (void **)&b->z.idx, (void **)&b->z.rowptr,
                  (void **)&b->slice.val, (void **)&b->slice.idx, (void **)&b->slice.rowptr,
                  (void **)&b->target, (void **)&b->sums, (void **)&b->square,
                  (void **)&b->values, (void **)&b->start};
    const int64_t bytes[] = {4 * all, 4 * all, 4 * all, 4 * b->B * b->d, 4 * b->n * b->d,
                             4 * cap, 4 * cap, 8 * (b->B + 1), 4 * cap, 4 * cap, 8 * (b->B + 1),
                             8 * b->B, 8 * dd, 8 * dd, 8 * b->d, 8 * dd};
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++)
        if (!(*p[i] = b->be->alloc(b->dev, (size_t)bytes[i])))
            return 0;
    b->z.cap = b->slice.cap = cap;
    return 1;
}

/* Standard normal data, unit atoms; targets that about k entries of a row reach. */
static int fill(bench *b)
{
    const sae_kernels *k = &b->k_of;
    int rc = k->normal_fill(b->dev, 1, SAE_STREAM_SYNTHETIC, 0, out(b->a, ROWS, b->n));
    if (!rc)
        rc = k->normal_fill(b->dev, 2, SAE_STREAM_SYNTHETIC, 0, out(b->b, ROWS, b->n));
    if (!rc)
        rc = k->normal_fill(b->dev, 3, SAE_STREAM_SYNTHETIC, 0, out(b->x, b->B, b->d));
    if (!rc)
        rc = k->normal_fill(b->dev, 4, SAE_STREAM_INIT, 0, out(b->w, b->n, b->d));
    if (!rc)
        rc = k->unit_rows(b->dev, out(b->w, b->n, b->d));
    if (!rc)
        rc = k->cross(b->dev, in(b->w, b->n, b->d), in(b->w, b->n, b->d), b->start);
    for (int64_t r = 0; r < b->B; r++)
        b->target[r] = 2.5 * sqrt((double)b->k);
    return rc;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(bench *b, const part *p)
{
    double time[MAX_ROUNDS];
    b->f = (enum sae_fn)p->which;
    b->solver = (enum sae_solver)p->which;
    for (int r = -1; r < b->rounds; r++) { /* round -1 warms up */
        double t0 = now();
        int rc = p->run(b);
        b->failed = b->failed ? b->failed : rc;
        if (r >= 0)
            time[r] = now() - t0;
    }
    qsort(time, (size_t)b->rounds, sizeof *time, ascending);
    return time[b->rounds / 2];
}

static int measure(bench *b)
{
    double e = 4.0 * ROWS * (double)b->n, d = (double)b->d, n = (double)b->n, B = (double)b->B;
    double k = (double)b->k, chase = 2 * B * n * d * k, chase_bytes = 4 * (B * d + n * d);
    const part all[] = {
        {"shift_rows by 0 (copy)", run_copy, 0, 2 * e, 0},
        {"map exp", run_map, 0, 2 * e, SAE_FN_EXP},
        {"map tanh", run_map, 0, 2 * e, SAE_FN_TANH},
        {"map |x|", run_map, 0, 2 * e, SAE_FN_ABS},
        {"map sign", run_map, 0, 2 * e, SAE_FN_SIGN},
        {"map x^0.5", run_map, 0, 2 * e, SAE_FN_POWER},
        {"map clamp", run_map, 0, 2 * e, SAE_FN_CLAMP},
        {"mul", run_mul, e / 2, 3 * e, 0},
        {"scale rows, columns", run_scale, e / 2, 2 * e, 0},
        {"window", run_window, 0, 3 * e, 0},
        {"col_max", run_col_max, 0, e, 0},
        {"cross w w", run_cross, 2 * n * d * d, 4 * n * d + 16 * d * d, 0},
        {"row_prefix", run_prefix, 0, 4 * B * n, 0},
        {"code_slice", run_slice, 0, 10 * B * k, 0},
        {"code_scale", run_code_scale, 2 * B * k, 16 * B * k, 0},
        {"eigh d x d", run_eigh, 9 * d * d * d, 16 * d * d, 0},
        {"solve_spd d x d", run_solve, d * d * d / 3, 8 * d * d, 0},
        {"pursuit mp", run_pursuit, chase, chase_bytes, SAE_SOLVE_MP},
        {"pursuit omp", run_pursuit, chase, chase_bytes, SAE_SOLVE_OMP},
        {"pursuit gradient", run_pursuit, chase, chase_bytes, SAE_SOLVE_GRADIENT},
    };
    int parts = (int)(sizeof all / sizeof all[0]);
    printf("%-24s %10s %9s %7s\n", "part", "ms", "GFLOP/s", "GB/s");
    for (int i = 0; i < parts; i++) {
        double t = median_of(b, &all[i]);
        printf("%-24s %10.3f %9.1f %7.1f\n", all[i].name, 1e3 * t, all[i].flops / t * 1e-9,
               all[i].bytes / t * 1e-9);
    }
    return parts;
}

/* The scalar reference on a few rows; its time is proportional to their number. */
static void measure_reference(bench *b)
{
    static const char *const name[] = {"mp", "omp", "gradient"};
    int64_t rows = b->ref_rows < b->B ? b->ref_rows : b->B;
    sae_device *own = b->dev;
    sae_err err = {0};
    for (int i = 0; sae_list_backends[i] && rows > 0; i++) {
        const sae_backend *ref = sae_list_backends[i];
        if (strcmp(ref->name, "ref") || ref->open(&b->dev, 0, 1, &err) < 0)
            continue;
        ref->kernels(b->dev, &b->k_of);
        for (int s = SAE_SOLVE_MP; s <= SAE_SOLVE_GRADIENT; s++) {
            sae_pursuit p = {.solver = (enum sae_solver)s, .k = b->k};
            double t0 = now();
            int rc = b->k_of.pursuit(b->dev, &p, in(b->x, rows, b->d), in(b->w, b->n, b->d), &b->z);
            b->failed = b->failed ? b->failed : rc;
            printf("reference pursuit %-8s %10.3f ms for %lld rows, %.0f for all\n", name[s],
                   1e3 * (now() - t0), (long long)rows,
                   1e3 * (now() - t0) * (double)b->B / (double)rows);
        }
        ref->close(&b->dev);
    }
    b->dev = own;
}

static int parse(int argc, char **argv, bench *b)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        int64_t v = strtoll(argv[i + 1], NULL, 10);
        int64_t *number = !strcmp(argv[i], "--d")     ? &b->d
                          : !strcmp(argv[i], "--n")   ? &b->n
                          : !strcmp(argv[i], "--B")   ? &b->B
                          : !strcmp(argv[i], "--k")   ? &b->k
                          : !strcmp(argv[i], "--ref") ? &b->ref_rows
                                                      : NULL;
        if (v <= 0)
            return 0;
        if (number)
            *number = v;
        else if (!strcmp(argv[i], "--threads"))
            b->threads = (int)v;
        else if (!strcmp(argv[i], "--rounds"))
            b->rounds = v < MAX_ROUNDS ? (int)v : MAX_ROUNDS;
        else
            return 0;
    }
    return argc % 2 && b->B <= ROWS;
}

int main(int argc, char **argv)
{
    bench b = {.d = 512, .n = 4096, .B = 512, .k = 40, .rounds = 5};
    sae_device_props props;
    sae_err err = {0};
    if (!parse(argc, argv, &b)) {
        fprintf(stderr, "usage: kernels [--d N] [--n N] [--B N, at most %d] [--k N] [--threads N] "
                        "[--rounds N] [--ref ROWS]\n", ROWS);
        return 2;
    }
    sae_kernels ref = {0};
    for (int i = 0; sae_list_backends[i]; i++) {
        if (!strcmp(sae_list_backends[i]->name, "cpu"))
            b.be = sae_list_backends[i];
        else if (!strcmp(sae_list_backends[i]->name, "ref"))
            sae_list_backends[i]->kernels(NULL, &ref);
    }
    b.k_of = ref;
    if (b.be->open(&b.dev, 0, b.threads, &err) < 0 || b.be->props(b.dev, &props) < 0)
        return 1;
    b.be->kernels(b.dev, &b.k_of);
    if (!open_bench(&b) || fill(&b)) {
        fprintf(stderr, "kernels: out of memory\n");
        return 1;
    }
    printf("%s; %s; %d threads\nd %lld, n %lld, B %lld, k %lld, elementwise %d x n, medians of %d "
           "rounds\n", props.name, props.library, props.threads, (long long)b.d, (long long)b.n,
           (long long)b.B, (long long)b.k, ROWS, b.rounds);
    measure(&b);
    measure_reference(&b);
    if (b.failed)
        fprintf(stderr, "kernels: a kernel failed with status %d\n", b.failed);
    return b.failed ? 1 : 0;
}
