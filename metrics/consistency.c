/* metrics/consistency.c - do two training runs that differ in the seed only find the same features.
 *
 * begin() matches the atoms of the two SAEs one to one; batch() compares their codes feature by
 * feature under that matching; end() does the same for pursuits in place of the encoders.
 */
#include <sae/fail.h>
#include <sae/groups.h>
#include <sae/matching.h>
#include <sae/oracle.h>
#include <string.h>

enum { BINS = 40 }; /* of matched cosines, from -1 to 1 */

typedef struct options {
    double threshold;
    int64_t exact, oracle_rows;
} options;

static const sae_option option_table[] = {
    {"threshold", SAE_OPT_REAL, 0, offsetof(options, threshold), 0.7, 0, 1, NULL, NULL, "1",
     "a feature is shared when the cosine with its match is above this"},
    SAE_MATCH_OPTION(options),
    SAE_ORACLE_OPTION(options),
    {0}};

/* Agreement of codes, once for the SAEs' and once for the pursuits'. */
enum { ACTIVE_ROWS, IOU, ERROR, LENGTH, AGREEMENT };
enum { ROWS, CODE, ORACLE = CODE + AGREEMENT, ORACLE_ROWS = ORACLE + AGREEMENT, STATS };

/* Followed by the arrays of parts(). */
typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double best, best_peer; /* sums of the best cosines of features, of the peer's features */
    double matched, magnitude; /* sums of matched cosines, and of their magnitudes */
    double bin[BINS];
    int64_t pairs, shared;
} state;

/* Of feature j, n features here and m at the peer. */
typedef struct parts {
    double *scale, *peer_scale; /* [n], [m] length of the atom; the peer's with the sign that
                                   turns it towards its match */
    double *cosine;             /* [n] with the match, as the metric counts it */
    double *value;              /* [n] the code of a row; 0 between rows */
    int64_t *match;             /* [m] feature of the peer's feature, -1: none */
    sae_labelled *sample;       /* rows with their codes here */
    unsigned char *fired, *peer_fired; /* [n], [m] on any row */
} parts;

static parts parts_of(const sae_measure *r, state *s)
{
    int64_t n = r->m->dim.n, m = r->peer->m->dim.n;
    parts p;
    p.scale = (double *)(s + 1);
    p.peer_scale = p.scale + n;
    p.cosine = p.peer_scale + m;
    p.value = p.cosine + n;
    p.match = (int64_t *)(p.value + n);
    p.fired = (unsigned char *)(p.match + m);
    p.peer_fired = p.fired + n;
    p.sample = (sae_labelled *)(p.match + m + (n + m + 7) / 8);
    return p;
}

static sae_labelled sample_shape(const sae_measure *r)
{
    return sae_oracle_sample(r, ((const options *)r->opt)->oracle_rows, r->m->dim.n);
}

static size_t state_size(const sae_measure *r)
{
    size_t n = (size_t)r->m->dim.n, m = (size_t)r->peer->m->dim.n;
    sae_labelled sample = sample_shape(r);
    return sizeof(state) + (3 * n + 2 * m + (n + m + 7) / 8) * sizeof(double) +
           sae_labelled_bytes(&sample);
}

static int pair(const sae_measure *r)
{
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec"), v = sae_tensor_matrix(r->peer->m, "W_dec");
    return r->seed < r->peer->seed && !strcmp(r->spec, r->peer->spec) && w.p && v.p &&
           w.rows > 0 && v.rows > 0;
}

