/* sae/perturb.h - linear probes of rows with some latents taken out.
 *
 * Decoders are linear, so that taking latents out of a row moves the score of probe w by
 * -scale sum z_i (w . atom i); the error of the SAE stays where it is. What tpp and scr share.
 */
#ifndef SAE_PERTURB_H
#define SAE_PERTURB_H

#include "concept_task.h"
#include "lda.h"

enum { SAE_BUDGETS = 7, SAE_BUDGET_MOST = 500, SAE_PERTURB_PROBES = 64 };
/* Latents taken out (SAEBench). Those of sae_budgets_shown have rows; all are in the series. */
static const int64_t sae_budgets[SAE_BUDGETS] = {2, 5, 10, 20, 50, 100, SAE_BUDGET_MOST};
static const int sae_budgets_shown[] = {0, 2, 3};
enum { SAE_BUDGETS_SHOWN = 3 };

/* Which latents, and what takes their place: effect of a raised mean only, as SAEBench computes it,
 * and 0; effect of any difference of means and 0; the same and a mean. */
enum { SAE_PERTURB_STOCK, SAE_PERTURB_ZERO, SAE_PERTURB_MEAN, SAE_PERTURB_MODES };

/* Options that both families have. */
typedef struct sae_perturb_options {
    int64_t rows, entries, train, test, min_rows;
    double ridge;
} sae_perturb_options;

#define SAE_PERTURB_OPTIONS(type, member)                                                          \
    {"rows", SAE_OPT_INT, 0, offsetof(type, member.rows), 8192, 16, 1 << 20, NULL, NULL, "rows",   \
     "uniform sample of labelled rows that probes are made of"},                                   \
    {"entries", SAE_OPT_INT, 0, offsetof(type, member.entries), 1 << 20, 1, 1 << 28, NULL, NULL,   \
     "entries", "room for their active latents; more make the sample smaller"},                    \
    {"train", SAE_OPT_INT, 0, offsetof(type, member.train), 4000, 8, 1 << 20, NULL, NULL, "rows",  \
     "most training rows of a probe (SAEBench)"},                                                  \
    {"test", SAE_OPT_INT, 0, offsetof(type, member.test), 4000, 8, 1 << 20, NULL, NULL, "rows",    \
     "most test rows"},                                                                            \
    {"min_rows", SAE_OPT_INT, 0, offsetof(type, member.min_rows), 16, 1, 1 << 20, NULL, NULL,      \
     "rows", "least rows of a class, or of a cell, in training and in test"},                      \
    {"ridge", SAE_OPT_REAL, 0, offsetof(type, member.ridge), 0.1, 0, 1e6, NULL, NULL, "1",         \
     "probes: added to every variance, as a share of it"}

typedef struct sae_ranked {
    double effect;
    int64_t latent;
} sae_ranked;

typedef struct sae_perturb {
    sae_concepts c;
    const sae_perturb_options *o;
    sae_cmat atoms; /* [n x d] backend memory */
    int64_t n;
    int64_t *train, *test; /* rows of the task */
    int64_t trained, tested;
    int32_t *class_; /* [trained] 0 .. classes - 1 */
    sae_real *x;     /* [trained x d] */
    sae_lda lda;
    double *atom_score; /* [n x probes] probe . atom */
    double *score;      /* [tested x probes] of test rows as they are */
    double *sum;        /* [(classes + 1) x n] of z over training rows by class; last: of all */
    double *gap;        /* [n] difference of means */
    double *fill;       /* [n] what takes the place of a value */
    sae_ranked *rank;   /* [n] */
    int64_t *place;     /* [n] place in the ranking; SAE_BUDGET_MOST: not taken out */
} sae_perturb;

/* ---- memory ---------------------------------------------------------------------------------- */

static inline void sae_perturb_close(sae_perturb *q)
{
    free(q->train);
    free(q->gap);
    free(q->rank);
    free(q->place);
    sae_concepts_close(&q->c);
}

