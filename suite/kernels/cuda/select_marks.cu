/* suite/kernels/cuda/select_marks.cu - selections that first find a mark per feature or per row:
 * the best rows of every feature, and the prefix of every row whose norm is nearest a target.
 */
#include "cuda/select.cuh"
#include "cuda/sort.cuh"

/* The last entry to be selected: of better ones all, of equal ones those up to it. */
typedef struct mark {
    int64_t last;
    unsigned key;

    __device__ bool passes(unsigned k, int64_t place) const
    {
        return k > key || (k == key && place <= last);
    }
} mark;

/* The matrix of the scores. */
static sae_cmat ranked(const sae_cuda_source *src)
{
    return src->s->score.p ? src->s->score : src->s->value;
}

/* ---- the best rows of a feature ---------------------------------------------------------------
 */

struct up_to_row {
    const mark *of_feature;

    __device__ bool operator()(int64_t row, int32_t j, unsigned key, sae_real) const
    {
        return of_feature[j].passes(key, row);
    }
};

enum { DIGIT = 8, BINS = 1 << DIGIT, BINS_EACH = BINS / WARPS, AT_ONCE = 4 };

/* A block has WARP features, a lane each; its warps share the rows. A radix select per feature. */
typedef struct column {
    mark m[WARP];        /* key: the digits known */
    unsigned left[WARP]; /* entries to select among those that agree with them */
    bool found[WARP];
    unsigned bins[BINS][WARP], sums[WARPS][WARP];
} column;

/* f(row, key) for rows [first, end) of the lane's feature in steps of `by`. */
template <class F>
__device__ void each_row(sae_cmat score, sae_cuda_rank rank, int64_t j, int64_t first, int64_t end,
                         int64_t by, F f)
{
    if (j >= score.cols)
        return;
    for (int64_t r = first; r < end; r += AT_ONCE * by) {
        sae_real v[AT_ONCE];
        UNROLL
        for (int i = 0; i < AT_ONCE; i++)
            v[i] = r + i * by < end ? score.p[(r + i * by) * score.ld + j] : 0;
        UNROLL
        for (int i = 0; i < AT_ONCE; i++)
            if (r + i * by < end)
                f(r + i * by, rank.key(v[i]));
    }
}

/* The bin of the last entry to be selected, from above, becomes known. */
static __device__ void pick_bin(column &c, sae_cuda_rank rank, int shift)
{
    int lane = lane_id(), w = (int)threadIdx.x / WARP, last = BINS - 1 - w * BINS_EACH;
    unsigned before = 0, sum = 0, all = 0;
    for (int i = 0; i < BINS_EACH; i++)
        sum += c.bins[last - i][lane];
    c.sums[w][lane] = sum;
    __syncthreads();
    for (int i = 0; i < WARPS; i++) {
        before += i < w ? c.sums[i][lane] : 0;
        all += c.sums[i][lane];
    }
    unsigned left = c.left[lane];
    bool found = c.found[lane];
    __syncthreads();
    if (found)
        return;
    if (all <= left && shift == 32 - DIGIT) { /* fewer are eligible */
        if (w == 0) {
            c.m[lane].key = rank.floor;
            c.found[lane] = true;
        }
    } else if (left > before && left <= before + sum) {
        for (; left > before + c.bins[last][lane]; last--)
            before += c.bins[last][lane];
        c.m[lane].key |= (unsigned)last << shift;
        c.left[lane] = left - before;
        if (c.left[lane] == c.bins[last][lane]) { /* the whole bin: all above what is below it */
            c.m[lane].key--;
            c.found[lane] = true;
        }
    }
}

/* The row of the tie that is the last to be selected. Warps have consecutive rows. */
static __device__ void find_row(column &c, sae_cmat score, sae_cuda_rank rank, int64_t j)
{
    int lane = lane_id(), w = (int)threadIdx.x / WARP;
    int64_t each = score.rows / WARPS + 1, first = w * each;
    int64_t end = first + each < score.rows ? first + each : score.rows;
    unsigned t = c.m[lane].key, left = c.left[lane], before = 0, mine = 0;
    bool found = c.found[lane];
    each_row(score, rank, j, first, end, 1, [&](int64_t, unsigned key) { mine += key == t; });
    c.sums[w][lane] = mine;
    __syncthreads();
    for (int i = 0; i < w; i++)
        before += c.sums[i][lane];
    if (!found && left > before && left <= before + mine)
        each_row(score, rank, j, first, end, 1, [&](int64_t r, unsigned key) {
            before += key == t;
            if (key == t && before == left)
                c.m[lane].last = r;
        });
    __syncthreads();
}

