/* datasets/organism/language.h - the distributions and the labels of the language.
 *
 * A document has a few hidden values (latents). A choice of the grammar depends on what has been
 * said and on at most one of them, so that belief about them stays a product of one distribution
 * per latent and the probability of a word given its prefix can be computed exactly (filter.h).
 */
#ifndef SAE_ORGANISM_LANGUAGE_H
#define SAE_ORGANISM_LANGUAGE_H

#include "organism/lexicon.h"

#include <sae/dataset.h>

enum org_latent { ORG_TOPIC, ORG_SENTIMENT, ORG_TENSE, ORG_REGISTER, ORG_LATENTS };
enum { ORG_TOPICS = 8, ORG_VISIBLE = -1 /* a row that the prefix decides */ };
extern const int org_classes[ORG_LATENTS]; /* values of each latent, equally likely */

typedef struct org_options {
    double spurious; /* correlation of gender and profession group, [0, 1] */
    double zipf;     /* exponent of nouns within their kind, and of cities */
    double purity;   /* probability that a choice agrees with its latent, (0, 1] */
} org_options;

/* A table of distributions over the members of a list, one row per value of the latent. */
typedef struct org_dist {
    int latent; /* enum org_latent, or ORG_VISIBLE: the grammar names the row */
    int n;
    double p[ORG_NUMBERS][ORG_NOUNS], cdf[ORG_NUMBERS][ORG_NOUNS];
} org_dist;

enum org_table { /* by row: members */
    ORG_T_TENSE,        /* tense: past, present, future */
    ORG_T_ARTICLE,      /* topic: "a", "an" before a noun */
    ORG_T_NOUN,         /* topic: nouns */
    ORG_T_NOUN_A,       /* the same, of those that take "a" */
    ORG_T_NOUN_AN,
    ORG_T_ACT,          /* topic: verbs of people */
    ORG_T_MOVE,         /* super-kind of the subject: verbs of things */
    ORG_T_DEAL,         /* register */
    ORG_T_FEEL,         /* sentiment */
    ORG_T_MOOD,         /* sentiment */
    ORG_T_MANNER,       /* sentiment */
    ORG_T_OPENER,       /* register */
    ORG_T_TIME,         /* tense */
    ORG_T_NAME,         /* gender */
    ORG_T_PROFESSION,   /* gender */
    ORG_T_NATION_A,     /* those that take "a" */
    ORG_T_NATION_AN,
    ORG_T_CITY,         /* Zipf over the cities */
    ORG_T_HOME_CITY,    /* country: its cities */
    ORG_T_HOME,         /* country: where a native lives */
    ORG_T_COUNT_TO,     /* number: where counting from it ends */
    ORG_T_UNIFORM,      /* row ORG_U_*: uniform over the first so many members */
    ORG_TABLES
};
enum { ORG_U_NOUN, ORG_U_KIND, ORG_U_LETTER, ORG_U_NUMBER, ORG_U_DIGIT, ORG_U_MOOD, ORG_U_PLAIN,
       ORG_U_PROFESSION, ORG_U_COUNTRY, ORG_U_NAME, ORG_U_PLACE };

/* The latent state of a token; -1 where a label does not apply. */
enum org_label {
    ORG_L_TOPIC, ORG_L_SENTIMENT, ORG_L_TENSE, ORG_L_REGISTER, /* of the document */
    ORG_L_SEGMENT,      /* what the sentence is about; once its first word tells */
    ORG_L_CLASS,        /* class of the word */
    ORG_L_GENDER,       /* of the person who is the subject */
    ORG_L_NATIONALITY,  /* of that person, once said */
    ORG_L_PROFESSION,
    ORG_L_NUMBER,       /* of the subject, from its noun to its verb */
    ORG_L_INITIAL,      /* first letter of the word */
    ORG_L_NEXT,         /* the letter that must come next (spelling, copying) */
    ORG_L_POSITION,        /* of a letter or number in its sequence, from 0 */
    ORG_L_KIND,         /* of a noun */
    ORG_L_SUPER,
    ORG_L_POLARITY,     /* sentiment of the word */
    ORG_L_FORMALITY,    /* register of the word */
    ORG_L_COUNTRY,      /* of a place or demonym */
    ORG_L_CONTINENT,
    ORG_L_VALUE,        /* of a number word */
    ORG_L_ANSWER,       /* of the arithmetic, once it is posed */
    ORG_L_ITEMS,        /* listed so far */
    ORG_L_DIRECTION,    /* of counting, once its end is named */
    ORG_LABELS
};
enum org_segment { ORG_NARRATIVE, ORG_INTRODUCTION, ORG_TAXONOMY, ORG_GEOGRAPHY, ORG_LISTING,
                   ORG_SPELLING, ORG_COUNTING, ORG_ARITHMETIC, ORG_COPYING, ORG_SEGMENTS };

typedef struct org_language {
    org_lexicon lex;
    org_dist dist[ORG_TABLES];
    double nation_an; /* share of demonyms that take "an" */
    sae_label label[ORG_LABELS];
    const char *names[512]; /* class names of the labels */
    int labels_width;       /* sum of their classes */
} org_language;

void org_language_make(org_language *g, const org_options *o);

#endif
