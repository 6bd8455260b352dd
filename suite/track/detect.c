/* suite/track/detect.c - changes of level in a series.
 *
 * Splits follow Matteson and James 2014 (energy statistics), with both ends of the right side free
 * so that a later change does not mask the first; a split must pass a Mann-Whitney test, as must
 * every boundary that remains.
 */
#include "track/detect.h"

#include "core/error.h"
#include "track/stats.h"

#include <math.h>
#include <string.h>

enum { W = SAE_DETECT_WINDOW, HAMPEL_HALF = 5 };

/* ---- outliers -------------------------------------------------------------------------------- */

void sae_hampel(const double *x, int64_t n, double *z, unsigned char *flag)
{
    double near[2 * HAMPEL_HALF + 1], room[2 * HAMPEL_HALF + 1];
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i > HAMPEL_HALF ? i - HAMPEL_HALF : 0;
        int64_t to = i + HAMPEL_HALF < n ? i + HAMPEL_HALF + 1 : n;
        memcpy(near, x + from, (size_t)(to - from) * sizeof *near);
        double m = sae_median(near, to - from);
        double s = 1.4826 * sae_mad(near, to - from, m, room);
        s = s > 1e-12 * fabs(m) ? s : 1e-12 * fabs(m);
        double side = x[i] > m ? 1 : -1;
        int out = i > 0 && i < n - 1 && fabs(x[i] - m) > 4 * s &&
                  side * (x[i - 1] - m) <= 4 * s && side * (x[i + 1] - m) <= 4 * s;
        z[i] = out ? m : x[i];
        if (flag)
            flag[i] = (unsigned char)out;
    }
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* Sums of |z_i - z_j| over pairs i < j inside [a, b). */
typedef struct pair_sums {
    double s[W + 1][W + 1];
} pair_sums;

static void sum_pairs(const double *z, int64_t n, pair_sums *t)
{
    for (int64_t b = 0; b <= n; b++)
        for (int64_t a = b; a >= 0; a--) {
            double edge = 0; /* pairs of the last point with those before it */
            if (b - a >= 2)
                edge = t->s[a + 1][b] - t->s[a + 1][b - 1] + fabs(z[a] - z[b - 1]);
            t->s[a][b] = b - a >= 2 ? t->s[a][b - 1] + edge : 0;
        }
}

static double energy(const pair_sums *t, int64_t s, int64_t tau, int64_t kappa)
{
    double n = (double)(tau - s), m = (double)(kappa - tau);
    double left = t->s[s][tau], right = t->s[tau][kappa], cross = t->s[s][kappa] - left - right;
    double q = 2 / (n + m) * cross;
    if (n > 1)
        q -= 2 * m / ((n + m) * (n - 1)) * left;
    if (m > 1)
        q -= 2 * n / ((n + m) * (m - 1)) * right;
    return q;
}

double sae_energy(const double *z, int64_t tau, int64_t kappa)
{
    pair_sums t;
    SAE_ASSERT(kappa <= W);
    sum_pairs(z, kappa, &t);
    return energy(&t, 0, tau, kappa);
}

/* Boundaries in order: edge[0] = 0 < ... < edge[count] = n. */
typedef struct pieces {
    const double *z;
    int64_t edge[W + 1], count;
} pieces;

typedef struct split {
    double q;
    int64_t piece, tau, kappa;
} split;

static split best_split(const pieces *p, const pair_sums *t, int64_t min_seg)
{
    split best = {-INFINITY, -1, 0, 0};
    for (int64_t i = 0; i < p->count; i++) {
        int64_t s = p->edge[i], e = p->edge[i + 1];
        for (int64_t tau = s + min_seg; tau + min_seg <= e; tau++)
            for (int64_t kappa = tau + min_seg; kappa <= e; kappa++) {
                double q = energy(t, s, tau, kappa);
                if (q > best.q)
                    best = (split){q, i, tau, kappa};
            }
    }
    return best;
}

