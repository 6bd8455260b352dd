/* suite/kernels/cuda/elementwise.cu - matrices element by element.
 *
 * Computed in double and rounded once, as the reference does: the memory is slower. */
#include "cuda/cuda.cuh"
#include "shared/map.h"

namespace
{

/* Elements of a thread, one below the other: read before the first is written, since the compiler
 * must suppose that they overlap. */
constexpr int DEEP = 4;

/* A block has 2^shift columns and BLOCK / 2^shift threads below each other. */
template <class F>
__global__ void each(sae_mat out, int shift, int64_t across, int64_t tiles, F value)
{
    int64_t high = BLOCK >> shift, x = threadIdx.x & ((1u << shift) - 1), y = threadIdx.x >> shift;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int64_t c = (tile % across << shift) + x, r = tile / across * high * DEEP + y;
        sae_real v[DEEP] = {0};
        for (int i = 0; i < DEEP; i++)
            if (c < out.cols && r + i * high < out.rows)
                v[i] = value(r + i * high, c);
        for (int i = 0; i < DEEP; i++)
            if (c < out.cols && r + i * high < out.rows)
                out.p[(r + i * high) * out.ld + c] = v[i];
    }
}

/* out[r, c] = value(r, c) */
template <class F> int fill(sae_device *dev, sae_mat out, F value)
{
    int shift = 0;
    while (BLOCK >> shift > 1 && (int64_t)1 << shift < out.cols)
        shift++;
    int64_t high = (int64_t)(BLOCK >> shift) * DEEP;
    int64_t across = (out.cols + (1 << shift) - 1) >> shift, down = (out.rows + high - 1) / high;
    return LAUNCH(dev, (each<F>), blocks_for(across * down, 1), BLOCK, out, shift, across,
                  across * down, value);
}

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
