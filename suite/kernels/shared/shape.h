/* suite/kernels/shared/shape.h - checks of extents that every kernel begins with. */
#ifndef SAE_KERNELS_SHAPE_H
#define SAE_KERNELS_SHAPE_H

#include <sae/kernels.h>

static inline const sae_real *row_of(sae_cmat m, int64_t r)
{
    return m.p + r * m.ld;
}

static inline int bad_extent(int64_t rows, int64_t cols, int64_t ld)
{
    return rows < 0 || cols < 0 || ld < cols;
}

static inline int bad_mat(sae_mat m)
{
    return bad_extent(m.rows, m.cols, m.ld);
}

static inline int bad_cmat(sae_cmat m)
{
    return bad_extent(m.rows, m.cols, m.ld);
}

static inline int has_shape(sae_cmat a, int64_t rows, int64_t cols)
{
    return !bad_cmat(a) && a.rows == rows && a.cols == cols;
}

/* Of c = op(a) op(b). */
static inline int bad_gemm(int ta, int tb, sae_cmat a, sae_cmat b, sae_mat c)
{
    int64_t rows = ta ? a.cols : a.rows, depth = ta ? a.rows : a.cols;
    int64_t cols = tb ? b.rows : b.cols, depth_b = tb ? b.cols : b.rows;
    return bad_cmat(a) || bad_cmat(b) || bad_mat(c) || depth != depth_b || c.rows != rows ||
           c.cols != cols;
}

static inline int bad_code(const sae_code *z)
{
    return z->B < 0 || z->n < 0;
}

/* The extents of the column index of z, checked: what code_transpose begins with. */
static inline int transpose_extents(const sae_code *z, sae_csc *t)
{
    if (bad_code(z) || z->dense || z->B > INT32_MAX)
        return SAE_EINVAL;
    t->n = z->n;
    t->nnz = z->nnz;
    return t->cap < z->nnz ? SAE_ECAPACITY : SAE_OK;
}

/* What code_merge begins with. */
static inline int bad_merge(const sae_code_part *part, int count, enum sae_merge how, int64_t k,
                            const sae_code *z)
{
    int bad = bad_code(z) || z->dense || z->n > INT32_MAX || count < 0 ||
              (how != SAE_MERGE_ALL && k < 0);
    for (int i = 0; i < count && !bad; i++) {
        const sae_code_part *p = &part[i];
        bad = bad_code(&p->z) || p->z.dense || p->row0 < 0 || p->row0 > z->B - p->z.B ||
              p->j0 < 0 || p->j0 > z->n - p->z.n;
    }
    return bad;
}

static inline sae_cmat as_const(sae_mat m)
{
    sae_cmat c = {m.p, m.rows, m.cols, m.ld};
    return c;
}

static inline int bad_encoder(const sae_encoder *e)
{
    return bad_cmat(e->x) || bad_cmat(e->w) || e->x.cols != e->w.cols || e->w.rows > INT32_MAX ||
           (e->subset && (e->m < 0 || e->m > e->w.rows));
}

static inline int64_t encoder_cols(const sae_encoder *e)
{
    return e->subset ? e->m : e->w.rows;
}

static inline int bad_scores(const sae_scores *s)
{
    return bad_cmat(s->value) || s->value.cols > INT32_MAX ||
           (s->score.p && !has_shape(s->score, s->value.rows, s->value.cols));
}

#endif
