/* metrics/mdl.c - bits that the code of a row takes, at a stated loss of precision.
 *
 * Which features fire is counted on every row. Magnitudes are kept for a uniform sample of rows, so
 * that any quantiser can be tried at the end: a row is kept, with all its entries, while its hash
 * ends in `level` zero bits, the smallest level that fits.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/quantile.h>

typedef struct options {
    double share, fvu;
    int64_t entries;
} options;

static const sae_option option_table[] = {
    {"share", SAE_OPT_REAL, 0, offsetof(options, share), 0.01, 1e-6, 1, NULL, NULL, "1",
     "squared error that rounding adds, over the variance of the rows"},
    {"fvu", SAE_OPT_REAL, 0, offsetof(options, fvu), 0, 0, 1, NULL, NULL, "1",
     "bits_at_fvu: at this sum of the SAE's own fvu and of rounding; 0: not reported"},
    {"entries", SAE_OPT_INT, 0, offsetof(options, entries), 1 << 17, 1024, 1 << 28, NULL, NULL,
     "entries", "magnitudes kept, and never fewer than 32 n"},
    {0}};

typedef struct entry {
    uint64_t key;   /* sae_row_key */
    sae_real value; /* z |w|, raw units */
    int32_t feature; /* -1: the entry that stands for the row itself */
} entry;

enum { ROWS, ERROR, SQUARE, L0, SUM_X }; /* totals; the sum of the rows, [d], follows */
enum { CURVE = 9 };                      /* points of the rate-distortion curve */

typedef struct state {
    double groups[(SAE_GROUPS + 2) * 2];
    int64_t cap, count, level;
    double totals[]; /* SUM_X + d, then [n] norms of atoms, [n] rows on which a feature fired;
                        then the entries */
} state;

static int64_t numbers(const sae_measure *r)
{
    return SUM_X + r->m->dim.d_out + 2 * r->m->dim.n;
}
static double *norms_of(const sae_measure *r, state *s)
{
    return s->totals + SUM_X + r->m->dim.d_out;
}
static double *fired_of(const sae_measure *r, state *s)
{
    return norms_of(r, s) + r->m->dim.n;
}
static entry *entries_of(const sae_measure *r, state *s)
{
    return (entry *)(void *)(s->totals + numbers(r));
}

static int64_t capacity(const sae_measure *r)
{
    const options *o = r->opt;
    return o->entries > 32 * r->m->dim.n ? o->entries : 32 * r->m->dim.n;
}

static size_t state_size(const sae_measure *r)
{
    return sizeof(state) + (size_t)numbers(r) * sizeof(double) +
           (size_t)capacity(r) * sizeof(entry);
}

static int begin(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    s->cap = capacity(r);
    return dec.p ? sae_atom_lengths(r, dec, norms_of(r, s)) : SAE_OK;
}

/* ---- the sample of rows ---------------------------------------------------------------------- */

static void raise_level(const sae_measure *r, state *s)
{
    entry *e = entries_of(r, s);
    int64_t kept = 0;
    s->level++;
    for (int64_t i = 0; i < s->count; i++)
        if (sae_sample_keeps(s->level, e[i].key))
            e[kept++] = e[i];
    s->count = kept;
}

/* Room for `need` entries of the row, or NULL when the row is not in the sample. Rows that share
 * one hash cannot be thinned out: level 48 ends the search. */
static entry *reserve(const sae_measure *r, state *s, uint64_t key, int64_t need)
{
    while (sae_sample_keeps(s->level, key) && s->count + need > s->cap && s->level < 48)
        raise_level(r, s);
    if (!sae_sample_keeps(s->level, key) || s->count + need > s->cap)
        return NULL;
    entry *at = entries_of(r, s) + s->count;
    s->count += need;
    return at;
}

