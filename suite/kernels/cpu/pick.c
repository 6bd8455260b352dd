/* suite/kernels/cpu/pick.c - selections from a stream of candidates. */
#include "cpu/pick.h"

#include <float.h>
#include <math.h>
#include <string.h>

static float score_of_key(uint32_t key)
{
    uint32_t u = key >> 31 ? key & 0x7fffffffu : ~key;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* A bound that k keys reach, with *ge the number that do: exactly k if one separates them, else the
 * k-th largest key itself. 1 <= k <= n. */
static uint32_t separate(const sae_simd *s, const uint32_t *key, int64_t n, int64_t k, int64_t *ge)
{
    uint32_t some = 0, every = UINT32_MAX;
    for (int64_t i = 0; i < n; i++) {
        some |= key[i];
        every &= key[i];
    }
    /* Bits that all keys share need no search: they lead, above the first bit that differs. */
    uint32_t bit = some ^ every;
    bit = bit ? UINT32_C(1) << (31 - __builtin_clz(bit)) : 0;
    uint32_t bound = bit ? every & ~(2 * bit - 1) : every;
    *ge = n;
    for (; bit && *ge != k; bit >>= 1) {
        uint32_t trial = bound | bit;
        int64_t c = s->count_ge(key, n, trial);
        if (c >= k) {
            bound = trial;
            *ge = c;
        }
    }
    return bound;
}

/* Ranks below the score: of entries with equal scores the earliest position wins. */
typedef struct cut {
    uint32_t score, row, j; /* keys; row and j complemented, so that larger is better */
} cut;

static int passes(const sae_entry *e, uint32_t mask, const cut *c)
{
    uint32_t s = sae_key_of(e->v, mask), row = ~(uint32_t)e->row, j = ~(uint32_t)e->j;
    if (s != c->score)
        return s > c->score;
    return row != c->row ? row > c->row : j >= c->j;
}

/* More entries reach c->score than there is room for: cut among those that equal it. */
static void cut_ties(const sae_pick *p, const sae_entry *e, int64_t count, int64_t k, uint32_t *key,
                     cut *c)
{
    int64_t better = 0, n = 0, ge;
    for (int64_t i = 0; i < count; i++) {
        uint32_t s = sae_key_of(e[i].v, p->mask);
        better += s > c->score;
        if (s == c->score)
            key[n++] = ~(uint32_t)e[i].row;
    }
    int64_t need = k - better;
    c->row = separate(p->simd, key, n, need, &ge);
    if (ge == need) {
        /* Everything at or before this row: step over it so that j does not matter. */
        c->j = 0;
        return;
    }
    need -= c->row == UINT32_MAX ? 0 : p->simd->count_ge(key, n, c->row + 1);
    n = 0;
    for (int64_t i = 0; i < count; i++)
        if (sae_key_of(e[i].v, p->mask) == c->score && ~(uint32_t)e[i].row == c->row)
            key[n++] = ~(uint32_t)e[i].j;
    c->j = separate(p->simd, key, n, need, &ge);
}

int64_t sae_keep_best(const sae_pick *p, sae_entry *e, int64_t count, int64_t k, uint32_t *key,
                      float *lo)
{
    if (count <= k)
        return count;
    if (k == 0) {
        *lo = NAN;
        return 0;
    }
    int64_t ge, kept = 0;
    for (int64_t i = 0; i < count; i++)
        key[i] = sae_key_of(e[i].v, p->mask);
    cut c = {separate(p->simd, key, count, k, &ge), 0, 0};
    if (ge > k)
        cut_ties(p, e, count, k, key, &c);
    for (int64_t i = 0; i < count; i++)
        if (passes(&e[i], p->mask, &c))
            e[kept++] = e[i];
    float bound = score_of_key(c.score);
    if (!(*lo >= bound)) /* a separating bound may lie below the smallest eligible score */
        *lo = bound;
    return kept;
}

/* The largest number of candidates a list needs so that compacting it costs little. */
static int64_t room_for(int64_t k, int64_t most)
{
    return k > (most - 64) / 2 ? most : 2 * k + 64;
}

int sae_pick_open(sae_pick *p, sae_device *dev, enum sae_rule rule, enum sae_key key, int64_t k,
                  int64_t rows_max, int64_t rows, int64_t cols)
{
    int64_t all;
    if (k < 0 || rows > INT32_MAX)
        return SAE_EINVAL;
    if (__builtin_mul_overflow(rows, cols, &all))
        return SAE_ENOMEM;
    memset(p, 0, sizeof *p);
    p->dev = dev;
    p->simd = simd_of(dev);
    p->rule = rule;
    p->mask = key == SAE_KEY_ABS ? 0x7fffffffu : 0xffffffffu;
    p->floor = key == SAE_KEY_VALUE ? -INFINITY : FLT_TRUE_MIN;
    p->k = min_i64(k, rule == SAE_PICK_ROWS ? cols : all);
    p->room = room_for(p->k, rule == SAE_PICK_ROWS ? cols : all);
    p->rows_max = rows_max;
    p->limit = INT64_MAX;
    p->worker = sae_ws_shared(dev, ALL_WORKERS, dev->threads, sizeof *p->worker);
    int rc = p->worker ? SAE_OK : SAE_ENOMEM;
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_BOUND, rows_max, sizeof(float) + sizeof(int64_t));
    if (!rc && rule == SAE_PICK_ROWS)
        rc = sae_ws_reserve(dev, OWN_LIST, rows_max * p->room, sizeof(sae_entry));
    if (!rc && rule != SAE_PICK_ABOVE)
        rc = sae_ws_reserve(dev, OWN_KEY, p->room, sizeof(uint32_t));
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_POOL, rule == SAE_PICK_FLAT ? p->room : 1, sizeof(sae_entry));
    for (int t = 0; t < dev->threads && !rc; t++) {
        sae_worker w = {.thread = t, .pool = sae_ws_own(dev, t, OWN_POOL)};
        w.cap = (int64_t)(dev->own[t][OWN_POOL].bytes / sizeof(sae_entry));
        w.list = sae_ws_own(dev, t, OWN_LIST);
        w.fill = sae_ws_own(dev, t, OWN_BOUND);
        w.lo = (float *)(w.fill + rows_max);
        w.key = sae_ws_own(dev, t, OWN_KEY);
        p->worker[t] = w;
    }
    return rc;
}

