/* datasets/organism/filter.c - the exact probability of a word given its prefix.
 *
 * A branch is gated by at most one latent and its members depend on at most one other, so that
 *   P(word | prefix) = weight * E[gate] * E[member],
 * expectations under the belief about each latent; by Bayes' rule the belief stays a product.
 */
#include "organism/document.h"

#include <string.h>

void org_belief_start(org_belief *q)
{
    memset(q, 0, sizeof *q);
    for (int i = 0; i < ORG_LATENTS; i++)
        for (int c = 0; c < org_classes[i]; c++)
            q->p[i][c] = 1.0 / org_classes[i];
}

static double mean(const org_belief *q, const org_dist *d, int column)
{
    double sum = 0.0;
    for (int c = 0; c < org_classes[d->latent]; c++)
        sum += q->p[d->latent][c] * d->p[c][column];
    return sum;
}

double org_probability(const org_belief *q, const org_branch *b, int member)
{
    double p = b->weight;
    if (b->gate)
        p *= mean(q, b->gate, b->outcome);
    if (b->dist && b->dist->latent >= 0)
        p *= mean(q, b->dist, member);
    else if (b->dist)
        p *= b->dist->p[b->row][member];
    if (b->skip) {
        double left = 0.0;
        for (int i = 0; i < b->dist->n; i++)
            left += b->skip >> i & 1 ? 0.0 : b->dist->p[b->row][i];
        p = b->skip >> member & 1 ? 0.0 : p / left;
    }
    return p;
}

static void learn(org_belief *q, const org_dist *d, int column)
{
    double total = mean(q, d, column);
    for (int c = 0; c < org_classes[d->latent]; c++)
        q->p[d->latent][c] *= d->p[c][column] / total;
}

void org_observe(org_belief *q, const org_branch *b, int member)
{
    if (b->gate)
        learn(q, b->gate, b->outcome);
    if (b->dist && b->dist->latent >= 0)
        learn(q, b->dist, member);
}
