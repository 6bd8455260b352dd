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
    SAE_GOTO(sae_lm_cache_open(&d->cache, &m->cfg, longest, err));
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
    sae_lm_cache_close(&d->cache);
    sae_free(d);
}

int64_t sae_lm_decoder_tokens(const sae_lm_decoder *d)
{
    return d->cache.n;
}

void sae_lm_decoder_keep(sae_lm_decoder *d, int64_t n)
{
    sae_lm_cache_cut(&d->cache, &d->m->cfg, n);
}

/* The stream at the end of n tokens into work.x. */
static int run_piece(sae_lm_decoder *d, const int32_t *tok, int64_t n, sae_err *err)
{
    sae_lm_model *m = d->m;
    int64_t start[2] = {0, n};
    sae_lm_group g = {.c1 = 1, .rows = n, .start = start, .tok = tok, .past = &d->cache};
    SAE_TRY(sae_lm_work_reserve(m, n, d->longest, err));
    sae_lm_group_use(m, &g);
    sae_lm_embed(m, &g, m->work.x);
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
    sae_lm_final_norm(m, 1, m->work.x + (rows - 1) * m->cfg.d);
    return sae_lm_logits(m, 1, m->work.h, logits, err);
}
