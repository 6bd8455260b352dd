/* suite/models/tokenizer_pipeline.c - added tokens, and the way of a text to the model. */
#include "models/tokenizer_pipeline.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>
#include <utf8proc.h>

/* Unicode's word characters: alphabetic, marks, decimal digits, connectors, joiners. */
static int is_word(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
        return 1;
    default: /* joiners, and the letters in circles and squares that are symbols */
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
               (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
               (c >= 0x1F170 && c <= 0x1F189);
    }
}

static int word_in_front(const char *p, size_t len)
{
    utf8proc_int32_t c;
    return len > 0 &&
           utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)(len > 4 ? 4 : len),
                            &c) > 0 &&
           is_word(c);
}

static int word_behind(const char *p, size_t len)
{
    size_t at = len;
    while (at > 0 && ((unsigned char)p[--at] & 0xC0) == 0x80)
        continue;
    return word_in_front(p + at, len - at);
}

int sae_pipeline_cut(sae_pipeline *p, int64_t index, const sae_piece *token, const sae_scratch *w)
{
    int which = p->added[index].normalized;
    const char *text = token->text;
    size_t len = token->len;
    sae_text buf[2] = {{0}};
    int rc = which ? sae_rewrites_run(&p->normal, &text, &len, 1, buf, w) : SAE_OK;
    if (rc >= 0 && len == 0)
        rc = SAE_SET(w->err, SAE_EFORMAT, "added_tokens[%lld]: the normalizer leaves nothing of it",
                     (long long)index);
    if (rc >= 0) {
        p->starts[which][(unsigned char)*text] = 1;
        rc = sae_trie_add(&p->cuts[which], text, len, (int32_t)index, w->err);
    }
    sae_free(buf[0].p);
    sae_free(buf[1].p);
    return rc;
}

/* The longest added token at p. */
static const sae_added *added_at(const sae_encoding *e, int which, const char *p, size_t len,
                                 size_t *bytes)
{
    const sae_added *found = NULL;
    int32_t node = 0;
    if (!e->p->starts[which][(unsigned char)*p])
        return NULL;
    for (size_t i = 0; i < len; i++) {
        const sae_pair *next = sae_trie_step(&e->p->cuts[which], node, p[i]);
        if (!next)
            break;
        node = next->merged;
        if (next->rank >= 0) {
            found = &e->p->added[next->rank];
            *bytes = i + 1;
        }
    }
    return found;
}

static int cut_added(sae_encoding *e, int which, const char *p, size_t len, int first);

static int rest(sae_encoding *e, int which, const char *p, size_t len, int first)
{
    if (len == 0)
        return SAE_OK;
    if (which == 1)
        return sae_steps_run(&e->p->steps, p, len, first, e->step, &e->scratch, e->p->model, e);
    SAE_TRY(sae_rewrites_run(&e->p->normal, &p, &len, first, e->normal, &e->scratch));
    return cut_added(e, 1, p, len, first);
}

static int cut_added(sae_encoding *e, int which, const char *p, size_t len, int first)
{
    size_t done = 0;
    for (size_t at = 0, bytes; at < len;) {
        const sae_added *token = added_at(e, which, p + at, len - at, &bytes);
        if (!token) {
            at++;
            continue;
        }
        size_t start = at, stop = at += bytes;
        if (token->single_word && (word_behind(p, start) || word_in_front(p + stop, len - stop)))
            continue;
        if (token->lstrip) /* up to what the token in front took along */
            start = start > done ? start - sae_spaces_behind(p + done, start - done) : done;
        if (token->rstrip)
            stop += sae_spaces_in_front(p + stop, len - stop);
        if (start > done)
            SAE_TRY(rest(e, which, p + done, start - done, first && done == 0));
        if (stop > start)
            sae_ids_put(e->out, token->id);
        done = stop;
    }
    return rest(e, which, p + done, len - done, first && done == 0);
}

static void encoding_close(sae_encoding *e)
{
    sae_scratch_close(&e->scratch);
    sae_merger_close(&e->merger);
    for (int i = 0; i < 2; i++)
        sae_free(e->normal[i].p);
    for (int i = 0; i < SAE_TOKEN_STEPS; i++)
        sae_free(e->step[i].p);
    sae_free(e->best);
}

static int encode(const sae_tokenizer *t, const char *text, size_t bytes, sae_ids *out,
                  sae_err *err)
{
    sae_encoding e = {.t = t, .p = t->scheme, .out = out};
    int rc = sae_scratch_open(&e.scratch, err);
    if (rc >= 0)
        rc = cut_added(&e, 0, text, bytes, 1);
    encoding_close(&e);
    return rc;
}

static void release(void *scheme)
{
    sae_pipeline *p = scheme;
    sae_free(p->added);
    for (int i = 0; i < 2; i++)
        sae_trie_close(&p->cuts[i]);
    sae_rewrites_close(&p->normal);
    sae_steps_close(&p->steps);
    sae_trie_close(&p->trie);
    sae_free(p->score);
    sae_free(p);
}

int sae_pipeline_open(sae_tokenizer *t, sae_pipeline **p, sae_err *err)
{
    SAE_TRY(sae_new(p, 1, sizeof **p, "tokenizer.pipeline", err));
    t->scheme = *p;
    t->encode = encode;
    t->release = release;
    memset((*p)->byte_id, 0xff, sizeof(*p)->byte_id);
    return SAE_OK;
}
