/* datasets/synthetic.c - sparse combinations of a known dictionary; see synthetic.md.
 *
 * Row r is x = sum_i c_i D_i + offset + noise, a pure function of (options, seed, split, r).
 * Nothing is drawn for features that do not fire: gaps between candidates are geometric, so that a
 * row costs O(l0) random numbers, not O(features).
 */
#include <sae/dataset.h>
#include <sae/fail.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { /* streams of this source; 16..63 belong to datasets */
    STREAM_DICT = SAE_STREAM_SYNTHETIC,
    STREAM_SUPPORT,
    STREAM_COEF,
    STREAM_NOISE,
    STREAM_OFFSET
};
enum firing { FIRE_BERNOULLI, FIRE_EXACT };
enum coef { COEF_CONST, COEF_UNIFORM, COEF_EXPONENTIAL, COEF_GAUSSIAN, COEF_TAIL, COEF_NEAR };
enum unit { UNIT_NONE, UNIT_CODE, UNIT_ROW };
enum { CHUNKS = 64 }; /* of a batch; each has its own scratch */

typedef struct options {
    int64_t d, features, rows, firing, coef, symmetric, unit;
    double l0, l0_alt, alt, zipf, pairs, noise, offset;
} options;

/* Features [begin, end) with probabilities in [max / 2, max]. */
typedef struct segment {
    int64_t begin, end;
    double max;
} segment;

typedef struct scratch { /* one row in the making */
    int64_t count;
    int32_t *idx; /* [features] ascending */
    double *val;  /* [features] */
    double *x;    /* [d] */
} scratch;

struct sae_source {
    options o;
    uint64_t seed;
    void (*parallel)(void (*body)(void *arg, int64_t i), void *arg, int64_t n);
    char hash[36];
    sae_real *dict;   /* [features x d] unit rows */
    double *offset;   /* [d] */
    double *p, *cdf;  /* [features] firing probability, decreasing; its share below and at i */
    segment *seg;
    int64_t segs;
    scratch part[CHUNKS];
    sae_code code;    /* of truth(); grows */
    sae_truth truth;
};

/* ---- random numbers -------------------------------------------------------------------------- */

/* Normals 4i..4i+3 of a row: sae_normal, four at a time. */
static void normals(uint64_t seed, uint32_t stream, uint64_t row, uint32_t i, double out[4])
{
    sae_u4 u = sae_philox(seed, stream, row, i);
    for (int h = 0; h < 4; h += 2) {
        double r = sqrt(-2.0 * log((double)sae_u01(u.v[h])));
        double t = 6.283185307179586476925 * (double)sae_u01(u.v[h + 1]);
        out[h] = r * cos(t);
        out[h + 1] = r * sin(t);
    }
}

/* x with P(|N(0,1)| > x) = q, 0 < q < 1. log erfc is concave and decreasing, and exp(-x^2 / 2)
 * bounds the tail from above, so Newton's steps approach the root from the right. */
static double normal_tail(double q)
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

static double coefficient(const sae_source *s, uint64_t row, int32_t i)
{
    sae_u4 u = sae_philox(s->seed, STREAM_COEF, row, (uint32_t)i);
    double v = sae_u01_wide(u.v[0], u.v[1]), c = 1.0;
    if (s->o.coef == COEF_UNIFORM)
        c = v;
    else if (s->o.coef == COEF_NEAR)
        c = 0.5 + v;
    else if (s->o.coef == COEF_EXPONENTIAL)
        c = -log(v);
    else if (s->o.coef == COEF_GAUSSIAN)
        c = normal_tail(v);
    else if (s->o.coef == COEF_TAIL)
        c = normal_tail(v * s->o.l0 / (double)s->o.features);
    return s->o.symmetric && u.v[2] & 1 ? -c : c;
}

/* ---- support --------------------------------------------------------------------------------- */

/* Keep idx ascending without duplicates; 1 if it was new. */
static int insert(scratch *w, int32_t i)
{
    int64_t lo = 0, hi = w->count;
    if (hi > 0 && w->idx[hi - 1] < i)
        lo = hi; /* the usual case: candidates come in order */
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (w->idx[mid] < i)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < w->count && w->idx[lo] == i)
        return 0;
    memmove(w->idx + lo + 1, w->idx + lo, (size_t)(w->count - lo) * sizeof *w->idx);
    w->idx[lo] = i;
    w->count++;
    return 1;
}

/* Every feature on its own: within a segment candidates fire with probability max and are kept with
 * probability p / max. */
