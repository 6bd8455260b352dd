/* metrics/unlearning.c - what a language model loses on one concept's tokens, and on the others,
 * when the latents that fire for the concept are clamped.
 *
 * The first pass finds the latents on training documents, the second inserts clamped rows and
 * compares losses: on training documents to choose the setting, on test documents to judge it. Off
 * unless a label is named: every setting is one more pass of the model.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/groups.h>
#include <sae/labelled.h>

typedef struct options {
    const char *label;
    int64_t class_, features;
    double retain_density;
} options;

enum { MOST = 64 };

static const sae_option option_table[] = {
    {"label", SAE_OPT_STR, 0, offsetof(options, label), 0, 0, 0, NULL, "", "label",
     "label of the concept; empty: nothing is measured"},
    {"class", SAE_OPT_INT, 0, offsetof(options, class_), 0, 0, 1 << 20, NULL, NULL, "1",
     "number of its class that is to be forgotten"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 10, 1, MOST, NULL, NULL, "features",
     "latents that are clamped (SAEBench)"},
    {"retain_density", SAE_OPT_REAL, 0, offsetof(options, retain_density), 0.01, 0, 1, NULL, NULL,
     "1", "only latents that fire on a smaller share of the other rows (SAEBench)"},
    {0}};

/* A clamped latent becomes -strength times its mean size where active. */
enum { STRENGTHS = 3 };
static const double strength[STRENGTHS] = {0, 1, 4};

/* By size: either sign counts as active and turns its sign. Stock: only values above 0 are active,
 * counted and clamped, as in SAEBench. */
enum { SIGNED, STOCK, MODES };

/* Sums by group of documents: tokens, those of the concept and others, their losses as they are,
 * and the increases of both for every setting. */
enum { TOKENS, FORGET, RETAIN, CHANGES, STATS = CHANGES + 2 * STRENGTHS * MODES };

/* Counts over training rows, per latent: active on rows of the concept, on others, sum of sizes
 * where active on any. */
enum { ON, OFF, ACTIVE, SIZE, COUNTS };

typedef struct state {
    int64_t pass, modes;
    double rows[2]; /* training rows: others, of the concept */
    int64_t chosen[MODES];
    int32_t latent[MODES][MOST];
    double level[MODES][MOST]; /* mean size where active */
    double fit[STATS];         /* like a group of sums, of training documents */
    double sums[(SAE_GROUPS + 2) * STATS];
    double count[]; /* [MODES][COUNTS][n]; then atoms [MODES][MOST][d] */
} state;

static double *counts_of(const sae_measure *r, state *s, int mode, int what)
{
    return s->count + (mode * COUNTS + what) * r->m->dim.n;
}

static double *atom_of(const sae_measure *r, state *s, int mode, int64_t i)
{
    return s->count + MODES * COUNTS * r->m->dim.n + (mode * MOST + i) * r->m->dim.d_out;
}

static size_t state_size(const sae_measure *r)
{
    return sizeof(state) +
           (size_t)(MODES * (COUNTS * r->m->dim.n + MOST * r->m->dim.d_out)) * sizeof(double);
}

static int64_t find_label(const sae_measure *r)
{
    const options *o = r->opt;
    int64_t l = sae_label_named(r, o->label);
    return l >= 0 && o->class_ < r->label[l].classes ? l : -1;
}

static int begin(const sae_measure *r, void *state_)
{
    state *s = state_;
    s->modes = sae_model_signed(r->m) ? MODES : SIGNED + 1;
    return SAE_OK;
}

/* ---- first pass ------------------------------------------------------------------------------ */

static void count_row(const sae_measure *r, state *s, const sae_code *z, int64_t i, int on)
{
    s->rows[on]++;
    for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
        int64_t j = sae_code_feature(z, i, p);
        double v = (double)z->val[p];
        for (int mode = 0; mode < s->modes; mode++) {
            if (v == 0 || (mode == STOCK && v < 0))
                continue;
            counts_of(r, s, mode, on ? ON : OFF)[j]++;
            counts_of(r, s, mode, ACTIVE)[j]++;
            counts_of(r, s, mode, SIZE)[j] += fabs(v);
        }
    }
}

/* The latents that fire most often on rows of the concept, of those rare on others; ties: the
 * lowest number. */
