/* metrics/quasi_orthogonality.c - is the code as long as the row it stands for? */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/quantile.h>

typedef struct options {
    int64_t bias, points, quantile_rows;
} options;

static const sae_option option_table[] = {
    {"bias", SAE_OPT_BOOL, 0, offsetof(options, bias), 1, 0, 1, NULL, NULL, "1",
     "b_dec counts as one more feature that is always on"},
    {"points", SAE_OPT_INT, 0, offsetof(options, points), 1000, 16, 1 << 20, NULL, NULL, "rows",
     "the ZF plot shows up to this many rows"},
    {"quantile_rows", SAE_OPT_INT, 0, offsetof(options, quantile_rows), 16384, 256, 1 << 24, NULL,
     NULL, "rows", "medians are exact up to this many rows and from a uniform sample beyond"},
    {0}};

enum { ROWS, OVER, SQUARE, NONZERO, RELATIVE, STATS };
enum { EPSILON, EPSILON_ACTIVE, EPSILON_CENTRED, RATIO, PLOT_X, PLOT_F, SAMPLES };

typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double quantile_scratch[(SAE_GROUPS + 2) * 2];
    double norms[]; /* [n] squared norms of the atoms, [d] b_dec; then the samples */
} state;

static size_t weight_bytes(const sae_measure *r)
{
    return ((size_t)(r->m->dim.n + r->m->dim.d_out) * sizeof(double) + 63) / 64 * 64;
}

static int64_t capacity(const sae_measure *r, int which)
{
    const options *o = r->opt;
    return which < PLOT_X ? o->quantile_rows : o->points;
}

static sae_sample *sample_of(const sae_measure *r, state *s, int which)
{
    unsigned char *p = (unsigned char *)s->norms + weight_bytes(r);
    for (int i = 0; i < which; i++)
        p += sae_sample_bytes(capacity(r, i));
    return (sae_sample *)(void *)p;
}

static size_t state_size(const sae_measure *r)
{
    size_t bytes = sizeof(state) + weight_bytes(r);
    for (int i = 0; i < SAMPLES; i++)
        bytes += sae_sample_bytes(capacity(r, i));
    return bytes;
}

static int begin(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    state *s = state_;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    for (int i = 0; i < SAMPLES; i++)
        sample_of(r, s, i)->cap = capacity(r, i);
    if (!dec.p)
        return SAE_OK;
    SAE_TRY(sae_atom_lengths(r, dec, s->norms));
    for (int64_t j = 0; j < dec.rows; j++)
        s->norms[j] *= s->norms[j];
    return o->bias ? sae_decoder_bias(r, r->m, s->norms + r->m->dim.n) : SAE_OK;
}

/* Squares of a row: the row itself, the row less the bias, the code in units of x, the bias; and
 * the number of active features. */
typedef struct lengths {
    double xx, cc, ff, bb;
    int64_t active;
} lengths;

static lengths measure_row(const sae_measure *r, const state *s, const sae_eval *e, int64_t i)
{
    const sae_norm_row u = sae_eval_norm(r, e, i);
    const sae_code *z = e->code;
    const double *bias = s->norms + r->m->dim.n;
    lengths l = {0};
    for (int64_t k = 0; k < e->d; k++) {
        double x = (double)e->x[i * e->d + k] - u.shift, b = u.scale * bias[k];
        l.xx += x * x;
        l.cc += (x - b) * (x - b);
        l.bb += b * b;
    }
    for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
        double f = u.scale * (double)z->val[p];
        l.ff += f * f * s->norms[sae_code_feature(z, i, p)];
        l.active += z->val[p] != 0;
    }
    return l;
}

/* The coherence that `terms` unit atoms must have for a code of squared length ff to make a row of
 * squared length xx. Nothing is said without length or with one term. */
