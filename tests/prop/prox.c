/* tests/prop/prox.c - codes as proximal maps (Zhu et al. 2025, section 2, table 1 and its two-sided
 * neighbours): for every row of the table, what the registered variant computes from u minimises
 *
 *     J(z) = 1/2 |u - z|^2 + sum_j R_j(z_j)      over the feasible z
 *
 * Checked against the best z of every support and against random feasible z. The encoder is the
 * identity and all numbers are small multiples of 1/8, so that J is exact in double and comparisons
 * need no tolerance.
 */
#include "core/error.h"
#include "core/probe.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/support.h"

#include <math.h>
#include <sae/rng.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 8, MOST = 12, GUESSES = 200 };

/* One row of the table. */
typedef struct row {
    const char *variant, *option; /* option: takes lambda or k; NULL: thresholds sqrt(2 lambda_j) */
    int is_signed;                /* 0: z >= 0 is a constraint */
    int counts;                   /* R_j is lambda_j 1[z_j != 0], else lambda |z_j| */
    int limits;                   /* |z|_0 <= k is a constraint and R = 0 */
} row;

static const row table[] = {
    {"relu", "shrink", 0, 0, 0},
    {"jumprelu", NULL, 0, 1, 0},
    {"topk", "k", 0, 0, 1},
    {"abstopk", "k", 1, 0, 1},
    {"abs_jumprelu", NULL, 1, 1, 0},
};
enum { TABLE = sizeof table / sizeof table[0] };

typedef struct problem {
    const row *of;
    int n, k;
    double lambda[MOST];
} problem;

static sae_registry *reg;
static sae_engine engine;
static sae_err err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&engine, sae_find_backend(reg, "ref"), 0, 1, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

/* ---- the variant ----------------------------------------------------------------------------- */

static void set_option(const row *of, sae_opts *o, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.17g", value);
    ck_assert_ok(sae_opts_set(o, of->option, text, &err), err);
}

/* W_enc = 1, biases 0, and the thresholds sqrt(2 lambda_j), which the caller made exact. */
static void set_tensors(sae_model *m, const problem *q)
{
    for (int i = 0; i < m->nt; i++) {
        const sae_tensor *t = &m->t[i];
        sae_real *w = t->w;
        int eye = strcmp(t->spec->name, "W_enc") == 0;
        if (t->spec->dtype != SAE_REAL)
            continue;
        for (int64_t k = 0; k < t->rows * t->cols; k++)
            w[k] = eye && k / t->cols == k % t->cols;
        for (int j = 0; j < q->n && strcmp(t->spec->name, "theta") == 0; j++)
            w[j] = (sae_real)sqrt(2 * q->lambda[j]);
    }
}

/* z [rows x n] = codes of u in the mode. */
static void codes(const problem *q, const double *u, int rows, enum sae_mode mode, double *z)
{
    sae_spec spec;
    sae_probe p;
    sae_tape t = {0};
    ck_assert_ok(sae_spec_parse(&spec, reg, SAE_KIND_VARIANT, q->of->variant, &err), err);
    if (q->of->option)
        set_option(q->of, spec.opts, q->of->limits ? q->k : q->lambda[0]);
    sae_probe_shape shape = {rows, q->n, q->n};
    ck_assert_ok(sae_probe_open(&p, spec.variant, spec.opts, shape, 3, &engine, &err), err);
    set_tensors(&p.model, q);
    for (int i = 0; i < rows * q->n; i++)
        p.x[i] = (sae_real)u[i];
    p.ctx.mode = mode;
    ck_assert_ok(sae_probe_tape(&p, mode, &t), p.err);
    ck_assert_ok(sae_forward(&p.model, &p.ctx, &p.batch, &t, &engine), p.err);
    memset(z, 0, (size_t)(rows * q->n) * sizeof *z);
    for (int r = 0; r < rows; r++)
        for (int64_t i = t.code.dense ? r * q->n : t.code.rowptr[r];
             i < (t.code.dense ? (r + 1) * q->n : t.code.rowptr[r + 1]); i++)
            z[t.code.dense ? i : r * q->n + t.code.idx[i]] = (double)t.code.val[i];
    sae_tape_close(&t, &engine);
    sae_probe_close(&p);
    sae_spec_free(&spec);
}

/* ---- the objective --------------------------------------------------------------------------- */

