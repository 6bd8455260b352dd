/* tests/prop/organism_labels.c - the labels of the model organism's language against its text,
 * which is read here without the grammar.
 */
#include "prop/organism.h"

#include <math.h>
#include <string.h>

static int is(int t, const char *text)
{
    return t < T && !strcmp(word(t)->text, text);
}

static int seen[ORG_SEGMENTS + 3]; /* how often each reader found something to check */

/* "spell cat : C A T ." and "initial cat : C ." */
static void read_spelling(int t)
{
    int all = is(t, "spell");
    if ((!all && !is(t, "initial")) || t + 3 >= T)
        return;
    const char *text = word(t + 1)->text;
    size_t n = all ? strlen(text) : 1;
    ck_assert(is(t + 2, ":"));
    for (size_t i = 0; i <= n && t + 3 + (int)i < T; i++) {
        int u = t + 3 + (int)i;
        if (i == n) {
            ck_assert(is(u, "."));
            break;
        }
        ck_assert_int_eq(word(u)->text[0] - 'A', text[i] - 'a');
        ck_assert_int_eq(at(u - 1, ORG_L_NEXT), text[i] - 'a');
        ck_assert_int_eq(at(u, ORG_L_POSITION), (int)i);
        seen[ORG_SPELLING]++;
    }
}

static void read_copy(int t)
{
    int n = 0;
    while (is(t, "copy") && t + n + 1 < T && word(t + n + 1)->list == ORG_LETTER)
        n++;
    for (int i = 0; i < n && t + n + 2 + i < T; i++) {
        ck_assert_int_eq(tok[t + n + 2 + i], tok[t + 1 + i]);
        ck_assert_int_eq(at(t + n + 1 + i, ORG_L_NEXT), word(t + 1 + i)->member);
        ck_assert_int_eq(at(t + 1 + i, ORG_L_POSITION), i);
        seen[ORG_COPYING]++;
    }
}

/* "count from A to B : A ... B ." */
static void read_count(int t)
{
    if (!is(t, "count") || t + 6 >= T)
        return;
    int a = word(t + 2)->member, b = word(t + 4)->member, step = b > a ? 1 : -1, u = t + 6;
    ck_assert_int_eq(at(t + 4, ORG_L_DIRECTION), b > a);
    for (int v = a; u < T && v != b + step; v += step, u++) {
        ck_assert_int_eq(at(u, ORG_L_VALUE), v);
        ck_assert_int_eq(word(u)->member, v);
        seen[ORG_COUNTING]++;
    }
    ck_assert(u >= T || is(u, "."));
}

/* "A plus B mod M is C ." */
static void read_sum(int t)
{
    if ((!is(t, "plus") && !is(t, "minus")) || t + 5 >= T)
        return;
    int a = word(t - 1)->member, b = word(t + 1)->member, m = word(t + 3)->member;
    int c = ((is(t, "plus") ? a + b : a - b) % m + m) % m;
    ck_assert_int_eq(word(t + 5)->member, c);
    ck_assert_int_eq(at(t + 3, ORG_L_ANSWER), c);
    ck_assert_int_eq(at(t + 4, ORG_L_ANSWER), c);
    ck_assert_int_eq(at(t + 2, ORG_L_ANSWER), -1);
    seen[ORG_ARITHMETIC]++;
}

/* "items : a rope , an apple . two things ." */
static void read_list(int t)
{
    int n = 0, u = t + 2;
    if (!is(t, "items"))
        return;
    for (; u + 1 < T && !is(u - 1, "."); u += 3) {
        n++;
        char first = word(u + 1)->text[0];
        ck_assert(is(u, strchr("aeiou", first) ? "an" : "a"));
        ck_assert_int_eq(at(u + 1, ORG_L_ITEMS), n - 1);
        ck_assert_int_eq(at(u + 1, ORG_L_KIND), word(u + 1)->member / ORG_LEAVES);
    }
    if (u < T && is(u - 1, ".")) {
        ck_assert_int_eq(word(u)->member, n);
        ck_assert(u + 1 >= T || is(u + 1, n == 1 ? "thing" : "things"));
        seen[ORG_LISTING]++;
    }
}

