/* sae/labelled.h - a bounded uniform sample of labelled rows: x, xhat if wanted, code and labels.
 *
 * A row is kept when the 64-bit hash of its (document, position) is at most `limit`, the first of
 * 2^64 - 1, 7/8 of it, 7/8 of that, ... at which all such rows fit into `cap` rows and `room` code
 * entries. The sample depends neither on the order of rows nor on batches nor on merges;
 * sae_labelled_sort gives the one order in which it is to be read. Documents are dealt to training,
 * validation and test by another hash.
 *
 * Layout: the struct, then the arrays of sae_labelled_at, one after another, for capacity.
 */
#ifndef SAE_LABELLED_H
#define SAE_LABELLED_H

#include "groups.h"
#include <stdlib.h>
#include <string.h>

typedef struct sae_labelled {
    int64_t cap, room;        /* rows, code entries */
    int64_t d, d_hat, labels; /* width of x and of xhat (d or 0), labels of a row */
    int64_t count, entries;   /* rows and entries held */
    uint64_t limit;
} sae_labelled;

typedef struct sae_labelled_rows {
    uint64_t *hash, *doc; /* [cap] */
    sae_norm_row *norm;   /* [cap] */
    int64_t *first;       /* [cap + 1] entries of row i: first[i] to first[i + 1], exclusive */
    sae_real *x, *xhat;   /* [cap x d], [cap x d_hat] */
    sae_real *val;        /* [room] not 0 */
    int32_t *idx;         /* [room] ascending within a row */
    int32_t *label;       /* [cap x labels] */
} sae_labelled_rows;

static inline sae_labelled_rows sae_labelled_at(const sae_labelled *s)
{
    sae_labelled_rows a;
    a.hash = (uint64_t *)(uintptr_t)(s + 1);
    a.doc = a.hash + s->cap;
    a.norm = (sae_norm_row *)(void *)(a.doc + s->cap);
    a.first = (int64_t *)(void *)(a.norm + s->cap);
    a.x = (sae_real *)(void *)(a.first + s->cap + 1);
    a.xhat = a.x + s->cap * s->d;
    a.val = a.xhat + s->cap * s->d_hat;
    a.idx = (int32_t *)(void *)(a.val + s->room);
    a.label = a.idx + s->room;
    return a;
}

/* The code of one row shown to the sample; a value 0 is left out. */
typedef struct sae_labelled_row {
    uint64_t hash, doc;
    sae_norm_row norm;
    const sae_real *x, *xhat; /* [d]; xhat is not read when d_hat is 0 */
    const int32_t *label;     /* [labels] */
    const sae_code *code;     /* of row i; or NULL: val and idx hold nnz entries */
    int64_t i, nnz;
    const sae_real *val;
    const int32_t *idx;
} sae_labelled_row;

static inline void sae_labelled_thin(sae_labelled *s)
{
    sae_labelled_rows a = sae_labelled_at(s);
    size_t row = (size_t)s->d * sizeof(sae_real), hat = (size_t)s->d_hat * sizeof(sae_real);
    size_t labels = (size_t)s->labels * sizeof(int32_t);
    int64_t kept = 0, entries = 0;
    s->limit -= s->limit / 8;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t p = a.first[i], nnz = a.first[i + 1] - p;
        if (a.hash[i] > s->limit)
            continue;
        a.hash[kept] = a.hash[i];
        a.doc[kept] = a.doc[i];
        a.norm[kept] = a.norm[i];
        memmove(a.x + kept * s->d, a.x + i * s->d, row);
        memmove(a.xhat + kept * s->d_hat, a.xhat + i * s->d_hat, hat);
        memmove(a.label + kept * s->labels, a.label + i * s->labels, labels);
        memmove(a.val + entries, a.val + p, (size_t)nnz * sizeof *a.val);
        memmove(a.idx + entries, a.idx + p, (size_t)nnz * sizeof *a.idx);
        a.first[kept++] = entries;
        entries += nnz;
        a.first[kept] = entries; /* at most first[i + 1], which has been read */
    }
    s->count = kept;
    s->entries = entries;
}

