/* suite/bench/generate.c - tokens per second of generation behind a short prompt: with the keys and
 * values kept, and with a whole pass for every token (of which one in STRIDE is run).
 *
 * Models: those of the data collection (SAEMARK_DATA) that are there, and GPT-2's shape with random
 * weights.
 */
#include "bench/lm_rig.h"
#include "core/file.h"
#include "models/lm_decode.h"
#include "models/lm_file.h"

#include <stdlib.h>

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

static int measure_file(bench *b, const char *root, const char *name, const char *file)
{
    char path[1024];
    sae_lm *lm = NULL;
    snprintf(path, sizeof path, "%s/%s/%s", root, name, file);
    if (!sae_file_exists(path)) {
        printf("%-14s is not there, left out\n", name);
        return SAE_OK;
    }
    SAE_TRY(sae_lm_open(&lm, path, "", &b->e.k, b->e.dev, &b->err));
    int rc = measure(b, name, lm->self);
    sae_lm_close(&lm);
    return rc;
}

static int measure_gpt2(bench *b)
{
    sae_lm_config c = {
        .arch = "gpt2",
        .d = 768,
        .hidden = 3072,
        .layers = 12,
        .vocab = 50257,
        .ctx = 1024,
        .heads = 12,
        .kv_heads = 12,
        .head = 64,
        .norm_in = SAE_LM_NORM_LAYER,
        .norm_final = SAE_LM_NORM_LAYER,
        .eps = 1e-5,
        .act = SAE_LM_GELU_TANH,
        .bias_qkv = 1,
        .bias_o = 1,
        .bias_mlp = 1,
        .learned_positions = 1,
        .tied = 1,
        .bos = -1,
        .eos = -1,
    };
    sae_lm_source src = {NULL, bench_weights};
    sae_lm_model *m = NULL;
    SAE_TRY(sae_lm_model_open(&m, &c, &src, &b->e.k, b->e.dev, &b->err));
    int rc = measure(b, "gpt2-124m", m);
    sae_lm_model_close(&m);
    return rc;
}

int main(void)
{
    bench b = {0};
    const char *root = getenv("SAEMARK_DATA");
    int rc = bench_open(&b, "generate");
    if (rc >= 0 && root)
        rc = measure_file(&b, root, "stories260k", "stories260K.bin");
    if (rc >= 0 && root)
        rc = measure_file(&b, root, "bitllama3m", "bitllama3m.f32.safetensors");
    if (rc >= 0)
        rc = measure_gpt2(&b);
    if (rc < 0)
        fprintf(stderr, "generate: %s\n", b.err.msg);
    sae_engine_close(&b.e);
    return rc < 0;
}
