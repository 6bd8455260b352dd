/* metrics/attribution.c - does gradient times activation tell what removing a latent does? */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/groups.h>
#include <string.h>

typedef struct options {
    int64_t latents, rows;
} options;

static const sae_option option_table[] = {
    {"latents", SAE_OPT_INT, 0, offsetof(options, latents), 8, 2, 4096, NULL, NULL, "features",
     "latents removed, one pass of the language model each"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 9e15, NULL, NULL, "rows",
     "they are removed from the first rows of the evaluation; 0: nothing is measured"},
    {0}};

enum { FIRES = 8 }; /* expected rows on which a latent fires, at least */

/* State, in doubles: [K] latents, [K x d] their atoms, then a groups block of the tokens and, per
 * latent, the sums of its attribution and of the change of cross-entropy. */
static int64_t latents(const sae_measure *r)
{
    const options *o = r->opt;
    return o->latents < r->m->dim.n ? o->latents : r->m->dim.n;
}
static int64_t stats(int64_t K)
{
    return 1 + 2 * K;
}
static double *sums_of(const sae_measure *r, double *state)
{
    return state + latents(r) * (1 + r->m->dim.d_out);
}

static size_t state_size(const sae_measure *r)
{
    int64_t K = latents(r);
    return (size_t)(K * (1 + r->m->dim.d_out)) * sizeof(double) + sae_groups_bytes(stats(K));
}

/* ---- which latents --------------------------------------------------------------------------- */

typedef struct rank {
    uint64_t fires;
    int64_t feature;
} rank;

static int by_fires(const void *a_, const void *b_)
{
    const rank *a = a_, *b = b_;
    if (a->fires != b->fires)
        return a->fires > b->fires ? -1 : 1;
    return (a->feature > b->feature) - (a->feature < b->feature);
}

/* Evenly spaced by rank among the features that fired often enough in training to be seen; all of
 * them by number where training is unknown. */
static int choose(const sae_measure *r, double *chosen)
{
    const options *o = r->opt;
    const sae_stats *t = r->c->stats;
    int64_t n = r->m->dim.n, K = latents(r), often = 0;
    int known = t && t->tokens > 0 && t->n >= n;
    rank *order = malloc((size_t)n * sizeof *order + 1);
    if (!order)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < n; j++)
        order[j] = (rank){known ? t->fire_count[j] : 0, j};
    qsort(order, (size_t)n, sizeof *order, by_fires);
    while (known && often < n &&
           (double)order[often].fires * (double)o->rows >= (double)t->tokens * FIRES)
        often++;
    often = often < K ? n : often;
    for (int64_t k = 0; k < K; k++)
        chosen[k] = (double)order[k * often / K].feature;
    free(order);
    return SAE_OK;
}

static int begin(const sae_measure *r, void *state)
{
    double *chosen = state, *atom = chosen + latents(r);
    int64_t d = r->m->dim.d_out;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    if (!dec.p)
        return SAE_OK;
    int rc = choose(r, chosen);
    for (int64_t k = 0; rc >= 0 && k < latents(r); k++)
        rc = sae_host_row(r, dec, (int64_t)chosen[k], atom + k * d);
    return rc;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* What one batch works with. */
typedef struct scratch {
    sae_real *x, *grad; /* [B x d] */
    double *clean, *ce; /* [T] of the rows as they are, without a latent */
    int64_t rows;       /* the first rows, those that count */
} scratch;

/* x = the rows without latent k; returns how many rows have it. First-order effect by document. */
static int64_t remove_latent(const sae_measure *r, double *state, const sae_eval *e, int64_t k,
                             const scratch *s)
{
    int64_t d = e->d, K = latents(r), feature = (int64_t)state[k], changed = 0;
    const double *atom = state + K + k * d;
    memcpy(s->x, e->x, (size_t)(e->B * d) * sizeof *s->x);
    for (int64_t i = 0; i < s->rows; i++) {
        double z = sae_code_value(e->code, i, feature) * sae_eval_norm(r, e, i).scale, first = 0;
        if (z == 0.0)
            continue;
        for (int64_t c = 0; c < d; c++) {
            s->x[i * d + c] = (sae_real)((double)e->x[i * d + c] - z * atom[c]);
            first -= z * atom[c] * (double)s->grad[i * d + c];
        }
        sae_groups_row(sums_of(r, state), stats(K), e->tok[i].doc)[1 + k] += first;
        changed++;
    }
    return changed;
}

static int measure(const sae_measure *r, double *state, const sae_eval *e, const scratch *s)
{
    const sae_splice *p = e->splice;
    int64_t K = latents(r);
    double *sums = sums_of(r, state);
    sae_insert_out as_it_is = {.grad = s->grad, .ce = s->clean}, loss = {.ce = s->ce};
    int rc = e->insert->run(e->insert->self, e->x, &as_it_is);
    for (int64_t i = 0; rc >= 0 && i < s->rows; i++)
        sae_groups_row(sums, stats(K), e->tok[i].doc)[0] += 1;
    for (int64_t k = 0; rc >= 0 && k < K; k++) {
        if (remove_latent(r, state, e, k, s) == 0)
            continue;
        rc = e->insert->run(e->insert->self, s->x, &loss);
        for (int64_t t = 0; rc >= 0 && t < p->T; t++)
            sae_groups_row(sums, stats(K), p->tok[t].doc)[1 + K + k] += s->ce[t] - s->clean[t];
    }
    return rc;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    const options *o = r->opt;
    int64_t left = o->rows - (int64_t)e->row0;
    scratch s = {.rows = left < e->B ? left : e->B};
    if (left <= 0 || !sae_tensor_matrix(r->m, "W_dec").p)
        return SAE_DONE;
    s.x = malloc((size_t)(2 * e->B * e->d) * sizeof *s.x + 1);
    s.clean = malloc((size_t)(2 * e->splice->T) * sizeof *s.clean + 1);
    int rc = s.x && s.clean ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0) {
        s.grad = s.x + e->B * e->d;
        s.ce = s.clean + e->splice->T;
        rc = measure(r, state, e, &s);
    }
    free(s.x);
    free(s.clean);
    return rc;
}

