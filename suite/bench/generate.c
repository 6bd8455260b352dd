/* suite/bench/generate.c - tokens per second of generation behind a short prompt: with the keys and
 * values kept, and with a whole pass for every token (of which one in STRIDE is run).
 *
 * Models: those of the data collection (SAEMARK_DATA) that are there, and GPT-2's shape with random
 * weights.
 */
#include "bench/lm_rig.h"
#include "models/lm_decode.h"

enum { TOKENS = 256, STRIDE = 16 };

/* Seconds of one token behind each length 1..TOKENS, one by one. */
static int with_cache(bench *b, sae_lm_model *m, const int32_t *tok, sae_real *z, double *seconds)
{
    sae_lm_decoder *d = NULL;
    SAE_TRY(sae_lm_decoder_open(&d, m, TOKENS, &b->err));
    int rc = sae_lm_decoder_feed(d, tok, 1, z, &b->err);
    *seconds = -sae_clock();
    for (int64_t i = 1; i < TOKENS && rc >= 0; i++)
        rc = sae_lm_decoder_feed(d, tok + i, 1, z, &b->err);
    *seconds = (*seconds + sae_clock()) / (TOKENS - 1);
    sae_lm_decoder_close(&d);
    return rc;
}

static int with_passes(bench *b, sae_lm_model *m, const int32_t *tok, sae_real *z, double *seconds)
{
    sae_lm *lm = &m->api;
    *seconds = 0;
    for (int64_t n = STRIDE / 2; n < TOKENS; n += STRIDE) {
        int64_t start[2] = {0, n};
        sae_contexts c = {1, start, tok};
        sae_lm_pass *pass = NULL;
        double t = sae_clock();
        SAE_TRY(lm->begin(lm->self, "resid_pre.0", &c, &pass, &b->err));
        int rc = lm->finish(pass, NULL, &(sae_lm_out){.logits = z}, &b->err);
        lm->end(&pass);
        SAE_TRY(rc);
        *seconds += (sae_clock() - t) * STRIDE / TOKENS;
    }
    return SAE_OK;
}

static int measure(bench *b, const char *name, sae_lm_model *m)
{
    static int32_t tok[TOKENS];
    sae_real *z = NULL;
    double cached = 0, passes = 0;
    for (int64_t r = 0; r < TOKENS; r++)
        tok[r] = (int32_t)(sae_philox(2, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                           (uint64_t)m->cfg.vocab);
    SAE_TRY(sae_new(&z, TOKENS * m->cfg.vocab, sizeof *z, "bench", &b->err));
    int rc = with_cache(b, m, tok, z, &cached);
    if (rc >= 0)
        rc = with_passes(b, m, tok, z, &passes);
    sae_free(z);
    printf("%-14s %10.1f tokens/s (%.1f GB/s of weights)  by passes %8.1f tokens/s\n", name,
           1 / cached, (double)m->w.params * sizeof(sae_real) / cached / 1e9, 1 / passes);
    return rc;
}

int main(void)
{
    bench b = {0};
    const sae_lm_config gpt2 = BENCH_GPT2;
    int rc = bench_open(&b, "generate");
    if (rc >= 0)
        rc = bench_file(&b, "stories260k", "stories260K.bin", measure);
    if (rc >= 0)
        rc = bench_file(&b, "bitllama3m", "bitllama3m.f32.safetensors", measure);
    if (rc >= 0)
        rc = bench_shape(&b, "gpt2-124m", &gpt2, measure);
    return bench_close(&b, "generate", rc);
}
