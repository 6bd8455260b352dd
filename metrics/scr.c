/* metrics/scr.c - spurious correlation removal: does a classifier that learned to rely on a wrong
 * attribute get right again when the latents that speak for the attribute are taken out. */
#include <sae/fail.h>
#include <sae/perturb.h>
#include <stdio.h>

typedef struct options {
    sae_perturb_options p;
    const char *target, *spurious;
} options;

static const sae_option option_table[] = {
    SAE_PERTURB_OPTIONS(options, p),
    {"target", SAE_OPT_STR, 0, offsetof(options, target), 0, 0, 0, NULL, "gender", "label",
     "what the classifier is to tell"},
    {"spurious", SAE_OPT_STR, 0, offsetof(options, spurious), 0, 0, 0, NULL, "sentiment", "label",
     "what it has learned to rely on; its first and last class"},
    {0}};

enum { CELLS = 4, DIRECTIONS = 2 }; /* cell: 2 side + spurious */
enum { BIASED, SIDE, SPURIOUS, PROBES };

typedef struct run {
    sae_perturb p;
    int64_t target, spurious;        /* numbers of the labels */
    int32_t *side;                   /* [classes of target] 0 or 1 */
    int32_t last;                    /* class of the spurious label that is 1; class 0 is 0 */
    int64_t count[2][CELLS];         /* training rows, test rows */
    double *w, b[PROBES];            /* [PROBES x d] */
    unsigned char group[SAE_GROUPS]; /* 1: holds test rows */
    sae_tally base[DIRECTIONS][CELLS], oracle[DIRECTIONS][CELLS];
    sae_tally after[DIRECTIONS][SAE_PERTURB_MODES][SAE_BUDGETS][CELLS];
} run;

/* 0 or 1; -1: neither */
static int spurious_of(const run *q, int64_t row)
{
    int32_t c = sae_class_of(&q->p.c, q->spurious, row);
    return c == 0 ? 0 : c == q->last ? 1 : -1;
}

static int cell_of(const run *q, int64_t row)
{
    int32_t c = sae_class_of(&q->p.c, q->target, row);
    int spurious = spurious_of(q, row);
    return c < 0 || spurious < 0 ? -1 : 2 * q->side[c] + spurious;
}

/* Sides: the classes of the target that go with the spurious attribute more often than all rows do,
 * and the others; two classes are the sides. */
static int choose_sides(run *q)
{
    int64_t classes = q->p.c.r->label[q->target].classes;
    double *rows = calloc((size_t)(2 * classes), sizeof *rows), all[2] = {0, 0};
    q->side = calloc((size_t)classes, sizeof *q->side);
    if (!rows || !q->side) {
        free(rows);
        return SAE_ENOMEM;
    }
    for (int64_t i = 0; i < q->p.c.s->count; i++) {
        int32_t c = sae_class_of(&q->p.c, q->target, q->p.c.ref[i].row);
        int spurious = spurious_of(q, q->p.c.ref[i].row);
        if (q->p.c.ref[i].part == SAE_PART_TEST || c < 0 || spurious < 0)
            continue;
        rows[2 * c + spurious]++;
        all[spurious]++;
    }
    for (int64_t c = 0; c < classes; c++)
        q->side[c] = classes == 2 ? (int32_t)c : rows[2 * c + 1] * all[0] > rows[2 * c] * all[1];
    for (int64_t i = 0; i < q->p.c.s->count; i++) {
        int cell = cell_of(q, q->p.c.ref[i].row);
        if (cell >= 0)
            q->count[q->p.c.ref[i].part == SAE_PART_TEST][cell]++;
    }
    free(rows);
    return SAE_OK;
}

static int64_t least_of(const int64_t *v, int stride)
{
    int64_t least = v[0];
    for (int i = 0; i < CELLS; i += stride)
        least = v[i] < least ? v[i] : least;
    return least;
}

/* Training rows of the cells 0, stride, 2 stride ...: as many of each. */
static void take_cells(run *q, int stride, int shift)
{
    int64_t most = q->p.o->train / (stride == 1 ? CELLS : 2), least = least_of(q->count[0], stride);
    int64_t left[CELLS];
    q->p.trained = 0;
    for (int i = 0; i < CELLS; i++)
        left[i] = i % stride ? 0 : least < most ? least : most;
    for (int64_t i = 0; i < q->p.c.s->count; i++) {
        int64_t row = q->p.c.ref[i].row;
        int cell = cell_of(q, row);
        if (q->p.c.ref[i].part == SAE_PART_TEST || cell < 0 || left[cell] == 0)
            continue;
        left[cell]--;
        sae_perturb_train(&q->p, row, cell >> shift & 1);
    }
}

