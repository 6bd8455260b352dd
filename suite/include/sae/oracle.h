/* sae/oracle.h - the codes a dictionary allows: orthogonal matching pursuit of sampled rows.
 *
 * What an encoder loses is told apart from what the dictionary lacks by a pursuit over the same
 * atoms in place of the encoder, with as many steps for a row as its sampled code has entries.
 */
#ifndef SAE_ORACLE_H
#define SAE_ORACLE_H

#include "cosine.h"
#include "labelled.h"

enum { SAE_ORACLE_ENTRIES = 256 }; /* room for the code of a sampled row */

/* Option oracle_rows, int64_t, of a family's option struct. */
#define SAE_ORACLE_OPTION(type)                                                                    \
    {"oracle_rows", SAE_OPT_INT, 0, offsetof(type, oracle_rows), 64, 0, 1 << 20, NULL, NULL,       \
     "rows", "uniform sample coded by orthogonal matching pursuit over the atoms, 0: none"}

/* The sample of so many rows with their codes over n features. */
static inline sae_labelled sae_oracle_sample(const sae_measure *r, int64_t rows, int64_t n)
{
    int64_t room = rows * SAE_ORACLE_ENTRIES;
    sae_labelled s = {rows, room > n ? room : n, r->m->dim.d_out, 0, 0, 0, 0, UINT64_MAX};
    return s;
}

typedef struct sae_oracle {
    const sae_measure *r;
    const sae_labelled *s;
    const sae_labelled_ref *ref;
    sae_cmat w;          /* atoms */
    sae_real *unit, *dx; /* backend: [n x d] unit atoms, [rows x d] */
    int64_t *dk;         /* backend: [rows] steps */
    sae_code z;          /* backend */
    sae_real *x;         /* [rows x d] */
    int64_t *k;          /* [rows] */
    double *bias;        /* [d] */
} sae_oracle;

static inline void sae_oracle_close(sae_oracle *q)
{
    void *const device[] = {q->unit, q->dx, q->dk, q->z.rowptr, q->z.idx, q->z.val};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        sae_device_release(q->r->c, device[i]);
    free(q->x);
    free(q->k);
    free(q->bias);
}

static inline int sae_oracle_open(sae_oracle *q)
{
    const sae_backend *be = q->r->c->be;
    sae_device *dev = q->r->c->dev;
    size_t rows = (size_t)q->s->count, some = (size_t)q->s->entries + 1, d = (size_t)q->w.cols;
    q->unit = (sae_real *)be->alloc(dev, (size_t)q->w.rows * d * sizeof *q->unit);
    q->dx = (sae_real *)be->alloc(dev, rows * d * sizeof *q->dx + 1);
    q->dk = (int64_t *)be->alloc(dev, rows * sizeof *q->dk + 1);
    q->z.rowptr = (int64_t *)be->alloc(dev, (rows + 1) * sizeof *q->z.rowptr);
    q->z.idx = (int32_t *)be->alloc(dev, some * sizeof *q->z.idx);
    q->z.val = (sae_real *)be->alloc(dev, some * sizeof *q->z.val);
    q->x = (sae_real *)malloc(rows * d * sizeof *q->x + 1);
    q->k = (int64_t *)malloc(rows * sizeof *q->k + 1);
    q->bias = (double *)malloc(d * sizeof *q->bias);
    q->z.cap = q->s->entries;
    return q->unit && q->dx && q->dk && q->z.rowptr && q->z.idx && q->z.val && q->x && q->k &&
                   q->bias
               ? SAE_OK
               : SAE_ENOMEM;
}