static __global__ void mark_columns(sae_cmat score, sae_cuda_rank rank, const int64_t *quota,
                                    mark *out, sae_cuda_answer *a)
{
    __shared__ column c;
    int lane = lane_id(), w = (int)threadIdx.x / WARP;
    int64_t j = (int64_t)blockIdx.x * WARP + lane, q = j < score.cols ? quota[j] : 0;
    if (w == 0) {
        mark none = {-1, q > 0 ? 0 : ~0u};
        c.m[lane] = none;
        c.left[lane] = (unsigned)(q < score.rows ? q : score.rows);
        c.found[lane] = q <= 0;
        if (q < 0)
            atomicOr(&a->bad, 1u);
    }
    for (int shift = 32 - DIGIT; shift >= 0; shift -= DIGIT) {
        for (int i = w; i < BINS; i += WARPS)
            c.bins[i][lane] = 0;
        __syncthreads();
        bool found = c.found[lane];
        unsigned known = c.m[lane].key >> shift >> (DIGIT - 1) >> 1;
        if (!__any_sync(~0u, !found))
            break; /* for every warp: they look at the same lanes */
        if (!found)
            each_row(score, rank, j, w, score.rows, WARPS, [&](int64_t, unsigned key) {
                if (key > rank.floor && key >> shift >> (DIGIT - 1) >> 1 == known)
                    atomicAdd(&c.bins[key >> shift & (BINS - 1)][lane], 1u);
            });
        __syncthreads();
        pick_bin(c, rank, shift);
        __syncthreads();
    }
    if (__any_sync(~0u, !c.found[lane]))
        find_row(c, score, rank, j);
    __syncthreads();
    if (w == 0 && j < score.cols)
        out[j] = c.m[lane];
}

static int list_columns(sae_device *dev, sae_cuda_source *src, const int64_t *quota,
                        const sae_code *z, sae_cuda_answer *a)
{
    mark *marks = ws_new<mark>(dev, WS_COUNT, src->cols);
    if (!marks)
        return SAE_ENOMEM;
    up_to_row pass = {marks};
    TRY(LAUNCH(dev, mark_columns, blocks_for(src->cols, WARP), BLOCK, ranked(src), src->rank, quota,
               marks, a));
    return sae_cuda_select_if(dev, src, pass, z, a);
}

SAE_DECL_col_topk(SAE_CUDA(col_topk))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_scores(s, &src));
    auto list = [=](sae_cuda_source *from, sae_cuda_answer *a) {
        return list_columns(dev, from, quota, z, a);
    };
    return sae_cuda_code_of(dev, &src, z, list, quota);
}

/* ---- prefixes ---------------------------------------------------------------------------------
 */

struct up_to_feature {
    const mark *of_row;

    __device__ bool operator()(int64_t row, int32_t j, unsigned key, sae_real) const
    {
        return of_row[row].passes(key, j);
    }
};

typedef unsigned long long wide;

/* Rows [row, row + rows), sorted together: by row, then by rank; inverted keys, so that the best
 * come first and what is not eligible last. */
typedef struct ranking {
    wide *order;
    int32_t *j;
} ranking;

/* Entries that are sorted at a time; a row is not divided. */
#ifdef SAE_EMULATED_CUDA
constexpr int64_t SORTED = 1 << 10;
#else
constexpr int64_t SORTED = 1 << 23;
#endif

static __global__ void list_entries(sae_cmat score, sae_cuda_rank rank, ranking out)
{
    GRID_FOR(i, score.rows * score.cols)
    {
        int64_t r = i / score.cols, c = i % score.cols;
        unsigned key = rank.key(score.p[r * score.ld + c]);
        out.order[i] = (wide)r << 32 | (key > rank.floor ? ~key : ~0u);
        out.j[i] = (int32_t)c;
    }
}

/* How much the norm of a prefix, whose squares add to `sum`, is off the target, with the roundings
 * of ref's prefix_gap. */
static __device__ inline double gap_of(double sum, double target, double target2, int squared)
{
    return squared ? sum - target2 : sqrt(sum) - target;
}

/* A warp per row. The sum runs from term to term as the reference's does, since the distances of
 * two prefixes may tie; it ends where the norm has passed the target, for distances only grow from
 * there. */
