/* metrics/bidirectionality.c - does a feature use both signs, and do they stand for opposites?
 *
 * Signs, moments and balance of every feature come from exact counts. Where labels with two poles
 * are there, a uniform sample of labelled rows (sae/labelled.h) says whether a feature tells the
 * poles apart by sign: latents are chosen on training documents, figures are of test documents.
 */
#include <sae/concept_task.h>
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/quantile.h>

typedef struct options {
    double balance;
    int64_t events, rows, entries;
} options;

static const sae_option option_table[] = {
    {"balance", SAE_OPT_REAL, 0, offsetof(options, balance), 0.1, 0, 1, NULL, NULL, "1",
     "a two-sided feature has at least this balance"},
    {"events", SAE_OPT_INT, 0, offsetof(options, events), 100, 1, 9e15, NULL, NULL, "rows",
     "and fires on at least this many rows with either sign"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 4096, 64, 1 << 24, NULL, NULL, "rows",
     "sample of labelled rows"},
    {"entries", SAE_OPT_INT, 0, offsetof(options, entries), 1 << 18, 1024, 1 << 28, NULL, NULL,
     "entries", "room for their active latents; codes that need more make the sample smaller"},
    {0}};

enum { PLUS, MINUS, SUM1, SUM2, SUM3, SUM4, STATS }; /* of a feature, given that it fires */

/* State: [n x STATS] doubles, then the sample, where there are labels. */
static sae_labelled *sample_of(const sae_measure *r, void *state)
{
    return (sae_labelled *)(void *)((double *)state + r->m->dim.n * STATS);
}

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    size_t bytes = (size_t)(r->m->dim.n * STATS) * sizeof(double) + 1;
    sae_labelled s = sae_labelled_shape(r, o->rows, o->entries, 0);
    return r->labels ? bytes + sae_labelled_bytes(&s) : bytes;
}

static int begin(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    if (r->labels)
        *sample_of(r, state) = sae_labelled_shape(r, o->rows, o->entries, 0);
    return SAE_OK;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    double *of = state;
    const sae_code *z = e->code;
    for (int64_t i = 0; i < e->B; i++)
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
            double v = (double)z->val[p], *f = of + sae_code_feature(z, i, p) * STATS;
            if (v == 0.0)
                continue;
            f[v > 0.0 ? PLUS : MINUS] += 1;
            f[SUM1] += v;
            f[SUM2] += v * v;
            f[SUM3] += v * v * v;
            f[SUM4] += v * v * v * v;
        }
    if (r->labels)
        sae_labelled_add(r, sample_of(r, state), e);
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into, const void *from)
{
    double *a = into;
    const double *b = from;
    for (int64_t i = 0; i < r->m->dim.n * STATS; i++)
        a[i] += b[i];
    if (r->labels)
        sae_labelled_merge(sample_of(r, into),
                           (const sae_labelled *)(const void *)(b + r->m->dim.n * STATS));
    return SAE_OK;
}

/* ---- features -------------------------------------------------------------------------------- */

static int emit_mean(const sae_measure *r, const char *key, double sum, int64_t count,
                     enum sae_better better)
{
    double mean = count > 0 ? sum / (double)count : (double)NAN;
    return sae_emit_value(r, key, mean, count, "1", better);
}

/* Sarle's coefficient (skewness^2 + 1) / kurtosis of a feature's values: 1 for two points, 5/9 for
 * a uniform distribution, 1/3 for a normal one. NaN without spread. */
static double bimodality(const double *f)
{
    double n = f[PLUS] + f[MINUS], m = f[SUM1] / n, a2 = f[SUM2] / n, a3 = f[SUM3] / n;
    double m2 = a2 - m * m, m3 = a3 - 3 * m * a2 + 2 * m * m * m;
    double m4 = f[SUM4] / n - 4 * m * a3 + 6 * m * m * a2 - 3 * m * m * m * m;
    if (!(m2 > a2 * 0x1p-40) || !(m4 > 0.0))
        return (double)NAN;
    return (m3 * m3 / (m2 * m2 * m2) + 1) * m2 * m2 / m4;
}

