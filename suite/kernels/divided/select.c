/* suite/kernels/divided/select.c - selections: every device picks from its range of features or
 * rows, the lead merges what they picked.
 *
 * The k best of all are among the k best of every range.
 */
#include "divided/parts.h"

#define WHOLE(d, op, ...) (d)->k->op((d)->dev[0], __VA_ARGS__)

/* ---- parts of a code ------------------------------------------------------------------------- */

/* A selection by parts of [0, length): the work of device i fills d->part[i]. */
typedef struct pick {
    int64_t length;      /* features or rows to divide */
    int by_rows, shifts; /* shifts: features of a part are counted from its first one */
    sae_part_work *work;
    const void *arg;
    enum sae_merge how;
    enum sae_key key;
    int64_t k;
} pick;

static int grow(sae_divided *d, void **p, int64_t count, size_t size)
{
    size_t bytes;
    sae_device *lead = d->dev[0];
    if (__builtin_mul_overflow((size_t)count, size, &bytes))
        return SAE_ENOMEM;
    d->be->release(lead, *p);
    *p = d->be->alloc(lead, bytes);
    return *p ? SAE_OK : SAE_ENOMEM;
}

/* Room for a part: `rows` rows, `cap` entries. Nobody uses the part now. */
static int make_room(sae_divided *d, int i, int64_t rows, int64_t cap)
{
    sae_code *z = &d->part[i];
    void *rowptr = z->rowptr, *idx = z->idx, *val = z->val;
    int more_rows = d->rows[i] <= rows, more = !idx || z->cap < cap, rc = SAE_OK;
    if (more_rows)
        rc = grow(d, &rowptr, rows + 1, sizeof *z->rowptr);
    if (rc >= 0 && more)
        rc = grow(d, &idx, cap, sizeof *z->idx);
    if (rc >= 0 && more)
        rc = grow(d, &val, cap, sizeof *z->val);
    z->rowptr = rowptr;
    z->idx = idx;
    z->val = val;
    if (more_rows)
        d->rows[i] = rowptr ? rows + 1 : 0;
    if (more)
        z->cap = rc >= 0 ? cap : 0;
    return rc;
}

/* Room for the parts of a result of z's size: what they needed the last time is there. */
static int begin_parts(sae_divided *d, const pick *p, const sae_code *z)
{
    int64_t cap = p->how == SAE_MERGE_ALL ? z->cap / d->count : z->cap;
    for (int i = 0; i < d->count; i++) {
        int rc = make_room(d, i, z->B, cap);
        if (rc < 0)
            return rc;
        d->part[i].nnz = d->part[i].nan = d->part[i].B = 0;
    }
    return SAE_OK;
}

static int64_t picked(const sae_divided *d)
{
    int64_t sum = 0;
    for (int i = 0; i < d->count; i++)
        sum += d->part[i].nnz;
    return sum;
}

/* d->part = what every device picks; z says what there is room for. */
static int pick_parts(sae_divided *d, const pick *p, sae_code *z)
{
    int rc = begin_parts(d, p, z);
    while (rc >= 0) {
        rc = sae_divide(d, p->length, p->work, p->arg);
        if (rc != SAE_ECAPACITY)
            return rc;
        z->nnz = picked(d);
        if (p->how == SAE_MERGE_ALL && z->nnz > z->cap)
            return rc;
        rc = SAE_OK;
        for (int i = 0; i < d->count && rc >= 0; i++) {
            int64_t need = d->part[i].nnz;
            if (need > d->part[i].cap) /* and some more: of a threshold it may grow every step */
                rc = make_room(d, i, z->B, need + need / 4);
        }
    }
    return rc;
}

/* z [B x n] = what the devices pick, merged. */
static int pick_code(sae_divided *d, const pick *p, int64_t B, int64_t n, sae_code *z)
{
    sae_code_part whole[SAE_DIVIDED_MOST];
    int count = 0;
    z->B = B;
    z->n = n;
    int rc = pick_parts(d, p, z);
    if (rc < 0)
        return rc;
    for (int i = 0; i < d->count; i++) {
        int64_t from = sae_part_start(d, p->length, i);
        if (d->part[i].B == 0)
            continue;
        whole[count].z = d->part[i];
        whole[count].row0 = p->by_rows ? from : 0;
        whole[count++].j0 = p->shifts ? from : 0;
    }
    return WHOLE(d, code_merge, whole, count, p->how, p->key, p->k, z);
}

/* ---- encoders: ranges of features ------------------------------------------------------------ */

typedef struct encode_args {
    const sae_encoder *e;
    enum sae_key key;
    int64_t k; /* or the budget */
    double theta;
    const double *per_feature;
    sae_mat pre;
} encode_args;

