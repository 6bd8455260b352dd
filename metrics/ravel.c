/* metrics/ravel.c - are two attributes of a token held by different latents: interchange of the
 * latents of one attribute between tokens (after RAVEL, Huang et al. 2024).
 *
 * The first pass collects source rows from training documents and ranks latents for both
 * attributes; the last inserts interchanged rows of test documents. With `steps` there are so many
 * passes between them, each a step of a mask over latents that is learned through the language
 * model. Off unless two labels are named: every repeat and every step is passes of the model.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/labelled.h>
#include <sae/mask.h>

typedef struct options {
    const char *first, *second;
    int64_t features, sources, stride, repeats, steps, step_rows;
    double rate;
} options;

enum { TARGETS = 2 };

static const sae_option option_table[] = {
    {"first", SAE_OPT_STR, 0, offsetof(options, first), 0, 0, 0, NULL, "", "label",
     "label of an attribute; empty: nothing is measured"},
    {"second", SAE_OPT_STR, 0, offsetof(options, second), 0, 0, 0, NULL, "", "label",
     "label of the other attribute"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 10, 1, 1024, NULL, NULL, "features",
     "latents of an attribute, ranked"},
    {"sources", SAE_OPT_INT, 0, offsetof(options, sources), 1024, 2, 1 << 20, NULL, NULL, "rows",
     "rows that others take latents from"},
    {"stride", SAE_OPT_INT, 0, offsetof(options, stride), 4, 1, 1 << 20, NULL, NULL, "rows",
     "one of so many rows is changed in a pass"},
    {"repeats", SAE_OPT_INT, 0, offsetof(options, repeats), 1, 1, 64, NULL, NULL, "1",
     "rounds with other rows and sources"},
    {"steps", SAE_OPT_INT, 0, offsetof(options, steps), 0, 0, 1 << 20, NULL, NULL, "1",
     "steps of a learned mask, each a pass over the rows; 0: none is learned"},
    {"step_rows", SAE_OPT_INT, 0, offsetof(options, step_rows), 4096, 1, INT32_MAX, NULL, NULL,
     "rows", "rows of the split that a step looks at"},
    {"rate", SAE_OPT_REAL, 0, offsetof(options, rate), 0.01, 0, 1e6, NULL, NULL, "1",
     "step size of the mask (SAEBench: 0.001 in some 440 steps)"},
    {0}};

/* Which latents: the best ranked ones; those of the learned mask. */
enum { RANKED, LEARNED, WAYS };
enum { CAUSE, ISOLATION, KINDS };

/* Sums by group of documents, log-probabilities in nats: pairs, and for either target attribute the
 * pairs and what the latents and the whole row move, of cause and of isolation. */
enum { COUNT, BY, BY_ROW = BY + WAYS, PARTS };
enum { PAIRS, FIRST_PART, STATS = FIRST_PART + TARGETS * KINDS * PARTS };
#define PART(target, kind, part) (FIRST_PART + ((target)*KINDS + (kind)) * PARTS + (part))

/* Arrays [n] of a target attribute: shares of the latents' differences that are interchanged, by
 * way; and with steps the derivatives of a step's losses by those of the mask, summed by kind, and
 * the mask (sae/mask.h). */
enum { SLOPE = WAYS, MASK = SLOPE + KINDS, ARRAYS = MASK + SAE_MASK_ARRAYS };

enum { NEXT = TARGETS, COLUMNS }; /* of a source: class of both attributes, token that follows */

typedef struct state {
    int64_t pass;
    double pairs[TARGETS][KINDS]; /* of this step */
    double sums[(SAE_GROUPS + 2) * STATS];
    double array[]; /* [TARGETS][arrays][n]; then the sources */
} state;

