/* sae/stock_quota.h - a budget of M matches shared out among features, for per-feature selection.
 *
 *     t_j = min(max(s weight_j, least), B)   with s such that the t_j add up to M
 *     quota_j = t_j in whole numbers         that add up to M
 *
 * least is 1, a match of every feature in every batch, or 0 when M < n. Whole numbers by largest
 * remainders (equal remainders: lower feature first), or at random with mean t_j: quota_j counts
 * the whole numbers in (c_{j-1} + u, c_j + u], c the running sums of t and u uniform in (0, 1).
 *
 * The weights are read in chunks, so that they may lie in any backend's memory.
 */
#ifndef SAE_STOCK_QUOTA_H
#define SAE_STOCK_QUOTA_H

#include "stock.h"

#include <math.h>

typedef struct stock_quota {
    const double *weight; /* [n] backend memory, positive; NULL: all 1 */
    int64_t n, M, B;
    double least, s;
} stock_quota;

static inline int stock_quota_weights(const sae_ctx *c, const stock_quota *q, int64_t j,
                                      int64_t some, double *weight)
{
    if (q->weight)
        return stock_get(c, weight, q->weight + j, (size_t)some * sizeof *weight);
    for (int64_t i = 0; i < some; i++)
        weight[i] = 1;
    return SAE_OK;
}

static inline double stock_quota_share(const stock_quota *q, double weight)
{
    double t = q->s * weight;
    t = t > q->least ? t : q->least;
    return t < (double)q->B ? t : (double)q->B;
}

typedef struct stock_quota_sums {
    double total, slope; /* sum of t_j, and its derivative by s */
    int64_t whole;       /* sum of floor(t_j) */
    int64_t above;       /* features whose remainder exceeds the cut */
} stock_quota_sums;

static inline int stock_quota_sum(const sae_ctx *c, const stock_quota *q, double cut,
                                  stock_quota_sums *sum)
{
    double weight[STOCK_CHUNK];
    sum->total = sum->slope = 0;
    sum->whole = sum->above = 0;
    for (int64_t j = 0; j < q->n; j += STOCK_CHUNK) {
        int64_t some = stock_some(q->n - j);
        SAE_TRY(stock_quota_weights(c, q, j, some, weight));
        for (int64_t i = 0; i < some; i++) {
            double t = stock_quota_share(q, weight[i]), whole = floor(t);
            sum->total += t;
            sum->slope += t > q->least && t < (double)q->B ? weight[i] : 0;
            sum->whole += (int64_t)whole;
            sum->above += t - whole > cut;
        }
    }
    return SAE_OK;
}

/* q->s by Newton's method between bounds; the sum is piecewise linear and grows with s. */
static inline int stock_quota_scale(const sae_ctx *c, stock_quota *q)
{
    double lo = 0, hi = 1, M = (double)q->M;
    stock_quota_sums sum = {0, 0, 0, 0};
    for (int i = 0; i < 1000; i++, hi *= 2) {
        q->s = hi;
        SAE_TRY(stock_quota_sum(c, q, 1, &sum));
        if (sum.total >= M)
            break;
        lo = hi;
    }
    for (int i = 0; i < 200 && fabs(sum.total - M) > 1e-12 * M; i++) {
        double next = sum.slope > 0 ? q->s + (M - sum.total) / sum.slope : lo;
        q->s = next > lo && next < hi ? next : lo + (hi - lo) / 2;
        SAE_TRY(stock_quota_sum(c, q, 1, &sum));
        if (sum.total < M)
            lo = q->s;
        else
            hi = q->s;
    }
    return SAE_OK;
}

/* The `units` largest remainders are those above *hi and, in order, some above *lo. */
static inline int stock_quota_cut(const sae_ctx *c, const stock_quota *q, int64_t units, double *lo,
                                  double *hi)
{
    stock_quota_sums sum;
    *lo = 0;
    *hi = 1;
    for (int i = 0; i < 60; i++) {
        double cut = (*lo + *hi) / 2;
        SAE_TRY(stock_quota_sum(c, q, cut, &sum));
        if (sum.above > units)
            *lo = cut;
        else
            *hi = cut;
        if (sum.above == units)
            break;
    }
    return SAE_OK;
}

/* quota [n], backend memory; offset: u in (0, 1), or negative for largest remainders. */
static inline int stock_quota_fill(const sae_ctx *c, stock_quota *q, double offset, int64_t *quota)
{
    stock_quota_sums sum;
    double weight[STOCK_CHUNK], lo, hi, run = offset;
    int64_t out[STOCK_CHUNK];
    q->least = q->M >= q->n ? 1 : 0;
    SAE_TRY(stock_quota_scale(c, q));
    SAE_TRY(stock_quota_sum(c, q, 1, &sum));
    int64_t units = q->M - sum.whole;
    SAE_TRY(stock_quota_cut(c, q, units, &lo, &hi));
    SAE_TRY(stock_quota_sum(c, q, hi, &sum));
    int64_t ties = units - sum.above;
    for (int64_t j = 0; j < q->n; j += STOCK_CHUNK) {
        int64_t some = stock_some(q->n - j);
        SAE_TRY(stock_quota_weights(c, q, j, some, weight));
        for (int64_t i = 0; i < some; i++) {
            double t = stock_quota_share(q, weight[i]), whole = floor(t), before = floor(run);
            int tie = t - whole > lo && t - whole <= hi && ties > 0;
            ties -= tie;
            out[i] = (int64_t)whole + (t - whole > hi || tie);
            run += t;
            if (offset >= 0)
                out[i] = (int64_t)(floor(run) - before);
        }
        SAE_TRY(stock_put(c, quota + j, out, (size_t)some * sizeof *out));
    }
    return SAE_OK;
}

#endif
