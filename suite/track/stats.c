/* suite/track/stats.c - order statistics, rank tests and exact intervals. */
#include "track/stats.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WALSH_MAX = SAE_PAIRS_MAX * (SAE_PAIRS_MAX + 1) / 2 };

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double sae_sorted_quantile(const double *x, int64_t n, double q)
{
    if (n == 0)
        return (double)NAN;
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i >= n - 1)
        return x[n - 1];
    return x[i] + (at - (double)i) * (x[i + 1] - x[i]);
}

double sae_median(double *x, int64_t n)
{
    if (n > 1)
        qsort(x, (size_t)n, sizeof *x, by_value);
    return sae_sorted_quantile(x, n, 0.5);
}

double sae_relative(double from, double to)
{
    return to == from ? 0 : from == 0.0 ? copysign(INFINITY, to - from) : (to - from) / fabs(from);
}

double sae_mad(const double *x, int64_t n, double centre, double *room)
{
    for (int64_t i = 0; i < n; i++)
        room[i] = fabs(x[i] - centre);
    return sae_median(room, n);
}

/* ---- Mann-Whitney ---------------------------------------------------------------------------- */

typedef struct ranked {
    double value;
    int first; /* of sample x */
} ranked;

static int by_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/* Sum of the mid-ranks of sample x in the sorted pool; *ties: sum of t^3 - t over groups. */
static double rank_sum(const ranked *pool, int64_t n, double *ties)
{
    double sum = 0;
    *ties = 0;
    for (int64_t i = 0, next; i < n; i = next) {
        int64_t mine = 0;
        for (next = i; next < n && pool[next].value == pool[i].value; next++)
            mine += pool[next].first;
        double t = (double)(next - i);
        sum += (double)mine * 0.5 * (double)(i + 1 + next);
        *ties += t * t * t - t;
    }
    return sum;
}

/* P(U >= u) for two-sided use. The counts of U are the coefficients of the Gaussian binomial
 * prod (1 - q^(big + i)) / (1 - q^i), i = 1..small; each factor is applied in place. */
static int exact_tail(int64_t small, int64_t big, double u, double *p, sae_err *err)
{
    int64_t top = small * big;
    double *count, total = 0, tail = 0;
    SAE_TRY(sae_new(&count, top + 1, sizeof *count, "track.ranks", err));
    count[0] = 1;
    for (int64_t i = 1; i <= small; i++) {
        for (int64_t j = top; j >= big + i; j--)
            count[j] -= count[j - big - i];
        for (int64_t j = i; j <= top; j++)
            count[j] += count[j - i];
    }
    for (int64_t j = 0; j <= top; j++) {
        total += count[j];
        tail += (double)j >= u ? count[j] : 0;
    }
    sae_free(count);
    *p = tail / total;
    return SAE_OK;
}

int sae_mann_whitney(const double *x, int64_t nx, const double *y, int64_t ny, double *p,
                     sae_err *err)
{
    ranked *pool;
    int64_t n = nx + ny;
    *p = 1;
    if (nx == 0 || ny == 0)
        return SAE_OK;
    SAE_TRY(sae_new(&pool, n, sizeof *pool, "track.ranks", err));
    for (int64_t i = 0; i < n; i++)
        pool[i] = i < nx ? (ranked){x[i], 1} : (ranked){y[i - nx], 0};
    qsort(pool, (size_t)n, sizeof *pool, by_ranked);
    double ties, sum = rank_sum(pool, n, &ties);
    sae_free(pool);
    double a = (double)nx, b = (double)ny, all = (double)n;
    double u = sum - 0.5 * a * (a + 1);
    u = u > a * b - u ? u : a * b - u;
    if (ties > 0 || (nx > 8 && ny > 8)) {
        double variance = a * b / 12 * (all + 1 - ties / (all * (all - 1)));
        if (variance > 0)
            *p = erfc((u - 0.5 * a * b - 0.5) / sqrt(2 * variance));
    } else {
        SAE_TRY(exact_tail(nx < ny ? nx : ny, nx < ny ? ny : nx, u, p, err));
        *p *= 2;
    }
    *p = *p < 1 ? *p : 1;
    return SAE_OK;
}

/* ---- signed ranks ---------------------------------------------------------------------------- */

/* share[w] = P(W+ = w): each rank i is in the sum with probability one half. */
static void signed_rank_shares(int pairs, double share[WALSH_MAX + 1])
{
    int top = 0;
    memset(share, 0, (WALSH_MAX + 1) * sizeof *share);
    share[0] = 1;
    for (int i = 1; i <= pairs; i++) {
        top += i;
        for (int w = top; w >= 0; w--)
            share[w] = 0.5 * (share[w] + (w >= i ? share[w - i] : 0));
    }
}

double sae_signed_rank_cdf(int pairs, int64_t w)
{
    double share[WALSH_MAX + 1], sum = 0;
    signed_rank_shares(pairs, share);
    for (int64_t i = 0; i <= w && i <= WALSH_MAX; i++)
        sum += share[i];
    return sum;
}

int64_t sae_signed_rank_k(int pairs, double alpha)
{
    double share[WALSH_MAX + 1], sum = 0;
    int64_t k = 0;
    signed_rank_shares(pairs, share);
    while (k <= WALSH_MAX && (sum += share[k]) <= alpha / 2)
        k++;
    return k;
}

static int walsh_averages(const double *d, int pairs, double w[WALSH_MAX])
{
    int n = 0;
    SAE_ASSERT(pairs <= SAE_PAIRS_MAX);
    for (int i = 0; i < pairs; i++)
        for (int j = i; j < pairs; j++)
            w[n++] = 0.5 * (d[i] + d[j]);
    return n;
}

sae_interval sae_hodges_lehmann(const double *d, int pairs, double alpha)
{
    double w[WALSH_MAX];
    int n = walsh_averages(d, pairs, w);
    sae_interval out = {sae_median(w, n), -INFINITY, INFINITY};
    int64_t k = sae_signed_rank_k(pairs, alpha);
    if (k > 0 && k <= n) {
        out.lo = w[k - 1];
        out.hi = w[n - k];
    }
    return out;
}

double sae_signed_rank_p(const double *d, int pairs, double shift)
{
    double w[WALSH_MAX];
    int n = walsh_averages(d, pairs, w), below = 0;
    for (int i = 0; i < n; i++)
        below += w[i] <= shift;
    return sae_signed_rank_cdf(pairs, below);
}
