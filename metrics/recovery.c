/* metrics/recovery.c - does the dictionary hold the true atoms of a synthetic source, and does each
 * feature fire where its atom does.
 *
 * begin() matches features to atoms one to one by maximal total cosine; batch() compares the codes
 * with the true ones under that matching; end() does so for a pursuit in place of the encoder.
 */
#include <sae/fail.h>
#include <sae/groups.h>
#include <sae/matching.h>
#include <sae/oracle.h>
#include <string.h>

enum { LOWEST = 50, CURVE = 50 }; /* percent */

typedef struct options {
    double threshold;
    int64_t exact, oracle_rows;
} options;

static const sae_option option_table[] = {
    {"threshold", SAE_OPT_REAL, 0, offsetof(options, threshold), 0.9, 0, 1, NULL, NULL, "1",
     "an atom counts as recovered when its best cosine is above this"},
    SAE_MATCH_OPTION(options),
    SAE_ORACLE_OPTION(options),
    {0}};

/* Agreement of codes, once for the SAE's and once for the pursuit's. */
enum { PREDICTED, ACTUAL, AGREED, SQUARE, ERROR, AGREED_SQUARE, AGREED_PRODUCT, AGREEMENT };
enum {
    ROWS,
    CODE,
    ORACLE = CODE + AGREEMENT,
    ORACLE_ROWS = ORACLE + AGREEMENT,
    ALONE, /* parents without a child, with one; and where their features fire */
    ALONE_HIT,
    COVERED,
    COVERED_HIT,
    STATS
};

/* Followed by the arrays of parts(). */
typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double best_atoms, best_features; /* sums over atoms, over features, of the best cosine */
    double matched;                   /* sum of cosines over matched pairs */
    double child_holds, parent_holds; /* sums over edges of the hierarchy: measure_families */
    int64_t atoms, pairs, atoms_found, features_true, distinct, distinct_true;
    int64_t child_edges, parent_edges, edges;
    int64_t above[CURVE]; /* atoms whose best cosine is above (LOWEST + i) / 100 */
} state;

enum { /* of an atom: in the row, then of the atom itself */
    PRESENT = 1,
    FOUND = 2, /* its feature is active */
    CHILD = 4, /* one of its children is present */
    OF_A_ROW = 7,
    PARENT = 8,
    OWNED = 16 /* has a matched feature */
};

typedef struct parts {
    double *length;           /* [n] of the feature's atom, negative if it is turned round */
    double *found;            /* [atoms] what the matched feature says of a row; 0 between rows */
    int64_t *match, *nearest; /* [n] atom, -1 without */
    int64_t *fired, *hit;     /* [n] rows on which it is active; and its nearest atom present */
    int64_t *present;         /* [atoms] rows */
    unsigned char *mark;      /* [atoms] */
    sae_labelled *sample;     /* rows with their true codes */
} parts;

static parts parts_of(const sae_measure *r, state *s)
{
    int64_t n = r->m->dim.n;
    parts p;
    p.length = (double *)(s + 1);
    p.found = p.length + n;
    p.match = (int64_t *)(p.found + s->atoms);
    p.nearest = p.match + n;
    p.fired = p.nearest + n;
    p.hit = p.fired + n;
    p.present = p.hit + n;
    p.mark = (unsigned char *)(p.present + s->atoms);
    p.sample = (sae_labelled *)(p.present + s->atoms + (s->atoms + 7) / 8);
    return p;
}

static sae_labelled sample_shape(const sae_measure *r)
{
    return sae_oracle_sample(r, ((const options *)r->opt)->oracle_rows, r->truth->n);
}

static size_t state_size(const sae_measure *r)
{
    size_t n = (size_t)r->m->dim.n, atoms = (size_t)r->truth->n;
    sae_labelled sample = sample_shape(r);
    return sizeof(state) + (5 * n + 2 * atoms + (atoms + 7) / 8) * sizeof(double) +
           sae_labelled_bytes(&sample);
}

/* ---- the dictionary -------------------------------------------------------------------------- */

