/* tests/prop/organism.c - the model organism's words, exact probabilities and data set. */
#include "core/spec.h"
#include "models/tokenizer.h"
#include "prop/organism.h"
#include "support/stand_in.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- words ----------------------------------------------------------------------------------- */

START_TEST(words_are_distinct)
{
    for (int i = 0; i < g->lex.vocab; i++) {
        const org_word *w = &g->lex.word[i];
        ck_assert_int_eq(g->lex.id[w->list][w->form][w->member], i);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(w->text, g->lex.word[j].text);
    }
    for (int l = 0; l < ORG_LABELS; l++)
        for (int64_t c = 0; c < g->label[l].classes; c++)
            ck_assert_ptr_nonnull(g->label[l].class_names[c]);
}
END_TEST

/* The committed tokenizer numbers the words as the lexicon does. */
START_TEST(tokenizer_is_the_lexicon)
{
    json_error_t why;
    json_t *root = json_load_file("datasets/organism/model/tokenizer.json", 0, &why);
    ck_assert_msg(root != NULL, "%s", why.text);
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    ck_assert_str_eq(json_string_value(json_object_get(model, "type")), "WordLevel");
    ck_assert_uint_eq(json_object_size(vocab), (size_t)g->lex.vocab);
    for (int i = 0; i < g->lex.vocab; i++)
        ck_assert_int_eq(json_integer_value(json_object_get(vocab, g->lex.word[i].text)), i);
    json_decref(root);
}
END_TEST

/* The words of document `number` with spaces between. */
static const char *text_of(uint64_t number, int from)
{
    static char text[1 << 12];
    text[0] = '\0';
    org_document(g, 0, number, T, tok, label, nats);
    for (int t = from; t < T; t++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", t > from ? " " : "",
                 word(t)->text);
    return text;
}

/* Read as a user would: text gives back the tokens it was written from, and they the text. */
START_TEST(tokenizer_round_trip)
{
    sae_err err = {0};
    sae_tokenizer *t;
    ck_assert_ok(sae_tokenizer_open(&t, "datasets/organism/model/tokenizer.json", g->lex.vocab,
                                    &err), err);
    ck_assert_int_eq(sae_tokenizer_bos(t), 0);
    ck_assert_int_eq(sae_tokenizer_eos(t), -1);
    for (uint64_t number = 0; number < 200; number++) {
        const char *text = text_of(number, 1);
        int32_t ids[2 * T];
        int64_t count;
        char back[1 << 12];
        size_t bytes;
        ck_assert_ok(sae_tokenizer_encode(t, text, strlen(text), 1, ids, 2 * T, &count, &err), err);
        ck_assert_int_eq(count, T);
        ck_assert_mem_eq(ids, tok, sizeof tok);
        ck_assert_ok(sae_tokenizer_decode(t, ids + 1, T - 1, back, sizeof back, &bytes, &err), err);
        ck_assert_uint_eq(bytes, strlen(text));
        ck_assert_mem_eq(back, text, bytes);
    }
    sae_tokenizer_close(&t);
}
END_TEST

