/* suite/models/tokenizer_json_model.c - vocabulary, merges and scores of tokenizer.json. */
#include "models/tokenizer_json.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

#define META "\xE2\x96\x81" /* U+2581, SentencePiece's space */

static const double unknown_penalty = 10; /* SentencePiece's */

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* Largest id of {"text": id, ...} or [["text", score], ...] and form of the whole. */
int sae_json_last_id(sae_token_reader *r, json_t *vocab, int32_t *last)
{
    const char *key;
    json_t *v;
    int32_t id;
    size_t i;
    json_array_foreach(vocab, i, v)
    {
        const json_t *text = json_array_get(v, 0);
        if (!json_is_string(text) || !json_is_number(json_array_get(v, 1)) || i > SAE_TOKEN_MAX_ID)
            SAE_FAIL(r->err, SAE_EFORMAT,
                     "model.vocab[%zu]: expected [text, score], at most %d "
                     "of them",
                     i, SAE_TOKEN_MAX_ID + 1);
        *last = (int32_t)i;
    }
    json_object_foreach(vocab, key, v)
    {
        SAE_TRY(sae_json_id(v, "vocab", key, &id, r->err));
        *last = id > *last ? id : *last;
    }
    return SAE_OK;
}

static int put(sae_token_reader *r, int32_t id, const char *text, size_t len)
{
    if (r->t->token[id].text)
        SAE_FAIL(r->err, SAE_EFORMAT, "vocab: id %d of '%.64s' is used twice", (int)id, text);
    sae_json_put_token(r, id, text, len);
    int32_t holder = sae_strings_add(&r->t->strings, r->t->token, id);
    if (holder != id)
        SAE_FAIL(r->err, SAE_EFORMAT, "vocab: '%.64s' is there twice, as %d and as %d", text,
                 (int)holder, (int)id);
    return SAE_OK;
}

int sae_json_vocab(sae_token_reader *r, json_t *vocab)
{
    const char *key;
    json_t *v;
    size_t i, entries = json_object_size(vocab) + json_array_size(vocab);
    SAE_TRY(sae_strings_open(&r->t->strings, (int64_t)entries, r->err));
    json_object_foreach(vocab, key, v)
        SAE_TRY(put(r, (int32_t)json_integer_value(v), key, strlen(key)));
    json_array_foreach(vocab, i, v)
    {
        const json_t *text = json_array_get(v, 0);
        SAE_TRY(put(r, (int32_t)i, json_string_value(text), json_string_length(text)));
    }
    return SAE_OK;
}

/* ---- merges ---------------------------------------------------------------------------------- */

static int add_merge(sae_token_reader *r, int64_t rank, const char *left, size_t left_len,
                     const char *right, size_t right_len)
{
    char both[1024];
    const sae_tokenizer *t = r->t;
    if (rank > INT32_MAX || left_len + right_len > sizeof both)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: longer than %zu bytes", (long long)rank,
                 sizeof both);
    if (left_len == 0 || right_len == 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: expected two tokens", (long long)rank);
    memcpy(both, left, left_len);
    memcpy(both + left_len, right, right_len);
    sae_pair p = {.rank = (int32_t)rank,
                  .left = sae_strings_find(&t->strings, t->token, left, left_len),
                  .right = sae_strings_find(&t->strings, t->token, right, right_len),
                  .merged = sae_strings_find(&t->strings, t->token, both, left_len + right_len)};
    if (p.left < 0 || p.right < 0 || p.merged < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: '%.*s' '%.*s': %s not in the vocabulary",
                 (long long)rank, (int)left_len, left, (int)right_len, right,
                 p.left < 0    ? "the left part is"
                 : p.right < 0 ? "the right part is"
                               : "the result is");
    return sae_pairs_set(&r->t->pairs, &p, r->err);
}

static int add_merge_line(sae_token_reader *r, int64_t rank, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    size_t left = space ? (size_t)(space - line) : len;
    return add_merge(r, rank, line, left, space ? space + 1 : line + len,
                     space ? len - left - 1 : 0);
}

static int load_merges(sae_token_reader *r, const json_t *merges)
{
    json_t *v;
    size_t i;
    if (!json_is_array(merges))
        SAE_FAIL(r->err, SAE_EFORMAT, "model.merges: expected a list");
    SAE_TRY(sae_pairs_open(&r->t->pairs, (int64_t)json_array_size(merges), r->err));
    json_array_foreach(merges, i, v)
    {
        const char *a = json_string_value(json_array_get(v, 0));
        const char *b = json_string_value(json_array_get(v, 1));
        if (json_is_string(v))
            SAE_TRY(add_merge_line(r, (int64_t)i, json_string_value(v), json_string_length(v)));
        else if (a && b)
            SAE_TRY(add_merge(r, (int64_t)i, a, strlen(a), b, strlen(b)));
        else
            SAE_FAIL(r->err, SAE_EFORMAT,
                     "model.merges[%zu]: expected \"left right\" or "
                     "[\"left\", \"right\"]",
                     i);
    }
    return SAE_OK;
}

