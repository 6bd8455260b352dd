/* suite/kernels/cpu/elementwise.c - functions, products and windows of matrices, element by
 * element, and the largest elements of columns. */
#include "cpu/cpu.h"

#include <math.h>
#include <omp.h>

SAE_DECL_map(SAE_CPU(map))
{
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols) || f > SAE_FN_CLAMP)
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_PIECES(dev, at, out)
        s->map(f, p, q, piece_of(x, at), piece_out(out, at), at.live);
    return SAE_OK;
}

SAE_DECL_mul(SAE_CPU(mul))
{
    if (bad_mat(out) || !has_shape(a, out.rows, out.cols) || !has_shape(b, out.rows, out.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_PIECES(dev, at, out)
        s->mul((double)alpha, piece_of(a, at), piece_of(b, at), piece_out(out, at), at.live);
    return SAE_OK;
}

SAE_DECL_scale(SAE_CPU(scale))
{
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_PIECES(dev, at, out)
        s->scale_by(piece_of(x, at), row ? (double)row[at.r] : 1, col ? col + at.c : NULL,
                    piece_out(out, at), at.live);
    return SAE_OK;
}

/* The smallest float that is not below `half`: |g| < half for a float g is |g| < this. */
static float at_least(double half)
{
    float h = (float)half;
    return (double)h < half ? nextafterf(h, INFINITY) : h;
}

SAE_DECL_window(SAE_CPU(window))
{
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    float h = at_least(half);
    PARALLEL_PIECES(dev, at, out)
        s->window(piece_of(value, at), piece_of(gate, at), h, piece_out(out, at), at.live);
    return SAE_OK;
}

/* A task follows some columns down all rows: the order of the reference, which decides the sign of
 * a zero. */
SAE_DECL_col_max(SAE_CPU(col_max))
{
    enum { COLUMNS = 128 };
    if (bad_cmat(x))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, i, chunks_of(x.cols, COLUMNS), 1)
    {
        int64_t c = i * COLUMNS, live = min_i64(COLUMNS, x.cols - c);
        for (int64_t r = 0; r < x.rows; r++)
            s->max_to(out + c, row_of(x, r) + c, live);
    }
    return SAE_OK;
}
