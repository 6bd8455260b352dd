/* suite/eval/similarity.c - CKA, SVCCA, regression, relative representations, Jaccard. */
#include "eval/similarity.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const sae_likeness_name sae_likeness_names[SAE_LIKENESSES] = {
    {"cka", "corrected"},        {"cka", "released"},       {"svcca", "corrected"},
    {"svcca", "released"},       {"regression", "corrected"}, {"regression", "released"},
    {"relative", "corrected"},   {"jaccard", "corrected"},  {"jaccard", "released"},
    {"transfer", "ratio"},
};

/* ---- calls on the backend -------------------------------------------------------------------- */

static double *to_device(const sae_engine *e, const double *v, int64_t count)
{
    double *out = e->be->alloc(e->dev, (size_t)count * sizeof *out);
    if (out && e->be->copy(e->dev, out, v, (size_t)count * sizeof *v, SAE_COPY_H2D) < 0) {
        e->be->release(e->dev, out);
        return NULL;
    }
    return out;
}

/* The result comes home and the memory on the device is released, also after a failure. */
static int fetch(const sae_engine *e, int rc, double *out, double *dev, int64_t count)
{
    if (rc >= 0 && dev)
        rc = e->be->copy(e->dev, out, dev, (size_t)count * sizeof *out, SAE_COPY_D2H);
    if (dev)
        e->be->release(e->dev, dev);
    return rc;
}

static int cross(const sae_engine *e, const sae_place *x, const sae_place *y, double *out)
{
    sae_cmat a = {x->x, x->rows, x->d, x->d}, b = {y->x, y->rows, y->d, y->d};
    double *dev = e->be->alloc(e->dev, (size_t)(x->d * y->d) * sizeof *dev); /* zeroed */
    return fetch(e, dev ? e->k.cross(e->dev, a, b, dev) : SAE_ENOMEM, out, dev, x->d * y->d);
}

static int eigen(const sae_engine *e, int64_t n, double *a, double *w)
{
    double *da = to_device(e, a, n * n), *dw = to_device(e, w, n);
    int rc = da && dw ? e->k.eigh(e->dev, n, da, dw) : SAE_ENOMEM;
    rc = fetch(e, rc, a, da, n * n);
    return fetch(e, rc, w, dw, n);
}

/* b = a^-1 b. */
static int solve(const sae_engine *e, int64_t n, int64_t m, const double *a, double *b)
{
    double *da = to_device(e, a, n * n), *db = to_device(e, b, n * m);
    int rc = da && db ? e->k.solve_spd(e->dev, n, m, da, db) : SAE_ENOMEM;
    if (da)
        e->be->release(e->dev, da);
    return fetch(e, rc, b, db, n * m);
}

/* ---- one place ------------------------------------------------------------------------------- */

/* Coordinate i does not vary: what is left of its square is rounding. */
static int flat(const sae_place *p, int64_t i)
{
    double square = p->raw[i * p->d + i];
    return square - (double)p->rows * p->mean[i] * p->mean[i] <= 0x1p-40 * square;
}

/* products - rows * mean mean^T; 0 where a coordinate does not vary */
static void centre(const sae_place *x, const sae_place *y, const double *products, double *out)
{
    for (int64_t i = 0; i < x->d; i++)
        for (int64_t j = 0; j < y->d; j++)
            out[i * y->d + j] =
                flat(x, i) || flat(y, j)
                    ? 0
                    : products[i * y->d + j] - (double)x->rows * x->mean[i] * y->mean[j];
}

static int find_axes(sae_place *p, const sae_engine *e, sae_err *err)
{
    int64_t d = p->d, rank = d < SAE_SVCCA_RANK ? d : SAE_SVCCA_RANK;
    double *a = NULL, *w = NULL;
    int rc = sae_new(&a, d * d, sizeof *a, "similarity", err);
    if (rc >= 0)
        rc = sae_new(&w, d, sizeof *w, "similarity", err);
    if (rc >= 0) {
        memcpy(a, p->centred, (size_t)(d * d) * sizeof *a);
        rc = eigen(e, d, a, w);
    }
    for (int64_t k = 0; rc >= 0 && k < rank && w[k] > 1e-12 * w[0]; k++) {
        p->size[k] = w[k];
        memcpy(p->axis + k * d, a + k * d, (size_t)d * sizeof *a);
        p->rank = k + 1;
    }
    sae_free(a);
    sae_free(w);
    return rc;
}

