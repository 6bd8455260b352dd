/* datasets/truth/rows.c - rows from codes and atoms, and the members of a descriptor. */
#include "truth/truth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers -------------------------------------------------------------------------- */

void truth_white(const sae_source *s, uint64_t row, double sd, double *x, int64_t n)
{
    for (int64_t j = 0; j < n; j += 4) {
        double z[4];
        sae_normal4(s->seed, TRUTH_NOISE, row, (uint32_t)(j / 4), z);
        for (int64_t h = 0; h < 4 && j + h < n; h++)
            x[j + h] += sd * z[h];
    }
}

/* log erfc is concave and decreasing, and exp(-x^2 / 2) bounds the tail from above, so Newton's
 * steps approach the root from the right. */
double truth_normal_tail(double q)
{
    double x = sqrt(-2.0 * log(q));
    for (int i = 0; i < 8; i++) {
        double e = erfc(x * 0.70710678118654752440);
        double step = log(e / q) * e / (0.79788456080286535588 * exp(-0.5 * x * x));
        x += step;
        if (fabs(step) < 1e-12)
            break;
    }
    return x > 0.0 ? x : 0.0;
}

double truth_normal_above(double p)
{
    if (p <= 0.0 || p >= 1.0)
        return p <= 0.0 ? (double)INFINITY : -(double)INFINITY;
    return p < 0.5 ? truth_normal_tail(2.0 * p) : p > 0.5 ? -truth_normal_tail(2.0 - 2.0 * p) : 0.0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static double norm(const double *v, int64_t n)
{
    double sq = 0.0;
    for (int64_t i = 0; i < n; i++)
        sq += v[i] * v[i];
    return sqrt(sq);
}

/* The clean row in w->x and its code in w. */
static void make_row(const sae_source *s, uint64_t row, truth_row *w)
{
    const int64_t d = s->law.d;
    double *restrict x = w->x;
    w->count = 0;
    s->law.code(s, row, w);
    memset(x, 0, (size_t)d * sizeof *x);
    for (int64_t e = 0; e < w->count; e++) {
        const sae_real *restrict atom = s->dict + w->idx[e] * d;
        double c = w->val[e];
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            x[j] += c * (double)atom[j];
    }
    double length = s->law.unit == TRUTH_UNIT_CODE  ? norm(w->val, w->count)
                    : s->law.unit == TRUTH_UNIT_ROW ? norm(x, d)
                                                    : 1.0;
    double scale = length > 0.0 ? 1.0 / length : 1.0; /* an empty row stays 0 */
    if (scale != 1.0) {
        for (int64_t e = 0; e < w->count; e++)
            w->val[e] *= scale;
        for (int64_t j = 0; j < d; j++)
            x[j] *= scale;
    }
}

/* The identity of a row: EVAL rows have the top bit, so that TRAIN never shows them. */
static uint64_t identity(const sae_source *s, enum sae_split split, uint64_t row)
{
    uint64_t rows = (uint64_t)s->law.rows;
    if (split == SAE_SPLIT_EVAL)
        return row | UINT64_C(1) << 63;
    if (!rows)
        return row;
    return sae_permute(s->seed, row / rows, rows, row % rows);
}

typedef struct job { /* one call of fill */
    sae_source *s;
    enum sae_split split;
    uint64_t row0;
    int64_t B;
    const sae_fill *out;
} job;

static void fill_chunk(void *arg, int64_t c)
{
    const job *q = arg;
    const sae_source *s = q->s;
    const int64_t d = s->law.d;
    truth_row *w = &q->s->part[c];
    for (int64_t r = q->B * c / TRUTH_CHUNKS; r < q->B * (c + 1) / TRUTH_CHUNKS; r++) {
        uint64_t row = identity(s, q->split, q->row0 + (uint64_t)r);
        if (q->out->tok) /* no documents: rows are numbered as documents */
            q->out->tok[r] = (sae_token){row, 0, 0};
        if (q->out->label && s->law.label)
            q->out->label[r] = s->law.label(s, row);
        if (!q->out->x)
            continue;
        make_row(s, row, w);
        if (s->law.noise)
            s->law.noise(s, row, w);
        for (int64_t j = 0; j < d; j++)
            q->out->x[r * d + j] = (sae_real)(w->x[j] + s->offset[j]);
    }
}

int truth_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
               sae_err *err)
{
    (void)err;
    job q = {s, split, row0, B, out};
    s->parallel(fill_chunk, &q, TRUTH_CHUNKS);
    return SAE_OK;
}

/* ---- truth ----------------------------------------------------------------------------------- */

static int grow_code(sae_code *z, int64_t B, int64_t cap, sae_err *err)
{
    if (B > z->B || !z->rowptr) {
        int64_t *rowptr = realloc(z->rowptr, (size_t)(B + 1) * sizeof *rowptr);
        if (!rowptr)
            return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld true codes", (long long)B);
        z->rowptr = rowptr;
    }
    z->B = B;
    if (cap <= z->cap)
        return SAE_OK;
    cap += cap / 2;
    int32_t *idx = realloc(z->idx, (size_t)cap * sizeof *idx);
    z->idx = idx ? idx : z->idx;
    sae_real *val = realloc(z->val, (size_t)cap * sizeof *val);
    z->val = val ? val : z->val;
    if (!idx || !val)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld true codes", (long long)cap);
    z->cap = cap;
    return SAE_OK;
}