static void summarise(const sae_measure *r, state *s, const sae_matching *m)
{
    const options *o = r->opt;
    parts p = parts_of(r, s);
    int without_sign = sae_model_signed(r->m);
    s->pairs = m->pairs;
    for (int64_t i = 0; i < m->a.n; i++) {
        double c = m->a.cosine[i];
        int64_t nearest = m->a.arg[i];
        int above = m->a.best[i] > o->threshold;
        s->best_features += m->a.best[i];
        s->features_true += above;
        s->distinct += !(p.mark[nearest] & PRESENT);
        s->distinct_true += above && !(p.mark[nearest] & FOUND);
        p.mark[nearest] |= (unsigned char)(PRESENT | (above ? FOUND : 0));
        p.nearest[i] = nearest;
        p.match[i] = m->a.match[i];
        s->matched += without_sign ? fabs(c) : c;
        if (without_sign && c < 0)
            p.length[i] = -p.length[i];
    }
    for (int64_t j = 0; j < m->b.n; j++) {
        s->best_atoms += m->b.best[j];
        s->atoms_found += m->b.best[j] > o->threshold;
        for (int64_t i = 0; i < CURVE; i++)
            s->above[i] += m->b.best[j] > (double)(LOWEST + i) / 100;
        p.mark[j] = m->b.match[j] >= 0 ? OWNED : 0;
    }
}

static double host_cosine(const sae_real *a, const sae_real *b, int64_t d)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t k = 0; k < d; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return aa > 0.0 && bb > 0.0 ? ab / sqrt(aa * bb) : 0;
}

/* How much more of the parent's atom a child's feature holds than the child's own atom does, and
 * the other way round; w: the decoder on the host. */
static void measure_families(const sae_measure *r, state *s, const sae_matching *m,
                             const sae_real *w)
{
    const sae_truth *t = r->truth;
    parts p = parts_of(r, s);
    for (int64_t c = 0; c < t->n; c++) {
        int64_t up = t->parent[c], d = t->d, of_child = m->b.match[c];
        if (up < 0)
            continue;
        const sae_real *child = t->dict + c * d, *parent = t->dict + up * d;
        double own = host_cosine(child, parent, d);
        int64_t of_parent = m->b.match[up];
        s->edges++;
        p.mark[up] |= PARENT;
        if (of_child >= 0) {
            double turn = p.length[of_child] < 0 ? -1 : 1;
            s->child_holds += turn * host_cosine(w + of_child * d, parent, d) - own;
            s->child_edges++;
        }
        if (of_parent >= 0) {
            double turn = p.length[of_parent] < 0 ? -1 : 1;
            s->parent_holds += turn * host_cosine(w + of_parent * d, child, d) - own;
            s->parent_edges++;
        }
    }
}

static int compare(const sae_measure *r, state *s, sae_cmat w, sae_cmat dict)
{
    const options *o = r->opt;
    size_t bytes = (size_t)(w.rows * w.cols) * sizeof(sae_real);
    sae_matching m;
    sae_real *host = r->truth->parent ? malloc(bytes) : NULL;
    int rc = sae_match_rows(&m, r, w, dict, sae_model_signed(r->m), o->exact);
    if (rc >= 0)
        rc = sae_atom_lengths(r, w, parts_of(r, s).length);
    if (rc >= 0)
        summarise(r, s, &m);
    if (rc >= 0 && r->truth->parent)
        rc = host ? r->c->be->copy(r->c->dev, host, w.p, bytes, SAE_COPY_D2H) : SAE_ENOMEM;
    if (rc >= 0 && r->truth->parent)
        measure_families(r, s, &m, host);
    sae_matching_close(&m);
    free(host);
    return rc;
}

static int begin(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    s->atoms = r->truth->n;
    parts p = parts_of(r, s);
    *p.sample = sample_shape(r);
    for (int64_t i = 0; i < r->m->dim.n; i++)
        p.match[i] = p.nearest[i] = -1;
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
    sae_device_release(r->c, copy);
    return rc;
}

/* ---- codes ----------------------------------------------------------------------------------- */

