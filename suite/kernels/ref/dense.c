/* suite/kernels/ref/dense.c - products and sums over dense matrices. */
#include "ref/ref.h"

/* Element (i, j) of m, or of its transpose. */
static double at(sae_cmat m, int transposed, int64_t i, int64_t j)
{
    return (double)(transposed ? m.p[j * m.ld + i] : m.p[i * m.ld + j]);
}

SAE_DECL_gemm(SAE_REF(gemm))
{
    (void)dev;
    int64_t depth = ta ? a.rows : a.cols;
    if (bad_gemm(ta, tb, a, b, c))
        return SAE_EINVAL;
    for (int64_t i = 0; i < c.rows; i++)
        for (int64_t j = 0; j < c.cols; j++) {
            double s = 0;
            for (int64_t l = 0; l < depth; l++)
                s += at(a, ta, i, l) * at(b, tb, l, j);
            sae_real *out = c.p + i * c.ld + j;
            double old = beta == 0 ? 0 : (double)beta * (double)*out;
            *out = (sae_real)((double)alpha * s + old);
        }
    return SAE_OK;
}

SAE_DECL_shift_rows(SAE_REF(shift_rows))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t i = 0; i < x.cols; i++)
            out.p[r * out.ld + i] =
                (sae_real)((double)x.p[r * x.ld + i] + (double)alpha * (double)v[i]);
    return SAE_OK;
}

SAE_DECL_col_sum(SAE_REF(col_sum))
{
    (void)dev;
    if (bad_cmat(x))
        return SAE_EINVAL;
    for (int64_t j = 0; j < x.cols; j++) {
        sae_pairwise p = {0};
        for (int64_t r0 = 0; r0 < x.rows; r0 += SAE_SUM_BLOCK) {
            double s = 0;
            for (int64_t r = r0; r < r0 + SAE_SUM_BLOCK && r < x.rows; r++)
                s += (double)x.p[r * x.ld + j];
            sae_pairwise_add(&p, s);
        }
        out[j] = (sae_real)((double)out[j] + (double)alpha * sae_pairwise_total(&p));
    }
    return SAE_OK;
}

SAE_DECL_row_dot(SAE_REF(row_dot))
{
    (void)dev;
    if (bad_cmat(a) || !has_shape(b, a.rows, a.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < a.rows; r++)
        out[r] = ref_dot(row_of(a, r), row_of(b, r), a.cols);
    return SAE_OK;
}

SAE_DECL_sum(SAE_REF(sum))
{
    (void)dev;
    if (n < 0)
        return SAE_EINVAL;
    sae_pairwise p = {0};
    for (int64_t i0 = 0; i0 < n; i0 += SAE_SUM_BLOCK) {
        double lane[SAE_SUM_LANES] = {0};
        for (int64_t i = i0; i < i0 + SAE_SUM_BLOCK && i < n; i++)
            lane[(i - i0) % SAE_SUM_LANES] += v[i];
        sae_pairwise_add(&p, sae_fold_lanes(lane));
    }
    *out = sae_pairwise_total(&p);
    return SAE_OK;
}

SAE_DECL_residual(SAE_REF(residual))
{
    (void)dev;
    if (bad_cmat(xhat) || !has_shape(y, xhat.rows, xhat.cols))
        return SAE_EINVAL;
    if (resid.p && !has_shape(as_const(resid), xhat.rows, xhat.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < xhat.rows; r++) {
        const sae_real *a = row_of(xhat, r), *b = row_of(y, r);
        sae_pairwise p = {0};
        for (int64_t i0 = 0; i0 < xhat.cols; i0 += SAE_SUM_BLOCK) {
            double lane[SAE_SUM_LANES] = {0};
            for (int64_t i = i0; i < i0 + SAE_SUM_BLOCK && i < xhat.cols; i++) {
                sae_real diff = a[i] - b[i];
                lane[(i - i0) % SAE_SUM_LANES] += (double)diff * (double)diff;
                if (resid.p)
                    resid.p[r * resid.ld + i] = diff;
            }
            sae_pairwise_add(&p, sae_fold_lanes(lane));
        }
        sse[r] = sae_pairwise_total(&p);
    }
    return SAE_OK;
}
