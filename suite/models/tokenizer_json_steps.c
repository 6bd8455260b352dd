/* suite/models/tokenizer_json_steps.c - normalizer, pre_tokenizer and decoder of tokenizer.json. */
#include "models/tokenizer_json.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>
#include <utf8proc.h>

#define WORD "\\w\\x{200C}\\x{200D}"

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char punctuation[] = "[\\p{P}!-/:-@\\[-`{-~]";

typedef int (*load_fn)(sae_token_reader *r, const json_t *o);
typedef struct kind {
    const char *type;
    load_fn load;
} kind;

static int load(sae_token_reader *r, const json_t *o, const char *where, const char *list,
                const kind *kinds)
{
    const json_t *items = json_object_get(o, list);
    const char *type = sae_json_type(o);
    if (sae_json_inert(o))
        return SAE_OK;
    if (strcmp(type, "Sequence") == 0 && json_is_array(items)) {
        for (size_t i = 0; i < json_array_size(items); i++)
            SAE_TRY(load(r, json_array_get(items, i), where, list, kinds));
        return SAE_OK;
    }
    for (const kind *k = kinds; k->type; k++)
        if (strcmp(type, k->type) == 0)
            return k->load(r, o);
    SAE_FAIL(r->err, SAE_EFORMAT, "%s.type: '%.64s' is not supported", where, type);
}

static int next_rewrite(sae_token_reader *r, sae_rewrites *list, sae_rewrite_fn *apply,
                        sae_rewrite **step)
{
    *step = NULL;
    if (list->count == SAE_TOKEN_STEPS)
        SAE_FAIL(r->err, SAE_EFORMAT, "normalizer and decoder: more than %d steps",
                 SAE_TOKEN_STEPS);
    *step = &list->step[list->count++];
    (*step)->apply = apply;
    return SAE_OK;
}

static int set_content(sae_token_reader *r, sae_rewrite *s, const char *text)
{
    s->content = sae_strdup(text);
    s->bytes = strlen(text);
    if (!s->content)
        SAE_FAIL(r->err, SAE_ENOMEM, "out of memory");
    return SAE_OK;
}

static int text_of(sae_token_reader *r, const json_t *o, const char *where, const char *key,
                   const char **text)
{
    *text = json_string_value(json_object_get(o, key));
    if (!*text)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s.%s: expected a text", where, key);
    return SAE_OK;
}

