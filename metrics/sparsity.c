/* metrics/sparsity.c - how many features are active on a row, and how often each feature is.
 *
 * Active means value != 0, so that signed codes count in full. Per-feature counts are exact
 * integers; averages over rows have errors by document (sae/groups.h).
 */
#include <sae/fail.h>
#include <sae/quantile.h>

typedef struct options {
    double threshold, rare, dead_value;
    int64_t window, quantile_rows;
} options;

static const sae_option option_table[] = {
    {"threshold", SAE_OPT_REAL, 0, offsetof(options, threshold), 1e-6, 0, 1e30, NULL, NULL, "z",
     "l0_threshold counts values above it"},
    {"rare", SAE_OPT_REAL, 0, offsetof(options, rare), 1e-4, 0, 1, NULL, NULL, "1",
     "a feature fires rarely when its density is above 0 and below this"},
    {"dead_value", SAE_OPT_REAL, 0, offsetof(options, dead_value), 1e-3, 0, 1e30, NULL, NULL, "z",
     "dead_share_value: features whose values never are larger than this without their sign"},
    {"window", SAE_OPT_INT, 0, offsetof(options, window), 10000000, 1, 9e15, NULL, NULL, "rows",
     "train_dead_share: features that fired on none of the last rows of training"},
    {"quantile_rows", SAE_OPT_INT, 0, offsetof(options, quantile_rows), 65536, 256, 1 << 24, NULL,
     NULL, "rows", "quantiles are exact up to this many rows and from a uniform sample beyond"},
    {0}};

enum { ROWS, L0, L0_POSITIVE, L0_THRESHOLD, L1, STATS };

typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double quantile_scratch[(SAE_GROUPS + 2) * 2];
    uint64_t rows;
    uint64_t fired[]; /* [FIRINGS x n] rows on which each firing test holds; then the sample */
} state;

enum { NONZERO, POSITIVE, LARGE, FIRINGS }; /* val != 0, val > 0, |val| > dead_value */

static sae_sample *l0_sample(const sae_measure *r, state *s)
{
    return (sae_sample *)(void *)(s->fired + FIRINGS * r->m->dim.n);
}

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    return sizeof(state) + FIRINGS * (size_t)r->m->dim.n * sizeof(uint64_t) +
           sae_sample_bytes(o->quantile_rows);
}

static int begin(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    l0_sample(r, state_)->cap = o->quantile_rows;
    return SAE_OK;
}

static void add_value(const sae_measure *r, state *s, int64_t feature, double v, double *row)
{
    const options *o = r->opt;
    if (v == 0.0)
        return;
    int64_t n = r->m->dim.n;
    s->fired[feature]++;
    s->fired[POSITIVE * n + feature] += v > 0.0;
    s->fired[LARGE * n + feature] += fabs(v) > o->dead_value;
    row[L0] += 1;
    row[L0_POSITIVE] += v > 0.0;
    row[L0_THRESHOLD] += v > o->threshold;
    row[L1] += fabs(v);
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    const sae_code *z = e->code;
    for (int64_t i = 0; i < e->B; i++) {
        double row[STATS] = {1, 0, 0, 0, 0};
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++)
            add_value(r, s, sae_code_feature(z, i, p), (double)z->val[p], row);
        row[L1] *= sae_eval_norm(r, e, i).scale;
        double *sum = sae_groups_row(s->sums, STATS, e->tok[i].doc);
        for (int k = 0; k < STATS; k++)
            sum[k] += row[k];
        sae_sample_add(l0_sample(r, s), &e->tok[i], row[L0]);
    }
    s->rows += (uint64_t)e->B;
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    state *from = (state *)from_; /* read only; l0_sample serves both */
    sae_groups_merge(into->sums, from->sums, STATS);
    for (int64_t j = 0; j < FIRINGS * r->m->dim.n; j++)
        into->fired[j] += from->fired[j];
    into->rows += from->rows;
    sae_sample_merge(l0_sample(r, into), l0_sample(r, from));
    return SAE_OK;
}

SAE_RATIO(l0, L0, ROWS)
SAE_RATIO(l0_positive, L0_POSITIVE, ROWS)
SAE_RATIO(l0_threshold, L0_THRESHOLD, ROWS)
SAE_RATIO(l1, L1, ROWS)

static const sae_estimate table[] = {
    {"l0", l0, ROWS, "features", SAE_INFO},
    {"l0_positive", l0_positive, ROWS, "features", SAE_INFO},
    {"l0_threshold", l0_threshold, ROWS, "features", SAE_INFO},
    {"l1", l1, ROWS, "x", SAE_INFO},
    {0}};

/* A statement about the n features, not an average over documents: no standard error. */
static int emit_feature(const sae_measure *r, const char *key, double value, enum sae_better better)
{
    return sae_emit_value(r, key, value, r->m->dim.n, "1", better);
}

