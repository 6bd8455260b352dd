/* suite/models/tokenizer_charsmap.c - SentencePiece's precompiled character map.
 *
 * The map is u32 bytes of a trie (little endian), the trie, then the replacements, each ended by a
 * zero byte. The trie is a double array in Darts-clone's layout: a unit holds a label in its low
 * byte, "has a value" in bit 8, the distance to its children in the upper bits; the value, an
 * offset into the replacements, is the unit at that distance.
 *
 * As in the reference implementation a grapheme of less than six bytes is looked up as a whole and
 * its shortest entry replaces all of it; else each of its characters is looked up.
 */
#include "models/tokenizer_impl.h"
#include "models/tokenizer_text.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>
#include <utf8proc.h>

enum { GRAPHEME_BYTES = 6 };

static uint32_t read_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static int64_t decode_base64(const char *s, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int have = 0;
    int64_t n = 0;
    while (len > 0 && s[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        const char *digit = s[i] ? strchr(digits, s[i]) : NULL;
        if (!digit)
            return -1;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have);
        }
    }
    return n;
}

int sae_charsmap_open(sae_rewrite *r, const char *base64, size_t len, sae_err *err)
{
    SAE_TRY(sae_new(&r->content, (int64_t)len + 1, 1, "tokenizer.charsmap", err));
    int64_t bytes = decode_base64(base64, len, r->content);
    uint32_t trie = bytes >= 8 ? read_u32(r->content) : 0;
    if (trie < 4 || trie % 4 != 0 || trie > bytes - 4)
        SAE_FAIL(err, SAE_EFORMAT, "normalizer.precompiled_charsmap: not a character map");
    r->bytes = (size_t)bytes;
    return sae_utf8_check(r->content + 4 + trie, r->bytes - 4 - trie, err);
}

/* The replacement of the shortest entry that the text starts with, NULL if there is none. */
static const char *find(const sae_rewrite *r, const char *p, size_t len, size_t *bytes)
{
    const char *trie = r->content + 4;
    uint32_t units = read_u32(r->content) / 4, at = 0, unit = read_u32(trie);
    for (size_t i = 0; i <= len; i++) {
        at ^= unit >> 10 << ((unit & 1u << 9) >> 6);
        if (at >= units)
            return NULL;
        if (i > 0 && (unit >> 8 & 1)) { /* what was matched so far is an entry */
            size_t from = 4 + 4 * (size_t)units + (read_u32(trie + 4 * at) & 0x7FFFFFFF);
            if (from >= r->bytes || ((unsigned char)r->content[from] & 0xC0) == 0x80)
                return NULL;
            const char *end = memchr(r->content + from, '\0', r->bytes - from);
            *bytes = (end ? (size_t)(end - r->content) : r->bytes) - from;
            return r->content + from;
        }
        if (i == len || p[i] == '\0')
            return NULL;
        at ^= (unsigned char)p[i];
        if (at >= units)
            return NULL;
        unit = read_u32(trie + 4 * at);
        if ((unit & 0x800000FF) != (unsigned char)p[i])
            return NULL;
    }
    return NULL;
}

static int put_mapped(const sae_rewrite *r, const char *p, size_t len, sae_text *out)
{
    size_t bytes;
    const char *as = find(r, p, len, &bytes);
    if (as)
        sae_text_add(out, as, bytes);
    return as != NULL;
}

static size_t grapheme(const char *p, size_t len)
{
    utf8proc_int32_t before = -1, c, state = 0;
    size_t at = 0;
    /* nothing in ASCII joins a printable character */
    if ((signed char)*p >= ' ' && (len == 1 || (signed char)p[1] >= ' '))
        return 1;
    while (at < len) {
        size_t got = sae_utf8_char(p + at, len - at);
        utf8proc_iterate((const utf8proc_uint8_t *)p + at, (utf8proc_ssize_t)got, &c);
        if (before >= 0 && utf8proc_grapheme_break_stateful(before, c, &state))
            break;
        before = c;
        at += got;
    }
    return at;
}

int sae_rewrite_charsmap(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                         const sae_scratch *w)
{
    (void)first, (void)w;
    for (size_t at = 0, size; at < len; at += size) {
        size = grapheme(p + at, len - at);
        if (size < GRAPHEME_BYTES && put_mapped(r, p + at, size, out))
            continue;
        for (size_t in = at, got; in < at + size; in += got) {
            got = sae_utf8_char(p + in, at + size - in);
            if (!put_mapped(r, p + in, got, out))
                sae_text_add(out, p + in, got);
        }
    }
    return SAE_OK;
}
