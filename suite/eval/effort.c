/* suite/eval/effort.c - what an evaluation has done and what is left of it. */
#include "eval/effort.h"

#include <string.h>

static double sum(const double *of_kind)
{
    double all = 0;
    for (int k = 0; k < SAE_EFFORT_KINDS; k++)
        all += of_kind[k];
    return all;
}

void sae_effort_open(sae_effort *w, const char *label)
{
    memset(w, 0, sizeof *w);
    sae_progress_open(&w->line, label, "row passes", 0);
    sae_progress_at(&w->line, 0); /* the first batch counts in the rate */
    w->clock = sae_clock();
}

/* Seconds per row; of a kind that there was none of yet, those of the mean row. */
static double pace(const sae_effort *w, int kind)
{
    if (w->done[kind] > 0)
        return w->seconds[kind] / w->done[kind];
    return sum(w->done) > 0 ? sum(w->seconds) / sum(w->done) : 0;
}

/* Nothing tells what the first end of an SAE's metrics takes: all of them together are taken for as
 * long as everything before. */
double sae_effort_seconds_left(const sae_effort *w)
{
    double passes = 0, ends = w->left[SAE_EFFORT_END];
    for (int k = 0; k < SAE_EFFORT_KINDS; k++)
        passes += k == SAE_EFFORT_END ? 0 : w->left[k] * pace(w, k);
    if (ends > 0 && w->done[SAE_EFFORT_END] > 0)
        return passes + ends * pace(w, SAE_EFFORT_END);
    return ends > 0 ? passes + passes + sum(w->seconds) : passes;
}

void sae_effort_did(sae_effort *w, enum sae_effort_kind kind, double rows)
{
    double now = sae_clock();
    w->seconds[kind] += now - w->clock;
    w->clock = now;
    w->done[kind] += rows;
    w->left[kind] = w->left[kind] > rows ? w->left[kind] - rows : 0;
    w->line.total = sum(w->done) + sum(w->left);
    w->line.left = sae_effort_seconds_left(w);
    sae_progress_at(&w->line, sum(w->done));
}

void sae_effort_close(sae_effort *w)
{
    sae_progress_close(&w->line);
}