/* "a sparrow is a bird .", "every bird is an animal .", "paris is in france ." */
static void read_fact(int t)
{
    if (t + 4 >= T || !is(t - 1, "."))
        return;
    const org_word *w = word(t + 1), *v = word(t + 4);
    if (is(t, "a") || is(t, "an")) {
        int kind = w->member / ORG_LEAVES;
        ck_assert_int_eq(v->member, v->list == ORG_KIND ? kind : org_super_of(kind));
        ck_assert_int_eq(at(t + 1, ORG_L_SUPER), at(t + 4, ORG_L_SUPER));
        seen[ORG_TAXONOMY]++;
    } else if (is(t, "every")) {
        ck_assert_int_eq(v->member, org_super_of(w->member));
    } else if (word(t)->list == ORG_CITY) {
        ck_assert_int_eq(word(t + 3)->member, word(t)->member / 2);
        ck_assert_int_eq(at(t, ORG_L_COUNTRY), word(t + 3)->member);
        seen[ORG_GEOGRAPHY]++;
    } else if (word(t)->list == ORG_COUNTRY) {
        ck_assert_int_eq(word(t + 3)->member, at(t, ORG_L_CONTINENT));
    }
}

/* Who "anna", "she", "the doctor" is, from the introductions alone: { nation, profession } of each
 * name, and names by profession. */
static void read_people(void)
{
    int nation[2 * ORG_NAMES], profession[2 * ORG_NAMES], last[ORG_PROFESSIONS], who = -1, pair = 0;
    memset(nation, -1, sizeof nation);
    memset(last, -1, sizeof last);
    for (int t = 1; t < T; t++) {
        const org_word *w = word(t);
        int first = is(t - 1, ".") || is(t - 1, "<bos>") || is(t - 1, ",");
        if (is(t - 1, "spell") || is(t - 1, "initial"))
            continue;
        if (w->list == ORG_NAME && t + 4 < T && nation[w->member] < 0) {
            nation[w->member] = word(t + 3)->member;
            profession[w->member] = word(t + 4)->member;
            last[profession[w->member]] = w->member;
        } else if (w->list == ORG_NAME && nation[w->member] < 0) {
            return; /* the introduction is cut off */
        }
        if (w->list == ORG_NAME) {
            pair = is(t - 1, "and");
            who = w->member;
        } else if (w->list == ORG_PROFESSION && is(t - 1, "the")) {
            pair = 0;
            who = last[w->member];
        } else if ((is(t, "he") || is(t, "she") || is(t, "they")) && first) {
            ck_assert_int_eq(is(t, "they"), pair);
        } else {
            continue;
        }
        if (pair) {
            ck_assert_int_eq(at(t, ORG_L_GENDER), -1);
            continue;
        }
        ck_assert(!is(t, "he") || who < ORG_NAMES);
        ck_assert(!is(t, "she") || who >= ORG_NAMES);
        ck_assert_int_eq(at(t, ORG_L_GENDER), who >= ORG_NAMES);
        if (w->list == ORG_NAME && is(t + 1, "is") && at(t, ORG_L_SEGMENT) == ORG_INTRODUCTION) {
            ck_assert_int_eq(at(t + 4, ORG_L_NATIONALITY), nation[who]);
            ck_assert_int_eq(at(t + 4, ORG_L_PROFESSION), profession[who]);
            seen[ORG_INTRODUCTION]++;
        } else {
            ck_assert_int_eq(at(t, ORG_L_NATIONALITY), nation[who]);
            ck_assert_int_eq(at(t, ORG_L_PROFESSION), profession[who]);
            seen[ORG_NARRATIVE]++;
        }
    }
}

