/* suite/kernels/cuda/lm_attention_back.cu - causal softmax attention, backward.
 *
 * The weights p are computed again from queries and keys. With dp = <dout, v> and D = <dout, out>,
 * the gradient of a score is p (dp - D), times 1 - (s / cap)^2 where scores are capped. In a first
 * kernel blocks hold queries and their dout, and keys and values pass by: once for what the softmax
 * needs, once for the gradients of the queries. In a second one blocks hold keys and values.
 */
#include "cuda/lm_attention.cuh"

namespace
{

/* What the weights of a query need. */
struct statistic {
    sae_real max, inverse, along; /* the largest score, 1 / sum of exponentials, <dout, out> */
};

struct gradients {
    const sae_real *out, *dout; /* [rows x heads head] */
    sae_real *dqkv;
    sae_real *room; /* [heads][3][rows] statistics */
};

/* What a warp works with: queries and their dout, or keys and values. */
template <int WIDE> struct seat {
    sae_cuda_share s;
    sae_cuda_strand pass[2]; /* rows that pass by */
    int64_t from, end;       /* those that the held ones meet */
    int64_t first;           /* of the rows that the warp holds */
    bool busy;               /* it holds some */
    int head;
    const float4 *own[2];
    float4 *tile;
    sae_real *weight;
};

/* Statistics of the query in this row; the other two lie behind, a.g.rows apart. */
__device__ sae_real *room_of(const sae_cuda_attention &a, const gradients &d, int64_t head,
                             int64_t row)
{
    return d.room + head * 3 * a.g.rows + row;
}

/* Outputs of query head k, or their gradients, in the share's context. */
__device__ sae_cuda_strand outputs_in(const sae_cuda_attention &a, const sae_cuda_share &s,
                                      const sae_real *p, int64_t k)
{
    int64_t ld = a.h.heads * a.h.head;
    return strand_of(p + s.row0 * ld + k * a.h.head, ld, s.end, 1);
}

/* <pass[i], own[i]>: scores, and gradients of weights */
template <int WIDE>
__device__ __forceinline__ void dots_of(const seat<WIDE> &w, int i, int64_t j, sae_real *dot)
{
    tile_dots<WIDE>(w.pass[i], j, w.head, w.own[i], w.tile, w.busy, dot);
}

/* sum += the rows of the tile in pass[i], weighted with a number per held row and lane. */
template <int WIDE>
__device__ __forceinline__ void add_weighted(const seat<WIDE> &w, int i, int64_t j,
                                             const sae_real *by,
                                             sae_real (*sum)[sae_cuda_extent<WIDE>::SUMS])
{
    __syncwarp(); /* no lane reads the weights before */
    UNROLL
    for (int k = 0; k < sae_cuda_extent<WIDE>::OWN; k++)
        w.weight[k * TILE + lane_id()] = by[k];
    tile_sums<WIDE>(w.pass[i], j, w.head, (const float4 *)w.weight, w.tile, w.busy, sum);
}

/* *score becomes the weight of a key, *slope, the gradient of the weight, that of the score. */
__device__ void weigh_back(const sae_cuda_attention &a, const statistic &t, bool seen,
                           sae_real *score, sae_real *slope)
{
    sae_real s = a.capped(*score), part = s * a.per_cap;
    *score = seen ? expf(s - t.max) * t.inverse : 0;
    *slope = seen ? *score * (*slope - t.along) * (1 - part * part) : 0;
}

/* ---- queries --------------------------------------------------------------------------------- */

/* Statistics of the warp's queries, also put into the room. */
template <int WIDE>
__device__ __forceinline__ void look(const sae_cuda_attention &a, const gradients &d,
                                     const seat<WIDE> &w, statistic *of)
{
    typedef sae_cuda_extent<WIDE> E;
    sae_cuda_softmax<E::OWN> soft;
    sae_real score[E::OWN];
    soft.begin();
    for (int64_t j = w.from; j < w.end; j += TILE) {
        dots_of<WIDE>(w, 0, j, score);
        UNROLL
        for (int k = 0; k < E::OWN; k++) {
            sae_real s = a.capped(score[k]);
            soft.join(k, a.sees(w.first + k, j + lane_id()), &s);
        }
    }
    sae_cuda_strand out = outputs_in(a, w.s, d.out, w.s.head);
    UNROLL
    for (int k = 0; k < E::OWN; k++) {
        int64_t i = w.first + k;
        sae_real along = 0;
        for (int c = lane_id(); i < w.s.end && c < w.head; c += WARP)
            along += ((const sae_real *)w.own[1])[k * WIDE + c] * *out.at(i, c);
        statistic t = {soft.max[k], 1 / lane_sum(soft.sum[k]), lane_sum(along)};
        of[k] = t;
        if (i < w.s.end && lane_id() == 0) {
            sae_real *room = room_of(a, d, w.s.head, w.s.row0 + i);
            room[0] = t.max;
            room[a.g.rows] = t.inverse;
            room[2 * a.g.rows] = t.along;
        }
    }
}

template <int WIDE>
__global__ void __launch_bounds__(ATTEND) queries_back(sae_cuda_attention a, gradients d)
{
    typedef sae_cuda_extent<WIDE> E;
    __shared__ float4 q[E::HELD_ROOM], dout[E::HELD_ROOM], tile[E::TILE_ROOM];
    __shared__ float4 weights[E::WEIGHT_ROOM];
    int warp = (int)threadIdx.x / WARP, head = (int)a.h.head;
    for (int64_t item = blockIdx.x; item < a.items; item += gridDim.x) {
        sae_cuda_share s = sae_cuda_share_of(a, a.h.heads, E::HELD, item);
        if (s.at >= s.end)
            continue;
        int64_t kv = a.h.heads + s.head / (a.h.heads / a.h.kv_heads);
        int64_t first = s.at + warp * E::OWN;
        seat<WIDE> w = {s,
                        {strand_in(a, s, kv, 1), strand_in(a, s, kv + a.h.kv_heads, 1)},
                        first_keys(a, s.at),
                        s.at + E::HELD,
                        first,
                        has_rows(a, s, first, E::OWN),
                        head,
                        {q + warp * E::OWN_ROOM, dout + warp * E::OWN_ROOM},
                        tile,
                        (sae_real *)weights + warp * E::OWN * TILE};
        statistic of[E::OWN];
        sae_real sum[E::OWN][E::SUMS] = {}, score[E::OWN], slope[E::OWN];
        __syncthreads(); /* nobody reads the rows held before */
        hold<WIDE>(strand_in(a, s, s.head, a.scale), s.at, head, q);
        hold<WIDE>(outputs_in(a, s, d.dout, s.head), s.at, head, dout);
        look<WIDE>(a, d, w, of);
        for (int64_t j = w.from; j < w.end; j += TILE) {
            dots_of<WIDE>(w, 0, j, score);
            dots_of<WIDE>(w, 1, j, slope);
            UNROLL
            for (int k = 0; k < E::OWN; k++)
                weigh_back(a, of[k], a.sees(first + k, j + lane_id()), &score[k], &slope[k]);
            add_weighted<WIDE>(w, 0, j, slope, sum);
        }
        sae_real *to = d.dqkv + (s.row0 + first) * a.width() + s.head * a.h.head;
        UNROLL
        for (int k = 0; k < E::OWN; k++)
            if (first + k < s.end)
                put_row<WIDE>(sum[k], a.scale, head, to + k * a.width());
    }
}

/* ---- keys and values ------------------------------------------------------------------------- */

/* Adds what queries [j, j + 32) of head k give. */
template <int WIDE>
__device__ __forceinline__ void add_queries(const sae_cuda_attention &a, const gradients &d,
                                            const seat<WIDE> &w, int64_t k, int64_t j,
                                            sae_real (*dk)[sae_cuda_extent<WIDE>::SUMS],
                                            sae_real (*dv)[sae_cuda_extent<WIDE>::SUMS])
{
    typedef sae_cuda_extent<WIDE> E;
    sae_real score[E::OWN], slope[E::OWN];
    int64_t i = j + lane_id();
    const sae_real *room = room_of(a, d, k, w.s.row0 + i);
    statistic t = {0, 0, 0};
    if (i < w.s.end) {
        t.max = room[0];
        t.inverse = room[a.g.rows];
        t.along = room[2 * a.g.rows];
    }
    dots_of<WIDE>(w, 0, j, score);
    dots_of<WIDE>(w, 1, j, slope);
    UNROLL
    for (int r = 0; r < E::OWN; r++)
        weigh_back(a, t, i < w.s.end && a.sees(i, w.first + r), &score[r], &slope[r]);
    add_weighted<WIDE>(w, 1, j, score, dv);
    add_weighted<WIDE>(w, 0, j, slope, dk);
}

template <int WIDE>
__global__ void __launch_bounds__(ATTEND) keys_back(sae_cuda_attention a, gradients d)
{
    typedef sae_cuda_extent<WIDE> E;
    __shared__ float4 keys[E::HELD_ROOM], values[E::HELD_ROOM], tile[E::TILE_ROOM];
    __shared__ float4 weights[E::WEIGHT_ROOM];
    int warp = (int)threadIdx.x / WARP, head = (int)a.h.head;
    int64_t group = a.h.heads / a.h.kv_heads;
    for (int64_t item = blockIdx.x; item < a.items; item += gridDim.x) {
        sae_cuda_share s = sae_cuda_share_of(a, a.h.kv_heads, E::HELD, item);
        if (s.at >= s.end)
            continue;
        int64_t first = s.at + warp * E::OWN, kv = a.h.heads + s.head;
        int64_t last = s.at + E::HELD - 1 + a.h.window; /* the first query that sees none */
        seat<WIDE> w = {s,
                        {},
                        s.at / TILE * TILE,
                        last < s.end ? last : s.end,
                        first,
                        has_rows(a, s, first, E::OWN),
                        head,
                        {keys + warp * E::OWN_ROOM, values + warp * E::OWN_ROOM},
                        tile,
                        (sae_real *)weights + warp * E::OWN * TILE};
        sae_real dk[E::OWN][E::SUMS] = {}, dv[E::OWN][E::SUMS] = {};
        __syncthreads(); /* nobody reads the rows held before */
        hold<WIDE>(strand_in(a, s, kv, 1), s.at, head, keys);
        hold<WIDE>(strand_in(a, s, kv + a.h.kv_heads, 1), s.at, head, values);
        for (int64_t k = s.head * group; k < (s.head + 1) * group; k++) {
            w.pass[0] = strand_in(a, s, k, a.scale);
            w.pass[1] = outputs_in(a, s, d.dout, k);
            for (int64_t j = w.from; j < w.end; j += TILE)
                add_queries<WIDE>(a, d, w, k, j, dk, dv);
        }
        sae_real *to = d.dqkv + (s.row0 + first) * a.width() + kv * a.h.head;
        UNROLL
        for (int r = 0; r < E::OWN; r++, to += a.width())
            if (first + r < s.end) {
                put_row<WIDE>(dk[r], 1, head, to);
                put_row<WIDE>(dv[r], 1, head, to + a.h.kv_heads * a.h.head);
            }
    }
}

} // namespace

int sae_cuda_lm_attention_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                               const sae_real *qkv, const sae_real *out, const sae_real *dout,
                               sae_real *dqkv, sae_real *room)
{
    if (sae_cuda_bad_heads(h))
        return SAE_EINVAL;
    gradients d = {out, dout, dqkv, room};
    sae_cuda_attention a = sae_cuda_attention_of(h, g, NULL, qkv, h->heads);
    TRY(LAUNCH_WIDE(dev, queries_back, h->head, blocks_for(a.items, 1), a, d));
    a = sae_cuda_attention_of(h, g, NULL, qkv, h->kv_heads);
    return LAUNCH_WIDE(dev, keys_back, h->head, blocks_for(a.items, 1), a, d);
}
