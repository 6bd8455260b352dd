/* suite/kernels/cpu/select.c - selection over scores that exist as a matrix. */
#include "cpu/pick.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { COLUMNS = 512 }; /* columns that one task of col_topk follows down the rows */

static sae_cmat score_of(const sae_scores *s)
{
    return s->score.p ? s->score : s->value;
}

static void scan_row(sae_pick *p, sae_worker *w, sae_cmat score, int64_t r)
{
    const float *v = row_of(score, r);
    uint64_t nan;
    sae_pick_begin(p, w, 1);
    for (int64_t c = 0; c < score.cols; c += SAE_SCAN) {
        int count = (int)min_i64(SAE_SCAN, score.cols - c);
        const float *lo = p->lo_feature ? p->lo_feature + c : w->lo;
        uint64_t hit = p->simd->scan(v + c, count, p->mask, lo, p->lo_feature != NULL, &nan);
        w->nan += __builtin_popcountll(nan);
        for (; hit; hit &= hit - 1) {
            int64_t j = c + __builtin_ctzll(hit);
            sae_pick_take(p, w, 0, r, (int32_t)j, v[j]);
        }
    }
    sae_pick_end(p, w, 1);
}

static int pick_dense(sae_pick *p, const sae_scores *s, sae_code *z)
{
    sae_cmat score = score_of(s);
    PARALLEL_FOR(p->dev, r, score.rows, CHUNK_ROWS)
        scan_row(p, &p->worker[omp_get_thread_num()], score, r);
    return sae_pick_write(p, s->score.p ? &s->value : NULL, z);
}

static int open_dense(sae_pick *p, sae_device *dev, const sae_scores *s, enum sae_rule rule,
                      int64_t k, sae_code *z)
{
    int rc = bad_scores(s) ? SAE_EINVAL : sae_code_begin(z, s->value.rows, s->value.cols);
    return rc ? rc : sae_pick_open(p, dev, rule, s->key, k, 1, s->value.rows, s->value.cols);
}

SAE_DECL_row_topk(SAE_CPU(row_topk))
{
    sae_pick p;
    int rc = open_dense(&p, dev, s, SAE_PICK_ROWS, k, z);
    return rc ? rc : pick_dense(&p, s, z);
}

SAE_DECL_flat_topk(SAE_CPU(flat_topk))
{
    sae_pick p;
    int rc = open_dense(&p, dev, s, SAE_PICK_FLAT, budget, z);
    return rc ? rc : pick_dense(&p, s, z);
}

SAE_DECL_threshold(SAE_CPU(threshold))
{
    sae_pick p;
    int rc = open_dense(&p, dev, s, SAE_PICK_ABOVE, 0, z);
    if (!rc)
        rc = sae_pick_bounds(&p, theta, per_feature, z->n);
    if (rc)
        return rc;
    p.limit = z->cap;
    return pick_dense(&p, s, z);
}

/* ---- columns: a list and a bound per feature, rows in ascending order ------------------------ */

typedef struct columns {
    sae_pick pick; /* only what sae_keep_best needs */
    sae_cmat score;
    const int64_t *quota;
    int64_t *start;   /* [n + 1] of each feature's list */
    int64_t *fill;    /* [n] */
    float *lo;        /* [n] */
    sae_entry *list;
} columns;

static void take_column(columns *q, int64_t j, sae_entry e, uint32_t *key)
{
    int64_t room = q->start[j + 1] - q->start[j];
    sae_entry *list = q->list + q->start[j];
    if (q->fill[j] == room)
        q->fill[j] = sae_keep_best(&q->pick, list, room, q->quota[j], key, &q->lo[j]);
    list[q->fill[j]++] = e;
}

static int64_t scan_columns(columns *q, int64_t c0, int64_t c1, uint32_t *key)
{
    int64_t bad = 0;
    uint64_t nan;
    for (int64_t r = 0; r < q->score.rows; r++) {
        const float *v = row_of(q->score, r);
        for (int64_t c = c0; c < c1; c += SAE_SCAN) {
            int count = (int)min_i64(SAE_SCAN, c1 - c);
            uint64_t hit = q->pick.simd->scan(v + c, count, q->pick.mask, q->lo + c, 1, &nan);
            bad += __builtin_popcountll(nan);
            for (; hit; hit &= hit - 1) {
                int64_t j = c + __builtin_ctzll(hit);
                sae_entry e = {(int32_t)r, (int32_t)j, v[j]};
                take_column(q, j, e, key);
            }
        }
    }
    for (int64_t j = c0; j < c1; j++)
        q->fill[j] = sae_keep_best(&q->pick, q->list + q->start[j], q->fill[j], q->quota[j], key,
                                   &q->lo[j]);
    return bad;
}

static int open_columns(columns *q, sae_device *dev, int64_t n)
{
    int64_t rows = q->score.rows, longest = 0;
    q->start = sae_ws_shared(dev, ALL_CURSOR, 2 * n + 1, sizeof *q->start);
    q->lo = sae_ws_shared(dev, ALL_BOUNDS, n, sizeof *q->lo);
    if (!q->start || !q->lo)
        return SAE_ENOMEM;
    q->fill = q->start + n + 1;
    q->start[0] = 0;
    for (int64_t j = 0; j < n; j++) {
        if (q->quota[j] < 0)
            return SAE_EINVAL;
        int64_t room = q->quota[j] > rows / 2 ? rows : min_i64(rows, 2 * q->quota[j] + 16);
        if (q->quota[j] == 0)
            room = 0;
        q->start[j + 1] = q->start[j] + room;
        q->fill[j] = 0;
        q->lo[j] = room ? q->pick.floor : NAN;
        longest = room > longest ? room : longest;
    }
    q->list = sae_ws_shared(dev, ALL_ENTRIES, q->start[n], sizeof *q->list);
    int rc = sae_ws_reserve(dev, OWN_KEY, longest, sizeof(uint32_t));
    return q->list ? rc : SAE_ENOMEM;
}