/* A finite verb agrees with the head: the first noun, name or kind of its sentence. */
static void read_agreement(void)
{
    int head = -1; /* number of the subject of this sentence */
    for (int t = 1; t < T; t++) {
        const org_word *w = word(t);
        int verb = w->list == ORG_ACT || w->list == ORG_MOVE || w->list == ORG_DEAL ||
                   w->list == ORG_FEEL || w->list == ORG_LIVE;
        int to_be = is(t, "is") || is(t, "was") ? 0 : is(t, "are") || is(t, "were") ? 1 : -1;
        if (is(t, ".") || is(t, ",")) {
            head = -1;
        } else if (is(t, "and") && word(t - 1)->list == ORG_NAME) {
            head = 1;
        } else if (head < 0 && at(t, ORG_L_SEGMENT) == ORG_NARRATIVE) {
            int noun = w->list == ORG_NOUN || w->list == ORG_KIND;
            if (noun || w->list == ORG_NAME || w->list == ORG_PROFESSION || is(t, "he") ||
                is(t, "she") || is(t, "they"))
                head = noun ? w->form == ORG_PLURAL : is(t, "they");
        }
        if (head < 0 || at(t, ORG_L_SEGMENT) != ORG_NARRATIVE || (!verb && to_be < 0))
            continue;
        ck_assert_int_eq(at(t - 1, ORG_L_NUMBER), is(t - 1, "will") ? -1 : head);
        ck_assert_int_eq(at(t, ORG_L_NUMBER), -1);
        ck_assert(to_be < 0 || to_be == head);
        if (verb && w->form != ORG_PAST_FORM && !is(t - 1, "will"))
            ck_assert_int_eq(w->form == ORG_BASE, head);
        seen[ORG_SEGMENTS] += head;
        seen[ORG_SEGMENTS + 1] += !head;
        head = -1;
        while (t + 1 < T && !is(t + 1, ".")) /* objects are not heads */
            t++;
    }
}

/* "that bird", "those birds" name the kind of the last subject that was a thing, and its number. */
static void read_anaphora(void)
{
    int thing = -1, things = 0;
    for (int t = 1; t + 1 < T; t++) {
        if (is(t, "that") || is(t, "those")) {
            ck_assert_int_eq(is(t, "those"), things);
            ck_assert_int_eq(word(t + 1)->form, things ? ORG_PLURAL : ORG_SINGULAR);
            ck_assert_int_eq(word(t + 1)->member, thing / ORG_LEAVES);
            seen[ORG_SEGMENTS + 2]++;
        }
        int begins = is(t, "the") && (is(t - 1, ".") || is(t - 1, ",") || is(t - 1, "<bos>"));
        int noun = word(t + 1)->list == ORG_MOOD || word(t + 1)->list == ORG_PLAIN ? t + 2 : t + 1;
        if (begins && noun < T && word(noun)->list == ORG_NOUN) {
            thing = word(noun)->member;
            things = word(noun)->form == ORG_PLURAL;
        }
    }
}

START_TEST(labels_are_true)
{
    org_language_make(g, &variety[_i]);
    memset(seen, 0, sizeof seen);
    for (uint64_t number = 0; number < 500; number++) {
        org_document(g, 1, number, T, tok, label, nats);
        for (int t = 0; t < T; t++) {
            char first = word(t)->text[0];
            ck_assert_int_eq(at(t, ORG_L_INITIAL),
                             first >= 'a' && first <= 'z' ? first - 'a' : -1);
            for (int l = 0; l < ORG_LABELS; l++)
                ck_assert(at(t, l) >= -1 && at(t, l) < g->label[l].classes);
            for (int l = 0; l < ORG_LATENTS; l++)
                ck_assert_int_eq(at(t, ORG_L_TOPIC + l), at(0, ORG_L_TOPIC + l));
            ck_assert(t == 0 ? isnan(nats[0]) : nats[t] > -1e-12 && isfinite(nats[t]));
        }
        for (int t = 1; t < T; t++) {
            read_spelling(t);
            read_copy(t);
            read_count(t);
            read_sum(t);
            read_list(t);
            read_fact(t);
        }
        read_people();
        read_agreement();
        read_anaphora();
    }
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
        ck_assert_msg(seen[i] > 50, "reader %d found %d", (int)i, seen[i]);
}
END_TEST

