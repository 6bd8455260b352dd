/* metrics/steering.c - how far one latent moves the language model's next words from one pole of a
 * concept to the other, and what that costs elsewhere.
 *
 * The first pass learns from training documents: the latent, the direction of the difference of
 * means, and which tokens follow which pole. The second inserts changed rows and reads the model's
 * predictions on test documents. Off unless a label is named: every change is a pass of the model.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/groups.h>
#include <sae/labelled.h>

typedef struct options {
    const char *label;
    double strength, purity;
    int64_t vocab, seen;
} options;

static const sae_option option_table[] = {
    {"label", SAE_OPT_STR, 0, offsetof(options, label), 0, 0, 0, NULL, "", "label",
     "the concept, its first and last class the poles; empty: nothing is measured"},
    {"strength", SAE_OPT_REAL, 0, offsetof(options, strength), 4, 0, 1e6, NULL, NULL, "1",
     "an amplified latent has this many times its mean size where active"},
    {"purity", SAE_OPT_REAL, 0, offsetof(options, purity), 0.8, 0.5, 1, NULL, NULL, "1",
     "a token is of a pole when it follows it in this share of its uses"},
    {"vocab", SAE_OPT_INT, 0, offsetof(options, vocab), 8192, 2, 1 << 24, NULL, NULL, "tokens",
     "token ids that are looked at"},
    {"seen", SAE_OPT_INT, 0, offsetof(options, seen), 5, 1, 1 << 30, NULL, NULL, "tokens",
     "and it is used at least this often"},
    {0}};

/* What is done to a row: the latent set to its amplified value of pole 0, set to 0, negated; the
 * difference of means added, as long as what amplifying adds. */
enum { AMPLIFY, SUPPRESS, SWAP, DIRECTION, CHANGES };

/* Sums by group of documents: scored tokens, predictions of rows of a pole; per change, the shift
 * of log odds and the increase of cross-entropy. */
enum { TOKENS, POLAR, FIRST, STATS = FIRST + 2 * CHANGES };

typedef struct state {
    int64_t pass, latent, targets[2];
    double rows[2], sign, level; /* training rows of either pole; of the latent */
    double sums[(SAE_GROUPS + 2) * STATS];
    double learnt[]; /* [2 x n] values by pole, [n] sizes, [n] uses; [2 x d] rows by pole; [2 x
                        vocab] next tokens by pole, later 1 for tokens of the pole; [d] atom, [d]
                        direction */
} state;

static int64_t learnt(const sae_measure *r)
{
    const options *o = r->opt;
    return 4 * r->m->dim.n + 2 * r->m->dim.d_out + 2 * o->vocab;
}
static double *rows_of(const sae_measure *r, state *s)
{
    return s->learnt + 4 * r->m->dim.n;
}
static double *tokens_of(const sae_measure *r, state *s)
{
    return rows_of(r, s) + 2 * r->m->dim.d_out;
}
static double *atom_of(const sae_measure *r, state *s)
{
    return s->learnt + learnt(r);
}

static size_t state_size(const sae_measure *r)
{
    return sizeof(state) + (size_t)(learnt(r) + 2 * r->m->dim.d_out) * sizeof(double);
}

/* 0 or 1: the pole that row i of the batch has; -1: neither. */
static int pole_of(const sae_measure *r, const sae_eval *e, int64_t label, int64_t i)
{
    int32_t c = i < 0 ? -1 : e->label[i * r->labels + label];
    return c == 0 ? 0 : c == r->label[label].classes - 1 ? 1 : -1;
}

/* ---- first pass ------------------------------------------------------------------------------ */

static void learn(const sae_measure *r, state *s, const sae_eval *e, int64_t label)
{
    const options *o = r->opt;
    const sae_code *z = e->code;
    int64_t n = r->m->dim.n;
    for (int64_t i = 0; i < e->B; i++) {
        int pole = pole_of(r, e, label, i);
        if (pole < 0 || sae_part_of(e->tok[i].doc) == SAE_PART_TEST)
            continue;
        s->rows[pole]++;
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
            int64_t j = sae_code_feature(z, i, p);
            s->learnt[pole * n + j] += (double)z->val[p];
            s->learnt[2 * n + j] += fabs((double)z->val[p]);
            s->learnt[3 * n + j] += z->val[p] != 0;
        }
        for (int64_t k = 0; k < e->d; k++)
            rows_of(r, s)[pole * e->d + k] += (double)e->x[i * e->d + k];
    }
    for (int64_t t = 0; t < e->splice->T; t++) {
        int64_t row = e->insert->row[t];
        int pole = pole_of(r, e, label, row);
        if (pole >= 0 && e->insert->next[t] < o->vocab &&
            sae_part_of(e->tok[row].doc) != SAE_PART_TEST)
            tokens_of(r, s)[pole * o->vocab + e->insert->next[t]]++;
    }
}

