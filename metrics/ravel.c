/* metrics/ravel.c - are two attributes of a token held by different latents: interchange of the
 * latents of one attribute between tokens (after RAVEL, Huang et al. 2024).
 *
 * The first pass collects source rows from training documents and chooses the latents of both
 * attributes; the second inserts interchanged rows of test documents. Off unless two labels are
 * named: every repeat is two more passes of the model.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/labelled.h>

typedef struct options {
    const char *first, *second;
    int64_t features, sources, stride, repeats;
} options;

enum { MOST = 64, TARGETS = 2 };

static const sae_option option_table[] = {
    {"first", SAE_OPT_STR, 0, offsetof(options, first), 0, 0, 0, NULL, "", "label",
     "label of an attribute; empty: nothing is measured"},
    {"second", SAE_OPT_STR, 0, offsetof(options, second), 0, 0, 0, NULL, "", "label",
     "label of the other attribute"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 10, 1, MOST, NULL, NULL, "features",
     "latents of an attribute"},
    {"sources", SAE_OPT_INT, 0, offsetof(options, sources), 1024, 2, 1 << 20, NULL, NULL, "rows",
     "rows that others take latents from"},
    {"stride", SAE_OPT_INT, 0, offsetof(options, stride), 4, 1, 1 << 20, NULL, NULL, "rows",
     "one of so many rows is changed in a pass"},
    {"repeats", SAE_OPT_INT, 0, offsetof(options, repeats), 1, 1, 64, NULL, NULL, "1",
     "rounds with other rows and sources"},
    {0}};

/* Sums by group of documents, log-probabilities in nats: pairs, and for either target attribute the
 * pairs and what the latents and the whole row move, of cause and of isolation. */
enum { CAUSE, ISOLATION, KINDS };
enum { COUNT, BY_LATENTS, BY_ROW, PARTS };
enum { PAIRS, FIRST_PART, STATS = FIRST_PART + TARGETS * KINDS * PARTS };
#define PART(target, kind, part) (FIRST_PART + ((target)*KINDS + (kind)) * PARTS + (part))

enum { NEXT = TARGETS, COLUMNS }; /* of a source: class of both attributes, token that follows */

typedef struct state {
    int64_t pass, chosen[TARGETS];
    int32_t latent[TARGETS][MOST];
    double sums[(SAE_GROUPS + 2) * STATS];
    double atom[]; /* [TARGETS][MOST][d]; then the sources */
} state;

static double *atom_of(const sae_measure *r, state *s, int target, int64_t i)
{
    return s->atom + (target * MOST + i) * r->m->dim.d_out;
}
static sae_labelled *sources_of(const sae_measure *r, state *s)
{
    return (sae_labelled *)(void *)(s->atom + TARGETS * MOST * r->m->dim.d_out);
}

static sae_labelled shape_of(const sae_measure *r)
{
    const options *o = r->opt;
    sae_labelled s = sae_labelled_shape(r, o->sources, 256 * o->sources, 0);
    s.labels = COLUMNS;
    return s;
}

static size_t state_size(const sae_measure *r)
{
    sae_labelled s = shape_of(r);
    return sizeof(state) + (size_t)(TARGETS * MOST * r->m->dim.d_out) * sizeof(double) +
           sae_labelled_bytes(&s);
}

static int begin(const sae_measure *r, void *state_)
{
    *sources_of(r, state_) = shape_of(r);
    return SAE_OK;
}

/* Numbers of the two labels; 0 when one is missing. */
static int find_labels(const sae_measure *r, int64_t label[TARGETS])
{
    const options *o = r->opt;
    label[0] = sae_label_named(r, o->first);
    label[1] = sae_label_named(r, o->second);
    return label[0] >= 0 && label[1] >= 0 && label[0] != label[1];
}

/* Classes of the row that a scored token is predicted from; 0 when it has none or is unseen. */
static int classes_at(const sae_measure *r, const sae_eval *e, const int64_t *label, int64_t t,
                      int32_t class_[TARGETS])
{
    int64_t row = e->insert->row[t];
    for (int k = 0; k < TARGETS && row >= 0; k++)
        class_[k] = e->label[row * r->labels + label[k]];
    return row >= 0 && class_[0] >= 0 && class_[1] >= 0;
}

/* ---- first pass ------------------------------------------------------------------------------ */

