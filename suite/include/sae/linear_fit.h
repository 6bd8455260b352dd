/* sae/linear_fit.h - least squares of many targets on the same rows, from sums in double.
 *
 * Sums of products of rows (and of targets) are gathered row by row, in one pass; they add up over
 * parts of the rows. A fit solves (X'X + ridge I) W = X'Y on centred sums, ridge = SAE_FIT_JITTER
 * of the mean diagonal entry; where that is not positive definite, a thousand times as much, and so
 * on up to one thousandth. Without bias nothing is centred.
 */
#ifndef SAE_LINEAR_FIT_H
#define SAE_LINEAR_FIT_H

#include "device.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAE_FIT_JITTER 1e-12

/* Sums of some rows: d columns of x, m of a matrix of targets, s scalar targets. Host memory. */
typedef struct sae_fit {
    int64_t d, m, s;
    double *n;      /* [1] rows */
    double *x;      /* [d] */
    double *y;      /* [m] */
    double *xx;     /* [d x d] */
    double *xy;     /* [d x m] */
    double *q, *qq; /* [s] scalars and their squares */
    double *xq;     /* [s x d] */
} sae_fit;

static inline int64_t sae_fit_doubles(int64_t d, int64_t m, int64_t s)
{
    return 1 + d + m + d * d + d * m + s * (2 + d);
}

/* The view of a zeroed block of sae_fit_doubles. */
static inline sae_fit sae_fit_at(double *block, int64_t d, int64_t m, int64_t s)
{
    sae_fit f;
    f.d = d;
    f.m = m;
    f.s = s;
    f.n = block;
    f.x = f.n + 1;
    f.y = f.x + d;
    f.xx = f.y + m;
    f.xy = f.xx + d * d;
    f.q = f.xy + d * m;
    f.qq = f.q + s;
    f.xq = f.qq + s;
    return f;
}

/* sum [a.cols x b.cols], host memory, += products of the columns of a and b, backend memory. */
static inline int sae_add_cross(const sae_ctx *c, sae_cmat a, sae_cmat b, double *sum)
{
    size_t bytes = (size_t)(a.cols * b.cols) * sizeof *sum;
    double *dev = (double *)sae_device_copy(c, sum, bytes);
    int rc = dev ? c->k->cross(c->dev, a, b, dev) : SAE_ENOMEM;
    if (rc >= 0)
        rc = c->be->copy(c->dev, sum, dev, bytes, SAE_COPY_D2H);
    sae_device_release(c, dev);
    return rc;
}

static inline void sae_add_columns(const sae_real *x, int64_t rows, int64_t cols, double *sum)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            sum[j] += (double)x[i * cols + j];
}

/* Add rows x [rows x d] with targets y [rows x m], host memory; y is not read when m is 0. */
static inline int sae_fit_add(const sae_ctx *c, const sae_fit *f, const sae_real *x,
                              const sae_real *y, int64_t rows)
{
    if (rows == 0)
        return SAE_OK;
    sae_cmat a = {NULL, rows, f->d, f->d}, b = {NULL, rows, f->m, f->m};
    sae_real *dx = (sae_real *)sae_device_copy(c, x, (size_t)(rows * f->d) * sizeof *x);
    sae_real *dy =
        f->m ? (sae_real *)sae_device_copy(c, y, (size_t)(rows * f->m) * sizeof *y) : NULL;
    int rc = dx && (dy || !f->m) ? SAE_OK : SAE_ENOMEM;
    a.p = dx;
    b.p = dy;
    if (rc >= 0)
        rc = sae_add_cross(c, a, a, f->xx);
    if (rc >= 0 && f->m)
        rc = sae_add_cross(c, a, b, f->xy);
    sae_device_release(c, dx);
    sae_device_release(c, dy);
    *f->n += (double)rows;
    sae_add_columns(x, rows, f->d, f->x);
    sae_add_columns(y, rows, f->m, f->y);
    return rc;
}

/* The scalar targets [s] of one row. */
static inline void sae_fit_add_scalars(const sae_fit *f, const sae_real *x, const double *q)
{
    for (int64_t t = 0; t < f->s; t++) {
        double *xq = f->xq + t * f->d, v = q[t];
        f->q[t] += v;
        f->qq[t] += v * v;
        for (int64_t i = 0; i < f->d; i++)
            xq[i] += v * (double)x[i];
    }
}

/* b [n x m] becomes a^-1 b for symmetric positive definite a [n x n]; both host memory. */
static inline int sae_solve_columns(const sae_ctx *c, int64_t n, int64_t m, const double *a,
                                    double *b)
{
    size_t square = (size_t)(n * n) * sizeof *a, wide = (size_t)(n * m) * sizeof *b;
    double *da = (double *)sae_device_copy(c, a, square);
    double *db = (double *)sae_device_copy(c, b, wide);
    int rc = da && db ? c->k->solve_spd(c->dev, n, m, da, db) : SAE_ENOMEM;
    if (rc >= 0)
        rc = c->be->copy(c->dev, b, db, wide, SAE_COPY_D2H);
    sae_device_release(c, da);
    sae_device_release(c, db);
    return rc;
}

/* Sum of products about the means: what is left of a sum over n rows. */
static inline double sae_centred(double sum, double a, double b, double n)
{
    return n > 0.0 ? sum - a * b / n : sum;
}

