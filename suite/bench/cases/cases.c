/* suite/bench/cases/cases.c - ceilings of the machine, and rates against them. */
#include "bench/cases/work.h"

#ifdef SAE_HAVE_OPENBLAS
#include <cblas.h>
#endif

enum { SIDE = 1536, STREAM = 1 << 24, ROUNDS = 6 };

/* ---- ceilings -------------------------------------------------------------------------------- */

typedef struct yard {
    sae_cases *c;
    sae_real *a, *b, *out;
} yard;

static int product(yard *y)
{
    const sae_engine *e = y->c->e;
    return sae_cases_wait(e, e->k.gemm(e->dev, 0, 1, 1, sae_matrix_in(y->a, SIDE, SIDE),
                                       sae_matrix_in(y->b, SIDE, SIDE), 0,
                                       sae_matrix_out(y->out, SIDE, SIDE)));
}

#ifdef SAE_HAVE_OPENBLAS
static int blas_product(yard *y)
{
    openblas_set_num_threads(y->c->e->props.threads);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SIDE, SIDE, SIDE, 1, y->a, SIDE, y->b,
                SIDE, 0, y->out, SIDE);
    return SAE_OK;
}
#endif

static int copy(yard *y)
{
    const sae_engine *e = y->c->e;
    const int64_t rows = STREAM / SIDE;
    return sae_cases_wait(e, e->k.shift_rows(e->dev, sae_matrix_in(y->a, rows, SIDE), 0, y->b,
                                             sae_matrix_out(y->out, rows, SIDE)));
}

/* The best of a few: what the machine can do when it is not interrupted. */
static int best_rate(yard *y, int (*run)(yard *y), double work, double *rate)
{
    for (int i = 0; i <= ROUNDS; i++) { /* round 0 warms up */
        double t = sae_clock();
        SAE_TRY(run(y));
        t = work / (sae_clock() - t);
        *rate = i > 0 && t > *rate ? t : *rate;
    }
    return SAE_OK;
}

static int measure(sae_cases *c, sae_err *err)
{
    const sae_engine *e = c->e;
    const double flops = 2.0 * SIDE * SIDE * SIDE;
    yard y = {.c = c};
    sae_real **p[] = {&y.a, &y.b, &y.out};
    int rc = SAE_OK;
    for (int i = 0; i < 3 && rc >= 0; i++)
        if (!(*p[i] = e->be->alloc(e->dev, STREAM * sizeof(sae_real))))
            rc = SAE_SET(err, SAE_ENOMEM, "no memory for the ceilings");
    for (int i = 0; i < 2 && rc >= 0; i++)
        rc = e->k.normal_fill(e->dev, 1, SAE_STREAM_SYNTHETIC, 0,
                              sae_matrix_out(*p[i], SIDE, SIDE));
    /* untouched memory would all be the same page: spread what is there */
    for (int64_t i = SIDE; rc >= 0 && i + SIDE <= STREAM / SIDE; i += SIDE)
        rc = e->be->copy(e->dev, y.a + i * SIDE, y.a, SIDE * SIDE * sizeof(sae_real),
                         SAE_COPY_D2D);
    if (rc >= 0)
        rc = best_rate(&y, product, flops, &c->sgemm);
#ifdef SAE_HAVE_OPENBLAS
    if (rc >= 0 && e->props.shares_host)
        rc = best_rate(&y, blas_product, flops, &c->sgemm);
#endif
    if (rc >= 0)
        rc = best_rate(&y, copy, 2.0 * sizeof(sae_real) * (STREAM / SIDE) * SIDE, &c->stream);
    for (int i = 0; i < 3; i++)
        e->be->release(e->dev, *p[i]);
    return rc;
}

