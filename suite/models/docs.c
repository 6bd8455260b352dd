/* suite/models/docs.c - documents of a text file as token contexts. */
#include "models/docs.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "models/tokenizer.h"

#include <string.h>

typedef struct store { /* what sae_docs points to */
    sae_docs view;     /* first: the public part */
    int64_t bytes;
    int64_t *start;
    uint64_t *doc;
    int32_t *tok;
    int64_t contexts, tokens; /* used */
    int64_t context_cap, token_cap;
} store;

/* One file in progress. */
typedef struct reader {
    const sae_lm *lm;
    store *s;
    int64_t limit, documents; /* at most; so far */
    int64_t cut;              /* documents that lost their end */
    int64_t separators;       /* lines between documents */
    int windows;              /* long documents go on in further contexts */
    sae_err *err;
} reader;

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Room for one more context of up to ctx tokens. */
static int reserve(store *s, int64_t ctx, sae_err *err)
{
    if (s->contexts + 2 > s->context_cap) {
        int64_t cap = 2 * s->context_cap + 64;
        int64_t *start = sae_realloc(s->start, (size_t)cap * sizeof *start);
        s->start = start ? start : s->start;
        uint64_t *doc = sae_realloc(s->doc, (size_t)cap * sizeof *doc);
        s->doc = doc ? doc : s->doc;
        if (!start || !doc)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld documents", (long long)cap);
        s->context_cap = cap;
    }
    if (s->tokens + ctx > s->token_cap) {
        int64_t cap = 2 * s->token_cap + ctx;
        int32_t *tok = sae_realloc(s->tok, (size_t)cap * sizeof *tok);
        if (!tok)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld tokens", (long long)cap);
        s->tok = tok;
        s->token_cap = cap;
    }
    return SAE_OK;
}

/* Bytes of text that the first n tokens stand for: pieces are matched against the text. One that
 * does not match is the unknown token, which stands for one character. */
static int64_t bytes_behind(const sae_lm *lm, const int32_t *tok, int64_t n, const char *text,
                            size_t bytes)
{
    size_t at = 0;
    int64_t first = n > 0 && tok[0] == lm->bos;
    for (int64_t i = first; i < n && at < bytes; i++) {
        size_t len = 0;
        const char *piece = lm->piece(lm->self, tok[i], &len);
        if (i == first && len > 0 && *piece == ' ' && text[0] != ' ')
            piece++, len--; /* the space that llama2.c puts in front of a text */
        else if (len == 0 || len > bytes - at || memcmp(piece, text + at, len) != 0)
            for (len = 1; at + len < bytes && (text[at + len] & 0xC0) == 0x80;)
                len++;
        at += len;
    }
    return (int64_t)(at < bytes ? at : bytes);
}

/* Append a context of `kept` tokens that lie behind the last one. */
static void close_context(reader *r, int64_t kept)
{
    store *s = r->s;
    s->doc[s->contexts] = (uint64_t)r->documents;
    s->start[s->contexts++] = s->tokens;
    s->tokens += kept;
    s->start[s->contexts] = s->tokens;
}

/* All `count` tokens of a long document, as contexts that begin with BOS each. */
static int add_windows(reader *r, const char *text, size_t bytes, int64_t count)
{
    const sae_lm *lm = r->lm;
    store *s = r->s;
    int32_t *ids = NULL;
    int rc;
    SAE_TRY(sae_new(&ids, count, sizeof *ids, "docs.windows", r->err));
    SAE_GOTO(lm->tokenize(lm->self, text, bytes, ids, count, &count, r->err));
    int64_t bos = ids[0] == lm->bos, room = lm->ctx - bos;
    if (room < 1)
        SAE_GOTO(SAE_SET(r->err, SAE_EINVAL, "the model's context of one token has no room behind "
                         "BOS"));
    for (int64_t at = bos; at < count; at += room) {
        int64_t n = count - at < room ? count - at : room;
        SAE_GOTO(reserve(s, lm->ctx, r->err));
        if (bos)
            s->tok[s->tokens] = lm->bos;
        memcpy(s->tok + s->tokens + bos, ids + at, (size_t)n * sizeof *ids);
        close_context(r, bos + n);
    }
    s->bytes += (int64_t)bytes;
fail:
    sae_free(ids);
    return rc;
}

