/* sae/logistic.h - logistic regression on a few features, and figures of a binary classifier.
 *
 * The regression minimises  sum_i a_i log(1 + exp(-t_i s_i)) + |w|^2 / (2 C),  s_i = w . f_i + b,
 * t_i = 1 or -1, with the intercept b unpenalised, by Newton's method with a halved step where the
 * objective does not fall. Everything is in double and in the order of the rows.
 */
#ifndef SAE_LOGISTIC_H
#define SAE_LOGISTIC_H

#include "groups.h"
#include <stdlib.h>
#include <string.h>

enum { SAE_LOGISTIC_K = 64 }; /* most features */

typedef struct sae_logistic_rows {
    int64_t rows, k, ld;
    const double *f;         /* [rows x k] with leading dimension ld >= k */
    const unsigned char *on; /* [rows] 1: positive */
    double weight[2];        /* a_i of the negative and the positive rows */
} sae_logistic_rows;

static inline double sae_logistic_score(const double *f, const double *w, int64_t k)
{
    double s = w[k];
    for (int64_t j = 0; j < k; j++)
        s += w[j] * f[j];
    return s;
}

/* The objective at w, its gradient g [k + 1] and the lower triangle of its Hessian h. */
static inline double sae_logistic_slope(const sae_logistic_rows *r, double C, const double *w,
                                        double *g, double *h)
{
    int64_t k = r->k, m = k + 1;
    double loss = 0, norm = 0;
    memset(g, 0, (size_t)m * sizeof *g);
    memset(h, 0, (size_t)(m * m) * sizeof *h);
    for (int64_t i = 0; i < r->rows; i++) {
        const double *f = r->f + i * r->ld;
        double s = sae_logistic_score(f, w, k), tail = exp(-fabs(s)), a = r->weight[r->on[i]];
        double p = s > 0.0 ? 1 / (1 + tail) : tail / (1 + tail);
        double e = a * (p - (double)r->on[i]), v = a * p * (1 - p);
        loss += a * (log(1 + tail) + ((s > 0.0) == r->on[i] ? 0.0 : fabs(s)));
        for (int64_t u = 0; u < k; u++) {
            double vf = v * f[u], *row = h + u * m;
            if (f[u] == 0.0) /* most are, in a sparse code */
                continue;
            g[u] += e * f[u];
            h[k * m + u] += vf;
            for (int64_t j = 0; j <= u; j++)
                row[j] += vf * f[j];
        }
        g[k] += e;
        h[k * m + k] += v;
    }
    for (int64_t u = 0; u < k; u++) {
        g[u] += w[u] / C;
        h[u * m + u] += 1 / C;
        norm += w[u] * w[u];
    }
    return loss + norm / (2 * C);
}

/* Solve a z = b by Cholesky in place, lower triangle of a [m x m]; b becomes z. A pivot that
 * rounding made no longer positive drops its coordinate. */
static inline void sae_small_solve(int64_t m, double *a, double *b)
{
    for (int64_t i = 0; i < m; i++) {
        double diagonal = a[i * m + i];
        for (int64_t j = 0; j <= i; j++) {
            double s = a[i * m + j];
            for (int64_t q = 0; q < j; q++)
                s -= a[i * m + q] * a[j * m + q];
            if (j < i)
                a[i * m + j] = a[j * m + j] > 0.0 ? s / a[j * m + j] : 0.0;
            else
                a[i * m + i] = s > 1e-14 * diagonal ? sqrt(s) : 0.0;
        }
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < i; j++)
            b[i] -= a[i * m + j] * b[j];
        b[i] = a[i * m + i] > 0.0 ? b[i] / a[i * m + i] : 0.0;
    }
    for (int64_t i = m; i-- > 0;) {
        for (int64_t j = i + 1; j < m; j++)
            b[i] -= a[j * m + i] * b[j];
        b[i] = a[i * m + i] > 0.0 ? b[i] / a[i * m + i] : 0.0;
    }
}

