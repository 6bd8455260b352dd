/* metrics/absorption.c - feature absorption: on how many tokens does the latent of a concept stay
 * silent because a more special latent has taken over its direction.
 */
#include <sae/concept_task.h>
#include <sae/fail.h>
#include <sae/lda.h>
#include <stdio.h>

typedef struct options {
    int64_t rows, entries, train, min_rows;
    double jump, min_f1, ridge;
    const char *labels;
} options;

static const sae_option option_table[] = {
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 8192, 16, 1 << 20, NULL, NULL, "rows",
     "uniform sample of labelled rows"},
    {"entries", SAE_OPT_INT, 0, offsetof(options, entries), 1 << 20, 1, 1 << 28, NULL, NULL,
     "entries", "room for their active latents; codes that need more make the sample smaller"},
    {"train", SAE_OPT_INT, 0, offsetof(options, train), 4096, 8, 1 << 20, NULL, NULL, "rows",
     "most training rows of a label"},
    {"min_rows", SAE_OPT_INT, 0, offsetof(options, min_rows), 16, 1, 1 << 20, NULL, NULL, "rows",
     "least rows of a class in training and in test"},
    {"jump", SAE_OPT_REAL, 0, offsetof(options, jump), 0.03, 0, 1, NULL, NULL, "1",
     "gain of F1 for which another latent counts as a split (SAEBench)"},
    {"min_f1", SAE_OPT_REAL, 0, offsetof(options, min_f1), 0.6, 0, 1, NULL, NULL, "1",
     "classes whose linear probe has no larger F1 are left out (SAEBench)"},
    {"ridge", SAE_OPT_REAL, 0, offsetof(options, ridge), 0.1, 0, 1e6, NULL, NULL, "1",
     "linear probe: added to every variance, as a share of it"},
    {"labels", SAE_OPT_STR, 0, offsetof(options, labels), 0, 0, 0, NULL, "initial kind", "labels",
     "labels that the token itself decides, separated by spaces"},
    {0}};

enum { SPLITS = 10, ABSORBERS = 3 };
static const double DEAD = 1e-8, LEAST_COSINE = 0.1, LEAST_COSINE_FULL = 0.025, LEAST_SHARE = 0.4;

enum { SIGNED, STOCK, MODES };
enum { FRACTION, FULL, SPLIT, FIGURES };

typedef struct run {
    sae_concepts c;
    const options *o;
    sae_cmat atoms;
    int64_t n, label;
    double *bias;         /* [d] of the decoder, model units */
    double *inverse_norm; /* [n] of atoms */
    sae_lda lda;
    double *along;      /* [n x classes] atoms along the unit direction of a probe */
    double *length;     /* [classes] of the probes' weights */
    int64_t *row, rows; /* training rows of the label: those to fit, then validation */
    int64_t fit;
    unsigned char *on; /* [rows] */
    double *f;         /* [rows x SPLITS] */
    char *split;       /* [n] 1: a split latent of the class */
    unsigned char group[SAE_GROUPS];
    int64_t classes; /* measured so far */
    double f1;       /* sum of the linear probes' */
    double sum[MODES][FIGURES], square[MODES][FIGURES];
    sae_figure figure[MODES][SPLIT]; /* sums over classes */
} run;

/* ---- the probe of a class -------------------------------------------------------------------- */

/* Log odds of the class at its frequency in training. */
static double log_odds(const run *q, int64_t c, int64_t row)
{
    double p = q->lda.share[c];
    return sae_lda_score(&q->lda, c, q->c.at.x + row * q->c.s->d) + log(p / (1 - p));
}

typedef struct confusion {
    double hits, alarms, misses;
} confusion;

static void confuse(confusion *t, int told, int on)
{
    t->hits += told && on;
    t->alarms += told && !on;
    t->misses += !told && on;
}
static double f1_of(const confusion *t)
{
    double all = 2 * t->hits + t->alarms + t->misses;
    return all > 0 ? 2 * t->hits / all : 0;
}

static double probe_f1(const run *q, int64_t c)
{
    confusion t = {0, 0, 0};
    for (int64_t i = 0; i < q->c.s->count; i++) {
        int64_t row = q->c.ref[i].row;
        int32_t k = sae_class_of(&q->c, q->label, row);
        if (q->c.ref[i].part == SAE_PART_TEST && k >= 0)
            confuse(&t, log_odds(q, c, row) > 0, k == c);
    }
    return f1_of(&t);
}