static int add_document(reader *r, const char *text, size_t bytes)
{
    store *s = r->s;
    const sae_lm *lm = r->lm;
    int64_t count = 0;
    sae_err own = {0}; /* more tokens than the context holds is no error here */
    SAE_TRY(reserve(s, lm->ctx, r->err));
    int32_t *tok = s->tok + s->tokens;
    int rc = lm->tokenize(lm->self, text, bytes, tok, lm->ctx, &count, &own);
    if (rc < 0 && rc != SAE_ECAPACITY)
        SAE_FAIL(r->err, rc, "document %lld: %s", (long long)r->documents, own.msg);
    if (count > lm->ctx && r->windows)
        return add_windows(r, text, bytes, count);
    int64_t kept = count < lm->ctx ? count : lm->ctx;
    r->cut += count > lm->ctx;
    s->bytes += count <= lm->ctx ? (int64_t)bytes : bytes_behind(lm, tok, kept, text, bytes);
    close_context(r, kept);
    return SAE_OK;
}

static int add_stripped(reader *r, const char *text, size_t bytes)
{
    while (bytes > 0 && is_space(*text))
        text++, bytes--;
    while (bytes > 0 && is_space(text[bytes - 1]))
        bytes--;
    if (bytes == 0 || (r->limit > 0 && r->documents == r->limit))
        return SAE_OK;
    SAE_TRY(add_document(r, text, bytes));
    r->documents++;
    return SAE_OK;
}

static int add_file(reader *r, const char *text, size_t bytes, const char *separator)
{
    size_t sep = strlen(separator), begin = 0;
    for (size_t at = 0, next; sep > 0 && at < bytes; at = next) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t len = end ? (size_t)(end - (text + at)) : bytes - at;
        next = at + len + 1;
        if (len > 0 && text[at + len - 1] == '\r')
            len--;
        if (len != sep || memcmp(text + at, separator, sep) != 0)
            continue;
        r->separators++;
        SAE_TRY(add_stripped(r, text + begin, at - begin));
        begin = next < bytes ? next : bytes;
    }
    return bytes > 0 ? add_stripped(r, text + begin, bytes - begin) : SAE_OK;
}

static int open_docs(const sae_lm *lm, const char *path, const char *separator, int64_t limit,
                     int windows, sae_docs **docs, sae_err *err)
{
    int rc;
    store *s = NULL;
    sae_map file = {0};
    *docs = NULL;
    SAE_TRY(sae_map_open(&file, path, err));
    SAE_GOTO(sae_new(&s, 1, sizeof *s, "docs", err));
    *docs = &s->view;
    reader r = {.lm = lm, .s = s, .limit = limit, .windows = windows, .err = err};
    SAE_GOTO(sae_utf8_check((const char *)file.p, file.bytes, err));
    SAE_GOTO(add_file(&r, (const char *)file.p, file.bytes, separator));
    if (s->contexts == 0)
        SAE_GOTO(SAE_SET(err, SAE_EFORMAT, "no document in %zu bytes", file.bytes));
    if (*separator && !r.separators)
        sae_log(SAE_LOG_WARN, "text", "%s: no line is \"%.40s\": the text is one document", path,
                separator);
    if (r.cut > 0)
        sae_log(SAE_LOG_INFO, "text", "%s: %lld of %lld documents cut to the model's context of "
                "%lld tokens", path, (long long)r.cut, (long long)r.documents, (long long)lm->ctx);
    s->view = (sae_docs){.c = {s->contexts, s->start, s->tok}, .doc = s->doc};
    sae_map_close(&file);
    return SAE_OK;
fail:
    sae_docs_close(docs);
    sae_map_close(&file);
    return sae_fail_prefix(err, rc, "%s", path);
}

int sae_docs_open(const sae_lm *lm, const char *path, const char *separator, int64_t limit,
                  sae_docs **docs, sae_err *err)
{
    return open_docs(lm, path, separator, limit, 0, docs, err);
}

int sae_docs_open_windows(const sae_lm *lm, const char *path, const char *separator,
                          sae_docs **docs, sae_err *err)
{
    return open_docs(lm, path, separator, 0, 1, docs, err);
}

void sae_docs_close(sae_docs **docs)
{
    store *s = (store *)*docs;
    if (!s)
        return;
    sae_free(s->start);
    sae_free(s->doc);
    sae_free(s->tok);
    sae_free(s);
    *docs = NULL;
}

int64_t sae_docs_bytes(const sae_docs *docs)
{
    return ((const store *)docs)->bytes;
}