/* {"String": text} or {"Regex": text} */
static int open_pattern(sae_token_reader *r, const json_t *o, const char *where, sae_pattern *p)
{
    const json_t *pattern = json_object_get(o, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *plain = json_string_value(json_object_get(pattern, "String"));
    if (!regex && !plain)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s.pattern: expected Regex or String", where);
    return sae_pattern_open(p, regex ? regex : plain, !regex, where, r->err);
}

/* ---- normalizer ------------------------------------------------------------------------------ */

static int load_form(sae_token_reader *r, const json_t *o)
{
    const char *type = sae_json_type(o); /* NFC, NFD, NFKC, NFKD */
    sae_rewrite *s;
    SAE_TRY(next_rewrite(r, &r->p->normal, sae_rewrite_form, &s));
    s->options = UTF8PROC_STABLE;
    s->options |= type[2] == 'K' ? UTF8PROC_COMPAT : 0;
    s->options |= type[strlen(type) - 1] == 'C' ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    return SAE_OK;
}

static int load_prepend(sae_token_reader *r, const json_t *o)
{
    const char *text;
    sae_rewrite *s;
    SAE_TRY(text_of(r, o, "normalizer", "prepend", &text));
    SAE_TRY(next_rewrite(r, &r->p->normal, sae_rewrite_prefix, &s));
    return set_content(r, s, text);
}

static int set_replace(sae_token_reader *r, const json_t *o, const char *where, sae_rewrite *s)
{
    const char *text;
    SAE_TRY(text_of(r, o, where, "content", &text));
    SAE_TRY(set_content(r, s, text));
    return open_pattern(r, o, where, &s->pattern);
}

static int load_replace(sae_token_reader *r, const json_t *o)
{
    sae_rewrite *s;
    SAE_TRY(next_rewrite(r, &r->p->normal, sae_rewrite_replace, &s));
    return set_replace(r, o, "normalizer", s);
}

static int load_lowercase(sae_token_reader *r, const json_t *o)
{
    (void)o;
    sae_rewrite *s;
    return next_rewrite(r, &r->p->normal, sae_rewrite_lowercase, &s);
}

static int load_strip(sae_token_reader *r, const json_t *o)
{
    sae_rewrite *s;
    SAE_TRY(next_rewrite(r, &r->p->normal, sae_rewrite_strip, &s));
    s->options = json_is_true(json_object_get(o, "strip_left")) ? SAE_STRIP_LEFT : 0;
    s->options |= json_is_true(json_object_get(o, "strip_right")) ? SAE_STRIP_RIGHT : 0;
    return SAE_OK;
}

static int load_strip_accents(sae_token_reader *r, const json_t *o)
{
    (void)o;
    sae_rewrite *s;
    return next_rewrite(r, &r->p->normal, sae_rewrite_strip_accents, &s);
}

static int load_normal_bytes(sae_token_reader *r, const json_t *o)
{
    (void)o;
    sae_rewrite *s;
    return next_rewrite(r, &r->p->normal, sae_rewrite_bytes, &s);
}

static int load_precompiled(sae_token_reader *r, const json_t *o)
{
    const json_t *map = json_object_get(o, "precompiled_charsmap");
    sae_rewrite *s;
    if (sae_json_inert(map))
        return SAE_OK;
    SAE_TRY(next_rewrite(r, &r->p->normal, sae_rewrite_charsmap, &s));
    return sae_charsmap_open(s, json_string_value(map), json_string_length(map), r->err);
}

int sae_json_normalizer(sae_token_reader *r, const json_t *o)
{
    static const kind kinds[] = {
        {"NFC", load_form},
        {"NFD", load_form},
        {"NFKC", load_form},
        {"NFKD", load_form},
        {"Prepend", load_prepend},
        {"Replace", load_replace},
        {"Lowercase", load_lowercase},
        {"Strip", load_strip},
        {"StripAccents", load_strip_accents},
        {"ByteLevel", load_normal_bytes},
        {"Precompiled", load_precompiled},
        {NULL, NULL},
    };
    return load(r, o, "normalizer", "normalizers", kinds);
}

/* ---- pre_tokenizer --------------------------------------------------------------------------- */

static int next_step(sae_token_reader *r, sae_step **step)
{
    sae_steps *s = &r->p->steps;
    *step = NULL;
    if (s->count == SAE_TOKEN_STEPS)
        SAE_FAIL(r->err, SAE_EFORMAT, "pre_tokenizer: more than %d steps", SAE_TOKEN_STEPS);
    *step = &s->step[s->count++];
    return SAE_OK;
}

int sae_json_split(sae_token_reader *r, const char *pattern, int plain,
                   enum sae_split_behavior behavior, int invert)
{
    sae_step *s;
    SAE_TRY(next_step(r, &s));
    s->behavior = behavior;
    s->invert = invert;
    return sae_pattern_open(&s->pattern, pattern, plain, "pre_tokenizer", r->err);
}

static int add_prefix(sae_token_reader *r, const char *text, int options)
{
    sae_step *s;
    SAE_TRY(next_step(r, &s));
    s->rewrite.apply = sae_rewrite_prefix;
    s->rewrite.options = SAE_PREFIX_MISSING | options;
    return set_content(r, &s->rewrite, text);
}

int sae_json_byte_level(sae_token_reader *r, int prefix_space, int regex)
{
    sae_step *s;
    if (prefix_space)
        SAE_TRY(add_prefix(r, " ", 0));
    if (regex)
        SAE_TRY(sae_json_split(r, gpt2_pattern, 0, SAE_SPLIT_ISOLATED, 0));
    SAE_TRY(next_step(r, &s));
    s->rewrite.apply = sae_rewrite_bytes;
    return SAE_OK;
}

static int load_byte_level(sae_token_reader *r, const json_t *o)
{
    return sae_json_byte_level(r, json_is_true(json_object_get(o, "add_prefix_space")),
                               !json_is_false(json_object_get(o, "use_regex")));
}

static int behavior_of(sae_token_reader *r, const json_t *o, enum sae_split_behavior *behavior)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *text = json_string_value(json_object_get(o, "behavior"));
    for (int i = 0; text && i < 5; i++)
        if (strcmp(text, names[i]) == 0) {
            *behavior = (enum sae_split_behavior)i;
            return SAE_OK;
        }
    SAE_FAIL(r->err, SAE_EFORMAT,
             "pre_tokenizer.behavior: expected Isolated, Removed, "
             "MergedWithPrevious, MergedWithNext or Contiguous, found '%.64s'",
             text ? text : "");
}

