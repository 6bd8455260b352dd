/* suite/kernels/ref/linalg.c - cross products, symmetric eigenvectors, Cholesky, in double. */
#include "ref/ref.h"

#include <float.h>
#include <math.h>

SAE_DECL_cross(SAE_REF(cross))
{
    (void)dev;
    if (bad_cmat(a) || bad_cmat(b) || a.rows != b.rows)
        return SAE_EINVAL;
    for (int64_t r = 0; r < a.rows; r++)
        for (int64_t i = 0; i < a.cols; i++) {
            double v = (double)a.p[r * a.ld + i];
            for (int64_t j = 0; j < b.cols; j++)
                out[i * b.cols + j] += v * (double)b.p[r * b.ld + j];
        }
    return SAE_OK;
}

/* ---- eigenvectors: cyclic Jacobi (Golub & Van Loan, section 8.5) ----------------------------- */

/* Rotate rows p and q of the n x n matrix m by (c, s). */
static void rotate_rows(double *m, int64_t n, int64_t p, int64_t q, double c, double s)
{
    for (int64_t i = 0; i < n; i++) {
        double x = m[p * n + i], y = m[q * n + i];
        m[p * n + i] = c * x - s * y;
        m[q * n + i] = s * x + c * y;
    }
}

static void rotate_cols(double *m, int64_t n, int64_t p, int64_t q, double c, double s)
{
    for (int64_t i = 0; i < n; i++) {
        double x = m[i * n + p], y = m[i * n + q];
        m[i * n + p] = c * x - s * y;
        m[i * n + q] = s * x + c * y;
    }
}

/* Sum of the squares off the diagonal. */
static double off_diagonal(const double *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            sum += i == j ? 0 : a[i * n + j] * a[i * n + j];
    return sum;
}

/* Zero every a[p,q] once; the rotations gather in the rows of v. */
static void sweep(double *a, double *v, int64_t n)
{
    for (int64_t p = 0; p < n; p++)
        for (int64_t q = p + 1; q < n; q++) {
            double apq = a[p * n + q];
            if (apq == 0)
                continue;
            double tau = (a[q * n + q] - a[p * n + p]) / (2 * apq);
            double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
            double c = 1 / sqrt(1 + t * t), s = t * c;
            rotate_rows(a, n, p, q, c, s);
            rotate_cols(a, n, p, q, c, s);
            rotate_rows(v, n, p, q, c, s);
        }
}

/* The next eigenvector of the order, with its sign, into out. */
static void take_largest(double *v, double *diagonal, int64_t n, double *out, double *w)
{
    int64_t best = 0, big = 0;
    for (int64_t i = 1; i < n; i++)
        if (diagonal[i] > diagonal[best])
            best = i;
    const double *row = v + best * n;
    for (int64_t i = 1; i < n; i++)
        if (fabs(row[i]) > fabs(row[big]))
            big = i;
    for (int64_t i = 0; i < n; i++)
        out[i] = row[big] < 0 ? -row[i] : row[i];
    *w = diagonal[best];
    diagonal[best] = -INFINITY;
}

SAE_DECL_eigh(SAE_REF(eigh))
{
    enum { SWEEPS = 60 };
    if (n < 0 || (n > 0 && n > INT64_MAX / n - 1))
        return SAE_EINVAL;
    double *v = sae_ws_shared(dev, 0, n * (n + 1), sizeof *v), size = 0;
    if (!v)
        return SAE_ENOMEM;
    double *diagonal = v + n * n;
    for (int64_t i = 0; i < n * n; i++) {
        v[i] = i % (n + 1) == 0;
        size += a[i] * a[i];
    }
    if (!isfinite(size))
        return SAE_EINVAL;
    for (int i = 0; i < SWEEPS && off_diagonal(a, n) > DBL_EPSILON * DBL_EPSILON * size; i++)
        sweep(a, v, n);
    for (int64_t i = 0; i < n; i++)
        diagonal[i] = a[i * n + i];
    for (int64_t i = 0; i < n; i++)
        take_largest(v, diagonal, n, a + i * n, w + i);
    return SAE_OK;
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

/* The lower triangle of a becomes L with a = L L^T. */
static int factor(double *a, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = j; i < n; i++) {
            double s = a[i * n + j];
            for (int64_t k = 0; k < j; k++)
                s -= a[i * n + k] * a[j * n + k];
            if (i == j && !(s > 0 && isfinite(s)))
                return SAE_EINVAL;
            a[i * n + j] = i == j ? sqrt(s) : s / a[j * n + j];
        }
    return SAE_OK;
}

SAE_DECL_solve_spd(SAE_REF(solve_spd))
{
    (void)dev;
    if (n < 0 || m < 0)
        return SAE_EINVAL;
    int rc = factor(a, n);
    if (rc)
        return rc;
    for (int64_t c = 0; c < m; c++) {
        for (int64_t i = 0; i < n; i++) {
            double s = b[i * m + c];
            for (int64_t k = 0; k < i; k++)
                s -= a[i * n + k] * b[k * m + c];
            b[i * m + c] = s / a[i * n + i];
        }
        for (int64_t i = n - 1; i >= 0; i--) {
            double s = b[i * m + c];
            for (int64_t k = i + 1; k < n; k++)
                s -= a[k * n + i] * b[k * m + c];
            b[i * m + c] = s / a[i * n + i];
        }
    }
    return SAE_OK;
}
