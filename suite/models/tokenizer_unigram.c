/* suite/models/tokenizer_unigram.c - ids of a word by the most probable path through its tokens.
 *
 * Viterbi: the best score of every prefix, from left to right; on ties the longer last token stays,
 * as it is found first. A character without a token costs the lowest score of the vocabulary less
 * ten; a run of such characters is one unknown token, or the tokens of its bytes.
 */
#include "models/tokenizer_pipeline.h"

#include "core/error.h"
#include "core/memory.h"

static int reserve(sae_encoding *e, int64_t n)
{
    if (n <= e->best_cap)
        return SAE_OK;
    sae_free(e->best);
    e->best = NULL;
    e->best_cap = 0;
    SAE_TRY(sae_new(&e->best, 2 * n, sizeof *e->best, "tokenizer.best", e->scratch.err));
    e->best_cap = 2 * n;
    return SAE_OK;
}

static void offer(sae_best *b, double score, int64_t from, int32_t id)
{
    if (b->from < 0 || score > b->score)
        *b = (sae_best){score, from, id, -1};
}

static int forward(sae_encoding *e, const char *p, size_t len)
{
    sae_best *best = e->best;
    const sae_pipeline *m = e->p;
    best[0].score = 0;
    for (size_t i = 1; i <= len; i++)
        best[i].from = -1;
    for (size_t at = 0, size; at < len; at += size) {
        size = sae_utf8_char(p + at, len - at);
        int single = 0;
        const sae_pair *node;
        int32_t where = 0;
        for (size_t to = at; to < len && (node = sae_trie_step(&m->trie, where, p[to]));) {
            to++;
            where = node->merged;
            if (node->rank < 0)
                continue;
            offer(&best[to], m->score[node->rank] + best[at].score, (int64_t)at, node->rank);
            single |= to == at + size;
        }
        if (!single && e->t->unknown < 0)
            return sae_unknown_text(e, p + at, size);
        if (!single)
            offer(&best[at + size], m->unknown_score + best[at].score, (int64_t)at, e->t->unknown);
    }
    return SAE_OK;
}

static void put_unknown(sae_encoding *e, const char *p, size_t len)
{
    int32_t id = sae_strings_find(&e->t->strings, e->t->token, p, len);
    int bytes = id < 0 && e->p->byte_fallback;
    for (size_t i = 0; i < len && bytes; i++)
        bytes = e->p->byte_id[(unsigned char)p[i]] >= 0;
    for (size_t i = 0; i < len && bytes; i++)
        sae_ids_put(e->out, e->p->byte_id[(unsigned char)p[i]]);
    if (!bytes)
        sae_ids_put(e->out, id < 0 ? e->t->unknown : id);
}

int sae_unigram_word(void *encoding, const char *p, size_t len)
{
    sae_encoding *e = encoding;
    SAE_TRY(reserve(e, (int64_t)len + 1));
    SAE_TRY(forward(e, p, len));
    sae_best *best = e->best;
    /* turn the links around: .from becomes where the token that starts here ends */
    for (int64_t at = (int64_t)len, end = -1; at >= 0;) {
        int64_t from = at > 0 ? best[at].from : -1;
        if (from >= 0)
            best[from].behind = best[at].id;
        best[at].from = end;
        end = at;
        at = from;
    }
    for (int64_t at = 0, end; at < (int64_t)len; at = end) {
        end = best[at].from;
        if (best[at].behind != e->t->unknown) {
            sae_ids_put(e->out, best[at].behind);
            continue;
        }
        while (end < (int64_t)len && best[end].behind == e->t->unknown)
            end = best[end].from;
        put_unknown(e, p + at, (size_t)(end - at));
    }
    return SAE_OK;
}