static inline void sae_labelled_put(sae_labelled *s, const sae_labelled_row *r)
{
    const sae_code *z = r->code;
    int64_t p0 = z ? sae_code_row(z, r->i) : 0, p1 = z ? sae_code_row(z, r->i + 1) : r->nnz;
    const sae_real *val = z ? z->val : r->val;
    int64_t nnz = 0;
    if (r->hash > s->limit)
        return;
    for (int64_t p = p0; p < p1; p++)
        nnz += val[p] != 0;
    while (s->count == s->cap || s->entries + nnz > s->room) {
        if (s->limit < 8) /* rows that share one hash cannot be thinned out */
            return;
        sae_labelled_thin(s);
        if (r->hash > s->limit)
            return;
    }
    sae_labelled_rows a = sae_labelled_at(s);
    int64_t i = s->count++;
    a.hash[i] = r->hash;
    a.doc[i] = r->doc;
    a.norm[i] = r->norm;
    memcpy(a.x + i * s->d, r->x, (size_t)s->d * sizeof *a.x);
    if (s->d_hat > 0)
        memcpy(a.xhat + i * s->d, r->xhat, (size_t)s->d * sizeof *a.xhat);
    memcpy(a.label + i * s->labels, r->label, (size_t)s->labels * sizeof *a.label);
    for (int64_t p = p0; p < p1; p++)
        if (val[p] != 0) {
            a.val[s->entries] = val[p];
            a.idx[s->entries++] = z ? (int32_t)sae_code_feature(z, r->i, p) : r->idx[p];
        }
    a.first[i + 1] = s->entries;
}

/* A state that is such a sample. `hat`: 1 with xhat. */
static inline sae_labelled sae_labelled_shape(const sae_measure *r, int64_t rows, int64_t entries,
                                              int hat)
{
    int64_t n = r->m->dim.n, d = r->m->dim.d_out;
    sae_labelled s = {rows, entries > n ? entries : n, d, hat ? d : 0, r->labels, 0, 0, UINT64_MAX};
    return s;
}

/* Number of the label of that name, -1 without. */
static inline int64_t sae_label_named(const sae_measure *r, const char *name)
{
    for (int64_t l = 0; l < r->labels; l++)
        if (!strcmp(r->label[l].name, name))
            return l;
    return -1;
}

static inline size_t sae_labelled_bytes(const sae_labelled *s)
{
    size_t row = 2 * sizeof(uint64_t) + sizeof(sae_norm_row) + sizeof(int64_t) +
                 (size_t)(s->d + s->d_hat) * sizeof(sae_real) + (size_t)s->labels * sizeof(int32_t);
    return sizeof(sae_labelled) + (size_t)s->cap * row + sizeof(int64_t) +
           (size_t)s->room * (sizeof(sae_real) + sizeof(int32_t));
}

/* `state_size` and `begin` of a metric whose state is a sample; rows, entries: members of its
 * option struct `type`. */
#define SAE_LABELLED_STATE(type, rows, entries, hat)                                               \
    static sae_labelled state_shape(const sae_measure *r)                                          \
    {                                                                                              \
        const type *o = (const type *)r->opt;                                                      \
        return sae_labelled_shape(r, o->rows, o->entries, hat);                                    \
    }                                                                                              \
    static size_t state_size(const sae_measure *r)                                                 \
    {                                                                                              \
        sae_labelled s = state_shape(r);                                                           \
        return sae_labelled_bytes(&s);                                                             \
    }                                                                                              \
    static int begin(const sae_measure *r, void *state)                                            \
    {                                                                                              \
        *(sae_labelled *)state = state_shape(r);                                                   \
        return SAE_OK;                                                                             \
    }

/* Row i of a code with its x [d], for a sample without labels; nothing if it has no room at all. */
static inline void sae_labelled_put_row(sae_labelled *s, const sae_token *t, sae_norm_row norm,
                                        const sae_real *x, const sae_code *z, int64_t i)
{
    static const int32_t none = 0;
    sae_labelled_row row = {sae_row_hash(t),
                            t->doc, norm, x, NULL, &none, z, i, 0, NULL, NULL};
    if (s->cap > 0)
        sae_labelled_put(s, &row);
}