static int begin(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    state *s = state_;
    parts p = parts_of(r, s);
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec"), v = sae_tensor_matrix(r->peer->m, "W_dec");
    int without_sign = sae_model_signed(r->m);
    sae_matching m;
    int rc = sae_match_rows(&m, r, w, v, without_sign, o->exact);
    s->pairs = m.pairs;
    *p.sample = sample_shape(r);
    if (rc >= 0)
        rc = sae_atom_lengths(r, w, p.scale);
    if (rc >= 0)
        rc = sae_atom_lengths(r, v, p.peer_scale);
    for (int64_t j = 0; rc >= 0 && j < m.a.n; j++) {
        double c = m.a.cosine[j], counted = without_sign ? fabs(c) : c;
        s->best += m.a.best[j];
        p.cosine[j] = counted;
        if (m.a.match[j] < 0)
            continue;
        s->matched += counted;
        s->magnitude += fabs(c);
        s->shared += counted > o->threshold;
        s->bin[sae_cosine_bin(counted, BINS)] += 1;
    }
    for (int64_t j = 0; rc >= 0 && j < m.b.n; j++) {
        s->best_peer += m.b.best[j];
        p.match[j] = m.b.match[j];
        if (without_sign && m.b.cosine[j] < 0)
            p.peer_scale[j] = -p.peer_scale[j];
    }
    sae_matching_close(&m);
    return rc;
}

typedef struct row {
    const sae_code *z, *peer; /* rows i of both */
    int64_t i;
    double scale, peer_scale; /* raw units = scale * model units; 0: of codes of unit atoms, raw */
} row;

/* A code in raw units of its row, for an atom of that length; a negative one is turned round. */
static double raw(double value, double scale, double length)
{
    return scale > 0.0 ? value * scale * length : length < 0 ? -value : value;
}

/* Add how far the codes of a row agree. An activation of a zero atom is none. */
static void compare(const row *w, const parts *p, double *sum)
{
    double square = 0, peer_square = 0, error = 0;
    int64_t active = 0, peer_active = 0, both = 0;
    for (int64_t e = sae_code_row(w->z, w->i); e < sae_code_row(w->z, w->i + 1); e++) {
        int64_t j = sae_code_feature(w->z, w->i, e);
        double v = raw((double)w->z->val[e], w->scale, p->scale[j]);
        active += v != 0.0;
        p->value[j] = v;
        square += v * v;
    }
    for (int64_t e = sae_code_row(w->peer, w->i); e < sae_code_row(w->peer, w->i + 1); e++) {
        int64_t j = sae_code_feature(w->peer, w->i, e), at = p->match[j];
        double v = raw((double)w->peer->val[e], w->peer_scale, p->peer_scale[j]);
        double mine = at >= 0 ? p->value[at] : 0;
        peer_active += v != 0.0;
        both += mine != 0.0 && v != 0.0;
        peer_square += v * v;
        error += (v - mine) * (v - mine);
        if (at >= 0)
            p->value[at] = 0;
    }
    for (int64_t e = sae_code_row(w->z, w->i); e < sae_code_row(w->z, w->i + 1); e++) {
        double *v = &p->value[sae_code_feature(w->z, w->i, e)];
        error += *v * *v;
        *v = 0;
    }
    int64_t either = active + peer_active - both;
    sum[ACTIVE_ROWS] += either > 0;
    sum[IOU] += either > 0 ? (double)both / (double)either : 0;
    sum[ERROR] += sqrt(error);
    sum[LENGTH] += (sqrt(square) + sqrt(peer_square)) / 2;
}

static void note_fired(const sae_code *z, int64_t i, const double *length, unsigned char *fired)
{
    for (int64_t e = sae_code_row(z, i); e < sae_code_row(z, i + 1); e++) {
        int64_t j = sae_code_feature(z, i, e);
        fired[j] |= z->val[e] != 0 && length[j] != 0.0;
    }
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    parts p = parts_of(r, s);
    double ratio = r->peer->scale / r->scale;
    for (int64_t i = 0; i < e->B; i++) {
        double *sum = sae_groups_row(s->sums, STATS, e->tok[i].doc);
        sae_norm_row norm = sae_eval_norm(r, e, i);
        row w = {e->code, e->peer->code, i, norm.scale, norm.scale * ratio};
        compare(&w, &p, sum + CODE);
        sum[ROWS] += 1;
        note_fired(e->code, i, p.scale, p.fired);
        note_fired(e->peer->code, i, p.peer_scale, p.peer_fired);
        sae_labelled_put_row(p.sample, &e->tok[i], norm, e->x + i * e->d, e->code, i);
    }
    return SAE_OK;
}

