/* suite/bench/cases/models.c - language models with random weights: forward to the losses, forward
 * and backward to all parameters, activations at a middle layer, token by token.
 *
 * Flops are two per weight that a token is multiplied with and two per score and weighted value of
 * causal attention; the backward pass counts twice the forward. Softmax, norms and activation
 * functions are not counted.
 */
#include "bench/cases/work.h"
#include "models/lm_decode.h"
#include "models/lm_model.h"
#include "models/lm_tape.h"

#include <math.h>
#include <stdio.h>

enum { TOKENS = 2048, GENERATED = 64 };

#define LLAMA(d_, layers_, hidden_, heads_, kv_, vocab_)                                           \
    {.arch = "llama", .d = d_, .hidden = hidden_, .layers = layers_, .vocab = vocab_, .ctx = 1024, \
     .heads = heads_, .kv_heads = kv_, .head = d_ / heads_, .rotary = d_ / heads_,                 \
     .norm_in = SAE_LM_NORM_RMS, .norm_final = SAE_LM_NORM_RMS, .eps = 1e-5, .gated = 1,           \
     .rope = {{.theta = 10000}, {.theta = 10000}}, .tied = 1, .bos = -1, .eos = -1}

static const struct model_shape {
    const char *name;
    sae_lm_config c;
} shapes[] = {
    {"llama-0.26M", LLAMA(64, 5, 172, 8, 4, 512)},
    {"llama-5.9M", LLAMA(256, 8, 688, 8, 4, 512)},
    {"gpt2-124M",
     {.arch = "gpt2", .d = 768, .hidden = 3072, .layers = 12, .vocab = 50257, .ctx = 1024,
      .heads = 12, .kv_heads = 12, .head = 64, .norm_in = SAE_LM_NORM_LAYER,
      .norm_final = SAE_LM_NORM_LAYER, .eps = 1e-5, .act = SAE_LM_GELU_TANH, .bias_qkv = 1,
      .bias_o = 1, .bias_mlp = 1, .learned_positions = 1, .tied = 1, .bos = -1, .eos = -1}},
    {"pythia-160M",
     {.arch = "gpt_neox", .d = 768, .hidden = 3072, .layers = 12, .vocab = 50304, .ctx = 2048,
      .heads = 12, .kv_heads = 12, .head = 64, .rotary = 16, .norm_in = SAE_LM_NORM_LAYER,
      .norm_final = SAE_LM_NORM_LAYER, .eps = 1e-5, .act = SAE_LM_GELU, .parallel = 1,
      .bias_qkv = 1, .bias_o = 1, .bias_mlp = 1, .rope = {{.theta = 10000}, {.theta = 10000}},
      .bos = -1, .eos = -1}},
};

typedef struct job {
    sae_cases *c;
    const struct model_shape *shape;
    int (*run)(struct job *j, sae_err *err);
    double factor; /* flops of a run over those of all layers and the head */
    /* while it runs */
    sae_lm_model *m;
    sae_lm_decoder *decoder;
    sae_contexts contexts;
    int64_t *start;
    int32_t *tok;
    double *ce;
    sae_real *grad, *logits;
} job;

/* ---- what is timed --------------------------------------------------------------------------- */

static int forward(job *j, sae_err *err)
{
    const sae_lm *lm = &j->m->api;
    sae_lm_pass *pass = NULL;
    SAE_TRY(lm->begin(lm->self, NULL, &j->contexts, &pass, err));
    int rc = lm->finish(pass, NULL, &(sae_lm_out){.ce = j->ce}, err);
    lm->end(&pass);
    return rc;
}

static int backward(job *j, sae_err *err)
{
    return sae_lm_loss_grad(j->m, &j->contexts, j->grad, j->ce, err);
}

static int capture(job *j, sae_err *err)
{
    const sae_lm *lm = &j->m->api;
    sae_lm_pass *pass = NULL;
    char hook[40];
    snprintf(hook, sizeof hook, "resid_post.%lld", (long long)(lm->layers / 2));
    SAE_TRY(lm->begin(lm->self, hook, &j->contexts, &pass, err));
    lm->end(&pass);
    return SAE_OK;
}

