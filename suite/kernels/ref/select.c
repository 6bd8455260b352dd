/* suite/kernels/ref/select.c - selection over given scores and over the output of an encoder.
 *
 * Every selection lists its eligible entries, sorts them by rank, cuts, sorts what is left by
 * position and writes the code.
 */
#include "ref/ref.h"

#include <math.h>
#include <stdlib.h>

/* Where the rows to select from come from: exactly one of s and e is set. */
typedef struct source {
    const sae_scores *s;
    const sae_encoder *e;
    enum sae_key key;
    int64_t rows, cols, n; /* cols < n when the encoder has a subset */
    sae_real *buf;         /* [cols] a row of the encoder's output */
} source;

typedef struct entry {
    double score;
    sae_real value;
    int32_t j;
    int64_t row;
} entry;

typedef struct list {
    entry *p;
    int64_t count, nan;
} list;

enum { SLOT_ROW, SLOT_LIST };

/* Row r of (x - shift) w^T + bias. x - shift is rounded to sae_real: implementations copy it. */
static void encode_row(const sae_encoder *e, int64_t r, sae_real *out)
{
    const sae_real *x = row_of(e->x, r);
    for (int64_t c = 0; c < encoder_cols(e); c++) {
        int64_t j = e->subset ? e->subset[c] : c;
        const sae_real *w = row_of(e->w, j);
        double s = 0;
        for (int64_t i = 0; i < e->x.cols; i++) {
            sae_real shifted = e->shift ? x[i] - e->shift[i] : x[i];
            s += (double)shifted * (double)w[i];
        }
        out[c] = (sae_real)(e->bias ? s + (double)e->bias[j] : s);
    }
}

static int from_encoder(sae_device *dev, const sae_encoder *e, enum sae_key key, source *out)
{
    if (bad_encoder(e))
        return SAE_EINVAL;
    source s = {NULL, e, key, e->x.rows, encoder_cols(e), e->w.rows, NULL};
    s.buf = sae_ws_shared(dev, SLOT_ROW, s.cols, sizeof *s.buf);
    *out = s;
    return s.buf ? SAE_OK : SAE_ENOMEM;
}

static int from_scores(const sae_scores *s, source *out)
{
    if (bad_scores(s))
        return SAE_EINVAL;
    source o = {s, NULL, s->key, s->value.rows, s->value.cols, s->value.cols, NULL};
    *out = o;
    return SAE_OK;
}

/* The largest list a call can need: `rows` rows of candidates. */
static int open_list(sae_device *dev, const source *s, int64_t rows, list *l)
{
    int64_t count;
    if (__builtin_mul_overflow(rows, s->cols, &count))
        return SAE_ENOMEM;
    l->p = sae_ws_shared(dev, SLOT_LIST, count, sizeof *l->p);
    l->count = l->nan = 0;
    return l->p ? SAE_OK : SAE_ENOMEM;
}

/* Eligible by key; *score is what ranks. */
static int rank_of(enum sae_key key, double v, double *score)
{
    *score = key == SAE_KEY_ABS && v < 0 ? -v : v;
    if (v != v)
        return 0;
    return key == SAE_KEY_VALUE || (key == SAE_KEY_RELU ? v > 0 : v != 0);
}

/* Append the eligible entries of row r. */
static void list_row(const source *s, int64_t r, list *l)
{
    const sae_real *value = s->buf, *score = s->buf;
    if (s->e) {
        encode_row(s->e, r, s->buf);
    } else {
        value = row_of(s->s->value, r);
        score = s->s->score.p ? row_of(s->s->score, r) : value;
    }
    for (int64_t c = 0; c < s->cols; c++) {
        entry t = {0, value[c], (int32_t)c, r};
        if (s->e && s->e->subset)
            t.j = s->e->subset[c];
        l->nan += score[c] != score[c];
        if (rank_of(s->key, (double)score[c], &t.score))
            l->p[l->count++] = t;
    }
}

static int by_position(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->j > y->j) - (x->j < y->j);
}

static int by_rank(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return by_position(a, b);
}

static int by_feature(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->j != y->j)
        return x->j < y->j ? -1 : 1;
    return by_rank(a, b);
}

static void sort_entries(entry *p, int64_t count, int (*order)(const void *, const void *))
{
    if (count > 1)
        qsort(p, (size_t)count, sizeof *p, order);
}

/* Keep the k best of p[0..count), in order of position. */
static int64_t keep_best(entry *p, int64_t count, int64_t k)
{
    sort_entries(p, count, by_rank);
    if (count > k)
        count = k;
    sort_entries(p, count, by_position);
    return count;
}

