/* sae/stock_zipf.h - densities of features, their Zipf-Mandelbrot curve, and who lags behind it.
 *
 * STATE of a variant whose table has STOCK_ZIPF_TENSORS:
 *
 *     density   moving average of the share of rows on which a feature is active, half-life in rows
 *     ranked    the density by which it is ranked: follows `density` once that has moved by more
 *               than the hysteresis
 *     curve     alpha, beta, C, R^2 of density(r) = C (r + beta)^-alpha, r = 1..n the rank
 *     expected  the curve at the feature's rank
 *     need      1 - density / (dying expected), at least 0: what stock_auxk.h weighs features with
 *
 * stock_zipf_adapt moves them after every step; ranks change every `rerank` steps only, because
 * ranking takes host memory of its own.
 */
#ifndef SAE_STOCK_ZIPF_H
#define SAE_STOCK_ZIPF_H

#include "stock_sparse.h"

#include <math.h>
#include <stdlib.h>

enum {
    STOCK_DENSITY = STOCK_THETA + 1,
    STOCK_RANKED,
    STOCK_CURVE,
    STOCK_EXPECTED,
    STOCK_NEED,
    STOCK_ZIPF_END
};
#define STOCK_ZIPF_TENSORS                                                                         \
    {"density", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},                                      \
        {"ranked", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},                                   \
        {"curve", SAE_STATE, SAE_F64, 0, SAE_DIM_1, 4},                                            \
        {"expected", SAE_STATE, SAE_F64, 0, SAE_DIM_1, SAE_DIM_N},                                 \
    {                                                                                              \
        "need", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_N                                       \
    }

enum { STOCK_ZIPF_FIT, STOCK_ZIPF_FIXED };
static const char *const stock_zipf_names[] = {"fit", "fixed", NULL};

typedef struct stock_zipf_opt {
    double alpha, beta, half_life, hysteresis, dying, start;
    int64_t curve, rerank, soft;
} stock_zipf_opt;

#define STOCK_ZIPF_OPTIONS(T, m)                                                                   \
    {"zipf", SAE_OPT_ENUM, 0, offsetof(T, m.curve), STOCK_ZIPF_FIT, 0, STOCK_ZIPF_FIXED,           \
     stock_zipf_names, NULL, "1", "fit the curve of densities, or keep zipf_alpha and zipf_beta"}, \
        {"zipf_alpha", SAE_OPT_REAL, 0, offsetof(T, m.alpha), 1, 0, 4, NULL, NULL, "1",            \
         "exponent of the curve that is fixed, or not fitted yet"},                                \
        {"zipf_beta", SAE_OPT_REAL, 0, offsetof(T, m.beta), 10, 0, 1e6, NULL, NULL, "1",           \
         "offset of ranks of that curve"},                                                         \
        {"zipf_start", SAE_OPT_REAL, 0, offsetof(T, m.start), 0.05, 0, 1, NULL, NULL, "1",         \
         "share of the steps before features can be dying"},                                       \
        {"half_life", SAE_OPT_REAL, 0, offsetof(T, m.half_life), 1e6, 1, 1e15, NULL, NULL,         \
         "tokens", "half-life of the densities' moving average"},                                  \
        {"rerank", SAE_OPT_INT, 0, offsetof(T, m.rerank), 1000, 10, 1e15, NULL, NULL, "steps",     \
         "steps between rankings"},                                                                \
        {"hysteresis", SAE_OPT_REAL, 0, offsetof(T, m.hysteresis), 0.05, 0, 1e6, NULL, NULL, "1",  \
         "relative change of a density that its rank does not follow"},                            \
        {"dying", SAE_OPT_REAL, 0, offsetof(T, m.dying), 0.5, 0, 1, NULL, NULL, "1",               \
         "a feature below this share of the curve is dying; 0: dead features only"},               \
    {                                                                                              \
        "dying_soft", SAE_OPT_BOOL, 0, offsetof(T, m.soft), 1, 0, 1, NULL, NULL, "1",              \
            "a dying feature takes part by how much it lacks; 0: as a dead one does"               \
    }

/* ---- the curve ------------------------------------------------------------------------------- */

typedef struct stock_curve {
    double alpha, beta, c, r2;
} stock_curve;

static inline double stock_curve_at(const stock_curve *f, int64_t rank)
{
    return f->c * pow((double)rank + f->beta, -f->alpha);
}