/* The encoder of the part's features. Those of a subset keep their numbers. */
static sae_encoder features_of(const sae_part *p, const sae_encoder *e)
{
    sae_encoder part = *e;
    if (e->subset) {
        part.subset += p->from;
        part.m = p->to - p->from;
        return part;
    }
    part.w = sae_part_rows(p, e->w);
    part.bias = e->bias ? e->bias + p->from : NULL;
    return part;
}

static int topk_part(const sae_part *p, const void *arg)
{
    const encode_args *a = arg;
    sae_encoder e = features_of(p, a->e);
    return p->k->encode_topk(p->dev, &e, a->key, a->k, &p->d->part[p->device]);
}

static int flat_part(const sae_part *p, const void *arg)
{
    const encode_args *a = arg;
    sae_encoder e = features_of(p, a->e);
    return p->k->encode_flat_topk(p->dev, &e, a->key, a->k, &p->d->part[p->device]);
}

static int threshold_part(const sae_part *p, const void *arg)
{
    const encode_args *a = arg;
    sae_encoder e = features_of(p, a->e);
    int64_t first = a->e->subset ? 0 : p->from;
    return p->k->encode_threshold(p->dev, &e, a->key, a->theta,
                                  a->per_feature ? a->per_feature + first : NULL,
                                  &p->d->part[p->device]);
}

/* 1: the lead's alone, or in error, which it says. */
static int is_whole(const sae_divided *d, const sae_encoder *e, int64_t k, const sae_code *z)
{
    return bad_encoder(e) || k < 0 || z->dense || sae_is_small(d, e->x.rows, encoder_cols(e));
}

static int pick_features(sae_divided *d, const encode_args *a, sae_part_work *work,
                         enum sae_merge how, sae_code *z)
{
    pick p = {.length = encoder_cols(a->e), .shifts = !a->e->subset, .work = work, .arg = a,
              .how = how, .key = a->key, .k = a->k};
    return pick_code(d, &p, a->e->x.rows, a->e->w.rows, z);
}

SAE_DECL_encode_topk(SAE_DIVIDED(encode_topk))
{
    sae_divided *d = sae_divided_of(dev);
    encode_args a = {.e = e, .key = key, .k = k};
    if (is_whole(d, e, k, z))
        return WHOLE(d, encode_topk, e, key, k, z);
    return pick_features(d, &a, topk_part, SAE_MERGE_ROWS, z);
}

SAE_DECL_encode_flat_topk(SAE_DIVIDED(encode_flat_topk))
{
    sae_divided *d = sae_divided_of(dev);
    encode_args a = {.e = e, .key = key, .k = budget};
    if (is_whole(d, e, budget, z))
        return WHOLE(d, encode_flat_topk, e, key, budget, z);
    return pick_features(d, &a, flat_part, SAE_MERGE_FLAT, z);
}

SAE_DECL_encode_threshold(SAE_DIVIDED(encode_threshold))
{
    sae_divided *d = sae_divided_of(dev);
    encode_args a = {.e = e, .key = key, .theta = theta, .per_feature = per_feature};
    if (is_whole(d, e, 0, z))
        return WHOLE(d, encode_threshold, e, key, theta, per_feature, z);
    return pick_features(d, &a, threshold_part, SAE_MERGE_ALL, z);
}

static int dense_part(const sae_part *p, const void *arg)
{
    const encode_args *a = arg;
    sae_encoder e = features_of(p, a->e);
    return p->k->encode_dense(p->dev, &e, sae_part_out_cols(p, a->pre));
}

SAE_DECL_encode_dense(SAE_DIVIDED(encode_dense))
{
    sae_divided *d = sae_divided_of(dev);
    encode_args a = {.e = e, .pre = pre};
    if (bad_encoder(e) || !has_shape(as_const(pre), e->x.rows, encoder_cols(e)) ||
        sae_is_small(d, pre.rows, pre.cols))
        return WHOLE(d, encode_dense, e, pre);
    return sae_divide(d, pre.cols, dense_part, &a);
}

/* ---- given scores: ranges of rows, for col_topk of features ---------------------------------- */

typedef struct score_args {
    const sae_scores *s;
    int64_t k;
    double theta;
    const double *per_feature, *target;
    const int64_t *quota;
    int squared;
} score_args;

static int is_whole_scores(const sae_divided *d, const sae_scores *s, int64_t k, const sae_code *z)
{
    return bad_scores(s) || k < 0 || z->dense || sae_is_small(d, s->value.rows, s->value.cols);
}

static sae_scores rows_of(const sae_part *p, const sae_scores *s)
{
    sae_scores part = {sae_part_rows(p, s->value), sae_part_rows(p, s->score), s->key};
    return part;
}