static void collect(const sae_measure *r, sae_labelled *pool, const sae_eval *e,
                    const int64_t *label)
{
    for (int64_t t = 0; t < e->splice->T; t++) {
        const sae_token *tok = &e->splice->tok[t];
        int32_t column[COLUMNS];
        if (sae_part_of(tok->doc) == SAE_PART_TEST || !classes_at(r, e, label, t, column))
            continue;
        int64_t i = e->insert->row[t];
        column[NEXT] = e->insert->next[t];
        sae_labelled_row row = {.hash = sae_row_hash(tok),
                                .doc = tok->doc,
                                .norm = sae_eval_norm(r, e, i),
                                .x = e->x + i * e->d,
                                .label = column,
                                .code = e->code,
                                .i = i};
        sae_labelled_put(pool, &row);
    }
}

/* sum over classes of share |mean of z in the class - mean of z| / mean size where active: the rule
 * of sae-probes for several classes. score [n], scratch [(classes + 2) n + classes]. */
static void score_latents(const sae_labelled *pool, const sae_labelled_ref *ref, int target,
                          int64_t classes, int64_t n, double *score, double *scratch)
{
    sae_labelled_rows a = sae_labelled_at(pool);
    double *size = scratch + classes * n, *active = size + n, *rows = active + n;
    for (int64_t k = 0; k < pool->count; k++) {
        int64_t i = ref[k].row, c = a.label[i * COLUMNS + target];
        rows[c]++;
        for (int64_t p = a.first[i]; p < a.first[i + 1]; p++) {
            scratch[c * n + a.idx[p]] += (double)a.val[p];
            size[a.idx[p]] += fabs((double)a.val[p]);
            active[a.idx[p]]++;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        double mean = 0, all = (double)pool->count;
        for (int64_t c = 0; c < classes; c++)
            mean += scratch[c * n + j] / all;
        score[j] = 0;
        for (int64_t c = 0; c < classes && active[j] > 0; c++)
            score[j] += fabs(scratch[c * n + j] - rows[c] * mean) / all / (size[j] / active[j]);
    }
}

static int choose_latents(const sae_measure *r, state *s, int target, int64_t classes,
                          const sae_labelled_ref *ref)
{
    const options *o = r->opt;
    int64_t n = r->m->dim.n;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    double *score = calloc((size_t)((classes + 3) * n + classes + 1), sizeof *score);
    int rc = score ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0)
        score_latents(sources_of(r, s), ref, target, classes, n, score, score + n);
    while (rc >= 0 && s->chosen[target] < o->features) {
        int64_t best = 0, i = s->chosen[target];
        for (int64_t j = 1; j < n; j++)
            best = score[j] > score[best] ? j : best;
        if (n == 0 || !(score[best] > 0))
            break;
        score[best] = 0;
        s->latent[target][i] = (int32_t)best;
        rc = sae_host_row(r, w, best, atom_of(r, s, target, i));
        s->chosen[target]++;
    }
    free(score);
    return rc;
}

/* ---- second pass ----------------------------------------------------------------------------- */

typedef struct pair {
    int64_t t, source; /* scored token of the base; row of the sources, -1: not changed */
    int target, kind;
} pair;

typedef struct interchanges {
    const sae_measure *r;
    state *s;
    const sae_eval *e;
    const sae_labelled *pool;
    sae_labelled_rows at;
    sae_labelled_ref *ref;
    pair *pair;                 /* [T] */
    sae_real *x;                /* [B x d] */
    sae_real *logprob[TARGETS]; /* [rows x vocab] latents interchanged; whole rows */
} interchanges;

/* Cause: the source differs in the target attribute and agrees in the other; isolation: the other
 * way round. The first such source in random order from a random place. */
