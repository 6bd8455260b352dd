/* suite/models/sample.c - a token from logits. */
#include "models/sample.h"

#include "core/error.h"

#include <math.h>

int sae_lm_sampling_check(const sae_lm_sampling *s, sae_err *err)
{
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        SAE_FAIL(err, SAE_EINVAL, "temperature %g: expected a number from 0 on", s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        SAE_FAIL(err, SAE_EINVAL, "top-p %g: expected a number above 0, up to 1", s->top_p);
    return SAE_OK;
}

static int32_t largest(int64_t n, const sae_real *z)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = z[i] > z[best] ? i : best;
    return (int32_t)best;
}

/* ---- nucleus --------------------------------------------------------------------------------- */

static int before(sae_lm_choice a, sae_lm_choice b)
{
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

/* Let entry i of a heap, first at the top, sink to its place. */
static void sink(sae_lm_choice *heap, int64_t n, int64_t i)
{
    sae_lm_choice own = heap[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], own))
            break;
        heap[i] = heap[child];
    }
    heap[i] = own;
}

/* Move the fewest choices that have `share` of all weight to the end of the array, the first of
 * them last; returns how many, *mass their weight. A heap: most of the time they are few. */
static int64_t nucleus(sae_lm_choice *c, int64_t n, double share, double *mass)
{
    int64_t left = n;
    for (int64_t i = n / 2; i-- > 0;)
        sink(c, n, i);
    for (*mass = 0; left > 0 && *mass < share;) {
        sae_lm_choice top = c[0];
        c[0] = c[--left];
        sink(c, left, 0);
        c[left] = top;
        *mass += top.weight;
    }
    return n - left;
}

int32_t sae_lm_sample(const sae_lm_sampling *s, int64_t n, const sae_real *z, double u,
                      sae_lm_choice *room)
{
    int32_t top = largest(n, z);
    double mass = 0, sum = 0;
    if (s->temperature == 0)
        return top;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = n - 1 - i; /* the walk below starts at the end */
        room[at] =
            (sae_lm_choice){exp(((double)z[i] - (double)z[top]) / s->temperature), (int32_t)i};
        mass += room[at].weight;
    }
    /* the sum below is the one that gave the mass, and u mass rounds to less than the mass */
    int64_t kept = s->top_p < 1 ? nucleus(room, n, s->top_p * mass, &mass) : n, i = n;
    while (i > n - kept && sum <= u * mass)
        sum += room[--i].weight;
    return room[i].id;
}
