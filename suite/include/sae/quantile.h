/* sae/quantile.h - quantiles of one value per row, exact up to a capacity.
 *
 * Up to `cap` rows every value is kept and quantiles are exact (linear interpolation between order
 * statistics, position q (N - 1)). Beyond it, the rows whose 48-bit hash of (document, position)
 * ends in `level` zero bits are kept, with the smallest level that fits: a uniform sample of more
 * than cap / 2 rows in expectation that depends neither on order nor on batches nor on merges.
 * The standard error is Woodruff's (1952): the quantiles at q -+ the jackknife standard error of
 * the share of rows below. See metrics/README.md.
 */
#ifndef SAE_QUANTILE_H
#define SAE_QUANTILE_H

#include "groups.h"
#include <stdlib.h>

/* Top 8 bits: group of the document; the rest: hash of the row. */
static inline uint64_t sae_row_key(const sae_token *t)
{
    return (uint64_t)sae_group_of(t->doc) << 56 | sae_row_hash(t) >> 8;
}

typedef struct sae_sampled {
    uint64_t key; /* sae_row_key */
    double value;
} sae_sampled;

typedef struct sae_sample { /* followed by cap rows */
    int64_t cap, count, level;
} sae_sample;

static inline sae_sampled *sae_sample_rows(const sae_sample *s)
{
    return (sae_sampled *)(uintptr_t)(s + 1);
}

static inline size_t sae_sample_bytes(int64_t cap)
{
    return (sizeof(sae_sample) + (size_t)cap * sizeof(sae_sampled) + 63) / 64 * 64;
}

static inline int sae_sample_keeps(int64_t level, uint64_t key)
{
    return (key & (((uint64_t)1 << level) - 1)) == 0;
}

static inline void sae_sample_raise(sae_sample *s, int64_t level)
{
    sae_sampled *row = sae_sample_rows(s);
    int64_t kept = 0;
    s->level = level;
    for (int64_t i = 0; i < s->count; i++)
        if (sae_sample_keeps(level, row[i].key))
            row[kept++] = row[i];
    s->count = kept;
}

static inline void sae_sample_put(sae_sample *s, sae_sampled row)
{
    /* Rows that share one hash cannot be thinned out: level 48 ends the search. */
    while (sae_sample_keeps(s->level, row.key) && s->count == s->cap && s->level < 48)
        sae_sample_raise(s, s->level + 1);
    if (sae_sample_keeps(s->level, row.key) && s->count < s->cap)
        sae_sample_rows(s)[s->count++] = row;
}

static inline void sae_sample_add(sae_sample *s, const sae_token *tok, double value)
{
    sae_sampled e = {sae_row_key(tok), value};
    sae_sample_put(s, e);
}

static inline void sae_sample_merge(sae_sample *into, const sae_sample *from)
{
    if (from->level > into->level)
        sae_sample_raise(into, from->level);
    for (int64_t i = 0; i < from->count; i++)
        sae_sample_put(into, sae_sample_rows(from)[i]);
}

static inline int sae_sampled_order(const void *a, const void *b)
{
    const sae_sampled *p = (const sae_sampled *)a, *q = (const sae_sampled *)b;
    if (p->value != q->value)
        return p->value < q->value ? -1 : 1;
    return (p->key > q->key) - (p->key < q->key);
}

/* Quantile q in [0, 1] of the sorted sample; NaN when it is empty. */
static inline double sae_sample_at(const sae_sample *s, double q)
{
    if (s->count == 0)
        return (double)NAN;
    const sae_sampled *row = sae_sample_rows(s);
    double h = q * (double)(s->count - 1);
    int64_t i = (int64_t)h;
    if (i >= s->count - 1)
        return row[s->count - 1].value;
    double a = row[i].value, b = row[i + 1].value;
    return a + (h - (double)i) * (b - a);
}

static inline double sae_share_below(const double *sum, int64_t K)
{
    (void)K;
    return sum[1] / sum[0];
}

/* Quantile q with its standard error; sorts the sample. se is NaN with fewer than two groups or
 * when q +- the error of the share leaves [0, 1]. `block`: sae_groups_bytes(2) of scratch. */
static inline void sae_sample_quantile(sae_sample *s, double q, double *block, double *value,
                                       double *se)
{
    sae_sampled *row = sae_sample_rows(s);
    qsort(row, (size_t)s->count, sizeof *row, sae_sampled_order);
    *value = sae_sample_at(s, q);
    for (int64_t i = 0; i < SAE_GROUPS * 2; i++)
        block[i] = 0;
    for (int64_t i = 0; i < s->count; i++) {
        double *sum = block + 2 * (int64_t)(row[i].key >> 56);
        sum[0] += 1;
        sum[1] += row[i].value <= *value;
    }
    sae_groups_total(block, 2);
    double e = sae_groups_se(block, 2, sae_share_below);
    *se = q - e >= 0.0 && q + e <= 1.0
              ? (sae_sample_at(s, q + e) - sae_sample_at(s, q - e)) / 2
              : (double)NAN;
}

/* Emit that quantile, with its error. */
static inline int sae_sample_emit(const sae_measure *r, sae_sample *s, const char *key, double q,
                                  double *block, const char *unit, enum sae_better better)
{
    sae_row row = {key, 0, 0, s->count, unit, better};
    sae_sample_quantile(s, q, block, &row.value, &row.se);
    return r->emit(r->sink, &row);
}

static inline int sae_ascending(const void *a, const void *b)
{
    const double *x = (const double *)a, *y = (const double *)b;
    return (*x > *y) - (*x < *y);
}

/* The median of v, which is sorted; NaN when it is empty. */
static inline double sae_median(double *v, int64_t count)
{
    qsort(v, (size_t)count, sizeof *v, sae_ascending);
    return count > 0 ? (v[(count - 1) / 2] + v[count / 2]) / 2 : (double)NAN;
}

#endif
