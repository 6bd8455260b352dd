/* datasets/organism/language.c - the distributions and the labels of the language.
 *
 * README.md gives both as tables.
 */
#include "organism/language.h"

#include <math.h>
#include <string.h>

const int org_classes[ORG_LATENTS] = {ORG_TOPICS, 2, 3, 2};

/* ---- distributions --------------------------------------------------------------------------- */

static double *row(org_language *g, int table, int r)
{
    return g->dist[table].p[r];
}

static org_dist *shape(org_language *g, int table, int latent, int n)
{
    org_dist *d = &g->dist[table];
    d->latent = latent;
    d->n = n;
    return d;
}

/* `good` of n members share `purity`, the others the rest; all alike if none is another. */
static void favour(double *p, int n, int first, int good, double purity)
{
    for (int m = 0; m < n; m++) {
        int in = m >= first && m < first + good;
        p[m] = good == n ? 1.0 / n : in ? purity / good : (1.0 - purity) / (n - good);
    }
}

/* Every value of the latent favours its own equal share of the list. */
static void pure(org_language *g, int table, int latent, int n, double purity)
{
    shape(g, table, latent, n);
    int rows = org_classes[latent];
    for (int r = 0; r < rows; r++)
        favour(row(g, table, r), n, r * (n / rows), n / rows, purity);
}

/* Kinds that a topic speaks of, with weights. */
static const struct {
    int kind, weight;
} topic_kinds[ORG_TOPICS][4] = {
    {{1, 4}, {10, 2}, {0, 2}},         /* sea: fish, vehicle, bird */
    {{4, 3}, {2, 2}, {0, 2}, {3, 1}},  /* forest: tree, mammal, bird, insect */
    {{2, 4}, {7, 2}, {8, 2}},          /* farm: mammal, vegetable, tool */
    {{6, 3}, {7, 3}, {8, 2}},          /* kitchen: fruit, vegetable, tool */
    {{11, 4}, {10, 3}, {13, 1}},       /* city: building, vehicle, garment */
    {{9, 5}, {11, 1}, {13, 2}},        /* music: instrument, building, garment */
    {{12, 5}, {3, 2}, {5, 1}},         /* science: device, insect, flower */
    {{5, 4}, {6, 2}, {4, 2}},          /* garden: flower, fruit, tree */
};

static void make_nouns(org_language *g, const org_options *o)
{
    double leaf[ORG_LEAVES], total = 0.0;
    for (int i = 0; i < ORG_LEAVES; i++)
        total += leaf[i] = pow(i + 1.0, -o->zipf);
    shape(g, ORG_T_NOUN, ORG_TOPIC, ORG_NOUNS);
    for (int t = 0; t < ORG_TOPICS; t++) {
        double kind[ORG_KINDS];
        for (int k = 0; k < ORG_KINDS; k++)
            kind[k] = (1.0 - o->purity) / ORG_KINDS;
        for (int j = 0; j < 4; j++) /* the weights of a topic sum to 8 */
            kind[topic_kinds[t][j].kind] += o->purity * topic_kinds[t][j].weight / 8.0;
        for (int m = 0; m < ORG_NOUNS; m++)
            row(g, ORG_T_NOUN, t)[m] = kind[org_kind_of(m)] * leaf[m % ORG_LEAVES] / total;
    }
}

/* The part of `from` that takes "an" (an = 1) or "a", row by row; returns the last row's share. */
static double restrict_to(org_language *g, int to, int from, int list, int rows, int an)
{
    const org_dist *f = &g->dist[from];
    double share = 0.0;
    shape(g, to, f->latent, f->n);
    for (int r = 0; r < rows; r++) {
        share = 0.0;
        for (int m = 0; m < f->n; m++)
            if (org_vowel(&g->lex, list, m) == an)
                share += row(g, to, r)[m] = f->p[r][m];
        for (int m = 0; m < f->n; m++)
            row(g, to, r)[m] /= share;
        if (to == ORG_T_NOUN_A || to == ORG_T_NOUN_AN)
            row(g, ORG_T_ARTICLE, r)[an] = share;
    }
    return share;
}

