/* suite/kernels/cuda/rows.cuh - sums over a row by a block.
 *
 * A block has a row, and half a warp of it 256 terms of the tree of shared/sum.h. Rows that are
 * gone over twice are still in the caches the second time: with a warp per row there would be eight
 * times as many at once, more than the second level holds.
 */
#ifndef SAE_KERNELS_CUDA_ROWS_CUH
#define SAE_KERNELS_CUDA_ROWS_CUH

#include "cuda/cuda.cuh"

/* for (r over [0, rows)) by the blocks of the grid. */
#define ROW_FOR(r, rows) for (int64_t r = blockIdx.x; r < (rows); r += gridDim.x)

/* Threads of a block: half a warp per 256 columns, where there are not more than BLOCK. */
static inline unsigned threads_for(int64_t cols)
{
    unsigned threads = WARP;
    while (threads < BLOCK && threads / SAE_SUM_LANES * SAE_SUM_BLOCK < cols)
        threads *= 2;
    return threads;
}

/* Terms of a lane that are loaded before the first of them is used: the memory is far. */
constexpr int ROW_DEEP = 4;

/* The sum of t.term(i, t.load(i)), i in [first, first + 256) and below count, by half a warp. Its
 * first lane gets the result. */
template <class T> __device__ double half_sum(int64_t first, int64_t count, const T &t)
{
    int64_t end = first + SAE_SUM_BLOCK < count ? first + SAE_SUM_BLOCK : count;
    double s = 0;
    for (int64_t i = first + lane_id() % SAE_SUM_LANES; i < end; i += ROW_DEEP * SAE_SUM_LANES) {
        typename T::item v[ROW_DEEP] = {};
        for (int k = 0; k < ROW_DEEP; k++)
            if (i + k * SAE_SUM_LANES < end)
                v[k] = t.load(i + k * SAE_SUM_LANES);
        for (int k = 0; k < ROW_DEEP; k++)
            if (i + k * SAE_SUM_LANES < end)
                s += t.term(i + k * SAE_SUM_LANES, v[k]);
    }
    for (unsigned by = SAE_SUM_LANES / 2; by; by /= 2)
        s += __shfl_down_sync(~0u, s, by);
    return s;
}

/* The sum over i in [0, count) by a block. Every thread calls and gets the result; what terms wrote
 * is seen by all threads afterwards. */
template <class T> __device__ double block_sum(int64_t count, const T &t)
{
    __shared__ double part[BLOCK / SAE_SUM_LANES], total;
    int halves = (int)blockDim.x / SAE_SUM_LANES, half = (int)threadIdx.x / SAE_SUM_LANES;
    sae_pairwise sum; /* of thread 0 */
    sum.count = 0;
    int64_t from = 0;
    do {
        double s = half_sum(from + half * SAE_SUM_BLOCK, count, t);
        if (threadIdx.x % SAE_SUM_LANES == 0)
            part[half] = s;
        __syncthreads();
        for (int h = 0; threadIdx.x == 0 && h < halves && from + h * SAE_SUM_BLOCK < count; h++)
            sae_pairwise_add(&sum, part[h]);
        __syncthreads();
        from += halves * SAE_SUM_BLOCK;
    } while (from < count);
    if (threadIdx.x == 0)
        total = sae_pairwise_total(&sum);
    __syncthreads();
    return total;
}

/* Terms that are a function of their place. */
template <class F> struct row_terms {
    F f;
    typedef double item;
    __device__ double load(int64_t i) const
    {
        return f(i);
    }
    __device__ double term(int64_t, double v) const
    {
        return v;
    }
};

/* The sum of f(i), i in [0, count), by a block. */
template <class F> __device__ double block_sum_of(int64_t count, F f)
{
    row_terms<F> t = {f};
    return block_sum(count, t);
}

#endif
