/* metrics/recovery.c - does the dictionary hold the true atoms of a synthetic source, and does each
 * feature fire where its atom does.
 *
 * begin() matches features to atoms one to one by maximal total cosine; batch() counts agreement of
 * supports.
 */
#include <sae/fail.h>
#include <sae/groups.h>
#include <sae/matching.h>

typedef struct options {
    double threshold;
    int64_t exact;
} options;

static const sae_option option_table[] = {
    {"threshold", SAE_OPT_REAL, 0, offsetof(options, threshold), 0.9, 0, 1, NULL, NULL, "1",
     "an atom counts as recovered when its best cosine is above this"},
    {"exact", SAE_OPT_INT, 0, offsetof(options, exact), 4096, 0, 1 << 16, NULL, NULL, "features",
     "up to this many features or atoms the matching is optimal, beyond it greedy"},
    {0}};

enum { ROWS, PREDICTED, ACTUAL, AGREED, STATS };

typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double best_atoms, best_features; /* sums over atoms, over features, of the best cosine */
    double matched;                   /* sum of cosines over matched pairs */
    int64_t pairs, atoms_found, features_true, distinct;
    int32_t match[]; /* [n] atom of the feature, -1 without; then [truth n] 1 where active */
} state;

static int32_t *active_of(const sae_measure *r, state *s)
{
    return s->match + r->m->dim.n;
}

static size_t state_size(const sae_measure *r)
{
    return sizeof(state) + (size_t)(r->m->dim.n + r->truth->n) * sizeof(int32_t);
}

static void summarise(const sae_measure *r, state *s, const sae_matching *m)
{
    const options *o = r->opt;
    int32_t *chosen = active_of(r, s); /* all zero between rows */
    s->pairs = m->pairs;
    for (int64_t i = 0; i < m->a.n; i++) {
        s->best_features += m->a.best[i];
        s->features_true += m->a.best[i] > o->threshold;
        s->distinct += !chosen[m->a.arg[i]];
        chosen[m->a.arg[i]] = 1;
        s->match[i] = (int32_t)m->a.match[i];
        if (m->a.match[i] >= 0)
            s->matched += sae_model_signed(r->m) ? fabs(m->a.cosine[i]) : m->a.cosine[i];
    }
    for (int64_t j = 0; j < m->b.n; j++) {
        s->best_atoms += m->b.best[j];
        s->atoms_found += m->b.best[j] > o->threshold;
        chosen[j] = 0;
    }
}

static int compare(const sae_measure *r, state *s, sae_cmat w, sae_cmat dict)
{
    const options *o = r->opt;
    sae_matching m;
    int rc = sae_match_rows(&m, r, w, dict, sae_model_signed(r->m), o->exact);
    if (rc >= 0)
        summarise(r, s, &m);
    sae_matching_close(&m);
    return rc;
}

static int begin(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    for (int64_t i = 0; i < r->m->dim.n; i++)
        s->match[i] = -1;
    if (!w.p || w.rows == 0 || r->truth->n == 0)
        return SAE_OK; /* nothing to compare: every value is undefined */
    if (w.cols != r->truth->d)
        return SAE_RECORD(r->c->err, SAE_EINVAL, "recovery: atoms of width %lld, decoder of %lld",
                          (long long)r->truth->d, (long long)w.cols);
    size_t bytes = (size_t)(r->truth->n * r->truth->d) * sizeof(sae_real);
    sae_real *copy = r->c->be->alloc(r->c->dev, bytes);
    if (!copy)
        return SAE_ENOMEM;
    sae_cmat dict = {copy, r->truth->n, r->truth->d, r->truth->d};
    int rc = r->c->be->copy(r->c->dev, copy, r->truth->dict, bytes, SAE_COPY_H2D);
    if (rc >= 0)
        rc = compare(r, s, w, dict);
    sae_backend_release(r, copy);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    const sae_code *z = e->code, *t = e->truth->code;
    int32_t *active = active_of(r, s);
    for (int64_t i = 0; i < e->B; i++) {
        double *sum = sae_groups_row(s->sums, STATS, e->tok[i].doc);
        for (int64_t p = sae_code_row(t, i); p < sae_code_row(t, i + 1); p++) {
            active[sae_code_feature(t, i, p)] = t->val[p] != 0;
            sum[ACTUAL] += t->val[p] != 0;
        }
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
            int32_t atom = s->match[sae_code_feature(z, i, p)];
            sum[PREDICTED] += z->val[p] != 0;
            sum[AGREED] += z->val[p] != 0 && atom >= 0 && active[atom];
        }
        for (int64_t p = sae_code_row(t, i); p < sae_code_row(t, i + 1); p++)
            active[sae_code_feature(t, i, p)] = 0;
        sum[ROWS] += 1;
    }
    return SAE_OK;
}

/* The matching depends on the model only: both sides hold the same one. */
static int merge(const sae_measure *r, void *into, const void *from)
{
    (void)r;
    sae_groups_merge(((state *)into)->sums, ((const state *)from)->sums, STATS);
    return SAE_OK;
}

SAE_RATIO(precision, AGREED, PREDICTED)
SAE_RATIO(recall, AGREED, ACTUAL)
SAE_RATIO(true_l0, ACTUAL, ROWS)

static double f1(const double *s, int64_t K)
{
    (void)K;
    double all = s[PREDICTED] + s[ACTUAL];
    return all > 0.0 ? 2 * s[AGREED] / all : (double)NAN;
}

static const sae_estimate estimates[] = {
    {"support_precision", precision, ROWS, "1", SAE_HIGHER},
    {"support_recall", recall, ROWS, "1", SAE_HIGHER},
    {"support_f1", f1, ROWS, "1", SAE_HIGHER},
    {"true_l0", true_l0, ROWS, "atoms", SAE_INFO},
    {0}};

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    int64_t n = s->pairs ? r->m->dim.n : 0, atoms = s->pairs ? r->truth->n : 0;
    const struct {
        const char *key;
        double sum;
        int64_t count;
    } out[] = {{"max_cosine", s->best_atoms, atoms},
               {"max_cosine_reverse", s->best_features, n},
               {"matched_cosine", s->matched, s->pairs},
               {"share_recovered", (double)s->atoms_found, atoms},
               {"share_recovered_reverse", (double)s->features_true, n},
               {"uniqueness", (double)s->distinct, n}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        double value = out[i].count ? out[i].sum / (double)out[i].count : (double)NAN;
        sae_row row = {out[i].key, value, (double)NAN, out[i].count, "1", SAE_HIGHER};
        int rc = r->emit(r->sink, &row);
        if (rc < 0)
            return rc;
    }
    return sae_groups_emit(r, s->sums, STATS, estimates);
}

const sae_metric sae_metric_recovery = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "recovery",
    .summary = "true atoms found, and agreement of supports, on data with known ground truth",
    .source = "metrics/recovery.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_TRUTH,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