typedef struct row {
    const parts *p;
    const sae_code *z, *t; /* found and true codes, rows i and j */
    int64_t i, j;
    double scale; /* raw units = scale * units of z; 0: z has coefficients of unit atoms, raw */
    const int32_t *parent; /* or NULL */
} row;

/* Mark what is present and what is found of it. */
static void open_row(const row *w)
{
    const parts *p = w->p;
    for (int64_t e = sae_code_row(w->t, w->j); e < sae_code_row(w->t, w->j + 1); e++) {
        int64_t atom = sae_code_feature(w->t, w->j, e);
        if (w->t->val[e] == 0)
            continue;
        p->mark[atom] |= PRESENT;
        if (w->parent && w->parent[atom] >= 0)
            p->mark[w->parent[atom]] |= CHILD;
    }
    for (int64_t e = sae_code_row(w->z, w->i); e < sae_code_row(w->z, w->i + 1); e++) {
        int64_t feature = sae_code_feature(w->z, w->i, e), atom = p->match[feature];
        double v = (double)w->z->val[e], length = p->length[feature];
        if (v == 0.0 || atom < 0)
            continue;
        p->mark[atom] |= FOUND;
        p->found[atom] = w->scale > 0.0 ? v * w->scale * length : length < 0 ? -v : v;
    }
}

/* Clear the marks, having added up how far the codes agree. */
static void close_row(const row *w, double *sum)
{
    const parts *p = w->p;
    for (int64_t e = sae_code_row(w->z, w->i); e < sae_code_row(w->z, w->i + 1); e++) {
        int64_t atom = p->match[sae_code_feature(w->z, w->i, e)];
        if (w->z->val[e] == 0)
            continue;
        sum[PREDICTED] += 1;
        if (atom < 0 || p->mark[atom] & PRESENT)
            continue;
        sum[ERROR] += p->found[atom] * p->found[atom];
        p->found[atom] = 0;
        p->mark[atom] &= (unsigned char)~OF_A_ROW;
    }
    for (int64_t e = sae_code_row(w->t, w->j); e < sae_code_row(w->t, w->j + 1); e++) {
        int64_t atom = sae_code_feature(w->t, w->j, e);
        double a = (double)w->t->val[e], c = p->found[atom];
        if (a == 0.0)
            continue;
        sum[ACTUAL] += 1;
        sum[SQUARE] += a * a;
        sum[ERROR] += (a - c) * (a - c);
        if (p->mark[atom] & FOUND) {
            sum[AGREED] += 1;
            sum[AGREED_SQUARE] += a * a;
            sum[AGREED_PRODUCT] += a * c;
        }
        p->found[atom] = 0;
        p->mark[atom] &= (unsigned char)~OF_A_ROW;
        if (w->parent && w->parent[atom] >= 0)
            p->mark[w->parent[atom]] &= (unsigned char)~CHILD;
    }
}

/* Features as detectors of their nearest atoms, and of parents with and without a child. */
static void count_row(const row *w, double *sum)
{
    const parts *p = w->p;
    for (int64_t e = sae_code_row(w->z, w->i); e < sae_code_row(w->z, w->i + 1); e++) {
        int64_t feature = sae_code_feature(w->z, w->i, e);
        if (w->z->val[e] == 0 || p->nearest[feature] < 0)
            continue;
        p->fired[feature]++;
        p->hit[feature] += (p->mark[p->nearest[feature]] & PRESENT) != 0;
    }
    for (int64_t e = sae_code_row(w->t, w->j); e < sae_code_row(w->t, w->j + 1); e++) {
        int64_t atom = sae_code_feature(w->t, w->j, e);
        if (w->t->val[e] == 0)
            continue;
        p->present[atom]++;
        if ((p->mark[atom] & (PARENT | OWNED)) != (PARENT | OWNED))
            continue;
        int covered = (p->mark[atom] & CHILD) != 0, hit = (p->mark[atom] & FOUND) != 0;
        sum[covered ? COVERED : ALONE] += 1;
        sum[covered ? COVERED_HIT : ALONE_HIT] += hit;
    }
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    parts p = parts_of(r, state_);
    for (int64_t i = 0; i < e->B; i++) {
        const sae_token *tok = &e->tok[i];
        double *sum = sae_groups_row(((state *)state_)->sums, STATS, tok->doc);
        sae_norm_row norm = sae_eval_norm(r, e, i);
        row w = {&p, e->code, e->truth->code, i, i, norm.scale, e->truth->parent};
        open_row(&w);
        count_row(&w, sum);
        close_row(&w, sum + CODE);
        sum[ROWS] += 1;
        sae_labelled_put_row(p.sample, tok, norm, e->x + i * e->d, e->truth->code, i);
    }
    return SAE_OK;
}

