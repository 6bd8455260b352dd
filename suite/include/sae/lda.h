/* sae/lda.h - linear discriminants of every class of a label against the rest, at full width.
 *
 * With m the mean, T the covariance of all training rows and R = T + ridge diag(T), class c with
 * share p of the rows and mean m_c, the rest with mean m_r, delta = m_c - m_r:
 *     u = R^-1 delta,  q = delta . u,  w = u / (1 - p (1 - p) q),  s(x) = w . (x - (m_c + m_r) / 2)
 * By Sherman and Morrison w is W^-1 delta with the within-class covariance W = R - p (1 - p) delta
 * delta', so s is Fisher's discriminant, the log odds at equal priors of two normal classes, and
 * one factorisation serves all classes. SAE_LDA_RIDGE only makes R invertible; a coordinate without
 * spread gets weight 0.
 */
#ifndef SAE_LDA_H
#define SAE_LDA_H

#include "cosine.h"
#include "linear_fit.h"

/* Tells best: language models keep much of what they know in directions of little variance. */
#define SAE_LDA_RIDGE 1e-8

typedef struct sae_lda {
    int64_t d, classes;
    double ridge;
    double *w;     /* [classes x d] */
    double *b;     /* [classes] s = w . x + b; NaN for a class that has no or all rows */
    double *share; /* [classes] p */
    double *mean;  /* [d], then class means less it [classes x d] */
} sae_lda;

static inline void sae_lda_close(sae_lda *l)
{
    free(l->w);
    free(l->b);
    free(l->mean);
    memset(l, 0, sizeof *l);
}

static inline int sae_lda_open(sae_lda *l, int64_t d, int64_t classes, double ridge)
{
    size_t c = (size_t)classes, wide = (size_t)d;
    memset(l, 0, sizeof *l);
    l->d = d;
    l->classes = classes;
    l->ridge = ridge;
    l->w = (double *)calloc(c * wide + 1, sizeof(double));
    l->b = (double *)calloc(2 * c + 1, sizeof(double));
    l->mean = (double *)calloc((c + 1) * wide + 1, sizeof(double));
    l->share = l->b + classes;
    if (l->w && l->b && l->mean)
        return SAE_OK;
    sae_lda_close(l);
    return SAE_ENOMEM;
}

/* Sums of products of x [rows x d], host memory, into out [d x d], host memory. */
static inline int sae_products(const sae_measure *r, const sae_real *x, int64_t rows, int64_t d,
                               double *out)
{
    sae_cmat a = {NULL, rows, d, d};
    sae_real *dx = (sae_real *)sae_device_copy(r->c, x, (size_t)(rows * d) * sizeof(sae_real));
    memset(out, 0, (size_t)(d * d) * sizeof *out);
    a.p = dx;
    int rc = dx ? sae_add_cross(r->c, a, a, out) : SAE_ENOMEM;
    sae_device_release(r->c, dx);
    return rc;
}

/* b [m x d], host memory, becomes rows R^-1 b for symmetric R [d x d].
 * SAE_EINVAL when R is not positive definite. */
static inline int sae_solve_rows(const sae_measure *r, int64_t d, int64_t m, const double *R,
                                 double *b)
{
    double *t = (double *)malloc((size_t)(d * m) * sizeof *t + 1);
    for (int64_t i = 0; t && i < d * m; i++)
        t[i] = b[i % m * d + i / m]; /* right-hand sides are columns */
    int rc = t ? sae_solve_columns(r->c, d, m, R, t) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < d * m; i++)
        b[i % m * d + i / m] = t[i];
    free(t);
    return rc;
}

/* The mean, and in w the class means less it; shares. */
static inline void sae_lda_means(sae_lda *l, const sae_real *x, const int32_t *label, int64_t rows)
{
    int64_t d = l->d;
    for (int64_t i = 0; i < rows; i++) {
        l->share[label[i]] += 1;
        for (int64_t j = 0; j < d; j++)
            l->w[label[i] * d + j] += (double)x[i * d + j];
    }
    for (int64_t c = 0; c < l->classes; c++)
        for (int64_t j = 0; j < d; j++)
            l->mean[j] += l->w[c * d + j] / (double)rows;
    for (int64_t c = 0; c < l->classes; c++) {
        for (int64_t j = 0; l->share[c] > 0 && j < d; j++)
            l->w[c * d + j] = l->w[c * d + j] / l->share[c] - l->mean[j];
        l->share[c] /= (double)rows;
    }
    memcpy(l->mean + d, l->w, (size_t)(l->classes * d) * sizeof *l->w);
}

