/* suite/kernels/cuda/lm_attention.cuh - the inner loops of attention, forward and backward.
 *
 * A block holds some rows of one head of one context in shared memory (queries; or keys and values,
 * for their gradients) and lets the rows that meet them pass by in tiles of 32, PIECE components at
 * a time. Its warps share out the held rows. In products of rows lane l has row l of the tile, in
 * weighted sums of the tile's rows the components l, l + 32, ...: whatever a lane loads from the
 * tile serves all rows of its warp.
 *
 * Held rows and tiles begin at multiples of their number, counted from the first position of the
 * context and its past: which tiles a row meets, and in which order, depends on its position and
 * the window alone. Rows that do not see each other add exact zeros.
 */
#ifndef SAE_KERNELS_CUDA_LM_ATTENTION_CUH
#define SAE_KERNELS_CUDA_LM_ATTENTION_CUH

#include "cuda/lm.cuh"

#include <math.h>

/* In front of loops that index registers. */
#ifdef SAE_EMULATED_CUDA
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

constexpr int TILE = WARP;  /* rows of a tile */
constexpr int ATTEND = 128; /* threads of a block */
constexpr int64_t MOST_KEYS = (int64_t)1 << 40; /* in a window without an end */

/* Extents for heads of at most WIDE components. Two matrices of held rows, a tile and the weights
 * of held rows for rows of the tile are 45 KB of shared memory at most. */
template <int WIDE> struct sae_cuda_extent {
    static constexpr int HELD = WIDE <= 128 ? 32 : 16;  /* rows held */
    static constexpr int OWN = HELD / (ATTEND / WARP);  /* by a warp */
    static constexpr int PIECE = WIDE < 64 ? WIDE : 64; /* components of a tile at a time */
    static constexpr int LD = PIECE + 4;                /* of a tile: its rows in other banks */
    static constexpr int SUMS = WIDE / WARP;            /* components of a lane */
    /* in float4 */
    static constexpr int HELD_ROOM = HELD * WIDE / 4, OWN_ROOM = OWN * WIDE / 4;
    static constexpr int TILE_ROOM = TILE * LD / 4, WEIGHT_ROOM = HELD * TILE / 4;
};

/* The rows [0, rows) of a head where they lie: component c of row j is
 * scale p[j/8 row8 + j%8 row + c/8 col8 + c%8 col]. */
struct sae_cuda_strand {
    const sae_real *p;
    int64_t row8, row, col8, col, rows;
    sae_real scale;

    __device__ const sae_real *at(int64_t j, int c) const
    {
        return p + j / 8 * row8 + j % 8 * row + c / 8 * col8 + c % 8 * col;
    }
};

/* What kernels of attention are given. Positions count from the past's first. */
struct sae_cuda_attention {
    sae_lm_heads h;
    sae_lm_rows g;
    sae_lm_past past; /* n = 0, NULL: none */
    const sae_real *qkv;
    int64_t tiles, items; /* tiles of held rows in a context; all of them, in all heads */
    sae_real scale, cap, per_cap;

    __device__ int64_t width(void) const
    {
        return (h.heads + 2 * h.kv_heads) * h.head;
    }
    __device__ bool sees(int64_t i, int64_t j) const
    {
        return (uint64_t)(i - j) < (uint64_t)h.window;
    }
    __device__ sae_real capped(sae_real s) const
    {
        return cap > 0 ? cap * tanhf(s * per_cap) : s;
    }
};

/* The held rows of a block: positions [at, at + HELD) of a head of a context, whose rows begin at
 * row0 and are the positions [past.n, end). */
struct sae_cuda_share {
    int64_t head, row0, end, at;
};

/* heads: those whose rows are held. */
static inline sae_cuda_attention sae_cuda_attention_of(const sae_lm_heads *h, const sae_lm_rows *g,
                                                       const sae_lm_past *past, const sae_real *qkv,
                                                       int64_t heads)
{
    sae_cuda_attention a = {*h, *g, {0, 0, NULL, NULL}, qkv, 0, 0, 0, 0, 0};
    int64_t held = h->head <= 128 ? sae_cuda_extent<128>::HELD : sae_cuda_extent<WIDEST>::HELD;
    if (past)
        a.past = *past;
    a.tiles = (a.past.n + g->longest + held - 1) / held - a.past.n / held;
    a.items = g->N * heads * a.tiles;
    a.h.window = h->window < MOST_KEYS ? h->window : MOST_KEYS;
    a.scale = (sae_real)h->scale;
    a.cap = (sae_real)h->cap;
    a.per_cap = h->cap > 0 ? 1 / a.cap : 0;
    return a;
}