static void insert_edge(pieces *p, int64_t after, int64_t at)
{
    memmove(&p->edge[after + 2], &p->edge[after + 1],
            (size_t)(p->count - after) * sizeof p->edge[0]);
    p->edge[after + 1] = at;
    p->count++;
}

static void remove_edge(pieces *p, int64_t i)
{
    memmove(&p->edge[i], &p->edge[i + 1], (size_t)(p->count - i) * sizeof p->edge[0]);
    p->count--;
}

/* Accepting at ten times the final level leaves the decision to the merge. */
static int split_all(pieces *p, const sae_detect *d, sae_err *err)
{
    pair_sums t;
    sum_pairs(p->z, p->edge[1], &t);
    for (;;) {
        split b = best_split(p, &t, d->min_seg);
        if (b.piece < 0)
            return SAE_OK;
        int64_t s = p->edge[b.piece], e = p->edge[b.piece + 1];
        double whole, part;
        SAE_TRY(sae_mann_whitney(p->z + s, b.tau - s, p->z + b.tau, e - b.tau, &whole, err));
        SAE_TRY(sae_mann_whitney(p->z + s, b.tau - s, p->z + b.tau, b.kappa - b.tau, &part, err));
        if ((part < whole ? part : whole) >= 10 * d->p_max)
            return SAE_OK;
        insert_edge(p, b.piece, b.tau);
    }
}

/* ---- merge ----------------------------------------------------------------------------------- */

static int describe(const pieces *p, int64_t i, sae_change *c, double *spread, sae_err *err)
{
    double copy[W], room[W], mad[2], level[2];
    const int64_t *e = &p->edge[i - 1];
    for (int k = 0; k < 2; k++) {
        int64_t n = e[k + 1] - e[k];
        memcpy(copy, p->z + e[k], (size_t)n * sizeof *copy);
        level[k] = sae_median(copy, n);
        mad[k] = sae_mad(copy, n, level[k], room);
    }
    *c = (sae_change){.index = e[1], .n_left = e[1] - e[0], .n_right = e[2] - e[1],
                      .left = level[0], .right = level[1]};
    c->rel = sae_relative(level[0], level[1]);
    *spread = mad[0] > mad[1] ? mad[0] : mad[1];
    return sae_mann_whitney(p->z + e[0], c->n_left, p->z + e[1], c->n_right, &c->p, err);
}

/* Drop the boundary with the largest p while it is too large, then the smallest step while it is
 * too small, until all remaining ones are neither. */
static int merge(pieces *p, const sae_detect *d, sae_change *out, sae_err *err)
{
    for (;;) {
        int64_t unsure = 0, small = 0; /* 0: none, edges count from 1 */
        for (int64_t i = 1; i < p->count; i++) {
            double spread;
            sae_change *c = &out[i - 1];
            SAE_TRY(describe(p, i, c, &spread, err));
            if (c->p >= d->p_max && (!unsure || c->p > out[unsure - 1].p))
                unsure = i;
            int tiny = fabs(c->rel) < d->min_rel || fabs(c->right - c->left) < spread;
            if (tiny && (!small || fabs(c->rel) < fabs(out[small - 1].rel)))
                small = i;
        }
        if (!unsure && !small)
            return SAE_OK;
        remove_edge(p, unsure ? unsure : small);
    }
}

int sae_detect_changes(const double *x, int64_t n, const sae_detect *d, sae_change *out,
                       int64_t *count, unsigned char *flag, sae_err *err)
{
    double z[W];
    SAE_ASSERT(n <= W && d->min_seg >= 1);
    *count = 0;
    sae_hampel(x, n, z, flag);
    if (n < 2 * d->min_seg)
        return SAE_OK;
    pieces p = {.z = z, .edge = {0, n}, .count = 1};
    SAE_TRY(split_all(&p, d, err));
    SAE_TRY(merge(&p, d, out, err));
    *count = p.count - 1;
    return SAE_OK;
}
