/* suite/kernels/cpu/pick.h - selections from a stream of candidates.
 *
 * Scanners (encode.c, select.c) offer every entry whose score reaches a lower bound; the bound of a
 * row (top-k), of the whole matrix (flat) or of a feature (threshold) rises while they scan. What
 * is kept is decided exactly, by (score, row, feature), so neither the order of the offers nor the
 * moment at which a bound rises can change the result.
 */
#ifndef SAE_KERNELS_PICK_H
#define SAE_KERNELS_PICK_H

#include "cpu/cpu.h"

#include <string.h>

typedef struct sae_entry {
    int32_t row, j;
    float v; /* what the key makes a score of */
} sae_entry;

enum sae_rule { SAE_PICK_ROWS, SAE_PICK_FLAT, SAE_PICK_ABOVE };

typedef struct sae_pick {
    sae_device *dev;
    const sae_simd *simd;
    enum sae_rule rule;
    uint32_t mask;     /* of sae_screen */
    float floor;       /* the smallest eligible score */
    int64_t k;         /* entries to keep per row, or in all */
    int64_t room;      /* of a row's list, or of a worker's pool (flat) */
    int64_t rows_max;  /* rows a worker holds at a time */
    int64_t limit;     /* ABOVE: entries beyond the caller's capacity are counted, not kept */
    const float *lo_feature; /* ABOVE: [n] or NULL */
    float lo_all;      /* ABOVE: the bound of all features when lo_feature is NULL */
    uint32_t shared;   /* FLAT: key of the best bound any worker has; atomic */
    struct sae_worker *worker; /* [threads] */
} sae_pick;

/* One thread's part. Entries of a row are in the pool of one worker, features ascending. */
typedef struct sae_worker {
    int thread, rc;
    int64_t nan, dropped;
    sae_entry *pool;
    int64_t count, cap;
    sae_entry *list; /* ROWS: [rows_max][room] */
    int64_t *fill;   /* ROWS: [rows_max] */
    float *lo;       /* [rows_max] bounds of the rows held; NaN: nothing passes */
    uint32_t *key;   /* scratch of sae_keep_best */
} sae_worker;

/* Unsigned numbers in the order of the scores, v under the mask; -0 and +0 are one number. */
static inline uint32_t sae_key_of(float v, uint32_t mask)
{
    uint32_t u;
    v += 0.0f;
    memcpy(&u, &v, sizeof u);
    u &= mask;
    return u >> 31 ? ~u : u | 0x80000000u;
}

/* Prepare for a matrix of `cols` columns whose workers hold rows_max rows. */
int sae_pick_open(sae_pick *p, sae_device *dev, enum sae_rule rule, enum sae_key key, int64_t k,
                  int64_t rows_max, int64_t rows, int64_t cols);
/* SAE_PICK_ABOVE: bounds of n features. */
int sae_pick_bounds(sae_pick *p, double theta, const double *per_feature, int64_t n);
void sae_pick_begin(const sae_pick *p, sae_worker *w, int64_t rows);
/* Offer an entry; `local` is its row's number among the rows held. */
void sae_pick_take_any(sae_pick *p, sae_worker *w, int64_t local, sae_entry e);
void sae_pick_end(sae_pick *p, sae_worker *w, int64_t rows);
/* Join the workers and write the code. Values come from `value` when it is not NULL. */
int sae_pick_write(sae_pick *p, const sae_cmat *value, sae_code *z);
int sae_code_begin(sae_code *z, int64_t rows, int64_t n);

/* Reduce e[0..count) to its k best by (score descending, row, feature ascending), keeping their
 * order; key is scratch for count numbers. Returns the number kept; *lo: a score that every entry
 * kept reaches and, once k are kept, every later entry must reach to be among the k best. */
int64_t sae_keep_best(const sae_pick *p, sae_entry *e, int64_t count, int64_t k, uint32_t *key,
                      float *lo);

/* The same, the usual case inline. */
static inline void sae_pick_take(sae_pick *p, sae_worker *w, int64_t local, int64_t row, int32_t j,
                                 float v)
{
    sae_entry e = {(int32_t)row, j, v};
    if (p->rule == SAE_PICK_ROWS && w->fill[local] < p->room)
        w->list[local * p->room + w->fill[local]++] = e;
    else
        sae_pick_take_any(p, w, local, e);
}

#endif
