/* suite/models/tokenizer_trie.c - all texts of a set that a string begins with. */
#include "models/tokenizer_pipeline.h"

#include "core/error.h"
#include "core/memory.h"

int sae_trie_open(sae_trie *t, int64_t expected, sae_err *err)
{
    t->nodes = 1;
    return sae_pairs_open(&t->child, expected, err);
}

const sae_pair *sae_trie_step(const sae_trie *t, int32_t node, char byte)
{
    return sae_pairs_find(&t->child, node, (unsigned char)byte);
}

int sae_trie_add(sae_trie *t, const char *p, size_t len, int32_t value, sae_err *err)
{
    sae_pair last = {0};
    for (size_t i = 0; i < len; i++) {
        const sae_pair *next = sae_trie_step(t, last.merged, p[i]);
        if (next) {
            last = *next;
            continue;
        }
        if (t->nodes == INT32_MAX)
            SAE_FAIL(err, SAE_EFORMAT, "vocab: more than %d bytes of text", INT32_MAX);
        last = (sae_pair){last.merged, (unsigned char)p[i], -1, t->nodes++};
        SAE_TRY(sae_pairs_set(&t->child, &last, err));
    }
    if (len == 0 || last.rank >= 0)
        return SAE_OK;
    last.rank = value;
    return sae_pairs_set(&t->child, &last, err);
}

void sae_trie_close(sae_trie *t)
{
    sae_free(t->child.slot);
    *t = (sae_trie){0};
}
