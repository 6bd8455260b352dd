/* sae/concept_task.h - binary tasks made of a sample of labelled rows: a class against the rest.
 *
 * Which classes are tasks, the latents that tell a class best, and figures with their jackknife
 * over the documents of the test rows.
 */
#ifndef SAE_CONCEPT_TASK_H
#define SAE_CONCEPT_TASK_H

#include "labelled.h"
#include "logistic.h"

/* A sample as it is read in end(). */
typedef struct sae_concepts {
    const sae_measure *r;
    const sae_labelled *s;
    sae_labelled_rows at;
    sae_labelled_ref *ref; /* [s->count] in random order */
    double *sums;          /* [4 x max(n, d)] scratch */
    int64_t *place;        /* [max(n, d)] -1 */
} sae_concepts;

static inline void sae_concepts_close(sae_concepts *q)
{
    free(q->ref);
    free(q->sums);
    free(q->place);
}

static inline int sae_concepts_open(sae_concepts *q, const sae_measure *r, const sae_labelled *s)
{
    int64_t wide = r->m->dim.n > s->d ? r->m->dim.n : s->d;
    q->r = r;
    q->s = s;
    q->at = sae_labelled_at(s);
    q->ref = sae_labelled_sort(s);
    q->sums = (double *)malloc((size_t)(4 * wide) * sizeof(double));
    q->place = (int64_t *)malloc((size_t)wide * sizeof(int64_t));
    if (!q->ref || !q->sums || !q->place) {
        sae_concepts_close(q);
        return SAE_ENOMEM;
    }
    for (int64_t j = 0; j < wide; j++)
        q->place[j] = -1;
    return SAE_OK;
}

static inline int32_t sae_class_of(const sae_concepts *q, int64_t label, int64_t row)
{
    return q->at.label[row * q->s->labels + label];
}

/* ---- classes --------------------------------------------------------------------------------- */

/* Rows of a class in training and in test, and whether its test rows are of several groups of
 * documents, so that figures are defined without any one of them. */
typedef struct sae_census {
    int64_t train, test, group;
    int spread;
} sae_census;

static inline void sae_census_add(sae_census *c, const sae_labelled_ref *e)
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

static inline int sae_census_lacks(const sae_census *c, int64_t least)
{
    return c->train < least || c->test < least || !c->spread;
}

/* The `most` most frequent classes of a label that have, with their rest, `least` rows in training
 * and in test, in the order of their frequency; of two classes the last only, unless `both`.
 * chosen [classes]. Returns how many, or SAE_ENOMEM. */
static inline int64_t sae_choose_classes(const sae_concepts *q, int64_t label, int64_t least,
                                         int64_t most, int both, int64_t *chosen)
{
    int64_t classes = q->r->label[label].classes, count = 0;
    sae_census *c = (sae_census *)calloc((size_t)(2 * classes), sizeof(sae_census));
    if (!c)
        return SAE_ENOMEM;
    sae_census *rest = c + classes;
    for (int64_t i = 0; i < q->s->count; i++) {
        int32_t on = sae_class_of(q, label, q->ref[i].row);
        for (int32_t k = 0; on >= 0 && k < classes; k++)
            sae_census_add(k == on ? &c[k] : &rest[k], &q->ref[i]);
    }
    for (int64_t k = 0; k < classes; k++)
        if (sae_census_lacks(&c[k], least) || sae_census_lacks(&rest[k], least) ||
            (classes == 2 && k == 0 && !both))
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
    free(c);
    return count;
}

/* ---- features -------------------------------------------------------------------------------- */

/* What a probe reads: latents by value, latents as max(value, 0), dimensions of x. */
enum sae_read { SAE_READ_VALUES, SAE_READ_CLIPPED, SAE_READ_X };

/* Entry p of a row and its feature; p below sae_read_count. */
static inline int64_t sae_read_count(const sae_concepts *q, enum sae_read read, int64_t row)
{
    return read == SAE_READ_X ? q->s->d : q->at.first[row + 1] - q->at.first[row];
}
static inline double sae_read_entry(const sae_concepts *q, enum sae_read read, int64_t row,
                                    int64_t p, int64_t *feature)
{
    int64_t e = q->at.first[row] + p;
    if (read == SAE_READ_X) {
        *feature = p;
        return (double)q->at.x[row * q->s->d + p];
    }
    *feature = q->at.idx[e];
    double v = (double)q->at.val[e];
    return read == SAE_READ_CLIPPED && v < 0 ? 0.0 : v;
}

/* Features that may be picked: any; with the larger mean where on; with the mean where on further
 * from 0 than the other on its side of 0 (of codes that are not negative the same). */
enum sae_pick { SAE_PICK_ANY, SAE_PICK_RISING, SAE_PICK_POLE };

/* The k best features by |mean over rows that are on - mean over the others| / mean size where not
 * 0; ties: the lowest index. Returns how many there are, at most k. */