static void fire_bernoulli(const sae_source *s, uint64_t row, scratch *w)
{
    uint32_t draw = 0;
    for (int64_t k = 0; k < s->segs; k++) {
        const segment *g = &s->seg[k];
        double log_miss = log1p(-g->max);
        for (int64_t i = g->begin;; i++) {
            sae_u4 u = sae_philox(s->seed, STREAM_SUPPORT, row, draw++);
            double gap = floor(log(sae_u01_wide(u.v[0], u.v[1])) / log_miss);
            if (!(gap < (double)(g->end - i)))
                break;
            i += (int64_t)gap;
            if ((double)sae_u01(u.v[2]) * g->max > s->p[i])
                continue;
            insert(w, (int32_t)i);
            if (s->o.pairs > 0.0 && (i ^ 1) < s->o.features &&
                (double)sae_u01(u.v[3]) < s->o.pairs)
                insert(w, (int32_t)(i ^ 1));
        }
    }
}

/* l0 different features, drawn one after another; l0_alt of them with probability alt. */
static void fire_exact(const sae_source *s, uint64_t row, scratch *w)
{
    sae_u4 first = sae_philox(s->seed, STREAM_SUPPORT, row, 0);
    double l0 = (double)sae_u01(first.v[2]) < s->o.alt ? s->o.l0_alt : s->o.l0;
    for (uint32_t draw = 0; w->count < (int64_t)l0; draw++) {
        sae_u4 u = sae_philox(s->seed, STREAM_SUPPORT, row, draw);
        double v = sae_u01_wide(u.v[0], u.v[1]);
        int64_t lo = 0, hi = s->o.features - 1;
        while (lo < hi) { /* first i with cdf[i] >= v */
            int64_t mid = (lo + hi) / 2;
            if (s->cdf[mid] < v)
                lo = mid + 1;
            else
                hi = mid;
        }
        insert(w, (int32_t)lo);
    }
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
static void make_row(const sae_source *s, uint64_t row, scratch *w)
{
    const int64_t d = s->o.d;
    double *restrict x = w->x;
    w->count = 0;
    if (s->o.firing == FIRE_EXACT)
        fire_exact(s, row, w);
    else
        fire_bernoulli(s, row, w);
    for (int64_t e = 0; e < w->count; e++)
        w->val[e] = coefficient(s, row, w->idx[e]);
    memset(x, 0, (size_t)d * sizeof *x);
    for (int64_t e = 0; e < w->count; e++) {
        const sae_real *restrict atom = s->dict + w->idx[e] * d;
        double c = w->val[e];
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            x[j] += c * (double)atom[j];
    }
    double length = s->o.unit == UNIT_CODE ? norm(w->val, w->count)
                    : s->o.unit == UNIT_ROW ? norm(x, d) : 1.0;
    double scale = length > 0.0 ? 1.0 / length : 1.0; /* an empty row stays 0 */
    if (scale != 1.0) {
        for (int64_t e = 0; e < w->count; e++)
            w->val[e] *= scale;
        for (int64_t j = 0; j < d; j++)
            x[j] *= scale;
    }
}

static void add_noise(const sae_source *s, uint64_t row, double *x)
{
    for (int64_t j = 0; j < s->o.d; j += 4) {
        double z[4];
        normals(s->seed, STREAM_NOISE, row, (uint32_t)(j / 4), z);
        for (int64_t h = 0; h < 4 && j + h < s->o.d; h++)
            x[j + h] += s->o.noise * z[h];
    }
}

/* The identity of a row: EVAL rows have the top bit, so that TRAIN never shows them. */
static uint64_t identity(const sae_source *s, enum sae_split split, uint64_t row)
{
    uint64_t rows = (uint64_t)s->o.rows;
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
    const int64_t d = s->o.d;
    scratch *w = &q->s->part[c];
    for (int64_t r = q->B * c / CHUNKS; r < q->B * (c + 1) / CHUNKS; r++) {
        uint64_t row = identity(s, q->split, q->row0 + (uint64_t)r);
        if (q->out->tok) /* no documents: rows are numbered as documents */
            q->out->tok[r] = (sae_token){row, 0, 0};
        if (!q->out->x)
            continue;
        make_row(s, row, w);
        if (s->o.noise > 0.0)
            add_noise(s, row, w->x);
        for (int64_t j = 0; j < d; j++)
            q->out->x[r * d + j] = (sae_real)(w->x[j] + s->offset[j]);
    }
}

static int fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
                sae_err *err)
{
    (void)err;
    job q = {s, split, row0, B, out};
    s->parallel(fill_chunk, &q, CHUNKS);
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

static int truth(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, sae_truth *t,
                 sae_err *err)
{
    sae_code *z = &s->code;
    scratch *w = &s->part[0];
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
    *t = (sae_truth){s->o.features, s->o.d, s->dict, z};
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void make_atom(void *arg, int64_t i)
{
    const sae_source *s = arg;
    const int64_t d = s->o.d;
    sae_real *atom = s->dict + i * d;
    double sq = 0.0, z[4];
    for (int64_t j = 0; j < d; j++) {
        if (j % 4 == 0)
            normals(s->seed, STREAM_DICT, (uint64_t)i, (uint32_t)(j / 4), z);
        atom[j] = (sae_real)z[j % 4];
        sq += z[j % 4] * z[j % 4];
    }
    double scale = 1.0 / sqrt(sq);
    for (int64_t j = 0; j < d; j++)
        atom[j] = (sae_real)((double)atom[j] * scale);
}

static void make_offset(sae_source *s)
{
    const int64_t d = s->o.d;
    for (int64_t j = 0; j < d; j++)
        s->offset[j] = sae_normal(s->seed, STREAM_OFFSET, 0, (uint32_t)j);
    double length = norm(s->offset, d);
    for (int64_t j = 0; j < d; j++)
        s->offset[j] *= s->o.offset / length;
}

/* p_i = min(1, c (i + 1)^-zipf) with sum l0 (less what pairs add): weights fall with i, so the
 * clipped ones are the first m. */
static void make_frequencies(sae_source *s)
{
    const int64_t n = s->o.features;
    double rest = 0.0, total = s->o.l0 / (1.0 + s->o.pairs), below = 0.0;
    for (int64_t i = n - 1; i >= 0; i--)
        rest += s->p[i] = pow((double)(i + 1), -s->o.zipf);
    int64_t m = 0;
    while (m < n && total > 0.0 && s->p[m] * total > rest) {
        rest -= s->p[m];
        s->p[m++] = 1.0;
        total -= 1.0;
    }
    for (int64_t i = m; i < n; i++)
        s->p[i] = total > 0.0 ? fmin(1.0, s->p[i] * (total / rest)) : 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (s->segs == 0 || s->p[i] < s->seg[s->segs - 1].max / 2)
            s->seg[s->segs++] = (segment){i, i, s->p[i]};
        s->seg[s->segs - 1].end = i + 1;
        s->cdf[i] = below += s->p[i];
    }
    for (int64_t i = 0; i < n; i++)
        s->cdf[i] /= below;
}

static void close_source(sae_source **source)
{
    sae_source *s = *source;
    if (!s)
        return;
    for (int c = 0; c < CHUNKS; c++) {
        free(s->part[c].idx);
        free(s->part[c].val);
        free(s->part[c].x);
    }
    free(s->dict);
    free(s->offset);
    free(s->p);
    free(s->cdf);
    free(s->seg);
    free(s->code.rowptr);
    free(s->code.idx);
    free(s->code.val);
    free(s);
    *source = NULL;
}

static int take_memory(sae_source *s)
{
    size_t n = (size_t)s->o.features, d = (size_t)s->o.d;
    int ok = (s->dict = calloc(n, d * sizeof *s->dict)) && (s->p = calloc(n, sizeof *s->p)) &&
             (s->cdf = calloc(n, sizeof *s->cdf)) && (s->seg = calloc(n, sizeof *s->seg)) &&
             (s->offset = calloc(d, sizeof *s->offset));
    for (int c = 0; ok && c < CHUNKS; c++) {
        scratch *w = &s->part[c];
        ok = (w->idx = calloc(n + 1, sizeof *w->idx)) && (w->val = calloc(n, sizeof *w->val)) &&
             (w->x = calloc(d, sizeof *w->x));
    }
    return ok;
}

static int check(const options *o, sae_err *err)
{
    double most = (double)o->features / (o->firing == FIRE_EXACT ? 2.0 : 1.0);
    double l0 = fmax(o->l0, o->l0_alt);
    if (l0 > most)
        return SAE_RECORD(err, SAE_EINVAL, "l0 is %g, expected at most %g of %lld features", l0,
                          most, (long long)o->features);
    int whole = o->l0 == floor(o->l0) && o->l0_alt == floor(o->l0_alt);
    if (o->firing == FIRE_EXACT && (!whole || o->pairs > 0.0))
        return SAE_RECORD(err, SAE_EINVAL, "firing=exact expects a whole l0 and pairs=0");
    if (o->firing != FIRE_EXACT && o->alt > 0.0)
        return SAE_RECORD(err, SAE_EINVAL, "alt expects firing=exact");
    return SAE_OK;
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    *source = NULL;
    SAE_TRY(check(o, err));
    sae_source *s = calloc(1, sizeof *s);
    if (s)
        s->o = *o;
    if (!s || !take_memory(s)) {
        close_source(&s);
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld features of width %lld",
                          (long long)o->features, (long long)o->d);
    }
    s->seed = host->seed;
    s->parallel = host->parallel;
    s->code.n = o->features;
    s->parallel(make_atom, s, o->features);
    make_offset(s);
    make_frequencies(s);
    char text[480];
    int len = snprintf(text, sizeof text,
                       "synthetic 1 seed %llu d %lld features %lld rows %lld firing %lld coef %lld "
                       "symmetric %lld unit %lld l0 %a l0_alt %a alt %a zipf %a pairs %a noise %a "
                       "offset %a",
                       (unsigned long long)s->seed, (long long)o->d, (long long)o->features,
                       (long long)o->rows, (long long)o->firing, (long long)o->coef,
                       (long long)o->symmetric, (long long)o->unit, o->l0, o->l0_alt, o->alt,
                       o->zipf, o->pairs, o->noise, o->offset);
    host->hash(text, (size_t)len, s->hash);
    *dim = (sae_dims){.d_in = o->d, .d_out = o->d};
    *source = s;
    return SAE_OK;
}