static int merge(const sae_measure *r, void *into, const void *from)
{
    const double *sums = (const double *)from + latents(r) * (1 + r->m->dim.d_out);
    sae_groups_merge(sums_of(r, into), sums, stats(latents(r)));
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Pearson's correlation of attribution and effect over the latents of every one of `groups` groups
 * with rows; *pairs says of how many. */
static double pearson(const double *block, int64_t count, int64_t groups, int64_t *pairs)
{
    int64_t K = (count - 1) / 2;
    double n = 0, ma = 0, me = 0, aa = 0, ee = 0, ae = 0;
    for (int64_t i = 0; i < groups * K; i++) {
        const double *sum = block + i / K * count + 1 + i % K;
        double da = sum[0] - ma, de = sum[K] - me;
        if (block[i / K * count] == 0.0)
            continue;
        ma += da / ++n;
        me += de / n;
        aa += da * (sum[0] - ma);
        ee += de * (sum[K] - me);
        ae += da * (sum[K] - me);
    }
    *pairs = (int64_t)n;
    return aa > 0.0 && ee > 0.0 ? ae / sqrt(aa * ee) : (double)NAN;
}

static double correlation(const double *sum, int64_t count)
{
    int64_t pairs;
    return pearson(sum, count, 1, &pairs);
}

/* Spearman's: Pearson's of the ranks, equal values sharing theirs. */
static double rank_correlation(const double *sum, int64_t count)
{
    int64_t K = (count - 1) / 2;
    double ab = 0, aa = 0, bb = 0;
    for (int64_t k = 0; k < K; k++) {
        double place[2];
        for (int side = 0; side < 2; side++) {
            const double *v = sum + 1 + side * K;
            place[side] = 0; /* twice the rank's distance from the middle one */
            for (int64_t j = 0; j < K; j++)
                place[side] += (v[j] < v[k]) - (v[j] > v[k]);
        }
        ab += place[0] * place[1];
        aa += place[0] * place[0];
        bb += place[1] * place[1];
    }
    return aa > 0.0 && bb > 0.0 ? ab / sqrt(aa * bb) : (double)NAN;
}

/* Least squares of effect on attribution through 0. */
static double slope(const double *sum, int64_t count)
{
    int64_t K = (count - 1) / 2;
    double aa = 0, ae = 0;
    for (int64_t k = 0; k < K; k++) {
        aa += sum[1 + k] * sum[1 + k];
        ae += sum[1 + k] * sum[1 + K + k];
    }
    return aa > 0.0 ? ae / aa : (double)NAN;
}

/* Mean size of the change of cross-entropy by one latent, per row. */
static double effect(const double *sum, int64_t count)
{
    int64_t K = (count - 1) / 2;
    double all = 0;
    for (int64_t k = 0; k < K; k++)
        all += fabs(sum[1 + K + k]);
    return sum[0] > 0.0 ? all / (double)K / sum[0] : (double)NAN;
}

static const sae_estimate table[] = {{"correlation", correlation, 0, "1", SAE_HIGHER},
                                     {"rank_correlation", rank_correlation, 0, "1", SAE_HIGHER},
                                     {"slope", slope, 0, "1", SAE_TARGET_ONE},
                                     {"effect", effect, 0, "nats", SAE_INFO},
                                     {0}};

static int end(const sae_measure *r, void *state)
{
    const double *chosen = state;
    const options *o = r->opt;
    int64_t K = latents(r);
    double *sums = sums_of(r, state);
    if (o->rows == 0 || !sae_tensor_matrix(r->m, "W_dec").p)
        return SAE_OK;
    SAE_TRY(sae_groups_emit(r, sums, stats(K), table));
    int64_t pairs = 0;
    double correlation = pearson(sums, stats(K), SAE_GROUPS, &pairs);
    SAE_TRY(sae_emit_value(r, "pair_correlation", correlation, pairs, "1", SAE_HIGHER));
    const double *total = sae_groups_total(sums, stats(K));
    for (int64_t k = 0; k < K && total[0] > 0.0; k++) {
        int64_t feature = (int64_t)chosen[k];
        SAE_TRY(sae_emit_point(r, "attributed", feature, total[1 + k] / total[0]));
        SAE_TRY(sae_emit_point(r, "removed", feature, total[1 + K + k] / total[0]));
    }
    return SAE_OK;
}

const sae_metric sae_metric_attribution = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "attribution",
    .summary = "gradient times activation of a latent against the effect of removing it",
    .source = "metrics/attribution.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_INSERT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