/* The classifier for which side and attribute are one, then one that tells each by itself. */
static int fit_three(run *q)
{
    int64_t d = q->p.c.s->d;
    for (int i = 0; i < PROBES; i++) {
        take_cells(q, i == BIASED ? 3 : 1, i == SPURIOUS ? 0 : 1);
        SAE_TRY(sae_perturb_fit(&q->p, 2));
        memcpy(q->w + i * d, q->p.lda.w + d, (size_t)d * sizeof *q->w);
        q->b[i] = q->p.lda.b[1];
    }
    return sae_perturb_atoms(&q->p, q->w, PROBES);
}

static void take_test_cells(run *q)
{
    int64_t left[CELLS], d = q->p.c.s->d;
    for (int i = 0; i < CELLS; i++)
        left[i] = q->p.o->test / CELLS;
    for (int64_t i = 0; i < q->p.c.s->count; i++) {
        int64_t row = q->p.c.ref[i].row;
        int cell = cell_of(q, row);
        if (q->p.c.ref[i].part != SAE_PART_TEST || cell < 0 || left[cell] == 0)
            continue;
        left[cell]--;
        q->group[sae_perturb_group(&q->p, row)] = 1;
        for (int k = 0; k < PROBES; k++) {
            double score = q->b[k];
            for (int64_t j = 0; j < d; j++)
                score += q->w[k * d + j] * (double)q->p.c.at.x[row * d + j];
            q->p.score[q->p.tested * PROBES + k] = score;
        }
        q->p.test[q->p.tested++] = row;
    }
}

/* Rows of each cell of which probe k tells the side (direction 0) or the attribute (1). */
static void count_cells(const run *q, int direction, int k, int64_t budget, const double *common,
                        sae_tally *told)
{
    double score[PROBES];
    for (int64_t i = 0; i < q->p.tested; i++) {
        int cell = cell_of(q, q->p.test[i]), on = direction ? cell & 1 : cell >> 1;
        sae_perturb_score(&q->p, i, budget, PROBES, common, score);
        sae_tally_add(&told[cell], sae_perturb_group(&q->p, q->p.test[i]), (score[k] > 0) == on);
    }
}

/* Direction 0 takes the attribute out of the biased classifier, direction 1 the side. */
static void remove_one(run *q, int direction)
{
    double common[PROBES] = {0};
    int removed = direction ? SIDE : SPURIOUS;
    count_cells(q, direction, BIASED, 0, common, q->base[direction]);
    count_cells(q, direction, direction ? SPURIOUS : SIDE, 0, common, q->oracle[direction]);
    for (int64_t i = 0; i < q->p.trained; i++)
        q->p.class_[i] = cell_of(q, q->p.train[i]) >> direction & 1;
    sae_perturb_sums(&q->p, 2);
    sae_perturb_gaps(&q->p, 1, 2);
    for (int64_t j = 0; j < q->p.n; j++)
        q->p.fill[j] += q->p.gap[j] / 2; /* between the two means */
    sae_perturb_rank(&q->p, q->p.atom_score + removed, PROBES, SAE_PERTURB_ZERO, 1);
    for (int mode = SAE_PERTURB_ZERO; mode <= SAE_PERTURB_MEAN; mode++)
        for (int b = 0; b < SAE_BUDGETS; b++) {
            sae_perturb_common(&q->p, mode, sae_budgets[b], PROBES, common);
            count_cells(q, direction, BIASED, sae_budgets[b], common, q->after[direction][mode][b]);
        }
}

static double recovered(const run *q, int direction, int mode, int b, int g)
{
    double base = sae_mean_share(q->base[direction], CELLS, g);
    double room = sae_mean_share(q->oracle[direction], CELLS, g) - base;
    return room < 0.001 ? 0
                        : (sae_mean_share(q->after[direction][mode][b], CELLS, g) - base) / room;
}

static int emit(const run *q, const char *key, const sae_figure *f)
{
    return sae_figure_emit(q->p.c.r, key, f, 1, q->group, q->p.tested, SAE_INFO);
}