static double row_norm(const sae_real *x, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++)
        sum += (double)x[j] * (double)x[j];
    return sqrt(sum);
}

/* Cosines of every row with the anchors, as a row of unit length; zero rows stay zero. */
static void relate(sae_place *p, sae_cmat x, const int64_t *anchor)
{
    for (int64_t k = 0; k < p->anchors; k++) {
        const sae_real *a = x.p + anchor[k] * x.ld;
        double na = row_norm(a, p->d);
        for (int64_t r = 0; r < p->rows; r++) {
            double sum = 0;
            for (int64_t j = 0; j < p->d; j++)
                sum += (double)x.p[r * x.ld + j] * (double)a[j];
            p->relative[r * p->anchors + k] = (sae_real)(na > 0.0 ? sum / na : 0);
        }
    }
    for (int64_t r = 0; r < p->rows; r++) { /* the length of x itself cancels */
        sae_real *row = p->relative + r * p->anchors;
        double n = row_norm(row, p->anchors);
        for (int64_t k = 0; k < p->anchors && n > 0.0; k++)
            row[k] = (sae_real)((double)row[k] / n);
    }
}

int sae_place_open(sae_place *p, const sae_engine *e, sae_cmat x, const int64_t *anchor,
                   int64_t anchors, sae_err *err)
{
    int64_t d = x.cols;
    *p = (sae_place){.rows = x.rows, .d = d, .anchors = anchors};
    SAE_TRY(sae_new(&p->mean, d, sizeof *p->mean, "similarity", err));
    SAE_TRY(sae_new(&p->raw, d * d, sizeof *p->raw, "similarity", err));
    SAE_TRY(sae_new(&p->centred, d * d, sizeof *p->centred, "similarity", err));
    SAE_TRY(sae_new(&p->size, SAE_SVCCA_RANK, sizeof *p->size, "similarity", err));
    SAE_TRY(sae_new(&p->axis, SAE_SVCCA_RANK * d, sizeof *p->axis, "similarity", err));
    SAE_TRY(sae_new(&p->relative, x.rows * anchors, sizeof *p->relative, "similarity", err));
    p->x = e->be->alloc(e->dev, (size_t)(x.rows * d) * sizeof *p->x);
    if (!p->x)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld rows", (long long)x.rows);
    int rc = e->be->copy(e->dev, p->x, x.p, (size_t)(x.rows * d) * sizeof *p->x, SAE_COPY_H2D);
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t j = 0; j < d; j++)
            p->mean[j] += (double)x.p[r * x.ld + j] / (double)x.rows;
    if (rc >= 0)
        rc = cross(e, p, p, p->raw);
    if (rc >= 0)
        centre(p, p, p->raw, p->centred);
    if (rc >= 0)
        rc = find_axes(p, e, err);
    if (rc < 0)
        return SAE_SET(err, rc, "the moments of these activations cannot be decomposed");
    relate(p, x, anchor);
    return SAE_OK;
}

void sae_place_close(sae_place *p, const sae_engine *e)
{
    if (p->x)
        e->be->release(e->dev, p->x);
    sae_free(p->mean);
    sae_free(p->raw);
    sae_free(p->centred);
    sae_free(p->size);
    sae_free(p->axis);
    sae_free(p->relative);
    *p = (sae_place){0};
}

/* ---- two places ------------------------------------------------------------------------------ */

static double root_of_squares(const double *a, int64_t rows, int64_t cols, const double *row,
                              const double *col)
{
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            double s = row ? row[i * rows + i] * col[j * cols + j] : 1;
            sum += s > 0.0 ? a[i * cols + j] * a[i * cols + j] / s : 0;
        }
    return sqrt(sum);
}