static pair find_pair(const interchanges *q, const int64_t *label, int64_t t, int64_t repeat)
{
    const options *o = q->r->opt;
    const sae_token *tok = &q->e->splice->tok[t];
    int32_t mine[TARGETS];
    uint64_t u = sae_mix(sae_row_hash(tok) ^ (uint64_t)(repeat + 1));
    pair p = {t, -1, (int)(u & 1), (int)(u >> 1 & 1)};
    if (sae_part_of(tok->doc) != SAE_PART_TEST || !classes_at(q->r, q->e, label, t, mine) ||
        (u >> 2) % (uint64_t)o->stride != 0)
        return p;
    int64_t count = q->pool->count, start = (int64_t)((u >> 32) % (uint64_t)count);
    for (int64_t k = 0; k < count && p.source < 0; k++) {
        int64_t i = q->ref[(start + k) % count].row;
        int same_target = q->at.label[i * COLUMNS + p.target] == mine[p.target];
        int same_other = q->at.label[i * COLUMNS + !p.target] == mine[!p.target];
        if (same_target == (p.kind == ISOLATION) && same_other == (p.kind == CAUSE))
            p.source = i;
    }
    return p;
}

/* x += scale (z of the source - z of the base) atom, over the latents of the target. */
static void interchange(const interchanges *q, const pair *p, sae_real *x)
{
    const sae_code *z = q->e->code;
    int64_t row = q->e->insert->row[p->t], d = q->e->d;
    double scale = sae_eval_norm(q->r, q->e, row).scale;
    for (int64_t k = 0; k < q->s->chosen[p->target]; k++) {
        double change = 0;
        for (int64_t i = q->at.first[p->source]; i < q->at.first[p->source + 1]; i++)
            if (q->at.idx[i] == q->s->latent[p->target][k])
                change += (double)q->at.val[i];
        for (int64_t i = sae_code_row(z, row); i < sae_code_row(z, row + 1); i++)
            if (sae_code_feature(z, row, i) == q->s->latent[p->target][k])
                change -= (double)z->val[i];
        const double *atom = atom_of(q->r, q->s, p->target, k);
        for (int64_t j = 0; change != 0 && j < d; j++)
            x[j] = (sae_real)((double)x[j] + scale * change * atom[j]);
    }
}

/* A pass with the latents (0) or the whole rows (1) of the sources. */
static int run_pass(const interchanges *q, int whole)
{
    size_t row = (size_t)q->e->d * sizeof *q->x;
    sae_insert_out out = {.logprob = q->logprob[whole]};
    memcpy(q->x, q->e->x, (size_t)q->e->B * row);
    for (int64_t t = 0; t < q->e->splice->T; t++) {
        const pair *p = &q->pair[t];
        sae_real *x = q->x + q->e->insert->row[t] * q->e->d;
        if (p->source < 0)
            continue;
        if (whole)
            memcpy(x, q->at.x + p->source * q->e->d, row);
        else
            interchange(q, p, x);
    }
    return q->e->insert->run(q->e->insert->self, q->x, &out);
}

/* Of the token that followed the source (cause) or follows the base (isolation). */
static void add_pairs(const interchanges *q)
{
    const sae_insert *in = q->e->insert;
    for (int64_t t = 0; t < q->e->splice->T; t++) {
        const pair *p = &q->pair[t];
        if (p->source < 0)
            continue;
        int32_t token = p->kind == CAUSE ? q->at.label[p->source * COLUMNS + NEXT] : in->next[t];
        int64_t at = in->at[t] * in->vocab + token;
        double *sum = sae_groups_row(q->s->sums, STATS, q->e->splice->tok[t].doc);
        double before = (double)in->logprob[at];
        sum[PAIRS]++;
        sum[PART(p->target, p->kind, COUNT)]++;
        sum[PART(p->target, p->kind, BY_LATENTS)] += (double)q->logprob[0][at] - before;
        sum[PART(p->target, p->kind, BY_ROW)] += (double)q->logprob[1][at] - before;
    }
}

static int insert_rows(const sae_measure *r, state *s, const sae_eval *e, const int64_t *label)
{
    const options *o = r->opt;
    size_t out = (size_t)(e->insert->rows * e->insert->vocab) * sizeof(sae_real);
    interchanges q = {.r = r, .s = s, .e = e, .pool = sources_of(r, s)};
    q.at = sae_labelled_at(q.pool);
    q.ref = sae_labelled_sort(q.pool);
    q.pair = malloc((size_t)(e->splice->T + 1) * sizeof *q.pair);
    q.x = malloc((size_t)(e->B * e->d) * sizeof *q.x + 1);
    q.logprob[0] = malloc(out + 1);
    q.logprob[1] = malloc(out + 1);
    int rc = q.ref && q.pair && q.x && q.logprob[0] && q.logprob[1] ? SAE_OK : SAE_ENOMEM;
    for (int64_t repeat = 0; rc >= 0 && repeat < o->repeats; repeat++) {
        for (int64_t t = 0; t < e->splice->T; t++)
            q.pair[t] = find_pair(&q, label, t, repeat);
        for (int whole = 0; rc >= 0 && whole < 2; whole++)
            rc = run_pass(&q, whole);
        if (rc >= 0)
            add_pairs(&q);
    }
    free(q.ref);
    free(q.pair);
    free(q.x);
    free(q.logprob[0]);
    free(q.logprob[1]);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    int64_t label[TARGETS];
    if (!find_labels(r, label))
        return SAE_OK;
    if (s->pass == 1)
        return insert_rows(r, s, e, label);
    collect(r, sources_of(r, s), e, label);
    return SAE_OK;
}

