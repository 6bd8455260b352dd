/* suite/models/tokenizer_bpe.c - byte-level byte-pair encoding (GPT-2 and its descendants).
 *
 * Text is cut step by step: added tokens out of the raw text, normalisation, added tokens out of
 * the normalised text, then the patterns of the pre-tokenizer one inside the other. What is left is
 * a word: its bytes are the symbols, and pairs merge by rank.
 */
#include "models/tokenizer_bpe.h"

#include "core/error.h"
#include "core/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

const char sae_bpe_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* One encoding in progress. */
typedef struct work {
    const sae_tokenizer *t;
    const sae_bpe *b;
    sae_ids *out;
    sae_merger merger;
    pcre2_match_data *match;
    sae_err *err;
} work;

/* \s and \S of PCRE2 count U+180E as white space, which Unicode and the original patterns do not:
 * write them as the Unicode property. Caller frees; NULL: out of memory. */
static char *unicode_spaces(const char *pattern)
{
    static const char property[] = "\\p{White_Space}";
    size_t len = strlen(pattern), used = 0;
    char *out = sae_alloc(len * (sizeof property / 2) + 1);
    if (!out)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        int escape = pattern[i] == '\\' && i + 1 < len;
        if (escape && (pattern[i + 1] == 's' || pattern[i + 1] == 'S')) {
            memcpy(out + used, property, sizeof property - 1);
            out[used + 1] = pattern[++i] == 's' ? 'p' : 'P';
            used += sizeof property - 1;
        } else {
            out[used++] = pattern[i];
            if (escape)
                out[used++] = pattern[++i];
        }
    }
    out[used] = '\0';
    return out;
}

int sae_bpe_add_stage(sae_bpe *b, const char *pattern, int literal, int keep_match, int keep_gap,
                      sae_err *err)
{
    if (b->stages == SAE_BPE_STAGES)
        SAE_FAIL(err, SAE_EFORMAT, "pre_tokenizer: more than %d patterns", SAE_BPE_STAGES);
    char *text = literal ? sae_strdup(pattern) : unicode_spaces(pattern);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    uint32_t flags = literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    int code;
    size_t at;
    sae_bpe_stage *s = &b->stage[b->stages];
    s->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, flags | PCRE2_UTF, &code, &at,
                            NULL);
    sae_free(text);
    if (!s->code) {
        char why[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        SAE_FAIL(err, SAE_EFORMAT, "pre_tokenizer: pattern '%s': %s", pattern, why);
    }
    s->keep_match = keep_match;
    s->keep_gap = keep_gap;
    b->stages++;
    return SAE_OK;
}

static int by_first_byte(const void *a, const void *b)
{
    const sae_bpe_added *x = a, *y = b;
    int dx = (unsigned char)*x->text, dy = (unsigned char)*y->text;
    if (dx != dy)
        return dx - dy;
    return (x->len < y->len) - (x->len > y->len);
}

void sae_bpe_index_cuts(sae_bpe_cuts *c)
{
    if (c->count)
        qsort(c->token, (size_t)c->count, sizeof *c->token, by_first_byte);
    for (int64_t i = 0; i < c->count; i++)
        c->first[(unsigned char)*c->token[i].text + 1]++;
    for (int b = 0; b < 256; b++)
        c->first[b + 1] += c->first[b];
}

static int encode_word(work *w, const char *p, size_t len)
{
    if (w->b->ignore_merges) {
        int32_t id = sae_strings_find(&w->t->strings, w->t->piece, p, len);
        if (id >= 0) {
            sae_ids_put(w->out, id);
            return SAE_OK;
        }
    }
    SAE_TRY(sae_merger_reserve(&w->merger, (int64_t)len, w->err));
    for (size_t i = 0; i < len; i++) {
        int32_t id = w->b->byte_id[(unsigned char)p[i]];
        if (id < 0)
            id = w->t->unknown;
        if (id < 0)
            SAE_FAIL(w->err, SAE_EFORMAT, "the vocabulary has no token for byte 0x%02X",
                     (unsigned)(unsigned char)p[i]);
        sae_merger_add(&w->merger, id);
    }
    sae_merger_run(&w->merger, &w->t->pairs, w->out);
    return SAE_OK;
}

/* The next non-empty match at or behind `from`; *start == len when there is none. */
static int find(work *w, const sae_bpe_stage *s, const char *p, size_t len, size_t from,
                size_t span[2])
{
    span[0] = span[1] = len;
    while (from < len) {
        int rc = pcre2_match(s->code, (PCRE2_SPTR)p, len, from, PCRE2_NO_UTF_CHECK, w->match, NULL);
        if (rc == PCRE2_ERROR_NOMATCH)
            return SAE_OK;
        if (rc < 0) {
            char why[128];
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
            SAE_FAIL(w->err, SAE_EFORMAT, "pre_tokenizer: cutting the text at byte %zu: %s", from,
                     why);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->match);
        if (at[1] > at[0]) {
            span[0] = at[0];
            span[1] = at[1];
            return SAE_OK;
        }
        from = at[0] + (at[0] < len ? sae_utf8_char(p + at[0], len - at[0]) : 1);
    }
    return SAE_OK;
}

