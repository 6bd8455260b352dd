/* suite/kernels/cuda/select_flat.cu - the best of a whole matrix.
 *
 * Candidates are appended to a pool in no particular order. When it could overflow, a radix select
 * finds the budget's last entry by (score descending, position ascending), the rest is dropped, and
 * later candidates must come before that entry. Sorting the pool by position at the end makes the
 * order, and the code, independent of the pool's.
 *
 * The host does not wait for the size of the pool: it prunes whenever twice as many entries have
 * gone by as at the last time, which where they are mixed lets in about as many as the budget in
 * between, and looks at the end whether all had room. If not, all is done again, and the host looks
 * whenever the pool could overflow.
 */
#include "cuda/merge.cuh"
#include "cuda/sort.cuh"

typedef unsigned long long wide;

/* Entries up to (key, pos) stay; key is inverted, so that better is smaller. While that is searched
 * for among `count` entries, digit by digit: what is known of it, and how many entries that agree
 * with that stay. */
typedef struct bound {
    wide pos, left, count;
    unsigned key, found;
} bound;

typedef struct pool {
    wide *pos; /* row * n + feature */
    sae_real *v;
} pool;

typedef struct flat {
    sae_device *dev;
    sae_cuda_source *src;
    sae_cuda_answer *a;
    bound *b;
    wide *hist;
    pool in, kept;              /* in: [room]; kept: [budget] */
    int64_t budget, room;
    int64_t most, next; /* entries that were offered to the pool; more than `next`: prune or look */
    int pos_bits;
} flat;

enum { DIGIT = 11, BINS = 1 << DIGIT, BINS_EACH = BINS / BLOCK, EACH = 16 };

/* ---- pruning --------------------------------------------------------------------------------- */

static __global__ void set_bound(bound *b, bound v)
{
    *b = v;
}

/* The search begins. A pool of no more than the budget is left alone, with count 0; so is one that
 * has overflowed, for the host to see. */
static __global__ void begin_search(bound *b, int64_t budget, int64_t room, sae_cuda_answer *a)
{
    wide used = a->used;
    bound v = {0, (wide)budget, used, 0, 0}, none = {b->pos, 0, 0, b->key, 1};
    bool search = used > (wide)budget && used <= (wide)room;
    *b = search ? v : none;
    if (search)
        a->used = 0;
}

/* The bits of entry i from `shift` on: of its position, or of its key when that is what digits are
 * taken of. *agrees: so far it is equal to the bound. */
static __device__ wide digits_of(const pool &in, sae_cuda_rank rank, int64_t i, const bound &b,
                                 int of_pos, int shift, bool *agrees)
{
    unsigned key = ~rank.key(in.v[i]);
    wide mine = of_pos ? in.pos[i] : key, known = of_pos ? b.pos : b.key;
    *agrees = (!of_pos || key == b.key) && mine >> shift >> DIGIT == known >> shift >> DIGIT;
    return mine >> shift;
}

static __global__ void count_digit(pool in, sae_cuda_rank rank, const bound *b, int of_pos,
                                   int shift, wide *hist)
{
    __shared__ unsigned mine[BINS];
    bound known = *b;
    if (known.found)
        return;
    for (int i = (int)threadIdx.x; i < BINS; i += BLOCK)
        mine[i] = 0;
    __syncthreads();
    GRID_FOR(i, (int64_t)known.count)
    {
        bool agrees;
        wide digit = digits_of(in, rank, i, known, of_pos, shift, &agrees);
        if (agrees)
            atomicAdd(&mine[digit % BINS], 1u);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < BINS; i += BLOCK)
        if (mine[i])
            atomicAdd(&hist[i], (wide)mine[i]);
}

/* One block: the bin of the budget's last entry becomes known. When the whole bin stays, all bits
 * below do not matter. */
