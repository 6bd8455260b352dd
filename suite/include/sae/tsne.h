/* sae/tsne.h - exact t-SNE of a few hundred points (van der Maaten and Hinton 2008), for plots.
 *
 * Reads squared distances, so any similarity will do. Deterministic: the start is given by the
 * caller, the number of steps is fixed, everything is double and sums run in one order.
 *
 *     p(j|i) ~ exp(-b_i D_ij),  b_i such that the entropy of p(.|i) is log(perplexity)
 *     P = (p(j|i) + p(i|j)) / 2m,  Q_ij ~ 1 / (1 + |y_i - y_j|^2),  cost = KL(P || Q)
 *
 * Steps: momentum 0.5, then 0.8; P times 12 in the first quarter; gains as in the authors' code;
 * learning rate max(m / 48, 50), as scikit-learn's "auto".
 */
#ifndef SAE_TSNE_H
#define SAE_TSNE_H

#include "base.h"
#include <math.h>
#include <stdlib.h>

/* Row i of p: probabilities of its neighbours at the perplexity; the lower the entropy that is
 * reached, the nearer. Equal distances give equal shares. */
static inline void sae_tsne_row(const double *distance, int64_t m, int64_t i, double entropy,
                                double *p)
{
    double lo = 0, hi = (double)INFINITY, b = 1, least = (double)INFINITY;
    for (int64_t j = 0; j < m; j++)
        if (j != i && distance[j] < least)
            least = distance[j];
    for (int step = 0; step < 64; step++) {
        double sum = 0, weighted = 0;
        for (int64_t j = 0; j < m; j++) {
            double d = distance[j] - least;
            p[j] = j == i ? 0.0 : exp(-b * d);
            sum += p[j];
            weighted += p[j] * d;
        }
        double h = log(sum) + b * weighted / sum;
        for (int64_t j = 0; j < m; j++)
            p[j] /= sum;
        if (fabs(h - entropy) < 1e-10)
            return;
        if (h > entropy)
            lo = b;
        else
            hi = b;
        b = hi < (double)INFINITY ? (lo + hi) / 2 : b * 2;
    }
}

/* q [m x m] = 1 / (1 + |y_i - y_j|^2), 0 on the diagonal; their sum. */
static inline double sae_tsne_kernel(const double *y, int64_t m, double *q)
{
    double sum = 0;
    for (int64_t i = 0; i < m; i++) {
        q[i * m + i] = 0;
        for (int64_t j = 0; j < i; j++) {
            double a = y[2 * i] - y[2 * j], b = y[2 * i + 1] - y[2 * j + 1];
            double v = 1 / (1 + a * a + b * b);
            q[i * m + j] = q[j * m + i] = v;
            sum += 2 * v;
        }
    }
    return sum;
}

static inline void sae_tsne_centre(double *y, int64_t m)
{
    for (int k = 0; k < 2; k++) {
        double mean = 0;
        for (int64_t i = 0; i < m; i++)
            mean += y[2 * i + k] / (double)m;
        for (int64_t i = 0; i < m; i++)
            y[2 * i + k] -= mean;
    }
}

/* One step; v [m x 2] velocities, gain [m x 2]; q: scratch. */
static inline void sae_tsne_step(const double *p, double *q, int64_t m, double exaggeration,
                                 double momentum, double *y, double *v, double *gain)
{
    double rate = (double)m / 48 > 50 ? (double)m / 48 : 50, sum = sae_tsne_kernel(y, m, q);
    for (int64_t i = 0; i < m; i++) {
        double g[2] = {0, 0};
        for (int64_t j = 0; j < m; j++) {
            double w = q[i * m + j];
            double f = 4 * (exaggeration * p[i * m + j] - w / sum) * w;
            g[0] += f * (y[2 * i] - y[2 * j]);
            g[1] += f * (y[2 * i + 1] - y[2 * j + 1]);
        }
        for (int k = 0; k < 2; k++) {
            double *a = &gain[2 * i + k], *u = &v[2 * i + k];
            *a = (g[k] > 0) != (*u > 0) ? *a + 0.2 : *a * 0.8;
            *a = *a > 0.01 ? *a : 0.01;
            *u = momentum * *u - rate * *a * g[k];
        }
    }
    for (int64_t i = 0; i < 2 * m; i++)
        y[i] += v[i];
    sae_tsne_centre(y, m);
}

/* y [m x 2]: the start, then the map. distance [m x m] squared. *cost = KL(P || Q). SAE_ENOMEM. */
static inline int sae_tsne(const double *distance, int64_t m, double perplexity, int64_t steps,
                           double *y, double *cost)
{
    size_t square = (size_t)(m * m);
    double *p = (double *)calloc(3 * square + 4 * (size_t)m + 1, sizeof *p);
    if (!p)
        return SAE_ENOMEM;
    double *q = p + square, *row = q + square, *v = row + square, *gain = v + 2 * m;
    double most = (double)(m - 1) / 3;
    double entropy = log(perplexity < most ? perplexity : most > 1 ? most : 1);
    for (int64_t i = 0; i < m; i++)
        sae_tsne_row(distance + i * m, m, i, entropy, row + i * m);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++)
            p[i * m + j] = (row[i * m + j] + row[j * m + i]) / (2 * (double)m);
    for (int64_t i = 0; i < 2 * m; i++)
        gain[i] = 1;
    for (int64_t s = 0; s < steps; s++)
        sae_tsne_step(p, q, m, s < steps / 4 ? 12 : 1, s < steps / 4 ? 0.5 : 0.8, y, v, gain);
    double sum = sae_tsne_kernel(y, m, q);
    *cost = 0;
    for (int64_t i = 0; i < m * m; i++)
        *cost += p[i] > 0 ? p[i] * log(p[i] * sum / q[i]) : 0;
    free(p);
    return SAE_OK;
}

#endif