static void add_entries(const sae_measure *r, state *s, const sae_eval *e, int64_t i)
{
    const sae_code *z = e->code;
    const double *norm = norms_of(r, s);
    double *fired = fired_of(r, s), scale = sae_eval_norm(r, e, i).scale;
    int64_t first = sae_code_row(z, i), last = sae_code_row(z, i + 1), active = 0;
    for (int64_t p = first; p < last; p++)
        active += z->val[p] != 0;
    s->totals[L0] += (double)active;
    entry mark = {sae_row_key(&e->tok[i]), 0, -1};
    entry *at = reserve(r, s, mark.key, 1 + active);
    if (at)
        *at++ = mark;
    for (int64_t p = first; p < last; p++) {
        int64_t j = sae_code_feature(z, i, p);
        if (z->val[p] == 0)
            continue;
        fired[j] += 1;
        if (at)
            *at++ = (entry){mark.key, (sae_real)(scale * norm[j] * (double)z->val[p]), (int32_t)j};
    }
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    for (int64_t i = 0; i < e->B; i++) {
        s->totals[ROWS] += 1;
        for (int64_t k = 0; k < e->d; k++) {
            double x = (double)e->x[i * e->d + k], err = (double)e->xhat[i * e->d + k] - x;
            s->totals[ERROR] += err * err;
            s->totals[SQUARE] += x * x;
            s->totals[SUM_X + k] += x;
        }
        add_entries(r, s, e, i);
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    state *from = (state *)from_; /* read only; the accessors serve both */
    const entry *e = entries_of(r, from), *end = e + from->count;
    for (int64_t i = 0; i < SUM_X + r->m->dim.d_out; i++)
        into->totals[i] += from->totals[i];
    for (int64_t j = 0; j < r->m->dim.n; j++)
        fired_of(r, into)[j] += fired_of(r, from)[j];
    while (into->level < from->level)
        raise_level(r, into);
    while (e < end) {
        int64_t count = 1;
        while (e + count < end && e[count].feature >= 0)
            count++;
        entry *at = reserve(r, into, e->key, count);
        for (int64_t i = 0; at && i < count; i++)
            at[i] = e[i];
        e += count;
    }
    return SAE_OK;
}

/* ---- what rounding costs --------------------------------------------------------------------- */

static int by_row(const void *a_, const void *b_)
{
    const entry *a = a_, *b = b_;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->feature > b->feature) - (a->feature < b->feature);
}

static double bin_of(const entry *e, double step)
{
    return floor((double)e->value / step + 0.5);
}

enum { BLOCK = 1024 }; /* rows decoded at a time */

/* Errors of rounding as a code over the atoms, and where they are decoded: host copies, then
 * backend memory. */
typedef struct decoder {
    const sae_measure *r;
    sae_cmat atoms;
    const entry *e; /* sorted by row: the row's own entry, then its features */
    const double *norm;
    int64_t count, rows, nnz; /* entries; those that stand for a row; the others */
    sae_real *host;
    double *host_dot;
    sae_real *val, *sum;
    double *dot;
    int64_t *rowptr;
    int32_t *idx;
} decoder;

static void decoder_close(decoder *q)
{
    void *dev[] = {q->val, q->sum, q->dot, q->rowptr, q->idx};
    for (size_t i = 0; i < sizeof dev / sizeof dev[0]; i++)
        sae_device_release(q->r->c, dev[i]);
    free(q->host);
    free(q->host_dot);
}

static int decoder_index(decoder *q)
{
    const sae_ctx *c = q->r->c;
    int64_t *rowptr = malloc((size_t)(q->rows + 1) * sizeof *rowptr), row = 0, at = 0;
    int32_t *idx = malloc((size_t)q->nnz * sizeof *idx + 1);
    int rc = rowptr && idx ? SAE_OK : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < q->count; i++)
        if (q->e[i].feature < 0)
            rowptr[row++] = at;
        else
            idx[at++] = q->e[i].feature;
    if (rc >= 0) {
        rowptr[row] = at;
        rc = c->be->copy(c->dev, q->rowptr, rowptr, (size_t)(row + 1) * sizeof *rowptr,
                         SAE_COPY_H2D);
    }
    if (rc >= 0)
        rc = c->be->copy(c->dev, q->idx, idx, (size_t)at * sizeof *idx, SAE_COPY_H2D);
    free(rowptr);
    free(idx);
    return rc;
}