static int emit_features(const sae_measure *r, const double *of)
{
    const options *o = r->opt;
    double balances = 0, lesser = 0, coefficients = 0;
    int64_t alive = 0, two_sided = 0, spread = 0, total = 0;
    int rc = SAE_OK;
    for (int64_t j = 0; rc >= 0 && j < r->m->dim.n; j++) {
        const double *f = of + j * STATS;
        double fires = f[PLUS] + f[MINUS], less = fmin(f[PLUS], f[MINUS]);
        if (fires == 0.0)
            continue;
        sae_series p = {"balance", j, 2 * less / fires};
        double b = bimodality(f);
        alive++;
        balances += p.value;
        lesser += less;
        total += (int64_t)fires;
        two_sided += p.value >= o->balance && less >= (double)o->events;
        spread += b == b;
        coefficients += b == b ? b : 0.0;
        rc = r->point(r->sink, &p);
    }
    if (rc >= 0)
        rc = emit_mean(r, "balance", balances, alive, SAE_INFO);
    if (rc >= 0)
        rc = emit_mean(r, "balance_pooled", 2 * lesser, total, SAE_INFO);
    if (rc >= 0)
        rc = emit_mean(r, "two_sided_share", (double)two_sided, alive, SAE_INFO);
    return rc < 0 ? rc : emit_mean(r, "bimodality", coefficients, spread, SAE_INFO);
}

/* ---- poles ----------------------------------------------------------------------------------- */

enum { FLIP, FLIP_SAME, LATENT, LATENT_STOCK, DIM, OPPOSED, COSINE, FIGURES };
enum { SCORES = OPPOSED - LATENT }; /* of a test row: those whose AUCs are figures */
static const struct {
    const char *key;
    enum sae_better better;
} figures[FIGURES] = {{"sign_flips", SAE_INFO},   {"sign_flips_same_pole", SAE_INFO},
                      {"latent_auc", SAE_HIGHER}, {"latent_auc_stock", SAE_INFO},
                      {"dim_auc", SAE_INFO},      {"opposed", SAE_INFO},
                      {"dim_cosine", SAE_INFO}};

/* What end() works with: the sample in random order and room for one label. */
typedef struct poles {
    const sae_measure *r;
    sae_labelled_rows a;
    const sae_labelled *sample;
    sae_labelled_ref *ref;
    int64_t n, d, label, last; /* the label and its last class */
    double *sum;               /* of training rows: [2 x n] values of either pole, then [n]
                                  absolute ones, [n] numbers of active ones */
    double *mean;              /* [2 x d] of the poles, then [d] their difference */
    sae_scored *scored;        /* [SCORES x count] test rows: latent, clipped, direction */
    int64_t *row[2];           /* [count] test rows of either pole, in random order */
    int64_t train[2], test[2];
    sae_figure figure[FIGURES];      /* sums over labels */
    unsigned char group[SAE_GROUPS]; /* 1: holds test rows of a pole */
} poles;

/* 0 or 1: the pole of a row; -1: neither. */
static int pole_of(const poles *q, int64_t row)
{
    int32_t class = q->a.label[row * q->r->labels + q->label];
    return class == 0 ? 0 : class == q->last ? 1 : -1;
}

/* Counts, mean codes and mean rows of the poles over training documents; test rows listed. */
static void split_rows(poles *q)
{
    memset(q->sum, 0, (size_t)(4 * q->n) * sizeof *q->sum);
    memset(q->mean, 0, (size_t)(3 * q->d) * sizeof *q->mean);
    for (int i = 0; i < 2; i++)
        q->train[i] = q->test[i] = 0;
    for (int64_t i = 0; i < q->sample->count; i++) {
        int64_t row = q->ref[i].row;
        int pole = pole_of(q, row);
        if (pole < 0)
            continue;
        if (q->ref[i].part == SAE_PART_TEST) {
            q->row[pole][q->test[pole]++] = row;
            continue;
        }
        q->train[pole]++;
        for (int64_t p = q->a.first[row]; p < q->a.first[row + 1]; p++) {
            q->sum[pole * q->n + q->a.idx[p]] += (double)q->a.val[p];
            q->sum[2 * q->n + q->a.idx[p]] += fabs((double)q->a.val[p]);
            q->sum[3 * q->n + q->a.idx[p]] += 1;
        }
        for (int64_t k = 0; k < q->d; k++)
            q->mean[pole * q->d + k] += (double)q->a.x[row * q->d + k];
    }
    for (int64_t k = 0; k < q->d; k++)
        q->mean[2 * q->d + k] =
            q->mean[k] / (double)q->train[0] - q->mean[q->d + k] / (double)q->train[1];
}

/* The latent whose mean differs most between the poles, in units of its mean size where it is
 * active (the rule of sae-probes); its sign is that of pole 0. */