/* Rows less what the decoder adds to the atoms, and their steps; answers the most of these. */
static inline int64_t sae_oracle_rows(const sae_oracle *q, double ratio)
{
    sae_labelled_rows a = sae_labelled_at(q->s);
    int64_t d = q->w.cols, most = 0;
    for (int64_t i = 0; i < q->s->count; i++) {
        int64_t row = q->ref[i].row;
        sae_norm_row u = a.norm[row];
        q->k[i] = a.first[row + 1] - a.first[row];
        most = q->k[i] > most ? q->k[i] : most;
        for (int64_t j = 0; j < d; j++)
            q->x[i * d + j] = (sae_real)((double)a.x[row * d + j] - u.shift -
                                         u.scale * ratio * q->bias[j]);
    }
    return most;
}

static inline int sae_oracle_pursue(sae_oracle *q, int64_t most)
{
    const sae_backend *be = q->r->c->be;
    sae_device *dev = q->r->c->dev;
    int64_t rows = q->s->count, n = q->w.rows, d = q->w.cols;
    sae_pursuit p = {SAE_SOLVE_OMP, 0, most, q->dk, 0};
    sae_mat unit = {q->unit, n, d, d};
    sae_cmat atoms = {q->unit, n, d, d}, x = {q->dx, rows, d, d};
    size_t elements = (size_t)rows * (size_t)d, weights = (size_t)n * (size_t)d;
    int rc = be->copy(dev, q->unit, q->w.p, weights * sizeof *q->unit, SAE_COPY_D2D);
    if (rc >= 0)
        rc = q->r->c->k->unit_rows(dev, unit);
    if (rc >= 0)
        rc = be->copy(dev, q->dx, q->x, elements * sizeof *q->x, SAE_COPY_H2D);
    if (rc >= 0)
        rc = be->copy(dev, q->dk, q->k, (size_t)rows * sizeof *q->k, SAE_COPY_H2D);
    return rc < 0 ? rc : q->r->c->k->pursuit(dev, &p, x, atoms, &q->z);
}

/* The code back on the host. */
static inline int sae_oracle_fetch(const sae_oracle *q, sae_code *out)
{
    const sae_backend *be = q->r->c->be;
    sae_device *dev = q->r->c->dev;
    size_t rows = (size_t)q->s->count + 1, nnz = (size_t)q->z.nnz;
    *out = q->z;
    out->rowptr = (int64_t *)malloc(rows * sizeof *out->rowptr);
    out->idx = (int32_t *)malloc(nnz * sizeof *out->idx + 1);
    out->val = (sae_real *)malloc(nnz * sizeof *out->val + 1);
    if (!out->rowptr || !out->idx || !out->val)
        return SAE_ENOMEM;
    int rc = be->copy(dev, out->rowptr, q->z.rowptr, rows * sizeof *out->rowptr, SAE_COPY_D2H);
    if (rc >= 0)
        rc = be->copy(dev, out->idx, q->z.idx, nnz * sizeof *out->idx, SAE_COPY_D2H);
    return rc < 0 ? rc : be->copy(dev, out->val, q->z.val, nnz * sizeof *out->val, SAE_COPY_D2H);
}

static inline void sae_oracle_free(sae_code *z)
{
    free(z->rowptr);
    free(z->idx);
    free(z->val);
}

/* Codes of the sampled rows, in the order of ref, over the atoms of m: host memory, coefficients of
 * unit atoms in raw units. ratio: scale of m over that of r. Free the code in any case. */
static inline int sae_oracle_codes(const sae_measure *r, const sae_model *m, double ratio,
                                   const sae_labelled *s, const sae_labelled_ref *ref,
                                   sae_code *out)
{
    sae_oracle q;
    memset(&q, 0, sizeof q);
    memset(out, 0, sizeof *out);
    q.r = r;
    q.s = s;
    q.ref = ref;
    q.w = sae_tensor_matrix(m, "W_dec");
    int rc = sae_oracle_open(&q);
    if (rc >= 0)
        rc = sae_decoder_bias(r, m, q.bias);
    if (rc >= 0)
        rc = sae_oracle_pursue(&q, sae_oracle_rows(&q, ratio));
    if (rc >= 0)
        rc = sae_oracle_fetch(&q, out);
    sae_oracle_close(&q);
    return rc;
}

#endif
