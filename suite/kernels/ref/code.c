/* suite/kernels/ref/code.c - products with codes, their transpose, norms and firing statistics.
 *
 * A dense code is read as one whose every entry is listed.
 */
#include "ref/ref.h"

#include <string.h>

/* Listed entries of row r: [first, end); entry i belongs to feature(z, r, i). */
static int64_t first_of(const sae_code *z, int64_t r)
{
    return z->dense ? r * z->n : z->rowptr[r];
}

static int64_t end_of(const sae_code *z, int64_t r)
{
    return z->dense ? (r + 1) * z->n : z->rowptr[r + 1];
}

static int64_t feature(const sae_code *z, int64_t r, int64_t i)
{
    return z->dense ? i - r * z->n : z->idx[i];
}

SAE_DECL_code_to_dense(SAE_REF(code_to_dense))
{
    (void)dev;
    if (bad_code(z) || !has_shape(as_const(out), z->B, z->n))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++) {
        sae_real *o = out.p + r * out.ld;
        for (int64_t j = 0; j < z->n; j++)
            o[j] = 0;
        for (int64_t i = first_of(z, r); i < end_of(z, r); i++)
            o[feature(z, r, i)] = z->val[i];
    }
    return SAE_OK;
}

SAE_DECL_code_decode(SAE_REF(code_decode))
{
    (void)dev;
    if (bad_code(z) || bad_mat(xhat) || xhat.rows != z->B ||
        !has_shape(w, z->n, xhat.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t c = 0; c < xhat.cols; c++) {
            double s = bias ? (double)bias[c] : 0;
            for (int64_t i = first_of(z, r); i < end_of(z, r); i++)
                s += (double)z->val[i] * (double)w.p[feature(z, r, i) * w.ld + c];
            xhat.p[r * xhat.ld + c] = (sae_real)s;
        }
    return SAE_OK;
}

SAE_DECL_code_grad(SAE_REF(code_grad))
{
    (void)dev;
    if (bad_code(z) || bad_cmat(dx) || dx.rows != z->B || !has_shape(w, z->n, dx.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = first_of(z, r); i < end_of(z, r); i++)
            dval[i] =
                (sae_real)ref_dot(row_of(dx, r), row_of(w, feature(z, r, i)), dx.cols);
    return SAE_OK;
}

SAE_DECL_code_transpose(SAE_REF(code_transpose))
{
    (void)dev;
    int rc = transpose_extents(z, t);
    if (rc < 0)
        return rc;
    /* Counting sort: colptr[j + 1] counts, then runs as the write position of column j. */
    memset(t->colptr, 0, sizeof *t->colptr * (size_t)(z->n + 1));
    for (int64_t i = 0; i < z->nnz; i++)
        t->colptr[z->idx[i] + 1]++;
    for (int64_t j = 0; j < z->n; j++)
        t->colptr[j + 1] += t->colptr[j];
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++) {
            int64_t o = t->colptr[z->idx[i]]++;
            t->row[o] = (int32_t)r;
            t->pos[o] = i;
        }
    for (int64_t j = z->n; j > 0; j--)
        t->colptr[j] = t->colptr[j - 1];
    t->colptr[0] = 0;
    return SAE_OK;
}

SAE_DECL_code_outer(SAE_REF(code_outer))
{
    (void)dev;
    if (t->n < 0 || bad_cmat(x) || !has_shape(as_const(dw), t->n, x.cols))
        return SAE_EINVAL;
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t c = 0; c < x.cols; c++) {
            double s = 0;
            for (int64_t o = t->colptr[j]; o < t->colptr[j + 1]; o++)
                s += (double)val[t->pos[o]] * (double)x.p[t->row[o] * x.ld + c];
            sae_real *out = dw.p + j * dw.ld + c;
            *out = (sae_real)((double)*out + (double)alpha * s);
        }
    return SAE_OK;
}

SAE_DECL_code_col_sum(SAE_REF(code_col_sum))
{
    (void)dev;
    if (t->n < 0)
        return SAE_EINVAL;
    for (int64_t j = 0; j < t->n; j++) {
        double s = 0;
        for (int64_t o = t->colptr[j]; o < t->colptr[j + 1]; o++)
            s += (double)val[t->pos[o]];
        out[j] = (sae_real)((double)out[j] + (double)alpha * s);
    }
    return SAE_OK;
}

SAE_DECL_code_col_min(SAE_REF(code_col_min))
{
    (void)dev;
    if (t->n < 0)
        return SAE_EINVAL;
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t o = t->colptr[j]; o < t->colptr[j + 1]; o++)
            if (val[t->pos[o]] < out[j])
                out[j] = val[t->pos[o]];
    return SAE_OK;
}

SAE_DECL_code_norms(SAE_REF(code_norms))
{
    (void)dev;
    if (bad_code(z))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++) {
        int64_t count = 0;
        sae_pairwise p = {0};
        for (int64_t i0 = first_of(z, r); i0 < end_of(z, r); i0 += SAE_SUM_BLOCK) {
            double lane[SAE_SUM_LANES] = {0};
            for (int64_t i = i0; i < i0 + SAE_SUM_BLOCK && i < end_of(z, r); i++) {
                double v = (double)z->val[i];
                count += v != 0;
                lane[(i - i0) % SAE_SUM_LANES] += v < 0 ? -v : v;
            }
            sae_pairwise_add(&p, sae_fold_lanes(lane));
        }
        if (l0)
            l0[r] = count;
        if (l1)
            l1[r] = sae_pairwise_total(&p);
    }
    return SAE_OK;
}

SAE_DECL_fire_update(SAE_REF(fire_update))
{
    (void)dev;
    if (bad_code(z))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = first_of(z, r); i < end_of(z, r); i++)
            if (z->val[i] != 0) {
                last_fired[feature(z, r, i)] = now;
                fire_count[feature(z, r, i)]++;
            }
    return SAE_OK;
}

SAE_DECL_code_max(SAE_REF(code_max))
{
    (void)dev;
    if (bad_code(z))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = first_of(z, r); i < end_of(z, r); i++)
            if (z->val[i] > out[feature(z, r, i)])
                out[feature(z, r, i)] = z->val[i];
    return SAE_OK;
}

SAE_DECL_code_slice(SAE_REF(code_slice))
{
    (void)dev;
    if (bad_code(z) || z->dense || out->dense || j0 < 0 || j1 < j0 || j1 > z->n)
        return SAE_EINVAL;
    out->B = z->B;
    out->n = z->n;
    out->nnz = out->nan = out->rowptr[0] = 0;
    for (int64_t r = 0; r < z->B; r++) {
        for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++) {
            if (z->idx[i] < j0 || z->idx[i] >= j1)
                continue;
            if (out->nnz < out->cap) {
                out->idx[out->nnz] = z->idx[i];
                out->val[out->nnz] = z->val[i];
            }
            out->nnz++;
        }
        out->rowptr[r + 1] = out->nnz;
    }
    return out->nnz > out->cap ? SAE_ECAPACITY : SAE_OK;
}

SAE_DECL_code_scale(SAE_REF(code_scale))
{
    (void)dev;
    if (bad_code(z))
        return SAE_EINVAL;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = first_of(z, r); i < end_of(z, r); i++) {
            double by = (row ? (double)row[r] : 1) * (col ? (double)col[feature(z, r, i)] : 1);
            out[i] = (sae_real)(by * (double)val[i]);
        }
    return SAE_OK;
}