static int load_split(sae_token_reader *r, const json_t *o)
{
    sae_step *s;
    SAE_TRY(next_step(r, &s));
    s->invert = json_is_true(json_object_get(o, "invert"));
    SAE_TRY(behavior_of(r, o, &s->behavior));
    return open_pattern(r, o, "pre_tokenizer", &s->pattern);
}

static int load_digits(sae_token_reader *r, const json_t *o)
{
    int each = json_is_true(json_object_get(o, "individual_digits"));
    return sae_json_split(r, each ? "\\p{N}" : "\\p{N}+", 0, SAE_SPLIT_ISOLATED, 0);
}

static int load_punctuation(sae_token_reader *r, const json_t *o)
{
    enum sae_split_behavior behavior = SAE_SPLIT_ISOLATED;
    if (json_object_get(o, "behavior"))
        SAE_TRY(behavior_of(r, o, &behavior));
    return sae_json_split(r, punctuation, 0, behavior, 0);
}

static int load_whitespace(sae_token_reader *r, const json_t *o)
{
    (void)o;
    return sae_json_split(r, "[" WORD "]+|[^" WORD "\\s]+", 0, SAE_SPLIT_REMOVED, 1);
}

static int load_whitespace_split(sae_token_reader *r, const json_t *o)
{
    (void)o;
    return sae_json_split(r, "\\s+", 0, SAE_SPLIT_REMOVED, 0);
}

static int load_bert(sae_token_reader *r, const json_t *o)
{
    SAE_TRY(load_whitespace_split(r, o));
    return sae_json_split(r, punctuation, 0, SAE_SPLIT_ISOLATED, 0);
}

typedef struct metaspace {
    const char *replacement;
    int prepend, first; /* never: neither */
} metaspace;

static int read_metaspace(sae_token_reader *r, const json_t *o, const char *where, metaspace *m)
{
    const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
    const json_t *old = json_object_get(o, "add_prefix_space");
    SAE_TRY(text_of(r, o, where, "replacement", &m->replacement));
    size_t len = strlen(m->replacement);
    if (len == 0 || sae_utf8_char(m->replacement, len) != len)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s.replacement: expected one character", where);
    if (!scheme)
        scheme = json_is_false(old) ? "never" : "always";
    m->first = strcmp(scheme, "first") == 0;
    m->prepend = m->first || strcmp(scheme, "always") == 0;
    if (m->prepend && json_is_false(old))
        SAE_FAIL(r->err, SAE_EFORMAT, "%s.add_prefix_space: contradicts prepend_scheme", where);
    if (!m->prepend && strcmp(scheme, "never") != 0)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "%s.prepend_scheme: expected always, first or never, found "
                 "'%.64s'",
                 where, scheme);
    return SAE_OK;
}

static int load_metaspace(sae_token_reader *r, const json_t *o)
{
    metaspace m;
    sae_step *s;
    SAE_TRY(read_metaspace(r, o, "pre_tokenizer", &m));
    SAE_TRY(next_step(r, &s));
    s->rewrite.apply = sae_rewrite_replace;
    SAE_TRY(sae_pattern_open(&s->rewrite.pattern, " ", 1, "pre_tokenizer", r->err));
    SAE_TRY(set_content(r, &s->rewrite, m.replacement));
    if (m.prepend)
        SAE_TRY(add_prefix(r, m.replacement, m.first ? SAE_PREFIX_FIRST : 0));
    if (json_is_false(json_object_get(o, "split")))
        return SAE_OK;
    return sae_json_split(r, m.replacement, 1, SAE_SPLIT_NEXT, 0);
}

int sae_json_pre_tokenizer(sae_token_reader *r, const json_t *o)
{
    static const kind kinds[] = {
        {"ByteLevel", load_byte_level},
        {"Split", load_split},
        {"Digits", load_digits},
        {"Metaspace", load_metaspace},
        {"Whitespace", load_whitespace},
        {"WhitespaceSplit", load_whitespace_split},
        {"Punctuation", load_punctuation},
        {"BertPreTokenizer", load_bert},
        {NULL, NULL},
    };
    return load(r, o, "pre_tokenizer", "pretokenizers", kinds);
}

