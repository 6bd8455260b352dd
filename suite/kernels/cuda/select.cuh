/* suite/kernels/cuda/select.cuh - what the selections share: ranks, sources, tiles, codes.
 *
 * A selection walks over its scores in pieces of at most CHUNK rows and PANEL columns. A block
 * takes one row of a piece, a tile, into registers, so every score is read once, from the cache
 * that the product left it in. What passes goes to lists, a part per row and panel; after the last
 * panel of a chunk the parts of its rows are joined into the code.
 */
#ifndef SAE_KERNELS_CUDA_SELECT_CUH
#define SAE_KERNELS_CUDA_SELECT_CUH

#include "cuda/walk.cuh"

#ifdef SAE_EMULATED_CUDA
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

/* ---- ranks ----------------------------------------------------------------------------------- */

/* Unsigned numbers in the order of the scores: -0 and +0 are one number, NaN is 0. An entry is
 * eligible when its number is above the floor. */
typedef struct sae_cuda_rank {
    unsigned mask, floor;

    __device__ sae_real score(sae_real v) const
    {
        return __uint_as_float(__float_as_uint(v) & mask);
    }
    __device__ unsigned key(sae_real v) const
    {
        unsigned u = __float_as_uint(v + 0.0f) & mask;
        return v != v ? 0 : u ^ ((unsigned)((int)u >> 31) | 0x80000000u);
    }
    /* The score of a key (+0 for -0). */
    __device__ sae_real score_of_key(unsigned k) const
    {
        return __uint_as_float(k >> 31 ? k & 0x7FFFFFFFu : ~k);
    }
} sae_cuda_rank;

/* ---- sources --------------------------------------------------------------------------------- */

/* Scores piece by piece: those of an encoder, or given ones. */
typedef struct sae_cuda_source {
    const sae_scores *s; /* NULL: the walk's encoder */
    sae_cuda_walk walk;
    sae_cuda_pre pre; /* the piece shown */
    sae_cmat value;   /* what is stored; p == NULL: the scores */
    int64_t rows, cols, n;
    sae_cuda_rank rank;
} sae_cuda_source;

/* One without scores: its rank and extents. */
sae_cuda_source sae_cuda_source_of(enum sae_key key, int64_t rows, int64_t cols, int64_t n);
int sae_cuda_from_encoder(const sae_encoder *e, enum sae_key key, sae_cuda_source *out);
int sae_cuda_from_scores(const sae_scores *s, sae_cuda_source *out);
/* 1: pre is the next piece; 0: the end; else a status. As sae_cuda_walk_next. */
int sae_cuda_source_next(sae_device *dev, sae_cuda_source *src);

static inline int ends_chunk(const sae_cuda_source *src)
{
    return src->pre.col + src->pre.cols == src->cols;
}

/* ---- codes in the making --------------------------------------------------------------------- */

/* What a selection tells the host at its end. */
typedef struct sae_cuda_answer {
    unsigned long long nnz, nan, used; /* used: entries of a list that fills */
    unsigned bad;                      /* an argument in device memory is not valid */
} sae_cuda_answer;

/* A row's entries of one panel: list[start .. start + count), features ascending. */
typedef struct sae_cuda_part {
    int64_t start;
    unsigned count, bound; /* bound: of row top-k, see there */
} sae_cuda_part;

/* Rows [row, row + rows) of a code: row r is the parts part[p * stride + r], panel after panel. A
 * part may end behind the list when the code has no room for all of it either. */
typedef struct sae_cuda_rows {
    int64_t row, rows, panels, stride, list; /* list: its length */
    const sae_cuda_part *part;
    const int32_t *idx;
    const sae_real *val;
    sae_cmat value; /* what is stored when p != NULL */
} sae_cuda_rows;

/* A code of `rows` rows and n features in the making, and its answer (WS_SUMS); the other launches
 * what empties both. */
int sae_cuda_code_begin(sae_device *dev, int64_t rows, int64_t n, sae_code *z, sae_cuda_answer **a);
int sae_cuda_code_clear(sae_device *dev, const sae_code *z, sae_cuda_answer *a);
/* Append the next rows to the code; those past its capacity are counted, not written. */
int sae_cuda_code_join(sae_device *dev, const sae_cuda_rows *rows, const sae_code *z,
                       sae_cuda_answer *a);
/* Wait for the answer; nnz, nan and the status. */
int sae_cuda_code_end(sae_device *dev, const sae_cuda_answer *a, sae_code *z);

/* What launches that read a source depend on. */
typedef struct sae_cuda_origin {
    sae_encoder e;
    const void *copy; /* of its weights */
    sae_cmat value, score;
    sae_cuda_rank rank;
} sae_cuda_origin;

sae_cuda_origin sae_cuda_origin_of(const sae_device *dev, const sae_cuda_source *src);

/* list(source, answer), from the source's beginning, replayed; as sae_cuda_replay. `values`: all
 * that list uses besides the source, the answer and the arrays of the code. */
template <class F, class... A>
int sae_cuda_list(sae_device *dev, const sae_cuda_source *src, const sae_code *z,
                  sae_cuda_answer *a, F list, const A &...values)
{
    sae_cuda_origin origin = sae_cuda_origin_of(dev, src);
    auto body = [&] {
        sae_cuda_source s = *src;
        return list(&s, a);
    };
    return sae_cuda_replay(dev, body, origin, z->rowptr, z->idx, z->val, z->cap, values...);
}

