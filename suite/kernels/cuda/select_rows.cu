/* suite/kernels/cuda/select_rows.cu - the best of every row, and all above a threshold.
 *
 * Row top-k keeps, while panels go by, the k best entries of every row of the chunk in ascending
 * order. From k on only what is above the row's bound can enter, so most rows of later panels are
 * read and left as they are.
 */
#include "cuda/select.cuh"
#include "cuda/top.cuh"

/* ---- top-k ----------------------------------------------------------------------------------- */

/* A row of the chunk while panels go by. Its list has k places. */
typedef struct top {
    unsigned k;
    sae_cuda_part state; /* bound: what an entry of a later panel must be above */
    int32_t *idx;
    sae_real *val;
} top;

/* Drop what is not among the k best of the list and the tile, when they are more than k together.
 * What is left of the tile is above *bar; result: so many of those equal to *bar stay as well. */
static __device__ unsigned make_room(top &row, sae_cuda_rank rank, const unsigned (&key)[ITEMS],
                                     unsigned most, unsigned *bar)
{
    unsigned above, same, ties;
    auto count = [&](unsigned from) {
        unsigned n = 0;
        if (most >= from) {
            UNROLL
            for (int i = 0; i < ITEMS; i++)
                n += key[i] >= from;
        }
        for (unsigned i = threadIdx.x; i < row.state.count; i += BLOCK)
            n += rank.key(row.val[i]) >= from;
        return n;
    };
    *bar = row.state.bound = split(row.state.bound, block_max(most), row.k, count, &above);
    ties = row.k - above;
    row.state.count = keep_above(rank, *bar, ties, row.state.count, row.idx, row.val, &same);
    return same < ties ? ties - same : 0;
}

/* Items above the bar and the first `ties` of those equal to it. */
static __device__ unsigned mark_items(const unsigned (&key)[ITEMS], unsigned bar, unsigned ties)
{
    unsigned marks = 0, equal = 0, all;
    UNROLL
    for (int i = 0; i < ITEMS; i++) {
        marks |= (unsigned)(key[i] > bar) << i;
        equal |= (unsigned)(key[i] == bar) << i;
    }
    if (!ties)
        return marks;
    unsigned first = block_scan((unsigned)__popc(equal), &all);
    tile_each(equal, first, [&](int i, unsigned at) { marks |= (unsigned)(at < ties) << i; });
    return marks;
}

static __global__ void __launch_bounds__(BLOCK, 4)
    merge_rows(sae_cuda_pre pre, sae_cuda_rank rank, int64_t k, sae_cuda_lists l,
               sae_cuda_answer *a)
{
    sae_real v[ITEMS];
    unsigned key[ITEMS], nan = 0, mine = 0, most = 0, found, all;
    int64_t r = blockIdx.x;
    top row = {(unsigned)k, {r * k, 0, rank.floor}, l.idx + r * k, l.val + r * k};
    if (pre.col > 0)
        row.state = l.parts[r];
    tile_read(pre, r, v);
    UNROLL
    for (int i = 0; i < ITEMS; i++) {
        bool inside = tile_col(i) < pre.cols;
        key[i] = inside ? rank.key(v[i]) : 0;
        nan += inside && key[i] == 0;
        mine += key[i] > row.state.bound;
        most = key[i] > most ? key[i] : most;
    }
    if (nan)
        atomicAdd(&a->nan, (unsigned long long)nan);
    block_scan(mine, &found);
    if (found) {
        unsigned bar = row.state.bound, ties = 0;
        if (row.state.count + found > row.k)
            ties = make_room(row, rank, key, most, &bar);
        unsigned marks = mark_items(key, bar, ties);
        unsigned first = block_scan((unsigned)__popc(marks), &all) + row.state.count;
        tile_each(marks, first, [&](int i, unsigned at) {
            row.idx[at] = pre.feature(tile_col(i));
            row.val[at] = pre.at(r, tile_col(i));
        });
        row.state.count += all;
    }
    if (threadIdx.x == 0)
        l.parts[r] = row.state;
}