int truth_of(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, sae_truth *t,
             sae_err *err)
{
    sae_code *z = &s->code;
    truth_row *w = &s->part[0];
    SAE_TRY(grow_code(z, B, 0, err));
    z->nnz = z->rowptr[0] = 0;
    for (int64_t r = 0; r < B; r++) {
        make_row(s, identity(s, split, row0 + (uint64_t)r), w);
        SAE_TRY(grow_code(z, B, z->nnz + w->count, err));
        for (int64_t e = 0; e < w->count; e++, z->nnz++) {
            z->idx[z->nnz] = w->idx[e];
            z->val[z->nnz] = (sae_real)w->val[e];
        }
        z->rowptr[r + 1] = z->nnz;
    }
    *t = (sae_truth){s->law.features, s->law.d, s->dict, z, s->parent};
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void make_atom(void *arg, int64_t i)
{
    const sae_source *s = arg;
    const int64_t d = s->law.d;
    sae_real *atom = s->dict + i * d;
    double sq = 0.0, z[4];
    for (int64_t j = 0; j < d; j++) {
        if (j % 4 == 0)
            sae_normal4(s->seed, TRUTH_DICT, (uint64_t)i, (uint32_t)(j / 4), z);
        atom[j] = (sae_real)z[j % 4];
        sq += z[j % 4] * z[j % 4];
    }
    double scale = 1.0 / sqrt(sq);
    for (int64_t j = 0; j < d; j++)
        atom[j] = (sae_real)((double)atom[j] * scale);
}

static void make_offset(sae_source *s)
{
    const int64_t d = s->law.d;
    for (int64_t j = 0; j < d; j++)
        s->offset[j] = sae_normal(s->seed, TRUTH_OFFSET, 0, (uint32_t)j);
    double length = norm(s->offset, d);
    for (int64_t j = 0; j < d; j++)
        s->offset[j] *= s->law.offset / length;
}

/* The name, the seed and every option with its value. */
static void make_hash(sae_source *s, const sae_host *host)
{
    char text[2048];
    size_t used = 0;
    used += (size_t)snprintf(text, sizeof text, "%s 2 seed %llu", s->law.name,
                             (unsigned long long)s->seed);
    for (const sae_option *o = s->law.options; o->name && used < sizeof text; o++) {
        const char *at = (const char *)s->opt + o->off;
        int64_t whole;
        double real;
        memcpy(&whole, at, sizeof whole);
        memcpy(&real, at, sizeof real);
        used += (size_t)(o->type == SAE_OPT_REAL
                             ? snprintf(text + used, sizeof text - used, " %s %a", o->name, real)
                             : snprintf(text + used, sizeof text - used, " %s %lld", o->name,
                                        (long long)whole));
    }
    host->hash(text, used, s->hash);
}

void *truth_take(sae_source *s, int64_t count, size_t size)
{
    if (s->blocks == TRUTH_BLOCKS)
        return NULL;
    void *p = calloc((size_t)(count > 0 ? count : 1), size);
    if (p)
        s->block[s->blocks++] = p;
    return p;
}

void truth_close(sae_source **source)
{
    sae_source *s = *source;
    if (!s)
        return;
    for (int c = 0; c < TRUTH_CHUNKS; c++) {
        free(s->part[c].idx);
        free(s->part[c].val);
        free(s->part[c].x);
        free(s->part[c].work);
    }
    for (int i = 0; i < s->blocks; i++)
        free(s->block[i]);
    free(s->code.rowptr);
    free(s->code.idx);
    free(s->code.val);
    free(s);
    *source = NULL;
}

static int take_memory(sae_source *s)
{
    size_t n = (size_t)s->law.features, d = (size_t)s->law.d, work = (size_t)s->law.work;
    int ok = (s->opt = truth_take(s, 1, s->law.opt_size)) &&
             (s->dict = truth_take(s, s->law.features, d * sizeof *s->dict)) &&
             (s->offset = truth_take(s, s->law.d, sizeof *s->offset));
    for (int c = 0; ok && c < TRUTH_CHUNKS; c++) {
        truth_row *w = &s->part[c];
        ok = (w->idx = calloc(n + 1, sizeof *w->idx)) && (w->val = calloc(n, sizeof *w->val)) &&
             (w->x = calloc(d, sizeof *w->x)) && (w->work = calloc(work + 1, sizeof *w->work));
    }
    return ok;
}

int truth_open(sae_source **source, const truth_law *law, const void *opt, const sae_host *host,
               sae_dims *dim, sae_err *err)
{
    sae_source *s = *source = calloc(1, sizeof *s);
    if (s)
        s->law = *law;
    if (!s || !take_memory(s)) {
        truth_close(source);
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld features of width %lld",
                          (long long)law->features, (long long)law->d);
    }
    memcpy(s->opt, opt, law->opt_size);
    s->seed = host->seed;
    s->parallel = host->parallel;
    s->code.n = law->features;
    s->parallel(make_atom, s, law->features);
    make_offset(s);
    make_hash(s, host);
    *dim = (sae_dims){.d_in = law->d, .d_out = law->d};
    return SAE_OK;
}

int64_t truth_rows(const sae_source *s, enum sae_split split)
{
    return split == SAE_SPLIT_TRAIN && s->law.rows ? s->law.rows : -1;
}

int truth_hash(const sae_source *s, char out[36])
{
    memcpy(out, s->hash, sizeof s->hash);
    return SAE_OK;
}