static __global__ void pick_digit(bound *b, int of_pos, int shift, wide *hist)
{
    bound v = *b;
    if (v.found)
        return;
    wide bins[BINS_EACH], sum = 0, all;
    int first = (int)threadIdx.x * BINS_EACH;
    for (int i = 0; i < BINS_EACH; i++) {
        bins[i] = hist[first + i];
        sum += bins[i];
        hist[first + i] = 0;
    }
    wide before = block_scan(sum, &all); /* every thread has read *b */
    if (v.left <= before || v.left > before + sum)
        return;
    int bin = 0;
    for (; v.left > before + bins[bin]; bin++)
        before += bins[bin];
    v.left -= before;
    v.found = v.left == bins[bin];
    wide known = (wide)(first + bin) << shift, below = v.found ? ((wide)1 << shift) - 1 : 0;
    if (of_pos)
        v.pos |= known | below;
    else
        v.key |= (unsigned)(known | below);
    if (v.found && !of_pos)
        v.pos = ~(wide)0;
    *b = v;
}

static __global__ void keep_best(pool in, sae_cuda_rank rank, const bound *b, pool out,
                                 sae_cuda_answer *a)
{
    __shared__ wide start;
    int64_t count = (int64_t)b->count;
    for (int64_t from = (int64_t)blockIdx.x * BLOCK; from < count;
         from += (int64_t)gridDim.x * BLOCK) {
        int64_t i = from + threadIdx.x;
        unsigned key = i < count ? ~rank.key(in.v[i]) : ~0u, all;
        unsigned stays = key < b->key || (key == b->key && i < count && in.pos[i] <= b->pos);
        unsigned place = block_scan(stays, &all);
        if (threadIdx.x == 0)
            start = atomicAdd(&a->used, (wide)all);
        __syncthreads();
        if (stays) {
            out.pos[start + place] = in.pos[i];
            out.v[start + place] = in.v[i];
        }
        __syncthreads(); /* start may be written again */
    }
}

static __global__ void put_back(pool kept, int64_t budget, const bound *b, pool in)
{
    GRID_FOR(i, b->count ? budget : 0)
    {
        in.pos[i] = kept.pos[i];
        in.v[i] = kept.v[i];
    }
}

/* Of more entries than the budget the best stay. */
static int prune(const flat *f)
{
    sae_device *dev = f->dev;
    sae_cuda_rank rank = f->src->rank;
    unsigned blocks = blocks_for(f->room, BLOCK * EACH);
    TRY(LAUNCH(dev, begin_search, 1, 1, f->b, f->budget, f->room, f->a));
    for (int of_pos = 0; of_pos < 2; of_pos++) {
        int digits = ((of_pos ? f->pos_bits : 32) + DIGIT - 1) / DIGIT;
        for (int shift = (digits - 1) * DIGIT; shift >= 0; shift -= DIGIT) {
            TRY(LAUNCH(dev, count_digit, blocks, BLOCK, f->in, rank, f->b, of_pos, shift, f->hist));
            TRY(LAUNCH(dev, pick_digit, 1, BLOCK, f->b, of_pos, shift, f->hist));
        }
    }
    TRY(LAUNCH(dev, keep_best, blocks, BLOCK, f->in, rank, f->b, f->kept, f->a));
    return LAUNCH(dev, put_back, blocks_for(f->budget, BLOCK), BLOCK, f->kept, f->budget, f->b,
                  f->in);
}

/* ---- filling --------------------------------------------------------------------------------- */

struct within {
    const bound *b;
    int64_t n;

    __device__ bool operator()(int64_t row, int32_t j, unsigned key, sae_real) const
    {
        return ~key < b->key || (~key == b->key && (wide)(row * n + j) <= b->pos);
    }
};

struct into_pool {
    pool in;
    int64_t n, room;

    __device__ void part(int64_t, int64_t, unsigned) const
    {
    }
    __device__ void put(int64_t at, int64_t row, int32_t j, sae_real v) const
    {
        if (at >= room)
            return;
        in.pos[at] = (wide)(row * n + j);
        in.v[at] = v;
    }
};

/* At most twice the budget stays in the pool, and that is its size. */
static int look(flat *f)
{
    sae_cuda_answer got;
    TRY(sae_cuda_read(f->dev, &got, f->a, sizeof got));
    f->most = (int64_t)got.used;
    if (f->most <= 2 * f->budget)
        return SAE_OK;
    f->most = f->budget;
    return prune(f);
}