static double *array_of(const sae_measure *r, state *s, int target, int what)
{
    int64_t arrays = ((const options *)r->opt)->steps > 0 ? ARRAYS : LEARNED;
    return s->array + (target * arrays + what) * r->m->dim.n;
}
static sae_labelled *sources_of(const sae_measure *r, state *s)
{
    return (sae_labelled *)(void *)array_of(r, s, TARGETS, 0);
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
    size_t arrays = TARGETS * (((const options *)r->opt)->steps > 0 ? ARRAYS : LEARNED);
    sae_labelled s = shape_of(r);
    return sizeof(state) + arrays * (size_t)r->m->dim.n * sizeof(double) + sae_labelled_bytes(&s);
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
        uint64_t doc = e->splice->tok[t].doc;
        int32_t column[COLUMNS];
        if (sae_part_of(doc) == SAE_PART_TEST || !classes_at(r, e, label, t, column))
            continue;
        column[NEXT] = e->insert->next[t];
        sae_labelled_row row = sae_labelled_row_of(r, pool, e, e->insert->row[t], column);
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

/* The best ranked latents have weight 1. */
static int choose_latents(const sae_measure *r, state *s, int target, int64_t classes,
                          const sae_labelled_ref *ref)
{
    const options *o = r->opt;
    int64_t n = r->m->dim.n;
    double *score = calloc((size_t)((classes + 3) * n + classes + 1), sizeof *score);
    if (!score)
        return SAE_ENOMEM;
    score_latents(sources_of(r, s), ref, target, classes, n, score, score + n);
    for (int64_t i = 0; i < o->features; i++) {
        int64_t best = 0;
        for (int64_t j = 1; j < n; j++)
            best = score[j] > score[best] ? j : best;
        if (n == 0 || !(score[best] > 0))
            break;
        score[best] = 0;
        array_of(r, s, target, RANKED)[best] = 1;
    }
    free(score);
    return SAE_OK;
}

static int choose_all(const sae_measure *r, state *s, const int64_t *label)
{
    sae_labelled_ref *ref = sae_labelled_sort(sources_of(r, s));
    int rc = ref ? SAE_OK : SAE_ENOMEM;
    for (int t = 0; t < TARGETS && rc >= 0; t++)
        rc = choose_latents(r, s, t, r->label[label[t]].classes, ref);
    free(ref);
    return rc;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

typedef struct pair {
    int64_t source; /* row of the sources, -1: the token's row stays as it is */
    int target, kind;
    int32_t token; /* whose log-probability counts */
} pair;

typedef struct change { /* z of the source - z of the base */
    int64_t latent;
    double by;
} change;

typedef struct interchanges {
    const sae_measure *r;
    state *s;
    const sae_eval *e;
    int64_t label[TARGETS];
    const sae_labelled *pool;
    sae_labelled_rows at;
    sae_labelled_ref *ref;
    sae_cmat atoms;     /* backend memory */
    pair *pair;         /* [T] */
    int32_t *expect;    /* [T] */
    change *change;     /* [n] */
    double *delta;      /* [n] 0 */
    double *row;        /* [d] */
    sae_real *x, *grad; /* [B x d] */
    sae_real *atom;     /* [d] */
    sae_real *logprob;  /* [rows x vocab] */
} interchanges;

static void close_interchanges(interchanges *q)
{
    free(q->ref);
    free(q->pair);
    free(q->expect);
    free(q->change);
    free(q->delta);
    free(q->x);
    free(q->logprob);
}

static int open_interchanges(interchanges *q)
{
    const sae_insert *in = q->e->insert;
    size_t T = (size_t)q->e->splice->T + 1, n = (size_t)q->r->m->dim.n + 1, d = (size_t)q->e->d;
    size_t cells = (size_t)q->e->B * d + 1;
    q->pool = sources_of(q->r, q->s);
    q->at = sae_labelled_at(q->pool);
    q->ref = sae_labelled_sort(q->pool);
    q->atoms = sae_tensor_matrix(q->r->m, "W_dec");
    q->pair = malloc(T * sizeof *q->pair);
    q->expect = malloc(T * sizeof *q->expect);
    q->change = malloc(n * sizeof *q->change);
    q->delta = calloc(n + d, sizeof *q->delta);
    q->x = malloc((2 * cells + d) * sizeof *q->x);
    q->logprob = malloc((size_t)(in->rows * in->vocab + 1) * sizeof *q->logprob);
    if (!q->ref || !q->pair || !q->expect || !q->change || !q->delta || !q->x || !q->logprob) {
        close_interchanges(q);
        return SAE_ENOMEM;
    }
    q->row = q->delta + n;
    q->grad = q->x + cells;
    q->atom = q->grad + cells;
    return SAE_OK;
}

/* Cause: the source differs in the target attribute and agrees in the other, and the token that
 * followed it counts; isolation: the other way round, and the token that follows the base. The
 * first such source in random order from a random place. */
static pair find_pair(const interchanges *q, int64_t t, int64_t round)
{
    const options *o = q->r->opt;
    int32_t mine[TARGETS];
    uint64_t u = sae_mix(sae_row_hash(&q->e->splice->tok[t]) ^ (uint64_t)(round + 1));
    pair p = {-1, (int)(u & 1), (int)(u >> 1 & 1), q->e->insert->next[t]};
    if (!classes_at(q->r, q->e, q->label, t, mine) || (u >> 2) % (uint64_t)o->stride != 0)
        return p;
    int64_t count = q->pool->count, start = (int64_t)((u >> 32) % (uint64_t)count);
    for (int64_t k = 0; k < count && p.source < 0; k++) {
        int64_t i = q->ref[(start + k) % count].row;
        int same_target = q->at.label[i * COLUMNS + p.target] == mine[p.target];
        int same_other = q->at.label[i * COLUMNS + !p.target] == mine[!p.target];
        if (same_target == (p.kind == ISOLATION) && same_other == (p.kind == CAUSE))
            p.source = i;
    }
    if (p.source >= 0 && p.kind == CAUSE)
        p.token = q->at.label[p.source * COLUMNS + NEXT];
    return p;
}

/* Bases of test documents, or of others and among the first rows of the split. */
static void find_pairs(interchanges *q, int64_t round, int test, int64_t rows)
{
    for (int64_t t = 0; t < q->e->splice->T; t++) {
        pair none = {-1, 0, 0, -1};
        int64_t number = (int64_t)q->e->row0 + q->e->insert->row[t];
        int wanted = (sae_part_of(q->e->splice->tok[t].doc) == SAE_PART_TEST) == test;
        q->pair[t] = wanted && number < rows ? find_pair(q, t, round) : none;
    }
}

static void add_change(interchanges *q, int64_t latent, int64_t *count)
{
    if (q->delta[latent] != 0) {
        q->change[*count].latent = latent;
        q->change[(*count)++].by = q->delta[latent];
        q->delta[latent] = 0;
    }
}

/* The latents that differ between base t and its source, in q->change; how many. */
static int64_t list_changes(interchanges *q, int64_t t)
{
    const sae_code *z = q->e->code;
    int64_t row = q->e->insert->row[t], source = q->pair[t].source, count = 0;
    int64_t a0 = q->at.first[source], a1 = q->at.first[source + 1];
    int64_t b0 = sae_code_row(z, row), b1 = sae_code_row(z, row + 1);
    for (int64_t p = a0; p < a1; p++)
        q->delta[q->at.idx[p]] += (double)q->at.val[p];
    for (int64_t p = b0; p < b1; p++)
        q->delta[sae_code_feature(z, row, p)] -= (double)z->val[p];
    for (int64_t p = a0; p < a1; p++)
        add_change(q, q->at.idx[p], &count);
    for (int64_t p = b0; p < b1; p++)
        add_change(q, sae_code_feature(z, row, p), &count);
    return count;
}

/* The atom of a latent into q->atom. */
static int load_atom(interchanges *q, int64_t latent)
{
    const sae_ctx *c = q->r->c;
    const sae_real *row = q->atoms.p + latent * q->atoms.ld;
    return c->be->copy(c->dev, q->atom, row, (size_t)q->e->d * sizeof *row, SAE_COPY_D2H);
}

/* x += scale sum of weight (z of the source - z of the base) atom. */
static int interchange(interchanges *q, int64_t t, int way, sae_real *x)
{
    const double *weight = array_of(q->r, q->s, q->pair[t].target, way);
    double scale = sae_eval_norm(q->r, q->e, q->e->insert->row[t]).scale;
    int64_t d = q->e->d, count = list_changes(q, t);
    for (int64_t j = 0; j < d; j++)
        q->row[j] = (double)x[j];
    for (int64_t i = 0; i < count; i++) {
        double by = scale * weight[q->change[i].latent] * q->change[i].by;
        if (by == 0)
            continue;
        SAE_TRY(load_atom(q, q->change[i].latent));
        for (int64_t j = 0; j < d; j++)
            q->row[j] += by * (double)q->atom[j];
    }
    for (int64_t j = 0; j < d; j++)
        x[j] = (sae_real)q->row[j];
    return SAE_OK;
}

/* The rows of the batch with those of the pairs interchanged: by their latents, or (WAYS) whole. */
static int fill_rows(interchanges *q, int way)
{
    size_t row = (size_t)q->e->d * sizeof *q->x;
    memcpy(q->x, q->e->x, (size_t)q->e->B * row);
    for (int64_t t = 0; t < q->e->splice->T; t++) {
        if (q->pair[t].source < 0)
            continue;
        sae_real *x = q->x + q->e->insert->row[t] * q->e->d;
        if (way == WAYS)
            memcpy(x, q->at.x + q->pair[t].source * q->e->d, row);
        else
            SAE_TRY(interchange(q, t, way, x));
    }
    return SAE_OK;
}

/* ---- a step of the mask ---------------------------------------------------------------------- */

/* d(loss of the pair)/d(weight) onto the sums of its kind; g: d(loss)/d(row). */
static int add_slopes(interchanges *q, int64_t t, const sae_real *g)
{
    const pair *p = &q->pair[t];
    double *slope = array_of(q->r, q->s, p->target, SLOPE + p->kind);
    double scale = sae_eval_norm(q->r, q->e, q->e->insert->row[t]).scale;
    int64_t count = list_changes(q, t);
    for (int64_t i = 0; i < count; i++) {
        double dot = 0;
        SAE_TRY(load_atom(q, q->change[i].latent));
        for (int64_t j = 0; j < q->e->d; j++)
            dot += (double)g[j] * (double)q->atom[j];
        slope[q->change[i].latent] += scale * q->change[i].by * dot;
    }
    q->s->pairs[p->target][p->kind]++;
    return SAE_OK;
}

/* Other pairs in every step, so that a mask does not fit those of one. */
static int add_step(interchanges *q)
{
    const sae_insert *in = q->e->insert;
    sae_insert_out out = {.grad = q->grad, .expect = q->expect};
    find_pairs(q, q->s->pass, 0, ((const options *)q->r->opt)->step_rows);
    for (int64_t t = 0; t < q->e->splice->T; t++)
        q->expect[t] = q->pair[t].source < 0 ? -1 : q->pair[t].token;
    SAE_TRY(fill_rows(q, LEARNED));
    SAE_TRY(in->run(in->self, q->x, &out));
    for (int64_t t = 0; t < q->e->splice->T; t++)
        if (q->pair[t].source >= 0)
            SAE_TRY(add_slopes(q, t, q->grad + in->row[t] * q->e->d));
    return SAE_OK;
}

/* Against the mean of the mean losses of both kinds; then the weights of the next step. */
static void end_step(const sae_measure *r, state *s, int target)
{
    const options *o = r->opt;
    int64_t n = r->m->dim.n;
    double *mask = array_of(r, s, target, MASK), *slope = array_of(r, s, target, SLOPE);
    double *cause = slope + CAUSE * n, *isolation = slope + ISOLATION * n;
    const double *pairs = s->pairs[target];
    for (int64_t j = 0; j < n; j++)
        slope[j] =
            (cause[j] / fmax(pairs[CAUSE], 1) + isolation[j] / fmax(pairs[ISOLATION], 1)) / 2;
    if (s->pass > 0)
        sae_mask_step(mask, n, slope, o->rate, s->pass - 1, o->steps);
    sae_mask_weights(mask, n, s->pass, o->steps, array_of(r, s, target, LEARNED));
    memset(slope, 0, (size_t)(KINDS * n) * sizeof *slope);
    memset(s->pairs[target], 0, sizeof s->pairs[target]);
}

/* ---- last pass ------------------------------------------------------------------------------- */

/* What one way of interchange, or (WAYS) that of whole rows, does to the tokens of the pairs. */
static int add_way(interchanges *q, int way)
{
    const sae_insert *in = q->e->insert;
    sae_insert_out out = {.logprob = q->logprob};
    SAE_TRY(fill_rows(q, way));
    SAE_TRY(in->run(in->self, q->x, &out));
    for (int64_t t = 0; t < q->e->splice->T; t++) {
        const pair *p = &q->pair[t];
        if (p->source < 0)
            continue;
        int64_t at = in->at[t] * in->vocab + p->token;
        double *sum = sae_groups_row(q->s->sums, STATS, q->e->splice->tok[t].doc);
        sum[PART(p->target, p->kind, BY + way)] +=
            (double)q->logprob[at] - (double)in->logprob[at];
        sum[PAIRS] += way == WAYS;
        sum[PART(p->target, p->kind, COUNT)] += way == WAYS;
    }
    return SAE_OK;
}

static int add_rounds(interchanges *q)
{
    const options *o = q->r->opt;
    for (int64_t round = 0; round < o->repeats; round++) {
        find_pairs(q, round, 1, INT64_MAX);
        SAE_TRY(add_way(q, RANKED));
        if (o->steps > 0)
            SAE_TRY(add_way(q, LEARNED));
        SAE_TRY(add_way(q, WAYS));
    }
    return SAE_OK;
}

/* ---- state ----------------------------------------------------------------------------------- */

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    const options *o = r->opt;
    state *s = state_;
    int step = s->pass <= o->steps;
    interchanges q = {.r = r, .s = s, .e = e};
    if (!find_labels(r, q.label))
        return SAE_DONE;
    if (s->pass == 0) {
        collect(r, sources_of(r, s), e, q.label);
        return SAE_OK;
    }
    SAE_TRY(open_interchanges(&q));
    int rc = step ? add_step(&q) : add_rounds(&q);
    close_interchanges(&q);
    if (rc < 0 || !step)
        return rc;
    return (int64_t)e->row0 + e->B < o->step_rows ? SAE_OK : SAE_DONE;
}

/* Both sides are in the same pass, and have the same sources and masks after the first. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    const options *o = r->opt;
    state *into = into_, *from = (state *)from_; /* read only; its accessors serve both */
    if (into->pass == 0)
        sae_labelled_merge(sources_of(r, into), sources_of(r, from));
    for (int k = 0; k < TARGETS * KINDS && o->steps > 0; k++) {
        double *a = array_of(r, into, k / KINDS, SLOPE + k % KINDS);
        const double *b = array_of(r, from, k / KINDS, SLOPE + k % KINDS);
        for (int64_t j = 0; j < r->m->dim.n; j++)
            a[j] += b[j];
        into->pairs[k / KINDS][k % KINDS] += from->pairs[k / KINDS][k % KINDS];
    }
    sae_groups_merge(into->sums, from->sums, STATS);
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

SAE_RATIO(cause_first, PART(0, CAUSE, BY), PART(0, CAUSE, BY_ROW))
SAE_RATIO(cause_second, PART(1, CAUSE, BY), PART(1, CAUSE, BY_ROW))
SAE_RATIO(lost_first, PART(0, ISOLATION, BY), PART(0, ISOLATION, BY_ROW))
SAE_RATIO(lost_second, PART(1, ISOLATION, BY), PART(1, ISOLATION, BY_ROW))

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

/* Of the latents of one way, whose sums are in the place BY. */
#define ESTIMATES(prefix)                                                                          \
    {{prefix "disentanglement", disentanglement, PAIRS, "1", SAE_HIGHER},                          \
     {prefix "cause", cause, PAIRS, "1", SAE_HIGHER},                                              \
     {prefix "isolation", isolation, PAIRS, "1", SAE_HIGHER},                                      \
     {prefix "cause_first", cause_first, PART(0, CAUSE, COUNT), "1", SAE_INFO},                    \
     {prefix "cause_second", cause_second, PART(1, CAUSE, COUNT), "1", SAE_INFO},                  \
     {prefix "isolation_first", isolation_first, PART(0, ISOLATION, COUNT), "1", SAE_INFO},        \
     {prefix "isolation_second", isolation_second, PART(1, ISOLATION, COUNT), "1", SAE_INFO},      \
     {0}}
static const sae_estimate estimates[WAYS][8] = {ESTIMATES(""), ESTIMATES("learned_")};

static int emit_learned(const sae_measure *r, state *s)
{
    static const char *const key[TARGETS] = {"learned_latents_first", "learned_latents_second"};
    for (int target = 0; target < TARGETS; target++) {
        const double *weight = array_of(r, s, target, LEARNED);
        int64_t latents = 0;
        for (int64_t j = 0; j < r->m->dim.n; j++)
            latents += weight[j] > 0;
        SAE_TRY(sae_emit_value(r, key[target], (double)latents, latents, "features", SAE_INFO));
    }
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        for (int k = 0; k < TARGETS * KINDS; k++) {
            double *sum = s->sums + g * STATS + PART(k / KINDS, k % KINDS, 0);
            sum[BY] = sum[BY + LEARNED];
        }
    return sae_groups_emit(r, s->sums, STATS, estimates[LEARNED]);
}

static int end(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    state *s = state_;
    int64_t label[TARGETS];
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    int runs =
        find_labels(r, label) && w.p && w.cols == r->m->dim.d_out && sources_of(r, s)->count > 0;
    if (runs && s->pass <= o->steps) {
        if (s->pass == 0)
            SAE_TRY(choose_all(r, s, label));
        for (int target = 0; target < TARGETS && o->steps > 0; target++)
            end_step(r, s, target);
        s->pass++;
        return SAE_AGAIN;
    }
    int64_t pairs = (int64_t)sae_groups_total(s->sums, STATS)[PAIRS];
    SAE_TRY(sae_emit_value(r, "pairs", (double)pairs, pairs, "pairs", SAE_INFO));
    if (runs)
        SAE_TRY(sae_groups_emit(r, s->sums, STATS, estimates[RANKED]));
    return runs && o->steps > 0 ? emit_learned(r, s) : SAE_OK;
}

static int64_t passes_for(const void *opt)
{
    const options *o = opt;
    return o->first[0] && o->second[0] ? o->steps + 2 : 1;
}

const sae_metric sae_metric_ravel = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "ravel",
    .summary = "two attributes of a token in different latents: interchange between tokens",
    .source = "metrics/ravel.md",
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