/* |C_xy|^2 / (|C_xx| |C_yy|); released: columns scaled to unit length first. */
static double cka(const sae_place *x, const sae_place *y, const double *xy, int released)
{
    const double *sx = released ? x->centred : NULL, *sy = released ? y->centred : NULL;
    double both = root_of_squares(xy, x->d, y->d, sx, sy);
    double one = root_of_squares(x->centred, x->d, x->d, sx, sx) *
                 root_of_squares(y->centred, y->d, y->d, sy, sy);
    return one > 0.0 ? both * both / one : (double)NAN;
}

/* Mean of the roots of the eigenvalues, negative ones as 0, over `rank`. */
static int mean_root(const sae_engine *e, double *a, int64_t rank, double *out)
{
    double w[SAE_SVCCA_RANK] = {0}, sum = 0;
    int rc = eigen(e, rank, a, w);
    for (int64_t k = 0; k < rank; k++)
        sum += w[k] > 0.0 ? sqrt(w[k]) : 0;
    *out = sum / (double)rank;
    return rc;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* A = U_x^T U_y of the kept directions. Corrected: its mean singular value. Released: the lower
 * triangle of S_x^-1 A A^T S_x, which is not symmetric, goes to a symmetric solver. along: [x->d]
 * of scratch. */
static int svcca(const sae_engine *e, const sae_place *x, const sae_place *y, const double *xy,
                 double *along, double *out)
{
    int64_t n = x->rank, m = y->rank;
    double a[SAE_SVCCA_RANK * SAE_SVCCA_RANK], plain[SAE_SVCCA_RANK * SAE_SVCCA_RANK];
    double released[SAE_SVCCA_RANK * SAE_SVCCA_RANK];
    out[0] = out[1] = (double)NAN;
    if (n == 0 || m == 0)
        return SAE_OK;
    for (int64_t j = 0; j < m; j++) {
        for (int64_t p = 0; p < x->d; p++)
            along[p] = dot(xy + p * y->d, y->axis + j * y->d, y->d);
        for (int64_t i = 0; i < n; i++)
            a[i * m + j] = dot(x->axis + i * x->d, along, x->d) / sqrt(x->size[i] * y->size[j]);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= i; k++) {
            double sum = dot(a + i * m, a + k * m, m);
            plain[i * n + k] = plain[k * n + i] = sum;
            released[i * n + k] = released[k * n + i] = sum * sqrt(x->size[k] / x->size[i]);
        }
    int rc = mean_root(e, plain, n, &out[0]);
    out[0] *= (double)n / (double)(n < m ? n : m);
    return rc < 0 ? rc : mean_root(e, released, n, &out[1]);
}

/* Sum of squares of y that X explains: tr(yx (xx + ridge)^-1 xy), with a ridge of 1e-6 of the mean
 * variance. */
static int explained(const sae_engine *e, const double *xx, const double *xy, int64_t d, int64_t m,
                     double *out, sae_err *err)
{
    double *a = NULL, *b = NULL, trace = 0, sum = 0;
    int rc = sae_new(&a, d * d, sizeof *a, "similarity", err);
    if (rc >= 0)
        rc = sae_new(&b, d * m, sizeof *b, "similarity", err);
    for (int64_t i = 0; rc >= 0 && i < d; i++)
        trace += xx[i * d + i];
    if (rc >= 0 && trace > 0.0) {
        memcpy(a, xx, (size_t)(d * d) * sizeof *a);
        memcpy(b, xy, (size_t)(d * m) * sizeof *b);
        for (int64_t i = 0; i < d; i++)
            a[i * d + i] += 1e-6 * trace / (double)d;
        rc = solve(e, d, m, a, b);
        for (int64_t i = 0; i < d * m; i++)
            sum += xy[i] * b[i];
    }
    sae_free(a);
    sae_free(b);
    *out = sum;
    return rc;
}

static double trace_of(const double *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i * n + i];
    return sum;
}

static double relative(const sae_place *x, const sae_place *y)
{
    double sum = 0;
    for (int64_t i = 0; i < x->rows * x->anchors; i++)
        sum += (double)x->relative[i] * (double)y->relative[i];
    return x->rows && x->anchors ? sum / (double)x->rows : (double)NAN;
}