static int64_t best_latent(const poles *q, double *sign)
{
    int64_t best = 0;
    double most = -1;
    for (int64_t j = 0; j < q->n; j++) {
        double size = q->sum[2 * q->n + j];
        double delta = q->sum[j] / (double)q->train[0] - q->sum[q->n + j] / (double)q->train[1];
        double score = size > 0.0 ? fabs(delta) * q->sum[3 * q->n + j] / size : 0.0;
        if (score > most) {
            most = score;
            best = j;
            *sign = delta < 0.0 ? -1 : 1;
        }
    }
    return best;
}

static double value_of(const poles *q, int64_t row, int64_t feature)
{
    for (int64_t p = q->a.first[row]; p < q->a.first[row + 1]; p++)
        if (q->a.idx[p] == feature)
            return (double)q->a.val[p];
    return 0;
}

/* Median of |z| over the active latents of a row; scratch [n]. */
static double median_size(const poles *q, int64_t row, double *scratch)
{
    int64_t first = q->a.first[row], count = q->a.first[row + 1] - first;
    for (int64_t p = 0; p < count; p++)
        scratch[p] = fabs((double)q->a.val[first + p]);
    return sae_median(scratch, count);
}

/* 1 if some latent has opposite signs on the two rows, both at least as large as the row's
 * median. */
static int flips(const poles *q, int64_t a, int64_t b, double *scratch)
{
    double la = median_size(q, a, scratch), lb = median_size(q, b, scratch);
    int64_t i = q->a.first[a], j = q->a.first[b];
    while (i < q->a.first[a + 1] && j < q->a.first[b + 1]) {
        double u = (double)q->a.val[i], v = (double)q->a.val[j];
        if (q->a.idx[i] == q->a.idx[j] && u * v < 0.0 && fabs(u) >= la && fabs(v) >= lb)
            return 1;
        if (q->a.idx[i] <= q->a.idx[j])
            i++;
        else
            j++;
    }
    return 0;
}

