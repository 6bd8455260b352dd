/* datasets/truth/matrix.c - atoms that are as orthogonal as they can be; small factorizations.
 *
 * The sum of squared cosines of n unit vectors in d dimensions is at least n (n <= d), where they
 * are orthogonal, or n^2 / d, where D^T D = (n / d) I. Gram-Schmidt reaches the first. For the
 * second D is multiplied with the inverse Cholesky factor of D^T D and its rows are scaled to unit
 * norm again; n well above d leaves them near it already.
 */
#include "truth/truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLS = 16, LANES = 8 }; /* columns of D^T D, rows of D at a time */

typedef struct frame { /* of all parts */
    sae_source *s;
    double *gram; /* [d x d] lower triangle; then L */
    double *lane; /* [TRUTH_CHUNKS x d x LANES] */
} frame;

/* Columns [COLS b, ..) of D^T D up to the diagonal. */
static void gram_part(void *arg, int64_t b)
{
    const frame *f = arg;
    const int64_t d = f->s->law.d, n = f->s->law.features;
    const int64_t end = (b + 1) * COLS < d ? (b + 1) * COLS : d;
    for (int64_t r = 0; r < n; r += 4)
        for (int64_t i = b * COLS; i < end; i++) {
            const sae_real *row[4];
            double c[4];
            double *restrict out = f->gram + i * d;
            for (int64_t h = 0; h < 4; h++) {
                row[h] = r + h < n ? f->s->dict + (r + h) * d : f->s->dict;
                c[h] = r + h < n ? (double)row[h][i] : 0.0;
            }
#pragma omp simd
            for (int64_t j = 0; j <= i; j++)
                out[j] += c[0] * (double)row[0][j] + c[1] * (double)row[1][j] +
                          c[2] * (double)row[2][j] + c[3] * (double)row[3][j];
        }
}

/* Rows r, r + 1, .. become L^-1 times themselves, with unit norm. */
static void whiten(const frame *f, int64_t r, int64_t rows, double *restrict y)
{
    const int64_t d = f->s->law.d;
    double sq[LANES] = {0};
    for (int64_t j = 0; j < d; j++) {
        const double *L = f->gram + j * d;
        double sum[LANES] = {0};
        for (int64_t h = 0; h < rows; h++)
            sum[h] = (double)f->s->dict[(r + h) * d + j];
        for (int64_t k = 0; k < j; k++)
#pragma omp simd
            for (int h = 0; h < LANES; h++)
                sum[h] -= L[k] * y[k * LANES + h];
        for (int h = 0; h < LANES; h++) {
            y[j * LANES + h] = sum[h] / L[j];
            sq[h] += y[j * LANES + h] * y[j * LANES + h];
        }
    }
    for (int64_t h = 0; h < rows; h++)
        for (int64_t j = 0; j < d; j++)
            f->s->dict[(r + h) * d + j] = (sae_real)(y[j * LANES + h] / sqrt(sq[h]));
}

static void whiten_part(void *arg, int64_t c)
{
    const frame *f = arg;
    const int64_t n = f->s->law.features, end = n * (c + 1) / TRUTH_CHUNKS;
    for (int64_t r = n * c / TRUTH_CHUNKS; r < end; r += LANES)
        whiten(f, r, end - r < LANES ? end - r : LANES, f->lane + c * f->s->law.d * LANES);
}

static int tight_frame(sae_source *s, sae_err *err)
{
    const int64_t d = s->law.d;
    frame f = {.s = s,
               .gram = calloc((size_t)d, (size_t)d * sizeof(double)),
               .lane = calloc((size_t)d, TRUTH_CHUNKS * LANES * sizeof(double))};
    int rc = SAE_OK;
    if (!f.gram || !f.lane) {
        rc = SAE_RECORD(err, SAE_ENOMEM, "out of memory for a frame of width %lld", (long long)d);
    } else {
        s->parallel(gram_part, &f, (d + COLS - 1) / COLS);
        if (truth_cholesky(f.gram, d))
            s->parallel(whiten_part, &f, TRUTH_CHUNKS);
        else
            rc = SAE_RECORD(err, SAE_EINVAL, "%lld random atoms do not span %lld dimensions",
                            (long long)s->law.features, (long long)d);
    }
    free(f.gram);
    free(f.lane);
    return rc;
}

static int orthogonal(sae_source *s, sae_err *err)
{
    const int64_t n = s->law.features, d = s->law.d;
    double *q = calloc((size_t)n, (size_t)d * sizeof *q);
    if (!q)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld atoms", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        double *row = q + i * d, sq = 0.0;
        for (int64_t j = 0; j < d; j++)
            row[j] = (double)s->dict[i * d + j];
        for (int64_t k = 0; k < 2 * i; k++) { /* twice: orthogonal to rounding */
            const double *other = q + k % i * d;
            double dot = 0.0;
            for (int64_t j = 0; j < d; j++)
                dot += row[j] * other[j];
            for (int64_t j = 0; j < d; j++)
                row[j] -= dot * other[j];
        }
        for (int64_t j = 0; j < d; j++)
            sq += row[j] * row[j];
        for (int64_t j = 0; j < d; j++) {
            row[j] /= sqrt(sq);
            s->dict[i * d + j] = (sae_real)row[j];
        }
    }
    free(q);
    return SAE_OK;
}

int truth_spread_atoms(sae_source *s, sae_err *err)
{
    return s->law.features <= s->law.d ? orthogonal(s, err) : tight_frame(s, err);
}

int truth_cholesky(double *a, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            const double *x = a + i * n, *y = a + j * n;
            double sum = x[j];
            for (int64_t k = 0; k < j; k++)
                sum -= x[k] * y[k];
            if (i == j && !(sum > 0.0 && isfinite(sum)))
                return 0;
            a[i * n + j] = i == j ? sqrt(sum) : sum / y[j];
        }
    return 1;
}

/* The rotation of rows and columns p and q that makes a[p, q] zero (Jacobi). */
static void rotate(double *a, double *v, int64_t n, int64_t p, int64_t q)
{
    double tau = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
    double t = (tau < 0.0 ? -1.0 : 1.0) / (fabs(tau) + sqrt(1.0 + tau * tau));
    double c = 1.0 / sqrt(1.0 + t * t), s = t * c;
    for (int64_t k = 0; k < n; k++) {
        double x = a[k * n + p], y = a[k * n + q];
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for (int64_t k = 0; k < n; k++) {
        double x = a[p * n + k], y = a[q * n + k], e = v[p * n + k], f = v[q * n + k];
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
        v[p * n + k] = c * e - s * f;
        v[q * n + k] = s * e + c * f;
    }
}

void truth_eigen(double *a, double *v, int64_t n)
{
    enum { SWEEPS = 30 }; /* convergence is quadratic: ten are many */
    for (int64_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int round = 0; round < SWEEPS; round++)
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++)
                if (fabs(a[p * n + q]) > 1e-300)
                    rotate(a, v, n, p, q);
}
