/* suite/kernels/ref/elementwise.c - functions, products and windows of matrices, element by
 * element. */
#include "ref/ref.h"
#include "shared/map.h"

SAE_DECL_map(SAE_REF(map))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols) || f > SAE_FN_CLAMP)
        return SAE_EINVAL;
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++)
            out.p[r * out.ld + i] = (sae_real)sae_map_number(f, p, q, (double)x.p[r * x.ld + i]);
    return SAE_OK;
}

SAE_DECL_mul(SAE_REF(mul))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(a, out.rows, out.cols) || !has_shape(b, out.rows, out.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++)
            out.p[r * out.ld + i] = (sae_real)((double)alpha * (double)a.p[r * a.ld + i] *
                                               (double)b.p[r * b.ld + i]);
    return SAE_OK;
}

SAE_DECL_scale(SAE_REF(scale))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++) {
            double by = (row ? (double)row[r] : 1) * (col ? (double)col[i] : 1);
            out.p[r * out.ld + i] = (sae_real)(by * (double)x.p[r * x.ld + i]);
        }
    return SAE_OK;
}

SAE_DECL_window(SAE_REF(window))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++) {
            sae_real v = value.p[r * value.ld + i], g = gate.p[r * gate.ld + i];
            out.p[r * out.ld + i] = g != g ? g : fabs((double)g) < half ? v : 0;
        }
    return SAE_OK;
}

SAE_DECL_col_max(SAE_REF(col_max))
{
    (void)dev;
    if (bad_cmat(x))
        return SAE_EINVAL;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t j = 0; j < x.cols; j++)
            if (x.p[r * x.ld + j] > out[j])
                out[j] = x.p[r * x.ld + j];
    return SAE_OK;
}