static int choose_latents(const sae_measure *r, state *s, int mode)
{
    const options *o = r->opt;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    double *on = counts_of(r, s, mode, ON), *off = counts_of(r, s, mode, OFF);
    int rc = SAE_OK;
    while (rc >= 0 && s->chosen[mode] < o->features) {
        int64_t best = -1, i = s->chosen[mode];
        for (int64_t j = 0; j < r->m->dim.n; j++)
            if (on[j] > 0 && off[j] < o->retain_density * s->rows[0] &&
                (best < 0 || on[j] > on[best]))
                best = j;
        if (best < 0)
            break;
        on[best] = 0; /* taken */
        s->latent[mode][i] = (int32_t)best;
        s->level[mode][i] = counts_of(r, s, mode, SIZE)[best] / counts_of(r, s, mode, ACTIVE)[best];
        rc = sae_host_row(r, w, best, atom_of(r, s, mode, i));
        s->chosen[mode]++;
    }
    return rc;
}

/* ---- second pass ----------------------------------------------------------------------------- */

/* Row i of the batch with the chosen latents clamped. */
static void clamp_row(const sae_measure *r, state *s, const sae_eval *e, int64_t i, int mode,
                      double times, sae_real *out)
{
    const sae_code *z = e->code;
    double scale = sae_eval_norm(r, e, i).scale;
    memcpy(out, e->x + i * e->d, (size_t)e->d * sizeof *out);
    for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
        double v = (double)z->val[p];
        int64_t k = 0, j = sae_code_feature(z, i, p);
        while (k < s->chosen[mode] && s->latent[mode][k] != j)
            k++;
        if (k == s->chosen[mode] || v == 0 || (mode == STOCK && v < 0))
            continue;
        double level = times * s->level[mode][k], to = v > 0 ? -level : level;
        const double *atom = atom_of(r, s, mode, k);
        for (int64_t a = 0; a < e->d; a++)
            out[a] = (sae_real)((double)out[a] + scale * (to - v) * atom[a]);
    }
}

/* Whether the row of a token tells that it is of the concept (1) or not (0); -1: neither. */
static int side_of(const sae_measure *r, const sae_eval *e, int64_t label, int64_t t)
{
    const options *o = r->opt;
    int64_t row = e->insert->row[t];
    int32_t c = row < 0 ? -1 : e->label[row * r->labels + label];
    return c < 0 ? -1 : c == o->class_;
}

/* The sums that a token's document adds to. */
static double *sums_of(state *s, const sae_token *t)
{
    return sae_part_of(t->doc) == SAE_PART_TEST ? sae_groups_row(s->sums, STATS, t->doc) : s->fit;
}

static int insert_rows(const sae_measure *r, state *s, const sae_eval *e, int64_t label)
{
    int64_t T = e->splice->T;
    sae_real *x = malloc((size_t)(e->B * e->d) * sizeof *x + 1);
    double *ce = malloc((size_t)T * sizeof *ce + 1);
    int rc = x && ce ? SAE_OK : SAE_ENOMEM;
    for (int64_t t = 0; rc >= 0 && t < T; t++) {
        int side = side_of(r, e, label, t);
        double *sum = sums_of(s, &e->splice->tok[t]);
        if (side >= 0)
            sum[TOKENS]++;
        if (side >= 0)
            sum[side ? FORGET : RETAIN]++;
    }
    for (int k = 0; rc >= 0 && k < s->modes * STRENGTHS; k++) {
        sae_insert_out out = {.ce = ce};
        for (int64_t i = 0; i < e->B; i++)
            clamp_row(r, s, e, i, k / STRENGTHS, strength[k % STRENGTHS], x + i * e->d);
        rc = e->insert->run(e->insert->self, x, &out);
        for (int64_t t = 0; rc >= 0 && t < T; t++) {
            int side = side_of(r, e, label, t);
            if (side >= 0)
                sums_of(s, &e->splice->tok[t])[CHANGES + 2 * k + side] +=
                    ce[t] - e->splice->ce_clean[t];
        }
    }
    free(x);
    free(ce);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    const options *o = r->opt;
    state *s = state_;
    int64_t label = find_label(r);
    if (label < 0)
        return SAE_DONE;
    if (s->pass == 1)
        return insert_rows(r, s, e, label);
    for (int64_t i = 0; i < e->B; i++) {
        int32_t c = e->label[i * r->labels + label];
        if (c >= 0 && sae_part_of(e->tok[i].doc) != SAE_PART_TEST)
            count_row(r, s, e->code, i, c == o->class_);
    }
    return SAE_OK;
}