/* The matching depends on the model only: both sides hold the same one. */
static int merge(const sae_measure *r, void *into, const void *from)
{
    int64_t n = r->m->dim.n;
    parts p = parts_of(r, into), q = parts_of(r, (state *)(uintptr_t)from);
    sae_groups_merge(((state *)into)->sums, ((const state *)from)->sums, STATS);
    for (int64_t i = 0; i < n; i++) {
        p.fired[i] += q.fired[i];
        p.hit[i] += q.hit[i];
    }
    for (int64_t j = 0; j < ((const state *)from)->atoms; j++)
        p.present[j] += q.present[j];
    sae_labelled_merge(p.sample, q.sample);
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/* The sampled rows coded by a pursuit over the atoms, with as many steps as they have true ones. */
static int ask_oracle(const sae_measure *r, state *s)
{
    parts p = parts_of(r, s);
    sae_labelled_rows a = sae_labelled_at(p.sample);
    sae_code t = {.B = p.sample->count, .n = s->atoms, .rowptr = a.first, .idx = a.idx,
                  .val = a.val};
    sae_labelled_ref *ref = sae_labelled_sort(p.sample);
    sae_code z = {0};
    int rc = ref ? sae_oracle_codes(r, r->m, 1, p.sample, ref, &z) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < p.sample->count; i++) {
        double *sum = sae_groups_row(s->sums, STATS, ref[i].doc);
        row w = {&p, &z, &t, i, ref[i].row, 0, NULL};
        open_row(&w);
        close_row(&w, sum + ORACLE);
        sum[ORACLE_ROWS] += 1;
    }
    sae_oracle_free(&z);
    free(ref);
    return rc;
}

SAE_RATIO(precision, CODE + AGREED, CODE + PREDICTED)
SAE_RATIO(recall, CODE + AGREED, CODE + ACTUAL)
SAE_RATIO(true_l0, CODE + ACTUAL, ROWS)
SAE_RATIO(coefficient_error, CODE + ERROR, CODE + SQUARE)
SAE_RATIO(coefficient_slope, CODE + AGREED_PRODUCT, CODE + AGREED_SQUARE)
SAE_RATIO(oracle_error, ORACLE + ERROR, ORACLE + SQUARE)
SAE_RATIO(recall_alone, ALONE_HIT, ALONE)
SAE_RATIO(recall_with_child, COVERED_HIT, COVERED)

static double f1_at(const double *s)
{
    double all = s[PREDICTED] + s[ACTUAL];
    return all > 0.0 ? 2 * s[AGREED] / all : (double)NAN;
}
static double f1(const double *s, int64_t K)
{
    (void)K;
    return f1_at(s + CODE);
}
static double oracle_f1(const double *s, int64_t K)
{
    (void)K;
    return f1_at(s + ORACLE);
}
static double absorption(const double *s, int64_t K)
{
    return recall_alone(s, K) - recall_with_child(s, K);
}

static const sae_estimate estimates[] = {
    {"support_precision", precision, ROWS, "1", SAE_HIGHER},
    {"support_recall", recall, ROWS, "1", SAE_HIGHER},
    {"support_f1", f1, ROWS, "1", SAE_HIGHER},
    {"coefficient_error", coefficient_error, ROWS, "1", SAE_LOWER},
    {"coefficient_slope", coefficient_slope, ROWS, "1", SAE_TARGET_ONE},
    {"true_l0", true_l0, ROWS, "atoms", SAE_INFO},
    {0}};
