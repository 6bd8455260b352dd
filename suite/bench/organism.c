/* suite/bench/organism.c - the model organism's language: words per second of one thread, its exact
 * entropy rate, and the cross-entropy of unigram and bigram models of it.
 *
 * A model with counts of TRAIN documents is scored on the same (on average below its true
 * cross-entropy) and on other documents (above it).
 */
#include "core/log.h"
#include "core/memory.h"
#include "organism/document.h"

#include <math.h>
#include <stdio.h>

enum { T = 128, TRAIN = 80000, OTHER = 20000, TIMED = 20000, V = ORG_VOCAB_MAX };

typedef struct counts {
    double one[V], two[V][V], after[V], total; /* after: of pairs by first word */
} counts;

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

static void count_words(counts *c)
{
    for (uint64_t i = 0; i < TRAIN; i++) {
        org_document(g, 0, i, T, tok, NULL, NULL);
        for (int t = 1; t < T; t++) {
            c->one[tok[t]]++;
            c->two[tok[t - 1]][tok[t]]++;
            c->after[tok[t - 1]]++;
        }
        c->total += T - 1;
    }
}

/* Mean nats of documents [first, first + N): unigram, bigram, exact, and the latter's error. */
static void score(const counts *c, uint64_t first, int64_t N, double out[4])
{
    double squares = 0.0;
    out[0] = out[1] = out[2] = 0.0;
    for (int64_t i = 0; i < N; i++) {
        double document = 0.0;
        org_document(g, 0, first + (uint64_t)i, T, tok, NULL, nats);
        for (int t = 1; t < T; t++) {
            double p = (c->one[tok[t]] + 1.0) / (c->total + V);
            double q = (c->two[tok[t - 1]][tok[t]] + p) / (c->after[tok[t - 1]] + 1.0);
            out[0] -= log(p);
            out[1] -= log(q);
            document += nats[t];
        }
        document /= T - 1;
        out[2] += document;
        squares += document * document;
    }
    double n = (double)N, words = n * (T - 1);
    out[0] /= words;
    out[1] /= words;
    out[2] /= n;
    out[3] = sqrt((squares / n - out[2] * out[2]) / n);
}

int main(void)
{
    counts *c = NULL;
    sae_err err = {0};
    double own[4], other[4];
    if (sae_new(&g, 1, sizeof *g, "language", &err) < 0 ||
        sae_new(&c, 1, sizeof *c, "counts", &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    org_language_make(g, &(org_options){0.5, 1.2, 0.9});
    time_words("words", NULL, NULL);
    time_words("words, labels", label, NULL);
    time_words("words, labels, nats", label, nats);
    count_words(c);
    score(c, 0, TRAIN, own);
    score(c, TRAIN, OTHER, other);
    printf("entropy rate           %.4f nats/token (standard error %.4f)\n", own[2], own[3]);
    printf("unigram cross-entropy  %.4f to %.4f\n", own[0], other[0]);
    printf("bigram cross-entropy   %.4f to %.4f\n", own[1], other[1]);
    sae_free(c);
    sae_free(g);
    return 0;
}