static int begin_code(sae_code *z, const source *s)
{
    if (z->dense)
        return SAE_EINVAL;
    z->B = s->rows;
    z->n = s->n;
    z->nnz = z->nan = 0;
    z->rowptr[0] = 0;
    return SAE_OK;
}

/* Entries past the capacity are counted, not written. */
static void put(sae_code *z, const entry *t)
{
    if (z->nnz < z->cap) {
        z->idx[z->nnz] = t->j;
        z->val[z->nnz] = t->value;
    }
    z->nnz++;
}

static int end_code(const sae_code *z)
{
    return z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}

static int pick_rows(sae_device *dev, const source *s, int64_t k, sae_code *z)
{
    list l;
    int rc = k < 0 ? SAE_EINVAL : begin_code(z, s);
    if (!rc)
        rc = open_list(dev, s, 1, &l);
    if (rc)
        return rc;
    for (int64_t r = 0; r < s->rows; r++) {
        l.count = 0;
        list_row(s, r, &l);
        l.count = keep_best(l.p, l.count, k);
        for (int64_t i = 0; i < l.count; i++)
            put(z, &l.p[i]);
        z->rowptr[r + 1] = z->nnz;
    }
    z->nan = l.nan;
    return end_code(z);
}

/* Write a list that is sorted by position. */
static int write_list(const list *l, sae_code *z)
{
    int64_t i = 0;
    for (int64_t r = 0; r < z->B; r++) {
        for (; i < l->count && l->p[i].row == r; i++)
            put(z, &l->p[i]);
        z->rowptr[r + 1] = z->nnz;
    }
    z->nan = l->nan;
    return end_code(z);
}

static int list_all(sae_device *dev, const source *s, sae_code *z, list *l)
{
    int rc = begin_code(z, s);
    if (!rc)
        rc = open_list(dev, s, s->rows, l);
    if (rc)
        return rc;
    for (int64_t r = 0; r < s->rows; r++)
        list_row(s, r, l);
    return SAE_OK;
}

static int pick_flat(sae_device *dev, const source *s, int64_t budget, sae_code *z)
{
    list l;
    int rc = budget < 0 ? SAE_EINVAL : list_all(dev, s, z, &l);
    if (rc)
        return rc;
    l.count = keep_best(l.p, l.count, budget);
    return write_list(&l, z);
}

static int pick_above(sae_device *dev, const source *s, double theta, const double *per_feature,
                      sae_code *z)
{
    list l;
    int rc = begin_code(z, s);
    if (!rc)
        rc = open_list(dev, s, 1, &l);
    if (rc)
        return rc;
    for (int64_t r = 0; r < s->rows; r++) {
        l.count = 0;
        list_row(s, r, &l);
        for (int64_t i = 0; i < l.count; i++)
            if (l.p[i].score > (per_feature ? per_feature[l.p[i].j] : theta))
                put(z, &l.p[i]);
        z->rowptr[r + 1] = z->nnz;
    }
    z->nan = l.nan;
    return end_code(z);
}

SAE_DECL_encode_topk(SAE_REF(encode_topk))
{
    source s;
    int rc = from_encoder(dev, e, key, &s);
    return rc ? rc : pick_rows(dev, &s, k, z);
}

SAE_DECL_encode_flat_topk(SAE_REF(encode_flat_topk))
{
    source s;
    int rc = from_encoder(dev, e, key, &s);
    return rc ? rc : pick_flat(dev, &s, budget, z);
}

SAE_DECL_encode_threshold(SAE_REF(encode_threshold))
{
    source s;
    int rc = from_encoder(dev, e, key, &s);
    return rc ? rc : pick_above(dev, &s, theta, per_feature, z);
}

SAE_DECL_encode_dense(SAE_REF(encode_dense))
{
    (void)dev;
    if (bad_encoder(e) || !has_shape(as_const(pre), e->x.rows, encoder_cols(e)))
        return SAE_EINVAL;
    for (int64_t r = 0; r < e->x.rows; r++)
        encode_row(e, r, pre.p + r * pre.ld);
    return SAE_OK;
}

SAE_DECL_row_topk(SAE_REF(row_topk))
{
    source src;
    int rc = from_scores(s, &src);
    return rc ? rc : pick_rows(dev, &src, k, z);
}

SAE_DECL_flat_topk(SAE_REF(flat_topk))
{
    source src;
    int rc = from_scores(s, &src);
    return rc ? rc : pick_flat(dev, &src, budget, z);
}