static int64_t rows(const sae_source *s, enum sae_split split)
{
    return split == SAE_SPLIT_TRAIN && s->o.rows ? s->o.rows : -1;
}

static int hash(const sae_source *s, char out[36])
{
    memcpy(out, s->hash, sizeof s->hash);
    return SAE_OK;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

static const char *const firing_names[] = {"bernoulli", "exact", NULL};
static const char *const coef_names[] = {"const", "uniform", "exponential", "gaussian", "tail",
                                         "near", NULL};
static const char *const unit_names[] = {"none", "code", "row", NULL};

static const sae_option table[] = {
    {"d", SAE_OPT_INT, 0, offsetof(options, d), 256, 1, 1 << 20, NULL, NULL, "1",
     "activation width"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 512, 1, 1 << 24, NULL, NULL,
     "features", "dictionary size N"},
    {"l0", SAE_OPT_REAL, 0, offsetof(options, l0), 5, 0, 1 << 24, NULL, NULL, "features",
     "mean number of active features"},
    {"firing", SAE_OPT_ENUM, 0, offsetof(options, firing), FIRE_BERNOULLI, 0, FIRE_EXACT,
     firing_names, NULL, "1", "independent features, or exactly l0 of them"},
    {"alt", SAE_OPT_REAL, 0, offsetof(options, alt), 0, 0, 1, NULL, NULL, "1",
     "with firing=exact: probability that a row has l0_alt features"},
    {"l0_alt", SAE_OPT_REAL, 0, offsetof(options, l0_alt), 0, 0, 1 << 24, NULL, NULL, "features",
     "active features of such a row"},
    {"zipf", SAE_OPT_REAL, 0, offsetof(options, zipf), 0, 0, 2, NULL, NULL, "1",
     "feature i fires proportionally to (i + 1)^-zipf"},
    {"pairs", SAE_OPT_REAL, 0, offsetof(options, pairs), 0, 0, 1, NULL, NULL, "1",
     "probability q that feature i brings its partner i xor 1"},
    {"coef", SAE_OPT_ENUM, 0, offsetof(options, coef), COEF_UNIFORM, 0, COEF_NEAR, coef_names,
     NULL, "1",
     "law of the magnitude: 1, U(0,1), Exp(1), |N(0,1)|, its largest l0 / features, U(0.5,1.5)"},
    {"symmetric", SAE_OPT_BOOL, 0, offsetof(options, symmetric), 0, 0, 1, NULL, NULL, "1",
     "random signs: signed codes are the truth"},
    {"unit", SAE_OPT_ENUM, 0, offsetof(options, unit), UNIT_NONE, 0, UNIT_ROW, unit_names,
     NULL, "1", "scale each row so that its code, or the clean row, has unit norm"},
    {"noise", SAE_OPT_REAL, 0, offsetof(options, noise), 0, 0, 1e6, NULL, NULL, "1",
     "standard deviation of noise per coordinate"},
    {"offset", SAE_OPT_REAL, 0, offsetof(options, offset), 0, 0, 1e6, NULL, NULL, "1",
     "norm of a constant vector added to all rows"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "training rows, 0: never the same row twice"},
    {0},
};

const sae_dataset sae_dataset_synthetic = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "synthetic",
    .summary = "sparse combinations of a random unit-norm dictionary, with ground truth",
    .source = "Sharkey, Braun, Millidge 2022 (defaults); others in datasets/synthetic.md",
    .licence = "none needed: generated",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_TRUTH,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = rows,
    .fill = fill,
    .close = close_source,
    .hash = hash,
    .truth = truth,
};
