/* suite/report/interval.c - 95 % confidence intervals of what the pages show. */
#include "report/interval.h"

#include "core/student.h"

#include <math.h>
#include <sae/groups.h>
#include <string.h>

/* Mean of the seeds' deviations, added with a sign; 0 when a seed has none. */
static int add_deviations(const sae_report_data *d, const sae_cell *c, double sign,
                          double sum[SAE_GROUPS])
{
    for (int64_t row = c->row; row >= 0; row = d->next[row]) {
        const char *at = sae_report_deviations(d, row);
        int known = 0;
        for (int64_t g = 0; at && g < SAE_GROUPS; g++) {
            float v;
            memcpy(&v, at + g * (int64_t)sizeof v, sizeof v);
            known |= !isnan(v);
            sum[g] += sign * (double)v / (double)c->seeds;
        }
        if (!known)
            return 0;
    }
    return 1;
}

/* Jackknife variance from deviations; *groups counts those with rows. */
static double jackknife(const double deviation[SAE_GROUPS], int64_t *groups)
{
    double sum = 0;
    *groups = 0;
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        if (!isnan(deviation[g])) {
            sum += deviation[g] * deviation[g];
            ++*groups;
        }
    return *groups > 1 ? (double)(*groups - 1) / (double)*groups * sum : (double)NAN;
}

/* Two variances with their degrees of freedom; NaN stands for one that is not known. */
static void combine(sae_bounds *b, double seeds, double seeds_df, double documents,
                    double documents_df)
{
    double v[2] = {isnan(seeds) ? 0 : seeds, isnan(documents) ? 0 : documents};
    b->error = b->half = b->df = (double)NAN;
    if (isnan(seeds) && isnan(documents))
        return;
    double sum = v[0] + v[1], parts = 0;
    parts += isnan(seeds) ? 0 : v[0] * v[0] / seeds_df;
    parts += isnan(documents) ? 0 : v[1] * v[1] / documents_df;
    b->error = sqrt(sum);
    b->df = parts > 0 ? sum * sum / parts : isnan(seeds) ? documents_df : seeds_df;
    b->half = b->error > 0 ? sae_student_quantile(0.975, b->df) * b->error : 0;
}

static double between_seeds(const sae_cell *c)
{
    double n = (double)c->seeds;
    return c->seeds > 1 ? c->square / (n - 1) / n : (double)NAN;
}

sae_bounds sae_bounds_of(const sae_report_data *d, const sae_cell *c)
{
    double sum[SAE_GROUPS] = {0};
    int64_t groups = SAE_GROUPS;
    sae_bounds b = {.value = c->mean, .seeds = c->seeds};
    double documents = add_deviations(d, c, 1, sum) ? jackknife(sum, &groups) : c->se2;
    combine(&b, between_seeds(c), (double)c->seeds - 1, documents, (double)groups - 1);
    return b;
}

void sae_bar_of(const sae_report_data *d, const sae_cell *c, double out[3])
{
    double half = c->seeds == 1 ? sae_bounds_of(d, c).half : 0;
    half = isfinite(half) ? half : 0;
    out[0] = c->mean;
    out[1] = c->seeds > 1 ? c->low : c->mean - half;
    out[2] = c->seeds > 1 ? c->high : c->mean + half;
}

const char *sae_bar_caption(const sae_report_data *d)
{
    return d->seeds > 1
               ? "Bars: the range over seeds, or the 95 % interval over documents where there is "
                 "one seed."
               : "Bars: 95 % intervals over documents.";
}

sae_bounds sae_bounds_of_difference(const sae_report_data *d, const sae_cell *a, const sae_cell *b)
{
    double sum[SAE_GROUPS] = {0};
    int64_t groups = SAE_GROUPS;
    int64_t seeds = a->seeds < b->seeds ? a->seeds : b->seeds;
    sae_bounds out = {.value = a->mean - b->mean, .seeds = seeds};
    out.paired = add_deviations(d, a, 1, sum) && add_deviations(d, b, -1, sum);
    double documents = out.paired ? jackknife(sum, &groups) : a->se2 + b->se2;
    /* Welch: the variances of two means add up; a single seed says nothing of its side. */
    double va = between_seeds(a), vb = between_seeds(b), training = va + vb;
    double parts = va * va / (double)(a->seeds - 1) + vb * vb / (double)(b->seeds - 1);
    double df = parts > 0 ? training * training / parts : (double)(seeds - 1);
    combine(&out, training, df, documents, (double)groups - 1);
    return out;
}

double sae_detectable(const sae_bounds *b)
{
    if (isnan(b->half) || !(b->error > 0))
        return (double)NAN;
    return b->half + sae_student_quantile(0.8, b->df) * b->error;
}