/* SAE_DONE: the model has no atoms of the width of x; nothing to close then, nor on an error. */
static inline int sae_perturb_open(sae_perturb *q, const sae_measure *r, const sae_labelled *s,
                                   const sae_perturb_options *o)
{
    size_t n = (size_t)r->m->dim.n;
    memset(q, 0, sizeof *q);
    q->o = o;
    q->n = r->m->dim.n;
    q->atoms = sae_tensor_matrix(r->m, "W_dec");
    if (!q->atoms.p || q->atoms.cols != s->d)
        return SAE_DONE;
    int rc = sae_concepts_open(&q->c, r, s);
    if (rc < 0)
        return rc;
    q->train = (int64_t *)malloc((size_t)(o->train + o->test) * sizeof(int64_t));
    q->gap = (double *)malloc(2 * n * sizeof(double) + 1);
    q->rank = (sae_ranked *)malloc(n * sizeof(sae_ranked) + 1);
    q->place = (int64_t *)malloc(n * sizeof(int64_t) + 1);
    if (!q->train || !q->gap || !q->rank || !q->place) {
        sae_perturb_close(q);
        return SAE_ENOMEM;
    }
    q->test = q->train + o->train;
    q->fill = q->gap + n;
    for (size_t j = 0; j < n; j++)
        q->place[j] = SAE_BUDGET_MOST;
    return SAE_OK;
}

static inline void sae_perturb_clear(sae_perturb *q)
{
    free(q->class_);
    free(q->x);
    free(q->atom_score);
    free(q->score);
    free(q->sum);
    sae_lda_close(&q->lda);
    q->class_ = NULL;
    q->x = NULL;
    q->atom_score = q->score = q->sum = NULL;
}

/* Room for a task of so many probes over classes. */
static inline int sae_perturb_room(sae_perturb *q, int64_t probes, int64_t classes)
{
    size_t rows = (size_t)q->o->train, n = (size_t)q->n;
    q->class_ = (int32_t *)malloc(rows * sizeof *q->class_);
    q->x = (sae_real *)malloc(rows * (size_t)q->c.s->d * sizeof *q->x + 1);
    q->atom_score = (double *)malloc(n * (size_t)probes * sizeof *q->atom_score + 1);
    q->score = (double *)malloc((size_t)(q->o->test * probes) * sizeof *q->score);
    q->sum = (double *)malloc(n * (size_t)(classes + 1) * sizeof *q->sum + 1);
    q->trained = q->tested = 0;
    return q->class_ && q->x && q->atom_score && q->score && q->sum ? SAE_OK : SAE_ENOMEM;
}

static inline void sae_perturb_train(sae_perturb *q, int64_t row, int32_t class_)
{
    int64_t d = q->c.s->d;
    memcpy(q->x + q->trained * d, q->c.at.x + row * d, (size_t)d * sizeof *q->x);
    q->class_[q->trained] = class_;
    q->train[q->trained++] = row;
}

/* A probe for every class of the training rows, into q->lda. */
static inline int sae_perturb_fit(sae_perturb *q, int64_t classes)
{
    sae_lda_close(&q->lda);
    int rc = sae_lda_open(&q->lda, q->c.s->d, classes, q->o->ridge);
    return rc < 0 ? rc : sae_lda_fit(q->c.r, &q->lda, q->x, q->class_, q->trained);
}

/* Sums of z by class over the training rows. */
static inline void sae_perturb_sums(sae_perturb *q, int64_t classes)
{
    double *all = q->sum + classes * q->n;
    memset(q->sum, 0, (size_t)((classes + 1) * q->n) * sizeof *q->sum);
    for (int64_t i = 0; i < q->trained; i++)
        for (int64_t p = q->c.at.first[q->train[i]]; p < q->c.at.first[q->train[i] + 1]; p++) {
            q->sum[q->class_[i] * q->n + q->c.at.idx[p]] += (double)q->c.at.val[p];
            all[q->c.at.idx[p]] += (double)q->c.at.val[p];
        }
}

