/* suite/eval/probe_linear.c - linear discriminant analysis from streamed sums. */
#include "eval/probe_linear.h"

#include "core/error.h"
#include "core/memory.h"

#include <lapacke.h>
#include <math.h>
#include <sae/groups.h>
#include <string.h>

/* Rows whose products are added together, a multiple of STEP. */
enum { PANEL = 128, STEP = 4 };

/* Share of a coordinate's variance added to it: far above the rounding of sums over 1e7 rows. */
static const double RIDGE = 1e-8;

/* OpenBLAS's own threads would decide the last bits; other libraries have none. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

/* ---- sums ------------------------------------------------------------------------------------ */

/* Columns of a document group: rows, rows told with priors, then of each class its rows and those
 * told without priors. */
enum { ROWS, TOLD, CLASS_ROWS, CLASS_TOLD, PER_CLASS = 2 };

static int64_t columns(int64_t classes)
{
    return CLASS_ROWS + PER_CLASS * classes;
}

SAE_RATIO(accuracy, TOLD, ROWS)

static double balanced_accuracy(const double *sum, int64_t K)
{
    double share = 0, classes = 0;
    for (int64_t i = CLASS_ROWS; i < K; i += PER_CLASS)
        if (sum[i] > 0) {
            share += sum[i + 1] / sum[i];
            classes++;
        }
    return classes > 0 ? share / classes : (double)NAN;
}

int sae_linprobe_open(sae_linprobe *p, int64_t d, int64_t classes, sae_err *err)
{
    int rc;
    size_t square, map;
    *p = (sae_linprobe){.d = d, .classes = classes};
    if (d < 1 || d > INT32_MAX || classes < 1)
        SAE_FAIL(err, SAE_EINVAL, "probe of width %lld with %lld classes: expected at least one",
                 (long long)d, (long long)classes);
    SAE_TRY(sae_size_mul(&square, d, d, err));
    SAE_TRY(sae_size_mul(&map, classes, d, err));
    SAE_GOTO(sae_new(&p->count, classes, sizeof *p->count, "probe", err));
    SAE_GOTO(sae_new(&p->sum, (int64_t)map, sizeof *p->sum, "probe.sums", err));
    SAE_GOTO(sae_new(&p->second, (int64_t)square, sizeof *p->second, "probe.products", err));
    SAE_GOTO(sae_new(&p->origin, d, sizeof *p->origin, "probe", err));
    SAE_GOTO(sae_new(&p->w, (int64_t)map, sizeof *p->w, "probe.weights", err));
    SAE_GOTO(sae_new(&p->b, classes, sizeof *p->b, "probe", err));
    SAE_GOTO(sae_new(&p->prior, classes, sizeof *p->prior, "probe", err));
    SAE_GOTO(sae_new(&p->panel, PANEL * d, sizeof *p->panel, "probe.panel", err));
    SAE_GOTO(sae_new(&p->x, d, sizeof *p->x, "probe", err));
    SAE_GOTO(sae_new(&p->groups, (SAE_GROUPS + 2) * columns(classes), sizeof *p->groups,
                     "probe.groups", err));
    return SAE_OK;
fail:
    sae_linprobe_close(p);
    return rc;
}

void sae_linprobe_close(sae_linprobe *p)
{
    sae_free(p->count);
    sae_free(p->sum);
    sae_free(p->second);
    sae_free(p->origin);
    sae_free(p->w);
    sae_free(p->b);
    sae_free(p->prior);
    sae_free(p->panel);
    sae_free(p->x);
    sae_free(p->groups);
    *p = (sae_linprobe){0};
}

/* second += products of STEP rows at a time, each element over the rows in their order. */
static void add_products(sae_linprobe *p)
{
    int64_t d = p->d;
    for (int64_t r = p->waiting; r % STEP != 0; r++) /* rows of 0 fill up the last step */
        memset(p->panel + r * d, 0, (size_t)d * sizeof *p->panel);
    for (int64_t i = 0; i < d; i++) {
        double *out = p->second + i * d;
        for (int64_t r = 0; r < p->waiting; r += STEP) {
            const double *x0 = p->panel + r * d, *x1 = x0 + d, *x2 = x1 + d, *x3 = x2 + d;
            double a0 = x0[i], a1 = x1[i], a2 = x2[i], a3 = x3[i];
#pragma omp simd
            for (int64_t j = 0; j <= i; j++)
                out[j] += a0 * x0[j] + a1 * x1[j] + a2 * x2[j] + a3 * x3[j];
        }
    }
    p->waiting = 0;
}

void sae_linprobe_add(sae_linprobe *p, const sae_real *x, const int32_t *label, int64_t stride,
                      int64_t rows)
{
    for (int64_t i = 0; i < rows; i++, x += p->d) {
        int32_t c = label[i * stride];
        if (c < 0)
            continue;
        double *row = p->panel + p->waiting * p->d, *sum = p->sum + c * p->d;
        for (int64_t j = 0; p->rows == 0 && j < p->d; j++)
            p->origin[j] = (double)x[j];
        for (int64_t j = 0; j < p->d; j++) {
            row[j] = (double)x[j] - p->origin[j];
            sum[j] += row[j];
        }
        p->count[c]++;
        p->rows++;
        if (++p->waiting == PANEL)
            add_products(p);
    }
}

/* ---- fit ------------------------------------------------------------------------------------- */

