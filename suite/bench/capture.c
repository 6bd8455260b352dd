/* suite/bench/capture.c - tokens per second of activation capture at a middle layer, against the
 * floor that arithmetic sets: flops of the blocks up to the hook at the rate of a large product.
 *
 * Models: those of the data collection (SAEMARK_DATA) that are there, and one with random weights.
 * Contexts have random ids and lengths from a quarter of the context (at most 512) to all of it.
 */
#include "bench/lm_rig.h"

enum { ROWS = 16384, REPEATS = 5 };

/* Contexts of random ids and lengths, about ROWS rows; c->start and c->tok are to be freed. */
static int make_contexts(const sae_lm *lm, sae_contexts *c, sae_err *err)
{
    int64_t *start = NULL;
    int32_t *tok = NULL;
    int64_t longest = lm->ctx < 512 ? lm->ctx : 512, N = 0, r = 0;
    SAE_TRY(sae_new(&start, ROWS + 1, sizeof *start, "bench", err));
    SAE_TRY(sae_new(&tok, ROWS + 512, sizeof *tok, "bench", err));
    while (r < ROWS) {
        uint32_t u = sae_philox(1, SAE_STREAM_SYNTHETIC, (uint64_t)N, 0).v[0];
        int64_t end = r + longest / 4 + u % (longest - longest / 4 + 1);
        for (; r < end; r++)
            tok[r] = (int32_t)(sae_philox(2, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                               (uint64_t)lm->vocab);
        start[++N] = r;
    }
    *c = (sae_contexts){N, start, tok};
    return SAE_OK;
}

/* Flops of the first `blocks` blocks over all contexts: two per weight and row, and scores and
 * weighted sums of attention. */
static double flops(const sae_lm_config *f, const sae_contexts *c, int64_t blocks)
{
    int64_t q = f->heads * f->head, kv = f->kv_heads * f->head;
    double weights = (double)(f->d * (2 * q + 2 * kv + 3 * f->hidden)), seen = 0;
    for (int64_t i = 0; i < c->N; i++) {
        double len = (double)(c->start[i + 1] - c->start[i]);
        seen += len * (len + 1) / 2;
    }
    return (double)blocks * (2 * weights * (double)c->start[c->N] + 4 * seen * (double)q);
}

static int measure(bench *b, const char *name, sae_lm_model *m)
{
    const sae_lm *lm = &m->api;
    int64_t layer = lm->layers / 2;
    char hook[32];
    sae_contexts c;
    double best = 0;
    snprintf(hook, sizeof hook, "resid_post.%lld", (long long)layer);
    SAE_TRY(make_contexts(lm, &c, &b->err));
    for (int k = 0; k < REPEATS; k++) {
        sae_lm_pass *pass = NULL;
        double t = sae_clock();
        SAE_TRY(lm->begin(lm->self, hook, &c, &pass, &b->err));
        t = sae_clock() - t;
        lm->end(&pass);
        best = k == 0 || t < best ? t : best;
    }
    double rows = (double)c.start[c.N], work = flops(&m->cfg, &c, layer + 1);
    printf("%-14s %-13s %10.0f tokens/s  %6.3f MFLOP/token  %6.1f GFLOP/s  time/floor %.2f\n", name,
           hook, rows / best, work / rows / 1e6, work / best / 1e9,
           best * b->flops_per_s / work);
    sae_free((void *)c.start);
    sae_free((void *)c.tok);
    return SAE_OK;
}

int main(void)
{
    static const char *const files[][2] = {
        {"stories260k", "stories260K.bin"},
        {"babyllama105", "model5000.bin"},
        {"bitllama3m", "bitllama3m.f32.safetensors"},
    };
    bench b = {0};
    const sae_lm_config llama = BENCH_LLAMA(512, 8, 1376, 8, 8, 4096);
    int rc = bench_open(&b, "capture");
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc >= 0; i++)
        rc = bench_file(&b, files[i][0], files[i][1], measure);
    if (rc >= 0)
        rc = bench_shape(&b, "random-d512", &llama, measure);
    return bench_close(&b, "capture", rc);
}