/* The smallest float whose score is above theta, or NaN if there is none. */
static float above(double theta, float floor)
{
    if (!(theta < (double)INFINITY))
        return NAN;
    float f = (float)theta;
    if ((double)f > theta && f > -INFINITY)
        f = nextafterf(f, -INFINITY);
    f = nextafterf(f, INFINITY); /* f was the largest float <= theta */
    return f > floor ? f : floor;
}

int sae_pick_bounds(sae_pick *p, double theta, const double *per_feature, int64_t n)
{
    p->lo_all = per_feature ? p->floor : above(theta, p->floor);
    if (!per_feature)
        return SAE_OK;
    float *lo = sae_ws_shared(p->dev, ALL_BOUNDS, n, sizeof *lo);
    if (!lo)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < n; j++)
        lo[j] = above(per_feature[j], p->floor);
    p->lo_feature = lo;
    return SAE_OK;
}

static void fill(float *lo, int64_t n, float v)
{
    for (int64_t i = 0; i < n; i++)
        lo[i] = v;
}

static float flat_bound(const sae_pick *p)
{
    uint32_t key = __atomic_load_n(&p->shared, __ATOMIC_RELAXED);
    return key ? score_of_key(key) : p->floor;
}

void sae_pick_begin(const sae_pick *p, sae_worker *w, int64_t rows)
{
    float lo = p->floor;
    if (p->k == 0 && p->rule != SAE_PICK_ABOVE)
        lo = NAN;
    else if (p->rule == SAE_PICK_FLAT)
        lo = flat_bound(p);
    else if (p->rule == SAE_PICK_ABOVE)
        lo = p->lo_all;
    fill(w->lo, rows, lo);
    memset(w->fill, 0, (size_t)rows * sizeof *w->fill);
}

/* Raise the bound all workers share; flat pools hold p->k entries at least this good. */
static void publish(sae_pick *p, float lo)
{
    uint32_t key = sae_key_of(lo, UINT32_MAX);
    uint32_t old = __atomic_load_n(&p->shared, __ATOMIC_RELAXED);
    while (key > old && !__atomic_compare_exchange_n(&p->shared, &old, key, 1, __ATOMIC_RELAXED,
                                                     __ATOMIC_RELAXED))
        ;
}

static int extend(sae_pick *p, sae_worker *w, int64_t count)
{
    sae_entry *pool = sae_ws_extend(p->dev, w->thread, OWN_POOL, count, sizeof *pool);
    if (!pool) {
        w->rc = SAE_ENOMEM;
        return 0;
    }
    w->pool = pool;
    w->cap = (int64_t)(p->dev->own[w->thread][OWN_POOL].bytes / sizeof *pool);
    return 1;
}

static void take_row(sae_pick *p, sae_worker *w, int64_t local, sae_entry e)
{
    sae_entry *list = w->list + local * p->room;
    if (w->fill[local] == p->room)
        w->fill[local] = sae_keep_best(p, list, p->room, p->k, w->key, &w->lo[local]);
    list[w->fill[local]++] = e;
}