static int emit_budget(const run *q, int mode, int b, int rows)
{
    static const char *const suffix[SAE_PERTURB_MODES] = {NULL, "", "_mean"};
    int worse = sae_mean_share(q->base[1], CELLS, SAE_ALL_GROUPS) <
                sae_mean_share(q->base[0], CELLS, SAE_ALL_GROUPS);
    for (int i = -1; i < DIRECTIONS; i++) {
        char key[64], part[8] = "";
        sae_figure f;
        for (int g = 0; g <= SAE_ALL_GROUPS; g++)
            *sae_figure_at(&f, g) = recovered(q, i < 0 ? worse : i, mode, b, g);
        if (i >= 0)
            snprintf(part, sizeof part, "_dir%d", i + 1);
        snprintf(key, sizeof key, "n%s%s", part, suffix[mode]);
        SAE_TRY(sae_emit_point(q->p.c.r, key, sae_budgets[b], f.all));
        snprintf(key, sizeof key, "n%d%s%s", (int)sae_budgets[b], part, suffix[mode]);
        if (rows)
            SAE_TRY(emit(q, key, &f));
    }
    return SAE_OK;
}

static int emit_results(const run *q)
{
    for (int i = 0; i < 2 * DIRECTIONS; i++) {
        char key[64];
        sae_figure f;
        for (int g = 0; g <= SAE_ALL_GROUPS; g++)
            *sae_figure_at(&f, g) =
                sae_mean_share(i & 1 ? q->oracle[i / 2] : q->base[i / 2], CELLS, g);
        snprintf(key, sizeof key, "%s_accuracy_dir%d", i & 1 ? "oracle" : "base", i / 2 + 1);
        SAE_TRY(emit(q, key, &f));
    }
    for (int mode = SAE_PERTURB_ZERO; mode <= SAE_PERTURB_MEAN; mode++)
        for (int b = 0, i = 0; b < SAE_BUDGETS; b++) {
            int rows = i < SAE_BUDGETS_SHOWN && sae_budgets_shown[i] == b;
            SAE_TRY(emit_budget(q, mode, b, rows));
            i += rows;
        }
    return SAE_OK;
}

/* Nothing more when a cell lacks rows. */
static int run_all(run *q)
{
    if (least_of(q->count[0], 1) < q->p.o->min_rows || least_of(q->count[1], 1) < q->p.o->min_rows)
        return SAE_OK;
    q->w = malloc((size_t)(PROBES * q->p.c.s->d) * sizeof *q->w + 1);
    if (!q->w)
        return SAE_ENOMEM;
    SAE_TRY(sae_perturb_room(&q->p, PROBES, 2));
    SAE_TRY(fit_three(q));
    take_test_cells(q);
    for (int i = 0; i < DIRECTIONS; i++)
        remove_one(q, i);
    return emit_results(q);
}

/* The run on an opened sample; *tested: its test rows. */
static int run_opened(run *q, int64_t *tested)
{
    const sae_measure *r = q->p.c.r;
    const options *o = r->opt;
    q->target = sae_label_named(r, o->target);
    q->spurious = sae_label_named(r, o->spurious);
    *tested = 0;
    if (q->target < 0 || q->spurious < 0 || q->target == q->spurious ||
        r->label[q->spurious].classes < 2)
        return SAE_OK;
    q->last = (int32_t)r->label[q->spurious].classes - 1;
    SAE_TRY(choose_sides(q));
    SAE_TRY(run_all(q));
    *tested = q->p.tested;
    return SAE_OK;
}

static int end(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    int64_t tested = 0;
    run *q = calloc(1, sizeof *q);
    int rc = q ? sae_perturb_open(&q->p, r, state, &o->p) : SAE_ENOMEM;
    if (rc == SAE_OK) {
        rc = run_opened(q, &tested);
        sae_perturb_clear(&q->p);
        sae_perturb_close(&q->p);
        free(q->side);
        free(q->w);
    }
    free(q);
    return rc < 0 ? rc : sae_emit_value(r, "rows", (double)tested, tested, "rows", SAE_INFO);
}

SAE_LABELLED_STATE(options, p.rows, p.entries, 0)

const sae_metric sae_metric_scr = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "scr",
    .summary = "spurious correlation removal: a biased classifier without latents of the bias",
    .source = "metrics/scr.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = sae_labelled_batch,
    .merge = sae_labelled_join,
    .end = end,
};
