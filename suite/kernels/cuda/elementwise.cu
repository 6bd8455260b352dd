/* suite/kernels/cuda/elementwise.cu - matrices element by element.
 *
 * Computed in double and rounded once, as the reference does: the memory is slower. */
#include "cuda/each.cuh"
#include "shared/map.h"

namespace
{

__device__ sae_real at(sae_cmat m, int64_t r, int64_t c)
{
    return m.p[r * m.ld + c];
}

struct shifted {
    sae_cmat x;
    double alpha;
    const sae_real *v;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        return (sae_real)((double)at(x, r, c) + alpha * (double)v[c]);
    }
};

struct gated {
    sae_cmat value, gate;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        sae_real g = at(gate, r, c);
        return g > 0 ? at(value, r, c) : g <= 0 ? 0 : g;
    }
};

struct windowed {
    sae_cmat value, gate;
    double half;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        sae_real g = at(gate, r, c);
        return g != g ? g : fabs((double)g) < half ? at(value, r, c) : 0;
    }
};

struct multiplied {
    double alpha;
    sae_cmat a, b;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        return (sae_real)(alpha * (double)at(a, r, c) * (double)at(b, r, c));
    }
};

struct scaled {
    sae_cmat x;
    const sae_real *row, *col;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        double by = (row ? (double)row[r] : 1) * (col ? (double)col[c] : 1);
        return (sae_real)(by * (double)at(x, r, c));
    }
};

/* ---- map: a kernel per function -------------------------------------------------------------- */

template <sae_fn F> struct mapped {
    sae_cmat x;
    double p, q;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        return (sae_real)sae_map_number(F, p, q, (double)at(x, r, c));
    }
};

template <sae_fn F> int map_by(sae_device *dev, double p, double q, sae_cmat x, sae_mat out)
{
    mapped<F> f = {x, p, q};
    return fill(dev, out, f);
}

} // namespace

/* ---- entries --------------------------------------------------------------------------------- */

SAE_DECL_shift_rows(SAE_CUDA(shift_rows))
{
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    shifted f = {x, (double)alpha, v};
    return fill(dev, out, f);
}

SAE_DECL_gate(SAE_CUDA(gate))
{
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    gated f = {value, gate};
    return fill(dev, out, f);
}

SAE_DECL_window(SAE_CUDA(window))
{
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    windowed f = {value, gate, half};
    return fill(dev, out, f);
}

SAE_DECL_mul(SAE_CUDA(mul))
{
    if (bad_mat(out) || !has_shape(a, out.rows, out.cols) || !has_shape(b, out.rows, out.cols))
        return SAE_EINVAL;
    multiplied f = {(double)alpha, a, b};
    return fill(dev, out, f);
}

SAE_DECL_scale(SAE_CUDA(scale))
{
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    scaled f = {x, row, col};
    return fill(dev, out, f);
}

SAE_DECL_map(SAE_CUDA(map))
{
    static int (*const by[])(sae_device *, double, double, sae_cmat, sae_mat) = {
        map_by<SAE_FN_EXP>,  map_by<SAE_FN_TANH>,  map_by<SAE_FN_ABS>,
        map_by<SAE_FN_SIGN>, map_by<SAE_FN_POWER>, map_by<SAE_FN_CLAMP>};
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols) || f > SAE_FN_CLAMP)
        return SAE_EINVAL;
    return by[f](dev, p, q, x, out);
}
