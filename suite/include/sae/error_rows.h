/* sae/error_rows.h - which rows the measurements of errors use: training and test documents, and
 * without the first positions of long contexts (metrics/darkmatter.md); and SAEs that differ in
 * size.
 */
#ifndef SAE_ERROR_ROWS_H
#define SAE_ERROR_ROWS_H

#include "labelled.h"
#include <string.h>

enum { SAE_ES_TRAIN, SAE_ES_TEST, SAE_ES_HALVES };
enum { SAE_ES_AUTO = -1, SAE_ES_PAPER_SKIP = 200 };

/* Options rows, skip_first and min_rows, int64_t each, of a family's option struct. */
#define SAE_ES_ROW_OPTIONS(type)                                                                   \
    {"rows", SAE_OPT_INT, 0, offsetof(type, rows), 32768, 0, 1 << 30, NULL, NULL, "rows",          \
     "the first so many rows of the evaluation; 0: all"},                                          \
    {"skip_first", SAE_OPT_INT, 0, offsetof(type, skip_first), SAE_ES_AUTO, SAE_ES_AUTO, 1 << 30,  \
     NULL, NULL, "positions",                                                                      \
     "leave out the first positions of a context; -1: 200 (Engels et al.) if at least half of "    \
     "the rows are behind them, else 0"},                                                          \
    {"min_rows", SAE_OPT_INT, 0, offsetof(type, min_rows), 20, 1, 1 << 20, NULL, NULL, "rows",     \
     "training rows for each dimension without which nothing is fitted"}

/* Where row i of the batch counts: its half, 2 + its half for one before SAE_ES_PAPER_SKIP while
 * skip is SAE_ES_AUTO, or -1. */
static inline int sae_es_place(int64_t rows, int64_t skip, const sae_eval *e, int64_t i)
{
    int64_t pos = e->tok[i].pos;
    int half = sae_part_of(e->tok[i].doc) == SAE_PART_TEST;
    if (rows > 0 && (int64_t)e->row0 + i >= rows)
        return -1;
    if (skip == SAE_ES_AUTO)
        return 2 * (pos < SAE_ES_PAPER_SKIP) + half;
    return pos < skip ? -1 : half;
}

/* skip_first in force, once it is known how many rows lie behind and before SAE_ES_PAPER_SKIP. */
static inline int64_t sae_es_skip(int64_t skip, double behind, double before)
{
    if (skip != SAE_ES_AUTO)
        return skip;
    return behind > 0.0 && behind >= before ? SAE_ES_PAPER_SKIP : 0;
}

static inline sae_real sae_es_error_at(const sae_eval *e, int64_t at)
{
    return (sae_real)((double)e->x[at] - (double)e->xhat[at]);
}

/* Rows of the batch with that place into x [B x d], their errors into y; answers how many. */
static inline int64_t sae_es_gather(int64_t rows, int64_t skip, const sae_eval *e, int place,
                                    sae_real *x, sae_real *y)
{
    int64_t count = 0, d = e->d;
    for (int64_t i = 0; i < e->B; i++) {
        if (sae_es_place(rows, skip, e, i) != place)
            continue;
        for (int64_t j = 0; j < d; j++) {
            x[count * d + j] = e->x[i * d + j];
            y[count * d + j] = sae_es_error_at(e, i * d + j);
        }
        count++;
    }
    return count;
}

/* Whether two canonical specs agree in all but n. */
static inline int sae_es_same_but_n(const char *a, const char *b)
{
    for (char before = 0; *a || *b; before = *a, a++, b++) {
        if ((before == ':' || before == ',') && !strncmp(a, "n=", 2) && !strncmp(b, "n=", 2)) {
            a += 2 + strspn(a + 2, "0123456789");
            b += 2 + strspn(b + 2, "0123456789");
        }
        if (*a != *b)
            return 0;
        if (!*a)
            break;
    }
    return 1;
}

#endif
