/* suite/models/tokenizer_pattern.c - plain and regular patterns of tokenizer.json.
 *
 * The files are written for Oniguruma. What PCRE2 reads differently is rewritten before compiling:
 * \s, \w, \d and \h with their Unicode meaning, ^ and $ at every line; what has no counterpart is
 * refused.
 */
#include "models/tokenizer_text.h"

#include "core/error.h"
#include "core/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Oniguruma takes the superscripts and fractions of Latin-1 for word characters, outside of
 * brackets only. */
#define LATIN "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
#define HEX "0-9A-Fa-f"

/* NULL: not supported there. */
static const struct {
    char escape;
    const char *outside, *inside; /* of brackets */
} classes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'w', "[" WORD LATIN "]", WORD},
    {'W', "[^" WORD LATIN "]", NULL},
    {'h', "[" HEX "]", HEX},
    {'H', "[^" HEX "]", NULL},
    {'b', NULL, "\\b"},
    {'B', NULL, NULL},
};

/* The escape at p[0..1]; returns 0 if it is not supported. */
static int translate_escape(sae_text *out, const char *p, int inside)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (p[1] == classes[i].escape) {
            const char *as = inside ? classes[i].inside : classes[i].outside;
            if (as)
                sae_text_puts(out, as);
            return as != NULL;
        }
    sae_text_add(out, p, p[1] ? 2 : 1);
    return 1;
}

/* PCRE2's spelling of a pattern; the text that is not supported in *bad, NULL if there is none. */
static void translate(sae_text *out, const char *p, const char **bad)
{
    int inside = 0;
    *bad = NULL;
    for (; *p && !*bad; p++) {
        if (*p == '\\') {
            if (!translate_escape(out, p, inside))
                *bad = p;
            p += p[1] != '\0';
            continue;
        }
        if (inside && ((*p == '[' && p[1] != ':') || (*p == '&' && p[1] == '&')))
            *bad = p; /* classes of classes */
        sae_text_putc(out, *p);
        if (inside && *p == '[') { /* [:name:] */
            const char *end = strstr(p, ":]");
            if (!end)
                *bad = p;
            else
                sae_text_add(out, p + 1, (size_t)(end + 1 - p)), p = end + 1;
        } else if (inside) {
            inside = *p != ']';
        } else if (*p == '[') {
            inside = 1;
            if (p[1] == '^')
                sae_text_putc(out, *++p);
            if (p[1] == ']')
                sae_text_putc(out, *++p);
        }
    }
}

static int compile(sae_pattern *p, const char *text, const char *where, sae_err *err)
{
    int code;
    size_t at;
    const char *bad;
    sae_text own = {0};
    translate(&own, text, &bad);
    char *pattern = sae_text_take(&own);
    if (!pattern)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    if (!bad)
        p->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, NULL);
    sae_free(pattern);
    if (bad)
        SAE_FAIL(err, SAE_EFORMAT, "%s: pattern '%.120s': '%.16s' is not supported", where, text,
                 bad);
    if (!p->code) {
        char why[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        SAE_FAIL(err, SAE_EFORMAT, "%s: pattern '%.120s': %s", where, text, why);
    }
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it, it runs interpreted */
    return SAE_OK;
}

int sae_pattern_open(sae_pattern *p, const char *text, int plain, const char *where, sae_err *err)
{
    if (!*text)
        SAE_FAIL(err, SAE_EFORMAT, "%s: the pattern is empty", where);
    if (!plain)
        return compile(p, text, where, err);
    p->plain = sae_strdup(text);
    p->bytes = strlen(text);
    if (!p->plain)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    return SAE_OK;
}

void sae_pattern_close(sae_pattern *p)
{
    pcre2_code_free(p->code);
    sae_free(p->plain);
    *p = (sae_pattern){0};
}

int sae_scratch_open(sae_scratch *w, sae_err *err)
{
    w->err = err;
    w->match = pcre2_match_data_create(1, NULL);
    if (!w->match)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    return SAE_OK;
}

void sae_scratch_close(sae_scratch *w)
{
    pcre2_match_data_free(w->match);
    w->match = NULL;
}

static int next_plain(const sae_pattern *p, const char *text, size_t len, sae_search *s)
{
    while (len - s->from >= p->bytes) {
        const char *at = memchr(text + s->from, *p->plain, len - s->from - p->bytes + 1);
        if (!at)
            return 0;
        s->start = (size_t)(at - text);
        s->from = s->start + 1;
        if (memcmp(at, p->plain, p->bytes) == 0) {
            s->from = s->end = s->start + p->bytes;
            return 1;
        }
    }
    return 0;
}

static int match(const sae_pattern *p, const char *text, size_t len, size_t from,
                 const sae_scratch *w)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, options, w->match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, options | PCRE2_NO_JIT, w->match,
                         NULL);
    return rc;
}

/* Bytes of the character at text[at] of valid UTF-8. */
static size_t step_over(const char *text, size_t len, size_t at)
{
    size_t to = at + 1;
    while (to < len && ((unsigned char)text[to] & 0xC0) == 0x80)
        to++;
    return to;
}

int sae_pattern_next(const sae_pattern *p, const char *text, size_t len, sae_search *s,
                     const sae_scratch *w)
{
    if (p->plain)
        return next_plain(p, text, len, s);
    while (s->from <= len) {
        int rc = match(p, text, len, s->from, w);
        if (rc == PCRE2_ERROR_NOMATCH)
            return 0;
        if (rc < 0) {
            char why[128];
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
            SAE_FAIL(w->err, SAE_EFORMAT, "cutting the text at byte %zu: %s", s->from, why);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->match);
        if (at[1] < at[0]) /* \K in a look-ahead */
            SAE_FAIL(w->err, SAE_EFORMAT, "cutting the text: a match ends before it starts");
        if (at[0] == at[1] && at[1] == s->last) {
            s->from = step_over(text, len, s->from);
            continue;
        }
        s->start = at[0];
        s->from = s->end = s->last = at[1];
        return 1;
    }
    return 0;
}
