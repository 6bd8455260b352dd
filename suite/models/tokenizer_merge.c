/* suite/models/tokenizer_merge.c - tables of tokens and pairs, and merging by rank.
 *
 * Merging keeps the symbols in a linked list and the pairs that have a rank in a binary heap
 * ordered by (rank, position), so that n symbols cost O(n log n). A queued pair is stale when one
 * of its two symbols has changed since; merged text only grows, so comparing ids is enough.
 */
#include "models/tokenizer_impl.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>
#include <xxhash.h>

int sae_tokens_open(sae_tokenizer *t, int64_t vocab, size_t text_bytes, sae_err *err)
{
    t->vocab = vocab;
    SAE_TRY(sae_new(&t->token, vocab, sizeof *t->token, "tokenizer.tokens", err));
    return sae_new(&t->token_text, (int64_t)text_bytes, 1, "tokenizer.text", err);
}

static uint64_t table_size(int64_t entries)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)entries)
        size *= 2;
    return size;
}

int sae_strings_open(sae_strings *s, int64_t entries, sae_err *err)
{
    uint64_t size = table_size(entries);
    SAE_TRY(sae_new(&s->slot, (int64_t)size, sizeof *s->slot, "tokenizer.strings", err));
    memset(s->slot, 0xff, size * sizeof *s->slot);
    s->mask = size - 1;
    return SAE_OK;
}

/* The slot that holds the text, or the free one where it belongs. */
static int32_t *string_slot(const sae_strings *s, const sae_piece *pieces, const char *p,
                            size_t len)
{
    uint64_t i = XXH3_64bits(p, len) & s->mask;
    for (;; i = (i + 1) & s->mask) {
        int32_t id = s->slot[i];
        if (id < 0 || (pieces[id].len == len && memcmp(pieces[id].text, p, len) == 0))
            return &s->slot[i];
    }
}

int32_t sae_strings_add(sae_strings *s, const sae_piece *pieces, int32_t id)
{
    int32_t *slot = string_slot(s, pieces, pieces[id].text, pieces[id].len);
    if (*slot < 0)
        *slot = id;
    return *slot;
}

int32_t sae_strings_find(const sae_strings *s, const sae_piece *pieces, const char *p, size_t len)
{
    return *string_slot(s, pieces, p, len);
}

int sae_pairs_open(sae_pairs *p, int64_t expected, sae_err *err)
{
    uint64_t size = table_size(expected);
    SAE_TRY(sae_new(&p->slot, (int64_t)size, sizeof *p->slot, "tokenizer.pairs", err));
    for (uint64_t i = 0; i < size; i++)
        p->slot[i].left = -1;
    p->mask = size - 1;
    p->count = 0;
    return SAE_OK;
}

static sae_pair *pair_slot(const sae_pairs *p, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    /* bits below 32 of the product know nothing of `left` */
    uint64_t i = key * 0x9E3779B97F4A7C15u >> 32 & p->mask;
    while (p->slot[i].left >= 0 && (p->slot[i].left != left || p->slot[i].right != right))
        i = (i + 1) & p->mask;
    return &p->slot[i];
}

const sae_pair *sae_pairs_find(const sae_pairs *p, int32_t left, int32_t right)
{
    const sae_pair *slot = pair_slot(p, left, right);
    return slot->left < 0 ? NULL : slot;
}

static int pairs_double(sae_pairs *p, sae_err *err)
{
    sae_pairs bigger = {0};
    SAE_TRY(sae_pairs_open(&bigger, (int64_t)(p->mask + 1), err));
    for (uint64_t i = 0; i <= p->mask; i++)
        if (p->slot[i].left >= 0)
            *pair_slot(&bigger, p->slot[i].left, p->slot[i].right) = p->slot[i];
    bigger.count = p->count;
    sae_free(p->slot);
    *p = bigger;
    return SAE_OK;
}

int sae_pairs_set(sae_pairs *p, const sae_pair *pair, sae_err *err)
{
    if (2 * (p->count + 1) > p->mask + 1)
        SAE_TRY(pairs_double(p, err));
    sae_pair *slot = pair_slot(p, pair->left, pair->right);
    p->count += slot->left < 0;
    *slot = *pair;
    return SAE_OK;
}

void sae_ids_put(sae_ids *out, int32_t id)
{
    if (out->count < out->cap)
        out->id[out->count] = id;
    out->count++;
}

int sae_merger_reserve(sae_merger *m, int64_t symbols, sae_err *err)
{
    m->count = m->queued = 0;
    if (symbols <= m->cap)
        return SAE_OK;
    sae_merger_close(m);
    int64_t cap = symbols + symbols / 2 + 16;
    int rc = sae_new(&m->sym, cap, sizeof *m->sym, "tokenizer.symbols", err);
    if (rc >= 0) /* n - 1 pairs at first, at most two more for each of at most n - 1 merges */
        rc = sae_new(&m->heap, cap, 3 * sizeof *m->heap, "tokenizer.queue", err);
    if (rc < 0)
        sae_merger_close(m);
    else
        m->cap = cap;
    return rc;
}

void sae_merger_close(sae_merger *m)
{
    sae_free(m->sym);
    sae_free(m->heap);
    *m = (sae_merger){0};
}

void sae_merger_add(sae_merger *m, int32_t id)
{
    int64_t i = m->count++;
    m->sym[i] = (sae_symbol){.id = id, .prev = i - 1, .next = i + 1};
}

static int before(const sae_queued *a, const sae_queued *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

/* Queue the pair whose left symbol is `at`, if it has a rank. */
static void enqueue(sae_merger *m, const sae_pairs *pairs, int64_t at)
{
    int64_t next = m->sym[at].next;
    if (next >= m->count)
        return;
    const sae_pair *p = pair_slot(pairs, m->sym[at].id, m->sym[next].id);
    if (p->left < 0)
        return;
    sae_queued q = {p->rank, p->left, p->right, p->merged, at};
    int64_t i = m->queued++;
    for (int64_t up; i > 0 && before(&q, &m->heap[up = (i - 1) / 2]); i = up)
        m->heap[i] = m->heap[up];
    m->heap[i] = q;
}

static sae_queued dequeue(sae_merger *m)
{
    sae_queued top = m->heap[0], last = m->heap[--m->queued];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= m->queued)
            break;
        if (child + 1 < m->queued && before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!before(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

void sae_merger_run(sae_merger *m, const sae_pairs *pairs, sae_ids *out)
{
    for (int64_t i = 0; i + 1 < m->count; i++)
        enqueue(m, pairs, i);
    while (m->queued > 0) {
        sae_queued q = dequeue(m);
        sae_symbol *left = &m->sym[q.at];
        if (left->id != q.left || left->next >= m->count || m->sym[left->next].id != q.right)
            continue;
        sae_symbol *right = &m->sym[left->next];
        left->id = q.merged;
        left->next = right->next;
        right->id = -1;
        if (left->next < m->count)
            m->sym[left->next].prev = q.at;
        if (left->prev >= 0)
            enqueue(m, pairs, left->prev);
        enqueue(m, pairs, q.at);
    }
    for (int64_t i = 0; i < m->count; i = m->sym[i].next)
        sae_ids_put(out, m->sym[i].id);
}
