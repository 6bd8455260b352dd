/* datasets/organism/document.h - documents by number, their labels and exact surprisal. */
#ifndef SAE_ORGANISM_DOCUMENT_H
#define SAE_ORGANISM_DOCUMENT_H

#include "organism/grammar.h"

enum { ORG_STREAM = SAE_STREAM_SYNTHETIC + 8 };

/* What the prefix says about the document's latents: independent, one distribution each. */
typedef struct org_belief {
    double p[ORG_LATENTS][ORG_TOPICS];
} org_belief;

void org_belief_start(org_belief *q);
/* Probability of a member of a branch given the prefix. */
double org_probability(const org_belief *q, const org_branch *b, int member);
/* Bayes' rule after that member came. */
void org_observe(org_belief *q, const org_branch *b, int member);

/* The first T tokens of document `number`, BOS included: a pure function of (language, seed,
 * number). label [T x ORG_LABELS] and nats [T] may be NULL; nats[0] is NaN: BOS is given. */
void org_document(const org_language *g, uint64_t seed, uint64_t number, int64_t T, int32_t *tok,
                  int32_t *label, double *nats);

#endif