/* z = what `list` joins into it, an empty code. */
template <class F, class... A>
int sae_cuda_code_of(sae_device *dev, const sae_cuda_source *src, sae_code *z, F list,
                     const A &...values)
{
    sae_cuda_answer *a;
    TRY(sae_cuda_code_begin(dev, src->rows, src->n, z, &a));
    auto body = [&](sae_cuda_source *s, sae_cuda_answer *into) {
        TRY(sae_cuda_code_clear(dev, z, into));
        return list(s, into);
    };
    TRY(sae_cuda_list(dev, src, z, a, body, values...));
    return sae_cuda_code_end(dev, a, z);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* A tile is a row of a piece in the registers of a block: each warp has ITEMS * WARP columns, item
 * i of its lanes being WARP neighbours. */
constexpr int ITEMS = (int)((PANEL + BLOCK - 1) / BLOCK);
static_assert(ITEMS <= 32, "a bit of a word for every item");

static __device__ inline int64_t tile_col(int i)
{
    return ((int64_t)(threadIdx.x / WARP) * ITEMS + i) * WARP + lane_id();
}

/* All loads are issued before the first is waited for. 0 behind the last column. */
static __device__ inline void tile_read(const sae_cuda_pre &pre, int64_t r, sae_real (&v)[ITEMS])
{
    const sae_real *p = pre.p + r * pre.ld;
    UNROLL
    for (int i = 0; i < ITEMS; i++)
        v[i] = tile_col(i) < pre.cols ? p[tile_col(i)] : 0;
    if (!pre.bias)
        return;
    UNROLL
    for (int i = 0; i < ITEMS; i++)
        if (tile_col(i) < pre.cols)
            v[i] = pre.biased(v[i], tile_col(i));
}

/* take(i, place) for every marked item; places ascend with the columns. `first`: the exclusive
 * block_scan of the numbers of marks. What take wants of few items it reads again: the loop is not
 * unrolled, and arrays in registers need that. */
template <class F> __device__ void tile_each(unsigned marks, unsigned first, F take)
{
    unsigned at = __shfl_sync(~0u, first, 0), below = (1u << lane_id()) - 1;
    if (!__any_sync(~0u, marks != 0))
        return;
    for (int i = 0; i < ITEMS; i++) {
        unsigned who = __ballot_sync(~0u, marks >> i & 1);
        if (marks >> i & 1)
            take(i, at + (unsigned)__popc(who & below));
        at += (unsigned)__popc(who);
    }
}

/* List every eligible entry of a piece for which pass(row, feature, key, score) holds: a block per
 * row takes the next places of the list (which ones may differ from run to run), out.part(r, start,
 * count) remembers them, and out.put(place, row, feature, score) fills them. */
template <class P, class O>
__global__ void sae_cuda_append(sae_cuda_pre pre, sae_cuda_rank rank, P pass, O out,
                                sae_cuda_answer *a)
{
    __shared__ unsigned long long start;
    sae_real v[ITEMS];
    int64_t r = blockIdx.x, row = pre.row + r;
    unsigned marks = 0, nan = 0, all;
    tile_read(pre, r, v);
    UNROLL
    for (int i = 0; i < ITEMS; i++) {
        unsigned key = rank.key(v[i]);
        if (tile_col(i) >= pre.cols)
            continue;
        nan += key == 0;
        if (key > rank.floor && pass(row, pre.feature(tile_col(i)), key, rank.score(v[i])))
            marks |= 1u << i;
    }
    if (nan)
        atomicAdd(&a->nan, (unsigned long long)nan);
    unsigned first = block_scan((unsigned)__popc(marks), &all);
    if (threadIdx.x == 0) {
        start = atomicAdd(&a->used, (unsigned long long)all);
        out.part(r, (int64_t)start, all);
    }
    __syncthreads();
    tile_each(marks, first, [&](int i, unsigned place) {
        int64_t c = tile_col(i);
        out.put((int64_t)start + place, row, pre.feature(c), pre.at(r, c));
    });
}

/* ---- selections by a rule of single entries (select_rows.cu) --------------------------------- */

/* A list of the entries of a chunk, as long as the code's; those behind it are only counted. */
typedef struct sae_cuda_lists {
    int64_t room;
    int32_t *idx;
    sae_real *val;
    sae_cuda_part *parts, *panel; /* of all panels; of the one being listed */

    __device__ void part(int64_t r, int64_t start, unsigned count) const
    {
        sae_cuda_part p = {start, count, 0};
        panel[r] = p;
    }
    __device__ void put(int64_t at, int64_t, int32_t j, sae_real v) const
    {
        if (at >= room)
            return;
        idx[at] = j;
        val[at] = v;
    }
} sae_cuda_lists;

int sae_cuda_lists_new(sae_device *dev, const sae_cuda_source *src, int64_t cap,
                       sae_cuda_lists *out);
/* The rows of the chunk whose last panel has been listed. */
sae_cuda_rows sae_cuda_lists_rows(const sae_cuda_source *src, const sae_cuda_lists *l);

/* Into z all eligible entries that pass. */
template <class P>
int sae_cuda_select_if(sae_device *dev, sae_cuda_source *src, P pass, const sae_code *z,
                       sae_cuda_answer *a)
{
    sae_cuda_lists l;
    int rc = sae_cuda_lists_new(dev, src, z->cap, &l);
    while (rc >= 0 && (rc = sae_cuda_source_next(dev, src)) > 0) {
        l.panel = l.parts + src->pre.col / PANEL * CHUNK;
        if (src->pre.col == 0)
            TRY(sae_cuda_zero(dev, &a->used, sizeof a->used));
        TRY(LAUNCH(dev, (sae_cuda_append<P, sae_cuda_lists>), (unsigned)src->pre.live, BLOCK,
                   src->pre, src->rank, pass, l, a));
        if (ends_chunk(src)) {
            sae_cuda_rows rows = sae_cuda_lists_rows(src, &l);
            TRY(sae_cuda_code_join(dev, &rows, z, a));
        }
    }
    return rc;
}

#endif