/* gap: mean of z in the class less that in the rest; fill: mean in the rest. */
static inline void sae_perturb_gaps(sae_perturb *q, int64_t class_, int64_t classes)
{
    const double *mine = q->sum + class_ * q->n, *all = q->sum + classes * q->n;
    double on = 0, off;
    for (int64_t i = 0; i < q->trained; i++)
        on += q->class_[i] == class_;
    off = (double)q->trained - on;
    for (int64_t j = 0; j < q->n; j++) {
        q->fill[j] = (all[j] - mine[j]) / off;
        q->gap[j] = mine[j] / on - q->fill[j];
    }
}

/* ---- taking latents out ---------------------------------------------------------------------- */

static inline int sae_ranked_order(const void *a, const void *b)
{
    const sae_ranked *p = (const sae_ranked *)a, *q = (const sae_ranked *)b;
    if (p->effect != q->effect)
        return p->effect > q->effect ? -1 : 1;
    return (p->latent > q->latent) - (p->latent < q->latent);
}

/* Latents by the effect of their gap on a probe, the largest first, and only above 0; `both`: by
 * the size of the effect. atom_score: of that probe, `stride` apart. */
static inline void sae_perturb_rank(sae_perturb *q, const double *atom_score, int64_t stride,
                                    int mode, int both)
{
    int64_t count = 0;
    for (int64_t j = 0; j < q->n; j++) {
        double gap = mode == SAE_PERTURB_STOCK && q->gap[j] < 0 ? 0 : q->gap[j];
        double effect = gap * atom_score[j * stride];
        effect = both ? fabs(effect) : effect;
        q->place[j] = SAE_BUDGET_MOST;
        if (effect > 0 && effect < (double)INFINITY) {
            q->rank[count].effect = effect;
            q->rank[count++].latent = j;
        }
    }
    qsort(q->rank, (size_t)count, sizeof *q->rank, sae_ranked_order);
    for (int64_t i = 0; i < count && i < SAE_BUDGET_MOST; i++)
        q->place[q->rank[i].latent] = i;
}

/* Scores of a test row when the first `budget` latents of the ranking become 0, or their fill:
 * `common` is what that changes in every row, per unit of the row's scale. */
static inline void sae_perturb_common(const sae_perturb *q, int mode, int64_t budget,
                                      int64_t probes, double *common)
{
    for (int64_t k = 0; k < probes; k++)
        common[k] = 0;
    for (int64_t j = 0; mode == SAE_PERTURB_MEAN && j < q->n; j++)
        for (int64_t k = 0; q->place[j] < budget && k < probes; k++)
            common[k] += q->fill[j] * q->atom_score[j * probes + k];
}
static inline void sae_perturb_score(const sae_perturb *q, int64_t i, int64_t budget,
                                     int64_t probes, const double *common, double *score)
{
    int64_t row = q->test[i];
    for (int64_t k = 0; k < probes; k++)
        score[k] = q->score[i * probes + k] + q->c.at.norm[row].scale * common[k];
    for (int64_t p = q->c.at.first[row]; p < q->c.at.first[row + 1]; p++) {
        int64_t j = q->c.at.idx[p];
        for (int64_t k = 0; q->place[j] < budget && k < probes; k++)
            score[k] -=
                q->c.at.norm[row].scale * (double)q->c.at.val[p] * q->atom_score[j * probes + k];
    }
}

/* atom_score of the probes with weights w [probes x d]. */
static inline int sae_perturb_atoms(sae_perturb *q, const double *w, int64_t probes)
{
    return sae_times_atoms(q->c.r, q->atoms, w, probes, q->atom_score);
}

static inline int sae_perturb_group(const sae_perturb *q, int64_t row)
{
    return (int)sae_group_of(q->c.at.doc[row]);
}

/* Mean over sides of the share told, without group g. */
static inline double sae_mean_share(const sae_tally *side, int sides, int g)
{
    double sum = 0;
    for (int i = 0; i < sides; i++)
        sum += sae_tally_share(&side[i], g);
    return sum / sides;
}

#endif
