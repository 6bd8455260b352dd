/* suite/models/token_text.c - the text of tokens as they arrive, in whole characters.
 *
 * What a token adds to a text depends on those in front of it, so all are decoded every time: bytes
 * copied, nothing beside the cost of the token itself.
 */
#include "models/token_text.h"

#include "core/error.h"
#include "core/memory.h"
#include "models/tokenizer_impl.h"

#include <string.h>

/* Whether bytes that are no character may become one when more follow. */
static int has_begun(const char *p, size_t bytes)
{
    unsigned char lead = (unsigned char)*p;
    size_t need = lead < 0xC2 || lead > 0xF4 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    for (size_t i = 1; i < bytes && i < need; i++)
        if (((unsigned char)p[i] & 0xC0) != 0x80)
            return 0;
    return bytes < need;
}

/* Append bytes as valid UTF-8; returns how many were used: all if `last`. */
static size_t add_valid(const char *p, size_t bytes, int last, sae_text *out)
{
    size_t at = 0;
    while (at < bytes) {
        size_t len = sae_utf8_char(p + at, bytes - at);
        if (len == 0 && !last && has_begun(p + at, bytes - at))
            break;
        sae_text_add(out, len > 0 ? p + at : "\xEF\xBF\xBD", len > 0 ? len : 3);
        at += len > 0 ? len : 1;
    }
    return at;
}

static int add_ids(sae_token_text *s, const int32_t *ids, int64_t n, sae_err *err)
{
    if (s->n + n > s->cap) {
        int64_t cap = 2 * (s->n + n);
        int32_t *more = sae_realloc(s->ids, (size_t)cap * sizeof *more);
        if (!more)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld tokens", (long long)cap);
        s->ids = more;
        s->cap = cap;
    }
    if (n > 0)
        memcpy(s->ids + s->n, ids, (size_t)n * sizeof *ids);
    s->n += n;
    return SAE_OK;
}

int sae_token_text_put(sae_token_text *s, const int32_t *ids, int64_t n, sae_text *out,
                       sae_err *err)
{
    size_t used = 0;
    sae_err own = {0}; /* a text longer than the room is no error here */
    SAE_TRY(add_ids(s, ids, n, err));
    int rc = sae_tokenizer_decode(s->tok, s->ids, s->n, s->text, s->bytes, &used, &own);
    if (rc == SAE_ECAPACITY) {
        char *more = sae_realloc(s->text, 2 * used);
        if (!more)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for a text of %zu bytes", 2 * used);
        s->text = more;
        s->bytes = 2 * used;
        own = (sae_err){0};
        rc = sae_tokenizer_decode(s->tok, s->ids, s->n, s->text, s->bytes, &used, &own);
    }
    if (rc < 0)
        SAE_FAIL(err, rc, "%s", own.msg);
    if (used > s->done)
        s->done += add_valid(s->text + s->done, used - s->done, 0, out);
    s->used = used;
    return SAE_OK;
}

void sae_token_text_end(sae_token_text *s, sae_text *out)
{
    if (s->used > s->done)
        s->done += add_valid(s->text + s->done, s->used - s->done, 1, out);
}

void sae_token_text_close(sae_token_text *s)
{
    sae_free(s->ids);
    sae_free(s->text);
    *s = (sae_token_text){.tok = s->tok};
}
