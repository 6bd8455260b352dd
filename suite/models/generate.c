/* suite/models/generate.c - continuations of a prompt. */
#include "models/generate.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "models/lm_decode.h"
#include <sae/rng.h>

#include <math.h>

struct sae_lm_generator {
    const sae_lm *lm;
    sae_lm_decoder *d;
    int64_t prompt, most, longest;
    sae_real *first, *z; /* [vocab] logits behind the prompt, and behind the newest token */
    sae_lm_choice *room; /* [vocab] */
};

static int open_buffers(sae_lm_generator *g, sae_err *err)
{
    SAE_TRY(sae_new(&g->first, g->lm->vocab, sizeof *g->first, "lm.generate", err));
    SAE_TRY(sae_new(&g->z, g->lm->vocab, sizeof *g->z, "lm.generate", err));
    return sae_new(&g->room, g->lm->vocab, sizeof *g->room, "lm.generate", err);
}

int sae_lm_generator_open(sae_lm_generator **out, const sae_lm *lm, const int32_t *prompt,
                          int64_t n, int64_t most, double *seconds, sae_err *err)
{
    int rc = SAE_OK;
    *out = NULL;
    if (n < 1 || n > lm->ctx)
        SAE_FAIL(err, SAE_EINVAL,
                 "prompt: expected 1 to %lld tokens (the model's context), found "
                 "%lld",
                 (long long)lm->ctx, (long long)n);
    if (most < 0)
        SAE_FAIL(err, SAE_EINVAL, "expected a number of tokens, found %lld", (long long)most);
    SAE_GOTO(sae_new(out, 1, sizeof **out, "lm.generate", err));
    sae_lm_generator *g = *out;
    g->lm = lm;
    g->prompt = n;
    g->most = most;
    g->longest = most < lm->ctx - n ? n + most : lm->ctx;
    SAE_GOTO(open_buffers(g, err));
    SAE_GOTO(sae_lm_decoder_open(&g->d, lm->self, g->longest, err));
    *seconds = -sae_clock();
    SAE_GOTO(sae_lm_decoder_feed(g->d, prompt, n, g->first, err));
    *seconds += sae_clock();
    return SAE_OK;
fail:
    sae_lm_generator_close(out);
    return rc;
}

void sae_lm_generator_close(sae_lm_generator **out)
{
    sae_lm_generator *g = *out;
    *out = NULL;
    if (!g)
        return;
    sae_lm_decoder_close(&g->d);
    sae_free(g->first);
    sae_free(g->z);
    sae_free(g->room);
    sae_free(g);
}

const char *sae_lm_stop_name(enum sae_lm_stop s)
{
    static const char *const names[] = {"count", "end", "context"};
    return names[s];
}

/* The token at position `at` from the logits z behind the position in front. */
static int draw(sae_lm_generator *g, const sae_lm_request *r, const sae_real *z, int64_t at,
                int32_t *id, sae_err *err)
{
    for (int64_t i = 0; i < g->lm->vocab; i++)
        if (!isfinite(z[i]))
            SAE_FAIL(err, SAE_ENONFINITE, "position %lld: the logit of token %lld is not finite",
                     (long long)(at - 1), (long long)i);
    sae_u4 u = sae_philox(r->sampling.seed, SAE_STREAM_SAMPLE, (uint64_t)at, r->sequence);
    *id = sae_lm_sample(&r->sampling, g->lm->vocab, z, sae_u01_wide(u.v[0], u.v[1]), g->room);
    return SAE_OK;
}

/* Tokens until one of the reasons to stop. */
static int run(sae_lm_generator *g, const sae_lm_request *r, sae_lm_generated *out, sae_err *err)
{
    const sae_real *z = g->first;
    for (int64_t at = g->prompt; out->tokens < r->most; at++) {
        int32_t id;
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted after %lld tokens", (long long)out->tokens);
        SAE_TRY(draw(g, r, z, at, &id, err));
        if (r->to_the_end && (id == g->lm->eos || id == g->lm->bos)) {
            out->stop = SAE_LM_STOP_END;
            return SAE_OK;
        }
        SAE_TRY(r->token(r->arg, id, err));
        if (++out->tokens == r->most)
            break;
        if (at == g->longest) {
            out->stop = SAE_LM_STOP_CONTEXT;
            return SAE_OK;
        }
        SAE_TRY(sae_lm_decoder_feed(g->d, &id, 1, g->z, err));
        z = g->z;
    }
    out->stop = SAE_LM_STOP_COUNT;
    return SAE_OK;
}

int sae_lm_generate(sae_lm_generator *g, const sae_lm_request *r, sae_lm_generated *out,
                    sae_err *err)
{
    *out = (sae_lm_generated){0};
    SAE_TRY(sae_lm_sampling_check(&r->sampling, err));
    if (r->most < 0 || r->most > g->most)
        SAE_FAIL(err, SAE_EINVAL, "expected 0 to %lld tokens, found %lld", (long long)g->most,
                 (long long)r->most);
    double t0 = sae_clock();
    sae_lm_decoder_keep(g->d, g->prompt);
    int rc = run(g, r, out, err);
    out->seconds = sae_clock() - t0;
    return rc;
}