static double penalty(const problem *q, int j, double z)
{
    if (q->of->limits || z == 0)
        return 0;
    return q->of->counts ? q->lambda[j] : q->lambda[j] * fabs(z);
}

/* INFINITY where z is not feasible. */
static double objective(const problem *q, const double *u, const double *z)
{
    double sum = 0;
    int active = 0;
    for (int j = 0; j < q->n; j++) {
        if (z[j] < 0 && !q->of->is_signed)
            return (double)INFINITY;
        active += z[j] != 0;
        sum += (u[j] - z[j]) * (u[j] - z[j]) / 2 + penalty(q, j, z[j]);
    }
    return q->of->limits && active > q->k ? (double)INFINITY : sum;
}

/* The best z on a support: every coordinate is at the vertex of its parabola or at the bound 0. */
static void best_on(const problem *q, const double *u, unsigned support, double *z)
{
    double slope = q->of->limits || q->of->counts ? 0 : q->lambda[0];
    for (int j = 0; j < q->n; j++) {
        z[j] = support >> j & 1 ? u[j] - slope : 0;
        if (z[j] < 0 && !q->of->is_signed)
            z[j] = 0;
    }
}

static void check_minimum(const problem *q, const double *u, const double *z, uint64_t seed)
{
    double other[MOST], least = objective(q, u, z);
    ck_assert_msg(isfinite(least), "%s: z is not feasible", q->of->variant);
    for (unsigned support = 0; support < 1u << q->n; support++) {
        best_on(q, u, support, other);
        ck_assert_msg(least <= objective(q, u, other), "%s n %d: support %x gives %.17g, z %.17g",
                      q->of->variant, q->n, support, objective(q, u, other), least);
    }
    for (uint32_t i = 0; i < GUESSES; i++) {
        for (int j = 0; j < q->n; j++) {
            sae_u4 r = sae_philox(seed, 4096, i, (uint32_t)j);
            other[j] = r.v[0] % 3 ? z[j] + ((double)(r.v[1] % 17) - 8) / 8 : 0;
        }
        ck_assert_msg(least <= objective(q, u, other), "%s: a random z is better", q->of->variant);
    }
}

START_TEST(codes_minimise)
{
    const row *of = &table[_i];
    for (int n = 1; n <= MOST; n++) {
        problem q = {.of = of, .n = n, .k = 1 + n / 3};
        double u[ROWS * MOST], z[ROWS * MOST];
        for (int j = 0; j < n; j++) {
            sae_u4 r = sae_philox(5, 4096, (uint64_t)n, (uint32_t)j);
            double theta = (double)(1 + r.v[0] % 12) / 8;
            q.lambda[j] = of->counts ? theta * theta / 2 : 0.625;
        }
        for (int i = 0; i < ROWS * n; i++)
            u[i] = ((double)(sae_philox(6, 4096, (uint64_t)n, (uint32_t)i).v[0] % 49) - 24) / 8;
        for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
            codes(&q, u, ROWS, (enum sae_mode)mode, z);
            for (int r = 0; r < ROWS; r++)
                check_minimum(&q, u + r * n, z + r * n, (uint64_t)(n * ROWS + r));
        }
    }
}
END_TEST

/* u = (-1, 2, -3, 0.5) with k = 3, lambda = 0.5. */
START_TEST(worked_vectors)
{
    static const double u[4] = {-1, 2, -3, 0.5};
    static const double expected[TABLE][4] = {
        {0, 1.5, 0, 0}, {0, 2, 0, 0}, {0, 2, 0, 0.5}, {-1, 2, -3, 0}, {0, 2, -3, 0}};
    problem q = {.of = &table[_i], .n = 4, .k = 3, .lambda = {0.5, 0.5, 0.5, 0.5}};
    double z[4];
    for (int mode = SAE_TRAIN; mode <= SAE_EVAL; mode++) {
        codes(&q, u, 1, (enum sae_mode)mode, z);
        for (int j = 0; j < 4; j++)
            ck_assert_msg(z[j] - expected[_i][j] == 0, "%s: z[%d] is %g, not %g", q.of->variant, j,
                          z[j], expected[_i][j]);
    }
}
END_TEST

Suite *suite_prox(void);
Suite *suite_prox(void)
{
    Suite *s = suite_create("proximal maps");
    TCase *t = tcase_create("prox");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, codes_minimise, 0, TABLE);
    tcase_add_loop_test(t, worked_vectors, 0, TABLE);
    suite_add_tcase(s, t);
    return s;
}