int sae_place_compare(const sae_engine *e, const sae_place *x, const sae_place *y, double *out,
                      sae_err *err)
{
    double *raw = NULL, *xy = NULL, fit = 0, fit_raw = 0, variance = trace_of(y->centred, y->d);
    double *along = NULL;
    int rc = sae_new(&raw, x->d * y->d, sizeof *raw, "similarity", err);
    if (rc >= 0)
        rc = sae_new(&along, x->d, sizeof *along, "similarity", err);
    if (rc >= 0)
        rc = sae_new(&xy, x->d * y->d, sizeof *xy, "similarity", err);
    if (rc >= 0)
        rc = cross(e, x, y, raw);
    if (rc >= 0) {
        centre(x, y, raw, xy);
        out[SAE_LIKE_CKA] = cka(x, y, xy, 0);
        out[SAE_LIKE_CKA_RELEASED] = cka(x, y, xy, 1);
        out[SAE_LIKE_RELATIVE] = relative(x, y);
        rc = svcca(e, x, y, xy, along, out + SAE_LIKE_SVCCA);
    }
    if (rc >= 0)
        rc = explained(e, x->centred, xy, x->d, y->d, &fit, err);
    if (rc >= 0)
        rc = explained(e, x->raw, raw, x->d, y->d, &fit_raw, err);
    out[SAE_LIKE_REGRESSION] = variance > 0.0 ? fit / variance : (double)NAN;
    out[SAE_LIKE_REGRESSION_RELEASED] =
        variance > 0.0 ? 1 - (trace_of(y->raw, y->d) - fit_raw) / variance : (double)NAN;
    sae_free(raw);
    sae_free(along);
    sae_free(xy);
    return rc < 0 ? SAE_SET(err, rc, "activations cannot be compared") : SAE_OK;
}

/* ---- origins of atoms ------------------------------------------------------------------------ */

int sae_origin_order(const void *a, const void *b)
{
    const sae_token *p = a, *q = b;
    if (p->doc != q->doc)
        return p->doc < q->doc ? -1 : 1;
    return (p->pos > q->pos) - (p->pos < q->pos);
}

int64_t sae_origins_unique(sae_token *t, int64_t count)
{
    int64_t kept = 0;
    qsort(t, (size_t)count, sizeof *t, sae_origin_order);
    for (int64_t i = 0; i < count; i++)
        if (kept == 0 || sae_origin_order(&t[kept - 1], &t[i]))
            t[kept++] = t[i];
    return kept;
}

double sae_jaccard(sae_token *a, int64_t count_a, sae_token *b, int64_t count_b)
{
    int64_t n = sae_origins_unique(a, count_a), m = sae_origins_unique(b, count_b), both = 0;
    for (int64_t i = 0, j = 0; i < n && j < m;) {
        int order = sae_origin_order(&a[i], &b[j]);
        both += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    return n + m > 0 ? (double)both / (double)(n + m - both) : (double)NAN;
}

double sae_jaccard_chance(double count_a, double count_b, double from)
{
    double both = count_a * count_b / from;
    return both / (count_a + count_b - both);
}

/* ---- layer matching -------------------------------------------------------------------------- */

static int64_t layers_from(const int64_t *model_of, int64_t places, int64_t first)
{
    int64_t i = first;
    while (i < places && model_of[i] == model_of[first])
        i++;
    return i - first;
}

sae_layer_match sae_match_layers(const double *value, int64_t places, const int64_t *model_of,
                                 const int64_t *layer_of, int cross)
{
    sae_layer_match out = {0, 0};
    for (int64_t a = 0, na; a < places; a += na) {
        na = layers_from(model_of, places, a);
        for (int64_t b = 0, nb; b < places; b += nb) {
            nb = layers_from(model_of, places, b);
            if (na != nb || (cross && a == b))
                continue;
            for (int64_t i = a; i < a + na; i++) {
                const double *v = value + i * places;
                int64_t best = b;
                for (int64_t j = b; j < b + nb; j++)
                    if (v[j] > v[best] || (isnan(v[best]) && !isnan(v[j])))
                        best = j;
                out.hits += !isnan(v[best]) && layer_of[best] == layer_of[i];
                out.layers++;
            }
        }
    }
    return out;
}