static void add_epsilon(sae_sample *to, const sae_token *tok, double xx, double ff, int64_t terms)
{
    if (ff > 0.0 && ff < (double)INFINITY && terms > 1)
        sae_sample_add(to, tok, fabs(xx - ff) / ((double)(terms - 1) * ff));
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    int64_t n = r->m->dim.n;
    sae_sample *q[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        q[i] = sample_of(r, s, i);
    for (int64_t i = 0; i < e->B; i++) {
        const sae_token *tok = &e->tok[i];
        double *sum = sae_groups_row(s->sums, STATS, tok->doc);
        lengths l = measure_row(r, s, e, i);
        double ff = l.ff + l.bb, x = sqrt(l.xx), f = sqrt(ff);
        add_epsilon(q[EPSILON], tok, l.xx, ff, n);
        add_epsilon(q[EPSILON_ACTIVE], tok, l.xx, ff, l.active + (l.bb > 0.0));
        add_epsilon(q[EPSILON_CENTRED], tok, l.cc, l.ff, n);
        sum[ROWS] += 1;
        sum[OVER] += f > x;
        sum[SQUARE] += (f - x) * (f - x);
        if (x > 0.0) {
            sum[NONZERO] += 1;
            sum[RELATIVE] += fabs(f - x) / x;
            sae_sample_add(q[RATIO], tok, f / x);
        }
        sae_sample_add(q[PLOT_X], tok, x);
        sae_sample_add(q[PLOT_F], tok, f);
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    state *from = (state *)from_; /* read only; sample_of serves both */
    sae_groups_merge(into->sums, from->sums, STATS);
    for (int i = 0; i < SAMPLES; i++)
        sae_sample_merge(sample_of(r, into, i), sample_of(r, from, i));
    return SAE_OK;
}

SAE_RATIO(over_share, OVER, ROWS)
SAE_RATIO(afa_mse, SQUARE, ROWS)
SAE_RATIO(afa_error, RELATIVE, NONZERO)

static const sae_estimate table[] = {
    {"afa_error", afa_error, NONZERO, "1", SAE_LOWER},
    {"afa_mse", afa_mse, ROWS, "x^2", SAE_LOWER},
    {"over_share", over_share, ROWS, "1", SAE_INFO},
    {0}};

static int emit_medians(const sae_measure *r, state *s)
{
    static const struct {
        const char *key;
        enum sae_better better;
    } median[] = {[EPSILON] = {"epsilon_lbo", SAE_LOWER},
                  [EPSILON_ACTIVE] = {"epsilon_lbo_active", SAE_LOWER},
                  [EPSILON_CENTRED] = {"epsilon_lbo_centred", SAE_LOWER},
                  [RATIO] = {"norm_ratio", SAE_TARGET_ONE}};
    for (int i = 0; i <= RATIO; i++) {
        SAE_TRY(sae_sample_emit(r, sample_of(r, s, i), median[i].key, 0.5, s->quantile_scratch,
                                "1", median[i].better));
    }
    return SAE_OK;
}

/* Sorted by emit_medians. */
static int plot_percentiles(const sae_measure *r, state *s)
{
    const sae_sample *q = sample_of(r, s, EPSILON);
    for (int64_t i = 1; i < 100 && q->count > 0; i++)
        SAE_TRY(sae_emit_point(r, "epsilon_lbo_percentile", i, sae_sample_at(q, (double)i / 100)));
    return SAE_OK;
}

static int by_key(const void *a_, const void *b_)
{
    const sae_sampled *a = a_, *b = b_;
    return (a->key > b->key) - (a->key < b->key);
}

/* Both samples hold the same rows: which are kept depends on their keys only. */
static int plot_zf(const sae_measure *r, state *s)
{
    static const char *const key[2] = {"zf_x", "zf_f"};
    for (int axis = 0; axis < 2; axis++) {
        sae_sample *q = sample_of(r, s, PLOT_X + axis);
        sae_sampled *row = sae_sample_rows(q);
        qsort(row, (size_t)q->count, sizeof *row, by_key);
        for (int64_t i = 0; i < q->count; i++)
            SAE_TRY(sae_emit_point(r, key[axis], i, row[i].value));
    }
    return SAE_OK;
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    if (!sae_tensor_matrix(r->m, "W_dec").p)
        return SAE_OK;
    SAE_TRY(emit_medians(r, s));
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, table));
    SAE_TRY(plot_percentiles(r, s));
    return plot_zf(r, s);
}

const sae_metric sae_metric_quasi_orthogonality = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "quasi_orthogonality",
    .summary = "length of the code against length of the row: epsilon_LBO, ZF plot, AFA error",
    .source = "metrics/quasi_orthogonality.md",
    .needs = SAE_MNEED_CODE,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
