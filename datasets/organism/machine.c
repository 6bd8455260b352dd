/* datasets/organism/machine.c - what a word changes, and the latent state as labels. */
#include "organism/grammar.h"
#include "organism/places.h"

#include <string.h>

static void new_sentence(org_machine *m)
{
    m->segment = m->subject = -1;
    m->number = m->agree = m->depth = 0;
    m->role = ORG_OBJECT;
    m->noun = m->place = 0;
    m->a = m->b = m->sign = m->length = m->position = 0;
    m->answer = -1;
}

void org_start(org_machine *m, const org_language *g, const int latent[ORG_LATENTS])
{
    memset(m, 0, sizeof *m);
    m->g = g;
    memcpy(m->latent, latent, sizeof m->latent);
    m->at = AT_START;
    m->list = ORG_FUNC;
    m->member = ORG_BOS;
    m->focus = m->thing = -1;
    new_sentence(m);
}

static void set_person(org_machine *m, int who)
{
    m->segment = ORG_NARRATIVE;
    m->subject = m->focus = who;
    m->number = who == ORG_CAST;
    m->agree = 1;
}

static void set_thing(org_machine *m, int noun, int number)
{
    m->thing = noun;
    m->things = m->number = number;
    m->agree = 1;
    m->role = ORG_MODIFIER;
}

static void set_noun(org_machine *m, int noun, int form)
{
    if (m->segment == ORG_TAXONOMY)
        m->noun = noun;
    else if (m->segment == ORG_LISTING)
        m->a++;
    else if (m->role == ORG_HEAD)
        set_thing(m, noun, form);
}

static void set_word(org_machine *m)
{
    const org_lexicon *x = &m->g->lex;
    m->text[0] = m->list;
    m->text[1] = m->member;
    m->length = m->b ? m->b : (int)strlen(x->word[x->id[m->list][0][m->member]].text);
}

static void apply_number(org_machine *m, int kind, int value)
{
    switch (kind) {
    case ORG_E_SUM: m->segment = ORG_ARITHMETIC; m->a = m->member; break;
    case ORG_E_A: m->a = m->member; break;
    case ORG_E_B: m->b = m->member; break;
    case ORG_E_DIRECTION: m->b = m->member; m->sign = m->b > m->a ? 1 : -1; break;
    case ORG_E_SIGN: m->sign = value; break;
    case ORG_E_MODULUS: m->answer = (m->a + m->sign * m->b + 10) % value; break;
    default: break;
    }
}

static void apply(org_machine *m, int kind, int value)
{
    switch (kind) {
    case ORG_E_SEGMENT: m->segment = value; break;
    case ORG_E_SUBJECT: m->segment = ORG_NARRATIVE; m->role = ORG_HEAD; break;
    case ORG_E_PERSON: set_person(m, value); break;
    case ORG_E_NEWCOMER:
        m->cast[m->persons] = (org_person){m->member, value, -1, -1};
        set_person(m, m->persons++);
        m->segment = ORG_INTRODUCTION;
        break;
    case ORG_E_NATION: m->cast[m->subject].nation = m->member; break;
    case ORG_E_PROFESSION: m->cast[m->subject].profession = m->member; break;
    case ORG_E_NOUN: set_noun(m, m->member, value); break;
    case ORG_E_THAT: set_thing(m, m->thing, m->things); break;
    case ORG_E_DEEPER: m->depth++; break;
    case ORG_E_VERB: m->agree = 0; m->role = ORG_OBJECT; break;
    case ORG_E_EVERY: m->noun = -1 - m->member; break;
    case ORG_E_CITY: m->segment = ORG_GEOGRAPHY; m->place = org_country_of(m->member); break;
    case ORG_E_COUNTRY: m->segment = ORG_GEOGRAPHY; m->place = -1 - m->member; break;
    case ORG_E_SPELLING: m->segment = ORG_SPELLING; m->b = value; break;
    case ORG_E_SPELL: set_word(m); break;
    case ORG_E_LETTER: m->position++; break;
    case ORG_E_COPY: m->copied[m->length++] = m->member; break;
    default: apply_number(m, kind, value);
    }
}