static inline int sae_cuda_bad_heads(const sae_lm_heads *h)
{
    return h->head < 1 || h->head > WIDEST || h->kv_heads < 1 || h->heads % h->kv_heads;
}

static __device__ inline sae_cuda_share sae_cuda_share_of(const sae_cuda_attention &a,
                                                          int64_t heads, int64_t held, int64_t item)
{
    int64_t context = item / a.tiles / heads, row0 = a.g.start[context];
    sae_cuda_share s = {item / a.tiles % heads, row0, a.past.n + a.g.start[context + 1] - row0,
                        (a.past.n / held + item % a.tiles) * held};
    return s;
}

/* Rows that follow each other `ld` apart. */
static __device__ inline sae_cuda_strand strand_of(const sae_real *p, int64_t ld, int64_t rows,
                                                   sae_real scale)
{
    sae_cuda_strand x = {p, 8 * ld, ld, 8, 1, rows, scale};
    return x;
}

/* Head k of all heads, queries, keys and values, in the rows of the share's context. */
static __device__ inline sae_cuda_strand
strand_in(const sae_cuda_attention &a, const sae_cuda_share &s, int64_t k, sae_real scale)
{
    return strand_of(a.qkv + s.row0 * a.width() + k * a.h.head, a.width(), s.end - a.past.n, scale);
}

/* Whether a warp's rows, from `first`, are any. */
static __device__ inline bool has_rows(const sae_cuda_attention &a, const sae_cuda_share &s,
                                       int64_t first, int count)
{
    return first < s.end && first + count > a.past.n;
}

/* The first tile of keys that a query at position i, and those behind it, see. */
static __device__ inline int64_t first_keys(const sae_cuda_attention &a, int64_t i)
{
    int64_t low = i - a.h.window + 1;
    return low > 0 ? low / TILE * TILE : 0;
}

/* ---- shared memory --------------------------------------------------------------------------- */

/* held = rows [j, j + HELD) of x; zeros where there is nothing. */
template <int WIDE>
__device__ void hold(const sae_cuda_strand &x, int64_t j, int head, float4 *held)
{
    sae_real *out = (sae_real *)held;
    for (int i = (int)threadIdx.x; i < sae_cuda_extent<WIDE>::HELD * WIDE; i += ATTEND) {
        int64_t r = j + i / WIDE;
        int c = i % WIDE;
        out[i] = r >= 0 && r < x.rows && c < head ? *x.at(r, c) * x.scale : 0;
    }
}

/* tile = components [c, c + PIECE) of rows [j, j + 32) of x, j a multiple of 32. */
template <int WIDE>
__device__ __forceinline__ void show(const sae_cuda_strand &x, int64_t j, int head, int c,
                                     float4 *tile)
{
    typedef sae_cuda_extent<WIDE> E;
    constexpr int STEP = ATTEND / E::PIECE; /* rows that threads take side by side */
    static_assert(8 % STEP == 0, "rows j + k of a thread: k / 8 and k % 8 are known");
    int mine = (int)threadIdx.x % E::PIECE, first = (int)threadIdx.x / E::PIECE;
    const sae_real *p = x.at(j + first, c + mine);
    sae_real *out = (sae_real *)tile + first * E::LD + mine;
    int64_t left = c + mine < head ? x.rows - j - first : 0;
    UNROLL
    for (int k = 0; k < TILE; k += STEP)
        out[k * E::LD] = k < left ? p[k / 8 * x.row8 + k % 8 * x.row] * x.scale : 0;
}

/* ---- products -------------------------------------------------------------------------------- */

/* dot[k] = <held row k of the warp, row `lane` of the tile at j>. `own`: the warp's held rows.
 * Every thread of the block calls; warps that are not busy only help with the tile. */
