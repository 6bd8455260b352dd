/* suite/kernels/cuda/lm_attention.cu - causal softmax attention, forward. */
#include "cuda/lm_attention.cuh"

namespace
{

/* Keys of positions [0, end): the past's, or the rows themselves. */
__device__ sae_cuda_strand keys_of(const sae_cuda_attention &a, const sae_cuda_share &s, int64_t kv)
{
    if (!a.past.k)
        return strand_in(a, s, a.h.heads + kv, 1);
    const sae_real *p = a.past.k + kv * a.past.padded * a.h.head;
    sae_cuda_strand x = {p, 8 * a.h.head, 1, 64, 8, s.end, 1};
    return x;
}

__device__ sae_cuda_strand values_of(const sae_cuda_attention &a, const sae_cuda_share &s,
                                     int64_t kv)
{
    if (!a.past.v)
        return strand_in(a, s, a.h.heads + a.h.kv_heads + kv, 1);
    const sae_real *p = a.past.v + kv * a.past.padded * ((a.h.head + 7) / 8 * 8);
    sae_cuda_strand x = {p, 64, 8, 8 * a.past.padded, 1, s.end, 1};
    return x;
}

/* Keys and values of the rows join the past. */
__global__ void remember(sae_cuda_attention a)
{
    sae_cuda_share s = {0, 0, a.past.n + a.g.rows, 0};
    int64_t width = a.h.kv_heads * a.h.head;
    GRID_FOR(i, a.g.rows * width)
    {
        int64_t r = i / width, kv = i % width / a.h.head;
        int c = (int)(i % a.h.head);
        const sae_real *from = a.qkv + r * a.width() + a.h.heads * a.h.head + i % width;
        *(sae_real *)keys_of(a, s, kv).at(a.past.n + r, c) = from[0];
        *(sae_real *)values_of(a, s, kv).at(a.past.n + r, c) = from[width];
    }
}

/* Scores of a tile of keys at j become weights; sums so far shrink to the new maximum's measure. */
template <int WIDE>
__device__ __forceinline__ void weigh(const sae_cuda_attention &a, int64_t first, int64_t j,
                                      sae_cuda_softmax<sae_cuda_extent<WIDE>::OWN> *soft,
                                      sae_real *score, sae_real (*sum)[sae_cuda_extent<WIDE>::SUMS],
                                      sae_real *weight)
{
    typedef sae_cuda_extent<WIDE> E;
    UNROLL
    for (int k = 0; k < E::OWN; k++) {
        sae_real s = a.capped(score[k]);
        sae_real fade = soft->join(k, a.sees(first + k, j + lane_id()), &s);
        UNROLL
        for (int i = 0; i < E::SUMS; i++)
            sum[k][i] *= fade;
        weight[k * TILE + lane_id()] = s;
    }
}

template <int WIDE>
__global__ void __launch_bounds__(ATTEND) attend(sae_cuda_attention a, sae_real *out)
{
    typedef sae_cuda_extent<WIDE> E;
    __shared__ float4 held[E::HELD_ROOM], tile[E::TILE_ROOM], weights[E::WEIGHT_ROOM];
    int warp = (int)threadIdx.x / WARP, head = (int)a.h.head;
    const float4 *own = held + warp * E::OWN_ROOM;
    float4 *weight = weights + warp * E::OWN * (TILE / 4);
    for (int64_t item = blockIdx.x; item < a.items; item += gridDim.x) {
        sae_cuda_share s = sae_cuda_share_of(a, a.h.heads, E::HELD, item);
        if (s.at >= s.end)
            continue;
        int64_t kv = s.head / (a.h.heads / a.h.kv_heads), first = s.at + warp * E::OWN;
        sae_cuda_strand keys = keys_of(a, s, kv), values = values_of(a, s, kv);
        bool busy = has_rows(a, s, first, E::OWN);
        sae_cuda_softmax<E::OWN> soft;
        sae_real sum[E::OWN][E::SUMS] = {}, score[E::OWN];
        soft.begin();
        __syncthreads(); /* nobody reads the rows held before */
        hold<WIDE>(strand_in(a, s, s.head, a.scale), s.at - a.past.n, head, held);
        for (int64_t j = first_keys(a, s.at); j < s.at + E::HELD; j += TILE) {
            tile_dots<WIDE>(keys, j, head, own, tile, busy, score);
            if (busy)
                weigh<WIDE>(a, first, j, &soft, score, sum, (sae_real *)weight);
            tile_sums<WIDE>(values, j, head, weight, tile, busy, sum);
        }
        UNROLL
        for (int k = 0; k < E::OWN; k++) {
            sae_real total = lane_sum(soft.sum[k]);
            int64_t row = s.row0 + first + k - a.past.n;
            if (first + k >= a.past.n && first + k < s.end)
                put_row<WIDE>(sum[k], 1 / total, head, out + (row * a.h.heads + s.head) * a.h.head);
        }
    }
}

} // namespace

/* ---- entries --------------------------------------------------------------------------------- */

/* Only gradients need room: the largest score, the sum and <dout, out> of every query. */
int64_t sae_cuda_lm_attention_room(const sae_lm_heads *h, int64_t rows, int64_t, int back)
{
    return back ? 3 * rows * h->heads : 0;
}

/* Heads wider than WIDEST are SAE_EINVAL. */
int sae_cuda_lm_attention(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                          const sae_lm_past *past, const sae_real *qkv, sae_real *out, sae_real *)
{
    if (sae_cuda_bad_heads(h) || (past && (g->N != 1 || past->n + g->rows > past->padded)))
        return SAE_EINVAL;
    sae_cuda_attention a = sae_cuda_attention_of(h, g, past, qkv, h->heads);
    if (past)
        TRY(LAUNCH(dev, remember, blocks_for(g->rows * h->kv_heads * h->head, BLOCK), BLOCK, a));
    return LAUNCH_WIDE(dev, attend, h->head, blocks_for(a.items, 1), a, out);
}