/* The document in the folder's README is document 0 of seed 0, as far as it is quoted. */
START_TEST(readme_document)
{
    static char page[1 << 16];
    FILE *f = fopen("datasets/organism/README.md", "r");
    ck_assert_ptr_nonnull(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    char *from = strstr(page, "```text\n<bos>"), *to = from ? strstr(from + 8, "```") : NULL;
    ck_assert_ptr_nonnull(to);
    *to = '\0';
    for (char *c = from; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
    from += 8;
    from[strlen(from) - 1] = '\0'; /* the newline before the fence */
    ck_assert_str_eq(from, text_of(0, 0));
}
END_TEST

/* ---- probabilities --------------------------------------------------------------------------- */

/* p [vocab]: distribution of the next word given the prefix. */
static void predict(const org_machine *m, const org_belief *q, double *p)
{
    org_slot slot;
    memset(p, 0, (size_t)m->g->lex.vocab * sizeof *p);
    org_offer(m, &slot);
    for (int i = 0; i < slot.count; i++) {
        const org_branch *b = &slot.b[i];
        int first = b->dist ? 0 : b->row, last = b->dist ? b->dist->n - 1 : b->row;
        for (int k = first; k <= last; k++) {
            double w = org_probability(q, b, k);
            if (w > 0.0)
                p[org_token(m->g, b, k)] += w;
        }
    }
}

/* The branch and member that say a word; exactly one can. */
static const org_branch *find(const org_slot *s, int32_t id, int *member)
{
    const org_branch *found = NULL;
    for (int i = 0; i < s->count; i++) {
        const org_branch *b = &s->b[i];
        int first = b->dist ? 0 : b->row, last = b->dist ? b->dist->n - 1 : b->row;
        for (int k = first; k <= last; k++)
            if (org_token(g, b, k) == id && !(k < 32 && b->skip >> k & 1)) {
                ck_assert_msg(!found || b->dist, "%s is offered twice", g->lex.word[id].text);
                double p = b->dist ? 0.0 : 1.0; /* can this member come at all? */
                for (int r = 0; b->dist && r < ORG_NUMBERS; r++)
                    p += b->dist->latent >= 0 || r == b->row ? b->dist->p[r][k] : 0.0;
                ck_assert_msg(!found || p == 0.0, "%s is offered twice", g->lex.word[id].text);
                if (p > 0.0) {
                    found = b;
                    *member = k;
                }
            }
        ck_assert(!b->gate || !b->dist || b->gate->latent != b->dist->latent);
    }
    ck_assert_ptr_nonnull(found);
    return found;
}

/* Probability of the member given values of all latents: no filter in it. */
static double given(const org_branch *b, int member, const int latent[ORG_LATENTS])
{
    double p = b->weight, left = 0.0;
    if (b->gate)
        p *= b->gate->p[latent[b->gate->latent]][b->outcome];
    if (!b->dist)
        return p;
    const double *row = b->dist->p[b->dist->latent >= 0 ? latent[b->dist->latent] : b->row];
    for (int i = 0; i < b->dist->n; i++)
        left += i < 32 && b->skip >> i & 1 ? 0.0 : row[i];
    return p * row[member] / left;
}

/* At every position of documents of every kind of language: the distribution of the next word sums
 * to 1, it gives the word that came its stated surprisal, and both agree with enumerating all 96
 * values of the latents: sum_z p(z) p(prefix, word | z) / sum_z p(z) p(prefix | z). */
START_TEST(probabilities_are_exact)
{
    static double p[ORG_VOCAB_MAX];
    org_language_make(g, &variety[_i]);
    for (uint64_t number = 0; number < 60; number++) {
        double joint[96];
        org_machine m;
        org_belief q;
        org_slot slot;
        static const int zero[ORG_LATENTS];
        org_start(&m, g, zero); /* what may come does not depend on the latents */
        org_belief_start(&q);
        org_document(g, 3, number, T, tok, label, nats);
        for (int z = 0; z < 96; z++)
            joint[z] = 1.0 / 96;
        for (int t = 1; t < T; t++) {
            double sum = 0.0, evidence = 0.0;
            int member = 0;
            predict(&m, &q, p);
            for (int i = 0; i < g->lex.vocab; i++)
                sum += p[i];
            ck_assert_double_eq_tol(sum, 1.0, 1e-12);
            ck_assert_double_eq_tol(p[tok[t]] / exp(-nats[t]), 1.0, 1e-12);
            org_offer(&m, &slot);
            const org_branch *b = find(&slot, tok[t], &member);
            for (int z = 0; z < 96; z++) {
                int latent[ORG_LATENTS] = {z % 8, z / 8 % 2, z / 16 % 3, z / 48};
                evidence += joint[z] *= given(b, member, latent);
            }
            ck_assert_double_eq_tol(evidence / p[tok[t]], 1.0, 1e-10);
            for (int z = 0; z < 96; z++)
                joint[z] /= evidence;
            org_observe(&q, b, member);
            org_take(&m, b, member);
        }
    }
}
END_TEST

/* Words are drawn as often as stated. Given the prefix, nats - entropy has mean 0: its sum over
 * tokens is a martingale, its variance the sum of the squares. */
START_TEST(surprisal_is_calibrated)
{
    static double p[ORG_VOCAB_MAX];
    double sum = 0.0, squares = 0.0;
    for (uint64_t number = 0; number < 400; number++) {
        org_machine m;
        org_belief q;
        org_slot slot;
        static const int zero[ORG_LATENTS];
        org_start(&m, g, zero);
        org_belief_start(&q);
        org_document(g, 9, number, T, tok, NULL, nats);
        for (int t = 1; t < T; t++) {
            double entropy = 0.0;
            int member = 0;
            predict(&m, &q, p);
            for (int i = 0; i < g->lex.vocab; i++)
                entropy -= p[i] > 0.0 ? p[i] * log(p[i]) : 0.0;
            sum += nats[t] - entropy;
            squares += (nats[t] - entropy) * (nats[t] - entropy);
            org_offer(&m, &slot);
            const org_branch *b = find(&slot, tok[t], &member);
            org_observe(&q, b, member);
            org_take(&m, b, member);
        }
    }
    ck_assert_msg(fabs(sum) < 5.0 * sqrt(squares), "%g > 5 x %g", sum, sqrt(squares));
}
END_TEST

/* The same for the first word alone, word by word: counts are binomial. */
START_TEST(first_words_are_drawn_as_stated)
{
    enum { N = 200000 };
    static double p[ORG_VOCAB_MAX];
    static int count[ORG_VOCAB_MAX];
    org_machine m;
    org_belief q;
    static const int zero[ORG_LATENTS];
    org_start(&m, g, zero);
    org_belief_start(&q);
    predict(&m, &q, p);
    for (uint64_t number = 0; number < N; number++) {
        org_document(g, 1, number, 2, tok, NULL, NULL);
        count[tok[1]]++;
    }
    for (int i = 0; i < g->lex.vocab; i++) { /* Bernstein's bound at 2 exp(-18) for each word */
        double bound = sqrt(36.0 * N * p[i]) + 12.0;
        ck_assert_msg(fabs(count[i] - N * p[i]) <= bound && (p[i] > 0.0 || !count[i]),
                      "%s: %d of %g", g->lex.word[i].text, count[i], N * p[i]);
    }
}
END_TEST

/* ---- the data set ---------------------------------------------------------------------------- */

typedef struct opened {
    sae_registry *reg;
    sae_spec spec;
    const sae_dataset *ds;
    sae_source *s;
    sae_dims dim;
} opened;

static void open_source(opened *o, const char *spec, uint64_t seed)
{
    sae_err err = {0};
    sae_host host = stand_in_host(seed);
    ck_assert_ok(sae_registry_open(&o->reg, &err), err);
    ck_assert_ok(sae_spec_parse(&o->spec, o->reg, SAE_KIND_DATASET, spec, &err), err);
    o->ds = o->spec.dataset;
    ck_assert_ok(o->ds->open(&o->s, sae_opts_base(o->spec.opts), &host, &o->dim, &err), err);
}

static void close_source(opened *o)
{
    o->ds->close(&o->s);
    sae_spec_free(&o->spec);
    sae_registry_close(&o->reg);
}

/* docs() gives documents by number, whatever was asked for before and in whatever order they are
 * made (the stand-in's threads run backwards). */
START_TEST(documents_by_number)
{
    opened o;
    sae_docs d;
    sae_err err = {0};
    open_source(&o, "organism:model=none,eval=9", 6);
    for (int split = 0; split < 2; split++) {
        uint64_t top = split == SAE_SPLIT_EVAL ? UINT64_C(1) << 63 : 0;
        for (uint64_t first = 7; first-- > 0;) {
            ck_assert_ok(o.ds->docs(o.s, (enum sae_split)split, first, 3, &d, &err), err);
            ck_assert_int_eq(d.c.N, 3);
            ck_assert_int_eq(d.labels, ORG_LABELS);
            for (int64_t i = 0; i < 3; i++) {
                ck_assert_int_eq(d.c.start[i + 1] - d.c.start[i], T);
                ck_assert(d.doc[i] == ((first + (uint64_t)i) | top));
                org_document(g, 6, d.doc[i], T, tok, label, nats);
                int64_t row = d.c.start[i];
                ck_assert_mem_eq(tok, d.c.tok + row, sizeof tok);
                ck_assert_mem_eq(label, d.label + row * ORG_LABELS, sizeof label);
                ck_assert_mem_eq(nats, d.nats + row, sizeof nats);
            }
        }
    }
    ck_assert_int_eq(o.ds->docs(o.s, SAE_SPLIT_EVAL, 7, 3, &d, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected less than 9"));
    close_source(&o);
}
END_TEST

/* Rows of a split against the documents they name. */
static void check_oracle(opened *o, enum sae_split split, const sae_label *table)
{
    enum { B = 300 };
    sae_err err = {0};
    sae_real *x = calloc(B, (size_t)o->dim.d_in * sizeof *x);
    int32_t *got = calloc(B, ORG_LABELS * sizeof *got);
    sae_token *place = calloc(B, sizeof *place);
    ck_assert_ok(o->ds->fill(o->s, split, 12345, B,
                             &(sae_fill){.x = x, .tok = place, .label = got}, &err), err);
    for (int r = 0; r < B; r++) {
        org_document(g, 6, place[r].doc, T, tok, label, NULL);
        ck_assert_uint_eq(place[r].doc >> 63, split == SAE_SPLIT_EVAL);
        ck_assert_uint_eq(place[r].id, (uint32_t)tok[place[r].pos]);
        ck_assert_uint_ne(place[r].pos, 0);
        ck_assert_mem_eq(got + r * ORG_LABELS, label + place[r].pos * ORG_LABELS,
                         ORG_LABELS * sizeof *got);
        const sae_real *column = x + r * o->dim.d_in;
        for (int l = 0; l < ORG_LABELS; column += table[l++].classes)
            for (int64_t c = 0; c < table[l].classes; c++)
                ck_assert(column[c] == (sae_real)(got[r * ORG_LABELS + l] == c));
        ck_assert_ptr_eq(column, x + (r + 1) * o->dim.d_in);
    }
    free(x);
    free(got);
    free(place);
}

/* Without a model a row is its labels: one column per class. */
START_TEST(oracle_rows)
{
    opened o;
    const sae_label *table;
    int64_t labels;
    open_source(&o, "organism:model=none,buffer=500", 6);
    ck_assert_uint_eq(sae_source_gives(o.ds, o.s), SAE_GIVES_TOKENS | SAE_GIVES_LABELS);
    ck_assert_int_eq(o.ds->labels(o.s, &table, &labels), SAE_OK);
    ck_assert_int_eq(labels, ORG_LABELS);
    check_oracle(&o, SAE_SPLIT_TRAIN, table);
    check_oracle(&o, SAE_SPLIT_EVAL, table);
    close_source(&o);
}
END_TEST

/* With a model a row is its activation at the hook, with gradient and labels. */
START_TEST(model_rows)
{
    enum { B = 200 };
    opened o;
    sae_err err = {0};
    sae_lm before = stand_in_lm;
    sae_lm_view view;
    static sae_real x[B * LM_D], grad[B * LM_D];
    static sae_token place[B];
    stand_in_lm.vocab = ORG_VOCAB_MAX;
    open_source(&o, "organism:model=m,hook=resid_post.0,buffer=64,batch=40,eval=5", 6);
    ck_assert_int_eq(o.dim.d_in, LM_D);
    ck_assert_ok(
        o.ds->fill(o.s, SAE_SPLIT_TRAIN, 33, B, &(sae_fill){.x = x, .g = grad, .tok = place}, &err),
        err);
    for (int r = 0; r < B; r++) {
        uint64_t history = 0;
        org_document(g, 6, place[r].doc, LM_CTX, tok, NULL, NULL);
        for (uint32_t t = 0; t <= place[r].pos; t++)
            history = history * 31 + (uint64_t)tok[t];
        for (int j = 0; j < LM_D; j++) {
            ck_assert(x[r * LM_D + j] == (sae_real)stand_in_value(history, j, 0));
            ck_assert(grad[r * LM_D + j] == (sae_real)(1.0f - stand_in_value(history, j, 0)));
        }
    }
    ck_assert_int_eq(o.ds->lm(o.s, &view), SAE_OK);
    ck_assert_int_eq(view.docs->c.N, 5);
    ck_assert_int_eq(view.docs->labels, ORG_LABELS);
    ck_assert(view.exclude[0] && !view.exclude[1]);
    ck_assert_int_eq(stand_in_passes, 0);
    close_source(&o);
    stand_in_lm = before;
}
END_TEST

Suite *suite_organism(void)
{
    Suite *s = suite_create("organism");
    TCase *tc = tcase_create("organism");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, words_are_distinct);
    tcase_add_test(tc, tokenizer_is_the_lexicon);
    tcase_add_test(tc, tokenizer_round_trip);
    tcase_add_test(tc, readme_document);
    tcase_add_loop_test(tc, probabilities_are_exact, 0, 4);
    tcase_add_test(tc, surprisal_is_calibrated);
    tcase_add_test(tc, first_words_are_drawn_as_stated);
    tcase_add_test(tc, documents_by_number);
    tcase_add_test(tc, oracle_rows);
    tcase_add_test(tc, model_rows);
    suite_add_tcase(s, tc);
    return s;
}
