/* suite/models/lm_decode.c - a language model token by token. */
#include "models/lm_decode.h"

#include "core/error.h"
#include "core/memory.h"

/* Rows computed together: what bounds the buffers of a long prompt. */
enum { PIECE = 256 };

struct sae_lm_decoder {
    sae_lm_model *m;
    int64_t longest;
    sae_lm_cache cache;
};

/* ---- the past -------------------------------------------------------------------------------- */

enum { BLOCK = 16, TILE = 8 }; /* of sae_lm_past */

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int cache_open(sae_lm_cache *a, const sae_lm_model *m, int64_t longest, sae_err *err)
{
    const sae_lm_config *c = &m->cfg;
    a->padded = round_up(longest + BLOCK, BLOCK);
    int64_t rows = c->layers * c->kv_heads * a->padded;
    SAE_TRY(sae_lm_new(&m->at, &a->k, rows * c->head, sizeof *a->k, "lm.cache", err));
    return sae_lm_new(&m->at, &a->v, rows * round_up(c->head, TILE), sizeof *a->v, "lm.cache", err);
}

sae_lm_past sae_lm_past_of(const sae_lm_cache *a, const sae_lm_config *c, int64_t layer)
{
    int64_t rows = layer * c->kv_heads * a->padded;
    return (sae_lm_past){a->n, a->padded, a->k + rows * c->head,
                         a->v + rows * round_up(c->head, TILE)};
}

/* ---- decoders -------------------------------------------------------------------------------- */

int sae_lm_decoder_open(sae_lm_decoder **out, sae_lm_model *m, int64_t longest, sae_err *err)
{
    int rc = SAE_OK;
    *out = NULL;
    if (longest < 1 || longest > m->cfg.ctx)
        SAE_FAIL(err, SAE_EINVAL, "decoder: expected room for 1 to %lld tokens, found %lld",
                 (long long)m->cfg.ctx, (long long)longest);
    SAE_GOTO(sae_new(out, 1, sizeof **out, "lm.decoder", err));
    sae_lm_decoder *d = *out;
    d->m = m;
    d->longest = longest;
    SAE_GOTO(cache_open(&d->cache, m, longest, err));
    return SAE_OK;
fail:
    sae_lm_decoder_close(out);
    return rc;
}

void sae_lm_decoder_close(sae_lm_decoder **out)
{
    sae_lm_decoder *d = *out;
    *out = NULL;
    if (!d)
        return;
    sae_lm_free(&d->m->at, d->cache.k);
    sae_lm_free(&d->m->at, d->cache.v);
    sae_free(d);
}

int64_t sae_lm_decoder_tokens(const sae_lm_decoder *d)
{
    return d->cache.n;
}

void sae_lm_decoder_keep(sae_lm_decoder *d, int64_t n)
{
    if (n < d->cache.n)
        d->cache.n = n;
}

/* The stream at the end of n tokens into work.x. */
static int run_piece(sae_lm_decoder *d, const int32_t *tok, int64_t n, sae_err *err)
{
    sae_lm_model *m = d->m;
    int64_t start[2] = {0, n};
    sae_lm_group g = {.c1 = 1, .rows = n, .start = start, .tok = tok, .past = &d->cache};
    SAE_TRY(sae_lm_work_reserve(m, (sae_lm_extents){n, 1, d->longest}, err));
    SAE_TRY(sae_lm_group_use(m, &g, err));
    SAE_TRY(sae_lm_embed(m, m->work.x, err));
    SAE_TRY(sae_lm_halves(m, &g, 0, 2 * m->cfg.layers, m->work.x, err));
    d->cache.n += n;
    return SAE_OK;
}

int sae_lm_decoder_feed(sae_lm_decoder *d, const int32_t *tok, int64_t n, sae_real *logits,
                        sae_err *err)
{
    sae_lm_model *m = d->m;
    int64_t rows = 0, start[2] = {0, n};
    sae_contexts c = {1, start, tok};
    if (n < 1 || n > d->longest - d->cache.n)
        SAE_FAIL(err, SAE_EINVAL, "decoder: expected 1 to %lld tokens more, found %lld",
                 (long long)(d->longest - d->cache.n), (long long)n);
    SAE_TRY(sae_lm_check_contexts(m, &c, err));
    for (int64_t i = 0; i < n; i += rows) {
        rows = n - i < PIECE ? n - i : PIECE;
        SAE_TRY(run_piece(d, tok + i, rows, err));
    }
    SAE_TRY(sae_lm_final_norm(m, 1, m->work.x + (rows - 1) * m->cfg.d, err));
    SAE_TRY(sae_lm_logits(m, 1, m->work.h, m->work.logits, err));
    return sae_lm_get(&m->at, logits, m->work.logits, m->cfg.vocab, sizeof *logits, err);
}