template <int WIDE>
__device__ __forceinline__ void tile_dots(const sae_cuda_strand &x, int64_t j, int head,
                                          const float4 *own, float4 *tile, bool busy, sae_real *dot)
{
    typedef sae_cuda_extent<WIDE> E;
    UNROLL
    for (int k = 0; k < E::OWN; k++)
        dot[k] = 0;
    for (int c = 0; c < head; c += E::PIECE) {
        __syncthreads(); /* nobody reads what was there */
        show<WIDE>(x, j, head, c, tile);
        __syncthreads();
        const float4 *row = tile + lane_id() * (E::LD / 4);
        for (int i = 0; busy && i < E::PIECE / 4; i++) {
            float4 b = row[i];
            UNROLL
            for (int k = 0; k < E::OWN; k++) {
                float4 a = own[k * (WIDE / 4) + c / 4 + i];
                dot[k] += a.x * b.x;
                dot[k] += a.y * b.y;
                dot[k] += a.z * b.z;
                dot[k] += a.w * b.w;
            }
        }
    }
}

/* sum[k] += sum over rows i of the tile at j of weight[k][i] * row i, in this order. `weight`: the
 * warp's own, which it wrote before. */
template <int WIDE>
__device__ __forceinline__ void tile_sums(const sae_cuda_strand &x, int64_t j, int head,
                                          const float4 *weight, float4 *tile, bool busy,
                                          sae_real (*sum)[sae_cuda_extent<WIDE>::SUMS])
{
    typedef sae_cuda_extent<WIDE> E;
    constexpr int PER = E::PIECE / WARP;
    UNROLL
    for (int piece = 0; piece < WIDE / E::PIECE; piece++) {
        if (piece * E::PIECE >= head)
            break;
        __syncthreads();
        show<WIDE>(x, j, head, piece * E::PIECE, tile);
        __syncthreads();
        const sae_real *row = (const sae_real *)tile + lane_id();
        for (int i = 0; busy && i < TILE; i += 4, row += 4 * E::LD) {
            UNROLL
            for (int k = 0; k < E::OWN; k++) {
                float4 w = weight[k * (TILE / 4) + i / 4];
                UNROLL
                for (int c = 0; c < PER; c++) {
                    sae_real s = sum[k][piece * PER + c];
                    s += w.x * row[c * WARP];
                    s += w.y * row[E::LD + c * WARP];
                    s += w.z * row[2 * E::LD + c * WARP];
                    s += w.w * row[3 * E::LD + c * WARP];
                    sum[k][piece * PER + c] = s;
                }
            }
        }
    }
}

/* out[c] = by * sum[c], a row. */
template <int WIDE>
__device__ __forceinline__ void put_row(const sae_real *sum, sae_real by, int head, sae_real *out)
{
    UNROLL
    for (int i = 0; i < sae_cuda_extent<WIDE>::SUMS; i++)
        if (i * WARP + lane_id() < head)
            out[i * WARP + lane_id()] = sum[i] * by;
}

/* ---- softmax --------------------------------------------------------------------------------- */

/* The softmax of the scores of a warp's rows while tiles of keys pass. */
template <int OWN> struct sae_cuda_softmax {
    sae_real max[OWN], sum[OWN]; /* sum: of the keys that were this lane's */

    __device__ void begin(void)
    {
        UNROLL
        for (int k = 0; k < OWN; k++) {
            max[k] = -(sae_real)INFINITY;
            sum[k] = 0;
        }
    }
    /* Row k meets a score per lane, which becomes its weight. Weights so far shrink by the result.
     */
    __device__ sae_real join(int k, bool seen, sae_real *score)
    {
        /* never NaN, about which lanes would disagree */
        sae_real top = seen && *score > max[k] ? *score : max[k];
        for (int by = WARP / 2; by; by /= 2) {
            sae_real other = __shfl_xor_sync(~0u, top, by);
            top = other > top ? other : top;
        }
        sae_real fade = top == max[k] ? 1 : expf(max[k] - top);
        *score = seen ? expf(*score - top) : 0;
        sum[k] = sum[k] * fade + *score;
        max[k] = top;
        return fade;
    }
};

/* LAUNCH of kernel<WIDE> for heads of this width. */
#define LAUNCH_WIDE(dev, kernel, head, blocks, ...)                                                \
    ((head) <= 32    ? LAUNCH(dev, (kernel<32>), blocks, ATTEND, __VA_ARGS__)                      \
     : (head) <= 64  ? LAUNCH(dev, (kernel<64>), blocks, ATTEND, __VA_ARGS__)                      \
     : (head) <= 128 ? LAUNCH(dev, (kernel<128>), blocks, ATTEND, __VA_ARGS__)                     \
                     : LAUNCH(dev, (kernel<WIDEST>), blocks, ATTEND, __VA_ARGS__))

#endif