/* Nothing to close unless SAE_OK. */
static int decoder_open(decoder *q, const sae_measure *r, state *s)
{
    const sae_ctx *c = r->c;
    *q = (decoder){.r = r, .atoms = sae_tensor_matrix(r->m, "W_dec"), .e = entries_of(r, s),
                   .norm = norms_of(r, s), .count = s->count};
    qsort(entries_of(r, s), (size_t)s->count, sizeof(entry), by_row);
    for (int64_t i = 0; i < q->count; i++)
        q->rows += q->e[i].feature < 0;
    q->nnz = q->count - q->rows;
    q->host = malloc((size_t)q->nnz * sizeof *q->host + 1);
    q->host_dot = malloc(BLOCK * sizeof *q->host_dot);
    q->val = c->be->alloc(c->dev, (size_t)q->nnz * sizeof *q->val + 1);
    q->sum = c->be->alloc(c->dev, BLOCK * (size_t)q->atoms.cols * sizeof *q->sum);
    q->dot = c->be->alloc(c->dev, BLOCK * sizeof *q->dot);
    q->rowptr = c->be->alloc(c->dev, (size_t)(q->rows + 1) * sizeof *q->rowptr);
    q->idx = c->be->alloc(c->dev, (size_t)q->nnz * sizeof *q->idx + 1);
    int rc = q->host && q->host_dot && q->val && q->sum && q->dot && q->rowptr && q->idx
                 ? decoder_index(q)
                 : SAE_ENOMEM;
    if (rc < 0)
        decoder_close(q);
    return rc;
}

/* Mean squared length of the error of a sampled row when values become multiples of the step. */
static int rounding(decoder *q, double step, double *out)
{
    const sae_ctx *c = q->r->c;
    int64_t at = 0, d = q->atoms.cols;
    double total = 0;
    for (int64_t i = 0; i < q->count; i++) {
        const entry *e = &q->e[i];
        if (e->feature < 0)
            continue;
        double norm = q->norm[e->feature], off = (double)e->value - bin_of(e, step) * step;
        q->host[at++] = (sae_real)(norm > 0.0 ? off / norm : 0.0);
    }
    int rc = c->be->copy(c->dev, q->val, q->host, (size_t)at * sizeof *q->val, SAE_COPY_H2D);
    for (int64_t r = 0; rc >= 0 && r < q->rows; r += BLOCK) {
        int64_t B = q->rows - r < BLOCK ? q->rows - r : BLOCK;
        sae_code z = {.B = B, .n = q->atoms.rows, .nnz = at, .cap = at, .rowptr = q->rowptr + r,
                      .idx = q->idx, .val = q->val};
        sae_mat sum = {q->sum, B, d, d};
        sae_cmat view = {q->sum, B, d, d};
        rc = c->k->code_decode(c->dev, &z, q->atoms, NULL, sum);
        if (rc >= 0)
            rc = c->k->row_dot(c->dev, view, view, q->dot);
        if (rc >= 0)
            rc = c->be->copy(c->dev, q->host_dot, q->dot, (size_t)B * sizeof *q->dot,
                             SAE_COPY_D2H);
        for (int64_t i = 0; rc >= 0 && i < B; i++)
            total += q->host_dot[i];
    }
    *out = total / (double)q->rows;
    return rc;
}

/* The step at which rounding costs `target` per row, to a thousandth, and the cost. The error grows
 * about as the square of the step; where it does not, the bracket is halved. */
static int find_step(decoder *q, double target, double *step, double *error)
{
    double lo = 0, hi = (double)INFINITY;
    *step = sqrt(12 * target * (double)q->rows / (double)q->nnz);
    for (int i = 0; i < 60; i++) {
        int rc = rounding(q, *step, error);
        if (rc < 0 || fabs(*error - target) <= 1e-3 * target)
            return rc;
        if (*error < target)
            lo = *step;
        else
            hi = *step;
        double by = *error > 0.0 ? sqrt(target / *error) : 4.0, next;
        next = *step * (by < 0.25 ? 0.25 : by > 4.0 ? 4.0 : by);
        *step = next > lo && next < hi ? next : sqrt(lo * hi);
    }
    return SAE_OK;
}

/* ---- lengths --------------------------------------------------------------------------------- */

/* The sample sorted by feature and value: the bins of a quantiser are runs of it. */
typedef struct book {
    const sae_measure *r;
    const entry *e;
    int64_t rows, count; /* sampled rows; entries behind them */
    const double *fired;
    double all_rows;
} book;

/* What a row's rounded code takes. */
typedef struct bits {
    double support, magnitude, active;
} bits;

