/* metrics/probing.c - k-sparse probing: how well do a few latents tell a labelled concept.
 *
 * One uniform sample of rows holds everything; end() makes a binary task of every class of every
 * label, ranks latents, fits probes on training documents and judges them on test documents.
 */
#include <sae/concept_task.h>
#include <sae/fail.h>
#include <sae/lda.h>
#include <stdio.h>

typedef struct options {
    int64_t rows, entries, train, test, classes, min_rows, grid;
} options;

static const sae_option option_table[] = {
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 8192, 16, 1 << 20, NULL, NULL, "rows",
     "uniform sample of labelled rows that probes are made of"},
    {"entries", SAE_OPT_INT, 0, offsetof(options, entries), 1 << 20, 1, 1 << 28, NULL, NULL,
     "entries", "room for their active latents; codes that need more make the sample smaller"},
    {"train", SAE_OPT_INT, 0, offsetof(options, train), 1024, 8, 1 << 20, NULL, NULL, "rows",
     "most training rows of a task (sae-probes), at most half of them of either side"},
    {"test", SAE_OPT_INT, 0, offsetof(options, test), 1000, 8, 1 << 20, NULL, NULL, "rows",
     "most test rows of a task (SAEBench), at most half of them of either side"},
    {"classes", SAE_OPT_INT, 0, offsetof(options, classes), 4, 0, 1 << 20, NULL, NULL, "classes",
     "tasks of a label: its most frequent classes; 0: all"},
    {"min_rows", SAE_OPT_INT, 0, offsetof(options, min_rows), 16, 1, 1 << 20, NULL, NULL, "rows",
     "a class is a task when it and its rest have so many rows in training and in test"},
    {"grid", SAE_OPT_INT, 0, offsetof(options, grid), 10, 1, 100, NULL, NULL, "1",
     "values of C, equally spaced in its logarithm over 1e-5 .. 1e5 (sae-probes)"},
    {0}};

enum { READS = SAE_READ_X + 1 };
enum { SIZES = 4, MOST = 16 };
static const int64_t sizes[SIZES] = {1, 2, 5, MOST};

enum { ACCURACY, AUC, F1, BALANCED, FIGURES };
static const char *const figure_names[FIGURES] = {"accuracy", "auc", "f1", "balanced_accuracy"};

/* Results: probes of every read and size, then full-width discriminants of x and of xhat. */
enum { FULL_X = READS * SIZES, FULL_XHAT, PROBES };

typedef struct run {
    sae_concepts c;
    const options *o;
    int negative; /* 1: some latent of the sample is below 0 */
    int64_t label, tasks;
    double auc[PROBES];              /* sums over the tasks of the label */
    sae_figure (*figure)[FIGURES];   /* [PROBES] sums over tasks */
    unsigned char group[SAE_GROUPS]; /* 1: holds test rows of some task */
} run;

/* One class against the rest: rows of the sample, those of fitting, validation, test in turn. */
typedef struct task {
    int64_t class_;
    int64_t fit, train, all; /* [0, fit) fit, [fit, train) validation, [train, all) test */
    double share;            /* of the class among the training rows of the label */
    int64_t *row;            /* [all] index in the sample */
    unsigned char *on;       /* [all] */
    double *f;               /* [all x MOST] */
    sae_scored *scored;      /* [all] */
} task;

/* ---- tasks ----------------------------------------------------------------------------------- */

/* Add up to `most` rows of one part, at most half of them of either side. */
static void take_rows(const run *q, task *t, enum sae_part part, int64_t most)
{
    int64_t left[2] = {most / 2, most / 2};
    for (int64_t i = 0; i < q->c.s->count; i++) {
        int64_t row = q->c.ref[i].row;
        int32_t c = sae_class_of(&q->c, q->label, row);
        int on = c == t->class_;
        if (c < 0 || q->c.ref[i].part != part || left[on] == 0)
            continue;
        left[on]--;
        t->row[t->all] = row;
        t->on[t->all++] = (unsigned char)on;
    }
}