/* A version comment, then one merge per line. */
int sae_json_merge_text(sae_token_reader *r, const char *text, size_t bytes)
{
    static const char version[] = "#version";
    int64_t rank = 0;
    SAE_TRY(sae_pairs_open(&r->t->pairs, (int64_t)bytes / 8, r->err));
    for (size_t at = 0, next; at < bytes; at = next) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t len = end ? (size_t)(end - (text + at)) : bytes - at;
        next = at + len + 1;
        if (len > 0 && text[at + len - 1] == '\r')
            len--;
        int comment =
            at == 0 && len >= sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0;
        if (len > 0 && !comment)
            SAE_TRY(add_merge_line(r, rank++, text + at, len));
    }
    return SAE_OK;
}

/* Does the text have a U+2581 behind another character? */
static int space_inside(const char *p, size_t len)
{
    static const size_t size = sizeof META - 1;
    for (size_t at = 1; at + size <= len; at++)
        if (memcmp(p + at, META, size) == 0 &&
            (at < size || memcmp(p + at - size, META, size) != 0))
            return 1;
    return 0;
}

/* Where no merge joins a U+2581 to a character in front of it, a text cut in front of every run of
 * U+2581 has the same ids, and words are quicker to merge than whole texts. */
int sae_json_split_words(sae_token_reader *r)
{
    const sae_tokenizer *t = r->t;
    if (r->p->model != sae_bpe_word || r->p->ignore_merges ||
        r->p->steps.count == SAE_TOKEN_STEPS ||
        sae_strings_find(&t->strings, t->token, META, sizeof META - 1) < 0)
        return SAE_OK;
    for (uint64_t i = 0; i <= t->pairs.mask; i++) {
        const sae_pair *p = &t->pairs.slot[i];
        if (p->left >= 0 && space_inside(t->token[p->merged].text, t->token[p->merged].len))
            return SAE_OK;
    }
    return sae_json_split(r, META "+", 0, SAE_SPLIT_NEXT, 0);
}

/* ---- the models ------------------------------------------------------------------------------ */

static void find_byte_tokens(sae_token_reader *r)
{
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        r->p->byte_id[b] = sae_strings_find(&r->t->strings, r->t->token, name, 6);
    }
}

static int refuse(const json_t *model, const char *const *keys, sae_err *err)
{
    for (; *keys; keys++)
        if (!sae_json_inert(json_object_get(model, *keys)))
            SAE_FAIL(err, SAE_EFORMAT, "model.%s: not supported, expected null or false", *keys);
    return SAE_OK;
}

static void find_unknown(sae_token_reader *r, const json_t *model)
{
    const json_t *text = json_object_get(model, "unk_token");
    if (json_is_string(text))
        r->t->unknown = sae_strings_find(&r->t->strings, r->t->token, json_string_value(text),
                                         json_string_length(text));
}

static int load_bpe(sae_token_reader *r, const json_t *model)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", NULL};
    SAE_TRY(refuse(model, refused, r->err));
    SAE_TRY(load_merges(r, json_object_get(model, "merges")));
    find_unknown(r, model);
    r->p->fuse_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    r->p->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    sae_bpe_index(r->t, r->p);
    r->p->model = sae_bpe_word;
    return SAE_OK;
}

static int load_wordlevel(sae_token_reader *r, const json_t *model)
{
    find_unknown(r, model);
    r->p->model = sae_wordlevel_word;
    return SAE_OK;
}

static int load_unigram(sae_token_reader *r, const json_t *model)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    size_t entries = json_array_size(vocab), i;
    json_t *v;
    double lowest = 0;
    if (json_is_integer(unk)) {
        if (json_integer_value(unk) < 0 || json_integer_value(unk) >= (json_int_t)entries)
            SAE_FAIL(r->err, SAE_EFORMAT, "model.unk_id: expected an id below %zu, found %lld",
                     entries, (long long)json_integer_value(unk));
        r->t->unknown = (int32_t)json_integer_value(unk);
    }
    SAE_TRY(sae_new(&r->p->score, r->t->vocab, sizeof(double), "tokenizer.scores", r->err));
    SAE_TRY(sae_trie_open(&r->p->trie, 4 * (int64_t)entries, r->err));
    json_array_foreach(vocab, i, v)
    {
        double score = json_number_value(json_array_get(v, 1));
        lowest = i == 0 || score < lowest ? score : lowest;
        r->p->score[i] = score;
        SAE_TRY(
            sae_trie_add(&r->p->trie, r->t->token[i].text, r->t->token[i].len, (int32_t)i, r->err));
    }
    r->p->unknown_score = lowest - unknown_penalty;
    r->p->model = sae_unigram_word;
    return SAE_OK;
}

int sae_json_model(sae_token_reader *r, const json_t *model)
{
    static const struct {
        const char *type;
        int (*load)(sae_token_reader *r, const json_t *model);
        int list; /* the vocabulary is one */
    } kinds[] = {
        {"BPE", load_bpe, 0}, {"WordLevel", load_wordlevel, 0}, {"Unigram", load_unigram, 1}};
    const json_t *vocab = json_object_get(model, "vocab");
    const char *type = sae_json_type(model);
    if (!*type) /* old files */
        type = json_is_array(vocab) ? "Unigram" : "BPE";
    r->p->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    find_byte_tokens(r);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(type, kinds[i].type) == 0) {
            if (json_is_array(vocab) != kinds[i].list)
                SAE_FAIL(r->err, SAE_EFORMAT, "model.vocab: expected %s",
                         kinds[i].list ? "a list" : "an object");
            return kinds[i].load(r, model);
        }
    SAE_FAIL(r->err, SAE_EFORMAT, "model.type: expected BPE, Unigram or WordLevel, found '%.64s'",
             type);
}
