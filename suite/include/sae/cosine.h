/* sae/cosine.h - cosines between the rows of two matrices, a block of rows at a time.
 *
 * Products run on the backend; norms are accumulated in double. A row that is zero or
 * not finite has cosine 0 with everything.
 */
#ifndef SAE_COSINE_H
#define SAE_COSINE_H

#include "device.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>

enum { SAE_COSINE_BLOCK = 256 }; /* rows of a per block */

typedef struct sae_cosines {
    const sae_measure *r;
    sae_cmat a, b;    /* backend memory, same cols, borrowed */
    double *na, *nb;  /* [a.rows], [b.rows] 1 / |row|, 0 for such a row */
    sae_real *product; /* [SAE_COSINE_BLOCK x b.rows] backend memory */
} sae_cosines;

/* Products of the rows of a with those of b, to free(); NULL when out of memory or the backend
 * fails. */
static inline double *sae_row_products(const sae_measure *r, sae_cmat a, sae_cmat b)
{
    size_t bytes = (size_t)a.rows * sizeof(double);
    double *out = (double *)malloc(bytes + 1);
    double *dev = (double *)r->c->be->alloc(r->c->dev, bytes);
    if (!out || !dev || r->c->k->row_dot(r->c->dev, a, b, dev) < 0 ||
        r->c->be->copy(r->c->dev, out, dev, bytes, SAE_COPY_D2H) < 0) {
        free(out);
        out = NULL;
    }
    sae_device_release(r->c, dev);
    return out;
}

static inline double *sae_inverse_norms(const sae_measure *r, sae_cmat m)
{
    double *out = sae_row_products(r, m, m);
    for (int64_t i = 0; out && i < m.rows; i++)
        out[i] = out[i] > 0.0 ? 1.0 / sqrt(out[i]) : 0.0;
    return out;
}

/* out [w.rows] = lengths of the rows, 0 for a row that is not finite. */
static inline int sae_atom_lengths(const sae_measure *r, sae_cmat w, double *out)
{
    double *inverse = sae_inverse_norms(r, w);
    if (!inverse)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < w.rows; j++)
        out[j] = inverse[j] > 0.0 ? 1 / inverse[j] : 0;
    free(inverse);
    return SAE_OK;
}

static inline void sae_cosines_close(sae_cosines *s)
{
    free(s->na);
    free(s->nb);
    sae_device_release(s->r->c, s->product);
}

/* SAE_ENOMEM if memory for the norms or a block is missing; nothing to close then. */
static inline int sae_cosines_open(sae_cosines *s, const sae_measure *r, sae_cmat a, sae_cmat b)
{
    size_t bytes = SAE_COSINE_BLOCK * (size_t)b.rows * sizeof(sae_real);
    s->r = r;
    s->a = a;
    s->b = b;
    s->na = sae_inverse_norms(r, a);
    s->nb = sae_inverse_norms(r, b);
    s->product = (sae_real *)r->c->be->alloc(r->c->dev, bytes);
    if (s->na && s->nb && s->product)
        return SAE_OK;
    sae_cosines_close(s);
    return SAE_ENOMEM;
}

/* out [rows x b.rows] = cosines of rows [row0, row0 + rows) of a; rows <= SAE_COSINE_BLOCK. */
static inline int sae_cosines_block(const sae_cosines *s, int64_t row0, int64_t rows, sae_real *out)
{
    const sae_ctx *c = s->r->c;
    int64_t n = s->b.rows;
    sae_cmat a = {s->a.p + row0 * s->a.ld, rows, s->a.cols, s->a.ld};
    sae_mat p = {s->product, rows, n, n};
    int rc = c->k->gemm(c->dev, 0, 1, 1, a, s->b, 0, p);
    if (rc >= 0)
        rc = c->be->copy(c->dev, out, s->product, (size_t)(rows * n) * sizeof(sae_real),
                         SAE_COPY_D2H);
    for (int64_t i = 0; rc >= 0 && i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double v = (double)out[i * n + j] * s->na[row0 + i] * s->nb[j];
            out[i * n + j] = v == v ? (sae_real)v : 0;
        }
    return rc;
}

