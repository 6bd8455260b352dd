/* suite/kernels/cuda/rows.cu - sums over rows and columns; residuals, projection, Adam, unit rows.
 */
#include "cuda/rows.cuh"
#include "shared/adam.h"

#include <math.h>

namespace
{

/* ---- sums of rows ---------------------------------------------------------------------------- */

struct products {
    const sae_real *a, *b;
    typedef double item;
    __device__ double load(int64_t i) const
    {
        return (double)a[i] * (double)b[i];
    }
    __device__ double term(int64_t, double v) const
    {
        return v;
    }
};

__global__ void dot_rows(sae_cmat a, sae_cmat b, double *out)
{
    ROW_FOR(r, a.rows)
    {
        products t = {a.p + r * a.ld, b.p + r * b.ld};
        double s = block_sum(a.cols, t);
        if (threadIdx.x == 0)
            out[r] = s;
    }
}

struct differences {
    const sae_real *a, *b;
    sae_real *out; /* or NULL; may be a */
    typedef sae_real item;
    __device__ sae_real load(int64_t i) const
    {
        return a[i] - b[i];
    }
    __device__ double term(int64_t i, sae_real v) const
    {
        if (out)
            out[i] = v;
        return (double)v * (double)v;
    }
};

__global__ void subtract_rows(sae_cmat a, sae_cmat b, sae_mat out, double *sse)
{
    ROW_FOR(r, a.rows)
    {
        differences t = {a.p + r * a.ld, b.p + r * b.ld, out.p ? out.p + r * out.ld : nullptr};
        double s = block_sum(a.cols, t);
        if (threadIdx.x == 0)
            sse[r] = s;
    }
}

/* ---- sums of sums ---------------------------------------------------------------------------- */

/* Sums of s terms of v[0..n) that lie side by side become one of 2 s, for s from `from` to below
 * `end`, by a block. */
__device__ void join_levels(int64_t from, int64_t end, int64_t n, double *v)
{
    for (int64_t s = from; s < end && 2 * s <= n; s *= 2) {
        for (int64_t i = threadIdx.x; i < n / (2 * s); i += blockDim.x)
            v[2 * s * i] += v[2 * s * i + s];
        __syncthreads();
    }
}

/* Terms that blocks join on their own first, where there are more. */
constexpr int64_t JOINED = 2048;

__global__ void join_pieces(int64_t n, double *v)
{
    for (int64_t p = blockIdx.x * JOINED; p < n; p += gridDim.x * JOINED)
        join_levels(1, JOINED, n - p < JOINED ? n - p : JOINED, v + p);
}

/* v[n] = the sum of v[0..n) as sae_pairwise makes it, by one block; sums of `from` terms are
 * there. */
__global__ void join(int64_t from, int64_t n, double *v)
{
    join_levels(from, n, n, v);
    double total = 0;
    for (int64_t s = 1; threadIdx.x == 0 && s <= n; s *= 2)
        if (n & s)
            total = v[(n / s - 1) * s] + total;
    if (threadIdx.x == 0)
        v[n] = total;
}

/* *out = the sum of v[0..n); v has room for n + 1. */
int read_sum(sae_device *dev, int64_t n, double *v, double *out)
{
    if (n > JOINED)
        TRY(LAUNCH(dev, join_pieces, blocks_for(n, JOINED), BLOCK, n, v));
    TRY(LAUNCH(dev, join, 1, 1024, n > JOINED ? JOINED : 1, n, v));
    return sae_cuda_read(dev, out, v + n, sizeof *out);
}

__device__ __host__ int64_t sum_blocks(int64_t n)
{
    return n / SAE_SUM_BLOCK + (n % SAE_SUM_BLOCK != 0);
}

struct numbers {
    const double *v;
    typedef double item;
    __device__ double load(int64_t i) const
    {
        return v[i];
    }
    __device__ double term(int64_t, double x) const
    {
        return x;
    }
};

__global__ void sum_numbers(int64_t n, numbers t, double *part)
{
    WARP_FOR(i, (sum_blocks(n) + 1) / 2)
    {
        int64_t b = 2 * i + lane_id() / SAE_SUM_LANES;
        double s = half_sum(b * SAE_SUM_BLOCK, n, t);
        if (lane_id() % SAE_SUM_LANES == 0 && b < sum_blocks(n))
            part[b] = s;
    }
}

/* ---- columns --------------------------------------------------------------------------------- */

struct adding {
    typedef double part;
    static __device__ double start(void)
    {
        return 0;
    }
    static __device__ double join(double s, sae_real x)
    {
        return s + (double)x;
    }
};

/* The first of the largest: the order of the reference, which decides the sign of a zero. */
struct largest {
    typedef sae_real part;
    static __device__ sae_real start(void)
    {
        return -(sae_real)INFINITY;
    }
    static __device__ sae_real join(sae_real most, sae_real x)
    {
        return x > most ? x : most;
    }
};

/* part [blocks x cols]: 256 rows of a column by a thread, in order, AHEAD of them on their way. */
template <class F> __global__ void fold_rows(sae_cmat x, typename F::part *part)
{
    constexpr int AHEAD = 16;
    GRID_FOR(i, sum_blocks(x.rows) * x.cols)
    {
        int64_t r = i / x.cols * SAE_SUM_BLOCK;
        int64_t end = r + SAE_SUM_BLOCK < x.rows ? r + SAE_SUM_BLOCK : x.rows;
        const sae_real *p = x.p + i % x.cols;
        typename F::part s = F::start();
        for (; r + AHEAD <= end; r += AHEAD) {
            sae_real v[AHEAD];
            for (int k = 0; k < AHEAD; k++)
                v[k] = p[(r + k) * x.ld];
            for (int k = 0; k < AHEAD; k++)
                s = F::join(s, v[k]);
        }
        for (; r < end; r++)
            s = F::join(s, p[r * x.ld]);
        part[i] = s;
    }
}

template <class F> int fold(sae_device *dev, sae_cmat x, typename F::part **part)
{
    int64_t count = sum_blocks(x.rows) * x.cols;
    *part = ws_new<typename F::part>(dev, WS_SUMS, count);
    if (!*part)
        return SAE_ENOMEM;
    return LAUNCH(dev, (fold_rows<F>), blocks_for(count, BLOCK), BLOCK, x, *part);
}

__global__ void add_sums(int64_t rows, int64_t cols, const double *part, double alpha,
                         sae_real *out)
{
    GRID_FOR(j, cols)
    {
        sae_pairwise sum;
        sum.count = 0;
        for (int64_t b = 0; b < sum_blocks(rows); b++)
            sae_pairwise_add(&sum, part[b * cols + j]);
        out[j] = (sae_real)((double)out[j] + alpha * sae_pairwise_total(&sum));
    }
}

__global__ void keep_largest(int64_t rows, int64_t cols, const sae_real *part, sae_real *out)
{
    GRID_FOR(j, cols)
    {
        sae_real most = out[j];
        for (int64_t b = 0; b < sum_blocks(rows); b++)
            most = largest::join(most, part[b * cols + j]);
        out[j] = most;
    }
}

/* ---- the optimiser --------------------------------------------------------------------------- */

/* Squares of g - c w, which are put into g; of g alone where w is NULL. */
struct projected {
    const sae_real *w;
    sae_real *g;
    double c;
    typedef sae_real item;
    __device__ sae_real load(int64_t i) const
    {
        return w ? (sae_real)((double)g[i] - c * (double)w[i]) : g[i];
    }
    __device__ double term(int64_t i, sae_real v) const
    {
        if (w)
            g[i] = v;
        return (double)v * (double)v;
    }
};

__global__ void project(sae_cmat w, sae_mat g, double *norm2)
{
    ROW_FOR(r, g.rows)
    {
        const sae_real *wr = w.p ? w.p + r * w.ld : nullptr;
        projected t = {nullptr, g.p + r * g.ld, 0};
        products ww = {wr, wr}, wg = {wr, t.g};
        double square = wr ? block_sum(g.cols, ww) : 0;
        if (square > 0) {
            t.w = wr;
            t.c = block_sum(g.cols, wg) / square;
        }
        double s = block_sum(g.cols, t);
        if (threadIdx.x == 0)
            norm2[r] = s;
    }
}

/* The squares of rows that are no longer than a block of the tree, half a warp each. */
__global__ void square_short_rows(sae_mat g, double *norm2)
{
    WARP_FOR(i, (g.rows + 1) / 2)
    {
        int64_t r = 2 * i + lane_id() / SAE_SUM_LANES;
        projected t = {nullptr, g.p + r * g.ld, 0};
        double s = half_sum(0, r < g.rows ? g.cols : 0, t);
        if (lane_id() % SAE_SUM_LANES == 0 && r < g.rows)
            norm2[r] = s;
    }
}

/* w /= its norm, by a block. */
__device__ void scale_to_unit(sae_real *w, int64_t n, double square)
{
    double by = 1 / sqrt(square);
    for (int64_t i = threadIdx.x; square > 0 && i < n; i += blockDim.x)
        w[i] = (sae_real)((double)w[i] * by);
}

__global__ void unit(sae_mat w)
{
    ROW_FOR(r, w.rows)
    {
        sae_real *p = w.p + r * w.ld;
        products ww = {p, p};
        scale_to_unit(p, w.cols, block_sum(w.cols, ww));
    }
}

/* Squares of w after the step. */
struct stepped {
    sae_adam_row s;
    sae_real *w, *g, *m, *v;
    struct item {
        sae_real w, g, m, v;
    };
    __device__ item load(int64_t i) const
    {
        item x = {w[i], g[i], m[i], v[i]};
        return x;
    }
    __device__ double term(int64_t i, item x) const
    {
        sae_adam_number(&s, &x.w, x.g, &x.m, &x.v);
        w[i] = x.w;
        g[i] = 0;
        m[i] = x.m;
        v[i] = x.v;
        return (double)x.w * (double)x.w;
    }
};

__global__ void step(stepped t, int64_t count)
{
    GRID_FOR(i, count)
    t.term(i, t.load(i));
}

__global__ void step_rows(stepped t, int64_t rows, int64_t cols)
{
    ROW_FOR(r, rows)
    {
        int64_t at = r * cols;
        stepped row = {t.s, t.w + at, t.g + at, t.m + at, t.v + at};
        scale_to_unit(row.w, cols, block_sum(cols, row));
    }
}

} // namespace

