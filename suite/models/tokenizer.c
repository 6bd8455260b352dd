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
    utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)p, bytes > 4 ? 4 : (utf8proc_ssize_t)bytes,
                         &point);
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

/* vocab.bpe or merges.txt in the folder of `path`; an empty map when there is none. */
static int map_merges(sae_map *m, const char *path, sae_err *err)
{
    static const char *const names[] = {"vocab.bpe", "merges.txt"};
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    for (size_t i = 0; i < 2 && !m->p; i++) {
        char *beside = sae_strfmt("%.*s%s", dir, path, names[i]);
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
    int rc;
    sae_map file = {0}, merges = {0};
    *t = NULL;
    SAE_TRY(sae_map_open(&file, path, err));
    SAE_GOTO(map_merges(&merges, path, err));
    sae_token_file f = {path, (const char *)file.p, file.bytes, (const char *)merges.p,
                        merges.bytes};
    SAE_GOTO(sae_tokenizer_parse(t, &f, vocab, err));
fail:
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
    sae_free((*t)->piece);
    sae_free((*t)->text);
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

int sae_tokenizer_decode(const sae_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                         size_t cap, size_t *bytes, sae_err *err)
{
    size_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        const char *p = sae_tokenizer_piece(t, ids[i], &len);
        if (!p)
            SAE_FAIL(err, SAE_EINVAL, "id %d at %lld is not in the vocabulary of %lld",
                     (int)ids[i], (long long)i, (long long)t->vocab);
        if (t->dummy_prefix && (ids[i] == t->bos || ids[i] == t->eos))
            continue;
        if (t->dummy_prefix && i > 0 && ids[i - 1] == t->bos && len > 0 && *p == ' ')
            p++, len--;
        if (used < cap)
            memcpy(text + used, p, len < cap - used ? len : cap - used);
        used += len;
    }
    *bytes = used;
    if (used > cap)
        SAE_FAIL(err, SAE_ECAPACITY, "%zu bytes do not fit in %zu", used, cap);
    return SAE_OK;
}

const char *sae_tokenizer_piece(const sae_tokenizer *t, int32_t id, size_t *len)
{
    int used = id >= 0 && id < t->vocab && t->piece[id].text;
    *len = used ? t->piece[id].len : 0;
    return used ? t->piece[id].text : NULL;
}
