/* sae/matching.h - which row of one matrix corresponds to which of another, by cosine.
 *
 * Nearest neighbours both ways, and pairs, one to one, of largest total cosine. Up to `exact` rows
 * in the smaller matrix the pairs are optimal. Beyond, where the table of cosines would be too
 * large, they are taken greedily: of the SAE_CANDIDATES nearest of every row the pair with the
 * largest cosine first. Then the total, in which a row without a match counts as 0, is a lower
 * bound of the best one, and the sum of the nearest cosines is an upper bound.
 */
#ifndef SAE_MATCHING_H
#define SAE_MATCHING_H

#include "assignment.h"
#include "cosine.h"

enum { SAE_CANDIDATES = 16 };

/* Option exact, int64_t, of a family's option struct. */
#define SAE_MATCH_OPTION(type)                                                                     \
    {"exact", SAE_OPT_INT, 0, offsetof(type, exact), 4096, 0, 1 << 16, NULL, NULL, "atoms",        \
     "the matching is optimal if the smaller side has at most so many atoms, else greedy"}

typedef struct sae_matched_side {
    int64_t n;
    double *best;    /* [n] largest cosine with a row of the other side */
    int64_t *arg;    /* [n] with which; ties: the lowest */
    int64_t *match;  /* [n] the row it is paired with, -1: none */
    double *cosine;  /* [n] with that row, signed; 0 without */
} sae_matched_side;

typedef struct sae_matching {
    sae_matched_side a, b;
    int64_t pairs; /* rows of the smaller side; greedy leaves some of them without a match */
} sae_matching;

typedef struct sae_candidate {
    double weight, cosine;
    int64_t row, col;
} sae_candidate;

/* The matching at work; rows are those of the smaller side. */
typedef struct sae_matcher {
    sae_matched_side *rows, *cols;
    int without_sign, exact;
    sae_real *table;    /* [rows x cols], or of one block */
    sae_candidate *top; /* [rows x SAE_CANDIDATES], best first; NULL when exact */
} sae_matcher;

static inline int sae_matched_side_open(sae_matched_side *s, int64_t n)
{
    s->n = n;
    s->best = (double *)malloc((size_t)n * sizeof *s->best + 1);
    s->cosine = (double *)calloc((size_t)n + 1, sizeof *s->cosine);
    s->arg = (int64_t *)calloc((size_t)n + 1, sizeof *s->arg);
    s->match = (int64_t *)malloc((size_t)n * sizeof *s->match + 1);
    if (!s->best || !s->cosine || !s->arg || !s->match)
        return SAE_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        s->best[i] = -2; /* below every cosine */
        s->match[i] = -1;
    }
    return SAE_OK;
}

static inline void sae_matched_side_close(sae_matched_side *s)
{
    free(s->best);
    free(s->cosine);
    free(s->arg);
    free(s->match);
}

static inline void sae_matching_close(sae_matching *m)
{
    sae_matched_side_close(&m->a);
    sae_matched_side_close(&m->b);
}

static inline void sae_matcher_pair(const sae_matcher *q, int64_t i, int64_t j, double cosine)
{
    q->rows->match[i] = j;
    q->cols->match[j] = i;
    q->rows->cosine[i] = q->cols->cosine[j] = cosine;
}

/* Keep a candidate of a row if it is among the best; `top` starts as places without one. */
static inline void sae_candidate_put(sae_candidate *top, sae_candidate e)
{
    int at = SAE_CANDIDATES;
    for (; at > 0 && e.weight > top[at - 1].weight; at--)
        if (at < SAE_CANDIDATES)
            top[at] = top[at - 1];
    if (at < SAE_CANDIDATES)
        top[at] = e;
}

static inline void sae_matcher_row(const sae_matcher *q, int64_t i, const sae_real *cosine)
{
    for (int64_t j = 0; j < q->cols->n; j++) {
        double c = (double)cosine[j], w = q->without_sign ? fabs(c) : c;
        if (w > q->rows->best[i]) {
            q->rows->best[i] = w;
            q->rows->arg[i] = j;
        }
        if (w > q->cols->best[j]) {
            q->cols->best[j] = w;
            q->cols->arg[j] = i;
        }
        sae_candidate e = {w, c, i, j};
        if (!q->exact)
            sae_candidate_put(q->top + i * SAE_CANDIDATES, e);
    }
}