/* Least squares of log density on log(rank + beta) over the listed ranks, for one beta. */
static inline stock_curve stock_curve_line(const double *density, const int64_t *rank, int count,
                                           double beta)
{
    double mx = 0, my = 0, xx = 0, xy = 0, yy = 0;
    for (int i = 0; i < count; i++) {
        mx += log((double)rank[i] + beta) / count;
        my += log(density[rank[i] - 1]) / count;
    }
    for (int i = 0; i < count; i++) {
        double x = log((double)rank[i] + beta) - mx, y = log(density[rank[i] - 1]) - my;
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    stock_curve f = {-xy / xx, beta, exp(my - xy / xx * mx), yy > 0 ? xy * xy / (xx * yy) : 0};
    return f;
}

/* The curve through densities in descending order: zeros and the lowest twentieth left out, 256
 * ranks at equal distances of their logarithm, beta from 0, 1, 2, 4 .. 4096 by R^2, then golden
 * section between its neighbours. Returns 0, *out as it was, when fewer than 3 densities or no two
 * different ones are there. */
static inline int stock_curve_fit(const double *density, int64_t n, stock_curve *out)
{
    enum { RANKS = 256, BETAS = 14, SECTIONS = 40 };
    const double golden = 0.6180339887498949;
    int64_t rank[RANKS], m = 0;
    int count = 0, best = 0;
    while (m < n && density[m] > 0)
        m++;
    m -= m / 20;
    if (m < 3 || !(density[0] > density[m - 1]))
        return 0;
    for (int i = 0; i < RANKS; i++) {
        int64_t r = (int64_t)floor(pow((double)m, (double)i / (RANKS - 1)) + 0.5);
        if (count == 0 || r > rank[count - 1])
            rank[count++] = r;
    }
    stock_curve top = stock_curve_line(density, rank, count, 0);
    for (int i = 1; i < BETAS; i++) {
        stock_curve f = stock_curve_line(density, rank, count, ldexp(1, i - 1));
        if (f.r2 > top.r2) {
            top = f;
            best = i;
        }
    }
    double lo = best > 1 ? ldexp(1, best - 2) : 0;
    double hi = ldexp(1, best < BETAS - 1 ? best : best - 1);
    for (int i = 0; i < SECTIONS; i++) {
        stock_curve a = stock_curve_line(density, rank, count, hi - golden * (hi - lo));
        stock_curve b = stock_curve_line(density, rank, count, lo + golden * (hi - lo));
        if (a.r2 >= b.r2)
            hi = b.beta;
        else
            lo = a.beta;
        top = a.r2 > top.r2 ? a : top;
        top = b.r2 > top.r2 ? b : top;
    }
    *out = top;
    return 1;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

typedef struct stock_place {
    double density;
    int64_t feature;
} stock_place;

static inline int stock_place_order(const void *a, const void *b)
{
    const stock_place *p = (const stock_place *)a, *q = (const stock_place *)b;
    if (p->density != q->density)
        return p->density > q->density ? -1 : 1;
    return (p->feature > q->feature) - (p->feature < q->feature);
}

/* ranked, curve (with refit) and expected. number [2 n], place [n]: host memory. */
static inline int stock_zipf_place(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o,
                                   int refit, double *number, stock_place *place)
{
    int64_t n = m->dim.n;
    size_t bytes = (size_t)n * sizeof(double);
    double *density = number, *ranked = number + n;
    stock_curve f;
    SAE_TRY(stock_get(c, density, m->t[STOCK_DENSITY].w, bytes));
    SAE_TRY(stock_get(c, ranked, m->t[STOCK_RANKED].w, bytes));
    SAE_TRY(stock_get(c, &f, m->t[STOCK_CURVE].w, sizeof f));
    for (int64_t j = 0; j < n; j++) {
        place[j].density = density[j];
        place[j].feature = j;
        if (fabs(density[j] - ranked[j]) > o->hysteresis * ranked[j])
            ranked[j] = density[j];
    }
    SAE_TRY(stock_put(c, m->t[STOCK_RANKED].w, ranked, bytes));
    if (refit) {
        qsort(place, (size_t)n, sizeof *place, stock_place_order);
        for (int64_t r = 0; r < n; r++)
            density[r] = place[r].density;
        stock_curve_fit(density, n, &f);
        SAE_TRY(stock_put(c, m->t[STOCK_CURVE].w, &f, sizeof f));
    }
    for (int64_t j = 0; j < n; j++) {
        place[j].density = ranked[j];
        place[j].feature = j;
    }
    qsort(place, (size_t)n, sizeof *place, stock_place_order);
    for (int64_t r = 0; r < n; r++)
        ranked[place[r].feature] = stock_curve_at(&f, r + 1);
    return stock_put(c, m->t[STOCK_EXPECTED].w, ranked, bytes);
}

static inline int stock_zipf_rank(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o,
                                  int refit)
{
    size_t n = (size_t)m->dim.n + 1;
    double *number = (double *)malloc(2 * n * sizeof *number);
    stock_place *place = (stock_place *)malloc(n * sizeof *place);
    int rc = number && place ? stock_zipf_place(m, c, o, refit, number, place) : SAE_ENOMEM;
    free(number);
    free(place);
    return rc;
}

/* No densities yet: ranks by index on the fixed curve, whose densities add up to k. */
static inline int stock_zipf_init(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o,
                                  double k)
{
    double zero[STOCK_CHUNK] = {0}, sum = 0;
    int64_t n = m->dim.n;
    stock_curve f = {o->alpha, o->beta, 1, 0};
    for (int64_t j = 0; j < n; j += STOCK_CHUNK) {
        size_t some = (size_t)stock_some(n - j);
        SAE_TRY(stock_put(c, (double *)m->t[STOCK_DENSITY].w + j, zero, some * sizeof *zero));
        SAE_TRY(stock_put(c, (double *)m->t[STOCK_RANKED].w + j, zero, some * sizeof *zero));
    }
    SAE_TRY(stock_fill(c, (sae_real *)m->t[STOCK_NEED].w, n, 0));
    for (int64_t r = 1; r <= n; r++)
        sum += stock_curve_at(&f, r);
    f.c = n > 0 ? k / sum : 1;
    SAE_TRY(stock_put(c, m->t[STOCK_CURVE].w, &f, sizeof f));
    return stock_zipf_rank(m, c, o, 0);
}

/* ---- every step ------------------------------------------------------------------------------ */

/* density from the column index of this step's code over B rows. Early averages weigh all rows so
 * far as a longer run would weigh its last ones. */
static inline int stock_zipf_count(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o,
                                   const sae_csc *csc, int64_t B)
{
    int64_t colptr[STOCK_CHUNK + 1];
    double density[STOCK_CHUNK], *at = (double *)m->t[STOCK_DENSITY].w;
    double seen = 1 - exp2(-(double)c->stats->tokens / o->half_life);
    double rate = (1 - exp2(-(double)B / o->half_life)) / seen;
    rate = rate < 1 ? rate : 1;
    for (int64_t j = 0; j < m->dim.n && B > 0; j += STOCK_CHUNK) {
        int64_t some = stock_some(m->dim.n - j);
        size_t bytes = (size_t)some * sizeof *density;
        SAE_TRY(stock_get(c, colptr, csc->colptr + j, bytes + sizeof *colptr));
        SAE_TRY(stock_get(c, density, at + j, bytes));
        for (int64_t i = 0; i < some; i++) {
            double share = (double)(colptr[i + 1] - colptr[i]) / (double)B;
            density[i] += rate * (share - density[i]);
        }
        SAE_TRY(stock_put(c, at + j, density, bytes));
    }
    return SAE_OK;
}

static inline int stock_zipf_need(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o)
{
    double density[STOCK_CHUNK], expected[STOCK_CHUNK];
    sae_real need[STOCK_CHUNK];
    for (int64_t j = 0; j < m->dim.n; j += STOCK_CHUNK) {
        int64_t some = stock_some(m->dim.n - j);
        size_t bytes = (size_t)some * sizeof *density;
        SAE_TRY(stock_get(c, density, (double *)m->t[STOCK_DENSITY].w + j, bytes));
        SAE_TRY(stock_get(c, expected, (double *)m->t[STOCK_EXPECTED].w + j, bytes));
        for (int64_t i = 0; i < some; i++) {
            double least = o->dying * expected[i];
            double lack = density[i] < least ? 1 - density[i] / least : 0;
            need[i] = o->soft || lack == 0 ? (sae_real)lack : 1;
        }
        SAE_TRY(stock_put(c, (sae_real *)m->t[STOCK_NEED].w + j, need,
                          (size_t)some * sizeof *need));
    }
    return SAE_OK;
}

/* All of the above after a step whose code has the column index csc. now: rank in any case; refit:
 * a ranking may fit the curve. */
static inline int stock_zipf_adapt(sae_model *m, const sae_ctx *c, const stock_zipf_opt *o,
                                   const sae_csc *csc, int64_t B, int now, int refit)
{
    int64_t done = c->step + 1, first = (int64_t)ceil(o->start * (double)c->steps);
    SAE_TRY(stock_zipf_count(m, c, o, csc, B));
    if (now || done == (first > 1 ? first : 1) || done % o->rerank == 0)
        SAE_TRY(stock_zipf_rank(m, c, o, refit && o->curve == STOCK_ZIPF_FIT));
    return done < first ? SAE_OK : stock_zipf_need(m, c, o);
}

#endif
