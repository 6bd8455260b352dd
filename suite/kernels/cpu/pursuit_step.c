/* suite/kernels/cpu/pursuit_step.c - steps of matching, orthogonal matching and gradient pursuit.
 *
 * All in double: coefficients and residuals do not see the correlations in float. */
#include "cpu/pursuit.h"

#include <math.h>
#include <string.h>

static double dot_atom(const sae_chase *q, const double *v, int64_t j)
{
    return q->simd->wide_dot(v, row_of(q->w, j), q->w.cols);
}

/* Position of atom j in the support, which takes it in with coefficient 0 if it is new. */
static int64_t place(sae_quarry *s, int64_t j)
{
    int64_t at = 0, end = s->count;
    while (at < end) {
        int64_t mid = at + (end - at) / 2;
        if (s->atom[mid] < j)
            at = mid + 1;
        else
            end = mid;
    }
    if (at < s->count && s->atom[at] == j)
        return at;
    size_t behind = (size_t)(s->count++ - at);
    memmove(s->atom + at + 1, s->atom + at, behind * sizeof *s->atom);
    memmove(s->z + at + 1, s->z + at, behind * sizeof *s->z);
    s->atom[at] = (int32_t)j;
    s->z[at] = 0;
    return at;
}

/* r = x - sum z[i] w[atom[i]] */
static void renew_residual(const sae_chase *q, sae_quarry *s, const int32_t *atom, const double *z,
                           int64_t count)
{
    memcpy(s->r, s->x, (size_t)q->w.cols * sizeof *s->r);
    s->r2 = s->x2;
    for (int64_t i = 0; i < count; i++)
        if (z[i] != 0)
            s->r2 = q->simd->wide_add(s->r, -z[i], row_of(q->w, atom[i]), q->w.cols);
    s->stale = 1;
}

/* The correlations follow the residual by a row of the Gram matrix. Its entries are off by no more
 * than sae_chase_error. */
static void follow(const sae_chase *q, sae_quarry *s, int64_t j, double a)
{
    int64_t n = q->w.rows;
    s->top = q->simd->peak(s->c, (float)-a, q->gram + j * n, n, q->mask);
    s->off += fabs(a) * sae_chase_error(q, q->norm * q->norm);
    s->off += 0x1p-23 * (q->norm * sqrt(s->r2) + s->off);
    s->fresh = 0;
}

static void step_mp(const sae_chase *q, sae_quarry *s, int64_t j)
{
    double a = dot_atom(q, s->r, j);
    s->z[place(s, j)] += a;
    s->r2 = q->simd->wide_add(s->r, -a, row_of(q->w, j), q->w.cols);
    s->steps++;
    if (q->gram)
        follow(q, s, j, a);
    else
        s->stale = 1;
}

/* Atoms out of use become NaN, which no bound lets pass and which hides none of the others. */
void sae_chase_peak(const sae_chase *q, sae_quarry *s)
{
    for (int64_t j = 0; s->dead && j < q->w.rows; j++)
        if (s->dead[j])
            s->c[j] = NAN;
    s->top = q->simd->peak(s->c, 0, NULL, q->w.rows, q->mask);
}

/* ---- OMP ------------------------------------------------------------------------------------- */

static double *row_of_l(const sae_quarry *s, int64_t i)
{
    return s->l + i * (i + 1) / 2;
}

/* Append atom j to the Cholesky factor of the taken atoms' Gram matrix; 0 if it depends on them. */
static int extend_factor(const sae_chase *q, sae_quarry *s, int64_t j)
{
    int64_t c = s->taken, d = q->w.cols;
    const float *w = row_of(q->w, j);
    double *last = row_of_l(s, c), pivot = q->simd->dot(w, w, d), forth = dot_atom(q, s->x, j);
    for (int64_t i = 0; i < c; i++) {
        const double *row = row_of_l(s, i);
        double g = q->simd->dot(w, row_of(q->w, s->order[i]), d);
        for (int64_t t = 0; t < i; t++)
            g -= last[t] * row[t];
        last[i] = g / row[i];
        pivot -= last[i] * last[i];
        forth -= last[i] * s->forth[i];
    }
    if (pivot < 1e-7)
        return 0;
    last[c] = sqrt(pivot);
    s->forth[c] = forth / last[c];
    s->order[s->taken++] = (int32_t)j;
    return 1;
}

/* L^T sol = forth, column by column. */
static void solve_back(sae_quarry *s)
{
    memcpy(s->sol, s->forth, (size_t)s->taken * sizeof *s->sol);
    for (int64_t i = s->taken - 1; i >= 0; i--) {
        const double *row = row_of_l(s, i);
        s->sol[i] /= row[i];
        for (int64_t t = 0; t < i; t++)
            s->sol[t] -= s->sol[i] * row[t];
    }
}

static void step_omp(const sae_chase *q, sae_quarry *s, int64_t j)
{
    s->dead[j] = 1;
    if (!extend_factor(q, s, j)) {
        sae_chase_peak(q, s);
        return;
    }
    solve_back(s);
    s->steps++;
    s->count = 0;
    for (int64_t i = 0; i < s->taken; i++)
        s->z[place(s, s->order[i])] = s->sol[i];
    renew_residual(q, s, s->order, s->sol, s->taken);
}

/* ---- gradient -------------------------------------------------------------------------------- */

static void step_gradient(const sae_chase *q, sae_quarry *s, int64_t j)
{
    int64_t at = place(s, j), d = q->w.cols;
    double along = 0, size = 0; /* <move, r>, |move|^2 */
    memset(s->move, 0, (size_t)d * sizeof *s->move);
    for (int64_t i = 0; i < s->count; i++) {
        s->sol[i] = 0;
        if (i != at && s->z[i] == 0)
            continue;
        double g = s->sol[i] = dot_atom(q, s->r, s->atom[i]);
        size = q->simd->wide_add(s->move, g, row_of(q->w, s->atom[i]), d);
        along += g * g;
    }
    if (!(size > 0)) {
        s->limit = s->steps;
        return;
    }
    s->steps++;
    for (int64_t i = 0; i < s->count; i++) {
        s->z[i] += along / size * s->sol[i];
        if (q->p->positive && s->z[i] < 0)
            s->z[i] = 0;
    }
    renew_residual(q, s, s->atom, s->z, s->count);
}

void sae_chase_step(const sae_chase *q, sae_quarry *s, int64_t j)
{
    static void (*const step[])(const sae_chase *, sae_quarry *, int64_t) = {step_mp, step_omp,
                                                                             step_gradient};
    step[q->p->solver](q, s, j);
}
