/* datasets/organism/grammar.c - what may come next; README.md writes the same as rules.
 *
 * Weights of the branches of a place are relative: they are divided by their sum at the end. The
 * branches of one gate share a weight, which counts once.
 */
#include "organism/grammar.h"

#include "organism/places.h"

#include <string.h>

/* ---- branches -------------------------------------------------------------------------------- */

static org_branch *add(org_slot *s, double weight, int list, int form, int next)
{
    org_branch *b = &s->b[s->count++];
    *b = (org_branch){.weight = weight, .list = (int16_t)list, .form = (int16_t)form,
                      .next = (int16_t)next};
    return b;
}

/* One function word. */
static org_branch *word(org_slot *s, double weight, int func, int next)
{
    org_branch *b = add(s, weight, ORG_FUNC, 0, next);
    b->row = (int16_t)func;
    return b;
}

/* One member of a list. */
static org_branch *member(org_slot *s, double weight, int list, int form, int which, int next)
{
    org_branch *b = add(s, weight, list, form, next);
    b->row = (int16_t)which;
    return b;
}

/* Any member, by a table; `row` matters if the table's rows are visible. */
static org_branch *table(const org_machine *m, org_slot *s, double weight, int list, int form,
                         int which, int row, int next)
{
    org_branch *b = add(s, weight, list, form, next);
    b->dist = &m->g->dist[which];
    b->row = (int16_t)row;
    return b;
}

static void effect(org_branch *b, int kind, int value)
{
    b->effect = (int16_t)kind;
    b->value = (int16_t)value;
}

static void gate(const org_machine *m, org_branch *b, int which, int outcome)
{
    b->gate = &m->g->dist[which];
    b->outcome = (int16_t)outcome;
}

static void normalise(org_slot *s)
{
    double total = 0.0;
    for (int i = 0; i < s->count; i++)
        if (!s->b[i].gate || s->b[i].outcome == 0)
            total += s->b[i].weight;
    for (int i = 0; i < s->count; i++)
        s->b[i].weight /= total;
}

/* ---- articles and noun phrases --------------------------------------------------------------- */

/* "a" or "an" before a noun that the topic chooses; the noun's places follow in this order. */
static void indefinite(const org_machine *m, org_slot *s, double weight, int next_a, int kind,
                       int value)
{
    for (int an = 0; an < 2; an++) {
        org_branch *b = word(s, weight, an ? ORG_AN : ORG_A, next_a + an);
        gate(m, b, ORG_T_ARTICLE, an);
        effect(b, kind, value);
    }
}

static void nouns(const org_machine *m, org_slot *s, double weight, int which, int form, int next)
{
    effect(table(m, s, weight, ORG_NOUN, form, which, 0, next), ORG_E_NOUN, form);
}

/* After "the" or a possessive. */
static void noun_phrase(const org_machine *m, org_slot *s, double weight)
{
    int next = m->role == ORG_OBJECT ? AT_END : AT_TAIL;
    table(m, s, 0.08 * weight, ORG_PLAIN, 0, ORG_T_UNIFORM, ORG_U_PLAIN, AT_NOUN);
    table(m, s, 0.34 * weight, ORG_MOOD, 0, ORG_T_MOOD, 0, AT_NOUN);
    nouns(m, s, 0.38 * weight, ORG_T_NOUN, ORG_SINGULAR, next);
    nouns(m, s, 0.20 * weight, ORG_T_NOUN, ORG_PLURAL, next);
}

static void noun_alone(const org_machine *m, org_slot *s)
{
    int next = m->role == ORG_OBJECT ? AT_END : AT_TAIL;
    nouns(m, s, 0.65, ORG_T_NOUN, ORG_SINGULAR, next);
    nouns(m, s, 0.35, ORG_T_NOUN, ORG_PLURAL, next);
}

/* "the doctor" is the one of that profession who came last. */
static void the_subject(const org_machine *m, org_slot *s)
{
    for (int i = 0; i < m->persons; i++) {
        int same = 0, last = i;
        for (int j = 0; j < m->persons; j++)
            if (m->cast[j].profession == m->cast[i].profession) {
                same++;
                last = j;
            }
        if (last == i)
            effect(member(s, 0.4 * same / m->persons, ORG_PROFESSION, 0, m->cast[i].profession,
                          AT_PERSON), ORG_E_PERSON, i);
    }
    noun_phrase(m, s, 1.0);
}