static int list_best(sae_device *dev, sae_cuda_source *src, int64_t k, const sae_code *z,
                     sae_cuda_answer *a)
{
    sae_cuda_lists l;
    k = k < src->cols ? k : src->cols;
    memset(&l, 0, sizeof l);
    l.idx = ws_new<int32_t>(dev, WS_LIST, CHUNK * k);
    l.val = ws_new<sae_real>(dev, WS_SPARE, CHUNK * k);
    l.parts = ws_new<sae_cuda_part>(dev, WS_STATE, CHUNK);
    int rc = l.idx && l.val && l.parts ? SAE_OK : SAE_ENOMEM;
    while (rc >= 0 && (rc = sae_cuda_source_next(dev, src)) > 0) {
        TRY(LAUNCH(dev, merge_rows, (unsigned)src->pre.live, BLOCK, src->pre, src->rank, k, l, a));
        if (ends_chunk(src)) {
            sae_cuda_rows rows = {src->pre.row, src->pre.live, 1,     CHUNK,     CHUNK * k,
                                  l.parts,      l.idx,         l.val, src->value};
            TRY(sae_cuda_code_join(dev, &rows, z, a));
        }
    }
    return rc;
}

static int pick_rows(sae_device *dev, const sae_cuda_source *src, int64_t k, sae_code *z)
{
    auto list = [=](sae_cuda_source *s, sae_cuda_answer *a) { return list_best(dev, s, k, z, a); };
    return k < 0 ? SAE_EINVAL : sae_cuda_code_of(dev, src, z, list, k);
}

SAE_DECL_encode_topk(SAE_CUDA(encode_topk))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_encoder(e, key, &src));
    return pick_rows(dev, &src, k, z);
}

SAE_DECL_row_topk(SAE_CUDA(row_topk))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_scores(s, &src));
    return pick_rows(dev, &src, k, z);
}

/* ---- thresholds ------------------------------------------------------------------------------ */

int sae_cuda_lists_new(sae_device *dev, const sae_cuda_source *src, int64_t cap,
                       sae_cuda_lists *out)
{
    int64_t panels = src->cols / PANEL + 1, most = CHUNK * src->cols;
    memset(out, 0, sizeof *out);
    out->room = cap < most ? cap : most;
    out->idx = ws_new<int32_t>(dev, WS_LIST, out->room);
    out->val = ws_new<sae_real>(dev, WS_SPARE, out->room);
    out->parts = ws_new<sae_cuda_part>(dev, WS_STATE, panels * CHUNK);
    return out->idx && out->val && out->parts ? SAE_OK : SAE_ENOMEM;
}

sae_cuda_rows sae_cuda_lists_rows(const sae_cuda_source *src, const sae_cuda_lists *l)
{
    sae_cuda_rows rows = {src->pre.row, src->pre.live, src->pre.col / PANEL + 1,
                          CHUNK,        l->room,       l->parts,
                          l->idx,       l->val,        src->value};
    return rows;
}

struct above_theta {
    double theta;
    const double *per_feature;

    __device__ bool operator()(int64_t, int32_t j, unsigned, sae_real score) const
    {
        return (double)score > (per_feature ? per_feature[j] : theta);
    }
};

static int pick_above(sae_device *dev, const sae_cuda_source *src, above_theta above, sae_code *z)
{
    auto list = [=](sae_cuda_source *s, sae_cuda_answer *a) {
        return sae_cuda_select_if(dev, s, above, z, a);
    };
    return sae_cuda_code_of(dev, src, z, list, above.theta, above.per_feature);
}

SAE_DECL_encode_threshold(SAE_CUDA(encode_threshold))
{
    sae_cuda_source src;
    above_theta above = {theta, per_feature};
    TRY(sae_cuda_from_encoder(e, key, &src));
    return pick_above(dev, &src, above, z);
}

SAE_DECL_threshold(SAE_CUDA(threshold))
{
    sae_cuda_source src;
    above_theta above = {theta, per_feature};
    TRY(sae_cuda_from_scores(s, &src));
    return pick_above(dev, &src, above, z);
}
