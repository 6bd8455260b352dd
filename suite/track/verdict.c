/* suite/track/verdict.c - paired comparisons against a margin. */
#include "track/verdict.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const sae_verdict_name[] = {"equivalent", "improvement",  "inconclusive",
                                        "regression", "insufficient", "missing"};
const sae_look sae_looks[3] = {{10, 0.004}, {14, 0.003}, {20, 0.003}};

sae_compared sae_compare_pairs(const double *d, int pairs, double margin, double alpha)
{
    double theta = log1p(margin);
    sae_compared c = {SAE_VERDICT_INSUFFICIENT, {(double)NAN, -INFINITY, INFINITY}, 1};
    if (pairs == 0)
        return c;
    c.log = sae_hodges_lehmann(d, pairs, alpha);
    c.p = fmin(1, 2 * sae_signed_rank_p(d, pairs, theta));
    if (isinf(c.log.lo))
        return c;
    if (c.log.lo > theta)
        c.verdict = SAE_VERDICT_REGRESSION;
    else if (c.log.hi < -theta)
        c.verdict = SAE_VERDICT_IMPROVEMENT;
    else if (c.log.lo > -theta && c.log.hi < theta)
        c.verdict = SAE_VERDICT_EQUIVALENT;
    else
        c.verdict = SAE_VERDICT_INCONCLUSIVE;
    return c;
}

static int by_p(const void *a, const void *b)
{
    const sae_compared *const *x = a, *const *y = b;
    return ((*x)->p > (*y)->p) - ((*x)->p < (*y)->p);
}

int sae_holm(sae_compared *c, int64_t count, double alpha, sae_err *err)
{
    sae_compared **order;
    int holds = 1;
    SAE_TRY(sae_new(&order, count, sizeof *order, "track.holm", err));
    for (int64_t i = 0; i < count; i++)
        order[i] = &c[i];
    qsort(order, (size_t)count, sizeof *order, by_p);
    for (int64_t i = 0; i < count; i++) {
        holds &= order[i]->p <= alpha / (double)(count - i);
        if (!holds && order[i]->verdict == SAE_VERDICT_REGRESSION)
            order[i]->verdict = SAE_VERDICT_INCONCLUSIVE;
    }
    sae_free(order);
    return SAE_OK;
}

int sae_gate_worse(int a, int b)
{
    static const int order[] = {SAE_GATE_FAILED,  SAE_GATE_QUARANTINE, SAE_GATE_QUALITY,
                                SAE_GATE_SLOWER,  SAE_GATE_MISSING,    SAE_GATE_UNSURE,
                                SAE_GATE_OK};
    int i = 0;
    while (order[i] != a && order[i] != b)
        i++;
    return order[i];
}