/* The matching depends on the models only: both sides hold the same one. */
static int merge(const sae_measure *r, void *into, const void *from)
{
    parts p = parts_of(r, into), q = parts_of(r, (state *)(uintptr_t)from);
    sae_groups_merge(((state *)into)->sums, ((const state *)from)->sums, STATS);
    for (int64_t j = 0; j < r->m->dim.n + r->peer->m->dim.n; j++)
        p.fired[j] |= q.fired[j]; /* the peer's follow */
    sae_labelled_merge(p.sample, q.sample);
    return SAE_OK;
}

/* The sampled rows coded by pursuits over both dictionaries, with as many steps as the codes of
 * the first SAE have entries. */
static int ask_oracles(const sae_measure *r, state *s)
{
    parts p = parts_of(r, s);
    sae_labelled_ref *ref = sae_labelled_sort(p.sample);
    sae_code z = {0}, peer = {0};
    int rc = ref ? sae_oracle_codes(r, r->m, 1, p.sample, ref, &z) : SAE_ENOMEM;
    if (rc >= 0)
        rc = sae_oracle_codes(r, r->peer->m, r->peer->scale / r->scale, p.sample, ref, &peer);
    for (int64_t i = 0; rc >= 0 && i < p.sample->count; i++) {
        double *sum = sae_groups_row(s->sums, STATS, ref[i].doc);
        row w = {&z, &peer, i, 0, 0};
        compare(&w, &p, sum + ORACLE);
        sum[ORACLE_ROWS] += 1;
    }
    sae_oracle_free(&z);
    sae_oracle_free(&peer);
    free(ref);
    return rc;
}

SAE_RATIO(support_iou, CODE + IOU, CODE + ACTIVE_ROWS)
SAE_RATIO(code_error, CODE + ERROR, CODE + LENGTH)
SAE_RATIO(oracle_iou, ORACLE + IOU, ORACLE + ACTIVE_ROWS)
SAE_RATIO(oracle_code_error, ORACLE + ERROR, ORACLE + LENGTH)

static const sae_estimate estimates[] = {
    {"support_iou", support_iou, CODE + ACTIVE_ROWS, "1", SAE_HIGHER},
    {"code_error", code_error, ROWS, "1", SAE_LOWER},
    {0}};
static const sae_estimate oracle_estimates[] = {
    {"oracle_iou", oracle_iou, ORACLE + ACTIVE_ROWS, "1", SAE_HIGHER},
    {"oracle_code_error", oracle_code_error, ORACLE_ROWS, "1", SAE_LOWER},
    {0}};

static int emit_cosines(const sae_measure *r, state *s)
{
    parts p = parts_of(r, s);
    int64_t n = r->m->dim.n, m = r->peer->m->dim.n, alive = 0;
    double sum = 0;
    for (int64_t j = 0; j < m; j++)
        if (p.match[j] >= 0 && p.peer_fired[j] && p.fired[p.match[j]]) {
            sum += p.cosine[p.match[j]];
            alive++;
        }
    const struct {
        const char *key;
        double sum;
        int64_t count;
    } out[] = {{"matched_cosine", s->matched, s->pairs},
               {"matched_cosine_active", sum, alive},
               {"dcs", s->magnitude, s->pairs},
               {"share_shared", (double)s->shared, n > m ? n : m},
               {"max_cosine", s->best, n},
               {"max_cosine_reverse", s->best_peer, m}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        double value = out[i].count ? out[i].sum / (double)out[i].count : (double)NAN;
        SAE_TRY(sae_emit_value(r, out[i].key, value, out[i].count, "1", SAE_HIGHER));
    }
    for (int64_t b = 0; b < BINS; b++)
        SAE_TRY(sae_emit_point(r, "matched_cosine_bin", b, s->bin[b]));
    return SAE_OK;
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    SAE_TRY(emit_cosines(r, s));
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, estimates));
    if (parts_of(r, s).sample->count == 0)
        return SAE_OK;
    SAE_TRY(ask_oracles(r, s));
    return sae_groups_emit(r, s->sums, STATS, oracle_estimates);
}

const sae_metric sae_metric_consistency = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "consistency",
    .summary = "atoms and codes that two SAEs of different seeds share",
    .source = "metrics/consistency.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_PEER,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
    .pair = pair,
};