static void take_rows(run *q)
{
    int64_t most[] = {q->o->train * 4 / 5, q->o->train};
    q->rows = 0;
    for (int part = SAE_PART_FIT; part <= SAE_PART_VALID; part++) {
        for (int64_t i = 0; i < q->c.s->count && q->rows < most[part]; i++)
            if ((int)q->c.ref[i].part == part &&
                sae_class_of(&q->c, q->label, q->c.ref[i].row) >= 0)
                q->row[q->rows++] = q->c.ref[i].row;
        q->fit = part == SAE_PART_FIT ? q->rows : q->fit;
    }
}

static int fit_probes(run *q, int64_t classes)
{
    int64_t d = q->c.s->d;
    sae_real *x = malloc((size_t)(q->rows * d) * sizeof *x + 1);
    int32_t *label = malloc((size_t)q->rows * sizeof *label + 1);
    int rc = x && label ? sae_lda_open(&q->lda, d, classes, q->o->ridge) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < q->rows; i++) {
        label[i] = sae_class_of(&q->c, q->label, q->row[i]);
        memcpy(x + i * d, q->c.at.x + q->row[i] * d, (size_t)d * sizeof *x);
    }
    if (rc >= 0)
        rc = sae_lda_fit(q->c.r, &q->lda, x, label, q->rows);
    free(x);
    free(label);
    q->along = malloc((size_t)(q->n * classes) * sizeof *q->along + 1);
    q->length = malloc((size_t)classes * sizeof *q->length);
    if (rc >= 0 && (!q->along || !q->length))
        rc = SAE_ENOMEM;
    if (rc >= 0)
        rc = sae_times_atoms(q->c.r, q->atoms, q->lda.w, classes, q->along);
    for (int64_t c = 0; rc >= 0 && c < classes; c++) {
        double square = 0;
        for (int64_t j = 0; j < d; j++)
            square += q->lda.w[c * d + j] * q->lda.w[c * d + j];
        q->length[c] = sqrt(square);
        for (int64_t i = 0; i < q->n; i++)
            q->along[i * classes + c] /= q->length[c];
    }
    return rc;
}

/* ---- split latents --------------------------------------------------------------------------- */

/* F1 on the validation rows of a k-sparse probe, C = 1, both sides with half of the weight. */
static double sparse_f1(const run *q, int64_t c, int64_t k)
{
    double w[SPLITS + 1] = {0}, on = 0, p = q->lda.share[c];
    confusion t = {0, 0, 0};
    for (int64_t i = 0; i < q->fit; i++)
        on += q->on[i];
    sae_logistic_rows l = {q->fit, k, SPLITS, q->f, q->on, {0, 0}};
    l.weight[0] = (double)q->fit / (2 * ((double)q->fit - on));
    l.weight[1] = (double)q->fit / (2 * on);
    sae_logistic_fit(&l, 1, w);
    for (int64_t i = q->fit; i < q->rows; i++)
        confuse(&t, sae_logistic_score(q->f + i * SPLITS, w, k) + log(p / (1 - p)) > 0, q->on[i]);
    return f1_of(&t);
}

/* Marks the split latents of class c; returns how many, 0 also when no row to fit is on. */
static int64_t find_splits(run *q, int64_t c, int mode)
{
    int64_t best[SPLITS], count = 1, on = 0;
    enum sae_pick pick = mode == STOCK ? SAE_PICK_RISING : SAE_PICK_POLE;
    for (int64_t i = 0; i < q->rows; i++)
        q->on[i] = sae_class_of(&q->c, q->label, q->row[i]) == c;
    for (int64_t i = 0; i < q->fit; i++)
        on += q->on[i];
    memset(q->split, 0, (size_t)q->n);
    if (on == 0 || on == q->fit)
        return 0;
    int64_t found =
        sae_pick_features(&q->c, SAE_READ_VALUES, q->row, q->on, q->fit, SPLITS, pick, best);
    sae_load_features(&q->c, SAE_READ_VALUES, q->row, q->rows, q->fit, best, found, SPLITS, q->f);
    double top = found > 1 ? sparse_f1(q, c, 1) : 0;
    for (; count < found; count++) {
        double f1 = sparse_f1(q, c, count + 1);
        if (!(f1 > top + q->o->jump))
            break;
        top = f1;
    }
    count = count < found ? count : found;
    for (int64_t i = 0; i < count; i++)
        q->split[best[i]] = 1;
    return count;
}

/* ---- absorption ------------------------------------------------------------------------------ */

/* What the latents of one row put along the direction of the probe. */
typedef struct shares {
    double whole;            /* of the row itself, less the decoder's bias */
    double main;             /* of the split latents */
    double other[ABSORBERS]; /* largest of the latents that may absorb */
    double top, top_cosine;  /* of the latent with the largest */
    int fired;               /* a split latent is active */
} shares;

