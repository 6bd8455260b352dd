/* suite/models/tokenizer.c - opening tokenizer files, and what does not depend on the scheme. */
#include "models/tokenizer_impl.h"

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"

#include <string.h>
#include <utf8proc.h>

size_t sae_utf8_char(const char *p, size_t bytes)
{
    if (bytes > 0 && (unsigned char)*p < 0x80)
        return 1;
    utf8proc_int32_t point;
    utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)p,
                                            bytes > 4 ? 4 : (utf8proc_ssize_t)bytes, &point);
    return len > 0 ? (size_t)len : 0;
}

int sae_utf8_check(const char *text, size_t bytes, sae_err *err)
{
    for (size_t at = 0, len; at < bytes; at += len) {
        len = sae_utf8_char(text + at, bytes - at);
        if (len == 0)
            SAE_FAIL(err, SAE_EFORMAT, "invalid UTF-8 at byte %zu (0x%02X)", at,
                     (unsigned)(unsigned char)text[at]);
    }
    return SAE_OK;
}

/* JSON starts with '{' behind optional white space. llama2.c starts with an int32 below 2^16, so
 * its third byte is 0, which JSON cannot have. */
static int is_json(const sae_token_file *f)
{
    if (f->bytes >= 3 && f->data[2] == '\0')
        return 0;
    size_t i = f->bytes >= 3 && memcmp(f->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (i < f->bytes && strchr(" \t\r\n", f->data[i]) && f->data[i])
        i++;
    return i < f->bytes && f->data[i] == '{';
}

static int hash_file(sae_tokenizer *t, const sae_token_file *f, sae_err *err)
{
    sae_hasher *h;
    SAE_TRY(sae_hasher_open(&h, err));
    sae_hasher_add(h, f->data, f->bytes);
    if (t->uses_merges)
        sae_hasher_add(h, f->merges, f->merges_bytes);
    sae_hasher_end(&h, t->hash);
    return SAE_OK;
}

int sae_tokenizer_parse(sae_tokenizer **out, const sae_token_file *f, int64_t vocab, sae_err *err)
{
    int rc;
    sae_tokenizer *t;
    *out = NULL;
    SAE_TRY(sae_new(&t, 1, sizeof *t, "tokenizer", err));
    t->bos = t->eos = t->unknown = -1;
    SAE_GOTO(is_json(f) ? sae_tokenizer_json(t, f, err) : sae_tokenizer_llama2c(t, f, err));
    if (vocab > 0 && t->vocab > vocab)
        SAE_GOTO(SAE_SET(err, SAE_EFORMAT, "has %lld ids, the model's vocabulary only %lld",
                         (long long)t->vocab, (long long)vocab));
    SAE_GOTO(hash_file(t, f, err));
    *out = t;
    return SAE_OK;
fail:
    sae_tokenizer_close(&t);
    return sae_fail_prefix(err, rc, "%s", f->name);
}

/* The first of the names in the folder of `path`; an empty map when there is none. */
static int map_beside(sae_map *m, const char *path, const char *const *names, sae_err *err)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    for (; *names && !m->p; names++) {
        char *beside = sae_strfmt("%.*s%s", dir, path, *names);
        if (!beside)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory");
        int rc = sae_file_exists(beside) ? sae_map_open(m, beside, err) : SAE_OK;
        sae_free(beside);
        SAE_TRY(rc);
    }
    return SAE_OK;
}

int sae_tokenizer_open(sae_tokenizer **t, const char *path, int64_t vocab, sae_err *err)
{
    static const char *const merge_names[] = {"vocab.bpe", "merges.txt", NULL};
    static const char *const config_names[] = {"tokenizer_config.json", NULL};
    int rc;
    sae_map file = {0}, merges = {0}, config = {0};
    *t = NULL;
    SAE_TRY(sae_map_open(&file, path, err));
    SAE_GOTO(map_beside(&merges, path, merge_names, err));
    SAE_GOTO(map_beside(&config, path, config_names, err));
    sae_token_file f = {path,         (const char *)file.p,   file.bytes,  (const char *)merges.p,
                        merges.bytes, (const char *)config.p, config.bytes};
    SAE_GOTO(sae_tokenizer_parse(t, &f, vocab, err));
fail:
    sae_map_close(&config);
    sae_map_close(&merges);
    sae_map_close(&file);
    return rc;
}

void sae_tokenizer_close(sae_tokenizer **t)
{
    if (!*t)
        return;
    if ((*t)->release)
        (*t)->release((*t)->scheme);
    sae_free((*t)->token);
    sae_free((*t)->token_text);
    sae_free((*t)->piece);
    sae_free((*t)->piece_text);
    sae_free((*t)->strings.slot);
    sae_free((*t)->pairs.slot);
    sae_free(*t);
    *t = NULL;
}

