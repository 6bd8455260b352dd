/* suite/bench/cases/cases.h - the benchmarks that ship (saemark bench): what they share. */
#ifndef SAE_BENCH_CASES_H
#define SAE_BENCH_CASES_H

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"

#include <sae/bench.h>
#include <sae/rng.h>

typedef struct sae_cases {
    const sae_registry *reg; /* borrowed */
    sae_engine *e;           /* borrowed */
    double sgemm, stream;    /* ceilings, FLOP/s and bytes/s; 0: not measured yet */
    struct sae_work *work;   /* data of the kernels; NULL: none */
    void *kept;              /* what benchmarks point to, until sae_cases_close */
} sae_cases;

/* Register everything; *c, starting as {.reg, .e}, must outlive the run. */
int sae_cases_register(sae_cases *c, sae_err *err);
void sae_cases_close(sae_cases *c);

int sae_cases_ceilings(sae_cases *c, sae_err *err);
int sae_cases_kernels(sae_cases *c, sae_err *err);
int sae_cases_steps(sae_cases *c, sae_err *err);
int sae_cases_models(sae_cases *c, sae_err *err);
int sae_cases_files(sae_cases *c, sae_err *err);
int sae_cases_sweeps(sae_cases *c, sae_err *err);

/* Whether a variant reads what there is none of here: a model, a target, a dictionary, a SAE. */
int sae_cases_beyond_rows(const sae_variant *v);
/* Memory for a benchmark's user pointer, zeroed; it lives as long as *c. */
void *sae_cases_keep(sae_cases *c, size_t bytes, sae_err *err);
/* Real time decides; CPU time is that of all threads. Milliseconds. */
sae_bench *sae_cases_timed(sae_bench *b);
/* flops_per_second, bytes_per_second, and the shares of the ceilings, for `seconds` of so much work
 * in all; 0: none of that kind. */
void sae_cases_rates(sae_cases *c, sae_bench_state *st, double seconds, double flops, double bytes);
/* The timed loop around fn(arg, err); seconds of all of it. Below 0: it failed, which is told. */
double sae_cases_loop(sae_bench_state *st, int (*fn)(void *arg, sae_err *err), void *arg);
/* End the benchmark with what happened. */
void sae_cases_fail(sae_bench_state *st, int rc, const sae_err *err);

/* The status of a call, once the device is through with it: a device computes behind the call. */
static inline int sae_cases_wait(const sae_engine *e, int rc)
{
    return rc < 0 ? rc : e->be->sync(e->dev);
}

/* A side of B rows, width d, dictionary n and k entries a row. */
typedef struct sae_shape {
    int64_t d, n, B, k;
} sae_shape;
sae_bench *sae_cases_shape(sae_bench *b, const sae_shape *s); /* as arguments d, n, B, k */
sae_shape sae_cases_shape_of(const sae_bench_state *st);

static inline sae_cmat sae_matrix_in(const sae_real *p, int64_t rows, int64_t cols)
{
    return (sae_cmat){p, rows, cols, cols};
}

static inline sae_mat sae_matrix_out(sae_real *p, int64_t rows, int64_t cols)
{
    return (sae_mat){p, rows, cols, cols};
}

#endif