/* Row i of a batch, whose labels are label [labels]. */
static inline sae_labelled_row sae_labelled_row_of(const sae_measure *r, const sae_labelled *s,
                                                   const sae_eval *e, int64_t i,
                                                   const int32_t *label)
{
    const sae_token *t = &e->tok[i];
    const sae_real *xhat = s->d_hat ? e->xhat + i * e->d : NULL;
    sae_labelled_row row = {sae_row_hash(t), t->doc, sae_eval_norm(r, e, i), e->x + i * e->d,
                            xhat, label, e->code, i, 0, NULL, NULL};
    return row;
}

static inline void sae_labelled_add(const sae_measure *r, sae_labelled *s, const sae_eval *e)
{
    for (int64_t i = 0; i < e->B; i++) {
        sae_labelled_row row = sae_labelled_row_of(r, s, e, i, e->label + i * s->labels);
        sae_labelled_put(s, &row);
    }
}

static inline void sae_labelled_merge(sae_labelled *into, const sae_labelled *from)
{
    sae_labelled_rows a = sae_labelled_at(from);
    while (into->limit > from->limit)
        sae_labelled_thin(into);
    for (int64_t i = 0; i < from->count; i++) {
        sae_labelled_row row = {a.hash[i],
                                a.doc[i],
                                a.norm[i],
                                a.x + i * from->d,
                                a.xhat + i * from->d_hat,
                                a.label + i * from->labels,
                                NULL,
                                0,
                                a.first[i + 1] - a.first[i],
                                a.val + a.first[i],
                                a.idx + a.first[i]};
        sae_labelled_put(into, &row);
    }
}

/* The batch and merge of a metric whose state is a sample. */
static inline int sae_labelled_batch(const sae_measure *r, void *state, const sae_eval *e)
{
    sae_labelled_add(r, (sae_labelled *)state, e);
    return SAE_OK;
}
static inline int sae_labelled_join(const sae_measure *r, void *into, const void *from)
{
    (void)r;
    sae_labelled_merge((sae_labelled *)into, (const sae_labelled *)from);
    return SAE_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

enum sae_part { SAE_PART_FIT, SAE_PART_VALID, SAE_PART_TEST };

/* Half of the documents are test documents; of the others a fifth are for validation. */
static inline enum sae_part sae_part_of(uint64_t doc)
{
    uint64_t u = sae_mix(doc ^ 0x6C6162656C6C6564u) >> 54; /* [0, 1024) */
    return u < 512 ? SAE_PART_TEST : u < 614 ? SAE_PART_VALID : SAE_PART_FIT;
}

typedef struct sae_labelled_ref {
    uint64_t hash, doc;
    int64_t row;
    enum sae_part part;
} sae_labelled_ref;

static inline int sae_labelled_order(const void *a, const void *b)
{
    const sae_labelled_ref *p = (const sae_labelled_ref *)a, *q = (const sae_labelled_ref *)b;
    if (p->hash != q->hash)
        return p->hash < q->hash ? -1 : 1;
    if (p->doc != q->doc)
        return p->doc < q->doc ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

/* The rows in the order of their hashes, a random one; NULL when out of memory. free() it. */
static inline sae_labelled_ref *sae_labelled_sort(const sae_labelled *s)
{
    sae_labelled_rows a = sae_labelled_at(s);
    sae_labelled_ref *ref =
        (sae_labelled_ref *)malloc((size_t)(s->count + 1) * sizeof(sae_labelled_ref));
    for (int64_t i = 0; ref && i < s->count; i++) {
        sae_labelled_ref e = {a.hash[i], a.doc[i], i, sae_part_of(a.doc[i])};
        ref[i] = e;
    }
    if (ref)
        qsort(ref, (size_t)s->count, sizeof *ref, sae_labelled_order);
    return ref;
}

#endif