/* The latent whose mean differs most between the poles, in units of its mean size where active. */
static void choose_latent(const sae_measure *r, state *s)
{
    int64_t n = r->m->dim.n;
    const double *a = s->learnt, *b = a + n, *size = b + n, *uses = size + n;
    double most = 0;
    s->latent = -1;
    for (int64_t j = 0; j < n; j++) {
        double delta = a[j] / s->rows[0] - b[j] / s->rows[1];
        double level = uses[j] > 0.0 ? size[j] / uses[j] : 0.0;
        if (level > 0.0 && fabs(delta) / level > most) {
            most = fabs(delta) / level;
            s->latent = j;
            s->sign = delta > 0.0 ? 1 : -1;
            s->level = level;
        }
    }
}

/* Tokens that follow one pole nearly always; rates, since the poles are not equally frequent. */
static void choose_tokens(const sae_measure *r, state *s)
{
    const options *o = r->opt;
    double *use = tokens_of(r, s), all[2] = {0, 0};
    for (int64_t v = 0; v < 2 * o->vocab; v++)
        all[v / o->vocab] += use[v];
    for (int64_t v = 0; v < o->vocab; v++) {
        double *a = &use[v], *b = &use[o->vocab + v], ra = *a / all[0], rb = *b / all[1];
        int often = *a + *b >= (double)o->seen;
        *a = often && ra >= o->purity * (ra + rb);
        *b = often && rb >= o->purity * (ra + rb) && *a == 0.0;
        s->targets[0] += *a != 0.0;
        s->targets[1] += *b != 0.0;
    }
}

/* The latent's atom, and the difference of means scaled to the length of what amplifying adds to a
 * row without the latent. */
static int load_directions(const sae_measure *r, state *s)
{
    const options *o = r->opt;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    int64_t d = r->m->dim.d_out;
    double *atom = atom_of(r, s), *r_hat = atom + d, *mean = rows_of(r, s), aa = 0, rr = 0;
    int rc = sae_host_row(r, w, s->latent, atom);
    for (int64_t k = 0; rc >= 0 && k < d; k++) {
        r_hat[k] = mean[k] / s->rows[0] - mean[d + k] / s->rows[1];
        aa += atom[k] * atom[k];
        rr += r_hat[k] * r_hat[k];
    }
    for (int64_t k = 0; rc >= 0 && k < d; k++)
        r_hat[k] *= rr > 0.0 ? o->strength * s->level * sqrt(aa / rr) : 0.0;
    return rc;
}

/* ---- second pass ----------------------------------------------------------------------------- */

static void change_row(const sae_measure *r, state *s, const sae_eval *e, int64_t i, int change,
                       sae_real *out)
{
    const options *o = r->opt;
    const double *atom = atom_of(r, s), *r_hat = atom + e->d;
    double scale = sae_eval_norm(r, e, i).scale, z = sae_code_value(e->code, i, s->latent), to = 0;
    if (change == AMPLIFY)
        to = s->sign * o->strength * s->level;
    else if (change == SWAP)
        to = -z;
    for (int64_t k = 0; k < e->d; k++) {
        double by = change == DIRECTION ? scale * r_hat[k] : scale * (to - z) * atom[k];
        out[k] = (sae_real)((double)e->x[i * e->d + k] + by);
    }
}

/* Log odds of the tokens of pole 0 against those of pole 1. */
static double log_odds(const sae_measure *r, state *s, const sae_real *logprob, int64_t vocab)
{
    const options *o = r->opt;
    const double *of = tokens_of(r, s);
    double p[2] = {0, 0};
    for (int64_t v = 0; v < vocab && v < o->vocab; v++) {
        if (of[v] == 0.0 && of[o->vocab + v] == 0.0)
            continue;
        p[of[v] == 0.0] += exp((double)logprob[v]);
    }
    return log(p[0]) - log(p[1]);
}

/* Amplifying and adding the direction should move every prediction to pole 0; the other two those
 * of a row away from its own pole. */
static double shift_of(int change, int pole, double before, double after)
{
    if (change == AMPLIFY || change == DIRECTION)
        return after - before;
    return pole ? after - before : before - after;
}

typedef struct buffers {
    sae_real *x, *logprob;
    double *ce, *before; /* [T] */
} buffers;

static int try_change(const sae_measure *r, state *s, const sae_eval *e, int64_t label, int change,
                      const buffers *b)
{
    const sae_insert *in = e->insert;
    sae_insert_out out = {.ce = b->ce, .logprob = b->logprob};
    memcpy(b->x, e->x, (size_t)(e->B * e->d) * sizeof *b->x);
    for (int64_t i = 0; i < e->B; i++)
        if (pole_of(r, e, label, i) >= 0)
            change_row(r, s, e, i, change, b->x + i * e->d);
    SAE_TRY(in->run(in->self, b->x, &out));
    for (int64_t t = 0; t < e->splice->T; t++) {
        const sae_token *tok = &e->splice->tok[t];
        double *sum = sae_groups_row(s->sums, STATS, tok->doc) + FIRST + 2 * change;
        int pole = pole_of(r, e, label, in->row[t]);
        if (sae_part_of(tok->doc) != SAE_PART_TEST)
            continue;
        sum[1] += b->ce[t] - e->splice->ce_clean[t];
        if (pole >= 0)
            sum[0] += shift_of(change, pole, b->before[t],
                               log_odds(r, s, b->logprob + in->at[t] * in->vocab, in->vocab));
    }
    return SAE_OK;
}