static void add_latent(const run *q, shares *s, int64_t c, int mode, int64_t latent, double z,
                       double scale)
{
    double along = q->along[latent * q->lda.classes + c], v = scale * z * along;
    double cosine = along * q->inverse_norm[latent];
    cosine = mode == STOCK ? cosine : fabs(cosine);
    if (v > s->top) {
        s->top = v;
        s->top_cosine = cosine;
    }
    if (q->split[latent]) {
        s->main += v;
        s->fired |= mode == STOCK ? z >= DEAD : fabs(z) >= DEAD;
        return;
    }
    if (!(cosine >= LEAST_COSINE))
        return;
    for (int i = 0; i < ABSORBERS; i++)
        if (v > s->other[i]) {
            double t = s->other[i];
            s->other[i] = v;
            v = t;
        }
}

static shares share_out(const run *q, int64_t c, int mode, int64_t row)
{
    shares s = {0};
    const sae_norm_row *norm = &q->c.at.norm[row];
    const double *w = q->lda.w + c * q->c.s->d;
    for (int64_t j = 0; j < q->c.s->d; j++)
        s.whole +=
            w[j] / q->length[c] *
            ((double)q->c.at.x[row * q->c.s->d + j] - norm->shift - norm->scale * q->bias[j]);
    for (int64_t p = q->c.at.first[row]; p < q->c.at.first[row + 1]; p++)
        add_latent(q, &s, c, mode, q->c.at.idx[p], (double)q->c.at.val[p], norm->scale);
    return s;
}

static double fraction_of(const shares *s)
{
    double others = s->other[0] + s->other[1] + s->other[2];
    if (s->main >= s->whole || !(others / s->whole >= LEAST_SHARE))
        return 0;
    if (s->main <= 0)
        return 1;
    double rest = s->whole - s->main, a = others < rest ? others : rest;
    return a / (a + s->main);
}

static int is_full(const shares *s)
{
    return !s->fired && s->whole >= 0 && s->top_cosine >= LEAST_COSINE_FULL &&
           s->top / s->whole >= LEAST_SHARE;
}

/* Tallies over the test rows of the class that the linear probe tells. */
static void tally_rows(const run *q, int64_t c, int mode, sae_tally t[SPLIT])
{
    memset(t, 0, SPLIT * sizeof *t);
    for (int64_t i = 0; i < q->c.s->count; i++) {
        int64_t row = q->c.ref[i].row;
        int group = (int)sae_group_of(q->c.ref[i].doc);
        if (q->c.ref[i].part != SAE_PART_TEST || sae_class_of(&q->c, q->label, row) != c ||
            !(log_odds(q, c, row) > 0))
            continue;
        shares s = share_out(q, c, mode, row);
        sae_tally_add(&t[FRACTION], group, fraction_of(&s));
        sae_tally_add(&t[FULL], group, is_full(&s));
    }
}

static int is_spread(const sae_tally *t)
{
    int groups = 0;
    for (int g = 0; g < SAE_GROUPS; g++)
        groups += t->rows[g] > 0;
    return groups > 1;
}

static void add_class(run *q, int64_t c)
{
    double f1 = probe_f1(q, c);
    sae_tally t[SPLIT];
    if (!(f1 > q->o->min_f1))
        return;
    for (int mode = 0; mode < MODES; mode++) {
        double value[FIGURES];
        value[SPLIT] = (double)find_splits(q, c, mode);
        tally_rows(q, c, mode, t);
        if (!is_spread(&t[FRACTION])) /* the same rows in both modes */
            return;
        for (int f = 0; f < SPLIT; f++) {
            value[f] = sae_tally_share(&t[f], SAE_ALL_GROUPS);
            for (int g = 0; g <= SAE_ALL_GROUPS; g++) {
                *sae_figure_at(&q->figure[mode][f], g) += sae_tally_share(&t[f], g);
                if (g < SAE_GROUPS)
                    q->group[g] |= t[f].rows[g] > 0;
            }
        }
        for (int f = 0; f < FIGURES; f++) {
            q->sum[mode][f] += value[f];
            q->square[mode][f] += value[f] * value[f];
        }
    }
    q->f1 += f1;
    q->classes++;
}

/* ---- labels ---------------------------------------------------------------------------------- */

/* 1 if the name is one of the words of the list. */
static int is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += length)
        if ((p == list || p[-1] == ' ') && (p[length] == ' ' || p[length] == 0))
            return 1;
    return 0;
}

