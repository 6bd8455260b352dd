/* suite/models/lm_corpus.c - the contexts of a text file as an endless stream of documents. */
#include "models/lm_corpus.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>

struct sae_lm_text {
    const sae_docs *all;
    uint64_t seed;
    int64_t *which[2]; /* contexts of each split, ascending */
    int64_t N[2];
    int64_t *start;    /* of the documents of one call */
    int32_t *tok;
    uint64_t *doc;
    int64_t cap_N, cap_tokens;
};

int sae_lm_text_open(sae_lm_text **out, const sae_docs *docs, uint64_t seed, double eval_share,
                     sae_err *err)
{
    int rc;
    *out = NULL;
    SAE_TRY(sae_new(out, 1, sizeof **out, "lm.text", err));
    sae_lm_text *t = *out;
    t->all = docs;
    t->seed = seed;
    for (int i = 0; i < 2; i++)
        SAE_GOTO(sae_new(&t->which[i], docs->c.N, sizeof *t->which[i], "lm.text", err));
    for (int64_t i = 0; i < docs->c.N; i++) {
        enum sae_split s = sae_split_of(seed, (uint64_t)i, eval_share);
        t->which[s][t->N[s]++] = i;
    }
    if (t->N[SAE_SPLIT_TRAIN] == 0 || t->N[SAE_SPLIT_EVAL] == 0)
        SAE_GOTO(SAE_SET(err, SAE_EINVAL, "%lld contexts of text: expected some for training and "
                         "some for evaluation, found %lld and %lld; change the share or the seed",
                         (long long)docs->c.N, (long long)t->N[SAE_SPLIT_TRAIN],
                         (long long)t->N[SAE_SPLIT_EVAL]));
    return SAE_OK;
fail:
    sae_lm_text_close(out);
    return rc;
}

void sae_lm_text_close(sae_lm_text **text)
{
    sae_lm_text *t = *text;
    *text = NULL;
    if (!t)
        return;
    sae_free(t->which[0]);
    sae_free(t->which[1]);
    sae_free(t->start);
    sae_free(t->tok);
    sae_free(t->doc);
    sae_free(t);
}

int64_t sae_lm_text_eval(const sae_lm_text *t)
{
    return t->N[SAE_SPLIT_EVAL];
}

/* The context that stands at number `at` of a split. */
static int64_t context_at(const sae_lm_text *t, enum sae_split split, uint64_t at)
{
    uint64_t n = (uint64_t)t->N[split], i = at % n;
    if (split == SAE_SPLIT_TRAIN)
        i = sae_permute(t->seed, at / n, n, i);
    return t->which[split][i];
}

static int reserve(sae_lm_text *t, int64_t N, int64_t tokens, sae_err *err)
{
    if (N > t->cap_N) {
        sae_free(t->start);
        sae_free(t->doc);
        t->start = NULL;
        t->doc = NULL;
        t->cap_N = 0;
        SAE_TRY(sae_new(&t->start, N + 1, sizeof *t->start, "lm.text", err));
        SAE_TRY(sae_new(&t->doc, N, sizeof *t->doc, "lm.text", err));
        t->cap_N = N;
    }
    if (tokens > t->cap_tokens) {
        sae_free(t->tok);
        t->tok = NULL;
        t->cap_tokens = 0;
        SAE_TRY(sae_new(&t->tok, tokens, sizeof *t->tok, "lm.text", err));
        t->cap_tokens = tokens;
    }
    return SAE_OK;
}

int sae_lm_text_docs(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                     sae_err *err)
{
    sae_lm_text *t = self;
    const sae_contexts *c = &t->all->c;
    int64_t tokens = 0, used = 0;
    if (split == SAE_SPLIT_EVAL && doc0 + (uint64_t)N > (uint64_t)t->N[split])
        SAE_FAIL(err, SAE_EINVAL, "evaluation contexts up to %llu: the text has %lld",
                 (unsigned long long)doc0 + (unsigned long long)N, (long long)t->N[split]);
    for (int64_t i = 0; i < N; i++) {
        int64_t k = context_at(t, split, doc0 + (uint64_t)i);
        tokens += c->start[k + 1] - c->start[k];
    }
    SAE_TRY(reserve(t, N, tokens, err));
    for (int64_t i = 0; i < N; i++) {
        int64_t k = context_at(t, split, doc0 + (uint64_t)i), n = c->start[k + 1] - c->start[k];
        memcpy(t->tok + used, c->tok + c->start[k], (size_t)n * sizeof *t->tok);
        t->start[i] = used;
        t->doc[i] = t->all->doc[k];
        used += n;
    }
    t->start[N] = used;
    *out = (sae_docs){.c = {N, t->start, t->tok}, .doc = t->doc};
    return SAE_OK;
}