int64_t sae_tokenizer_vocab(const sae_tokenizer *t)
{
    return t->vocab;
}

int32_t sae_tokenizer_bos(const sae_tokenizer *t)
{
    return t->bos;
}

int32_t sae_tokenizer_eos(const sae_tokenizer *t)
{
    return t->eos;
}

const char *sae_tokenizer_hash(const sae_tokenizer *t)
{
    return t->hash;
}

int sae_tokenizer_encode(const sae_tokenizer *t, const char *text, size_t bytes, int add_bos,
                         int32_t *ids, int64_t cap, int64_t *count, sae_err *err)
{
    sae_ids out = {ids, cap, 0};
    SAE_TRY(sae_utf8_check(text, bytes, err));
    if (add_bos && t->bos >= 0)
        sae_ids_put(&out, t->bos);
    SAE_TRY(t->encode(t, text, bytes, &out, err));
    *count = out.count;
    if (out.count > cap)
        SAE_FAIL(err, SAE_ECAPACITY, "%lld ids do not fit in %lld", (long long)out.count,
                 (long long)cap);
    return SAE_OK;
}

/* Where decode writes: the length counts beyond cap. */
typedef struct writer {
    char *text;
    size_t cap, used;
    int64_t strip; /* so many bytes `stripped` may still be taken away */
    char stripped;
} writer;

static void put(writer *w, const char *p, size_t len)
{
    while (len > 0 && w->strip > 0) {
        if (*p != w->stripped) {
            w->strip = 0;
            break;
        }
        w->strip--, p++, len--;
    }
    if (w->used < w->cap)
        memcpy(w->text + w->used, p, len < w->cap - w->used ? len : w->cap - w->used);
    w->used += len;
}

static int has(const sae_piece *token, const char *character)
{
    size_t size = strlen(character), at = 0;
    while (size > 0 && at + size <= token->len)
        if (memcmp(token->text + at++, character, size) == 0)
            return 1;
    return 0;
}

/* The token without a character. */
static void put_without(writer *w, const sae_piece *token, const char *character)
{
    size_t size = strlen(character);
    for (size_t at = 0; at < token->len;) {
        if (token->len - at >= size && memcmp(token->text + at, character, size) == 0)
            at += size;
        else
            put(w, token->text + at++, 1);
    }
}

static int has_text(const sae_tokenizer *t, const int32_t *ids, int64_t i)
{
    const sae_decoding *d = &t->decoding;
    if (d->dummy_prefix)
        return ids[i] != t->bos && ids[i] != t->eos;
    return i > 0 || ids[i] != t->bos || (d->strip == 0 && !*d->first_without);
}

int sae_tokenizer_decode(const sae_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                         size_t cap, size_t *bytes, sae_err *err)
{
    const sae_decoding *d = &t->decoding;
    writer w = {text, cap, 0, d->strip, d->stripped};
    for (int64_t i = 0, first = 1; i < n; i++) {
        size_t len;
        const char *p = sae_tokenizer_piece(t, ids[i], &len);
        if (!p)
            SAE_FAIL(err, SAE_EINVAL, "id %d at %lld is not in the vocabulary of %lld", (int)ids[i],
                     (long long)i, (long long)t->vocab);
        if (!has_text(t, ids, i))
            continue;
        if (d->dummy_prefix && i > 0 && ids[i - 1] == t->bos && len > 0 && *p == ' ')
            p++, len--;
        if (d->spaced && !first)
            put(&w, " ", 1);
        if (first && has(&t->token[ids[i]], d->first_without))
            put_without(&w, &t->token[ids[i]], d->first_without);
        else
            put(&w, p, len);
        first = 0;
    }
    *bytes = w.used;
    if (w.used > cap)
        SAE_FAIL(err, SAE_ECAPACITY, "%zu bytes do not fit in %zu", w.used, cap);
    return SAE_OK;
}

const char *sae_tokenizer_piece(const sae_tokenizer *t, int32_t id, size_t *len)
{
    const sae_piece *pieces = t->piece ? t->piece : t->token;
    int used = id >= 0 && id < t->vocab && pieces[id].text;
    *len = used ? pieces[id].len : 0;
    return used ? pieces[id].text : NULL;
}

int32_t sae_token_id(const sae_tokenizer *t, const char *text)
{
    size_t len = strlen(text);
    for (int32_t id = 0; id < t->vocab; id++)
        if (t->token[id].text && t->token[id].len == len &&
            memcmp(t->token[id].text, text, len) == 0)
            return id;
    return -1;
}