static __global__ void mark_prefixes(int64_t rows, int64_t cols, sae_cuda_rank rank, ranking in,
                                     const double *target, int squared, mark *out)
{
    WARP_FOR(r, rows)
    {
        double t = target[r], t2 = __dmul_rn(t, t), sum = 0, best = 0, gap = -1;
        int64_t length = 0;
        bool more = true;
        for (int64_t from = 0; from < cols && more && !(gap >= 0); from += WARP) {
            int64_t i = from + lane_id();
            unsigned key = i < cols ? ~(unsigned)in.order[r * cols + i] : 0;
            double s = key > rank.floor ? (double)rank.score_of_key(key) : 0, mine = 0;
            for (int l = 0; l < WARP; l++) {
                double other = __shfl_sync(~0u, s, l);
                sum += other * other; /* exact squares: fused or not, the same bits */
                mine = l == lane_id() ? sum : mine;
            }
            gap = gap_of(mine, t, t2, squared);
            double off = key > rank.floor ? fabs(gap) : (double)INFINITY;
            if (from == 0) {
                best = __shfl_sync(~0u, off, 0);
                length = __shfl_sync(~0u, (int)(key > rank.floor), 0);
            }
            int at = lane_id();
            off = off < best ? off : (double)INFINITY; /* also where it is NaN */
            for (int by = 1; by < WARP; by *= 2) {
                double other = __shfl_xor_sync(~0u, off, by);
                int where = __shfl_xor_sync(~0u, at, by);
                if (other < off || (other == off && where < at)) {
                    off = other;
                    at = where;
                }
            }
            if (off < best) {
                best = off;
                length = from + at + 1;
            }
            gap = __shfl_sync(~0u, gap, WARP - 1);
            more = __shfl_sync(~0u, (int)(key > rank.floor), WARP - 1);
        }
        mark m = {-1, ~0u};
        if (length) {
            m.key = ~(unsigned)in.order[r * cols + length - 1];
            m.last = in.j[r * cols + length - 1];
        }
        if (lane_id() == 0)
            out[r] = m;
    }
}

typedef struct prefixes {
    int64_t rows; /* sorted at a time */
    int bits;
    ranking in, sorted;
    mark *marks;
} prefixes;

static int open_prefixes(sae_device *dev, const sae_cuda_source *src, prefixes *p)
{
    memset(p, 0, sizeof *p);
    p->rows = src->cols < SORTED ? SORTED / src->cols : 1;
    p->rows = p->rows < src->rows ? p->rows : src->rows;
    p->bits = 32;
    for (int64_t last = p->rows - 1; last; last >>= 1)
        p->bits++;
    p->in.order = ws_new<wide>(dev, WS_LIST, p->rows * src->cols);
    p->in.j = ws_new<int32_t>(dev, WS_KEY, p->rows * src->cols);
    p->sorted.order = ws_new<wide>(dev, WS_SPARE, p->rows * src->cols);
    p->sorted.j = ws_new<int32_t>(dev, WS_STATE, p->rows * src->cols);
    p->marks = ws_new<mark>(dev, WS_COUNT, src->rows);
    return p->in.order && p->in.j && p->sorted.order && p->sorted.j && p->marks ? SAE_OK
                                                                                : SAE_ENOMEM;
}

static int list_prefixes(sae_device *dev, sae_cuda_source *src, const double *target, int squared,
                         const sae_code *z, sae_cuda_answer *a)
{
    prefixes p;
    if (src->rows == 0 || src->cols == 0)
        return SAE_OK;
    TRY(open_prefixes(dev, src, &p));
    sae_cmat m = ranked(src);
    for (int64_t r = 0; r < src->rows; r += p.rows) {
        int64_t rows = src->rows - r < p.rows ? src->rows - r : p.rows;
        sae_cmat part = {m.p + r * m.ld, rows, m.cols, m.ld};
        TRY(LAUNCH(dev, list_entries, blocks_for(rows * m.cols, BLOCK), BLOCK, part, src->rank,
                   p.in));
        TRY(sae_cuda_sort(dev, rows * m.cols, p.bits, p.in.order, p.in.j, p.sorted.order,
                          p.sorted.j)); /* stable: of equal scores the lower feature first */
        TRY(LAUNCH(dev, mark_prefixes, blocks_for(rows, WARPS), BLOCK, rows, m.cols, src->rank,
                   p.sorted, target + r, squared, p.marks + r));
    }
    up_to_feature pass = {p.marks};
    return sae_cuda_select_if(dev, src, pass, z, a);
}

SAE_DECL_row_prefix(SAE_CUDA(row_prefix))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_scores(s, &src));
    auto list = [=](sae_cuda_source *from, sae_cuda_answer *a) {
        return list_prefixes(dev, from, target, squared, z, a);
    };
    return sae_cuda_code_of(dev, &src, z, list, target, squared);
}