static int by_feature(const void *a_, const void *b_)
{
    const entry *a = a_, *b = b_;
    if (a->feature != b->feature)
        return a->feature < b->feature ? -1 : 1;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return (a->key > b->key) - (a->key < b->key);
}

static double plogp(double p)
{
    return p > 0.0 ? -p * log2(p) : 0.0;
}

/* Entries from `first` on that share its feature. */
static int64_t same_feature(const book *k, int64_t first)
{
    int64_t i = first + 1;
    while (i < k->count && k->e[i].feature == k->e[first].feature)
        i++;
    return i - first;
}

/* Entries from `first` on, before `end`, that share its bin. */
static int64_t same_bin(const book *k, int64_t first, int64_t end, double step)
{
    double bin = bin_of(&k->e[first], step);
    int64_t i = first + 1;
    while (i < end && bin_of(&k->e[i], step) == bin)
        i++;
    return i - first;
}

/* The rounded values of one feature: entries [first, end), of which `kept` are not 0; p is the
 * share of rows with such a one. */
typedef struct rounded {
    int64_t first, end, kept;
    double p;
} rounded;

static rounded round_feature(const book *k, int64_t first, double step)
{
    rounded f = {first, first + same_feature(k, first), 0, 0};
    for (int64_t i = f.first; i < f.end; i++)
        f.kept += bin_of(&k->e[i], step) != 0.0;
    f.p = k->fired[k->e[first].feature] / k->all_rows * (double)f.kept / (double)(f.end - first);
    return f;
}

/* Entropy of the bins other than 0 of one feature, with the first term of the plug-in's bias added
 * (Miller 1955). */
static double magnitude_bits(const book *k, const rounded *f, double step)
{
    double sum = 0;
    int64_t bins = 0;
    for (int64_t i = f->first, run; i < f->end; i += run) {
        run = same_bin(k, i, f->end, step);
        if (bin_of(&k->e[i], step) == 0.0)
            continue;
        sum += plogp((double)run / (double)f->kept);
        bins++;
    }
    return bins ? sum + (double)(bins - 1) / (2 * (double)f->kept * log(2.0)) : 0.0;
}

static bits length_at(const book *k, double step)
{
    bits sum = {0};
    rounded f;
    for (int64_t i = 0; i < k->count; i = f.end) {
        f = round_feature(k, i, step);
        sum.support += plogp(f.p) + plogp(1 - f.p);
        sum.magnitude += f.p * magnitude_bits(k, &f, step);
        sum.active += f.p;
    }
    return sum;
}

/* ---- standard error -------------------------------------------------------------------------- */

SAE_RATIO(mean_length, 1, 0)

/* Bits are the mean over rows of the length -log2 P(code) of a row's code under the estimated
 * distribution, which is where their derivative by that distribution vanishes: to first order the
 * error is that of a mean of lengths. Lengths lack the constant of a silent row. */
static double standard_error(const book *k, state *s, double step)
{
    double *group = s->groups;
    rounded f;
    for (int64_t i = -k->rows; i < 0; i++)
        group[2 * (k->e[i].key >> 56)] += 1;
    for (int64_t i = 0; i < k->count; i = f.end) {
        f = round_feature(k, i, step);
        double silent = f.p < 1.0 ? log2(1 - f.p) : 0.0;
        for (int64_t b = i, run; b < f.end; b += run) {
            run = same_bin(k, b, f.end, step);
            double length = silent - log2(f.p * (double)run / (double)f.kept);
            for (int64_t j = b; j < b + run && bin_of(&k->e[b], step) != 0.0; j++)
                group[2 * (k->e[j].key >> 56) + 1] += length;
        }
    }
    sae_groups_total(group, 2);
    return sae_groups_se(group, 2, mean_length);
}

/* ---- results --------------------------------------------------------------------------------- */

/* Steps and what rounding to them adds to a row, found before the sample is sorted by feature. */
typedef struct steps {
    double chosen, added;  /* for option share */
    double matched;        /* for option fvu */
    double curve[CURVE], curve_added[CURVE]; /* factors of 2 apart, the chosen one in the middle */
} steps;