SAE_DECL_threshold(SAE_REF(threshold))
{
    source src;
    int rc = from_scores(s, &src);
    return rc ? rc : pick_above(dev, &src, theta, per_feature, z);
}

SAE_DECL_col_topk(SAE_REF(col_topk))
{
    source src;
    list l;
    int rc = from_scores(s, &src);
    for (int64_t j = 0; !rc && j < src.cols; j++)
        rc = quota[j] < 0 ? SAE_EINVAL : SAE_OK;
    if (!rc)
        rc = list_all(dev, &src, z, &l);
    if (rc)
        return rc;
    sort_entries(l.p, l.count, by_feature);
    int64_t kept = 0, rank = 0;
    for (int64_t i = 0; i < l.count; i++) {
        rank = i && l.p[i].j == l.p[i - 1].j ? rank + 1 : 0;
        if (rank < quota[l.p[i].j])
            l.p[kept++] = l.p[i];
    }
    l.count = kept;
    sort_entries(l.p, l.count, by_position);
    return write_list(&l, z);
}

double SAE_REF(prefix_gap)(double sum, double target, int squared)
{
    return squared ? sum - target * target : sqrt(sum) - target;
}

/* How many of the ranked entries p[0..count) make a norm nearest to the target. */
static int64_t prefix_length(const entry *p, int64_t count, double target, int squared)
{
    double sum = 0, best = 0;
    int64_t length = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += p[i].score * p[i].score;
        double off = fabs(SAE_REF(prefix_gap)(sum, target, squared));
        if (i == 0 || off < best) {
            best = off;
            length = i + 1;
        }
    }
    return length;
}

SAE_DECL_row_prefix(SAE_REF(row_prefix))
{
    source src;
    list l;
    int rc = from_scores(s, &src);
    if (!rc)
        rc = begin_code(z, &src);
    if (!rc)
        rc = open_list(dev, &src, 1, &l);
    if (rc)
        return rc;
    for (int64_t r = 0; r < src.rows; r++) {
        l.count = 0;
        list_row(&src, r, &l);
        sort_entries(l.p, l.count, by_rank);
        l.count = prefix_length(l.p, l.count, target[r], squared);
        sort_entries(l.p, l.count, by_position);
        for (int64_t i = 0; i < l.count; i++)
            put(z, &l.p[i]);
        z->rowptr[r + 1] = z->nnz;
    }
    z->nan = l.nan;
    return end_code(z);
}

/* ---- parts of codes -------------------------------------------------------------------------- */

/* Append the entries of a row of the whole; of_rank: the eligible ones. */
static void list_parts(const sae_code_part *part, int count, int64_t row, enum sae_key key,
                       int of_rank, list *l)
{
    for (int p = 0; p < count; p++) {
        const sae_code *z = &part[p].z;
        int64_t r = row - part[p].row0;
        if (r < 0 || r >= z->B)
            continue;
        for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++) {
            entry t = {0, z->val[i], (int32_t)(z->idx[i] + part[p].j0), row};
            if (rank_of(key, (double)t.value, &t.score) || !of_rank)
                l->p[l->count++] = t;
        }
    }
}

static int open_merge(sae_device *dev, const sae_code_part *part, int count, sae_code *z, list *l)
{
    int64_t room = 0;
    l->count = l->nan = 0;
    for (int p = 0; p < count; p++) {
        room += part[p].z.rowptr[part[p].z.B] - part[p].z.rowptr[0];
        l->nan += part[p].z.nan;
    }
    z->nnz = z->nan = z->rowptr[0] = 0;
    l->p = sae_ws_shared(dev, SLOT_LIST, room, sizeof *l->p);
    return l->p ? SAE_OK : SAE_ENOMEM;
}

SAE_DECL_code_merge(SAE_REF(code_merge))
{
    list l;
    int rc = bad_merge(part, count, how, k, z) ? SAE_EINVAL : open_merge(dev, part, count, z, &l);
    if (rc)
        return rc;
    for (int64_t r = 0; r < z->B; r++) {
        int64_t first = l.count;
        list_parts(part, count, r, key, how != SAE_MERGE_ALL, &l);
        if (how == SAE_MERGE_ROWS)
            l.count = first + keep_best(l.p + first, l.count - first, k);
    }
    if (how == SAE_MERGE_FLAT)
        l.count = keep_best(l.p, l.count, k);
    return write_list(&l, z);
}