static void fill_task(const run *q, task *t, int64_t class_)
{
    double rows[2] = {0, 0};
    t->class_ = class_;
    t->all = 0;
    take_rows(q, t, SAE_PART_FIT, q->o->train * 4 / 5);
    t->fit = t->all;
    take_rows(q, t, SAE_PART_VALID, q->o->train - q->o->train * 4 / 5);
    t->train = t->all;
    take_rows(q, t, SAE_PART_TEST, q->o->test);
    for (int64_t i = 0; i < q->c.s->count; i++)
        if (q->c.ref[i].part != SAE_PART_TEST &&
            sae_class_of(&q->c, q->label, q->c.ref[i].row) >= 0)
            rows[sae_class_of(&q->c, q->label, q->c.ref[i].row) == class_]++;
    t->share = rows[1] / (rows[0] + rows[1]);
}

/* ---- probes ---------------------------------------------------------------------------------- */

static sae_logistic_rows rows_of(const task *t, int64_t rows, int64_t k)
{
    sae_logistic_rows l = {.rows = rows, .k = k, .ld = MOST, .f = t->f, .on = t->on};
    double on = 0;
    for (int64_t i = 0; i < rows; i++)
        on += t->on[i];
    l.weight[0] = (double)rows / (2 * ((double)rows - on));
    l.weight[1] = (double)rows / (2 * on);
    return l;
}

/* Scores of rows [first, last); 0 if one is not a number. */
static int score_rows(const run *q, task *t, int64_t first, int64_t last, const double *w,
                      int64_t k)
{
    for (int64_t i = first; i < last; i++) {
        sae_scored *e = &t->scored[i - first];
        e->score = sae_logistic_score(t->f + i * MOST, w, k);
        e->on = t->on[i];
        e->group = (unsigned char)sae_group_of(q->c.at.doc[t->row[i]]);
        if (isnan(e->score))
            return 0;
    }
    return 1;
}

static double grid_value(const run *q, int64_t i)
{
    return q->o->grid > 1 ? pow(10, -5 + 10 * (double)i / (double)(q->o->grid - 1)) : 1;
}

/* C with the largest AUC on the validation rows, the larger one on a tie. */
static double choose_C(const run *q, task *t, int64_t k)
{
    double w[MOST + 1] = {0}, most = -1, best = grid_value(q, q->o->grid - 1);
    sae_logistic_rows l = rows_of(t, t->fit, k);
    int64_t on = 0, valid = t->train - t->fit;
    for (int64_t i = t->fit; i < t->train; i++)
        on += t->on[i];
    if (k < 2 || on == 0 || on == valid) /* one feature: every C has the same ranking */
        return best;
    for (int64_t i = 0; i < q->o->grid; i++) {
        sae_pairs pairs;
        sae_logistic_fit(&l, grid_value(q, i), w);
        if (!score_rows(q, t, t->fit, t->train, w, k))
            return best;
        sae_count_pairs(t->scored, valid, &pairs);
        double auc = sae_auc(&pairs, SAE_ALL_GROUPS);
        if (auc >= most) {
            most = auc;
            best = grid_value(q, i);
        }
    }
    return best;
}

/* Rows of both sides, the rest first, told by score > threshold. */
static void count_told(const sae_scored *row, int64_t rows, double threshold, sae_tally side[2])
{
    memset(side, 0, 2 * sizeof *side);
    for (int64_t i = 0; i < rows; i++)
        sae_tally_add(&side[row[i].on], row[i].group, (row[i].score > threshold) == row[i].on);
}

/* Add the figures of the scored test rows to probe i. */
static void judge(run *q, const task *t, int i, int finite)
{
    sae_tally even[2], prior[2];
    sae_pairs pairs;
    int64_t rows = finite ? t->all - t->train : 0;
    sae_count_pairs(t->scored, rows, &pairs);
    count_told(t->scored, rows, 0, even);
    count_told(t->scored, rows, -log(t->share / (1 - t->share)), prior);
    for (int g = 0; g <= SAE_ALL_GROUPS; g++) {
        double v[FIGURES], a = sae_tally_share(&even[1], g), b = sae_tally_share(&even[0], g);
        v[ACCURACY] = t->share * sae_tally_share(&prior[1], g) +
                      (1 - t->share) * sae_tally_share(&prior[0], g);
        v[AUC] = sae_auc(&pairs, g);
        v[F1] = a / (2 + a - b) + b / (2 + b - a);
        v[BALANCED] = (a + b) / 2;
        for (int f = 0; f < FIGURES; f++)
            *sae_figure_at(&q->figure[i][f], g) += v[f];
    }
    q->auc[i] += sae_auc(&pairs, SAE_ALL_GROUPS);
}