static int run_label(run *q, const int64_t *chosen, int64_t count)
{
    take_rows(q);
    SAE_TRY(fit_probes(q, q->c.r->label[q->label].classes));
    for (int64_t i = 0; i < count; i++)
        add_class(q, chosen[i]);
    return SAE_OK;
}

static int visit_label(run *q)
{
    int64_t classes = q->c.r->label[q->label].classes;
    int64_t *chosen = malloc((size_t)classes * sizeof *chosen);
    int64_t count = chosen ? sae_choose_classes(&q->c, q->label, q->o->min_rows, classes, 1, chosen)
                           : SAE_ENOMEM;
    int rc = count < 0 ? (int)count : SAE_OK;
    if (count > 0)
        rc = run_label(q, chosen, count);
    sae_lda_close(&q->lda);
    free(q->along);
    free(q->length);
    free(chosen);
    q->along = q->length = NULL;
    return rc;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sample standard deviation over classes, of a sum of values and one of their squares. */
static double spread_of(double sum, double square, double N)
{
    double left = square - sum * sum / N;
    return sqrt((left < 0 ? 0 : left) / (N - 1));
}

static int emit_results(const run *q)
{
    static const char *const name[FIGURES] = {"fraction", "full", "splits"};
    const sae_measure *r = q->c.r;
    int64_t count = q->classes;
    double N = (double)count;
    SAE_TRY(sae_emit_value(r, "classes", N, count, "classes", SAE_INFO));
    if (count == 0)
        return SAE_OK;
    SAE_TRY(sae_emit_value(r, "probe_f1", q->f1 / N, count, "1", SAE_INFO));
    for (int mode = 0; mode < MODES; mode++)
        for (int f = 0; f < FIGURES; f++) {
            char key[64];
            const char *suffix = mode == STOCK ? "_stock" : "";
            const char *unit = f < SPLIT ? "1" : "features";
            double sum = q->sum[mode][f], spread = spread_of(sum, q->square[mode][f], N);
            snprintf(key, sizeof key, "%s%s", name[f], suffix);
            SAE_TRY(f < SPLIT ? sae_figure_emit(r, key, &q->figure[mode][f], N, q->group, count,
                                                SAE_LOWER)
                              : sae_emit_value(r, key, sum / N, count, unit, SAE_INFO));
            snprintf(key, sizeof key, "%s_sd%s", name[f], suffix);
            if (count > 1)
                SAE_TRY(sae_emit_value(r, key, spread, count, unit, SAE_INFO));
        }
    return SAE_OK;
}

static int run_all(run *q)
{
    const sae_measure *r = q->c.r;
    size_t most = (size_t)q->o->train;
    q->row = malloc(most * sizeof *q->row);
    q->on = malloc(most);
    q->f = malloc(most * SPLITS * sizeof *q->f);
    q->split = malloc((size_t)q->n + 1);
    q->inverse_norm = sae_inverse_norms(r, q->atoms);
    q->bias = malloc((size_t)q->c.s->d * sizeof *q->bias);
    if (!q->row || !q->on || !q->f || !q->split || !q->inverse_norm || !q->bias)
        return SAE_ENOMEM;
    SAE_TRY(sae_decoder_bias(r, r->m, q->bias));
    for (q->label = 0; q->label < r->labels; q->label++)
        if (is_listed(q->o->labels, r->label[q->label].name))
            SAE_TRY(visit_label(q));
    return emit_results(q);
}

static int end(const sae_measure *r, void *state)
{
    const sae_labelled *s = state;
    sae_cmat atoms = sae_tensor_matrix(r->m, "W_dec");
    if (!atoms.p || atoms.cols != s->d)
        return SAE_OK;
    run *q = calloc(1, sizeof *q);
    int rc = q ? sae_concepts_open(&q->c, r, s) : SAE_ENOMEM;
    if (rc >= 0) {
        q->o = r->opt;
        q->atoms = atoms;
        q->n = r->m->dim.n;
        rc = run_all(q);
        free(q->row);
        free(q->on);
        free(q->f);
        free(q->split);
        free(q->inverse_norm);
        free(q->bias);
        sae_concepts_close(&q->c);
    }
    free(q);
    return rc;
}

SAE_LABELLED_STATE(options, rows, entries, 0)

const sae_metric sae_metric_absorption = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "absorption",
    .summary =
        "tokens on which a special latent has taken over the direction of a concept's latent",
    .source = "metrics/absorption.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = sae_labelled_batch,
    .merge = sae_labelled_join,
    .end = end,
};