static int steer(const sae_measure *r, state *s, const sae_eval *e, int64_t label)
{
    const sae_insert *in = e->insert;
    int64_t T = e->splice->T;
    buffers b = {malloc((size_t)(e->B * e->d) * sizeof *b.x + 1),
                 malloc((size_t)(in->rows * in->vocab) * sizeof *b.logprob + 1),
                 malloc((size_t)T * sizeof *b.ce + 1), malloc((size_t)T * sizeof *b.before + 1)};
    int rc = b.x && b.logprob && b.ce && b.before ? SAE_OK : SAE_ENOMEM;
    for (int64_t t = 0; rc >= 0 && t < T; t++) {
        double *sum = sae_groups_row(s->sums, STATS, e->splice->tok[t].doc);
        int test = sae_part_of(e->splice->tok[t].doc) == SAE_PART_TEST;
        b.before[t] = log_odds(r, s, in->logprob + in->at[t] * in->vocab, in->vocab);
        sum[TOKENS] += test;
        sum[POLAR] += test && pole_of(r, e, label, in->row[t]) >= 0;
    }
    for (int c = 0; rc >= 0 && c < CHANGES; c++)
        rc = try_change(r, s, e, label, c, &b);
    free(b.x);
    free(b.logprob);
    free(b.ce);
    free(b.before);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    const options *o = r->opt;
    state *s = state_;
    int64_t label = sae_label_named(r, o->label);
    if (label < 0)
        return SAE_DONE;
    if (s->pass == 1)
        return steer(r, s, e, label);
    learn(r, s, e, label);
    return SAE_OK;
}

/* Both sides are in the same pass, and have learnt the same in the second. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    const state *from = from_;
    for (int i = 0; i < 2 && into->pass == 0; i++)
        into->rows[i] += from->rows[i];
    for (int64_t i = 0; i < learnt(r) && into->pass == 0; i++)
        into->learnt[i] += from->learnt[i];
    sae_groups_merge(into->sums, from->sums, STATS);
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

SAE_RATIO(amplify_shift, FIRST + 2 * AMPLIFY, POLAR)
SAE_RATIO(amplify_ce, FIRST + 2 * AMPLIFY + 1, TOKENS)
SAE_RATIO(suppress_shift, FIRST + 2 * SUPPRESS, POLAR)
SAE_RATIO(suppress_ce, FIRST + 2 * SUPPRESS + 1, TOKENS)
SAE_RATIO(swap_shift, FIRST + 2 * SWAP, POLAR)
SAE_RATIO(swap_ce, FIRST + 2 * SWAP + 1, TOKENS)
SAE_RATIO(dim_shift, FIRST + 2 * DIRECTION, POLAR)
SAE_RATIO(dim_ce, FIRST + 2 * DIRECTION + 1, TOKENS)

static const sae_estimate table[] = {{"amplify_shift", amplify_shift, POLAR, "nats", SAE_HIGHER},
                                     {"amplify_ce", amplify_ce, TOKENS, "nats", SAE_LOWER},
                                     {"suppress_shift", suppress_shift, POLAR, "nats", SAE_INFO},
                                     {"suppress_ce", suppress_ce, TOKENS, "nats", SAE_LOWER},
                                     {"swap_shift", swap_shift, POLAR, "nats", SAE_HIGHER},
                                     {"swap_ce", swap_ce, TOKENS, "nats", SAE_LOWER},
                                     {"dim_shift", dim_shift, POLAR, "nats", SAE_INFO},
                                     {"dim_ce", dim_ce, TOKENS, "nats", SAE_INFO},
                                     {0}};

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    if (s->pass == 0) {
        s->latent = -1;
        if (w.p && w.cols == r->m->dim.d_out && s->rows[0] > 0.0 && s->rows[1] > 0.0)
            choose_latent(r, s);
        if (s->latent >= 0) {
            choose_tokens(r, s);
            SAE_TRY(load_directions(r, s));
        }
        if (s->targets[0] > 0 && s->targets[1] > 0) {
            s->pass = 1;
            return SAE_AGAIN;
        }
    }
    double targets = (double)(s->targets[0] + s->targets[1]);
    SAE_TRY(sae_emit_value(r, "latent", (double)s->latent, 1, "feature", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "target_tokens", targets, 1, "tokens", SAE_INFO));
    return s->pass ? sae_groups_emit(r, s->sums, STATS, table) : SAE_OK;
}

static int64_t passes_for(const void *opt)
{
    return ((const options *)opt)->label[0] ? 2 : 1;
}

const sae_metric sae_metric_steering = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "steering",
    .summary = "a concept's next words moved by one latent, against the damage elsewhere",
    .source = "metrics/steering.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS | SAE_MNEED_INSERT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
    .passes_for = passes_for,
};