/* Class means into w, less the mean of all rows, which goes into `mean`. */
static void centre_classes(sae_linprobe *p, double *mean)
{
    int64_t d = p->d;
    memset(mean, 0, (size_t)d * sizeof *mean);
    for (int64_t c = 0; c < p->classes; c++)
        for (int64_t j = 0; j < d; j++)
            mean[j] += p->sum[c * d + j] / (double)p->rows;
    for (int64_t c = 0; c < p->classes; c++)
        for (int64_t j = 0; p->count[c] > 0 && j < d; j++)
            p->w[c * d + j] = p->sum[c * d + j] / p->count[c] - mean[j];
}

/* R from the second moments: less the mean's and the classes' parts, plus the ridge. */
static void make_covariance(sae_linprobe *p, const double *mean)
{
    int64_t d = p->d;
    double N = (double)p->rows;
    for (int64_t i = 0; i < d; i++) {
        double *row = p->second + i * d, spread = row[i] / N - mean[i] * mean[i];
        for (int64_t j = 0; j <= i; j++)
            row[j] = row[j] / N - mean[i] * mean[j];
        for (int64_t c = 0; c < p->classes; c++) {
            double share = p->count[c] / N * p->w[c * d + i];
            for (int64_t j = 0; j <= i; j++)
                row[j] -= share * p->w[c * d + j];
        }
        row[i] = spread > 0 ? row[i] + RIDGE * spread : 1;
    }
}

int sae_linprobe_fit(sae_linprobe *p, sae_err *err)
{
    int64_t d = p->d;
    double *mean = p->x; /* free until held-out rows come */
    for (int64_t c = 0; c < p->classes; c++) {
        p->prior[c] = p->count[c] > 0 ? log(p->count[c] / (double)p->rows) : 0;
        p->b[c] = -(double)INFINITY;
    }
    if (p->rows == 0)
        return SAE_OK;
    add_products(p);
    centre_classes(p, mean);
    make_covariance(p, mean);
    memcpy(p->sum, p->w, (size_t)(p->classes * d) * sizeof *p->sum);
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    /* LAPACK's upper triangle by columns is our lower one by rows. */
    lapack_int n = (lapack_int)d;
    int rc = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, p->second, n);
    if (rc == 0)
        rc =
            LAPACKE_dpotrs(LAPACK_COL_MAJOR, 'U', n, (lapack_int)p->classes, p->second, n, p->w, n);
    if (rc != 0)
        SAE_FAIL(err, SAE_ENONFINITE,
                 "probe: the covariance of %lld rows of width %lld cannot be "
                 "factored: expected finite rows of moderate size",
                 (long long)p->rows, (long long)d);
    for (int64_t c = 0; c < p->classes; c++) {
        double b = 0;
        for (int64_t j = 0; j < d; j++)
            b -= p->w[c * d + j] * (mean[j] + p->sum[c * d + j] / 2);
        if (p->count[c] > 0)
            p->b[c] = b;
    }
    return SAE_OK;
}

/* ---- held-out rows --------------------------------------------------------------------------- */

/* The class of the row in p->x with priors and, in *even, without; -1: no class was trained. */
static int64_t tell(const sae_linprobe *p, int64_t *even)
{
    double best = -(double)INFINITY, best_even = best;
    int64_t told = -1;
    *even = -1;
    for (int64_t c = 0; c < p->classes; c++) {
        const double *w = p->w + c * p->d;
        double s = p->b[c];
        double dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < p->d; j++)
            dot += w[j] * p->x[j];
        s += dot;
        if (s > best_even) {
            best_even = s;
            *even = c;
        }
        if (s + p->prior[c] > best) {
            best = s + p->prior[c];
            told = c;
        }
    }
    return told;
}

void sae_linprobe_test(sae_linprobe *p, const sae_real *x, const int32_t *label, int64_t stride,
                       int64_t rows, uint64_t doc)
{
    double *sum = sae_groups_row(p->groups, columns(p->classes), doc);
    for (int64_t i = 0; i < rows; i++, x += p->d) {
        int64_t c = label[i * stride], even;
        if (c < 0)
            continue;
        for (int64_t j = 0; j < p->d; j++)
            p->x[j] = (double)x[j] - p->origin[j];
        sum[ROWS]++;
        sum[TOLD] += tell(p, &even) == c;
        sum[CLASS_ROWS + PER_CLASS * c]++;
        sum[CLASS_TOLD + PER_CLASS * c] += even == c;
    }
}

sae_linprobe_result sae_linprobe_score(sae_linprobe *p)
{
    int64_t K = columns(p->classes), most = 0;
    const double *sum = sae_groups_total(p->groups, K);
    sae_linprobe_result r = {.trained = p->rows, .rows = (int64_t)sum[ROWS]};
    for (int64_t c = 0; c < p->classes; c++) {
        most = p->count[c] > p->count[most] ? c : most;
        r.classes += sum[CLASS_ROWS + PER_CLASS * c] > 0;
    }
    r.majority = sum[ROWS] > 0 ? sum[CLASS_ROWS + PER_CLASS * most] / sum[ROWS] : (double)NAN;
    r.accuracy = accuracy(sum, K);
    r.accuracy_se = sae_groups_se(p->groups, K, accuracy);
    r.balanced = balanced_accuracy(sum, K);
    r.balanced_se = sae_groups_se(p->groups, K, balanced_accuracy);
    return r;
}
