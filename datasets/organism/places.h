/* datasets/organism/places.h - the places of the grammar and what a word does there.
 *
 * For grammar.c and machine.c.
 */
#ifndef SAE_ORGANISM_PLACES_H
#define SAE_ORGANISM_PLACES_H

enum org_place {
    AT_START,
    AT_FIXED, /* one function word must come */
    AT_STOP = AT_FIXED, AT_OPENED, AT_PLACE, AT_LIVE, AT_ABOVE_IS, AT_PLACE_IS, AT_PLACE_IN,
    AT_LIST_COLON, AT_LETTERS_COLON, AT_COUNT_FROM, AT_COUNT_TO, AT_COUNT_COLON, AT_MOD, AT_EQUALS,
    AT_CLAUSES,
    AT_SUBJECT = AT_CLAUSES, AT_THE, AT_THAT, AT_PERSON, AT_PARTNER, AT_TAIL, AT_VERB,
    AT_INFINITIVE, AT_QUALITY, AT_HOME, AT_OBJECT, AT_END, AT_CITY,
    AT_NOUN_PHRASES, /* X_AN follows X_A */
    AT_PHRASE = AT_NOUN_PHRASES, AT_NOUN, AT_NOUN_A, AT_NOUN_AN, AT_NOUNS, AT_LEAF_A, AT_LEAF_AN,
    AT_ITEM, AT_ITEM_A, AT_ITEM_AN, AT_EVERY,
    AT_INTRODUCTIONS,
    AT_INTRO = AT_INTRODUCTIONS, AT_INTRO_ARTICLE, AT_NATION_A, AT_NATION_AN, AT_PROFESSION,
    AT_ORIGIN, AT_HOME_CITY,
    AT_TASKS,
    AT_ABOVE_ARTICLE = AT_TASKS, AT_ABOVE, AT_REGION, AT_LISTED, AT_TOTAL, AT_TOTAL_THINGS,
    AT_SPELLED, AT_LETTERS, AT_COPY, AT_COUNT_A, AT_COUNT_B, AT_COUNTED, AT_SIGN, AT_SECOND,
    AT_MODULUS, AT_ANSWER
};

enum org_effect {
    ORG_E_NONE,
    ORG_E_SEGMENT,    /* value: the segment that starts */
    ORG_E_SUBJECT,    /* a subject noun phrase starts */
    ORG_E_PERSON,     /* value: index in cast, ORG_CAST: two of them */
    ORG_E_NEWCOMER,   /* value: gender */
    ORG_E_NATION, ORG_E_PROFESSION, ORG_E_NOUN, ORG_E_THAT, ORG_E_DEEPER, ORG_E_VERB, ORG_E_EVERY,
    ORG_E_CITY, ORG_E_COUNTRY,
    ORG_E_SPELLING,   /* value: letters to give, 0: all */
    ORG_E_SPELL, ORG_E_LETTER, ORG_E_COPY,
    ORG_E_A, ORG_E_B, ORG_E_DIRECTION, ORG_E_SUM,
    ORG_E_SIGN, ORG_E_MODULUS /* value: the number */
};

enum org_role { ORG_OBJECT, ORG_HEAD, ORG_MODIFIER }; /* of the noun phrase under way */

#endif
