/* suite/models/lm_baseline.c - unigrams and bigrams of a corpus, counted and scored. */
#include "models/lm_baseline.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>

typedef struct counts {
    int64_t V, N;
    int64_t *one;    /* [V] occurrences behind the first token */
    int64_t *before; /* [V] pairs by their first token */
    uint64_t *pair;  /* [N] first * V + second; then [pairs] different ones, ascending */
    int64_t *times;  /* [pairs] */
    int64_t cap, pairs;
    double unigram, bigram; /* sums of -log p */
    int64_t scored;
} counts;

/* What is done with a pair of neighbours. */
typedef int (*visit_fn)(counts *k, int32_t first, int32_t second, sae_err *err);

static int check_token(const counts *k, int32_t id, sae_err *err)
{
    if (id < 0 || id >= k->V)
        SAE_FAIL(err, SAE_EINVAL, "token %d: the model's vocabulary ends at %lld", (int)id,
                 (long long)k->V - 1);
    return SAE_OK;
}

static int visit(counts *k, const sae_lm_corpus *corpus, enum sae_split split, int64_t docs,
                 visit_fn fn, sae_err *err)
{
    for (int64_t i = 0; i < docs; i += SAE_LM_BASELINE_DOCS) {
        int64_t n = docs - i < SAE_LM_BASELINE_DOCS ? docs - i : SAE_LM_BASELINE_DOCS;
        sae_docs d;
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted while counting words");
        SAE_TRY(corpus->docs(corpus->self, split, (uint64_t)i, n, &d, err));
        for (int64_t c = 0; c < n; c++)
            for (int64_t r = d.c.start[c]; r + 1 < d.c.start[c + 1]; r++) {
                SAE_TRY(check_token(k, d.c.tok[r], err));
                SAE_TRY(check_token(k, d.c.tok[r + 1], err));
                SAE_TRY(fn(k, d.c.tok[r], d.c.tok[r + 1], err));
            }
    }
    return SAE_OK;
}

static int count(counts *k, int32_t first, int32_t second, sae_err *err)
{
    if (k->N == k->cap) {
        int64_t cap = 2 * k->cap + (1 << 16);
        uint64_t *pair = sae_realloc(k->pair, (size_t)cap * sizeof *pair);
        if (!pair)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld pairs of words", (long long)cap);
        k->pair = pair;
        k->cap = cap;
    }
    k->one[second]++;
    k->before[first]++;
    k->pair[k->N++] = (uint64_t)first * (uint64_t)k->V + (uint64_t)second;
    return SAE_OK;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Different pairs with the numbers of their occurrences. */
static int sum_up(counts *k, sae_err *err)
{
    if (k->N == 0)
        SAE_FAIL(err, SAE_EINVAL, "no word to count: every document is shorter than two");
    qsort(k->pair, (size_t)k->N, sizeof *k->pair, compare);
    SAE_TRY(sae_new(&k->times, k->N, sizeof *k->times, "lm.baseline", err));
    for (int64_t i = 0; i < k->N; i++) {
        if (i == 0 || k->pair[i] != k->pair[k->pairs - 1])
            k->pair[k->pairs++] = k->pair[i];
        k->times[k->pairs - 1]++;
    }
    return SAE_OK;
}

static int score(counts *k, int32_t first, int32_t second, sae_err *err)
{
    (void)err;
    uint64_t key = (uint64_t)first * (uint64_t)k->V + (uint64_t)second;
    double p = ((double)k->one[second] + 1) / (double)(k->N + k->V);
    const uint64_t *at = bsearch(&key, k->pair, (size_t)k->pairs, sizeof key, compare);
    double times = at ? (double)k->times[at - k->pair] : 0;
    k->unigram -= log(p);
    k->bigram -= log((times + p) / ((double)k->before[first] + 1));
    k->scored++;
    return SAE_OK;
}

int sae_lm_baseline_score(const sae_lm_corpus *corpus, int64_t vocab, int64_t train, int64_t eval,
                          sae_lm_baseline *out, sae_err *err)
{
    int rc;
    counts k = {.V = vocab};
    SAE_GOTO(sae_new(&k.one, vocab, sizeof *k.one, "lm.baseline", err));
    SAE_GOTO(sae_new(&k.before, vocab, sizeof *k.before, "lm.baseline", err));
    SAE_GOTO(visit(&k, corpus, SAE_SPLIT_TRAIN, train, count, err));
    SAE_GOTO(sum_up(&k, err));
    SAE_GOTO(visit(&k, corpus, SAE_SPLIT_EVAL, eval, score, err));
    if (k.scored == 0)
        SAE_GOTO(SAE_SET(err, SAE_EINVAL, "no word to score: every document is shorter than two"));
    *out = (sae_lm_baseline){.uniform = log((double)vocab),
                             .unigram = k.unigram / (double)k.scored,
                             .bigram = k.bigram / (double)k.scored,
                             .trained = k.N,
                             .scored = k.scored};
fail:
    sae_free(k.one);
    sae_free(k.before);
    sae_free(k.pair);
    sae_free(k.times);
    return rc;
}