static int emit_densities(const sae_measure *r, const state *s)
{
    const options *o = r->opt;
    int64_t n = r->m->dim.n;
    double rows = (double)s->rows, share = n > 0 && s->rows > 0 ? 1.0 / (double)n : (double)NAN;
    double lo = (double)INFINITY, hi = 0;
    int64_t dead[FIRINGS] = {0}, rare = 0, above1 = 0, above10 = 0;
    for (int64_t j = 0; j < n; j++) {
        double density = s->rows ? (double)s->fired[j] / rows : 0.0;
        for (int i = 0; i < FIRINGS; i++)
            dead[i] += s->fired[i * n + j] == 0;
        rare += density > 0.0 && density < o->rare;
        above1 += density > 0.01;
        above10 += density > 0.1;
        lo = density < lo ? density : lo;
        hi = density > hi ? density : hi;
    }
    const struct {
        const char *key;
        double value;
        enum sae_better better;
    } out[] = {{"dead_share", (double)dead[NONZERO] * share, SAE_LOWER},
               {"dead_share_positive", (double)dead[POSITIVE] * share, SAE_LOWER},
               {"dead_share_value", (double)dead[LARGE] * share, SAE_LOWER},
               {"rare_share", (double)rare * share, SAE_INFO},
               {"share_above_1pct", (double)above1 * share, SAE_INFO},
               {"share_above_10pct", (double)above10 * share, SAE_INFO},
               {"density_min", share > 0.0 ? lo : share, SAE_INFO},
               {"density_max", share > 0.0 ? hi : share, SAE_INFO}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        SAE_TRY(emit_feature(r, out[i].key, out[i].value, out[i].better));
    return SAE_OK;
}

/* The same shares over training. A run shorter than the window is judged as a whole. */
static int emit_training(const sae_measure *r)
{
    const options *o = r->opt;
    const sae_stats *t = r->c->stats;
    int64_t n = r->m->dim.n;
    if (!t || t->tokens == 0 || t->n < n || n == 0)
        return SAE_OK;
    const struct {
        const char *key;
        int64_t rows;
    } window[] = {{"train_dead_share", o->window},
                  {"train_dead_share_1m", 1000000},
                  {"train_dead_share_4m", 4096000}};
    for (size_t i = 0; i < sizeof window / sizeof window[0]; i++) {
        int64_t dead = 0;
        for (int64_t j = 0; j < n; j++)
            dead += t->fire_count[j] == 0 ||
                    t->tokens - t->last_fired[j] >= (uint64_t)window[i].rows;
        SAE_TRY(emit_feature(r, window[i].key, (double)dead / (double)n, SAE_LOWER));
    }
    int64_t rare = 0;
    for (int64_t j = 0; j < n; j++) {
        double density = (double)t->fire_count[j] / (double)t->tokens;
        rare += density > 0.0 && density < o->rare;
    }
    return emit_feature(r, "train_rare_share", (double)rare / (double)n, SAE_INFO);
}

enum { BINS_PER_DECADE = 4 };

/* Bin b counts the features with b <= 4 log10(density) < b + 1: density 1 alone is in bin 0, and
 * dead features are in none. Every bin from the rarest possible density to 0 is written. */
static int emit_histogram(const sae_measure *r, const state *s)
{
    enum { BINS = 20 * BINS_PER_DECADE }; /* densities are above 10^-20 */
    int64_t bin[BINS] = {0};
    if (s->rows == 0)
        return SAE_OK;
    for (int64_t j = 0; j < r->m->dim.n; j++)
        if (s->fired[j] > 0) {
            double l = log10((double)s->fired[j] / (double)s->rows);
            bin[(int64_t)ceil(-BINS_PER_DECADE * l - 0x1p-40)]++; /* rounding of log10 */
        }
    int64_t last = (int64_t)ceil(BINS_PER_DECADE * log10((double)s->rows));
    for (int64_t b = last; b >= 0; b--)
        SAE_TRY(sae_emit_point(r, "density_log10", -b, (double)bin[b]));
    return SAE_OK;
}

/* features.csv: density, and for signed codes the share of rows with a positive value. */
static int emit_features(const sae_measure *r, const state *s)
{
    int64_t n = r->m->dim.n;
    int signed_codes = 0;
    for (int64_t j = 0; j < n; j++)
        signed_codes |= s->fired[j] != s->fired[n + j];
    for (int sign = 0; sign <= signed_codes; sign++)
        for (int64_t j = 0; j < n && s->rows > 0; j++)
            SAE_TRY(sae_emit_point(r, sign ? "density_positive" : "density", j,
                                   (double)s->fired[sign * n + j] / (double)s->rows));
    return SAE_OK;
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, table));
    SAE_TRY(sae_sample_emit(r, l0_sample(r, s), "l0_p99", 0.99, s->quantile_scratch, "features",
                            SAE_INFO));
    SAE_TRY(emit_densities(r, s));
    SAE_TRY(emit_training(r));
    SAE_TRY(emit_histogram(r, s));
    return emit_features(r, s);
}

const sae_metric sae_metric_sparsity = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "sparsity",
    .summary = "active features per row, density of features, dead and rare features",
    .source = "metrics/sparsity.md",
    .needs = SAE_MNEED_CODE,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
