/* datasets/correlated.c - features that fire together more or less than by chance; see
 * correlated.md.
 *
 * copula, positive, negative: feature i fires where g_i > Phi^-1(1 - p_i), g ~ N(0, R). The others
 * draw features one by one; in sharkey_correlated their probabilities are drawn for 4096 rows at a
 * time.
 */
#include "truth/truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum setting { SHARKEY, SHARKEY_CORRELATED, COPULA, POSITIVE, NEGATIVE };
static const char *const setting_names[] = {"sharkey", "sharkey_correlated", "copula", "positive",
                                            "negative", NULL};
static const struct {
    int64_t features, d;
} extents[] = {{512, 256}, {512, 256}, {50, 100}, {5, 20}, {5, 20}};

enum { GROUP_BITS = 12 }; /* rows that share their probabilities: Sharkey et al.'s batch */
static const double MEAN_ACTIVE = 5.0, DECAY = 0.99, MAGNITUDE_SD = 0.15;

typedef struct options {
    int64_t setting, d;
    double noise;
} options;

static const sae_option table[] = {
    {"setting", SAE_OPT_ENUM, 0, offsetof(options, setting), COPULA, 0, NEGATIVE, setting_names,
     NULL, "1", "published setting: 512, 512, 50, 5 or 5 features"},
    {"d", SAE_OPT_INT, 0, offsetof(options, d), 0, 0, 1 << 20, NULL, NULL, "1",
     "activation width; 0: the setting's (256, 256, 100, 20, 20)"},
    {"noise", SAE_OPT_REAL, 0, offsetof(options, noise), 0, 0, 1e6, NULL, NULL, "1",
     "standard deviation of noise per coordinate"},
    {0},
};

typedef struct world {
    double *p;     /* [n] firing probability, or its threshold Phi^-1(1 - p) with a copula */
    double *lower; /* [n x n] Cholesky factor of the covariance; NULL: independent */
} world;

/* ---- rows ------------------------------------------------------------------------------------ */

/* g ~ N(0, L L^T), a function of (seed, row). */
static void correlated_normals(const sae_source *s, uint64_t row, double *g)
{
    const int64_t n = s->law.features;
    const double *L = ((const world *)s->own)->lower;
    double z[4];
    memset(g, 0, (size_t)n * sizeof *g);
    for (int64_t k = 0; k < n; k++) { /* L is kept transposed: row k is what z_k adds */
        if (k % 4 == 0)
            sae_normal4(s->seed, TRUTH_COMMON, row, (uint32_t)(k / 4), z);
        for (int64_t i = k; i < n; i++)
            g[i] += L[k * n + i] * z[k % 4];
    }
}

static void code_copula(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    correlated_normals(s, row, w->work);
    for (int64_t i = 0; i < s->law.features; i++) {
        if (!(w->work[i] > q->p[i]))
            continue;
        double z = sae_normal(s->seed, TRUTH_COEF, row, (uint32_t)i);
        if (1.0 + MAGNITUDE_SD * z > 0.0)
            truth_add(w, i, 1.0 + MAGNITUDE_SD * z);
    }
}

/* Probabilities of the row's group in work[1..n]; work[0] is 1 + the group that is there. */
static const double *group_probabilities(const sae_source *s, uint64_t row, double *work)
{
    const int64_t n = s->law.features;
    const uint64_t group = row >> GROUP_BITS;
    double *p = work + 1, sum = 0.0;
    if (work[0] == (double)(group + 1))
        return p;
    correlated_normals(s, group, p);
    for (int64_t i = 0; i < n; i++)
        sum += p[i] = 0.5 * erfc(-p[i] * 0.70710678118654752440) * pow(DECAY, (double)i);
    for (int64_t i = 0; i < n; i++)
        p[i] *= MEAN_ACTIVE / sum;
    work[0] = (double)(group + 1);
    return p;
}

static void code_sharkey(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    const int64_t n = s->law.features;
    const double *p = q->lower ? group_probabilities(s, row, w->work) : q->p;
    for (int64_t i = 0; i < n; i += 4) {
        sae_u4 u = sae_philox(s->seed, TRUTH_SUPPORT, row, (uint32_t)(i / 4));
        for (int64_t h = 0; h < 4 && i + h < n; h++)
            if ((double)sae_u01(u.v[h]) <= p[i + h])
                truth_add(w, i + h, truth_u01(s, TRUTH_COEF, row, i + h));
    }
    if (q->lower && !w->count) /* only their correlated rows are never empty */
        truth_add(w, sae_philox(s->seed, TRUTH_EXCLUSIVE, row, 0).v[0] % n, 1.0);
}

static void noise(const sae_source *s, uint64_t row, truth_row *w)
{
    truth_white(s, row, ((const options *)s->opt)->noise, w->x, s->law.d);
}

/* ---- covariances ----------------------------------------------------------------------------- */

/* Symmetric with entries (U + U') / 2, U and U' uniform in (0, 1); less 1.001 times its least
 * eigenvalue on the diagonal. That eigenvalue is bisected: a - t I is positive definite below. */
