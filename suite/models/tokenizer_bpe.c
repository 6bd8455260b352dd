/* suite/models/tokenizer_bpe.c - ids of a word by byte-pair encoding, and by plain look-up.
 *
 * The symbols of a word are its characters; a character without a token becomes the tokens of its
 * bytes, or the unknown token. Neighbouring pairs then merge by rank.
 */
#include "models/tokenizer_pipeline.h"

#include "core/error.h"

#include <string.h>

int sae_unknown_text(const sae_encoding *e, const char *p, size_t len)
{
    SAE_FAIL(e->scratch.err, SAE_EFORMAT,
             "the vocabulary has no token for '%.*s' and none for unknown text",
             (int)(len < 32 ? len : 32), p);
}

/* Index of a one- or two-byte character; -1 for the longer ones. */
static int short_char(const char *p, size_t len)
{
    unsigned char a = (unsigned char)p[0];
    return len == 1 ? a : len == 2 ? (a & 0x1F) << 6 | ((unsigned char)p[1] & 0x3F) : -1;
}

void sae_bpe_index(sae_tokenizer *t, sae_pipeline *p)
{
    memset(p->char_id, 0xff, sizeof p->char_id);
    for (int32_t c = 0; c < 0x800; c++) {
        char text[2] = {(char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        p->char_id[c] = sae_strings_find(&t->strings, t->token, text, c < 0x80 ? 1 : 2);
    }
}

static int32_t char_id(const sae_encoding *e, const char *p, size_t len)
{
    int index = short_char(p, len);
    return index >= 0 ? e->p->char_id[index]
                      : sae_strings_find(&e->t->strings, e->t->token, p, len);
}

/* Every byte must have a token. */
static int add_bytes(sae_encoding *e, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (e->p->byte_id[(unsigned char)p[i]] < 0)
            return 0;
    for (size_t i = 0; i < len; i++)
        sae_merger_add(&e->merger, e->p->byte_id[(unsigned char)p[i]]);
    return 1;
}

static int add_characters(sae_encoding *e, const char *p, size_t len)
{
    int unknown = 0; /* one is pending, so that the next one can join it */
    for (size_t at = 0, got; at < len; at += got) {
        got = sae_utf8_char(p + at, len - at);
        int32_t id = char_id(e, p + at, got);
        if (id < 0 && e->p->byte_fallback && add_bytes(e, p + at, got))
            continue;
        if (id < 0 && e->t->unknown < 0)
            return sae_unknown_text(e, p + at, got);
        if (unknown && (id >= 0 || !e->p->fuse_unknown))
            sae_merger_add(&e->merger, e->t->unknown);
        unknown = id < 0;
        if (id >= 0)
            sae_merger_add(&e->merger, id);
    }
    if (unknown)
        sae_merger_add(&e->merger, e->t->unknown);
    return SAE_OK;
}

int sae_bpe_word(void *encoding, const char *p, size_t len)
{
    sae_encoding *e = encoding;
    if (e->p->ignore_merges) {
        int32_t id = sae_strings_find(&e->t->strings, e->t->token, p, len);
        if (id >= 0) {
            sae_ids_put(e->out, id);
            return SAE_OK;
        }
    }
    SAE_TRY(sae_merger_reserve(&e->merger, (int64_t)len, e->scratch.err));
    SAE_TRY(add_characters(e, p, len));
    sae_merger_run(&e->merger, &e->t->pairs, e->out);
    return SAE_OK;
}

int sae_wordlevel_word(void *encoding, const char *p, size_t len)
{
    sae_encoding *e = encoding;
    int32_t id = sae_strings_find(&e->t->strings, e->t->token, p, len);
    if (id < 0 && e->t->unknown < 0)
        return sae_unknown_text(e, p, len);
    sae_ids_put(e->out, id < 0 ? e->t->unknown : id);
    return SAE_OK;
}