static void take_flat(sae_pick *p, sae_worker *w, sae_entry e)
{
    if (w->count == p->room) {
        float lo = p->floor;
        w->count = sae_keep_best(p, w->pool, p->room, p->k, w->key, &lo);
        publish(p, lo);
        fill(w->lo, p->rows_max, flat_bound(p));
    }
    w->pool[w->count++] = e;
}

void sae_pick_take_any(sae_pick *p, sae_worker *w, int64_t local, sae_entry e)
{
    if (p->rule == SAE_PICK_ROWS) {
        take_row(p, w, local, e);
    } else if (p->rule == SAE_PICK_FLAT) {
        take_flat(p, w, e);
    } else if (w->count >= p->limit) {
        w->dropped++;
    } else if (w->count < w->cap || extend(p, w, w->count + 1)) {
        w->pool[w->count++] = e;
    }
}

void sae_pick_end(sae_pick *p, sae_worker *w, int64_t rows)
{
    if (p->rule != SAE_PICK_ROWS)
        return;
    for (int64_t r = 0; r < rows && !w->rc; r++) {
        sae_entry *list = w->list + r * p->room;
        int64_t count = sae_keep_best(p, list, w->fill[r], p->k, w->key, &w->lo[r]);
        if (w->count + count > w->cap && !extend(p, w, w->count + count))
            return;
        if (count)
            memcpy(w->pool + w->count, list, (size_t)count * sizeof *list);
        w->count += count;
    }
}

/* FLAT: the best of all pools, in the pool of an artificial worker. */
static int join_pools(sae_pick *p, sae_worker *out)
{
    int64_t total = 0, at = 0;
    for (int t = 0; t < p->dev->threads; t++)
        total += p->worker[t].count;
    sae_entry *e = sae_ws_shared(p->dev, ALL_ENTRIES, total, sizeof *e);
    uint32_t *key = sae_ws_shared(p->dev, ALL_KEYS, total, sizeof *key);
    if (!e || !key)
        return SAE_ENOMEM;
    for (int t = 0; t < p->dev->threads; t++) {
        const sae_worker *w = &p->worker[t];
        if (w->count)
            memcpy(e + at, w->pool, (size_t)w->count * sizeof *e);
        at += w->count;
    }
    float lo = p->floor;
    out->pool = e;
    out->count = sae_keep_best(p, e, total, p->k, key, &lo);
    return SAE_OK;
}

int sae_code_begin(sae_code *z, int64_t rows, int64_t n)
{
    if (z->dense)
        return SAE_EINVAL;
    z->B = rows;
    z->n = n;
    z->nnz = z->nan = 0;
    return SAE_OK;
}

/* Pools hold disjoint sets of rows, so that each cursor has one writer. */
static void scatter(const sae_worker *w, const sae_cmat *value, int64_t *cursor, sae_code *z)
{
    for (int64_t i = 0; i < w->count; i++) {
        const sae_entry *e = &w->pool[i];
        int64_t o = cursor[e->row]++;
        z->idx[o] = e->j;
        z->val[o] = value ? value->p[e->row * value->ld + e->j] : e->v;
    }
}

int sae_pick_write(sae_pick *p, const sae_cmat *value, sae_code *z)
{
    sae_worker joined = {0};
    const sae_worker *pool = p->worker;
    int pools = p->dev->threads;
    int64_t dropped = 0;
    for (int t = 0; t < pools; t++) {
        if (p->worker[t].rc)
            return p->worker[t].rc;
        z->nan += p->worker[t].nan;
        dropped += p->worker[t].dropped;
    }
    if (p->rule == SAE_PICK_FLAT) {
        int rc = join_pools(p, &joined);
        if (rc)
            return rc;
        pool = &joined;
        pools = 1;
    }
    int64_t *cursor = sae_ws_shared(p->dev, ALL_CURSOR, z->B, sizeof *cursor);
    if (!cursor)
        return SAE_ENOMEM;
    memset(cursor, 0, (size_t)z->B * sizeof *cursor);
    for (int t = 0; t < pools; t++)
        for (int64_t i = 0; i < pool[t].count; i++)
            cursor[pool[t].pool[i].row]++;
    z->rowptr[0] = 0;
    for (int64_t r = 0; r < z->B; r++) {
        z->rowptr[r + 1] = z->rowptr[r] + cursor[r];
        cursor[r] = z->rowptr[r];
    }
    z->nnz = z->rowptr[z->B] + dropped;
    if (z->nnz > z->cap)
        return SAE_ECAPACITY;
    PARALLEL_FOR(p->dev, t, pools, 1)
        scatter(&pool[t], value, cursor, z);
    return SAE_OK;
}