/* ---- entries --------------------------------------------------------------------------------- */

SAE_DECL_row_dot(SAE_CUDA(row_dot))
{
    if (bad_cmat(a) || !has_shape(b, a.rows, a.cols))
        return SAE_EINVAL;
    return LAUNCH(dev, dot_rows, blocks_for(a.rows, 1), threads_for(a.cols), a, b, out);
}

SAE_DECL_residual(SAE_CUDA(residual))
{
    if (bad_cmat(xhat) || !has_shape(y, xhat.rows, xhat.cols) ||
        (resid.p && !has_shape(as_const(resid), xhat.rows, xhat.cols)))
        return SAE_EINVAL;
    return LAUNCH(dev, subtract_rows, blocks_for(xhat.rows, 1), threads_for(xhat.cols), xhat, y,
                  resid, sse);
}

SAE_DECL_sum(SAE_CUDA(sum))
{
    if (n < 0)
        return SAE_EINVAL;
    numbers t = {v};
    int64_t blocks = sum_blocks(n);
    double *part = ws_new<double>(dev, WS_SUMS, blocks + 1);
    if (!part)
        return SAE_ENOMEM;
    TRY(LAUNCH(dev, sum_numbers, blocks_for(blocks, 2 * WARPS), BLOCK, n, t, part));
    return read_sum(dev, blocks, part, out);
}