/* Features ascending, so that a stable distribution by row leaves them so. */
static int write_columns(const columns *q, const sae_scores *s, sae_code *z)
{
    int64_t *cursor = z->rowptr;
    memset(cursor, 0, (size_t)(z->B + 1) * sizeof *cursor);
    for (int64_t j = 0; j < z->n; j++)
        for (int64_t i = 0; i < q->fill[j]; i++)
            cursor[q->list[q->start[j] + i].row + 1]++;
    for (int64_t r = 0; r < z->B; r++)
        cursor[r + 1] += cursor[r];
    z->nnz = cursor[z->B];
    if (z->nnz > z->cap)
        return SAE_ECAPACITY;
    for (int64_t j = 0; j < z->n; j++)
        for (int64_t i = 0; i < q->fill[j]; i++) {
            int64_t r = q->list[q->start[j] + i].row, o = cursor[r]++;
            z->idx[o] = (int32_t)j;
            z->val[o] = s->value.p[r * s->value.ld + j];
        }
    memmove(cursor + 1, cursor, (size_t)z->B * sizeof *cursor);
    cursor[0] = 0;
    return SAE_OK;
}

SAE_DECL_col_topk(SAE_CPU(col_topk))
{
    columns q = {.quota = quota};
    int rc = open_dense(&q.pick, dev, s, SAE_PICK_ABOVE, 0, z);
    q.score = score_of(s);
    if (!rc)
        rc = open_columns(&q, dev, z->n);
    if (rc)
        return rc;
    int64_t nan = 0;
    SAE_OMP(omp parallel for schedule(dynamic, 1) num_threads(dev->threads) reduction(+ : nan))
    for (int64_t c = 0; c < z->n; c += COLUMNS)
        nan += scan_columns(&q, c, min_i64(z->n, c + COLUMNS),
                            sae_ws_own(dev, omp_get_thread_num(), OWN_KEY));
    z->nan = nan;
    return write_columns(&q, s, z);
}

/* ---- prefixes: the best entries of a row, one at a time off a heap --------------------------- */

/* Rank and feature in one number: the larger, the better; the same order as every selection's. */
static uint64_t rank_of(float score, uint32_t mask, int64_t j)
{
    return (uint64_t)sae_key_of(score, mask) << 32 | (uint32_t)~j;
}

/* Let heap[i] sink to its place: parents are not smaller than their children. */
static void sink(uint64_t *heap, int64_t count, int64_t i)
{
    uint64_t v = heap[i];
    for (int64_t child; (child = 2 * i + 1) < count; i = child) {
        child += child + 1 < count && heap[child + 1] > heap[child];
        if (heap[child] <= v)
            break;
        heap[i] = heap[child];
    }
    heap[i] = v;
}

/* The rank of the last entry of the prefix. Norms only grow: the search ends at the target. */
static uint64_t last_of_prefix(uint64_t *heap, int64_t count, const float *score, double target,
                               int squared)
{
    double sum = 0, best = 0, gap = -1;
    uint64_t last = heap[0];
    for (int64_t i = count / 2; i-- > 0;)
        sink(heap, count, i);
    for (int64_t i = 0; count > 0 && !(gap >= 0); i++) {
        uint64_t top = heap[0];
        double v = (double)score[~(uint32_t)top];
        heap[0] = heap[--count];
        sink(heap, count, 0);
        sum += v * v;
        gap = SAE_REF(prefix_gap)(sum, target, squared);
        if (i == 0 || fabs(gap) < best) {
            best = fabs(gap);
            last = top;
        }
    }
    return last;
}

static void prefix_row(sae_pick *p, sae_worker *w, sae_cmat score, int64_t r, double target,
                       int squared)
{
    const float *v = row_of(score, r);
    uint64_t *heap = sae_ws_own(p->dev, w->thread, OWN_LIST);
    int64_t count = 0;
    for (int64_t j = 0; j < score.cols; j++) {
        int ok = p->mask >> 31 ? v[j] >= p->floor : fabsf(v[j]) >= p->floor;
        w->nan += v[j] != v[j];
        if (ok)
            heap[count++] = rank_of(v[j], p->mask, j);
    }
    if (count == 0)
        return;
    uint64_t last = last_of_prefix(heap, count, v, target, squared);
    for (int64_t j = 0; j < score.cols; j++)
        if (v[j] == v[j] && rank_of(v[j], p->mask, j) >= last)
            sae_pick_take(p, w, 0, r, (int32_t)j, v[j]);
}

SAE_DECL_row_prefix(SAE_CPU(row_prefix))
{
    sae_pick p;
    int rc = open_dense(&p, dev, s, SAE_PICK_ABOVE, 0, z);
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_LIST, s->value.cols, sizeof(uint64_t));
    if (rc)
        return rc;
    p.limit = z->cap;
    sae_cmat score = score_of(s);
    PARALLEL_FOR(dev, r, score.rows, CHUNK_ROWS)
        prefix_row(&p, &p.worker[omp_get_thread_num()], score, r, target[r], squared);
    return sae_pick_write(&p, s->score.p ? &s->value : NULL, z);
}