void org_take(org_machine *m, const org_branch *b, int member)
{
    if (m->at == AT_START)
        new_sentence(m);
    m->list = b->list;
    m->form = b->form;
    m->member = member;
    m->at = b->next;
    apply(m, b->effect, b->value);
}

/* ---- labels ---------------------------------------------------------------------------------- */

static int half(const org_machine *m) /* the pole of a word whose list has two */
{
    return m->member >= m->g->lex.count[m->list] / 2;
}

static void label_word(const org_machine *m, int32_t *l)
{
    const org_lexicon *x = &m->g->lex;
    int kind = m->list == ORG_NOUN ? org_kind_of(m->member) : m->list == ORG_KIND ? m->member : -1;
    char first = x->word[x->id[m->list][m->form][m->member]].text[0];
    l[ORG_L_CLASS] = m->list;
    if (first >= 'a' && first <= 'z')
        l[ORG_L_INITIAL] = first - 'a';
    l[ORG_L_KIND] = kind;
    l[ORG_L_SUPER] = kind >= 0 ? org_super_of(kind) : m->list == ORG_SUPER ? m->member : -1;
    if (m->list == ORG_MOOD || m->list == ORG_FEEL || m->list == ORG_MANNER)
        l[ORG_L_POLARITY] = half(m);
    if (m->list == ORG_DEAL || m->list == ORG_OPENER)
        l[ORG_L_FORMALITY] = half(m);
    if (m->list == ORG_COUNTRY || m->list == ORG_NATION || m->list == ORG_CITY) {
        l[ORG_L_COUNTRY] = m->list == ORG_CITY ? org_country_of(m->member) : m->member;
        l[ORG_L_CONTINENT] = org_continent_of(l[ORG_L_COUNTRY]);
    }
    if (m->list == ORG_CONTINENT)
        l[ORG_L_CONTINENT] = m->member;
    if (m->list == ORG_NUMBER)
        l[ORG_L_VALUE] = m->member;
}

static void label_letters(const org_machine *m, int32_t *l)
{
    const org_lexicon *x = &m->g->lex;
    if (m->list == ORG_LETTER)
        l[ORG_L_POSITION] = (m->at == AT_COPY ? m->length : m->position) - 1;
    if (m->segment == ORG_COUNTING && m->position && m->list == ORG_NUMBER)
        l[ORG_L_POSITION] = m->position - 1;
    if (m->at != AT_LETTERS || m->position == m->length)
        return;
    l[ORG_L_NEXT] = m->segment == ORG_COPYING
                        ? m->copied[m->position]
                        : x->word[x->id[m->text[0]][0][m->text[1]]].text[m->position] - 'a';
}

void org_labels(const org_machine *m, int32_t label[ORG_LABELS])
{
    for (int i = 0; i < ORG_LABELS; i++)
        label[i] = -1;
    for (int i = 0; i < ORG_LATENTS; i++)
        label[ORG_L_TOPIC + i] = m->latent[i];
    label[ORG_L_SEGMENT] = m->segment;
    label_word(m, label);
    label_letters(m, label);
    if (m->subject >= 0 && m->subject < ORG_CAST) {
        label[ORG_L_GENDER] = m->cast[m->subject].gender;
        label[ORG_L_NATIONALITY] = m->cast[m->subject].nation;
        label[ORG_L_PROFESSION] = m->cast[m->subject].profession;
    }
    if (m->agree)
        label[ORG_L_NUMBER] = m->number;
    if (m->segment == ORG_ARITHMETIC)
        label[ORG_L_ANSWER] = m->answer;
    if (m->segment == ORG_LISTING && m->a > 0)
        label[ORG_L_ITEMS] = m->a - 1;
    if (m->segment == ORG_COUNTING && m->sign)
        label[ORG_L_DIRECTION] = m->sign > 0;
}