/* Both sides are in the same pass, and have the same sources in the second. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_, *from = (state *)from_; /* read only; sources_of serves both */
    if (into->pass == 0)
        sae_labelled_merge(sources_of(r, into), sources_of(r, from));
    sae_groups_merge(into->sums, from->sums, STATS);
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

SAE_RATIO(cause_first, PART(0, CAUSE, BY_LATENTS), PART(0, CAUSE, BY_ROW))
SAE_RATIO(cause_second, PART(1, CAUSE, BY_LATENTS), PART(1, CAUSE, BY_ROW))
SAE_RATIO(lost_first, PART(0, ISOLATION, BY_LATENTS), PART(0, ISOLATION, BY_ROW))
SAE_RATIO(lost_second, PART(1, ISOLATION, BY_LATENTS), PART(1, ISOLATION, BY_ROW))

static double isolation_first(const double *sum, int64_t K)
{
    return 1 - lost_first(sum, K);
}
static double isolation_second(const double *sum, int64_t K)
{
    return 1 - lost_second(sum, K);
}
static double cause(const double *sum, int64_t K)
{
    return (cause_first(sum, K) + cause_second(sum, K)) / 2;
}
static double isolation(const double *sum, int64_t K)
{
    return (isolation_first(sum, K) + isolation_second(sum, K)) / 2;
}
static double disentanglement(const double *sum, int64_t K)
{
    return (cause(sum, K) + isolation(sum, K)) / 2;
}

static const sae_estimate estimates[] = {
    {"disentanglement", disentanglement, PAIRS, "1", SAE_HIGHER},
    {"cause", cause, PAIRS, "1", SAE_HIGHER},
    {"isolation", isolation, PAIRS, "1", SAE_HIGHER},
    {"cause_first", cause_first, PART(0, CAUSE, COUNT), "1", SAE_INFO},
    {"cause_second", cause_second, PART(1, CAUSE, COUNT), "1", SAE_INFO},
    {"isolation_first", isolation_first, PART(0, ISOLATION, COUNT), "1", SAE_INFO},
    {"isolation_second", isolation_second, PART(1, ISOLATION, COUNT), "1", SAE_INFO},
    {0}};

static int choose_all(const sae_measure *r, state *s, const int64_t *label)
{
    sae_labelled_ref *ref = sae_labelled_sort(sources_of(r, s));
    int rc = ref ? SAE_OK : SAE_ENOMEM;
    for (int t = 0; t < TARGETS && rc >= 0; t++)
        rc = choose_latents(r, s, t, r->label[label[t]].classes, ref);
    free(ref);
    return rc;
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    int64_t label[TARGETS];
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    int runs =
        find_labels(r, label) && w.p && w.cols == r->m->dim.d_out && sources_of(r, s)->count > 0;
    if (runs && s->pass == 0) {
        SAE_TRY(choose_all(r, s, label));
        s->pass = 1;
        return SAE_AGAIN;
    }
    int64_t pairs = (int64_t)sae_groups_total(s->sums, STATS)[PAIRS];
    sae_row row = {"pairs", (double)pairs, (double)NAN, pairs, "pairs", SAE_INFO};
    SAE_TRY(r->emit(r->sink, &row));
    return runs ? sae_groups_emit(r, s->sums, STATS, estimates) : SAE_OK;
}

const sae_metric sae_metric_ravel = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "ravel",
    .summary = "two attributes of a token in different latents: interchange between tokens",
    .source = "metrics/ravel.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS | SAE_MNEED_LM | SAE_MNEED_INSERT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
