/* datasets/organism/lexicon.h - the words of the language: lists, forms, attributes. */
#ifndef SAE_ORGANISM_LEXICON_H
#define SAE_ORGANISM_LEXICON_H

#include <stdint.h>

enum { /* attributes */
    ORG_KINDS = 14,
    ORG_LEAVES = 10, /* nouns of a kind, most frequent first */
    ORG_NOUNS = ORG_KINDS * ORG_LEAVES,
    ORG_SUPERS = 4,
    ORG_NAMES = 16, /* of each gender */
    ORG_PROFESSIONS = 12, /* the first half is said more of women when spurious > 0 */
    ORG_COUNTRIES = 12,
    ORG_CITIES = 2 * ORG_COUNTRIES,
    ORG_CONTINENTS = 4,
    ORG_NUMBERS = 21, /* zero to twenty */
    ORG_LETTERS = 26
};

/* Lists of lexemes. Where a list has poles, its first half belongs to the lower class. */
enum org_list {
    ORG_FUNC,       /* function words, marks and keywords, enum org_func */
    ORG_NOUN,       /* singular, plural; member = kind * ORG_LEAVES + leaf */
    ORG_KIND,       /* singular, plural */
    ORG_SUPER,
    ORG_NAME,       /* 16 of men, 16 of women */
    ORG_PROFESSION,
    ORG_NATION,     /* french, ...: in the order of the countries */
    ORG_COUNTRY,    /* three of each continent */
    ORG_CITY,       /* two of each country */
    ORG_CONTINENT,
    ORG_MOOD,       /* adjectives: negative, positive */
    ORG_PLAIN,      /* adjectives of neither */
    ORG_ACT,        /* verbs of people, two of each topic: base, -s, past */
    ORG_MOVE,       /* verbs of things, four of each super-kind: base, -s, past */
    ORG_DEAL,       /* transitive verbs, informal and formal in the same order: base, -s, past */
    ORG_FEEL,       /* transitive verbs, negative and positive: base, -s, past */
    ORG_LIVE,       /* live: base, -s, past */
    ORG_OPENER,     /* informal, formal */
    ORG_MANNER,     /* adverbs: negative, positive */
    ORG_TIME,       /* three of the past, of the present, of the future */
    ORG_PLACE,      /* prepositions */
    ORG_NUMBER,
    ORG_LETTER,     /* in capitals: words are written in small letters */
    ORG_LISTS
};

enum org_func {
    ORG_BOS, ORG_UNK, ORG_STOP, ORG_COMMA, ORG_COLON, ORG_THE, ORG_A, ORG_AN, ORG_THAT, ORG_THOSE,
    ORG_EVERY, ORG_IS, ORG_ARE, ORG_WAS, ORG_WERE, ORG_BE, ORG_WILL, ORG_HE, ORG_SHE, ORG_THEY,
    ORG_HIS, ORG_HER, ORG_THEIR, ORG_AND, ORG_IN, ORG_FROM, ORG_TO, ORG_PLUS, ORG_MINUS, ORG_MOD,
    ORG_SPELL, ORG_INITIAL, ORG_COUNT, ORG_COPY, ORG_ITEMS, ORG_THING, ORG_THINGS, ORG_FUNCS
};

enum { /* forms */
    ORG_SINGULAR = 0, ORG_PLURAL = 1,
    ORG_BASE = 0, ORG_S_FORM = 1, ORG_PAST_FORM = 2,
    ORG_FORMS = 3
};

enum { ORG_VOCAB_MAX = 1024 };

typedef struct org_word {
    const char *text;
    int16_t list, form, member;
} org_word;

typedef struct org_lexicon {
    int32_t vocab;
    org_word word[ORG_VOCAB_MAX];               /* by token id */
    int16_t count[ORG_LISTS];                   /* members */
    int16_t id[ORG_LISTS][ORG_FORMS][ORG_NOUNS]; /* -1: no such form */
} org_lexicon;

/* Number the words: list by list, member by member, form by form. */
void org_lexicon_make(org_lexicon *x);
/* 1 if the word takes "an". */
int org_vowel(const org_lexicon *x, int list, int member);
/* The attribute of a noun or kind. */
static inline int org_kind_of(int noun)
{
    return noun / ORG_LEAVES;
}
int org_super_of(int kind);
static inline int org_country_of(int city)
{
    return city / 2;
}
static inline int org_continent_of(int country)
{
    return country / (ORG_COUNTRIES / ORG_CONTINENTS);
}

#endif
