/* metrics/tpp.c - targeted probe perturbation: do the latents that speak for one class carry that
 * class and no other. */
#include <sae/fail.h>
#include <sae/perturb.h>
#include <stdio.h>

typedef struct options {
    sae_perturb_options p;
    int64_t classes;
} options;

static const sae_option option_table[] = {
    SAE_PERTURB_OPTIONS(options, p),
    {"classes", SAE_OPT_INT, 0, offsetof(options, classes), 5, 3, SAE_PERTURB_PROBES, NULL, NULL,
     "classes", "probes of a label, for its most frequent classes (SAEBench)"},
    {0}};

enum { TOTAL, INTENDED, UNINTENDED, PARTS };

typedef struct run {
    sae_perturb p;
    unsigned char group[SAE_GROUPS]; /* 1: holds test rows */
    int64_t tasks;
    sae_figure (*out)[SAE_BUDGETS][PARTS]; /* [SAE_PERTURB_MODES] sums over tasks */
    sae_figure base;                       /* accuracy of the probes */
} run;

/* Rows of the chosen classes in random order, as many of each; map: class to probe, or -1. */
static void take_rows(run *q, int64_t label, const int32_t *map, int64_t probes)
{
    int64_t left[2][SAE_PERTURB_PROBES];
    for (int64_t k = 0; k < probes; k++) {
        left[0][k] = q->p.o->train / probes;
        left[1][k] = q->p.o->test / probes;
    }
    for (int64_t i = 0; i < q->p.c.s->count; i++) {
        const sae_labelled_ref *e = &q->p.c.ref[i];
        int32_t c = sae_class_of(&q->p.c, label, e->row), k = c < 0 ? -1 : map[c];
        int test = e->part == SAE_PART_TEST;
        if (k < 0 || left[test][k] == 0)
            continue;
        left[test][k]--;
        if (!test)
            sae_perturb_train(&q->p, e->row, k);
        else
            q->p.test[q->p.tested++] = e->row;
    }
}

/* told [probes x 2]: of each probe the rest and its own class. */
static void count_told(const run *q, int64_t label, const int32_t *map, int64_t budget,
                       const double *common, sae_tally (*told)[2])
{
    int64_t probes = q->p.lda.classes;
    double score[SAE_PERTURB_PROBES];
    memset(told, 0, (size_t)probes * sizeof *told);
    for (int64_t i = 0; i < q->p.tested; i++) {
        int32_t mine = map[sae_class_of(&q->p.c, label, q->p.test[i])];
        sae_perturb_score(&q->p, i, budget, probes, common, score);
        for (int64_t k = 0; k < probes; k++)
            sae_tally_add(&told[k][k == mine], sae_perturb_group(&q->p, q->p.test[i]),
                          (score[k] > 0) == (k == mine));
    }
}

/* What probe c loses, and the others on average. */
static void add_effect(run *q, int64_t c, sae_tally (*before)[2], sae_tally (*after)[2],
                       sae_figure *out)
{
    int64_t probes = q->p.lda.classes;
    for (int g = 0; g <= SAE_ALL_GROUPS; g++) {
        double intended = 0, unintended = 0;
        for (int64_t k = 0; k < probes; k++) {
            double loss = sae_mean_share(before[k], 2, g) - sae_mean_share(after[k], 2, g);
            *(k == c ? &intended : &unintended) += loss;
        }
        unintended /= (double)(probes - 1);
        *sae_figure_at(&out[INTENDED], g) += intended;
        *sae_figure_at(&out[UNINTENDED], g) += unintended;
        *sae_figure_at(&out[TOTAL], g) += intended - unintended;
    }
}

static void perturb_class(run *q, int64_t label, const int32_t *map, int64_t c,
                          sae_tally (*before)[2])
{
    int64_t probes = q->p.lda.classes;
    sae_tally(*after)[2] = before + probes;
    double common[SAE_PERTURB_PROBES];
    sae_perturb_gaps(&q->p, c, probes);
    for (int mode = 0; mode < SAE_PERTURB_MODES; mode++) {
        sae_perturb_rank(&q->p, q->p.atom_score + c, probes, mode, 0);
        for (int b = 0; b < SAE_BUDGETS; b++) {
            sae_perturb_common(&q->p, mode, sae_budgets[b], probes, common);
            count_told(q, label, map, sae_budgets[b], common, after);
            add_effect(q, c, before, after, q->out[mode][b]);
        }
    }
    for (int g = 0; g <= SAE_ALL_GROUPS; g++)
        *sae_figure_at(&q->base, g) += sae_mean_share(before[c], 2, g);
    q->tasks++;
}