/* ---- decoder --------------------------------------------------------------------------------- */

static int next_token_step(sae_token_reader *r, sae_rewrite_fn *apply, sae_rewrite **step)
{
    *step = NULL;
    if (r->fused)
        SAE_FAIL(r->err, SAE_EFORMAT, "decoder: only Strip is supported behind Fuse");
    return next_rewrite(r, &r->decoder, apply, step);
}

static int load_unbytes(sae_token_reader *r, const json_t *o)
{
    (void)o;
    sae_rewrite *s;
    return next_token_step(r, sae_rewrite_unbytes, &s);
}

static int load_byte_tokens(sae_token_reader *r, const json_t *o)
{
    (void)o;
    sae_rewrite *s;
    return next_token_step(r, sae_rewrite_byte_token, &s);
}

static int load_token_replace(sae_token_reader *r, const json_t *o)
{
    sae_rewrite *s;
    SAE_TRY(next_token_step(r, sae_rewrite_replace, &s));
    return set_replace(r, o, "decoder", s);
}

static int load_token_metaspace(sae_token_reader *r, const json_t *o)
{
    metaspace m;
    sae_rewrite *s;
    SAE_TRY(read_metaspace(r, o, "decoder", &m));
    SAE_TRY(next_token_step(r, sae_rewrite_replace, &s));
    SAE_TRY(sae_pattern_open(&s->pattern, m.replacement, 1, "decoder", r->err));
    if (m.prepend)
        memcpy(r->t->decoding.first_without, m.replacement, strlen(m.replacement));
    return set_content(r, s, " ");
}

static int load_fuse(sae_token_reader *r, const json_t *o)
{
    (void)o;
    r->fused = 1;
    return SAE_OK;
}

static int load_token_strip(sae_token_reader *r, const json_t *o)
{
    sae_decoding *d = &r->t->decoding;
    const char *content = json_string_value(json_object_get(o, "content"));
    json_int_t start = json_integer_value(json_object_get(o, "start"));
    json_int_t stop = json_integer_value(json_object_get(o, "stop"));
    if (!r->fused || stop != 0 || start < 0 || !content || strlen(content) != 1)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "decoder: Strip: expected it behind Fuse, with one ASCII "
                 "character to take away at the start only");
    d->stripped = *content;
    d->strip = start;
    return SAE_OK;
}

int sae_json_decoder(sae_token_reader *r, const json_t *o)
{
    static const kind kinds[] = {
        {"ByteLevel", load_unbytes},
        {"ByteFallback", load_byte_tokens},
        {"Replace", load_token_replace},
        {"Metaspace", load_token_metaspace},
        {"Fuse", load_fuse},
        {"Strip", load_token_strip},
        {NULL, NULL},
    };
    r->t->decoding.spaced = sae_json_inert(o);
    return load(r, o, "decoder", "decoders", kinds);
}

int sae_json_pieces(sae_token_reader *r, const char *added)
{
    int rc;
    sae_tokenizer *t = r->t;
    sae_text all = {0}, buf[2] = {{0}};
    sae_rewrites text =
        r->decoder; /* added tokens are written as they are, not in byte characters */
    text.count = 0;
    for (int i = 0; i < r->decoder.count; i++)
        if (r->decoder.step[i].apply != sae_rewrite_unbytes)
            text.step[text.count++] = r->decoder.step[i];
    SAE_GOTO(sae_new(&t->piece, t->vocab, sizeof *t->piece, "tokenizer.pieces", r->err));
    for (int64_t id = 0; id < t->vocab; id++) {
        const char *p = t->token[id].text;
        size_t len = t->token[id].len;
        if (!p)
            continue;
        SAE_GOTO(sae_rewrites_run(added[id] ? &text : &r->decoder, &p, &len, 0, buf, &r->scratch));
        sae_text_add(&all, p, len);
        t->piece[id].len = len;
    }
    rc = SAE_OK;
    t->piece_text = sae_text_take(&all);
    if (!t->piece_text)
        SAE_GOTO(SAE_SET(r->err, SAE_ENOMEM, "out of memory"));
    const char *at = t->piece_text;
    for (int64_t id = 0; id < t->vocab; id++) {
        t->piece[id].text = t->token[id].text ? at : NULL;
        at += t->piece[id].len;
    }
fail:
    sae_free(all.p);
    sae_free(buf[0].p);
    sae_free(buf[1].p);
    return rc;
}
