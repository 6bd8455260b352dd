/* datasets/organism/document.c - documents by number.
 *
 * Word t of a document is drawn with one Philox call at index t: two words decide the branch, two
 * the member.
 */
#include "organism/document.h"

#include <math.h>

static void draw_latents(uint64_t seed, uint64_t number, int latent[ORG_LATENTS])
{
    sae_u4 u = sae_philox(seed, ORG_STREAM, number, 0);
    for (int i = 0; i < ORG_LATENTS; i++) /* floor(u c / 2^32): off uniform by less than 2^-29 */
        latent[i] = (int)((uint64_t)u.v[i] * (uint64_t)org_classes[i] >> 32);
}

static const org_branch *draw_branch(const org_machine *m, const org_slot *s, double u)
{
    const org_branch *last = NULL;
    for (int i = 0; i < s->count; i++) {
        const org_branch *b = &s->b[i];
        double w = b->weight;
        if (b->gate)
            w *= b->gate->p[m->latent[b->gate->latent]][b->outcome];
        if (w <= 0.0)
            continue;
        last = b;
        if (u < w)
            break;
        u -= w;
    }
    return last;
}

/* Unskipped members have their probabilities divided by what is left. */
static int draw_unskipped(const org_branch *b, const double *p, double u)
{
    double left = 0.0;
    int last = 0;
    for (int i = 0; i < b->dist->n; i++)
        left += b->skip >> i & 1 ? 0.0 : p[i];
    u *= left;
    for (int i = 0; i < b->dist->n; i++) {
        if (b->skip >> i & 1 || p[i] <= 0.0)
            continue;
        last = i;
        if (u < p[i])
            break;
        u -= p[i];
    }
    return last;
}

static int draw_member(const org_machine *m, const org_branch *b, double u)
{
    if (!b->dist)
        return b->row;
    int row = b->dist->latent >= 0 ? m->latent[b->dist->latent] : b->row;
    if (b->skip)
        return draw_unskipped(b, b->dist->p[row], u);
    const double *cdf = b->dist->cdf[row];
    int lo = 0, hi = b->dist->n - 1;
    while (lo < hi) { /* the first member with cdf > u */
        int mid = (lo + hi) / 2;
        if (cdf[mid] > u)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

void org_document(const org_language *g, uint64_t seed, uint64_t number, int64_t T, int32_t *tok,
                  int32_t *label, double *nats)
{
    int latent[ORG_LATENTS];
    org_machine m;
    org_slot slot;
    org_belief belief;
    draw_latents(seed, number, latent);
    org_start(&m, g, latent);
    org_belief_start(&belief);
    tok[0] = g->lex.id[ORG_FUNC][0][ORG_BOS];
    if (label)
        org_labels(&m, label);
    if (nats)
        nats[0] = NAN;
    for (int64_t t = 1; t < T; t++) {
        sae_u4 u = sae_philox(seed, ORG_STREAM, number, (uint32_t)t);
        org_offer(&m, &slot);
        const org_branch *b = draw_branch(&m, &slot, sae_u01_wide(u.v[0], u.v[1]));
        int member = draw_member(&m, b, sae_u01_wide(u.v[2], u.v[3]));
        tok[t] = org_token(g, b, member);
        if (nats) {
            nats[t] = -log(org_probability(&belief, b, member));
            org_observe(&belief, b, member);
        }
        org_take(&m, b, member);
        if (label)
            org_labels(&m, label + t * ORG_LABELS);
    }
}
