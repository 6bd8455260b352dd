/* suite/models/tokenizer_rewrite.c - normalizers, and what decoders do with single tokens. */
#include "models/tokenizer_impl.h"
#include "models/tokenizer_text.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { BYTE_CHARS = 0x144 }; /* GPT-2 writes bytes as characters below U+0144 */

static void put_char(sae_text *out, utf8proc_int32_t c)
{
    utf8proc_uint8_t bytes[4];
    sae_text_add(out, (const char *)bytes, (size_t)utf8proc_encode_char(c, bytes));
}

/* The character at p of valid UTF-8; returns its bytes. */
static size_t get_char(const char *p, size_t len, utf8proc_int32_t *c)
{
    utf8proc_ssize_t got =
        utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)(len > 4 ? 4 : len), c);
    return got > 0 ? (size_t)got : 1;
}

int sae_rewrite_replace(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                        const sae_scratch *w)
{
    (void)first;
    sae_search s = {.last = SIZE_MAX};
    size_t done = 0;
    int found;
    while ((found = sae_pattern_next(&r->pattern, p, len, &s, w)) > 0) {
        sae_text_add(out, p + done, s.start - done);
        sae_text_add(out, r->content, r->bytes);
        done = s.end;
    }
    sae_text_add(out, p + done, len - done);
    return found;
}

int sae_rewrite_prefix(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                       const sae_scratch *w)
{
    (void)w;
    int there = len >= r->bytes && memcmp(p, r->content, r->bytes) == 0;
    int wanted = len > 0 && !(there && (r->options & SAE_PREFIX_MISSING)) &&
                 !(!first && (r->options & SAE_PREFIX_FIRST));
    if (wanted)
        sae_text_add(out, r->content, r->bytes);
    sae_text_add(out, p, len);
    return SAE_OK;
}

static int form(const sae_rewrite *r, const char *p, size_t len, sae_text *out, sae_err *err)
{
    utf8proc_uint8_t *normal;
    utf8proc_ssize_t got = utf8proc_map((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)len, &normal,
                                        (utf8proc_option_t)r->options);
    if (got < 0)
        SAE_FAIL(err, got == UTF8PROC_ERROR_NOMEM ? SAE_ENOMEM : SAE_EFORMAT, "normalizer: %s",
                 utf8proc_errmsg(got));
    sae_text_add(out, (const char *)normal, (size_t)got);
    free(normal);
    return SAE_OK;
}

/* Every normal form leaves ASCII alone, and what follows an ASCII character changes with none in
 * front of that: only stretches of other characters, with the one before them, are normalised. */
int sae_rewrite_form(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                     const sae_scratch *w)
{
    (void)first;
    for (size_t at = 0; at < len;) {
        size_t plain = at, end;
        while (plain < len && (unsigned char)p[plain] < 0x80)
            plain++;
        for (end = plain; end < len && (unsigned char)p[end] >= 0x80;)
            end++;
        if (plain > at && end > plain)
            plain--;
        sae_text_add(out, p + at, plain - at);
        if (end > plain)
            SAE_TRY(form(r, p + plain, end - plain, out, w->err));
        at = end;
    }
    return SAE_OK;
}

int sae_rewrite_lowercase(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                          const sae_scratch *w)
{
    (void)r, (void)first, (void)w;
    utf8proc_int32_t c;
    for (size_t at = 0; at < len;) {
        at += get_char(p + at, len - at, &c);
        put_char(out, utf8proc_tolower(c));
        if (c == 0x130) /* the one character whose lower case is two: i and a dot above */
            put_char(out, 0x307);
    }
    return SAE_OK;
}

static int is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

size_t sae_spaces_in_front(const char *p, size_t len)
{
    utf8proc_int32_t c;
    size_t at = 0, got;
    while (at < len && (got = get_char(p + at, len - at, &c), is_space(c)))
        at += got;
    return at;
}

size_t sae_spaces_behind(const char *p, size_t len)
{
    utf8proc_int32_t c;
    size_t end = len;
    while (end > 0) {
        size_t at = end - 1;
        while (at > 0 && ((unsigned char)p[at] & 0xC0) == 0x80)
            at--;
        get_char(p + at, end - at, &c);
        if (!is_space(c))
            break;
        end = at;
    }
    return len - end;
}