static inline int64_t sae_pick_features(const sae_concepts *q, enum sae_read read,
                                        const int64_t *row, const unsigned char *on, int64_t rows,
                                        int64_t k, enum sae_pick pick, int64_t *best)
{
    int64_t n = read == SAE_READ_X ? q->s->d : q->r->m->dim.n, found = 0;
    double count[2] = {0, 0}, score[SAE_LOGISTIC_K];
    double *sum[2] = {q->sums, q->sums + n}, *size = q->sums + 2 * n, *active = q->sums + 3 * n;
    memset(q->sums, 0, (size_t)(4 * n) * sizeof *q->sums);
    for (int64_t i = 0; i < rows; i++) {
        count[on[i]] += 1;
        for (int64_t p = 0, j; p < sae_read_count(q, read, row[i]); p++) {
            double v = sae_read_entry(q, read, row[i], p, &j);
            sum[on[i]][j] += v;
            size[j] += fabs(v);
            active[j] += v != 0;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        double gap = sum[1][j] / count[1] - sum[0][j] / count[0];
        double s = fabs(gap) / (size[j] / active[j]);
        int64_t p = found;
        if (active[j] == 0 || s == 0 || (pick == SAE_PICK_RISING && gap < 0) ||
            (pick == SAE_PICK_POLE && gap * sum[1][j] <= 0))
            continue;
        for (; p > 0 && !(s <= score[p - 1]); p--) /* what is not a number goes first and shows */
            if (p < k) {
                score[p] = score[p - 1];
                best[p] = best[p - 1];
            }
        if (p < k) {
            score[p] = s;
            best[p] = j;
            found += found < k;
        }
    }
    return found;
}

/* f [rows x ld], ld >= k: the features of all rows, divided by their standard deviation on the
 * first `train` rows. */
static inline void sae_load_features(const sae_concepts *q, enum sae_read read, const int64_t *row,
                                     int64_t rows, int64_t train, const int64_t *best, int64_t k,
                                     int64_t ld, double *f)
{
    memset(f, 0, (size_t)(rows * ld) * sizeof *f);
    for (int64_t i = 0; i < k; i++)
        q->place[best[i]] = i;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0, j; p < sae_read_count(q, read, row[i]); p++) {
            double v = sae_read_entry(q, read, row[i], p, &j);
            if (q->place[j] >= 0)
                f[i * ld + q->place[j]] = v;
        }
    for (int64_t i = 0; i < k; i++) {
        double mean = 0, square = 0;
        q->place[best[i]] = -1;
        for (int64_t p = 0; p < train; p++)
            mean += f[p * ld + i] / (double)train;
        for (int64_t p = 0; p < train; p++)
            square += (f[p * ld + i] - mean) * (f[p * ld + i] - mean) / (double)train;
        for (int64_t p = 0; p < rows; p++)
            f[p * ld + i] /= sqrt(square);
    }
}

/* ---- figures --------------------------------------------------------------------------------- */

typedef struct sae_figure {          /* a sum over tasks, or their mean */
    double all, without[SAE_GROUPS]; /* of all test rows; without those of a group of documents */
} sae_figure;

static inline double *sae_figure_at(sae_figure *f, int g)
{
    return g == SAE_ALL_GROUPS ? &f->all : &f->without[g];
}

/* Emit f / tasks with its jackknife; `group` marks the groups that hold test rows. */
static inline int sae_figure_emit(const sae_measure *r, const char *key, const sae_figure *f,
                                  double tasks, const unsigned char *group, int64_t count,
                                  enum sae_better better)
{
    double deviation[SAE_GROUPS];
    for (int g = 0; g < SAE_GROUPS; g++)
        deviation[g] = f->without[g] / tasks;
    sae_row row = {key, f->all / tasks, sae_jackknife(group, deviation), count, "1", better};
    int rc = r->emit(r->sink, &row);
    return rc < 0 || !r->deviations ? rc : r->deviations(r->sink, key, deviation);
}

/* Rows by group of documents, and in the last place of all. */
typedef struct sae_tally {
    double rows[SAE_GROUPS + 1], told[SAE_GROUPS + 1];
} sae_tally;

static inline void sae_tally_add(sae_tally *t, int group, double told)
{
    t->rows[group] += 1;
    t->rows[SAE_ALL_GROUPS] += 1;
    t->told[group] += told;
    t->told[SAE_ALL_GROUPS] += told;
}

/* Share told, or mean value, without the rows of group g; NaN without rows. */
static inline double sae_tally_share(const sae_tally *t, int g)
{
    double rows = t->rows[SAE_ALL_GROUPS], told = t->told[SAE_ALL_GROUPS];
    if (g != SAE_ALL_GROUPS) {
        rows -= t->rows[g];
        told -= t->told[g];
    }
    return rows > 0.0 ? told / rows : (double)NAN;
}

#endif
