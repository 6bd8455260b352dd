/* suite/kernels/cuda/merge.cu - codes that were made in parts become one.
 *
 * The entries of all parts are listed, those of a row part by part in ascending order, as panels
 * list theirs in a selection: what is left of them is joined into the code like those.
 */
#include "cuda/merge.cuh"
#include "cuda/top.cuh"

typedef struct listing {
    int64_t rows, room;
    int count;
    int32_t *idx; /* [room] */
    sae_real *val;
    sae_cuda_part *part; /* [count x rows] */
} listing;

static __global__ void list_cuts(sae_cuda_cuts in, listing l)
{
    WARP_FOR(i, in.count * in.rows)
    {
        sae_cuda_cut_row row = in.row(i);
        for (int64_t e = lane_id(); e < row.count; e += WARP) {
            l.idx[row.place + e] = (int32_t)(row.idx[e] + row.j0);
            l.val[row.place + e] = row.val[e];
        }
        sae_cuda_part p = {row.place, (unsigned)row.count, 0};
        if (lane_id() == 0)
            l.part[in.first * in.rows + i] = p;
    }
}

/* f(key) for the thread's entries of row r. */
template <class F> __device__ void each_key(const listing &l, sae_cuda_rank rank, int64_t r, F f)
{
    for (int p = 0; p < l.count; p++) {
        sae_cuda_part part = l.part[p * l.rows + r];
        for (unsigned i = threadIdx.x; i < part.count; i += BLOCK)
            f(rank.key(l.val[part.start + i]));
    }
}

/* Entries of row r with keys above *t stay, and the first of those equal to it: result, so many. */
static __device__ unsigned bar_of(const listing &l, sae_cuda_rank rank, int64_t r, unsigned k,
                                  unsigned *t)
{
    unsigned mine = 0, most = 0, found, above;
    each_key(l, rank, r, [&](unsigned key) {
        mine += key > rank.floor;
        most = key > most ? key : most;
    });
    block_scan(mine, &found);
    *t = rank.floor;
    if (found <= k)
        return 0;
    auto count = [&](unsigned from) {
        unsigned n = 0;
        each_key(l, rank, r, [&](unsigned key) { n += key >= from; });
        return n;
    };
    *t = split(rank.floor, block_max(most), k, count, &above);
    return k - above;
}

/* A block per row: the k best of it stay, in place and in order. */
static __global__ void keep_rows(listing l, sae_cuda_rank rank, unsigned k)
{
    for (int64_t r = blockIdx.x; r < l.rows; r += gridDim.x) {
        unsigned t, ties = bar_of(l, rank, r, k, &t), same;
        for (int p = 0; p < l.count; p++) {
            sae_cuda_part *at = &l.part[p * l.rows + r], part = *at;
            if (part.count == 0)
                continue;
            part.count = keep_above(rank, t, ties, part.count, l.idx + part.start,
                                    l.val + part.start, &same);
            ties -= same < ties ? same : ties;
            if (threadIdx.x == 0)
                at->count = part.count; /* every thread has read it */
        }
    }
}

static int open_listing(sae_device *dev, const sae_code_part *part, int count, int64_t rows,
                        listing *l)
{
    l->rows = rows;
    l->room = sae_cuda_cut_start(part, count);
    l->count = count;
    l->idx = ws_new<int32_t>(dev, WS_LIST, l->room);
    l->val = ws_new<sae_real>(dev, WS_SPARE, l->room);
    l->part = ws_new<sae_cuda_part>(dev, WS_STATE, count * rows);
    return l->idx && l->val && l->part ? SAE_OK : SAE_ENOMEM;
}

/* Every entry, or the k best of every row. */
static int merge_rows(sae_device *dev, const sae_code_part *part, int count, enum sae_merge how,
                      enum sae_key key, int64_t k, sae_code *z)
{
    listing l;
    sae_cuda_answer *a;
    sae_cuda_rank rank = sae_cuda_source_of(key, z->B, z->n, z->n).rank;
    TRY(sae_cuda_code_begin(dev, z->B, z->n, z, &a));
    TRY(open_listing(dev, part, count, z->B, &l));
    TRY(sae_cuda_code_clear(dev, z, a));
    TRY(sae_cuda_cuts_each(part, count, z->B, [&](const sae_cuda_cuts &in) {
        return LAUNCH(dev, list_cuts, sae_cuda_cut_blocks(in), BLOCK, in, l);
    }));
    if (how == SAE_MERGE_ROWS)
        TRY(LAUNCH(dev, keep_rows, blocks_for(l.rows, 1), BLOCK, l, rank,
                   (unsigned)(k < z->n ? k : z->n)));
    sae_cuda_rows rows = {0, l.rows, count, l.rows, l.room, l.part, l.idx, l.val, {0, 0, 0, 0}};
    TRY(sae_cuda_code_join(dev, &rows, z, a));
    return sae_cuda_code_end(dev, a, z);
}

SAE_DECL_code_merge(SAE_CUDA(code_merge))
{
    if (bad_merge(part, count, how, k, z))
        return SAE_EINVAL;
    int rc = how == SAE_MERGE_FLAT ? sae_cuda_merge_flat(dev, part, count, key, k, z)
                                   : merge_rows(dev, part, count, how, key, k, z);
    z->nan = 0;
    for (int p = 0; p < count; p++)
        z->nan += part[p].z.nan;
    return rc;
}