SAE_DECL_col_sum(SAE_CUDA(col_sum))
{
    double *part;
    if (bad_cmat(x))
        return SAE_EINVAL;
    TRY(fold<adding>(dev, x, &part));
    return LAUNCH(dev, add_sums, blocks_for(x.cols, BLOCK), BLOCK, x.rows, x.cols, part,
                  (double)alpha, out);
}

SAE_DECL_col_max(SAE_CUDA(col_max))
{
    sae_real *part;
    if (bad_cmat(x))
        return SAE_EINVAL;
    TRY(fold<largest>(dev, x, &part));
    return LAUNCH(dev, keep_largest, blocks_for(x.cols, BLOCK), BLOCK, x.rows, x.cols, part, out);
}

SAE_DECL_project_rows(SAE_CUDA(project_rows))
{
    if (bad_mat(g) || (w.p && !has_shape(w, g.rows, g.cols)))
        return SAE_EINVAL;
    double *part = ws_new<double>(dev, WS_SUMS, g.rows + 1);
    if (!part)
        return SAE_ENOMEM;
    if (!w.p && g.cols <= SAE_SUM_BLOCK)
        TRY(LAUNCH(dev, square_short_rows, blocks_for(g.rows, 2 * WARPS), BLOCK, g, part));
    else
        TRY(LAUNCH(dev, project, blocks_for(g.rows, 1), threads_for(g.cols), w, g, part));
    return read_sum(dev, g.rows, part, norm2);
}

SAE_DECL_unit_rows(SAE_CUDA(unit_rows))
{
    if (bad_mat(w))
        return SAE_EINVAL;
    return LAUNCH(dev, unit, blocks_for(w.rows, 1), threads_for(w.cols), w);
}

SAE_DECL_adam_step(SAE_CUDA(adam_step))
{
    if (bad_mat(w) || w.ld != w.cols || a->t < 1)
        return SAE_EINVAL;
    stepped t = {sae_adam_fold(a), w.p, g, m, v};
    int64_t count = w.rows * w.cols;
    if (a->unit_rows)
        return LAUNCH(dev, step_rows, blocks_for(w.rows, 1), threads_for(w.cols), t, w.rows,
                      w.cols);
    return LAUNCH(dev, step, blocks_for(count, BLOCK), BLOCK, t, count);
}
