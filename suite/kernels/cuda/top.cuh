/* suite/kernels/cuda/top.cuh - the k best of what the threads of a block have. All of them call. */
#ifndef SAE_KERNELS_CUDA_TOP_CUH
#define SAE_KERNELS_CUDA_TOP_CUH

#include "cuda/select.cuh"

/* The sum over a block. `turn` alternates between 0 and 1 from call to call, so that one barrier is
 * enough. */
static __device__ inline unsigned block_sum(unsigned v, unsigned turn)
{
    __shared__ unsigned sums[2][WARPS];
    v = __reduce_add_sync(~0u, v);
    if (lane_id() == 0)
        sums[turn][threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0;
    for (int w = 0; w < WARPS; w++)
        v += sums[turn][w];
    return v;
}

static __device__ inline unsigned block_max(unsigned v)
{
    __shared__ unsigned most[WARPS];
    v = __reduce_max_sync(~0u, v);
    if (lane_id() == 0)
        most[threadIdx.x / WARP] = v;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        v = most[w] > v ? most[w] : v;
    return v;
}

/* Keys of [lo, hi] are searched for the one that splits off the k best of a block: count(key) is a
 * thread's number of entries with at least that key; there are more than k from lo and at most k
 * above hi. Result t: *above <= k entries are above t, and with those equal to t there are k or
 * more. Where some key splits off exactly k the search ends at it, at once. */
template <class F>
__device__ unsigned split(unsigned lo, unsigned hi, unsigned k, F count, unsigned *above)
{
    unsigned turn = 0;
    for (; lo < hi; turn ^= 1) {
        unsigned mid = lo + (hi - lo + 1) / 2, n = block_sum(count(mid), turn);
        if (n == k) {
            *above = k;
            return mid - 1;
        }
        lo = n > k ? mid : lo;
        hi = n > k ? hi : mid - 1;
    }
    *above = block_sum(count(lo + 1), turn);
    return lo;
}

/* Keep, in place and in order, entries with keys above t and the first `ties` of those equal to t.
 * *equal: ties found; result: entries kept. */
static __device__ inline unsigned keep_above(sae_cuda_rank rank, unsigned t, unsigned ties,
                                             unsigned count, int32_t *idx, sae_real *val,
                                             unsigned *equal)
{
    unsigned more = 0, same = 0;
    for (unsigned from = 0; from < count; from += BLOCK) {
        unsigned i = from + threadIdx.x, all;
        int32_t j = i < count ? idx[i] : 0;
        sae_real v = i < count ? val[i] : 0;
        unsigned key = i < count ? rank.key(v) : 0;
        unsigned before = block_scan((unsigned)(key > t) + ((unsigned)(key == t) << 16), &all);
        unsigned above = more + (before & 0xFFFF), tie = same + (before >> 16);
        if (i < count && (key > t || (key == t && tie < ties))) {
            unsigned at = above + (tie < ties ? tie : ties);
            idx[at] = j;
            val[at] = v;
        }
        more += all & 0xFFFF;
        same += all >> 16;
    }
    *equal = same;
    return more + (same < ties ? same : ties);
}

#endif
