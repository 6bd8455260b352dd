/* suite/bench/lm.c - tokens per second of language models, forward and forward + backward to all
 * parameters, against the floor that arithmetic sets at the rate of a large product; and the memory
 * of a 160M-parameter shape at context 1024.
 *
 * Random weights and tokens; 2048 tokens a call, in contexts of 256 and of 1024. usage: lm [NAME]
 */
#include "bench/lm_rig.h"
#include "models/lm_tape.h"

#include <string.h>

enum { TOKENS = 2048, REPEATS = 5 };

typedef struct shape {
    const char *name;
    sae_lm_config c;
} shape;

static const shape shapes[] = {
    {"llama-0.26M", BENCH_LLAMA(64, 5, 172, 8, 4, 512)},
    {"llama-5.9M", BENCH_LLAMA(256, 8, 688, 8, 4, 512)},
    {"gpt2-124M", BENCH_GPT2},
    {"pythia-160M",
     {.arch = "gpt_neox", .d = 768, .hidden = 3072, .layers = 12, .vocab = 50304, .ctx = 2048,
      .heads = 12, .kv_heads = 12, .head = 64, .rotary = 16, .norm_in = SAE_LM_NORM_LAYER,
      .norm_final = SAE_LM_NORM_LAYER, .eps = 1e-5, .act = SAE_LM_GELU, .parallel = 1,
      .bias_qkv = 1, .bias_o = 1, .bias_mlp = 1, .rope = {{.theta = 10000}, {.theta = 10000}},
      .bos = -1, .eos = -1}},
};

/* Flops a token of the forward pass: two per weight it is multiplied with, and causal attention. */
static double flops(const sae_lm_model *m, int64_t T)
{
    const sae_lm_config *c = &m->cfg;
    double weights = (double)(c->vocab * c->d);
    for (int64_t i = 0; i < m->w.slots; i++)
        if (sae_lm_part_in_layer(m->w.slot[i].part) && !sae_lm_part_is_vector(m->w.slot[i].part))
            weights += (double)(m->w.slot[i].rows * m->w.slot[i].cols);
    return 2 * weights + 2.0 * (double)(c->layers * c->heads * c->head * T);
}

typedef struct job {
    bench *b;
    sae_lm_model *m;
    sae_contexts c;
    int64_t start[TOKENS + 1];
    int32_t tok[TOKENS];
    double ce[TOKENS];
    sae_real *grad; /* NULL: forward only */
} job;

static int run_once(job *j)
{
    const sae_lm *lm = &j->m->api;
    sae_lm_pass *pass = NULL;
    if (j->grad)
        return sae_lm_loss_grad(j->m, &j->c, j->grad, j->ce, &j->b->err);
    SAE_TRY(lm->begin(lm->self, "resid_pre.0", &j->c, &pass, &j->b->err));
    int rc = lm->finish(pass, NULL, &(sae_lm_out){.ce = j->ce}, &j->b->err);
    lm->end(&pass);
    return rc;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(job *j, const char *name, int64_t T)
{
    double t[REPEATS], factor = j->grad ? 3 : 1;
    j->c = (sae_contexts){TOKENS / T, j->start, j->tok};
    for (int64_t i = 0; i <= TOKENS / T; i++)
        j->start[i] = i * T;
    for (int64_t r = 0; r < TOKENS; r++)
        j->tok[r] = (int32_t)(sae_philox(2, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                              (uint64_t)j->m->cfg.vocab);
    SAE_TRY(run_once(j));
    for (int k = 0; k < REPEATS; k++) {
        t[k] = sae_clock();
        SAE_TRY(run_once(j));
        t[k] = sae_clock() - t[k];
    }
    qsort(t, REPEATS, sizeof *t, by_size);
    double rate = TOKENS / t[REPEATS / 2], work = factor * flops(j->m, T);
    printf("%-12s context %4lld  %-18s %9.0f tokens/s  (%.0f to %.0f)  time/floor %.2f\n", name,
           (long long)T, j->grad ? "forward + backward" : "forward", rate,
           TOKENS / t[REPEATS - 1], TOKENS / t[0], j->b->flops_per_s / (rate * work));
    return SAE_OK;
}

static int run_shape(bench *b, const shape *s)
{
    static const int64_t lengths[] = {256, 1024};
    int rc = SAE_OK;
    job *j = NULL;
    SAE_TRY(sae_new(&j, 1, sizeof *j, "bench", &b->err));
    j->b = b;
    SAE_GOTO(bench_model(b, &s->c, &j->m));
    size_t weights = (size_t)j->m->w.count * sizeof(sae_real), before = sae_alloc_live();
    for (int i = 0; i < 2; i++)
        SAE_GOTO(measure(j, s->name, lengths[i]));
    printf("%-12s weights %.0f MiB, forward pass %.0f MiB\n", s->name, (double)weights / 0x1p20,
           (double)(sae_alloc_live() - before) / 0x1p20);
    sae_real *grad = NULL;
    SAE_GOTO(sae_new(&grad, j->m->w.count, sizeof *grad, "bench", &b->err));
    j->grad = grad;
    for (int i = 0; i < 2 && rc >= 0; i++)
        rc = measure(j, s->name, lengths[i]);
    sae_free(grad);
    if (rc >= 0)
        printf("%-12s backward pass %.0f MiB beside weights and gradients\n", s->name,
               (double)(sae_alloc_live() - before) / 0x1p20);
fail:
    sae_lm_model_close(&j->m);
    sae_free(j);
    return rc;
}

int main(int argc, char **argv)
{
    bench b = {0};
    setvbuf(stdout, NULL, _IOLBF, 0); /* the large shapes take a while */
    int rc = bench_open(&b, "lm");
    for (size_t i = 0; rc >= 0 && i < sizeof shapes / sizeof shapes[0]; i++)
        if (argc < 2 || strstr(shapes[i].name, argv[1]))
            rc = run_shape(&b, &shapes[i]);
    return bench_close(&b, "lm", rc);
}