static void object(const org_machine *m, org_slot *s)
{
    const org_person *p = &m->cast[m->subject == ORG_CAST ? 0 : m->subject];
    int his = m->subject == ORG_CAST ? ORG_THEIR : p->gender ? ORG_HER : ORG_HIS;
    word(s, 0.40, ORG_THE, AT_PHRASE);
    word(s, 0.20, his, AT_PHRASE);
    indefinite(m, s, 0.25, AT_NOUN_A, ORG_E_NONE, 0);
    for (int i = 2; i <= 5; i++)
        member(s, 0.15 / 4, ORG_NUMBER, 0, i, AT_NOUNS);
}

/* ---- subjects and verbs ---------------------------------------------------------------------- */

static void subjects(const org_machine *m, org_slot *s)
{
    for (int i = 0; i < m->persons; i++)
        effect(member(s, 0.16 / m->persons, ORG_NAME, 0, m->cast[i].name, AT_PERSON), ORG_E_PERSON,
               i);
    if (m->focus == ORG_CAST)
        effect(word(s, 0.14, ORG_THEY, AT_VERB), ORG_E_PERSON, ORG_CAST);
    else if (m->focus >= 0)
        effect(word(s, 0.14, m->cast[m->focus].gender ? ORG_SHE : ORG_HE, AT_VERB), ORG_E_PERSON,
               m->focus);
    effect(word(s, 0.30, ORG_THE, AT_THE), ORG_E_SUBJECT, 0);
    if (m->thing >= 0)
        effect(word(s, 0.10, m->things ? ORG_THOSE : ORG_THAT, AT_THAT), ORG_E_SUBJECT, 0);
}