static void make_articles(org_language *g)
{
    shape(g, ORG_T_ARTICLE, ORG_TOPIC, 2);
    restrict_to(g, ORG_T_NOUN_A, ORG_T_NOUN, ORG_NOUN, ORG_TOPICS, 0);
    restrict_to(g, ORG_T_NOUN_AN, ORG_T_NOUN, ORG_NOUN, ORG_TOPICS, 1);
    org_dist *all = shape(g, ORG_T_NATION_A, ORG_VISIBLE, ORG_COUNTRIES);
    favour(all->p[0], ORG_COUNTRIES, 0, ORG_COUNTRIES, 1.0);
    g->nation_an = restrict_to(g, ORG_T_NATION_AN, ORG_T_NATION_A, ORG_NATION, 1, 1);
    for (int m = 0; m < ORG_COUNTRIES; m++)
        all->p[0][m] = org_vowel(&g->lex, ORG_NATION, m)
                           ? 0.0 : 1.0 / (ORG_COUNTRIES * (1.0 - g->nation_an));
}

static void make_people(org_language *g, const org_options *o)
{
    shape(g, ORG_T_NAME, ORG_VISIBLE, 2 * ORG_NAMES);
    shape(g, ORG_T_PROFESSION, ORG_VISIBLE, ORG_PROFESSIONS);
    for (int gender = 0; gender < 2; gender++) {
        favour(row(g, ORG_T_NAME, gender), 2 * ORG_NAMES, gender * ORG_NAMES, ORG_NAMES, 1.0);
        favour(row(g, ORG_T_PROFESSION, gender), ORG_PROFESSIONS,
               gender ? 0 : ORG_PROFESSIONS / 2, ORG_PROFESSIONS / 2, (1.0 + o->spurious) / 2.0);
    }
}

static void make_places(org_language *g, const org_options *o)
{
    double total = 0.0;
    org_dist *all = shape(g, ORG_T_CITY, ORG_VISIBLE, ORG_CITIES);
    for (int m = 0; m < ORG_CITIES; m++) /* ranks scattered over countries: 7 is prime to 24 */
        total += all->p[0][m * 7 % ORG_CITIES] = pow(m + 1.0, -o->zipf);
    for (int m = 0; m < ORG_CITIES; m++)
        all->p[0][m] /= total;
    shape(g, ORG_T_HOME_CITY, ORG_VISIBLE, ORG_CITIES);
    shape(g, ORG_T_HOME, ORG_VISIBLE, ORG_COUNTRIES);
    for (int c = 0; c < ORG_COUNTRIES; c++) {
        favour(row(g, ORG_T_HOME_CITY, c), ORG_CITIES, 2 * c, 2, 1.0);
        favour(row(g, ORG_T_HOME, c), ORG_COUNTRIES, c, 1, o->purity);
    }
}

static void make_numbers(org_language *g)
{
    shape(g, ORG_T_COUNT_TO, ORG_VISIBLE, ORG_NUMBERS);
    for (int a = 0; a < ORG_NUMBERS; a++) {
        double *p = row(g, ORG_T_COUNT_TO, a), total = 0.0;
        for (int b = 0; b < ORG_NUMBERS; b++)
            total += p[b] = a != b && a - b <= 5 && b - a <= 5 && a - b != 1 && b - a != 1;
        for (int b = 0; b < ORG_NUMBERS; b++)
            p[b] /= total;
    }
    static const int uniform[] = {ORG_NOUNS, ORG_KINDS, ORG_LETTERS, ORG_NUMBERS, 10, 20, 10,
                                  ORG_PROFESSIONS, ORG_COUNTRIES, 2 * ORG_NAMES, 4};
    shape(g, ORG_T_UNIFORM, ORG_VISIBLE, ORG_NOUNS);
    for (int r = 0; r < (int)(sizeof uniform / sizeof uniform[0]); r++)
        favour(row(g, ORG_T_UNIFORM, r), uniform[r], 0, uniform[r], 1.0);
}

/* Sums from below; 1 from the last possible member on, so that no draw falls beyond it. */
static void accumulate(org_dist *d)
{
    for (int r = 0; r < ORG_NUMBERS; r++) {
        double below = 0.0;
        int last = 0;
        for (int m = 0; m < d->n; m++) {
            d->cdf[r][m] = below += d->p[r][m];
            if (d->p[r][m] > 0.0)
                last = m;
        }
        for (int m = last; m < d->n; m++)
            d->cdf[r][m] = 1.0;
    }
}

/* ---- labels ---------------------------------------------------------------------------------- */

static const char *const topics[] = {"sea", "forest", "farm", "kitchen", "city", "music",
                                     "science", "garden"};