/* Largest cosine of row `self` with another row; *at is that row, where at is not NULL. */
static inline double sae_cosine_nearest(const sae_real *cosine, int64_t n, int64_t self,
                                        int without_sign, int64_t *at)
{
    double best = without_sign ? 0.0 : -1.0;
    for (int64_t j = 0; j < n; j++) {
        double c = without_sign ? fabs((double)cosine[j]) : (double)cosine[j];
        if (j != self && c > best) {
            best = c;
            if (at)
                *at = j;
        }
    }
    return best;
}

/* The bin of a histogram over [-1, 1]; rounding may take a cosine beyond it. */
static inline int64_t sae_cosine_bin(double c, int64_t bins)
{
    int64_t bin = (int64_t)floor((c + 1) * (double)bins / 2);
    return bin < 0 ? 0 : bin < bins ? bin : bins - 1;
}

/* Called with the cosines [n] of row `self` with all rows of b. */
typedef int (*sae_cosine_row)(void *arg, const sae_real *cosine, int64_t n, int64_t self);

/* visit() for `most` rows of a, each once; of more rows, whole blocks, evenly spaced. *count says
 * how many. */
static inline int sae_cosines_walk(const sae_cosines *s, int64_t most, sae_cosine_row visit,
                                   void *arg, int64_t *count)
{
    int64_t rows_of_a = s->a.rows, n = s->b.rows;
    const int64_t block = SAE_COSINE_BLOCK;
    most = rows_of_a < most ? rows_of_a : most;
    int64_t blocks = (most + block - 1) / block;
    int rc = SAE_OK;
    sae_real *cosine = (sae_real *)malloc((size_t)(n * block) * sizeof *cosine);
    if (!cosine)
        return SAE_ENOMEM;
    *count = 0;
    for (int64_t b = 0; rc >= 0 && b < blocks; b++) {
        int64_t apart = most == rows_of_a ? block : rows_of_a / blocks, row0 = b * apart;
        int64_t rows = (b + 1 < blocks ? row0 + apart : rows_of_a) - row0;
        rows = rows < block ? rows : block;
        rc = sae_cosines_block(s, row0, rows, cosine);
        for (int64_t i = 0; rc >= 0 && i < rows; i++, ++*count)
            rc = visit(arg, cosine + i * n, n, row0 + i);
    }
    free(cosine);
    return rc;
}

/* The tensor of that name as a matrix; p == NULL when the variant has none. */
static inline sae_cmat sae_tensor_matrix(const sae_model *m, const char *name)
{
    const sae_tensor *t = sae_model_tensor(m, name);
    sae_cmat none = {NULL, 0, 0, 0};
    if (!t || t->spec->dtype != SAE_REAL)
        return none;
    sae_cmat w = {(const sae_real *)t->w, t->rows, t->cols, t->cols};
    return w;
}

/* out [m.cols] = a row of m, backend memory, on the host. */
static inline int sae_host_row(const sae_measure *r, sae_cmat m, int64_t row, double *out)
{
    size_t bytes = (size_t)m.cols * sizeof(sae_real);
    sae_real *copy = (sae_real *)malloc(bytes + 1);
    int rc = copy ? r->c->be->copy(r->c->dev, copy, m.p + row * m.ld, bytes, SAE_COPY_D2H)
                  : SAE_ENOMEM;
    for (int64_t j = 0; rc >= 0 && j < m.cols; j++)
        out[j] = (double)copy[j];
    free(copy);
    return rc;
}

/* out [d_out] = the bias of the decoder; 0 without one. */
static inline int sae_decoder_bias(const sae_measure *r, const sae_model *m, double *out)
{
    sae_cmat b = sae_tensor_matrix(m, "b_dec");
    for (int64_t i = 0; i < m->dim.d_out; i++)
        out[i] = 0;
    return b.p && b.cols == m->dim.d_out ? sae_host_row(r, b, 0, out) : SAE_OK;
}

/* 1 if codes may be negative: then atoms w and -w are the same and cosines count without sign. */
static inline int sae_model_signed(const sae_model *m)
{
    return (m->v->caps & m->v->caps_for(m->opt) & SAE_CAP_SIGNED) != 0;
}

#endif