static int cut_by_stage(work *w, int stage, const char *p, size_t len)
{
    if (len == 0)
        return SAE_OK;
    if (stage == w->b->stages)
        return encode_word(w, p, len);
    const sae_bpe_stage *s = &w->b->stage[stage];
    for (size_t from = 0, span[2]; from < len; from = span[1]) {
        SAE_TRY(find(w, s, p, len, from, span));
        if (s->keep_gap)
            SAE_TRY(cut_by_stage(w, stage + 1, p + from, span[0] - from));
        if (s->keep_match)
            SAE_TRY(cut_by_stage(w, stage + 1, p + span[0], span[1] - span[0]));
    }
    return SAE_OK;
}

static int encode_stretch(work *w, const char *p, size_t len)
{
    if (!w->b->prefix_space || len == 0 || *p == ' ')
        return cut_by_stage(w, 0, p, len);
    char *copy = sae_alloc(len + 1);
    if (!copy)
        SAE_FAIL(w->err, SAE_ENOMEM, "out of memory");
    copy[0] = ' ';
    memcpy(copy + 1, p, len);
    int rc = cut_by_stage(w, 0, copy, len + 1);
    sae_free(copy);
    return rc;
}

static const sae_bpe_added *added_at(const sae_bpe_cuts *c, const char *p, size_t len)
{
    unsigned char b = (unsigned char)*p;
    for (int64_t i = c->first[b]; i < c->first[b + 1]; i++)
        if (c->token[i].len <= len && memcmp(c->token[i].text, p, c->token[i].len) == 0)
            return &c->token[i];
    return NULL;
}

static int cut_added(work *w, int which, const char *p, size_t len);

static int normalize(work *w, const char *p, size_t len)
{
    size_t ascii = 0;
    while (ascii < len && (unsigned char)p[ascii] < 0x80)
        ascii++;
    if (!w->b->normalize || ascii == len) /* every normal form leaves ASCII alone */
        return cut_added(w, 1, p, len);
    utf8proc_uint8_t *normal;
    utf8proc_ssize_t got = utf8proc_map((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)len, &normal,
                                        (utf8proc_option_t)w->b->normalize);
    if (got < 0)
        SAE_FAIL(w->err, got == UTF8PROC_ERROR_NOMEM ? SAE_ENOMEM : SAE_EFORMAT,
                 "normalizer: %s", utf8proc_errmsg(got));
    int rc = cut_added(w, 1, (const char *)normal, (size_t)got);
    free(normal);
    return rc;
}

static int cut_added(work *w, int which, const char *p, size_t len)
{
    const sae_bpe_cuts *c = &w->b->cuts[which];
    int (*rest)(work *, const char *, size_t) = which == 0 ? normalize : encode_stretch;
    size_t from = 0;
    for (size_t at = 0; at < len && c->count > 0;) {
        const sae_bpe_added *token = added_at(c, p + at, len - at);
        if (!token) {
            at++;
            continue;
        }
        SAE_TRY(rest(w, p + from, at - from));
        sae_ids_put(w->out, token->id);
        from = at += token->len;
    }
    return rest(w, p + from, len - from);
}

static int encode(const sae_tokenizer *t, const char *text, size_t bytes, sae_ids *out,
                  sae_err *err)
{
    work w = {.t = t, .b = t->scheme, .out = out, .err = err};
    w.match = pcre2_match_data_create(1, NULL);
    if (!w.match)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = cut_added(&w, 0, text, bytes);
    pcre2_match_data_free(w.match);
    sae_merger_close(&w.merger);
    return rc;
}

static void release(void *scheme)
{
    sae_bpe *b = scheme;
    for (int i = 0; i < b->stages; i++)
        pcre2_code_free(b->stage[i].code);
    sae_free(b->cuts[0].token);
    sae_free(b->cuts[1].token);
    sae_free(b);
}

int sae_bpe_open(sae_tokenizer *t, sae_bpe **bpe, sae_err *err)
{
    SAE_TRY(sae_new(bpe, 1, sizeof **bpe, "tokenizer.bpe", err));
    t->scheme = *bpe;
    t->encode = encode;
    t->release = release;
    memset((*bpe)->byte_id, 0xff, sizeof (*bpe)->byte_id);
    return SAE_OK;
}