/* A row that states them; the others carry shares of them. */
static void ceilings(sae_bench_state *st)
{
    sae_cases *c = sae_bench_user(st);
    sae_err err = {0};
    int rc = SAE_OK;
    SAE_BENCH_LOOP(st) {
        c->sgemm = c->stream = 0;
        rc = measure(c, &err);
        if (rc < 0) {
            sae_cases_fail(st, rc, &err);
            break;
        }
    }
    sae_bench_counter(st, "sgemm", c->sgemm, SAE_BENCH_VALUE);
    sae_bench_counter(st, "stream", c->stream, SAE_BENCH_VALUE);
    sae_bench_set_label(st, "FLOP/s of the best product, bytes/s of a copy");
}

int sae_cases_ceilings(sae_cases *c, sae_err *err)
{
    (void)err;
    sae_bench_set_iterations(sae_cases_timed(sae_bench_add("ceilings", ceilings, c)), 1);
    return SAE_OK;
}

/* ---- what benchmarks call -------------------------------------------------------------------- */

sae_bench *sae_cases_timed(sae_bench *b)
{
    sae_bench_measure_process_cpu_time(sae_bench_use_real_time(b));
    return sae_bench_time_unit(b, SAE_BENCH_MS);
}

void sae_cases_rates(sae_cases *c, sae_bench_state *st, double seconds, double flops, double bytes)
{
    sae_err err = {0};
    int rc = c->stream > 0 ? SAE_OK : measure(c, &err);
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        return;
    }
    if (flops > 0) {
        sae_bench_counter(st, "flops_per_second", flops, SAE_BENCH_RATE);
        sae_bench_counter(st, "of_sgemm", flops / seconds / c->sgemm, SAE_BENCH_VALUE);
    }
    if (bytes > 0) {
        sae_bench_set_bytes(st, (int64_t)bytes);
        sae_bench_counter(st, "of_stream", bytes / seconds / c->stream, SAE_BENCH_VALUE);
    }
}

double sae_cases_loop(sae_bench_state *st, int (*fn)(void *arg, sae_err *err), void *arg)
{
    sae_err err = {0};
    double seconds = -sae_clock();
    SAE_BENCH_LOOP(st) {
        int rc = fn(arg, &err);
        if (rc < 0) {
            sae_cases_fail(st, rc, &err);
            return -1;
        }
    }
    return seconds + sae_clock();
}

void sae_cases_fail(sae_bench_state *st, int rc, const sae_err *err)
{
    sae_bench_skip_error(st, err->msg[0] ? err->msg : sae_status_name(rc));
}

sae_bench *sae_cases_shape(sae_bench *b, const sae_shape *s)
{
    SAE_BENCH_ARG_NAMES(b, "d", "n", "B", "k");
    return SAE_BENCH_ARGS(b, s->d, s->n, s->B, s->k);
}

sae_shape sae_cases_shape_of(const sae_bench_state *st)
{
    return (sae_shape){sae_bench_range_of(st, 0), sae_bench_range_of(st, 1),
                       sae_bench_range_of(st, 2), sae_bench_range_of(st, 3)};
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef struct kept {
    void *next;
    _Alignas(16) unsigned char bytes[];
} kept;

void *sae_cases_keep(sae_cases *c, size_t bytes, sae_err *err)
{
    kept *k = sae_alloc(sizeof *k + bytes);
    if (!k) {
        SAE_SET(err, SAE_ENOMEM, "no memory for a benchmark");
        return NULL;
    }
    k->next = c->kept;
    c->kept = k;
    return k->bytes;
}

int sae_cases_register(sae_cases *c, sae_err *err)
{
    static int (*const parts[])(sae_cases *, sae_err *) = {sae_cases_ceilings, sae_cases_kernels,
                                                           sae_cases_steps, sae_cases_models,
                                                           sae_cases_files, sae_cases_sweeps};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        SAE_TRY(parts[i](c, err));
    return SAE_OK;
}

void sae_cases_close(sae_cases *c)
{
    sae_bench_clear();
    sae_work_close(c->work);
    while (c->kept) {
        kept *k = c->kept;
        c->kept = k->next;
        sae_free(k);
    }
}