static const char *const poles[] = {"negative", "positive"};
static const char *const tenses[] = {"past", "present", "future"};
static const char *const registers[] = {"informal", "formal"};
static const char *const segments[] = {"narrative", "introduction", "taxonomy", "geography",
                                       "listing", "spelling", "counting", "arithmetic", "copying"};
static const char *const classes[] = {"function", "noun", "kind", "super", "name", "profession",
                                      "demonym", "country", "city", "continent", "mood", "plain",
                                      "act", "move", "deal", "feel", "live", "opener", "manner",
                                      "time", "place", "number", "letter"};
static const char *const genders[] = {"male", "female"};
static const char *const numbers[] = {"singular", "plural"};
static const char *const directions[] = {"down", "up"};
static const char *const counts[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static const struct {
    const char *name;
    int classes, bidirectional;
    const char *const *names; /* NULL: the words of `list` */
    int list;
} labels[ORG_LABELS] = {
    {"topic", ORG_TOPICS, 0, topics, 0},
    {"sentiment", 2, 1, poles, 0},
    {"tense", 3, 1, tenses, 0},
    {"register", 2, 1, registers, 0},
    {"segment", ORG_SEGMENTS, 0, segments, 0},
    {"class", ORG_LISTS, 0, classes, 0},
    {"gender", 2, 1, genders, 0},
    {"nationality", ORG_COUNTRIES, 0, NULL, ORG_NATION},
    {"profession", ORG_PROFESSIONS, 0, NULL, ORG_PROFESSION},
    {"number", 2, 1, numbers, 0},
    {"initial", ORG_LETTERS, 0, NULL, ORG_LETTER},
    {"next", ORG_LETTERS, 0, NULL, ORG_LETTER},
    {"position", 10, 0, counts, 0},
    {"kind", ORG_KINDS, 0, NULL, ORG_KIND},
    {"super", ORG_SUPERS, 0, NULL, ORG_SUPER},
    {"polarity", 2, 1, poles, 0},
    {"formality", 2, 1, registers, 0},
    {"country", ORG_COUNTRIES, 0, NULL, ORG_COUNTRY},
    {"continent", ORG_CONTINENTS, 0, NULL, ORG_CONTINENT},
    {"value", ORG_NUMBERS, 0, NULL, ORG_NUMBER},
    {"answer", 10, 0, counts, 0},
    {"items", 6, 0, counts + 1, 0},
    {"direction", 2, 1, directions, 0},
};

static void make_labels(org_language *g)
{
    g->labels_width = 0;
    for (int l = 0; l < ORG_LABELS; l++) {
        const char **names = g->names + g->labels_width;
        for (int c = 0; c < labels[l].classes; c++) {
            const int16_t *id = g->lex.id[labels[l].list][0];
            names[c] = labels[l].names ? labels[l].names[c] : g->lex.word[id[c]].text;
        }
        g->label[l] = (sae_label){labels[l].name, labels[l].classes, names,
                                  labels[l].bidirectional};
        g->labels_width += labels[l].classes;
    }
}

void org_language_make(org_language *g, const org_options *o)
{
    memset(g, 0, sizeof *g);
    org_lexicon_make(&g->lex);
    make_nouns(g, o);
    make_articles(g);
    pure(g, ORG_T_TENSE, ORG_TENSE, 3, o->purity);
    pure(g, ORG_T_ACT, ORG_TOPIC, 16, o->purity);
    pure(g, ORG_T_DEAL, ORG_REGISTER, 16, o->purity);
    pure(g, ORG_T_FEEL, ORG_SENTIMENT, 12, o->purity);
    pure(g, ORG_T_MOOD, ORG_SENTIMENT, 20, o->purity);
    pure(g, ORG_T_MANNER, ORG_SENTIMENT, 8, o->purity);
    pure(g, ORG_T_OPENER, ORG_REGISTER, 8, o->purity);
    pure(g, ORG_T_TIME, ORG_TENSE, 9, o->purity);
    shape(g, ORG_T_MOVE, ORG_VISIBLE, 16);
    for (int s = 0; s < ORG_SUPERS; s++)
        favour(row(g, ORG_T_MOVE, s), 16, 4 * s, 4, 1.0);
    make_people(g, o);
    make_places(g, o);
    make_numbers(g);
    for (int t = 0; t < ORG_TABLES; t++)
        accumulate(&g->dist[t]);
    make_labels(g);
}