static int perturb_label(run *q, int64_t label, const int32_t *map, int64_t probes)
{
    double none[SAE_PERTURB_PROBES] = {0};
    SAE_TRY(sae_perturb_room(&q->p, probes, probes));
    take_rows(q, label, map, probes);
    SAE_TRY(sae_perturb_fit(&q->p, probes));
    SAE_TRY(sae_perturb_atoms(&q->p, q->p.lda.w, probes));
    sae_perturb_sums(&q->p, probes);
    for (int64_t i = 0; i < q->p.tested; i++) {
        q->group[sae_perturb_group(&q->p, q->p.test[i])] = 1;
        for (int64_t k = 0; k < probes; k++)
            q->p.score[i * probes + k] =
                sae_lda_score(&q->p.lda, k, q->p.c.at.x + q->p.test[i] * q->p.c.s->d);
    }
    sae_tally(*told)[2] = malloc((size_t)(2 * probes) * sizeof *told);
    if (!told)
        return SAE_ENOMEM;
    count_told(q, label, map, 0, none, told);
    for (int64_t c = 0; c < probes; c++)
        perturb_class(q, label, map, c, told);
    free(told);
    return SAE_OK;
}

static int visit_label(run *q, int64_t label)
{
    int64_t classes = q->p.c.r->label[label].classes;
    int64_t *chosen = malloc((size_t)classes * sizeof *chosen);
    int32_t *map = malloc((size_t)classes * sizeof *map);
    int64_t probes = chosen && map
                         ? sae_choose_classes(&q->p.c, label, q->p.o->min_rows,
                                              ((const options *)q->p.c.r->opt)->classes, 0, chosen)
                         : SAE_ENOMEM;
    int rc = probes < 0 ? (int)probes : SAE_OK;
    for (int64_t k = 0; rc >= 0 && k < classes; k++)
        map[k] = -1;
    for (int64_t k = 0; k < probes; k++)
        map[chosen[k]] = (int32_t)k;
    if (probes > 2)
        rc = perturb_label(q, label, map, probes);
    sae_perturb_clear(&q->p);
    free(chosen);
    free(map);
    return rc;
}

static int emit(const run *q, const char *key, const sae_figure *f)
{
    return sae_figure_emit(q->p.c.r, key, f, (double)q->tasks, q->group, q->tasks, SAE_INFO);
}

static int emit_results(const run *q)
{
    static const char *const part[PARTS] = {"", "_intended", "_unintended"};
    static const char *const suffix[SAE_PERTURB_MODES] = {"_stock", "", "_mean"};
    const sae_measure *r = q->p.c.r;
    double N = (double)q->tasks;
    SAE_TRY(sae_emit_value(r, "tasks", N, q->p.c.s->count, "tasks", SAE_INFO));
    if (q->tasks == 0)
        return SAE_OK;
    SAE_TRY(emit(q, "base_accuracy", &q->base));
    for (int mode = 0; mode < SAE_PERTURB_MODES; mode++)
        for (int p = 0; p < PARTS; p++) {
            char key[64];
            for (int i = 0; i < SAE_BUDGETS_SHOWN; i++) {
                int b = sae_budgets_shown[i];
                snprintf(key, sizeof key, "n%d%s%s", (int)sae_budgets[b], part[p], suffix[mode]);
                SAE_TRY(emit(q, key, &q->out[mode][b][p]));
            }
            snprintf(key, sizeof key, "n%s%s", part[p], suffix[mode]);
            for (int b = 0; b < SAE_BUDGETS; b++)
                SAE_TRY(sae_emit_point(r, key, sae_budgets[b], q->out[mode][b][p].all / N));
        }
    return SAE_OK;
}

/* ---- state ----------------------------------------------------------------------------------- */

static int end(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    run q = {.out = calloc(SAE_PERTURB_MODES, sizeof *q.out)};
    int rc = q.out ? sae_perturb_open(&q.p, r, state, &o->p) : SAE_ENOMEM;
    if (rc == SAE_OK) {
        for (int64_t l = 0; rc >= 0 && l < r->labels; l++)
            rc = visit_label(&q, l);
        if (rc >= 0)
            rc = emit_results(&q);
        sae_perturb_close(&q.p);
    }
    free(q.out);
    return rc < 0 ? rc : SAE_OK;
}

SAE_LABELLED_STATE(options, p.rows, p.entries, 0)

const sae_metric sae_metric_tpp = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "tpp",
    .summary = "targeted probe perturbation: what probes lose without the latents of one class",
    .source = "metrics/tpp.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_LABELS,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = sae_labelled_batch,
    .merge = sae_labelled_join,
    .end = end,
};