/* w holds R^-1 (m_c - m), which is (1 - p) u. */
static inline void sae_lda_scale(sae_lda *l)
{
    int64_t d = l->d;
    for (int64_t c = 0; c < l->classes; c++) {
        double p = l->share[c], rest = 1 - p, *w = l->w + c * d, q = 0, b = 0;
        const double *dev = l->mean + (c + 1) * d; /* (1 - p) delta */
        for (int64_t j = 0; p < 1 && j < d; j++)
            q += dev[j] * w[j] / (rest * rest);
        double within = 1 - p * rest * q;
        within = within > 1e-12 ? within : 1e-12; /* classes without any overlap */
        for (int64_t j = 0; j < d; j++) {
            w[j] /= rest * within;
            /* (m_c + m_r) / 2 = m + dev (1 - p / (1 - p)) / 2 */
            b -= w[j] * (l->mean[j] + dev[j] * (1 - p / rest) / 2);
        }
        l->b[c] = p > 0 && p < 1 ? b : (double)NAN;
    }
}

/* Rows x [rows x d], host memory, with classes label [rows]. All discriminants are NaN when there
 * are no rows, or they are not finite. */
static inline int sae_lda_fit(const sae_measure *r, sae_lda *l, const sae_real *x,
                              const int32_t *label, int64_t rows)
{
    int64_t d = l->d;
    double *R = (double *)malloc((size_t)(d * d) * sizeof(double) + 1);
    int rc = R ? sae_products(r, x, rows, d, R) : SAE_ENOMEM;
    if (rc >= 0 && rows > 0) {
        sae_lda_means(l, x, label, rows);
        for (int64_t i = 0; i < d; i++) {
            double square = R[i * d + i] / (double)rows, *variance = &R[i * d + i];
            for (int64_t j = 0; j < d; j++)
                R[i * d + j] = R[i * d + j] / (double)rows - l->mean[i] * l->mean[j];
            /* of a coordinate without spread only rounding is left */
            *variance = *variance > square * 0x1p-40 ? *variance * (1 + l->ridge) : 1.0;
        }
        rc = sae_solve_rows(r, d, l->classes, R, l->w);
        sae_lda_scale(l);
    }
    if (rows == 0 || rc == SAE_EINVAL) {
        for (int64_t c = 0; c < l->classes; c++)
            l->b[c] = (double)NAN;
        rc = SAE_OK;
    }
    free(R);
    return rc;
}

/* out [n x m] = products of the n rows of w, backend memory, with v [m x d]. */
static inline int sae_times_atoms(const sae_measure *r, sae_cmat w, const double *v, int64_t m,
                                  double *out)
{
    const sae_ctx *c = r->c;
    int64_t n = w.rows, d = w.cols;
    size_t in = (size_t)(m * d) * sizeof(sae_real), all = (size_t)(n * m) * sizeof(sae_real);
    sae_real *host = (sae_real *)malloc((in > all ? in : all) + 1);
    for (int64_t i = 0; host && i < m * d; i++)
        host[i] = (sae_real)v[i];
    sae_real *dv = host ? (sae_real *)sae_device_copy(c, host, in) : NULL;
    sae_real *dp = (sae_real *)c->be->alloc(c->dev, all);
    sae_cmat b = {dv, m, d, d};
    sae_mat p = {dp, n, m, m};
    int rc = dv && dp ? c->k->gemm(c->dev, 0, 1, 1, w, b, 0, p) : SAE_ENOMEM;
    if (rc >= 0)
        rc = c->be->copy(c->dev, host, dp, all, SAE_COPY_D2H);
    for (int64_t i = 0; rc >= 0 && i < n * m; i++)
        out[i] = (double)host[i];
    free(host);
    sae_device_release(c, dv);
    sae_device_release(c, dp);
    return rc;
}

static inline double sae_lda_score(const sae_lda *l, int64_t class_, const sae_real *x)
{
    const double *w = l->w + class_ * l->d;
    double s = l->b[class_];
    for (int64_t j = 0; j < l->d; j++)
        s += w[j] * (double)x[j];
    return s;
}

#endif
