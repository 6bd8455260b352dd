/* tests/prop/sample.h - many rows of a source with ground truth, their codes, and bounds of means.
 *
 * Bounds on sample means are six standard errors: a correct source fails one with probability below
 * 2e-9.
 */
#ifndef SAE_TESTS_SAMPLE_H
#define SAE_TESTS_SAMPLE_H

#include "core/spec.h"
#include "support/stand_in.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { ROWS = 20000 };
#define U ((double)FLT_EPSILON / 2) /* one rounding */

typedef struct sample {
    sae_spec spec;
    const sae_dataset *ds;
    sae_source *s;
    sae_registry *reg;
    sae_truth t;
    sae_real *x;
    int64_t d, n;
} sample;

/* Codes of rows [100, 100 + ROWS) of a split. */
static inline sample draw_codes(const char *text, enum sae_split split)
{
    sample a = {0};
    sae_err err = {0};
    sae_dims dim;
    sae_host host = stand_in_host(3);
    ck_assert_ok(sae_registry_open(&a.reg, &err), err);
    ck_assert_ok(sae_spec_parse(&a.spec, a.reg, SAE_KIND_DATASET, text, &err), err);
    a.ds = a.spec.dataset;
    ck_assert_ok(a.ds->open(&a.s, sae_opts_base(a.spec.opts), &host, &dim, &err), err);
    a.d = dim.d_in;
    ck_assert_ok(a.ds->truth(a.s, split, 100, ROWS, &a.t, &err), err);
    a.n = a.t.n;
    ck_assert_int_eq(a.t.code->B, ROWS);
    ck_assert_int_eq(a.t.code->nnz, a.t.code->rowptr[ROWS]);
    return a;
}

/* And the rows. */
static inline sample draw(const char *text, enum sae_split split)
{
    sample a = draw_codes(text, split);
    sae_err err = {0};
    a.x = malloc((size_t)(ROWS * a.d) * sizeof *a.x);
    ck_assert_ok(a.ds->fill(a.s, split, 100, ROWS, &(sae_fill){.x = a.x}, &err), err);
    return a;
}

static inline void done(sample *a)
{
    free(a->x);
    a->ds->close(&a->s);
    sae_spec_free(&a->spec);
    sae_registry_close(&a->reg);
}

static inline void assert_mean(double sum, double count, double mean, double sd, const char *what)
{
    double bound = 6.0 * sd / sqrt(count);
    ck_assert_msg(fabs(sum / count - mean) <= bound, "%s: mean %g, expected %g +- %g", what,
                  sum / count, mean, bound);
}

/* How often event of probability p came in ROWS rows. */
static inline void assert_share(double count, double p, const char *what)
{
    assert_mean(count, ROWS, p, sqrt(p * (1.0 - p)), what);
}

#endif
