/* sae/groups.h - sums over groups of documents, estimates from them, and their standard errors.
 *
 * Every row belongs to one of SAE_GROUPS groups by a hash of its document number. A metric keeps
 * the sums of its K sufficient statistics per group in double; a value is a function of the total
 * sums; its standard error is the delete-a-group jackknife over the groups that hold rows. Tokens
 * of one document are thus never treated as independent. Derivation and limits: metrics/README.md.
 *
 * Layout of a block: SAE_GROUPS rows of K sums, then two rows of scratch. Statistic 0 is the number
 * of rows (or tokens) of the group. A row is added to its group as it comes, so the sums do not
 * depend, bitwise, on how rows are cut into batches.
 */
#ifndef SAE_GROUPS_H
#define SAE_GROUPS_H

#include "metric.h"
#include <math.h>

enum { SAE_GROUPS = 256 };

/* A value as a function of the K total sums. */
typedef double (*sae_estimator)(const double *sum, int64_t K);

/* One key of a metric; a table ends with key == NULL. */
typedef struct sae_estimate {
    const char *key;
    sae_estimator value;
    int64_t count; /* statistic that counts the rows behind the value */
    const char *unit;
    enum sae_better better;
} sae_estimate;

/* Defines the estimator sum[a] / sum[b]; NaN when sum[b] is 0. */
#define SAE_RATIO(name, a, b)                                                                      \
    static double name(const double *sum, int64_t K)                                               \
    {                                                                                              \
        (void)K;                                                                                   \
        return sum[b] != 0.0 ? sum[a] / sum[b] : (double)NAN;                                      \
    }

/* sum |v - mean v|^2 over n rows, from squares = sum |v|^2 and the sum of the rows [d], given in
 * two parts (more may be NULL). What rounding leaves of rows that are all the same counts as 0; 0
 * without rows. */
static inline double sae_about_mean(double squares, const double *sum, const double *more,
                                    int64_t d, double n)
{
    double mm = 0;
    for (int64_t j = 0; j < d; j++) {
        double v = sum[j] + (more ? more[j] : 0);
        mm += v * v;
    }
    double left = squares - mm / n; /* NaN without rows, which is not > */
    return left > squares * 0x1p-40 ? left : 0.0;
}

/* 64-bit mix: a bijection whose every output bit depends on every input bit (the finaliser of
 * SplitMix64, Steele et al. 2014). */
static inline uint64_t sae_mix(uint64_t v)
{
    v += 0x9E3779B97F4A7C15u;
    v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9u;
    v = (v ^ (v >> 27)) * 0x94D049BB133111EBu;
    return v ^ (v >> 31);
}

static inline int64_t sae_group_of(uint64_t doc)
{
    return (int64_t)(sae_mix(doc) >> 56);
}

/* Tells rows apart; a uniform sample is the rows with a small one. */
static inline uint64_t sae_row_hash(const sae_token *t)
{
    return sae_mix(sae_mix(t->doc) ^ ((uint64_t)t->pos + 1));
}

static inline size_t sae_groups_bytes(int64_t K)
{
    return (size_t)(SAE_GROUPS + 2) * (size_t)K * sizeof(double);
}

/* The sums [K] of the document's group. */
static inline double *sae_groups_row(double *block, int64_t K, uint64_t doc)
{
    return block + sae_group_of(doc) * K;
}

static inline void sae_groups_merge(double *into, const double *from, int64_t K)
{
    for (int64_t i = 0; i < SAE_GROUPS * K; i++)
        into[i] += from[i];
}

/* Total sums over the groups, written to (and returned from) the block's first scratch row. */
static inline const double *sae_groups_total(double *block, int64_t K)
{
    double *total = block + SAE_GROUPS * K;
    for (int64_t i = 0; i < K; i++)
        total[i] = 0;
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        for (int64_t i = 0; i < K; i++)
            total[i] += block[g * K + i];
    return total;
}

/* Delete-a-group jackknife. without [SAE_GROUPS]: the value without each group that holds rows; it
 * becomes the deviation from their mean, NaN for the other groups. Answers the standard error: NaN
 * with fewer than two groups, or if the value is undefined without one of them. */
static inline double sae_jackknife(const unsigned char *holds, double *without)
{
    double mean = 0, m2 = 0;
    int64_t m = 0;
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        if (holds[g])
            mean += (without[g] - mean) / (double)++m;
    for (int64_t g = 0; g < SAE_GROUPS; g++) {
        without[g] = holds[g] ? without[g] - mean : (double)NAN;
        m2 += holds[g] ? without[g] * without[g] : 0;
    }
    return m < 2 ? (double)NAN : sqrt((double)(m - 1) / (double)m * m2);
}

/* The same of an estimator, whose deviations [SAE_GROUPS] are written; sae_groups_total must have
 * been called. Groups without rows are told by statistic 0. */
static inline double sae_groups_jackknife(double *block, int64_t K, sae_estimator value,
                                          double *deviation)
{
    const double *total = block + SAE_GROUPS * K;
    double *rest = block + (SAE_GROUPS + 1) * K;
    unsigned char holds[SAE_GROUPS];
    for (int64_t g = 0; g < SAE_GROUPS; g++) {
        const double *row = block + g * K;
        holds[g] = row[0] != 0.0;
        for (int64_t i = 0; holds[g] && i < K; i++)
            rest[i] = total[i] - row[i];
        if (holds[g])
            deviation[g] = value(rest, K);
    }
    return sae_jackknife(holds, deviation);
}

static inline double sae_groups_se(double *block, int64_t K, sae_estimator value)
{
    double deviation[SAE_GROUPS];
    return sae_groups_jackknife(block, K, value, deviation);
}

/* Emit every key of the table. */
static inline int sae_groups_emit(const sae_measure *r, double *block, int64_t K,
                                  const sae_estimate *table)
{
    const double *total = sae_groups_total(block, K);
    for (const sae_estimate *e = table; e->key; e++) {
        double deviation[SAE_GROUPS], se = sae_groups_jackknife(block, K, e->value, deviation);
        sae_row row = {e->key, e->value(total, K), se, (int64_t)total[e->count], e->unit,
                       e->better};
        int rc = r->emit(r->sink, &row);
        if (rc >= 0 && r->deviations)
            rc = r->deviations(r->sink, e->key, deviation);
        if (rc < 0)
            return rc;
    }
    return SAE_OK;
}

#endif