/* The latents show: words that depend on one agree with it at the stated rate. */
START_TEST(words_follow_the_latents)
{
    double n[3] = {0}, same[3] = {0};
    for (uint64_t number = 0; number < 3000; number++) {
        org_document(g, 2, number, T, tok, label, NULL);
        for (int t = 1; t < T; t++) {
            int spoken = at(t, ORG_L_SEGMENT) == ORG_NARRATIVE;
            int side[3] = {spoken ? at(t, ORG_L_POLARITY) : -1, at(t, ORG_L_FORMALITY),
                           word(t)->list == ORG_TIME ? word(t)->member / 3 : -1};
            int truth[3] = {at(0, ORG_L_SENTIMENT), at(0, ORG_L_REGISTER), at(0, ORG_L_TENSE)};
            for (int i = 0; i < 3; i++) {
                n[i] += side[i] >= 0;
                same[i] += side[i] >= 0 && side[i] == truth[i];
            }
        }
    }
    for (int i = 0; i < 3; i++)
        ck_assert_msg(fabs(same[i] - 0.95 * n[i]) < 5.0 * sqrt(0.0475 * n[i]),
                      "latent %d: %g of %g", i, same[i], n[i]);
}
END_TEST

/* The correlation of gender and profession group is the option. */
START_TEST(spurious_correlation)
{
    org_language_make(g, &variety[_i]);
    double n = 0.0, agree = 0.0, want = variety[_i].spurious;
    for (uint64_t number = 0; number < 4000; number++) {
        org_document(g, 4, number, 8, tok, label, NULL);
        for (int t = 1; t < 8; t++)
            if (at(t, ORG_L_SEGMENT) == ORG_INTRODUCTION && word(t)->list == ORG_PROFESSION) {
                n++;
                agree += at(t, ORG_L_GENDER) == (word(t)->member < ORG_PROFESSIONS / 2);
            }
    }
    double r = 2.0 * agree / n - 1.0; /* both are even coins: this is the correlation */
    ck_assert_msg(fabs(r - want) <= 5.0 * sqrt((1.0 - want * want) / n), "%g, not %g", r, want);
}
END_TEST

/* No class is rarer than README.md says. */
START_TEST(classes_are_frequent)
{
    enum { N = 4000 };
    static int count[ORG_LABELS][ORG_LETTERS];
    for (uint64_t number = 0; number < N; number++) {
        org_document(g, 5, number, T, tok, label, NULL);
        for (int t = 1; t < T; t++)
            for (int l = 0; l < ORG_LABELS; l++)
                if (at(t, l) >= 0)
                    count[l][at(t, l)]++;
    }
    for (int l = 0; l < ORG_LABELS; l++)
        for (int64_t c = 0; c < g->label[l].classes; c++) {
            int absent = l == ORG_L_INITIAL && (c == 'q' - 'a' || c == 'x' - 'a');
            int rare = l == ORG_L_POSITION && c >= 7;
            double share = count[l][c] / (N * (T - 1.0));
            ck_assert_msg(absent ? share == 0.0 : share >= (rare ? 5e-6 : 3e-4), "%s %s: %g",
                          g->label[l].name, g->label[l].class_names[c], share);
        }
}
END_TEST

Suite *suite_organism_labels(void)
{
    Suite *s = suite_create("organism_labels");
    TCase *tc = tcase_create("organism_labels");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, labels_are_true, 0, 4);
    tcase_add_test(tc, words_follow_the_latents);
    tcase_add_loop_test(tc, spurious_correlation, 0, 4);
    tcase_add_test(tc, classes_are_frequent);
    suite_add_tcase(s, tc);
    return s;
}
