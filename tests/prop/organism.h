/* tests/prop/organism.h - a language and one document of it, for its tests. */
#ifndef SAE_TESTS_PROP_ORGANISM_H
#define SAE_TESTS_PROP_ORGANISM_H

#include "organism/document.h"
#include "support/support.h"

#include <stdlib.h>

enum { T = 128 };

static org_language *g;
static int32_t tok[T], label[T * ORG_LABELS];
static double nats[T];

static const org_options variety[] = {
    {0.5, 1.2, 0.95}, {0.0, 0.0, 0.5}, {1.0, 4.0, 1.0}, {0.9, 1.0, 0.75},
};

static inline void setup(void)
{
    g = malloc(sizeof *g);
    org_language_make(g, &variety[0]);
}

static inline void teardown(void)
{
    free(g);
}

static inline const org_word *word(int t)
{
    return &g->lex.word[tok[t]];
}

static inline int32_t at(int t, int which)
{
    return label[t * ORG_LABELS + which];
}

#endif
