/* suite/models/generate.c - greedy continuation of a prompt. */
#include "models/generate.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

static int32_t largest(int64_t n, const sae_real *z)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = z[i] > z[best] ? i : best;
    return (int32_t)best;
}

int sae_lm_greedy(const sae_lm *lm, const int32_t *prompt, int64_t n, int64_t count, int32_t *out,
                  sae_err *err)
{
    int rc = SAE_OK;
    int32_t *ids = NULL;
    sae_real *logits = NULL;
    char hook[32];
    snprintf(hook, sizeof hook, "resid_post.%lld", (long long)lm->layers - 1);
    if (n < 1 || count < 0 || n + count > lm->ctx)
        SAE_FAIL(err, SAE_EINVAL, "prompt of %lld and continuation of %lld tokens: expected at "
                                  "least 1 and at most %lld together",
                 (long long)n, (long long)count, (long long)lm->ctx);
    SAE_GOTO(sae_new(&ids, n + count, sizeof *ids, "lm.greedy", err));
    SAE_GOTO(sae_new(&logits, (n + count) * lm->vocab, sizeof *logits, "lm.greedy", err));
    memcpy(ids, prompt, (size_t)n * sizeof *ids);
    for (int64_t i = n; i < n + count; i++) {
        int64_t start[2] = {0, i};
        sae_contexts c = {1, start, ids};
        sae_lm_out want = {.logits = logits};
        sae_lm_pass *pass = NULL;
        SAE_GOTO(lm->begin(lm->self, hook, &c, &pass, err));
        rc = lm->finish(pass, NULL, &want, err);
        lm->end(&pass);
        SAE_GOTO(rc);
        out[i - n] = ids[i] = largest(lm->vocab, logits + (i - 1) * lm->vocab);
    }
fail:
    sae_free(ids);
    sae_free(logits);
    return rc;
}