static const sae_estimate family_estimates[] = {
    {"parent_recall_alone", recall_alone, ALONE, "1", SAE_HIGHER},
    {"parent_recall_with_child", recall_with_child, COVERED, "1", SAE_HIGHER},
    {"absorption", absorption, COVERED, "1", SAE_TARGET_ZERO},
    {0}};
static const sae_estimate oracle_estimates[] = {
    {"oracle_f1", oracle_f1, ORACLE_ROWS, "1", SAE_HIGHER},
    {"oracle_coefficient_error", oracle_error, ORACLE_ROWS, "1", SAE_LOWER},
    {0}};

typedef struct mean {
    const char *key;
    double sum;
    int64_t count;
    enum sae_better better;
} mean;

static int emit_means(const sae_measure *r, const mean *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value = m[i].count ? m[i].sum / (double)m[i].count : (double)NAN;
        SAE_TRY(sae_emit_value(r, m[i].key, value, m[i].count, "1", m[i].better));
    }
    return SAE_OK;
}

/* Means over features; an undefined value counts as 0. */
static int emit_latents(const sae_measure *r, state *s)
{
    parts p = parts_of(r, s);
    int64_t n = s->pairs ? r->m->dim.n : 0;
    double sum[3] = {0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        double hit = (double)p.hit[i], fired = (double)p.fired[i];
        double present = (double)p.present[p.nearest[i]];
        if (hit > 0.0) {
            sum[0] += hit / fired;
            sum[1] += hit / present;
            sum[2] += 2 * hit / (fired + present);
        }
    }
    const mean out[] = {{"latent_precision", sum[0], n, SAE_HIGHER},
                        {"latent_recall", sum[1], n, SAE_HIGHER},
                        {"latent_f1", sum[2], n, SAE_HIGHER}};
    return emit_means(r, out, sizeof out / sizeof out[0]);
}

static int emit_dictionary(const sae_measure *r, const state *s)
{
    int64_t n = s->pairs ? r->m->dim.n : 0, atoms = s->pairs ? s->atoms : 0;
    const mean out[] = {
        {"max_cosine", s->best_atoms, atoms, SAE_HIGHER},
        {"max_cosine_reverse", s->best_features, n, SAE_HIGHER},
        {"matched_cosine", s->matched, s->pairs, SAE_HIGHER},
        {"share_recovered", (double)s->atoms_found, atoms, SAE_HIGHER},
        {"share_recovered_reverse", (double)s->features_true, n, SAE_HIGHER},
        {"uniqueness", (double)s->distinct, n, SAE_HIGHER},
        {"splitting", (double)s->features_true, s->distinct_true, SAE_TARGET_ONE}};
    for (int64_t i = 0; atoms > 0 && i < CURVE; i++)
        SAE_TRY(sae_emit_point(r, "share_recovered_at", LOWEST + i,
                               (double)s->above[i] / (double)atoms));
    return emit_means(r, out, sizeof out / sizeof out[0]);
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    const mean families[] = {
        {"child_holds_parent", s->child_holds, s->child_edges, SAE_TARGET_ZERO},
        {"parent_holds_child", s->parent_holds, s->parent_edges, SAE_TARGET_ZERO}};
    int oracle = s->pairs > 0 && parts_of(r, s).sample->count > 0;
    SAE_TRY(emit_dictionary(r, s));
    SAE_TRY(emit_latents(r, s));
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, estimates));
    if (s->edges > 0) {
        SAE_TRY(emit_means(r, families, sizeof families / sizeof families[0]));
        SAE_TRY(sae_groups_emit(r, s->sums, STATS, family_estimates));
    }
    if (oracle) {
        SAE_TRY(ask_oracle(r, s));
        SAE_TRY(sae_groups_emit(r, s->sums, STATS, oracle_estimates));
    }
    return SAE_OK;
}

const sae_metric sae_metric_recovery = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "recovery",
    .summary = "true atoms found, and agreement of codes, on data with known ground truth",
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