int sae_rewrite_strip(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                      const sae_scratch *w)
{
    (void)first, (void)w;
    size_t left = r->options & SAE_STRIP_LEFT ? sae_spaces_in_front(p, len) : 0;
    size_t right = r->options & SAE_STRIP_RIGHT ? sae_spaces_behind(p + left, len - left) : 0;
    sae_text_add(out, p + left, len - left - right);
    return SAE_OK;
}

int sae_rewrite_strip_accents(const sae_rewrite *r, const char *p, size_t len, int first,
                              sae_text *out, const sae_scratch *w)
{
    (void)r, (void)first, (void)w;
    utf8proc_int32_t c;
    for (size_t at = 0, got; at < len; at += got) {
        got = get_char(p + at, len - at, &c);
        utf8proc_category_t kind = utf8proc_category(c);
        if (kind != UTF8PROC_CATEGORY_MN && kind != UTF8PROC_CATEGORY_MC &&
            kind != UTF8PROC_CATEGORY_ME)
            sae_text_add(out, p + at, got);
    }
    return SAE_OK;
}

/* Printable Latin-1 stands for itself, the other 68 bytes in order for U+0100, U+0101, ... */
static int is_plain(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static utf8proc_int32_t char_of_byte(int byte)
{
    if (is_plain(byte))
        return byte;
    int below = byte <= 32 ? byte : byte <= 160 ? byte - 94 : 67; /* bytes not plain below it */
    return 0x100 + below;
}

static int byte_of_char(utf8proc_int32_t c)
{
    if (c < 0x100)
        return is_plain(c) ? c : -1;
    int below = c - 0x100;
    return c >= BYTE_CHARS ? -1 : below <= 32 ? below : below < 67 ? below + 94 : 173;
}

int sae_rewrite_bytes(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                      const sae_scratch *w)
{
    (void)r, (void)first, (void)w;
    for (size_t from = 0, at = 0; from < len; from = ++at) {
        while (at < len && p[at] >= 33 && p[at] <= 126)
            at++;
        sae_text_add(out, p + from, at - from);
        if (at < len)
            put_char(out, char_of_byte((unsigned char)p[at]));
    }
    return SAE_OK;
}

int sae_rewrite_unbytes(const sae_rewrite *r, const char *p, size_t len, int first, sae_text *out,
                        const sae_scratch *w)
{
    (void)r, (void)first, (void)w;
    size_t before = out->len;
    utf8proc_int32_t c;
    for (size_t at = 0; at < len;) {
        at += get_char(p + at, len - at, &c);
        int byte = byte_of_char(c);
        if (byte < 0) {
            out->len = before;
            sae_text_add(out, p, len);
            break;
        }
        sae_text_putc(out, (char)byte);
    }
    return SAE_OK;
}

/* The byte that a token "<0x0A>" stands for, -1 if it is none. */
static int byte_of_token(const char *p, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    if (len != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>' || !p[3] || !p[4])
        return -1;
    const char *high = strchr(digits, p[3]), *low = strchr(digits, p[4]);
    return high && low ? (int)(high - digits) * 16 + (int)(low - digits) : -1;
}

int sae_rewrite_byte_token(const sae_rewrite *r, const char *p, size_t len, int first,
                           sae_text *out, const sae_scratch *w)
{
    (void)r, (void)first, (void)w;
    int byte = byte_of_token(p, len);
    if (byte >= 0)
        sae_text_putc(out, (char)byte);
    else
        sae_text_add(out, p, len);
    return SAE_OK;
}

int sae_rewrites_run(const sae_rewrites *r, const char **p, size_t *len, int first, sae_text buf[2],
                     const sae_scratch *w)
{
    for (int i = 0; i < r->count; i++) {
        sae_text *out = &buf[i & 1];
        out->len = 0;
        SAE_TRY(r->step[i].apply(&r->step[i], *p, *len, first, out, w));
        sae_text_add(out, "", 0);
        if (out->failed)
            SAE_FAIL(w->err, SAE_ENOMEM, "out of memory");
        *p = out->p;
        *len = out->len;
    }
    return SAE_OK;
}

void sae_rewrite_close(sae_rewrite *r)
{
    sae_pattern_close(&r->pattern);
    sae_free(r->content);
    *r = (sae_rewrite){0};
}

void sae_rewrites_close(sae_rewrites *r)
{
    for (int i = 0; i < r->count; i++)
        sae_rewrite_close(&r->step[i]);
    r->count = 0;
}