/* A probe of every size on the best features; a code without negative values is its own stock. */
static void probe_features(run *q, task *t, enum sae_read read)
{
    int64_t best[MOST];
    int64_t found =
        sae_pick_features(&q->c, read, t->row, t->on, t->train, MOST, SAE_PICK_ANY, best);
    sae_load_features(&q->c, read, t->row, t->all, t->train, best, found, MOST, t->f);
    for (int i = 0; i < SIZES; i++) {
        int64_t k = sizes[i] < found ? sizes[i] : found;
        double w[MOST + 1] = {0};
        sae_logistic_rows l = rows_of(t, t->train, k);
        sae_logistic_fit(&l, choose_C(q, t, k), w);
        int finite = score_rows(q, t, t->train, t->all, w, k);
        judge(q, t, (int)read * SIZES + i, finite);
        if (read == SAE_READ_VALUES && !q->negative)
            judge(q, t, SAE_READ_CLIPPED * SIZES + i, finite);
    }
}

static void probe_full(run *q, task *t, const sae_lda *l, const sae_real *x, int i)
{
    int finite = 1;
    for (int64_t j = t->train; j < t->all; j++) {
        sae_scored *e = &t->scored[j - t->train];
        e->score = sae_lda_score(l, t->class_, x + t->row[j] * q->c.s->d);
        e->on = t->on[j];
        e->group = (unsigned char)sae_group_of(q->c.at.doc[t->row[j]]);
        finite &= !isnan(e->score);
    }
    judge(q, t, i, finite);
}

/* Discriminants of the label from at most 2 `train` training rows of x. */
static int fit_full(const run *q, sae_lda *l, const sae_real *x)
{
    int64_t d = q->c.s->d, most = 2 * q->o->train, rows = 0;
    sae_real *part = malloc((size_t)(most * d) * sizeof *part + 1);
    int32_t *label = malloc((size_t)most * sizeof *label);
    int rc = part && label ? SAE_OK : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < q->c.s->count && rows < most; i++) {
        int64_t row = q->c.ref[i].row;
        if (q->c.ref[i].part == SAE_PART_TEST || sae_class_of(&q->c, q->label, row) < 0)
            continue;
        label[rows] = sae_class_of(&q->c, q->label, row);
        memcpy(part + rows++ * d, x + row * d, (size_t)d * sizeof *part);
    }
    if (rc >= 0)
        rc = sae_lda_fit(q->c.r, l, part, label, rows);
    free(part);
    free(label);
    return rc;
}

/* ---- results --------------------------------------------------------------------------------- */

static void probe_name(int i, const char *figure, char out[64])
{
    if (i >= FULL_X)
        snprintf(out, 64, "%s_%s", i == FULL_X ? "x" : "xhat", figure);
    else
        snprintf(out, 64, "%sk%d_%s%s", i / SIZES == SAE_READ_X ? "x_" : "", (int)sizes[i % SIZES],
                 figure, i / SIZES == SAE_READ_CLIPPED ? "_stock" : "");
}

/* Mean AUC over the tasks of a label, for a figure. */
static int emit_label(run *q, int64_t tasks)
{
    static const int shown[] = {0, SIZES - 1, FULL_X, FULL_XHAT};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        char key[64];
        probe_name(shown[i], figure_names[AUC], key);
        sae_series p = {key, q->label, q->auc[shown[i]] / (double)tasks};
        SAE_TRY(q->c.r->point(q->c.r->sink, &p));
    }
    return SAE_OK;
}