/* Both sides are in the same pass, and have chosen the same latents in the second. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    const state *from = from_;
    for (int i = 0; i < 2 && into->pass == 0; i++)
        into->rows[i] += from->rows[i];
    for (int64_t i = 0; i < MODES * COUNTS * r->m->dim.n && into->pass == 0; i++)
        into->count[i] += from->count[i];
    for (int i = 0; i < STATS; i++)
        into->fit[i] += from->fit[i];
    sae_groups_merge(into->sums, from->sums, STATS);
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

#define CHANGE(mode, i, side) (CHANGES + 2 * ((mode)*STRENGTHS + (i)) + (side))
SAE_RATIO(forget_x0, CHANGE(SIGNED, 0, 1), FORGET)
SAE_RATIO(forget_x1, CHANGE(SIGNED, 1, 1), FORGET)
SAE_RATIO(forget_x4, CHANGE(SIGNED, 2, 1), FORGET)
SAE_RATIO(retain_x0, CHANGE(SIGNED, 0, 0), RETAIN)
SAE_RATIO(retain_x1, CHANGE(SIGNED, 1, 0), RETAIN)
SAE_RATIO(retain_x4, CHANGE(SIGNED, 2, 0), RETAIN)
SAE_RATIO(forget_x0_stock, CHANGE(STOCK, 0, 1), FORGET)
SAE_RATIO(forget_x1_stock, CHANGE(STOCK, 1, 1), FORGET)
SAE_RATIO(forget_x4_stock, CHANGE(STOCK, 2, 1), FORGET)
SAE_RATIO(retain_x0_stock, CHANGE(STOCK, 0, 0), RETAIN)
SAE_RATIO(retain_x1_stock, CHANGE(STOCK, 1, 0), RETAIN)
SAE_RATIO(retain_x4_stock, CHANGE(STOCK, 2, 0), RETAIN)

static const sae_estimate estimates[MODES][7] = {
    {{"forget_x0", forget_x0, FORGET, "nats", SAE_INFO},
     {"forget_x1", forget_x1, FORGET, "nats", SAE_INFO},
     {"forget_x4", forget_x4, FORGET, "nats", SAE_INFO},
     {"retain_x0", retain_x0, RETAIN, "nats", SAE_INFO},
     {"retain_x1", retain_x1, RETAIN, "nats", SAE_INFO},
     {"retain_x4", retain_x4, RETAIN, "nats", SAE_INFO},
     {0}},
    {{"forget_x0_stock", forget_x0_stock, FORGET, "nats", SAE_INFO},
     {"forget_x1_stock", forget_x1_stock, FORGET, "nats", SAE_INFO},
     {"forget_x4_stock", forget_x4_stock, FORGET, "nats", SAE_INFO},
     {"retain_x0_stock", retain_x0_stock, RETAIN, "nats", SAE_INFO},
     {"retain_x1_stock", retain_x1_stock, RETAIN, "nats", SAE_INFO},
     {"retain_x4_stock", retain_x4_stock, RETAIN, "nats", SAE_INFO},
     {0}}};

static double nothing(const double *sum, int64_t K)
{
    (void)K;
    return sum[FORGET] != 0.0 ? 0 : (double)NAN;
}

/* The loss on the concept in the setting with the largest one on training documents, of those that
 * cost their other tokens at most 0.01 nats; 0 when every setting costs more. */
static int emit_score(const sae_measure *r, state *s, int mode)
{
    sae_estimate score[] = {{mode == STOCK ? "score_stock" : "score", nothing, FORGET, "nats",
                             SAE_INFO},
                            {0}};
    double best = 0;
    for (int i = 0; i < STRENGTHS; i++) {
        double forget = s->fit[CHANGE(mode, i, 1)] / s->fit[FORGET];
        double retain = s->fit[CHANGE(mode, i, 0)] / s->fit[RETAIN];
        if (retain <= 0.01 && forget > best) {
            best = forget;
            score->value = estimates[mode][i].value;
        }
    }
    return sae_groups_emit(r, s->sums, STATS, score);
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    int runs = w.p && w.cols == r->m->dim.d_out && s->rows[0] > 0 && s->rows[1] > 0;
    if (s->pass == 0 && runs) {
        for (int mode = 0; mode < s->modes; mode++)
            SAE_TRY(choose_latents(r, s, mode));
        s->pass = 1;
        return SAE_AGAIN;
    }
    int64_t latents = s->chosen[SIGNED];
    SAE_TRY(sae_emit_value(r, "latents", (double)latents, latents, "features", SAE_INFO));
    for (int mode = 0; mode < s->modes && runs; mode++) {
        SAE_TRY(emit_score(r, s, mode));
        SAE_TRY(sae_groups_emit(r, s->sums, STATS, estimates[mode]));
    }
    return SAE_OK;
}

static int64_t passes_for(const void *opt)
{
    return ((const options *)opt)->label[0] ? 2 : 1;
}

const sae_metric sae_metric_unlearning = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "unlearning",
    .summary = "losses on a concept's tokens and on others with its latents clamped",
    .source = "metrics/unlearning.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS | SAE_MNEED_INSERT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
    .passes_for = passes_for,
};