static int uniform_covariance(const sae_source *s, double *a, int64_t n)
{
    double *trial = malloc((size_t)(n * n) * sizeof *trial);
    if (!trial)
        return 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            a[i * n + j] = a[j * n + i] = 0.5 * (truth_u01(s, TRUTH_WORLD, (uint64_t)i, j) +
                                                 truth_u01(s, TRUTH_WORLD, (uint64_t)j, i));
    double lo = -(double)n, hi = 1.0; /* rows sum to less than n, the diagonal is below 1 */
    for (int k = 0; k < 40; k++) {
        double t = 0.5 * (lo + hi);
        memcpy(trial, a, (size_t)(n * n) * sizeof *a);
        for (int64_t i = 0; i < n; i++)
            trial[i * n + i] -= t;
        if (truth_cholesky(trial, n))
            lo = t;
        else
            hi = t;
    }
    free(trial);
    for (int64_t i = 0; i < n && lo < 0.0; i++)
        a[i * n + i] -= 1.001 * lo;
    return 1;
}

/* 70 % of the pairs correlate, half of them positively, with strength U(0.3, 0.9); then the nearest
 * correlation matrix: eigenvalues of at least 1e-6, unit diagonal. */
static int random_correlations(const sae_source *s, double *a, int64_t n)
{
    const int64_t pairs = n * (n - 1) / 2, some = pairs - (int64_t)(0.3 * (double)pairs);
    double *v = malloc((size_t)(n * n) * sizeof *v), *b = malloc((size_t)(n * n) * sizeof *b);
    for (int64_t i = 0; v && b && i < n; i++) {
        b[i * n + i] = 1.0;
        for (int64_t j = 0; j < i; j++) {
            int64_t pair = i * (i - 1) / 2 + j;
            int64_t place = (int64_t)sae_permute(s->seed, 0, (uint64_t)pairs, (uint64_t)pair);
            double rho = 0.3 + 0.6 * truth_u01(s, TRUTH_WORLD, 0, pair);
            rho = place >= some ? 0.0 : place < some / 2 ? rho : -rho;
            b[i * n + j] = b[j * n + i] = rho;
        }
    }
    int ok = v && b;
    if (ok) {
        truth_eigen(b, v, n);
        memset(a, 0, (size_t)(n * n) * sizeof *a);
        for (int64_t k = 0; k < n; k++)
            for (int64_t i = 0; i < n * n; i++)
                a[i] += fmax(b[k * n + k], 1e-6) * v[k * n + i / n] * v[k * n + i % n];
        for (int64_t i = 0; i < n * n; i++)
            b[i] = a[i] / sqrt(a[i / n * (n + 1)] * a[i % n * (n + 1)]);
        memcpy(a, b, (size_t)(n * n) * sizeof *a);
    }
    free(v);
    free(b);
    return ok;
}

static int covariance(const sae_source *s, int setting, double *a, int64_t n)
{
    if (setting == SHARKEY_CORRELATED)
        return uniform_covariance(s, a, n);
    if (setting == COPULA)
        return random_correlations(s, a, n);
    for (int64_t i = 0; i < n; i++) {
        a[i * n + i] = 1.0;
        if (i > 0)
            a[i * n] = a[i] = setting == POSITIVE ? 0.4 : -0.4;
    }
    return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static double probability(int setting, int64_t i, int64_t n)
{
    if (setting == COPULA)
        return 0.345 * (double)(n - 1 - i) / (double)n + 0.05;
    if (setting == SHARKEY)
        return MEAN_ACTIVE / (double)n * pow(DECAY, (double)i);
    return 0.4;
}

static int make_world(sae_source *s, int setting, sae_err *err)
{
    const int64_t n = s->law.features;
    world *q = s->own = truth_take(s, 1, sizeof *q);
    int ok = q && (q->p = truth_take(s, n, sizeof *q->p)) &&
             (setting == SHARKEY || (q->lower = truth_take(s, n * n, sizeof *q->lower))) &&
             (setting == SHARKEY || covariance(s, setting, q->lower, n));
    if (!ok)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld features", (long long)n);
    if (q->lower && !truth_cholesky(q->lower, n))
        return SAE_RECORD(err, SAE_EINVAL, "the covariance is not positive definite");
    for (int64_t i = 0; q->lower && i < n; i++)
        for (int64_t k = 0; k < i; k++)
            q->lower[k * n + i] = q->lower[i * n + k];
    for (int64_t i = 0; i < n; i++)
        q->p[i] = setting < COPULA ? probability(setting, i, n)
                                   : truth_normal_above(probability(setting, i, n));
    return setting < COPULA ? SAE_OK : truth_spread_atoms(s, err);
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    const int64_t n = extents[o->setting].features;
    truth_law law = {.name = "correlated",
                     .options = table,
                     .opt_size = sizeof *o,
                     .d = o->d ? o->d : extents[o->setting].d,
                     .features = n,
                     .work = n + 1,
                     .code = o->setting < COPULA ? code_sharkey : code_copula,
                     .noise = o->noise > 0.0 ? noise : NULL};
    SAE_TRY(truth_open(source, &law, opt, host, dim, err));
    int rc = make_world(*source, (int)o->setting, err);
    if (rc < 0)
        truth_close(source);
    return rc;
}

const sae_dataset sae_dataset_correlated = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "correlated",
    .summary = "features that fire together more or less often than by chance, with truth",
    .source = "Sharkey et al. 2022; Chanin & Garriga-Alonso 2025 (2508.16560); correlated.md",
    .licence = "none needed: generated",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_TRUTH,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = truth_rows,
    .fill = truth_fill,
    .close = truth_close,
    .hash = truth_hash,
    .truth = truth_of,
};