static inline int sae_candidate_order(const void *a, const void *b)
{
    const sae_candidate *p = (const sae_candidate *)a, *q = (const sae_candidate *)b;
    if (p->weight != q->weight)
        return p->weight > q->weight ? -1 : 1;
    if (p->row != q->row)
        return p->row < q->row ? -1 : 1;
    return (p->col > q->col) - (p->col < q->col);
}

static inline void sae_matcher_greedy(const sae_matcher *q)
{
    int64_t count = q->rows->n * SAE_CANDIDATES;
    qsort(q->top, (size_t)count, sizeof *q->top, sae_candidate_order);
    for (const sae_candidate *e = q->top; e < q->top + count && e->weight > -2; e++)
        if (q->rows->match[e->row] < 0 && q->cols->match[e->col] < 0)
            sae_matcher_pair(q, e->row, e->col, e->cosine);
}

static inline int sae_matcher_exact(const sae_matcher *q)
{
    int64_t n = q->rows->n, cols = q->cols->n;
    int64_t *col_of = (int64_t *)malloc((size_t)n * sizeof *col_of + 1);
    int rc = col_of ? sae_assign(q->table, n, cols, q->without_sign, col_of) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < n; i++)
        sae_matcher_pair(q, i, col_of[i], (double)q->table[i * cols + col_of[i]]);
    free(col_of);
    return rc;
}

/* rows, cols: the matrices of q->rows and q->cols. */
static inline int sae_matcher_run(sae_matcher *q, const sae_measure *r, sae_cmat rows,
                                  sae_cmat cols)
{
    const int64_t most = SAE_COSINE_BLOCK, held = q->exact ? rows.rows : most;
    const sae_candidate none = {-2, 0, -1, -1};
    size_t top = (size_t)rows.rows * SAE_CANDIDATES;
    sae_cosines s;
    int rc = sae_cosines_open(&s, r, rows, cols);
    if (rc < 0)
        return rc;
    q->table = (sae_real *)malloc((size_t)(held * cols.rows) * sizeof *q->table + 1);
    q->top = q->exact ? NULL : (sae_candidate *)malloc(top * sizeof *q->top);
    rc = q->table && (q->exact || q->top) ? SAE_OK : SAE_ENOMEM;
    for (size_t i = 0; q->top && i < top; i++)
        q->top[i] = none;
    for (int64_t i = 0; rc >= 0 && i < rows.rows; i += most) {
        int64_t left = rows.rows - i, block = left < most ? left : most;
        sae_real *out = q->table + (q->exact ? i * cols.rows : 0);
        rc = sae_cosines_block(&s, i, block, out);
        for (int64_t k = 0; rc >= 0 && k < block; k++)
            sae_matcher_row(q, i + k, out + k * cols.rows);
    }
    if (rc >= 0 && q->exact)
        rc = sae_matcher_exact(q);
    else if (rc >= 0)
        sae_matcher_greedy(q);
    free(q->table);
    free(q->top);
    sae_cosines_close(&s);
    return rc;
}

/* Match the rows of a with those of b, backend memory, same width. Without sign, cosines count by
 * magnitude, also in `best`. Close it in any case. */
static inline int sae_match_rows(sae_matching *m, const sae_measure *r, sae_cmat a, sae_cmat b,
                                 int without_sign, int64_t exact)
{
    int by_a = a.rows <= b.rows;
    sae_matched_side none = {0, NULL, NULL, NULL, NULL};
    sae_matcher q = {by_a ? &m->a : &m->b, by_a ? &m->b : &m->a, without_sign, 0, NULL, NULL};
    m->a = m->b = none;
    m->pairs = by_a ? a.rows : b.rows;
    int rc = sae_matched_side_open(&m->a, a.rows);
    if (rc >= 0)
        rc = sae_matched_side_open(&m->b, b.rows);
    q.exact = q.rows->n <= exact;
    return rc < 0 ? rc : sae_matcher_run(&q, r, by_a ? a : b, by_a ? b : a);
}

#endif