/* |cos| of the difference of means with the latent's atom. */
static int direction_cosine(const poles *q, int64_t feature, double *out)
{
    sae_cmat dec = sae_tensor_matrix(q->r->m, "W_dec");
    double ab = 0, aa = 0, bb = 0;
    *out = 0;
    if (!dec.p || dec.cols != q->d)
        return SAE_OK;
    double *atom = malloc((size_t)q->d * sizeof *atom);
    int rc = atom ? sae_host_row(q->r, dec, feature, atom) : SAE_ENOMEM;
    for (int64_t k = 0; rc >= 0 && k < q->d; k++) {
        double a = atom[k], b = q->mean[2 * q->d + k];
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    free(atom);
    *out = aa > 0.0 && bb > 0.0 ? fabs(ab) / sqrt(aa * bb) : 0;
    return rc;
}

static int group_of(const poles *q, int64_t row)
{
    return (int)sae_group_of(q->a.doc[row]);
}

/* Scores of the test rows by the latent, by the clipped latent and along the difference of means;
 * pole 0 is on. Rows of either pole on which the latent has the pole's sign. */
static void score_rows(poles *q, int64_t latent, double sign, sae_tally opposed[2])
{
    int64_t all = q->test[0] + q->test[1], i = 0;
    memset(opposed, 0, 2 * sizeof *opposed);
    for (int pole = 0; pole < 2; pole++)
        for (int64_t k = 0; k < q->test[pole]; k++, i++) {
            int64_t row = q->row[pole][k];
            int group = group_of(q, row);
            double z = sign * value_of(q, row, latent), x = 0;
            for (int64_t c = 0; c < q->d; c++)
                x += (double)q->a.x[row * q->d + c] * q->mean[2 * q->d + c];
            const double score[SCORES] = {z, sign * fmax(sign * z, 0), x};
            for (int s = 0; s < SCORES; s++)
                q->scored[s * all + i] =
                    (sae_scored){score[s], (unsigned char)!pole, (unsigned char)group};
            q->group[group] = 1;
            sae_tally_add(&opposed[pole], group, pole ? z < 0.0 : z > 0.0);
        }
}

/* A pair is of the documents of both its rows. */
static void tally_pair(const poles *q, sae_tally *t, int64_t a, int64_t b, double *scratch)
{
    int first = group_of(q, a), second = group_of(q, b), told = flips(q, a, b, scratch);
    sae_tally_add(t, first, told);
    if (second != first) {
        t->rows[second] += 1;
        t->told[second] += told;
    }
}

static void count_flips(const poles *q, sae_tally *across, sae_tally *within, double *scratch)
{
    int64_t pairs = q->test[0] < q->test[1] ? q->test[0] : q->test[1];
    memset(across, 0, sizeof *across);
    memset(within, 0, sizeof *within);
    for (int64_t k = 0; k < pairs; k++)
        tally_pair(q, across, q->row[0][k], q->row[1][k], scratch);
    for (int64_t k = 0; k < q->test[0] / 2; k++)
        tally_pair(q, within, q->row[0][2 * k], q->row[0][2 * k + 1], scratch);
}

/* Add the figures of one label, from rows of test documents; latent and direction stay as they are
 * when documents are left out. */
static int measure_label(poles *q, double *scratch)
{
    sae_tally opposed[2], across, within;
    sae_pairs pairs[SCORES];
    int64_t all = q->test[0] + q->test[1];
    double sign = 1, cosine, v[FIGURES];
    int64_t latent = best_latent(q, &sign);
    score_rows(q, latent, sign, opposed);
    count_flips(q, &across, &within, scratch);
    for (int s = 0; s < SCORES; s++)
        sae_count_pairs(q->scored + s * all, all, &pairs[s]);
    SAE_TRY(direction_cosine(q, latent, &cosine));
    for (int g = 0; g <= SAE_ALL_GROUPS; g++) {
        v[FLIP] = sae_tally_share(&across, g);
        v[FLIP_SAME] = sae_tally_share(&within, g);
        v[OPPOSED] = (sae_tally_share(&opposed[0], g) + sae_tally_share(&opposed[1], g)) / 2;
        v[COSINE] = cosine;
        for (int s = 0; s < SCORES; s++)
            v[LATENT + s] = sae_auc(&pairs[s], g);
        for (int k = 0; k < FIGURES; k++)
            *sae_figure_at(&q->figure[k], g) += v[k];
    }
    for (int k = 0; k < FIGURES; k++) { /* v: of all rows */
        sae_series p = {figures[k].key, q->label, v[k]};
        SAE_TRY(q->r->point(q->r->sink, &p));
    }
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

enum { FEWEST = 8 }; /* rows of either pole, in training and in test */

/* Means over labels; the cosine is of an atom, not of documents. */
static int measure_labels(poles *q, double *scratch)
{
    const sae_measure *r = q->r;
    int64_t count = 0;
    for (int64_t l = 0; l < r->labels; l++) {
        q->label = l;
        q->last = r->label[l].classes - 1;
        if (!r->label[l].bidirectional)
            continue;
        split_rows(q);
        if (q->train[0] < FEWEST || q->train[1] < FEWEST || q->test[0] < FEWEST ||
            q->test[1] < FEWEST)
            continue;
        SAE_TRY(measure_label(q, scratch));
        count++;
    }
    for (int k = 0; k < COSINE; k++)
        SAE_TRY(sae_figure_emit(r, figures[k].key, &q->figure[k], (double)count, q->group, count,
                                figures[k].better));
    return emit_mean(r, figures[COSINE].key, q->figure[COSINE].all, count, figures[COSINE].better);
}

static int emit_poles(const sae_measure *r, const sae_labelled *sample)
{
    size_t n = (size_t)r->m->dim.n, d = (size_t)sample->d, rows = (size_t)sample->count;
    double *memory = malloc((5 * n + 3 * d + 1) * sizeof *memory);
    int64_t *index = malloc((2 * rows + 1) * sizeof *index);
    poles q = {.r = r,
               .a = sae_labelled_at(sample),
               .sample = sample,
               .ref = sae_labelled_sort(sample),
               .scored = malloc((SCORES * rows + 1) * sizeof *q.scored),
               .n = (int64_t)n,
               .d = (int64_t)d};
    int rc = memory && index && q.ref && q.scored ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0) {
        q.sum = memory;
        q.mean = q.sum + 4 * n;
        q.row[0] = index;
        q.row[1] = index + rows;
        rc = measure_labels(&q, q.mean + 3 * d);
    }
    free(q.ref);
    free(q.scored);
    free(index);
    free(memory);
    return rc;
}

static int end(const sae_measure *r, void *state)
{
    int rc = emit_features(r, state);
    return rc < 0 || !r->labels ? rc : emit_poles(r, sample_of(r, state));
}

const sae_metric sae_metric_bidirectionality = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "bidirectionality",
    .summary = "use of both signs by a feature; poles of labels told by the sign of a latent",
    .source = "metrics/bidirectionality.md",
    .needs = SAE_MNEED_CODE,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
    .wants = SAE_MNEED_LABELS,
};