/* w [k + 1], the intercept last: start in, solution out. Not a number when a feature is not. */
static inline void sae_logistic_fit(const sae_logistic_rows *r, double C, double *w)
{
    enum { M = SAE_LOGISTIC_K + 1, STEPS = 100, HALVINGS = 30 };
    double slope[M], dir[M], h[M * M], trial[M];
    int64_t m = r->k + 1;
    double loss = sae_logistic_slope(r, C, w, slope, h);
    for (int step = 0; step < STEPS; step++) {
        double decrement = 0, t = 1, next;
        memcpy(dir, slope, (size_t)m * sizeof *dir);
        sae_small_solve(m, h, dir);
        for (int64_t j = 0; j < m; j++)
            decrement += slope[j] * dir[j];
        int near = !(decrement > 1e-8 * loss);  /* where rounding hides the descent */
        int last = !(decrement > 1e-12 * loss); /* the error of a Newton step is its square */
        for (int i = 0; i < HALVINGS; i++, t /= 2) {
            for (int64_t j = 0; j < m; j++)
                trial[j] = w[j] - t * dir[j];
            next = last ? loss : sae_logistic_slope(r, C, trial, slope, h);
            if (near || !(next > loss))
                break;
        }
        memcpy(w, trial, (size_t)m * sizeof *w);
        if (last)
            return;
        loss = next;
    }
}

/* ---- figures of a classifier ----------------------------------------------------------------- */

typedef struct sae_scored {
    double score;
    unsigned char on, group; /* group: sae_group_of the document */
} sae_scored;

static inline int sae_scored_order(const void *a, const void *b)
{
    const sae_scored *p = (const sae_scored *)a, *q = (const sae_scored *)b;
    return (p->score > q->score) - (p->score < q->score);
}

/* Per group of documents, and in the last place of all of them. */
enum { SAE_ALL_GROUPS = SAE_GROUPS };
typedef struct sae_pairs {
    double pos[SAE_GROUPS + 1], neg[SAE_GROUPS + 1]; /* rows */
    double won[SAE_GROUPS + 1];    /* pairs with a row of the group where the positive row scores
                                      higher, a tie counts half; in the last place all pairs */
    double inside[SAE_GROUPS + 1]; /* of them with both rows in the group */
} sae_pairs;

/* Sorts the rows. */
static inline void sae_count_pairs(sae_scored *row, int64_t rows, sae_pairs *c)
{
    double below_in[SAE_GROUPS] = {0}, tied_in[SAE_GROUPS] = {0}, below = 0, above;
    memset(c, 0, sizeof *c);
    qsort(row, (size_t)rows, sizeof *row, sae_scored_order);
    for (int64_t i = 0; i < rows; i++)
        (row[i].on ? c->pos : c->neg)[row[i].group]++;
    for (int g = 0; g < SAE_GROUPS; g++) {
        c->pos[SAE_ALL_GROUPS] += c->pos[g];
        c->neg[SAE_ALL_GROUPS] += c->neg[g];
    }
    above = c->pos[SAE_ALL_GROUPS];
    for (int64_t i = 0, end = 0; i < rows; i = end) {
        double on = 0, off = 0;
        for (end = i; end < rows && (end == i || row[end].score == row[i].score); end++) {
            on += row[end].on;
            off += !row[end].on;
            tied_in[row[end].group] += !row[end].on;
        }
        above -= on;
        for (int64_t j = i; j < end; j++) {
            int g = row[j].group;
            c->won[g] += row[j].on ? below + off / 2 : above + on / 2;
            if (row[j].on) {
                c->won[SAE_ALL_GROUPS] += below + off / 2;
                c->inside[g] += below_in[g] + tied_in[g] / 2;
            }
        }
        for (int64_t j = i; j < end; j++) {
            below_in[row[j].group] += !row[j].on;
            tied_in[row[j].group] = 0;
        }
        below += off;
    }
}

/* Area under the ROC curve without the rows of group g; SAE_ALL_GROUPS: of all rows. NaN without
 * positive or without negative rows. */
static inline double sae_auc(const sae_pairs *c, int g)
{
    double won = c->won[SAE_ALL_GROUPS], pos = c->pos[SAE_ALL_GROUPS];
    double neg = c->neg[SAE_ALL_GROUPS];
    if (g != SAE_ALL_GROUPS) {
        won -= c->won[g] - c->inside[g];
        pos -= c->pos[g];
        neg -= c->neg[g];
    }
    return pos > 0.0 && neg > 0.0 ? won / (pos * neg) : (double)NAN;
}

#endif
