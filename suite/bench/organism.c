/* suite/bench/organism.c - the model organism's language: words per second of one thread, its exact
 * entropy rate, how well the prefix tells the document's latents, and the cross-entropy of unigram
 * and bigram models.
 *
 * A model with counts of TRAIN documents is scored on the same (on average below its true
 * cross-entropy) and on other documents (above it).
 */
#include "core/log.h"
#include "core/memory.h"
#include "models/lm_baseline.h"
#include "organism/document.h"

#include <math.h>
#include <stdio.h>

enum { T = 128, TRAIN = 80000, OTHER = 20000, TIMED = 20000, READ = 4000 };

static org_language *g;
static int32_t tok[T], label[T * ORG_LABELS];
static double nats[T];

static void time_words(const char *what, int32_t *labels, double *surprisal)
{
    double t = sae_clock();
    for (uint64_t i = 0; i < TIMED; i++)
        org_document(g, 0, i, T, tok, labels, surprisal);
    printf("%-22s %5.1f M tokens/s\n", what, TIMED * (T / 1e6) / (sae_clock() - t));
}

/* Documents for counting; those of EVAL begin with number *self. */
static int documents(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                     sae_err *err)
{
    static int64_t start[SAE_LM_BASELINE_DOCS + 1];
    static int32_t words[SAE_LM_BASELINE_DOCS * T];
    (void)err;
    if (split == SAE_SPLIT_EVAL)
        doc0 += *(const uint64_t *)self;
    for (int64_t i = 0; i < N; i++) {
        org_document(g, 0, doc0 + (uint64_t)i, T, words + i * T, NULL, NULL);
        start[i + 1] = (i + 1) * T;
    }
    *out = (sae_docs){.c = {N, start, words}};
    return SAE_OK;
}

/* Mean exact nats of the first TRAIN documents, and its standard error. */
static double entropy(double *se)
{
    double sum = 0, squares = 0, n = TRAIN;
    for (uint64_t i = 0; i < TRAIN; i++) {
        double document = 0;
        org_document(g, 0, i, T, tok, NULL, nats);
        for (int t = 1; t < T; t++)
            document += nats[t] / (T - 1);
        sum += document;
        squares += document * document;
    }
    *se = sqrt((squares / n - sum / n * (sum / n)) / n);
    return sum / n;
}

/* The branch and member that the token came from. */
static const org_branch *parse(const org_slot *s, const org_belief *q, int32_t token, int *member)
{
    for (int i = 0; i < s->count; i++) {
        const org_branch *b = &s->b[i];
        int last = b->dist ? b->dist->n - 1 : b->row;
        for (*member = b->dist ? 0 : b->row; *member <= last; ++*member)
            if (org_token(g, b, *member) == token && org_probability(q, b, *member) > 0)
                return b;
    }
    return NULL;
}

/* Share of positions behind BOS at which the most probable value of each latent given the prefix
 * is the true one: no probe can be better on average. */
static int posterior(double share[ORG_LATENTS])
{
    for (uint64_t i = 0; i < READ; i++) {
        org_machine m;
        org_belief q;
        org_slot s;
        int member, latent[ORG_LATENTS];
        org_document(g, 0, i, T, tok, label, NULL);
        for (int k = 0; k < ORG_LATENTS; k++)
            latent[k] = label[k];
        org_start(&m, g, latent);
        org_belief_start(&q);
        for (int t = 1; t < T; t++) {
            org_offer(&m, &s);
            const org_branch *b = parse(&s, &q, tok[t], &member);
            if (!b)
                return 0;
            org_observe(&q, b, member);
            org_take(&m, b, member);
            for (int k = 0; k < ORG_LATENTS; k++) {
                int best = 0;
                for (int c = 1; c < org_classes[k]; c++)
                    best = q.p[k][c] > q.p[k][best] ? c : best;
                share[k] += (best == latent[k]) / ((T - 1.0) * READ);
            }
        }
    }
    return 1;
}

static int counted(const sae_err *err, int rc)
{
    if (rc < 0)
        fprintf(stderr, "%s\n", err->msg);
    return rc >= 0;
}

int main(void)
{
    sae_err err = {0};
    sae_lm_baseline own, other;
    double se;
    uint64_t first = 0;
    sae_lm_corpus corpus = {&first, documents, -1, "organism"};
    if (!counted(&err, sae_new(&g, 1, sizeof *g, "language", &err)))
        return 1;
    org_language_make(g, &(org_options){0.5, 1.2, 0.95});
    time_words("words", NULL, NULL);
    time_words("words, labels", label, NULL);
    time_words("words, labels, nats", label, nats);
    double mean = entropy(&se);
    printf("entropy rate           %.4f nats/token (standard error %.4f)\n", mean, se);
    double share[ORG_LATENTS] = {0};
    if (posterior(share))
        for (int k = 0; k < ORG_LATENTS; k++)
            printf("best guess of %-9s %.3f right\n", g->label[k].name, share[k]);
    int ok = counted(&err, sae_lm_baseline_score(&corpus, ORG_VOCAB_MAX, TRAIN, TRAIN, &own, &err));
    first = TRAIN;
    ok = ok &&
         counted(&err, sae_lm_baseline_score(&corpus, ORG_VOCAB_MAX, TRAIN, OTHER, &other, &err));
    if (ok) {
        printf("unigram cross-entropy  %.4f to %.4f\n", own.unigram, other.unigram);
        printf("bigram cross-entropy   %.4f to %.4f\n", own.bigram, other.bigram);
    }
    sae_free(g);
    return !ok;
}