static int append(flat *f, int looks)
{
    const sae_cuda_pre *pre = &f->src->pre;
    within pass = {f->b, f->src->n};
    into_pool out = {f->in, f->src->n, f->room};
    int due = f->most + pre->live * pre->cols > f->next;
    if (due && !looks)
        f->next = 2 * f->most;
    if (due)
        TRY(looks ? look(f) : prune(f));
    f->most += pre->live * pre->cols;
    return LAUNCH(f->dev, (sae_cuda_append<within, into_pool>), (unsigned)pre->live, BLOCK, *pre,
                  f->src->rank, pass, out, f->a);
}

static int clear(const flat *f, const sae_code *z)
{
    /* Everything that is eligible, or nothing at all: no key is inverted to 0. */
    bound v = {f->budget ? ~(wide)0 : 0, 0, 0, f->budget ? ~f->src->rank.floor - 1 : 0, 0};
    TRY(sae_cuda_code_clear(f->dev, z, f->a));
    TRY(sae_cuda_zero(f->dev, f->hist, BINS * sizeof *f->hist));
    return LAUNCH(f->dev, set_bound, 1, 1, f->b, v);
}

/* All candidates of the source. Without looks at the pool it may overflow. */
static int fill(flat f, sae_cuda_source *src, const sae_code *z, int looks)
{
    int rc;
    f.src = src;
    f.next = f.room;
    TRY(clear(&f, z));
    while ((rc = sae_cuda_source_next(f.dev, src)) > 0)
        TRY(append(&f, looks));
    return rc;
}

/* Everything, when that is little. */
static int64_t room_for(int64_t all, int64_t budget)
{
    int64_t pieces = 2 * CHUNK * PANEL;
    return all - budget < budget + pieces ? all : 2 * budget + pieces;
}

static int open_flat(flat *f)
{
    sae_device *dev = f->dev;
    f->in.pos = ws_new<wide>(dev, WS_LIST, f->room);
    f->in.v = ws_new<sae_real>(dev, WS_KEY, f->room);
    f->kept.pos = ws_new<wide>(dev, WS_SPARE, f->budget);
    f->kept.v = ws_new<sae_real>(dev, WS_COUNT, f->budget);
    f->hist = ws_new<wide>(dev, WS_STATE, BINS + sizeof *f->b / sizeof *f->hist);
    if (!f->in.pos || !f->in.v || !f->kept.pos || !f->kept.v || !f->hist)
        return SAE_ENOMEM;
    f->b = (bound *)(f->hist + BINS);
    for (wide last = (wide)f->src->rows * (wide)f->src->n; last; last >>= 1)
        f->pos_bits++;
    return SAE_OK;
}

/* ---- the code -------------------------------------------------------------------------------- */

static __global__ void write_entries(pool in, int64_t count, int64_t n, sae_cmat value, sae_code z)
{
    GRID_FOR(i, count)
    {
        int64_t row = (int64_t)in.pos[i] / n, j = (int64_t)in.pos[i] % n;
        z.idx[i] = (int32_t)j;
        z.val[i] = value.p ? value.p[row * value.ld + j] : in.v[i];
    }
}

/* rowptr[r]: entries at positions before row r. */
static __global__ void write_rowptr(pool in, int64_t count, int64_t n, sae_code z)
{
    GRID_FOR(r, z.B + 1)
    z.rowptr[r] = lower_bound(in.pos, count, (wide)(r * n));
}

/* The pool's best in the order of positions. */
static int write_code(const flat *f, const sae_code *z)
{
    int64_t n = f->src->n, count = z->nnz;
    TRY(prune(f));
    TRY(sae_cuda_sort(f->dev, count, f->pos_bits, f->in.pos, f->in.v, f->kept.pos, f->kept.v));
    TRY(LAUNCH(f->dev, write_entries, blocks_for(count, BLOCK), BLOCK, f->kept, count, n,
               f->src->value, *z));
    return LAUNCH(f->dev, write_rowptr, blocks_for(z->B + 1, BLOCK), BLOCK, f->kept, count, n, *z);
}

/* How many the pool's best are, or will be. */
static int count_code(const flat *f, const sae_cuda_answer *got, sae_code *z)
{
    z->nan = (int64_t)got->nan;
    z->nnz = (int64_t)got->used < f->budget ? (int64_t)got->used : f->budget;
    return z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}