/* out [d x (m + s)]: weights of all targets, scalars last. NaN when no ridge helps (sums that are
 * not finite), 0 when all x are the same. bias 1: of x and targets less their means. */
static inline int sae_fit_solve(const sae_ctx *c, const sae_fit *f, int bias, double *out)
{
    int64_t d = f->d, cols = f->m + f->s;
    double *R = (double *)malloc((size_t)(d * d) * sizeof *R + 1), trace = 0;
    double n = bias ? *f->n : 0;
    int rc = R ? SAE_EINVAL : SAE_ENOMEM;
    for (int64_t i = 0; i < d; i++)
        trace += sae_centred(f->xx[i * d + i], f->x[i], f->x[i], n);
    for (double ridge = SAE_FIT_JITTER; rc == SAE_EINVAL && ridge < 1e-2; ridge *= 1e3) {
        for (int64_t i = 0; i < d * d; i++)
            R[i] = sae_centred(f->xx[i], f->x[i / d], f->x[i % d], n);
        for (int64_t i = 0; i < d; i++)
            R[i * d + i] += ridge * trace / (double)d;
        for (int64_t i = 0; i < d; i++) {
            for (int64_t j = 0; j < f->m; j++)
                out[i * cols + j] = sae_centred(f->xy[i * f->m + j], f->x[i], f->y[j], n);
            for (int64_t t = 0; t < f->s; t++)
                out[i * cols + f->m + t] = sae_centred(f->xq[t * d + i], f->x[i], f->q[t], n);
        }
        rc = sae_solve_columns(c, d, cols, R, out);
    }
    if (rc == SAE_EINVAL) {
        for (int64_t i = 0; i < d * cols; i++)
            out[i] = trace > 0.0 || isnan(trace) ? (double)NAN : 0.0;
        rc = SAE_OK;
    }
    free(R);
    return rc;
}

/* The map to the matrix of targets, with intercept: w [d x m] of x less its mean at [d], and the
 * targets' mean [m]. For fits without scalar targets. */
static inline int sae_fit_map(const sae_ctx *c, const sae_fit *f, sae_real *w, double *at,
                              double *mean)
{
    double *wide = (double *)malloc((size_t)(f->d * f->m) * sizeof *wide + 1);
    int rc = wide ? sae_fit_solve(c, f, 1, wide) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < f->d * f->m; i++)
        w[i] = (sae_real)wide[i];
    for (int64_t i = 0; i < f->d; i++)
        at[i] = f->x[i] / *f->n;
    for (int64_t j = 0; j < f->m; j++)
        mean[j] = f->y[j] / *f->n;
    free(wide);
    return rc;
}

/* out [rows x m] = (x - at) w for x [rows x d] and w [d x m], host memory; products in sae_real, of
 * each row by itself. */
static inline int sae_fit_apply(const sae_ctx *c, int64_t d, int64_t m, const double *at,
                                const sae_real *w, const sae_real *x, int64_t rows, sae_real *out)
{
    size_t size = (size_t)(rows * m) * sizeof *out;
    sae_real *near = (sae_real *)malloc((size_t)(rows * d) * sizeof *near + 1);
    for (int64_t i = 0; near && i < rows * d; i++)
        near[i] = (sae_real)((double)x[i] - at[i % d]);
    sae_real *dx =
        near ? (sae_real *)sae_device_copy(c, near, (size_t)(rows * d) * sizeof *near) : NULL;
    sae_real *dw = (sae_real *)sae_device_copy(c, w, (size_t)(d * m) * sizeof *w);
    sae_real *dy = (sae_real *)c->be->alloc(c->dev, size);
    int rc = dx && dw && dy ? SAE_OK : SAE_ENOMEM;
    sae_cmat a = {dx, rows, d, d}, b = {dw, d, m, m};
    sae_mat y = {dy, rows, m, m};
    if (rc >= 0)
        rc = c->k->gemm(c->dev, 0, 0, 1, a, b, 0, y);
    if (rc >= 0)
        rc = c->be->copy(c->dev, out, dy, size, SAE_COPY_D2H);
    sae_device_release(c, dx);
    sae_device_release(c, dw);
    sae_device_release(c, dy);
    free(near);
    return rc;
}

/* Test of scalar t of f by weights w [d] fitted to other rows with means at [d] and of_q: share of
 * its variance that is explained. NaN when it has none. */
static inline double sae_fit_r2(const sae_fit *f, int64_t t, const double *w, const double *at,
                                double of_q)
{
    int64_t d = f->d;
    double n = *f->n, q = f->q[t], rss = f->qq[t] - 2 * of_q * q + n * of_q * of_q;
    double tss = n > 0.0 ? f->qq[t] - q * q / n : 0.0;
    for (int64_t i = 0; i < d; i++) {
        double gap = f->x[i] - n * at[i], sum = 0;
        rss -= 2 * w[i] * (f->xq[t * d + i] - at[i] * q - of_q * gap);
        for (int64_t j = 0; j < d; j++)
            sum += w[j] * (f->xx[i * d + j] - at[i] * f->x[j] - at[j] * gap);
        rss += w[i] * sum;
    }
    return tss > f->qq[t] * 0x1p-40 ? 1 - rss / tss : (double)NAN;
}

#endif
