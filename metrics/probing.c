/* metrics/probing.c - k-sparse probing: how well do a few latents tell a labelled concept.
 *
 * One uniform sample of rows holds everything; end() makes a binary task of every class of every
 * label, ranks latents, fits probes on training documents and judges them on test documents.
 */
#include <sae/fail.h>
#include <sae/labelled.h>
#include <sae/lda.h>
#include <sae/logistic.h>
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

/* What probes read: latents by value, latents as max(value, 0), dimensions of x. */
enum { VALUES, STOCK, RAW, READS };
enum { SIZES = 4, MOST = 16 };
static const int64_t sizes[SIZES] = {1, 2, 5, MOST};

enum { ACCURACY, AUC, F1, BALANCED, FIGURES };
static const char *const figure_names[FIGURES] = {"accuracy", "auc", "f1", "balanced_accuracy"};

/* Results: probes of every read and size, then full-width discriminants of x and of xhat. */
enum { FULL_X = READS * SIZES, FULL_XHAT, PROBES };

typedef struct result {              /* sums over tasks of one figure */
    double all, without[SAE_GROUPS]; /* on all test rows; without those of a group of documents */
} result;

typedef struct run {
    const sae_measure *r;
    const options *o;
    const sae_labelled *s;
    sae_labelled_rows at;
    const sae_labelled_ref *ref; /* [s->count] in random order */
    int64_t n;                   /* latents */
    int negative;                /* 1: some latent of the sample is below 0 */
    int64_t label, tasks;
    double auc[PROBES];              /* sums over the tasks of the label */
    result (*result)[FIGURES];       /* [PROBES] */
    unsigned char group[SAE_GROUPS]; /* 1: holds test rows of some task */
    double *sums;                    /* [4 x n]: pick_latents */
    int64_t *place;                  /* [n] column of a chosen latent, -1 */
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

static int32_t label_of(const run *q, int64_t row)
{
    return q->at.label[row * q->s->labels + q->label];
}

/* Rows of every class in training and in test, and whether its test rows are of several groups of
 * documents, without any of which a figure is still defined. */
typedef struct census {
    int64_t train, test, group;
    int spread;
} census;

static void count_class(census *c, const sae_labelled_ref *e)
{
    int64_t group = sae_group_of(e->doc);
    if (e->part != SAE_PART_TEST) {
        c->train++;
        return;
    }
    c->spread |= c->test > 0 && group != c->group;
    c->group = group;
    c->test++;
}

/* The tasks of a label: its most frequent classes of those that have enough rows, the last class of
 * two. Returns how many; c has room for two censuses per class. */
static int64_t choose_classes(const run *q, int64_t classes, census *c, int64_t *chosen)
{
    int64_t least = q->o->min_rows, most = q->o->classes > 0 ? q->o->classes : classes, count = 0;
    census *rest = c + classes;
    memset(c, 0, (size_t)(2 * classes) * sizeof *c);
    for (int64_t i = 0; i < q->s->count; i++) {
        int32_t on = label_of(q, q->ref[i].row);
        for (int32_t k = 0; on >= 0 && k < classes; k++)
            count_class(k == on ? &c[k] : &rest[k], &q->ref[i]);
    }
    for (int64_t k = 0; k < classes; k++)
        if (c[k].train < least || c[k].test < least || !c[k].spread || rest[k].train < least ||
            rest[k].test < least || !rest[k].spread || (classes == 2 && k == 0))
            c[k].train = -1;
    while (count < most) {
        int64_t best = 0;
        for (int64_t k = 1; k < classes; k++)
            best = c[k].train > c[best].train ? k : best;
        if (c[best].train < 0)
            break;
        c[best].train = -1;
        chosen[count++] = best;
    }
    return count;
}

/* Add up to `most` rows of one part, at most half of them of either side. */
static void take_rows(const run *q, task *t, enum sae_part part, int64_t most)
{
    int64_t left[2] = {most / 2, most / 2};
    for (int64_t i = 0; i < q->s->count; i++) {
        int64_t row = q->ref[i].row;
        int32_t c = label_of(q, row);
        int on = c == t->class_;
        if (c < 0 || q->ref[i].part != part || left[on] == 0)
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
    for (int64_t i = 0; i < q->s->count; i++)
        if (q->ref[i].part != SAE_PART_TEST && label_of(q, q->ref[i].row) >= 0)
            rows[label_of(q, q->ref[i].row) == class_]++;
    t->share = rows[1] / (rows[0] + rows[1]);
}

/* ---- features -------------------------------------------------------------------------------- */

static double read_value(double v, int read)
{
    return read == STOCK && v < 0 ? 0 : v;
}

/* Entries of a row: latents, or every dimension of x. */
static int64_t entries_of(const run *q, int read, int64_t row)
{
    return read == RAW ? q->s->d : q->at.first[row + 1] - q->at.first[row];
}

static double entry(const run *q, int read, int64_t row, int64_t p, int64_t *feature)
{
    if (read == RAW) {
        *feature = p;
        return (double)q->at.x[row * q->s->d + p];
    }
    int64_t e = q->at.first[row] + p;
    *feature = q->at.idx[e];
    return read_value((double)q->at.val[e], read);
}

/* The k best features by |difference of class means| / mean size where not 0, on training rows;
 * ties: the lowest index. Returns how many differ at all, at most k. */
static int64_t pick_features(run *q, const task *t, int read, int64_t k, int64_t *best)
{
    int64_t n = read == RAW ? q->s->d : q->n, found = 0;
    double count[2] = {0, 0}, score[MOST];
    double *off = q->sums, *on = off + n, *size = on + n, *active = size + n;
    memset(q->sums, 0, (size_t)(4 * n) * sizeof *q->sums);
    for (int64_t i = 0; i < t->train; i++) {
        count[t->on[i]] += 1;
        for (int64_t p = 0, j; p < entries_of(q, read, t->row[i]); p++) {
            double v = entry(q, read, t->row[i], p, &j);
            (t->on[i] ? on : off)[j] += v;
            size[j] += fabs(v);
            active[j] += v != 0;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        double s = fabs(on[j] / count[1] - off[j] / count[0]) / (size[j] / active[j]);
        int64_t p = found;
        if (active[j] == 0 || s == 0)
            continue;
        while (p > 0 && !(s <= score[p - 1])) { /* what is not a number goes first and shows */
            if (p < k) {
                score[p] = score[p - 1];
                best[p] = best[p - 1];
            }
            p--;
        }
        if (p < k) {
            score[p] = s;
            best[p] = j;
            found += found < k;
        }
    }
    return found;
}

/* The chosen features of all rows, in units of their standard deviation on training rows. */
static void load_features(run *q, task *t, int read, const int64_t *best, int64_t k)
{
    memset(t->f, 0, (size_t)(t->all * MOST) * sizeof *t->f);
    for (int64_t i = 0; i < k; i++)
        q->place[best[i]] = i;
    for (int64_t i = 0; i < t->all; i++)
        for (int64_t p = 0, j; p < entries_of(q, read, t->row[i]); p++) {
            double v = entry(q, read, t->row[i], p, &j);
            if (q->place[j] >= 0)
                t->f[i * MOST + q->place[j]] = v;
        }
    for (int64_t i = 0; i < k; i++) {
        double mean = 0, square = 0, *f = t->f + i;
        q->place[best[i]] = -1;
        for (int64_t p = 0; p < t->train; p++)
            mean += f[p * MOST] / (double)t->train;
        for (int64_t p = 0; p < t->train; p++)
            square += (f[p * MOST] - mean) * (f[p * MOST] - mean) / (double)t->train;
        for (int64_t p = 0; p < t->all; p++)
            f[p * MOST] /= sqrt(square);
    }
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
        e->group = (unsigned char)sae_group_of(q->at.doc[t->row[i]]);
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

/* Rows of each side told by a rule, less those of a group. */
typedef struct told {
    double on[SAE_GROUPS + 1], off[SAE_GROUPS + 1];
} told;

static void count_told(const sae_scored *row, int64_t rows, double threshold, told *c)
{
    memset(c, 0, sizeof *c);
    for (int64_t i = 0; i < rows; i++) {
        int yes = row[i].score > threshold;
        c->on[row[i].group] += yes && row[i].on;
        c->off[row[i].group] += !yes && !row[i].on;
        c->on[SAE_ALL_GROUPS] += yes && row[i].on;
        c->off[SAE_ALL_GROUPS] += !yes && !row[i].on;
    }
}

/* Shares of the positive and of the negative rows that are told, without group g. */
static void rates(const told *c, const sae_pairs *p, int g, double *on, double *off)
{
    int all = g == SAE_ALL_GROUPS;
    double pos = p->pos[SAE_ALL_GROUPS] - (all ? 0 : p->pos[g]);
    double neg = p->neg[SAE_ALL_GROUPS] - (all ? 0 : p->neg[g]);
    *on = (c->on[SAE_ALL_GROUPS] - (all ? 0 : c->on[g])) / pos;
    *off = (c->off[SAE_ALL_GROUPS] - (all ? 0 : c->off[g])) / neg;
}

/* Add the figures of the scored test rows to probe i. */
static void judge(run *q, const task *t, int i, int finite)
{
    told even, prior;
    sae_pairs pairs;
    int64_t rows = t->all - t->train;
    sae_count_pairs(t->scored, finite ? rows : 0, &pairs);
    count_told(t->scored, rows, 0, &even);
    count_told(t->scored, rows, -log(t->share / (1 - t->share)), &prior);
    for (int g = 0; g <= SAE_ALL_GROUPS; g++) {
        double v[FIGURES], a, b, c, d;
        rates(&even, &pairs, g, &a, &b);
        rates(&prior, &pairs, g, &c, &d);
        v[ACCURACY] = t->share * c + (1 - t->share) * d;
        v[AUC] = sae_auc(&pairs, g);
        v[F1] = a / (2 + a - b) + b / (2 + b - a);
        v[BALANCED] = (a + b) / 2;
        for (int f = 0; f < FIGURES; f++)
            *(g == SAE_ALL_GROUPS ? &q->result[i][f].all : &q->result[i][f].without[g]) += v[f];
    }
    q->auc[i] += sae_auc(&pairs, SAE_ALL_GROUPS);
}

/* A probe of every size on the best features; a code without negative values is its own stock. */
static void probe_features(run *q, task *t, int read)
{
    int64_t best[MOST];
    int64_t found = pick_features(q, t, read, MOST, best);
    load_features(q, t, read, best, found);
    for (int i = 0; i < SIZES; i++) {
        int64_t k = sizes[i] < found ? sizes[i] : found;
        double w[MOST + 1] = {0};
        sae_logistic_rows l = rows_of(t, t->train, k);
        sae_logistic_fit(&l, choose_C(q, t, k), w);
        int finite = score_rows(q, t, t->train, t->all, w, k);
        judge(q, t, read * SIZES + i, finite);
        if (read == VALUES && !q->negative)
            judge(q, t, STOCK * SIZES + i, finite);
    }
}

static void probe_full(run *q, task *t, const sae_lda *l, const sae_real *x, int i)
{
    int finite = 1;
    for (int64_t j = t->train; j < t->all; j++) {
        sae_scored *e = &t->scored[j - t->train];
        e->score = sae_lda_score(l, t->class_, x + t->row[j] * q->s->d);
        e->on = t->on[j];
        e->group = (unsigned char)sae_group_of(q->at.doc[t->row[j]]);
        finite &= !isnan(e->score);
    }
    judge(q, t, i, finite);
}

/* Discriminants of the label from at most 2 `train` training rows of x. */
static int fit_full(const run *q, sae_lda *l, const sae_real *x)
{
    int64_t d = q->s->d, most = 2 * q->o->train, rows = 0;
    sae_real *part = malloc((size_t)(most * d) * sizeof *part + 1);
    int32_t *label = malloc((size_t)most * sizeof *label);
    int rc = part && label ? SAE_OK : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < q->s->count && rows < most; i++) {
        int64_t row = q->ref[i].row;
        if (q->ref[i].part == SAE_PART_TEST || label_of(q, row) < 0)
            continue;
        label[rows] = label_of(q, row);
        memcpy(part + rows++ * d, x + row * d, (size_t)d * sizeof *part);
    }
    if (rc >= 0)
        rc = sae_lda_fit(q->r, l, part, label, rows);
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
        snprintf(out, 64, "%sk%d_%s%s", i / SIZES == RAW ? "x_" : "", (int)sizes[i % SIZES], figure,
                 i / SIZES == STOCK ? "_stock" : "");
}

/* Mean AUC over the tasks of a label, for a figure. */
static int emit_label(run *q, int64_t tasks)
{
    static const int shown[] = {VALUES * SIZES, VALUES * SIZES + SIZES - 1, FULL_X, FULL_XHAT};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        char key[64];
        probe_name(shown[i], figure_names[AUC], key);
        sae_series p = {key, q->label, q->auc[shown[i]] / (double)tasks};
        SAE_TRY(q->r->point(q->r->sink, &p));
    }
    return SAE_OK;
}

/* Delete-a-group jackknife over the documents of the test rows. */
static double error_of(const run *q, const result *v)
{
    double mean = 0, m2 = 0;
    int64_t m = 0;
    for (int g = 0; g < SAE_GROUPS; g++)
        if (q->group[g]) {
            double value = v->without[g] / (double)q->tasks, delta = value - mean;
            mean += delta / (double)++m;
            m2 += delta * (value - mean);
        }
    return m < 2 ? (double)NAN : sqrt((double)(m - 1) / (double)m * m2);
}

static int emit_results(const run *q)
{
    sae_row tasks = {"tasks", (double)q->tasks, (double)NAN, q->s->count, "tasks", SAE_INFO};
    SAE_TRY(q->r->emit(q->r->sink, &tasks));
    for (int i = 0; i < PROBES && q->tasks > 0; i++)
        for (int f = 0; f < FIGURES; f++) {
            char key[64];
            const result *v = &q->result[i][f];
            int of_latents = i / SIZES == VALUES || i / SIZES == STOCK;
            probe_name(i, figure_names[f], key);
            sae_row row = {key, v->all / (double)q->tasks,         error_of(q, v), q->tasks,
                           "1", of_latents ? SAE_HIGHER : SAE_INFO};
            SAE_TRY(q->r->emit(q->r->sink, &row));
        }
    return SAE_OK;
}

/* ---- the labels in turn ---------------------------------------------------------------------- */

static int run_label(run *q, task *t, const int64_t *chosen, int64_t count, sae_lda full[2])
{
    SAE_TRY(fit_full(q, &full[0], q->at.x));
    SAE_TRY(fit_full(q, &full[1], q->at.xhat));
    memset(q->auc, 0, sizeof q->auc);
    for (int64_t i = 0; i < count; i++) {
        fill_task(q, t, chosen[i]);
        for (int64_t j = t->train; j < t->all; j++)
            q->group[sae_group_of(q->at.doc[t->row[j]])] = 1;
        for (int read = 0; read < READS; read++)
            if (read != STOCK || q->negative)
                probe_features(q, t, read);
        probe_full(q, t, &full[0], q->at.x, FULL_X);
        probe_full(q, t, &full[1], q->at.xhat, FULL_XHAT);
        q->tasks++;
    }
    return emit_label(q, count);
}

static int visit_label(run *q, task *t)
{
    int64_t classes = q->r->label[q->label].classes, count = 0;
    census *c = malloc((size_t)(2 * classes + 1) * sizeof *c);
    int64_t *chosen = malloc((size_t)(classes + 1) * sizeof *chosen);
    sae_lda full[2] = {{0}};
    int rc = c && chosen ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0)
        count = choose_classes(q, classes, c, chosen);
    for (int i = 0; i < 2 && rc >= 0 && count > 0; i++)
        rc = sae_lda_open(&full[i], q->s->d, classes);
    if (rc >= 0 && count > 0)
        rc = run_label(q, t, chosen, count, full);
    sae_lda_close(&full[0]);
    sae_lda_close(&full[1]);
    free(c);
    free(chosen);
    return rc;
}

static int end(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    sae_labelled *s = state;
    int64_t most = o->train + o->test, wide = r->m->dim.n > s->d ? r->m->dim.n : s->d;
    run q = {.r = r, .o = o, .s = s, .at = sae_labelled_at(s), .n = r->m->dim.n};
    sae_labelled_ref *ref = sae_labelled_sort(s);
    task t = {.row = malloc((size_t)most * sizeof *t.row),
              .on = malloc((size_t)most),
              .f = malloc((size_t)(most * MOST) * sizeof *t.f),
              .scored = calloc((size_t)most, sizeof *t.scored)};
    q.result = calloc(PROBES, sizeof *q.result);
    q.sums = malloc((size_t)(4 * wide) * sizeof *q.sums);
    q.place = malloc((size_t)wide * sizeof *q.place);
    q.ref = ref;
    int rc = ref && t.row && t.on && t.f && t.scored && q.result && q.sums && q.place ? SAE_OK
                                                                                      : SAE_ENOMEM;
    for (int64_t j = 0; rc >= 0 && j < wide; j++)
        q.place[j] = -1;
    for (int64_t p = 0; rc >= 0 && p < s->entries; p++)
        q.negative |= q.at.val[p] < 0;
    for (q.label = 0; rc >= 0 && q.label < r->labels; q.label++)
        rc = visit_label(&q, &t);
    if (rc >= 0)
        rc = emit_results(&q);
    free(ref);
    free(t.row);
    free(t.on);
    free(t.f);
    free(t.scored);
    free(q.result);
    free(q.sums);
    free(q.place);
    return rc;
}

/* ---- state ----------------------------------------------------------------------------------- */

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    return sae_labelled_size(r, o->rows, o->entries);
}

static int begin(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    sae_labelled_begin(r, state, o->rows, o->entries);
    return SAE_OK;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r;
    sae_labelled_add(state, e);
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into, const void *from)
{
    (void)r;
    sae_labelled_merge(into, from);
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
    .batch = batch,
    .merge = merge,
    .end = end,
};