/* Of at most `all` entries the `budget` best. */
static int begin_flat(sae_device *dev, sae_cuda_source *src, int64_t all, int64_t budget,
                      sae_code *z, flat *f)
{
    memset(f, 0, sizeof *f);
    f->dev = dev;
    f->src = src;
    f->budget = budget < all ? budget : all;
    return sae_cuda_code_begin(dev, src->rows, src->n, z, &f->a);
}

static int pick_flat(sae_device *dev, sae_cuda_source *src, int64_t budget, sae_code *z)
{
    flat f;
    sae_cuda_answer got;
    int64_t all = src->rows * src->cols;
    if (budget < 0)
        return SAE_EINVAL;
    TRY(begin_flat(dev, src, all, budget, z, &f));
    f.room = room_for(all, f.budget);
    TRY(open_flat(&f));
    auto list = [&](sae_cuda_source *s, sae_cuda_answer *) { return fill(f, s, z, 0); };
    TRY(sae_cuda_list(dev, src, z, f.a, list, budget));
    TRY(sae_cuda_read(dev, &got, f.a, sizeof got));
    if ((int64_t)got.used > f.room) {
        sae_cuda_source again = *src;
        TRY(fill(f, &again, z, 1));
        TRY(sae_cuda_read(dev, &got, f.a, sizeof got));
    }
    TRY(count_code(&f, &got, z));
    if (z->nnz == 0) /* empty as it was begun */
        return SAE_OK;
    auto write = [&](sae_cuda_source *, sae_cuda_answer *) { return write_code(&f, z); };
    return sae_cuda_list(dev, src, z, f.a, write, budget, z->nnz);
}

SAE_DECL_encode_flat_topk(SAE_CUDA(encode_flat_topk))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_encoder(e, key, &src));
    return pick_flat(dev, &src, budget, z);
}

SAE_DECL_flat_topk(SAE_CUDA(flat_topk))
{
    sae_cuda_source src;
    TRY(sae_cuda_from_scores(s, &src));
    return pick_flat(dev, &src, budget, z);
}

/* ---- parts of codes -------------------------------------------------------------------------- */

static __global__ void pool_cuts(sae_cuda_cuts in, sae_cuda_rank rank, into_pool out,
                                 sae_cuda_answer *a)
{
    WARP_FOR(i, in.count * in.rows)
    {
        sae_cuda_cut_row row = in.row(i);
        for (int64_t from = 0; from < row.count; from += WARP) {
            int64_t e = from + lane_id();
            sae_real v = e < row.count ? row.val[e] : 0;
            bool stays = e < row.count && rank.key(v) > rank.floor;
            unsigned who = __ballot_sync(~0u, stays), below = who & ((1u << lane_id()) - 1);
            wide start = lane_id() == 0 ? atomicAdd(&a->used, (wide)__popc(who)) : 0;
            start = __shfl_sync(~0u, start, 0);
            if (stays)
                out.put((int64_t)start + __popc(below), row.row, (int32_t)(row.idx[e] + row.j0), v);
        }
    }
}

/* All parts have room in the pool: only then is it pruned. */
int sae_cuda_merge_flat(sae_device *dev, const sae_code_part *part, int count, enum sae_key key,
                        int64_t k, sae_code *z)
{
    flat f;
    sae_cuda_answer got;
    int64_t all = sae_cuda_cut_start(part, count);
    sae_cuda_source src = sae_cuda_source_of(key, z->B, z->n, z->n);
    TRY(begin_flat(dev, &src, all, k, z, &f));
    f.room = all;
    TRY(open_flat(&f));
    TRY(clear(&f, z));
    into_pool out = {f.in, z->n, f.room};
    TRY(sae_cuda_cuts_each(part, count, z->B, [&](const sae_cuda_cuts &in) {
        return LAUNCH(dev, pool_cuts, sae_cuda_cut_blocks(in), BLOCK, in, src.rank, out, f.a);
    }));
    TRY(sae_cuda_read(dev, &got, f.a, sizeof got));
    TRY(count_code(&f, &got, z));
    if (z->nnz == 0)
        return SAE_OK;
    return sae_cuda_replay(dev, [&] { return write_code(&f, z); }, src.rank, f.room, f.budget,
                           z->B, z->n, z->nnz, z->rowptr, z->idx, z->val, z->cap);
}
