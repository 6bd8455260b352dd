/* sae/assignment.h - the one-to-one assignment of rows to columns with the largest total weight.
 *
 * Exact, by shortest augmenting paths (Jonker & Volgenant 1987; the order of updates is that of
 * Crouse 2016). At most rows^2 cols steps, in practice far fewer: metrics/recovery.md has a time.
 */
#ifndef SAE_ASSIGNMENT_H
#define SAE_ASSIGNMENT_H

#include "base.h"

#include <math.h>
#include <stdlib.h>

typedef struct sae_assigner {
    const sae_real *weight; /* [rows x cols] finite */
    int64_t rows, cols;
    int magnitude;   /* 1: |weight| counts */
    double *u, *v;   /* [rows], [cols] dual variables: cost >= u + v, equal where assigned */
    double *reach;   /* [cols] length of the shortest path to a column */
    int64_t *from;   /* [cols] the row before it on that path */
    int64_t *left;   /* [cols] columns outside the tree of shortest paths */
    int64_t *tree;   /* [rows] columns in it */
    int64_t *row_of; /* [cols] assigned row, -1: free */
    int64_t *col_of; /* [rows] assigned column, -1: none yet */
} sae_assigner;

/* Lengths of paths that end with row i, which is `base` away; the place in `left` of the column
 * that is nearest, a free one among equals. */
static inline int64_t sae_assign_relax(const sae_assigner *a, int64_t i, int64_t left, double base)
{
    const sae_real *w = a->weight + i * a->cols;
    double best = (double)INFINITY;
    int64_t at = 0;
    for (int64_t q = 0; q < left; q++) {
        int64_t j = a->left[q];
        double value = a->magnitude ? fabs((double)w[j]) : (double)w[j];
        double length = base - value - a->v[j];
        if (length < a->reach[j]) {
            a->reach[j] = length;
            a->from[j] = i;
        }
        if (a->reach[j] < best || (a->reach[j] <= best && a->row_of[j] < 0)) {
            best = a->reach[j];
            at = q;
        }
    }
    return at;
}

/* Assign row `start`: the shortest path from it to a free column turns assignments over. */
static inline void sae_assign_row(const sae_assigner *a, int64_t start)
{
    int64_t left = a->cols, tree = 0, i = start, j;
    double length = 0;
    for (int64_t q = 0; q < a->cols; q++) {
        a->left[q] = q;
        a->reach[q] = (double)INFINITY;
    }
    for (;;) {
        int64_t at = sae_assign_relax(a, i, left, length - a->u[i]);
        j = a->left[at];
        length = a->reach[j];
        a->left[at] = a->left[--left];
        if (a->row_of[j] < 0)
            break;
        a->tree[tree++] = j;
        i = a->row_of[j];
    }
    a->u[start] += length;
    for (int64_t q = 0; q < tree; q++) {
        double gap = length - a->reach[a->tree[q]];
        a->u[a->row_of[a->tree[q]]] += gap;
        a->v[a->tree[q]] -= gap;
    }
    for (i = -1; i != start;) {
        int64_t before = a->col_of[a->from[j]];
        i = a->from[j];
        a->row_of[j] = i;
        a->col_of[i] = j;
        j = before;
    }
}

/* col_of [rows] = the column of each row, all different; rows <= cols. With `magnitude` the weights
 * count without their signs. */
static inline int sae_assign(const sae_real *weight, int64_t rows, int64_t cols, int magnitude,
                             int64_t *col_of)
{
    size_t r = (size_t)rows, c = (size_t)cols;
    double *d = (double *)calloc(r + 2 * c + 1, sizeof *d);
    int64_t *k = (int64_t *)malloc((r + 3 * c + 1) * sizeof *k);
    if (d && k) {
        sae_assigner a = {weight, rows, cols, magnitude, d, d + r, d + r + c,
                          k, k + c, k + 3 * c, k + 2 * c, col_of};
        for (int64_t j = 0; j < cols; j++)
            a.row_of[j] = -1;
        for (int64_t i = 0; i < rows; i++)
            col_of[i] = -1;
        for (int64_t i = 0; i < rows; i++)
            sae_assign_row(&a, i);
    }
    int rc = d && k ? SAE_OK : SAE_ENOMEM;
    free(d);
    free(k);
    return rc;
}

#endif
