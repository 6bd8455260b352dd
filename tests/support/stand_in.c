/* tests/support/stand_in.c - a stand-in for a language model and its documents. */
#include "support/stand_in.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/shards.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

struct sae_lm_pass {
    int64_t rows;
    uint64_t *history; /* [rows] */
    sae_real *acts;
};

int stand_in_passes;
int64_t stand_in_most_tokens;

static int lm_hook(void *self, const char *name, int64_t *d, sae_err *err)
{
    (void)self;
    int later = strcmp(name, "later.0") == 0;
    if (!later && strcmp(name, "resid_post.0"))
        SAE_FAIL(err, SAE_EINVAL, "hook %s: expected resid_post.0 or later.0", name);
    *d = later ? LM_TARGET_D : LM_D;
    return SAE_OK;
}

sae_real stand_in_value(uint64_t history, int64_t j, uint32_t purpose)
{
    return sae_u01(sae_philox(7, 1000 + purpose, history, (uint32_t)j).v[0]);
}

static int lm_begin(void *self, const char *hook, const sae_contexts *c, sae_lm_pass **pass,
                    sae_err *err)
{
    (void)self, (void)hook, (void)err;
    sae_lm_pass *p = calloc(1, sizeof *p);
    p->rows = c->start[c->N];
    p->history = calloc((size_t)p->rows, sizeof *p->history);
    p->acts = calloc((size_t)p->rows * LM_D, sizeof *p->acts);
    for (int64_t i = 0; i < c->N; i++) {
        uint64_t history = 0;
        ck_assert_int_gt(c->start[i + 1], c->start[i]);
        for (int64_t r = c->start[i]; r < c->start[i + 1]; r++) {
            history = history * 31 + (uint64_t)c->tok[r];
            p->history[r] = history;
            for (int64_t j = 0; j < LM_D; j++)
                p->acts[r * LM_D + j] = stand_in_value(history, j, 0);
        }
    }
    stand_in_passes++;
    stand_in_most_tokens = p->rows > stand_in_most_tokens ? p->rows : stand_in_most_tokens;
    *pass = p;
    return SAE_OK;
}

static const sae_real *lm_acts(const sae_lm_pass *p)
{
    return p->acts;
}

static int lm_advance(sae_lm_pass *p, const char *hook, sae_err *err)
{
    if (strcmp(hook, "later.0"))
        SAE_FAIL(err, SAE_EINVAL, "hook %s: expected later.0", hook);
    for (int64_t i = 0; i < p->rows * LM_TARGET_D; i++)
        p->acts[i] = stand_in_value(p->history[i / LM_TARGET_D], i % LM_TARGET_D, 9);
    return SAE_OK;
}

static int lm_finish(sae_lm_pass *p, const sae_real *x, const sae_lm_out *out, sae_err *err)
{
    (void)err;
    ck_assert_ptr_null(x);
    for (int64_t i = 0; out->grad && i < p->rows * LM_D; i++)
        out->grad[i] = (sae_real)1.0 - p->acts[i];
    return SAE_OK;
}

static void lm_end(sae_lm_pass **pass)
{
    if (*pass) {
        free((*pass)->acts);
        free((*pass)->history);
    }
    stand_in_passes -= *pass != NULL;
    free(*pass);
    *pass = NULL;
}

sae_lm stand_in_lm = {.abi = SAE_LM_ABI, .size = sizeof(sae_lm), .arch = "stand-in",
                          .d = LM_D, .layers = 1, .vocab = LM_VOCAB, .ctx = LM_CTX,
                          .bos = LM_BOS, .eos = LM_EOS, .weights_hash = "w", .hook = lm_hook,
                          .begin = lm_begin, .acts = lm_acts, .finish = lm_finish,
                          .advance = lm_advance,
                          .end = lm_end};
sae_docs stand_in_docs;
static int64_t doc_start[LM_DOCS + 1];
static int32_t doc_tok[LM_DOCS * LM_CTX];
static uint64_t doc_number[LM_DOCS];

static int lm_open(const sae_host *host, const char *path, const char *tokenizer, sae_lm **lm,
                   sae_err *err)
{
    (void)host, (void)path, (void)tokenizer, (void)err;
    *lm = &stand_in_lm;
    return SAE_OK;
}

static void lm_close(sae_lm **lm)
{
    *lm = NULL;
}

/* "text" decides the tokens; every document starts with BOS, some hold EOS. */
static int docs_open(const sae_lm *lm, const char *path, const char *separator, int64_t limit,
                     sae_docs **docs, sae_err *err)
{
    (void)lm, (void)separator, (void)err;
    int64_t n = limit && limit < LM_DOCS ? limit : LM_DOCS, used = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t length = 1 + (int64_t)(sae_philox(3, 1001, (uint64_t)i, 0).v[0] % LM_CTX);
        for (int64_t t = 0; t < length; t++)
            doc_tok[used + t] = t ? (int32_t)(2 + sae_philox((uint64_t)path[0], 1002, (uint64_t)i,
                                                             (uint32_t)t).v[0] % (LM_VOCAB - 2))
                                  : LM_BOS;
        doc_number[i] = (uint64_t)i;
        used += length;
        doc_start[i + 1] = used;
    }
    stand_in_docs = (sae_docs){.c = {n, doc_start, doc_tok}, .doc = doc_number};
    *docs = &stand_in_docs;
    return SAE_OK;
}

static void docs_close(sae_docs **docs)
{
    *docs = NULL;
}

static void in_turn(void (*body)(void *arg, int64_t i), void *arg, int64_t n)
{
    for (int64_t i = n - 1; i >= 0; i--) /* any order must do */
        body(arg, i);
}

sae_host stand_in_host(uint64_t seed)
{
    return (sae_host){.size = sizeof(sae_host), .seed = seed, .lm_open = lm_open,
                      .lm_close = lm_close, .docs_open = docs_open, .docs_close = docs_close,
                      .shards_open = sae_shards_open, .shards_close = sae_shards_close,
                      .hash = sae_hash_bytes, .parallel = in_turn};
}

