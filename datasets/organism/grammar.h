/* datasets/organism/grammar.h - the grammar as a machine: what may come, what a word does.
 *
 * The machine's state is a function of the words so far (and of the document's latents, which only
 * labels and sampling read). At every position it offers branches; a word belongs to exactly one
 * member of one branch, so that a prefix has exactly one derivation.
 */
#ifndef SAE_ORGANISM_GRAMMAR_H
#define SAE_ORGANISM_GRAMMAR_H

#include "organism/language.h"

enum { ORG_CAST = 3, ORG_COPIED = 6, ORG_BRANCHES = 32 };

/* Words of a list: of a table by its probabilities, or one of them. The branch is taken with
 * probability weight * gate's p of `outcome`. */
typedef struct org_branch {
    double weight;
    const org_dist *gate; /* NULL: 1 */
    const org_dist *dist; /* NULL: the word `row` of the list */
    uint32_t skip;        /* members (of the first 32) that may not come */
    int16_t outcome, row, list, form, next, effect, value;
} org_branch;

typedef struct org_slot {
    int count;
    org_branch b[ORG_BRANCHES];
} org_slot;

typedef struct org_person {
    int name, gender, nation, profession;
} org_person;

typedef struct org_machine {
    const org_language *g;
    int latent[ORG_LATENTS]; /* the document's */
    int at;                  /* what comes next */
    int list, form, member;  /* the last word */
    org_person cast[ORG_CAST];
    int persons;
    int focus;               /* who a pronoun means: index in cast, ORG_CAST: "they", -1: nobody */
    int thing, things;       /* what "that bird" means, and its number; -1: nothing */
    /* of the sentence */
    int segment;             /* -1 until it shows */
    int subject;             /* index in cast, ORG_CAST: two people; -1: a thing or none yet */
    int number, agree;       /* of the subject; agree: the verb is still to come */
    int role, depth;         /* of the noun phrase under way; prepositions so far */
    int noun;                /* of taxonomy: noun, or -1 - kind */
    int place;               /* of a city or country: its country; -1 - continent's country */
    int a, b, sign, answer;  /* numbers of counting and arithmetic, of a list */
    int text[2];             /* list and member of the word that is spelled */
    int copied[ORG_COPIED], length, position; /* letters; of the whole, given so far */
} org_machine;

void org_start(org_machine *m, const org_language *g, const int latent[ORG_LATENTS]);
void org_offer(const org_machine *m, org_slot *s);
void org_take(org_machine *m, const org_branch *b, int member);
void org_labels(const org_machine *m, int32_t label[ORG_LABELS]);

/* Token id of a member of a branch. */
static inline int32_t org_token(const org_language *g, const org_branch *b, int member)
{
    return g->lex.id[b->list][b->form][member];
}

#endif