static int find_steps(const sae_measure *r, state *s, double dev, steps *out)
{
    const options *o = r->opt;
    double rows = s->totals[ROWS], target = o->share * dev / rows, unused;
    double left = (o->fvu * dev - s->totals[ERROR]) / rows;
    decoder q;
    *out = (steps){.chosen = (double)NAN, .added = (double)NAN, .matched = (double)NAN};
    if (s->totals[L0] == 0.0 || !(target > 0.0) || target == (double)INFINITY)
        return SAE_OK;
    int rc = decoder_open(&q, r, s);
    if (rc < 0)
        return rc;
    if (q.nnz > 0)
        rc = find_step(&q, target, &out->chosen, &out->added);
    if (rc >= 0 && q.nnz > 0 && left > 0.0)
        rc = find_step(&q, left, &out->matched, &unused);
    for (int i = 0; rc >= 0 && i < CURVE && out->chosen > 0.0; i++) {
        out->curve[i] = ldexp(out->chosen, i - CURVE / 2);
        rc = rounding(&q, out->curve[i], &out->curve_added[i]);
    }
    decoder_close(&q);
    return rc;
}

static int plot_curve(const book *k, const state *s, double dev, const steps *at)
{
    for (int64_t i = 0; i < CURVE && at->chosen > 0.0; i++) {
        bits b = length_at(k, at->curve[i]);
        double fvu = (s->totals[ERROR] + s->totals[ROWS] * at->curve_added[i]) / dev;
        SAE_TRY(sae_emit_point(k->r, "curve_fvu", i, fvu));
        SAE_TRY(sae_emit_point(k->r, "curve_bits", i, b.support + b.magnitude));
    }
    return SAE_OK;
}

static int report(const book *k, state *s, double dev, const steps *at)
{
    const options *o = k->r->opt;
    double none = (double)NAN, l0 = s->totals[L0] / k->all_rows, se = none, all, matched = none;
    int64_t rows = (int64_t)k->all_rows;
    bits b = {none, none, none};
    if (at->chosen > 0.0) {
        b = length_at(k, at->chosen);
        se = standard_error(k, s, at->chosen);
    } else if (l0 == 0.0) {
        b = (bits){0};
    }
    if (at->matched > 0.0) {
        bits m = length_at(k, at->matched);
        matched = m.support + m.magnitude;
    }
    all = b.support + b.magnitude;
    const sae_row out[] = {
        {"bits", all, se, rows, "bits", SAE_LOWER},
        {"support_bits", b.support, none, rows, "bits", SAE_LOWER},
        {"magnitude_bits", b.magnitude, none, k->rows, "bits", SAE_LOWER},
        {"active", b.active, none, rows, "features", SAE_INFO},
        {"bits_per_active", b.active > 0.0 ? all / b.active : none, none, rows, "bits", SAE_INFO},
        {"step", at->chosen, none, k->count, "x", SAE_INFO},
        {"added_fvu", at->added * k->all_rows / dev, none, k->rows, "1", SAE_INFO},
        {"bits_topafa", l0 * (7 + log2((double)k->r->m->dim.n)), none, rows, "bits", SAE_INFO},
        {"bits_at_fvu", matched, none, rows, "bits", SAE_LOWER}};
    for (size_t i = 0; i < sizeof out / sizeof out[0] - (o->fvu == 0.0); i++)
        SAE_TRY(k->r->emit(k->r->sink, &out[i]));
    return SAE_OK;
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    entry *e = entries_of(r, s);
    const double *sum = s->totals;
    double dev = sae_about_mean(sum[SQUARE], sum + SUM_X, NULL, r->m->dim.d_out, sum[ROWS]);
    int64_t rows = 0;
    steps at;
    if (!sae_tensor_matrix(r->m, "W_dec").p)
        return SAE_OK;
    int rc = find_steps(r, s, dev, &at);
    qsort(e, (size_t)s->count, sizeof *e, by_feature);
    while (rows < s->count && e[rows].feature < 0)
        rows++;
    book k = {r, e + rows, rows, s->count - rows, fired_of(r, s), s->totals[ROWS]};
    if (rc >= 0)
        rc = report(&k, s, dev, &at);
    return rc < 0 ? rc : plot_curve(&k, s, dev, &at);
}

const sae_metric sae_metric_mdl = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "mdl",
    .summary = "description length: bits of a row's code at a stated loss of precision",
    .source = "metrics/mdl.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_XHAT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