/* Keys and values of what came before are kept. */
static int generate(job *j, sae_err *err)
{
    sae_lm_decoder_keep(j->decoder, 0);
    for (int64_t i = 0; i < GENERATED; i++)
        SAE_TRY(sae_lm_decoder_feed(j->decoder, j->tok + i, 1, j->logits, err));
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Normal weights of variance 1 / columns; norms of one. */
static int weights(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                   sae_real *out, sae_err *err)
{
    int64_t rows, cols;
    (void)self, (void)err;
    sae_lm_part_shape(c, p, &rows, &cols);
    uint64_t row = (uint64_t)(layer * SAE_LM_PARTS + (int64_t)p);
    for (int64_t i = 0; out && i < rows * cols; i++)
        out[i] = sae_lm_part_is_vector(p)
                     ? 1.0f
                     : (sae_real)(sae_normal(3, SAE_STREAM_SYNTHETIC, row, (uint32_t)i) /
                                  sqrt((double)cols));
    return SAE_OK;
}

static void close_job(job *j)
{
    sae_lm_decoder_close(&j->decoder);
    if (j->m)
        sae_lm_free(&j->m->at, j->grad);
    sae_lm_model_close(&j->m);
    sae_free(j->start);
    sae_free(j->tok);
    sae_free(j->ce);
    sae_free(j->logits);
    *j = (job){.c = j->c, .shape = j->shape, .run = j->run, .factor = j->factor};
}

/* Contexts of T tokens. */
static int open_job(job *j, int64_t T, sae_err *err)
{
    const sae_engine *e = j->c->e;
    const sae_lm_config *c = &j->shape->c;
    sae_lm_source src = {NULL, weights};
    SAE_TRY(sae_lm_model_open(&j->m, c, &src, sae_lm_place_of(e), err));
    SAE_TRY(sae_new(&j->start, TOKENS / T + 1, sizeof *j->start, "bench.contexts", err));
    SAE_TRY(sae_new(&j->tok, TOKENS, sizeof *j->tok, "bench.tokens", err));
    SAE_TRY(sae_new(&j->ce, TOKENS, sizeof *j->ce, "bench.losses", err));
    for (int64_t i = 0; i <= TOKENS / T; i++)
        j->start[i] = i * T;
    for (int64_t r = 0; r < TOKENS; r++)
        j->tok[r] = (int32_t)(sae_philox(2, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0).v[0] %
                              (uint64_t)c->vocab);
    j->contexts = (sae_contexts){TOKENS / T, j->start, j->tok};
    if (j->run == backward)
        SAE_TRY(sae_lm_new(&j->m->at, &j->grad, j->m->w.count, sizeof *j->grad, "bench.gradient",
                           err));
    if (j->run == generate) {
        SAE_TRY(sae_new(&j->logits, c->vocab, sizeof *j->logits, "bench.logits", err));
        SAE_TRY(sae_lm_decoder_open(&j->decoder, j->m, GENERATED, err));
    }
    return SAE_OK;
}

/* Of one token through all layers and the head, in contexts of T. */
static double flops_of_token(const sae_lm_model *m, int64_t T)
{
    const sae_lm_config *c = &m->cfg;
    double n = (double)(c->vocab * c->d);
    for (int64_t i = 0; i < m->w.slots; i++)
        if (sae_lm_part_in_layer(m->w.slot[i].part) && !sae_lm_part_is_vector(m->w.slot[i].part))
            n += (double)(m->w.slot[i].rows * m->w.slot[i].cols);
    return 2 * n + 2.0 * (double)(c->layers * c->heads * c->head * T);
}

/* Of the layers up to the middle one, of all and the head. */
static double share_of_capture(const sae_lm_model *m)
{
    double head = 2.0 * (double)(m->cfg.vocab * m->cfg.d), all = flops_of_token(m, 0);
    double layers = (double)(m->cfg.layers / 2 + 1) / (double)m->cfg.layers;
    return (all - head) * layers / all;
}

/* ---- the benchmark --------------------------------------------------------------------------- */

static int once(void *arg, sae_err *err)
{
    job *j = arg;
    return sae_cases_wait(j->c->e, j->run(j, err));
}

static void run_job(sae_bench_state *st)
{
    job *j = sae_bench_user(st);
    sae_err err = {0};
    const int64_t T = sae_bench_range_of(st, 0);
    sae_work_close(j->c->work);
    int rc = open_job(j, T, &err);
    if (rc >= 0)
        rc = once(j, &err); /* sizes the workspace, warms up */
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        close_job(j);
        return;
    }
    double seconds = sae_cases_loop(st, once, j);
    if (seconds >= 0) {
        double tokens = j->run == generate ? GENERATED : TOKENS;
        double n = (double)sae_bench_iterations(st) * tokens;
        double share = j->run == capture ? share_of_capture(j->m) : j->factor;
        double bytes = j->run == generate ? n * (double)j->m->w.params * sizeof(sae_real) : 0;
        sae_bench_set_items(st, (int64_t)n);
        sae_cases_rates(j->c, st, seconds, n * share * flops_of_token(j->m, T), bytes);
    }
    close_job(j);
}

int sae_cases_models(sae_cases *c, sae_err *err)
{
    static const struct {
        const char *name;
        int (*run)(job *j, sae_err *err);
        double factor;
    } what[] = {{"forward", forward, 1},
                {"backward", backward, 3},
                {"capture", capture, 1},
                {"generate", generate, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
            char name[64];
            job *j = sae_cases_keep(c, sizeof *j, err);
            if (!j)
                return SAE_ENOMEM;
            *j = (job){.c = c, .shape = &shapes[s], .run = what[i].run, .factor = what[i].factor};
            snprintf(name, sizeof name, "lm/%s/%s", what[i].name, shapes[s].name);
            sae_bench *b = sae_bench_arg_name(sae_bench_add(name, run_job, j), "T");
            if (what[i].run == generate)
                sae_bench_arg(b, GENERATED);
            else
                sae_bench_arg(sae_bench_arg(b, 256), 1024);
            sae_cases_timed(b);
        }
    return SAE_OK;
}