static int pick_scores(sae_divided *d, const score_args *a, sae_part_work *work, int by_rows,
                       enum sae_merge how, sae_code *z)
{
    sae_cmat m = a->s->value;
    pick p = {.length = by_rows ? m.rows : m.cols, .by_rows = by_rows, .shifts = !by_rows,
              .work = work, .arg = a, .how = how, .key = a->s->key, .k = a->k};
    return pick_code(d, &p, m.rows, m.cols, z);
}

static int row_topk_part(const sae_part *p, const void *arg)
{
    const score_args *a = arg;
    sae_scores s = rows_of(p, a->s);
    return p->k->row_topk(p->dev, &s, a->k, &p->d->part[p->device]);
}

SAE_DECL_row_topk(SAE_DIVIDED(row_topk))
{
    sae_divided *d = sae_divided_of(dev);
    score_args a = {.s = s, .k = k};
    if (is_whole_scores(d, s, k, z))
        return WHOLE(d, row_topk, s, k, z);
    return pick_scores(d, &a, row_topk_part, 1, SAE_MERGE_ALL, z);
}

static int flat_topk_part(const sae_part *p, const void *arg)
{
    const score_args *a = arg;
    sae_scores s = rows_of(p, a->s);
    return p->k->flat_topk(p->dev, &s, a->k, &p->d->part[p->device]);
}

/* What is merged is ranked by its values: with scores beside them it is the lead's. */
SAE_DECL_flat_topk(SAE_DIVIDED(flat_topk))
{
    sae_divided *d = sae_divided_of(dev);
    score_args a = {.s = s, .k = budget};
    if (is_whole_scores(d, s, budget, z) || s->score.p)
        return WHOLE(d, flat_topk, s, budget, z);
    return pick_scores(d, &a, flat_topk_part, 1, SAE_MERGE_FLAT, z);
}

static int above_part(const sae_part *p, const void *arg)
{
    const score_args *a = arg;
    sae_scores s = rows_of(p, a->s);
    return p->k->threshold(p->dev, &s, a->theta, a->per_feature, &p->d->part[p->device]);
}

SAE_DECL_threshold(SAE_DIVIDED(threshold))
{
    sae_divided *d = sae_divided_of(dev);
    score_args a = {.s = s, .theta = theta, .per_feature = per_feature};
    if (is_whole_scores(d, s, 0, z))
        return WHOLE(d, threshold, s, theta, per_feature, z);
    return pick_scores(d, &a, above_part, 1, SAE_MERGE_ALL, z);
}

static int prefix_part(const sae_part *p, const void *arg)
{
    const score_args *a = arg;
    sae_scores s = rows_of(p, a->s);
    return p->k->row_prefix(p->dev, &s, a->target + p->from, a->squared, &p->d->part[p->device]);
}

SAE_DECL_row_prefix(SAE_DIVIDED(row_prefix))
{
    sae_divided *d = sae_divided_of(dev);
    score_args a = {.s = s, .target = target, .squared = squared};
    if (is_whole_scores(d, s, 0, z))
        return WHOLE(d, row_prefix, s, target, squared, z);
    return pick_scores(d, &a, prefix_part, 1, SAE_MERGE_ALL, z);
}

static int col_topk_part(const sae_part *p, const void *arg)
{
    const score_args *a = arg;
    sae_scores s = {sae_part_cols(p, a->s->value), sae_part_cols(p, a->s->score), a->s->key};
    return p->k->col_topk(p->dev, &s, a->quota + p->from, &p->d->part[p->device]);
}

SAE_DECL_col_topk(SAE_DIVIDED(col_topk))
{
    sae_divided *d = sae_divided_of(dev);
    score_args a = {.s = s, .quota = quota};
    if (is_whole_scores(d, s, 0, z))
        return WHOLE(d, col_topk, s, quota, z);
    return pick_scores(d, &a, col_topk_part, 0, SAE_MERGE_ALL, z);
}

/* ---- pursuits: ranges of rows ---------------------------------------------------------------- */

typedef struct pursuit_args {
    const sae_pursuit *p;
    sae_cmat x, w;
} pursuit_args;

static int pursuit_part(const sae_part *p, const void *arg)
{
    const pursuit_args *a = arg;
    sae_pursuit part = *a->p;
    part.k_row = part.k_row ? part.k_row + p->from : NULL;
    return p->k->pursuit(p->dev, &part, sae_part_rows(p, a->x), a->w, &p->d->part[p->device]);
}

SAE_DECL_pursuit(SAE_DIVIDED(pursuit))
{
    sae_divided *d = sae_divided_of(dev);
    pursuit_args a = {p, x, w};
    pick rows = {.length = x.rows, .by_rows = 1, .work = pursuit_part, .arg = &a,
                 .how = SAE_MERGE_ALL};
    if (bad_cmat(x) || bad_cmat(w) || z->dense || sae_is_small(d, x.rows, w.rows))
        return WHOLE(d, pursuit, p, x, w, z);
    return pick_code(d, &rows, x.rows, w.rows, z);
}