static const struct verb {
    double person, pair, thing; /* weight by subject */
    int list, which, next;
} verbs[] = {
    {0.18, 0.20, 0.00, ORG_ACT, ORG_T_ACT, AT_END},
    {0.32, 0.35, 0.00, ORG_DEAL, ORG_T_DEAL, AT_OBJECT},
    {0.28, 0.30, 0.00, ORG_FEEL, ORG_T_FEEL, AT_OBJECT},
    {0.06, 0.00, 0.00, ORG_LIVE, -1, AT_LIVE},
    {0.00, 0.00, 0.55, ORG_MOVE, ORG_T_MOVE, AT_END},
    {0.16, 0.15, 0.45, ORG_FUNC, -1, AT_QUALITY}, /* to be */
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

/* Verbs in a form; for "to be" the form is a word. tense < 0: "will" was said. */
static void verb_form(const org_machine *m, org_slot *s, double weight, int form, int be, int tense)
{
    for (int i = 0; i < VERBS; i++) {
        const struct verb *v = &verbs[i];
        double w = m->subject < 0 ? v->thing : m->subject == ORG_CAST ? v->pair : v->person;
        if (w == 0.0)
            continue;
        org_branch *b = v->which >= 0
                            ? table(m, s, weight * w, v->list, form, v->which,
                                    v->list == ORG_MOVE ? org_super_of(org_kind_of(m->thing)) : 0,
                                    v->next)
                        : v->list == ORG_FUNC ? word(s, weight * w, be, v->next)
                                              : member(s, weight * w, v->list, form, 0, v->next);
        effect(b, ORG_E_VERB, 0);
        if (tense >= 0)
            gate(m, b, ORG_T_TENSE, tense);
    }
}

static void finite_verb(const org_machine *m, org_slot *s, double weight)
{
    verb_form(m, s, weight, ORG_PAST_FORM, m->number ? ORG_WERE : ORG_WAS, 0);
    verb_form(m, s, weight, m->number ? ORG_BASE : ORG_S_FORM, m->number ? ORG_ARE : ORG_IS, 1);
    org_branch *b = word(s, weight, ORG_WILL, AT_INFINITIVE);
    effect(b, ORG_E_VERB, 0);
    gate(m, b, ORG_T_TENSE, 2);
}

/* After a name: perhaps a second one. */
static void person_tail(const org_machine *m, org_slot *s)
{
    int pair = m->persons > 1 && m->list == ORG_NAME;
    if (pair)
        word(s, 0.15, ORG_AND, AT_PARTNER);
    finite_verb(m, s, pair ? 0.85 : 1.0);
}

static void partner(const org_machine *m, org_slot *s)
{
    for (int i = 0; i < m->persons; i++)
        if (i != m->subject)
            effect(member(s, 1.0, ORG_NAME, 0, m->cast[i].name, AT_VERB), ORG_E_PERSON, ORG_CAST);
    normalise(s);
}

/* After a thing: up to two prepositional phrases between it and its verb. */
static void thing_tail(const org_machine *m, org_slot *s)
{
    static const double more[] = {0.35, 0.2, 0.0};
    double w = more[m->depth];
    if (w > 0.0)
        effect(table(m, s, w, ORG_PLACE, 0, ORG_T_UNIFORM, ORG_U_PLACE, AT_PLACE), ORG_E_DEEPER,
               0);
    finite_verb(m, s, 1.0 - w);
}

static void quality(const org_machine *m, org_slot *s)
{
    table(m, s, 0.7, ORG_MOOD, 0, ORG_T_MOOD, 0, AT_END);
    table(m, s, 0.3, ORG_PLAIN, 0, ORG_T_UNIFORM, ORG_U_PLAIN, AT_END);
}

static void end(const org_machine *m, org_slot *s)
{
    word(s, 0.42, ORG_STOP, AT_START);
    table(m, s, 0.15, ORG_TIME, 0, ORG_T_TIME, 0, AT_STOP);
    table(m, s, 0.35, ORG_MANNER, 0, ORG_T_MANNER, 0, AT_STOP);
    word(s, 0.08, ORG_IN, AT_CITY);
}

/* ---- introductions, facts -------------------------------------------------------------------- */

static void newcomers(const org_machine *m, org_slot *s)
{
    uint32_t known = 0;
    for (int i = 0; i < m->persons; i++)
        known |= UINT32_C(1) << m->cast[i].name;
    for (int gender = 0; gender < 2; gender++) {
        org_branch *b = table(m, s, m->persons ? 0.05 : 0.25, ORG_NAME, 0, ORG_T_NAME, gender,
                              AT_INTRO);
        b->skip = known;
        effect(b, ORG_E_NEWCOMER, gender);
    }
}

static void introduction(const org_machine *m, org_slot *s)
{
    const org_person *p = &m->cast[m->subject];
    double an = m->g->nation_an;
    switch (m->at) {
    case AT_INTRO:
        effect(word(s, 1.0, ORG_IS, AT_INTRO_ARTICLE), ORG_E_VERB, 0);
        break;
    case AT_INTRO_ARTICLE:
        word(s, 1.0 - an, ORG_A, AT_NATION_A);
        word(s, an, ORG_AN, AT_NATION_AN);
        break;
    case AT_NATION_A:
    case AT_NATION_AN:
        effect(table(m, s, 1.0, ORG_NATION, 0,
                     m->at == AT_NATION_A ? ORG_T_NATION_A : ORG_T_NATION_AN, 0, AT_PROFESSION),
               ORG_E_NATION, 0);
        break;
    case AT_PROFESSION:
        effect(table(m, s, 1.0, ORG_PROFESSION, 0, ORG_T_PROFESSION, p->gender, AT_ORIGIN),
               ORG_E_PROFESSION, 0);
        break;
    case AT_ORIGIN:
        word(s, 0.5, ORG_FROM, AT_HOME_CITY);
        word(s, 0.5, ORG_STOP, AT_START);
        break;
    default: /* AT_HOME_CITY */
        table(m, s, 1.0, ORG_CITY, 0, ORG_T_HOME_CITY, p->nation, AT_STOP);
    }
}

/* "a sparrow is a bird": 0.7 the kind, 0.3 the kind above; "every bird is an animal". */
static void taxonomy(const org_machine *m, org_slot *s)
{
    int kind = m->noun >= 0 ? org_kind_of(m->noun) : -1 - m->noun, above = org_super_of(kind);
    double w_kind = m->noun >= 0 ? 0.7 : 0.0, w_super = 1.0 - w_kind;
    int an_kind = org_vowel(&m->g->lex, ORG_KIND, kind);
    int an_super = org_vowel(&m->g->lex, ORG_SUPER, above);
    if (m->at == AT_ABOVE_ARTICLE) {
        double an = w_kind * an_kind + w_super * an_super;
        if (an < 1.0)
            word(s, 1.0 - an, ORG_A, AT_ABOVE);
        if (an > 0.0)
            word(s, an, ORG_AN, AT_ABOVE);
        return;
    }
    int an = m->member == ORG_AN;
    if (an == an_kind && w_kind > 0.0)
        member(s, w_kind, ORG_KIND, ORG_SINGULAR, kind, AT_STOP);
    if (an == an_super)
        member(s, w_super, ORG_SUPER, 0, above, AT_STOP);
    normalise(s);
}

static void region(const org_machine *m, org_slot *s)
{
    if (m->place >= 0)
        member(s, 1.0, ORG_COUNTRY, 0, m->place, AT_STOP);
    else
        member(s, 1.0, ORG_CONTINENT, 0, org_continent_of(-1 - m->place), AT_STOP);
}

/* ---- lists, letters, numbers ----------------------------------------------------------------- */

static void listing(const org_machine *m, org_slot *s)
{
    double more = m->a < 6 ? 0.65 : 0.0;
    if (more > 0.0)
        word(s, more, ORG_COMMA, AT_ITEM);
    word(s, 1.0 - more, ORG_STOP, AT_TOTAL);
}

static void spelled_word(const org_machine *m, org_slot *s)
{
    static const int lists[][2] = {{ORG_NOUN, ORG_U_NOUN}, {ORG_MOOD, ORG_U_MOOD},
                                   {ORG_PLAIN, ORG_U_PLAIN}, {ORG_NAME, ORG_U_NAME},
                                   {ORG_PROFESSION, ORG_U_PROFESSION},
                                   {ORG_COUNTRY, ORG_U_COUNTRY}};
    for (int i = 0; i < 6; i++)
        effect(table(m, s, (double)m->g->lex.count[lists[i][0]], lists[i][0], 0, ORG_T_UNIFORM,
                     lists[i][1], AT_LETTERS_COLON), ORG_E_SPELL, 0);
    normalise(s);
}

/* The next of the letters that are due, or the full stop. */
static void letters(const org_machine *m, org_slot *s)
{
    const org_lexicon *x = &m->g->lex;
    if (m->position == m->length) {
        word(s, 1.0, ORG_STOP, AT_START);
        return;
    }
    int due = m->segment == ORG_COPYING
                  ? m->copied[m->position]
                  : x->word[x->id[m->text[0]][0][m->text[1]]].text[m->position] - 'a';
    effect(member(s, 1.0, ORG_LETTER, 0, due, AT_LETTERS), ORG_E_LETTER, 0);
}

static void letters_to_copy(const org_machine *m, org_slot *s)
{
    double done = m->length < 3 ? 0.0 : m->length < ORG_COPIED ? 1.0 / 3.0 : 1.0;
    if (done > 0.0)
        word(s, done, ORG_COLON, AT_LETTERS);
    if (done < 1.0)
        effect(table(m, s, 1.0 - done, ORG_LETTER, 0, ORG_T_UNIFORM, ORG_U_LETTER, AT_COPY),
               ORG_E_COPY, 0);
}

static void counting(const org_machine *m, org_slot *s)
{
    if (m->at == AT_COUNT_A)
        effect(table(m, s, 1.0, ORG_NUMBER, 0, ORG_T_UNIFORM, ORG_U_NUMBER, AT_COUNT_TO), ORG_E_A,
               0);
    else if (m->at == AT_COUNT_B)
        effect(table(m, s, 1.0, ORG_NUMBER, 0, ORG_T_COUNT_TO, m->a, AT_COUNT_COLON),
               ORG_E_DIRECTION, 0);
    else if (m->position && m->list == ORG_NUMBER && m->member == m->b)
        word(s, 1.0, ORG_STOP, AT_START);
    else
        effect(member(s, 1.0, ORG_NUMBER, 0, m->a + m->sign * m->position, AT_COUNTED),
               ORG_E_LETTER, 0);
}

static void arithmetic(const org_machine *m, org_slot *s)
{
    if (m->at == AT_SIGN) {
        effect(word(s, 0.5, ORG_PLUS, AT_SECOND), ORG_E_SIGN, 1);
        effect(word(s, 0.5, ORG_MINUS, AT_SECOND), ORG_E_SIGN, -1);
    } else if (m->at == AT_SECOND) {
        effect(table(m, s, 1.0, ORG_NUMBER, 0, ORG_T_UNIFORM, ORG_U_DIGIT, AT_MOD), ORG_E_B, 0);
    } else if (m->at == AT_MODULUS) {
        effect(member(s, 0.5, ORG_NUMBER, 0, 5, AT_EQUALS), ORG_E_MODULUS, 5);
        effect(member(s, 0.5, ORG_NUMBER, 0, 10, AT_EQUALS), ORG_E_MODULUS, 10);
    } else {
        member(s, 1.0, ORG_NUMBER, 0, m->answer, AT_STOP);
    }
}

/* ---- the start of a sentence ----------------------------------------------------------------- */

static void start(const org_machine *m, org_slot *s)
{
    subjects(m, s);
    effect(table(m, s, 0.40, ORG_OPENER, 0, ORG_T_OPENER, 0, AT_OPENED), ORG_E_SEGMENT,
           ORG_NARRATIVE);
    if (m->persons < ORG_CAST)
        newcomers(m, s);
    indefinite(m, s, 0.05, AT_LEAF_A, ORG_E_SEGMENT, ORG_TAXONOMY);
    effect(word(s, 0.03, ORG_EVERY, AT_EVERY), ORG_E_SEGMENT, ORG_TAXONOMY);
    effect(table(m, s, 0.03, ORG_CITY, 0, ORG_T_CITY, 0, AT_PLACE_IS), ORG_E_CITY, 0);
    effect(table(m, s, 0.02, ORG_COUNTRY, 0, ORG_T_UNIFORM, ORG_U_COUNTRY, AT_PLACE_IS),
           ORG_E_COUNTRY, 0);
    effect(word(s, 0.05, ORG_ITEMS, AT_LIST_COLON), ORG_E_SEGMENT, ORG_LISTING);
    effect(word(s, 0.05, ORG_SPELL, AT_SPELLED), ORG_E_SPELLING, 0);
    effect(word(s, 0.04, ORG_INITIAL, AT_SPELLED), ORG_E_SPELLING, 1);
    effect(word(s, 0.04, ORG_COUNT, AT_COUNT_FROM), ORG_E_SEGMENT, ORG_COUNTING);
    effect(table(m, s, 0.06, ORG_NUMBER, 0, ORG_T_UNIFORM, ORG_U_DIGIT, AT_SIGN), ORG_E_SUM, 0);
    effect(word(s, 0.03, ORG_COPY, AT_COPY), ORG_E_SEGMENT, ORG_COPYING);
    normalise(s);
}

/* Places where one function word must come. */
static const struct {
    int func, next;
} fixed[AT_CLAUSES - AT_FIXED] = {
#define FIXED(at, func, next) [at - AT_FIXED] = {func, next}
    FIXED(AT_STOP, ORG_STOP, AT_START),
    FIXED(AT_OPENED, ORG_COMMA, AT_SUBJECT),
    FIXED(AT_PLACE, ORG_THE, AT_PHRASE),
    FIXED(AT_LIVE, ORG_IN, AT_HOME),
    FIXED(AT_ABOVE_IS, ORG_IS, AT_ABOVE_ARTICLE),
    FIXED(AT_PLACE_IS, ORG_IS, AT_PLACE_IN),
    FIXED(AT_PLACE_IN, ORG_IN, AT_REGION),
    FIXED(AT_LIST_COLON, ORG_COLON, AT_ITEM),
    FIXED(AT_LETTERS_COLON, ORG_COLON, AT_LETTERS),
    FIXED(AT_COUNT_FROM, ORG_FROM, AT_COUNT_A),
    FIXED(AT_COUNT_TO, ORG_TO, AT_COUNT_B),
    FIXED(AT_COUNT_COLON, ORG_COLON, AT_COUNTED),
    FIXED(AT_MOD, ORG_MOD, AT_MODULUS),
    FIXED(AT_EQUALS, ORG_IS, AT_ANSWER),
};

static void offer_noun(const org_machine *m, org_slot *s)
{
    switch (m->at) {
    case AT_PHRASE: noun_phrase(m, s, 1.0); break;
    case AT_NOUN: noun_alone(m, s); break;
    case AT_NOUN_A: nouns(m, s, 1.0, ORG_T_NOUN_A, ORG_SINGULAR, AT_END); break;
    case AT_NOUN_AN: nouns(m, s, 1.0, ORG_T_NOUN_AN, ORG_SINGULAR, AT_END); break;
    case AT_NOUNS: nouns(m, s, 1.0, ORG_T_NOUN, ORG_PLURAL, AT_END); break;
    case AT_LEAF_A: nouns(m, s, 1.0, ORG_T_NOUN_A, ORG_SINGULAR, AT_ABOVE_IS); break;
    case AT_LEAF_AN: nouns(m, s, 1.0, ORG_T_NOUN_AN, ORG_SINGULAR, AT_ABOVE_IS); break;
    case AT_ITEM: indefinite(m, s, 1.0, AT_ITEM_A, ORG_E_NONE, 0); break;
    case AT_ITEM_A: nouns(m, s, 1.0, ORG_T_NOUN_A, ORG_SINGULAR, AT_LISTED); break;
    case AT_ITEM_AN: nouns(m, s, 1.0, ORG_T_NOUN_AN, ORG_SINGULAR, AT_LISTED); break;
    default: /* AT_EVERY */
        effect(table(m, s, 1.0, ORG_KIND, ORG_SINGULAR, ORG_T_UNIFORM, ORG_U_KIND, AT_ABOVE_IS),
               ORG_E_EVERY, 0);
    }
}

static void offer_clause(const org_machine *m, org_slot *s)
{
    switch (m->at) {
    case AT_SUBJECT: subjects(m, s); normalise(s); break;
    case AT_THE: the_subject(m, s); normalise(s); break;
    case AT_THAT:
        effect(member(s, 1.0, ORG_KIND, m->things, org_kind_of(m->thing), AT_TAIL), ORG_E_THAT, 0);
        break;
    case AT_PERSON: person_tail(m, s); break;
    case AT_PARTNER: partner(m, s); break;
    case AT_TAIL: thing_tail(m, s); break;
    case AT_VERB: finite_verb(m, s, 1.0); break;
    case AT_INFINITIVE: verb_form(m, s, 1.0, ORG_BASE, ORG_BE, -1); break;
    case AT_QUALITY: quality(m, s); break;
    case AT_HOME:
        table(m, s, 1.0, ORG_COUNTRY, 0, ORG_T_HOME, m->cast[m->subject].nation, AT_END);
        break;
    case AT_OBJECT: object(m, s); break;
    case AT_END: end(m, s); break;
    default: /* AT_CITY */
        table(m, s, 1.0, ORG_CITY, 0, ORG_T_CITY, 0, AT_STOP);
    }
}

static void offer_task(const org_machine *m, org_slot *s)
{
    switch (m->at) {
    case AT_ABOVE_ARTICLE:
    case AT_ABOVE: taxonomy(m, s); break;
    case AT_REGION: region(m, s); break;
    case AT_LISTED: listing(m, s); break;
    case AT_TOTAL: member(s, 1.0, ORG_NUMBER, 0, m->a, AT_TOTAL_THINGS); break;
    case AT_TOTAL_THINGS: word(s, 1.0, m->a == 1 ? ORG_THING : ORG_THINGS, AT_STOP); break;
    case AT_SPELLED: spelled_word(m, s); break;
    case AT_LETTERS: letters(m, s); break;
    case AT_COPY: letters_to_copy(m, s); break;
    case AT_COUNT_A:
    case AT_COUNT_B:
    case AT_COUNTED: counting(m, s); break;
    default: arithmetic(m, s);
    }
}

void org_offer(const org_machine *m, org_slot *s)
{
    s->count = 0;
    if (m->at == AT_START) {
        start(m, s);
    } else if (m->at < AT_CLAUSES) {
        int i = m->at - AT_FIXED;
        word(s, 1.0, fixed[i].func, fixed[i].next);
    } else if (m->at < AT_NOUN_PHRASES) {
        offer_clause(m, s);
    } else if (m->at < AT_INTRODUCTIONS) {
        offer_noun(m, s);
    } else if (m->at < AT_TASKS) {
        introduction(m, s);
    } else {
        offer_task(m, s);
    }
}