static int emit_results(const run *q)
{
    sae_row tasks = {"tasks", (double)q->tasks, (double)NAN, q->c.s->count, "tasks", SAE_INFO};
    SAE_TRY(q->c.r->emit(q->c.r->sink, &tasks));
    for (int i = 0; i < PROBES && q->tasks > 0; i++)
        for (int f = 0; f < FIGURES; f++) {
            char key[64];
            int of_latents = i < SAE_READ_X * SIZES;
            probe_name(i, figure_names[f], key);
            SAE_TRY(sae_figure_emit(q->c.r, key, &q->figure[i][f], (double)q->tasks, q->group,
                                    q->tasks, of_latents ? SAE_HIGHER : SAE_INFO));
        }
    return SAE_OK;
}

/* ---- the labels in turn ---------------------------------------------------------------------- */

static int run_label(run *q, task *t, const int64_t *chosen, int64_t count, sae_lda full[2])
{
    SAE_TRY(fit_full(q, &full[0], q->c.at.x));
    SAE_TRY(fit_full(q, &full[1], q->c.at.xhat));
    memset(q->auc, 0, sizeof q->auc);
    for (int64_t i = 0; i < count; i++) {
        fill_task(q, t, chosen[i]);
        for (int64_t j = t->train; j < t->all; j++)
            q->group[sae_group_of(q->c.at.doc[t->row[j]])] = 1;
        probe_features(q, t, SAE_READ_VALUES);
        if (q->negative)
            probe_features(q, t, SAE_READ_CLIPPED);
        probe_features(q, t, SAE_READ_X);
        probe_full(q, t, &full[0], q->c.at.x, FULL_X);
        probe_full(q, t, &full[1], q->c.at.xhat, FULL_XHAT);
        q->tasks++;
    }
    return emit_label(q, count);
}

static int visit_label(run *q, task *t)
{
    int64_t classes = q->c.r->label[q->label].classes;
    int64_t most = q->o->classes > 0 ? q->o->classes : classes;
    int64_t *chosen = malloc((size_t)classes * sizeof *chosen);
    sae_lda full[2] = {{0}};
    int64_t count =
        chosen ? sae_choose_classes(&q->c, q->label, q->o->min_rows, most, 0, chosen) : SAE_ENOMEM;
    int rc = count < 0 ? (int)count : SAE_OK;
    for (int i = 0; i < 2 && rc >= 0 && count > 0; i++)
        rc = sae_lda_open(&full[i], q->c.s->d, classes, SAE_LDA_RIDGE);
    if (rc >= 0 && count > 0)
        rc = run_label(q, t, chosen, count, full);
    sae_lda_close(&full[0]);
    sae_lda_close(&full[1]);
    free(chosen);
    return rc;
}

static int end(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    const sae_labelled *s = state;
    int64_t most = o->train + o->test;
    run q = {.o = o};
    SAE_TRY(sae_concepts_open(&q.c, r, s));
    task t = {.row = malloc((size_t)most * sizeof *t.row),
              .on = malloc((size_t)most),
              .f = malloc((size_t)(most * MOST) * sizeof *t.f),
              .scored = calloc((size_t)most, sizeof *t.scored)};
    q.figure = calloc(PROBES, sizeof *q.figure);
    int rc = t.row && t.on && t.f && t.scored && q.figure ? SAE_OK : SAE_ENOMEM;
    for (int64_t p = 0; rc >= 0 && p < s->entries; p++)
        q.negative |= q.c.at.val[p] < 0;
    for (q.label = 0; rc >= 0 && q.label < r->labels; q.label++)
        rc = visit_label(&q, &t);
    if (rc >= 0)
        rc = emit_results(&q);
    free(t.row);
    free(t.on);
    free(t.f);
    free(t.scored);
    free(q.figure);
    sae_concepts_close(&q.c);
    return rc;
}

/* ---- state ----------------------------------------------------------------------------------- */

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    sae_labelled s = sae_labelled_shape(r, o->rows, o->entries, 1);
    return sae_labelled_bytes(&s);
}

static int begin(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    *(sae_labelled *)state = sae_labelled_shape(r, o->rows, o->entries, 1);
    return SAE_OK;
}

const sae_metric sae_metric_probing = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "probing",
    .summary = "how well the few best latents tell labelled concepts, beside dimensions of x",
    .source = "metrics/probing.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_XHAT | SAE_MNEED_LABELS,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = sae_labelled_batch,
    .merge = sae_labelled_join,
    .end = end,
};
