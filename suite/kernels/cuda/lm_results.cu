/* suite/kernels/cuda/lm_results.cu - losses, divergences and the largest of rows of logits. */
#include "cuda/lm.cuh"
#include "cuda/rows.cuh"

#include <math.h>

namespace
{

/* The largest logit and the lowest id that has it; NaN is not larger than anything. */
struct peak {
    sae_real z;
    int32_t id;
};

__device__ peak higher(peak a, peak b)
{
    return b.z > a.z || (b.z == a.z && b.id < a.id) ? b : a;
}

/* Of a row, by a block of BLOCK threads, all of which get it. */
__device__ peak peak_of(int64_t vocab, const sae_real *z)
{
    __shared__ peak of_warp[WARPS];
    peak best = {-INFINITY, INT32_MAX};
    for (int64_t i = threadIdx.x; i < vocab; i += BLOCK) {
        peak p = {z[i], (int32_t)i};
        best = higher(best, p);
    }
    for (int by = WARP / 2; by; by /= 2) {
        peak p = {__shfl_xor_sync(~0u, best.z, by), __shfl_xor_sync(~0u, best.id, by)};
        best = higher(best, p);
    }
    __syncthreads(); /* the row before may still be read */
    of_warp[threadIdx.x / WARP] = best;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        best = higher(best, of_warp[w]);
    return best;
}

/* log softmax(z) of a row. */
struct log_softmax {
    const sae_real *z;
    double max, log_sum;
    __device__ sae_real operator()(int64_t i) const
    {
        return (sae_real)(((double)z[i] - max) - log_sum);
    }
};

/* z becomes the gradient of the loss: softmax(z), less 1 at `next`, times the cap's slope. */
__device__ void loss_back(const sae_lm_results &q, int32_t next, const log_softmax &p, sae_real *z)
{
    sae_real inverse = (sae_real)exp(-p.log_sum), max = (sae_real)p.max;
    sae_real c = q.cap > 0 ? (sae_real)(1 / q.cap) : 0;
    __syncthreads(); /* the loss has been read */
    for (int64_t i = threadIdx.x; i < q.vocab; i += BLOCK) {
        sae_real slope = 1 - z[i] * c * z[i] * c, d = expf(z[i] - max) * inverse * slope;
        z[i] = next < 0 ? 0 : i == next ? d - slope : d;
    }
}

__global__ void row_results(sae_lm_results q, int64_t rows, sae_real *logits)
{
    ROW_FOR(r, rows)
    {
        sae_real *z = logits + r * q.vocab;
        int32_t next = q.next ? q.next[r] : -1;
        peak best = peak_of(q.vocab, z);
        double sum = block_sum_of(q.vocab, [=](int64_t i) { return (double)expf(z[i] - best.z); });
        log_softmax p = {z, (double)best.z, log(sum)};
        if (threadIdx.x == 0 && q.top)
            q.top[r] = isfinite(p.log_sum) ? best.id : -1;
        if (threadIdx.x == 0 && q.ce)
            q.ce[r] = next < 0 ? (double)NAN : (p.max - (double)z[next]) + p.log_sum;
        if (q.kl) {
            const sae_real *ref = q.ref + r * q.vocab;
            double kl = block_sum_of(q.vocab, [=](int64_t i) {
                return (double)expf(ref[i]) * ((double)ref[i] - (double)p(i));
            });
            if (threadIdx.x == 0)
                q.kl[r] = kl;
        }
        for (int64_t i = threadIdx.x; q.logprob && i < q.vocab; i += BLOCK)
            q.logprob[r * q.vocab + i] = p(i);
        if (q.back)
            loss_back(q, next, p, z);
    }
}

} // namespace

int sae_cuda_lm_results(sae_device *dev, const sae_lm_results *q, int64_t rows, sae_real *z)
{
    if (rows < 0 || q->vocab < 1 || q->vocab > INT32_MAX || (q->kl && !q->ref))
        return SAE_EINVAL;
    if (!q->ce && !q->kl && !q->logprob && !q->top && !q->back)
        return SAE_OK;
    return LAUNCH(dev, row_results, blocks_for(rows, 1), BLOCK, *q, rows, z);
}
