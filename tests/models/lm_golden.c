/* tests/models/lm_golden.c - real models against float64 values computed independently. */
#include "lm_util.h"

#include "models/docs.h"
#include "models/generate.h"
#include "models/lm_eval.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *weights, *tokenizer, *golden;
} models[] = {
    {"stories260k/stories260K.bin", "stories260k/tok512.bin", "stories260k/golden.json"},
    {"babyllama105/model5000.bin", "babyllama105/tok105.bin", "babyllama105/golden.json"},
    {"bitllama3m/bitllama3m.f32.safetensors", "stories260k/tok512.bin", "bitllama3m/golden.json"},
};
enum { MODELS = sizeof models / sizeof models[0] };

typedef struct golden {
    lm_fixture f;
    json_t *json;
    int32_t *ids;
    int64_t n;
} golden;

/* 0 when the data is not there. */
static int open_golden(golden *g, int i)
{
    const char *weights = test_data(models[i].weights);
    const char *tokenizer = weights ? test_data(models[i].tokenizer) : NULL;
    const char *path = tokenizer ? test_data(models[i].golden) : NULL;
    if (!path)
        return 0;
    lm_setup(&g->f, weights, tokenizer);
    g->json = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(g->json);
    g->ids = lm_ids(json_object_get(g->json, "token_ids"), &g->n);
    return 1;
}

static void close_golden(golden *g)
{
    free(g->ids);
    json_decref(g->json);
    lm_teardown(&g->f);
}

/* Half a unit of the file's six decimals, 1e-4 of the value (what its author states for float32),
 * and `scale` times 16 roundings: losses and residual components are differences of numbers of that
 * size. */
static void near(double value, double want, double scale, const char *what)
{
    double bound = 5e-7 + 1e-4 * fabs(want) + 16 * 0x1p-24 * scale;
    ck_assert_msg(fabs(value - want) <= bound, "%s: %.8g, expected %.8g within %.2g", what, value,
                  want, bound);
}

/* A pass over the prompt, halted at a hook. */
static sae_lm_pass *begin(golden *g, const char *hook)
{
    int64_t start[2] = {0, g->n};
    sae_contexts c = {1, start, g->ids};
    sae_lm_pass *pass = NULL;
    ck_assert_ok(g->f.lm->begin(g->f.lm->self, hook, &c, &pass, &g->f.err), g->f.err);
    return pass;
}

START_TEST(prompt)
{
    golden g = {0};
    if (!open_golden(&g, _i))
        return;
    sae_lm *lm = g.f.lm;
    float *z = calloc((size_t)(g.n * lm->vocab), sizeof *z);
    float *lp = calloc((size_t)(g.n * lm->vocab), sizeof *lp);
    double *ce = calloc((size_t)g.n, sizeof *ce);
    sae_lm_pass *pass = begin(&g, "resid_pre.0");
    sae_lm_out out = {.ce = ce, .logits = z, .logprob = lp};
    ck_assert_ok(lm->finish(pass, NULL, &out, &g.f.err), g.f.err);
    lm->end(&pass);

    const float *last = z + (g.n - 1) * lm->vocab;
    const json_t *top = json_object_get(g.json, "last_position_top5");
    double largest = lm_num(json_array_get(top, 0), 1);
    const json_t *losses = json_object_get(g.json, "next_token_ce_nats");
    ck_assert_int_eq((int64_t)json_array_size(losses), g.n - 1);
    for (int64_t i = 0; i + 1 < g.n; i++)
        near(ce[i], lm_num(losses, i), largest, "loss");
    ck_assert(isnan(ce[g.n - 1]));

    double lse = json_real_value(json_object_get(g.json, "last_position_logsumexp"));
    for (int64_t k = 0; k < 5; k++) {
        int64_t id = (int64_t)lm_num(json_array_get(top, (size_t)k), 0);
        double want = lm_num(json_array_get(top, (size_t)k), 1);
        near((double)last[id], want, largest, "logit");
        near((double)lp[(g.n - 1) * lm->vocab + id], want - lse, largest, "log-probability");
        int64_t above = 0;
        for (int64_t v = 0; v < lm->vocab; v++)
            above += last[v] > last[id];
        ck_assert_int_eq(above, k);
    }
    free(z);
    free(lp);
    free(ce);
    close_golden(&g);
}
END_TEST

START_TEST(residual_stream)
{
    golden g = {0};
    if (!open_golden(&g, _i))
        return;
    int64_t d = g.f.lm->d;
    const json_t *layers = json_object_get(g.json, "layers");
    ck_assert_int_eq((int64_t)json_array_size(layers), g.f.lm->layers);
    for (int64_t l = 0; l < g.f.lm->layers; l++) {
        const json_t *layer = json_array_get(layers, (size_t)l);
        const json_t *first = json_object_get(layer, "resid_post_last_position_first8");
        const json_t *norms = json_object_get(layer, "resid_post_l2_norm_by_position");
        ck_assert_int_eq((int64_t)json_array_size(norms), g.n);
        char hook[32];
        snprintf(hook, sizeof hook, "resid_post.%d", (int)l);
        sae_lm_pass *pass = begin(&g, hook);
        const float *x = g.f.lm->acts(pass);
        for (int64_t i = 0; i < g.n; i++) {
            double s = 0;
            for (int64_t j = 0; j < d; j++)
                s += (double)x[i * d + j] * (double)x[i * d + j];
            near(sqrt(s), lm_num(norms, i), 0, "norm");
        }
        for (int64_t j = 0; j < 8; j++)
            near((double)x[(g.n - 1) * d + j], lm_num(first, j), lm_num(norms, g.n - 1),
                 "component");
        g.f.lm->end(&pass);
    }
    close_golden(&g);
}
END_TEST

typedef struct tokens {
    int32_t ids[256];
    int64_t n;
} tokens;

static int collect(void *arg, int32_t id, sae_err *err)
{
    (void)err;
    tokens *t = arg;
    ck_assert_int_lt(t->n, 256);
    t->ids[t->n++] = id;
    return SAE_OK;
}

START_TEST(greedy_text)
{
    golden g = {0};
    if (!open_golden(&g, _i))
        return;
    int64_t n;
    int32_t *want = lm_ids(json_object_get(g.json, "greedy_continuation_ids"), &n);
    double seconds;
    tokens got = {0};
    sae_lm_generator *gen = NULL;
    sae_lm_generated result;
    sae_lm_request r = {.most = n, .token = collect, .arg = &got};
    r.sampling.top_p = 1;
    ck_assert_ok(sae_lm_generator_open(&gen, g.f.lm, g.ids, g.n, n, &seconds, &g.f.err), g.f.err);
    ck_assert_ok(sae_lm_generate(gen, &r, &result, &g.f.err), g.f.err);
    ck_assert_int_eq(got.n, n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_int_eq(got.ids[i], want[i]);
    sae_lm_generator_close(&gen);
    free(want);
    close_golden(&g);
}
END_TEST

/* ---- fifty documents ------------------------------------------------------------------------- */

static void relative(double value, double want, double share, const char *what)
{
    ck_assert_msg(fabs(value - want) <= share * want, "%s: %.8g, expected %.8g", what, value, want);
}

/* The model and the documents; 0 when the data is not there, or when every product would go through
 * the scalar reference (minutes instead of seconds). */
static int open_corpus(golden *g, sae_docs **docs, int i)
{
    const char *text = test_data("tinystories-sample/stories_0001_1800.txt");
    if (!text || !open_golden(g, i))
        return 0;
    if (strcmp(g->f.e.be->name, "ref") == 0) {
        close_golden(g);
        test_skip("fifty documents need a backend with fast products");
        return 0;
    }
    ck_assert_ok(sae_docs_open(g->f.lm, text, "<|endoftext|>", 50, docs, &g->f.err), g->f.err);
    return 1;
}

START_TEST(corpus_loss)
{
    golden g = {0};
    sae_docs *docs = NULL;
    if (!open_corpus(&g, &docs, _i))
        return;
    const json_t *want = json_object_get(g.json, "corpus");
    sae_lm_score s;
    ck_assert_ok(sae_lm_score_docs(g.f.lm, docs, NULL, NULL, &s, &g.f.err), g.f.err);
    ck_assert_int_eq(s.all.tokens, json_integer_value(json_object_get(want, "tokens_scored")));
    relative(s.all.ce, json_real_value(json_object_get(want, "mean_ce_nats")), 1e-4, "loss");
    ck_assert(isnan(s.all.surprisal) && isnan(s.all.gap));
    ck_assert_int_eq(s.rows, docs->c.start[docs->c.N]);
    sae_docs_close(&docs);
    close_golden(&g);
}
END_TEST

/* First, middle and last layer of the smallest model, the middle one of the others: they cost up
 * to ten times as much. */
START_TEST(corpus_ablation)
{
    golden g = {0};
    sae_docs *docs = NULL;
    if (!open_corpus(&g, &docs, _i))
        return;
    const json_t *corpus = json_object_get(g.json, "corpus");
    static const char *const kinds[] = {"zero", "mean"};
    int64_t layers = g.f.lm->layers, first = _i == 0 ? 0 : layers / 2;
    for (int64_t l = first; l < (_i == 0 ? layers : first + 1); l += 2)
        for (int k = 0; k < 2; k++) {
            char text[64], key[64];
            sae_lm_ablation a;
            sae_lm_score s;
            snprintf(text, sizeof text, "resid_post.%d=%s", (int)l, kinds[k]);
            snprintf(key, sizeof key, "%s_ablation_ce_by_layer", kinds[k]);
            ck_assert_ok(sae_lm_ablation_parse(&a, g.f.lm, text, &g.f.err), g.f.err);
            ck_assert_ok(sae_lm_score_docs(g.f.lm, docs, &a, NULL, &s, &g.f.err), g.f.err);
            relative(s.all.ce, lm_num(json_object_get(corpus, key), l), 1e-3, text);
        }
    sae_docs_close(&docs);
    close_golden(&g);
}
END_TEST

START_TEST(corpus_norms)
{
    golden g = {0};
    sae_docs *docs = NULL;
    if (!open_corpus(&g, &docs, _i))
        return;
    const json_t *corpus = json_object_get(g.json, "corpus");
    int64_t d = g.f.lm->d, l = g.f.lm->layers / 2;
    char hook[32];
    sae_lm_pass *pass = NULL;
    snprintf(hook, sizeof hook, "blocks.%d.hook_resid_post", (int)l);
    ck_assert_ok(g.f.lm->begin(g.f.lm->self, hook, &docs->c, &pass, &g.f.err), g.f.err);
    const float *x = g.f.lm->acts(pass);
    double sum[2] = {0}; /* BOS, others */
    for (int64_t c = 0; c < docs->c.N; c++)
        for (int64_t r = docs->c.start[c]; r + 1 < docs->c.start[c + 1]; r++) {
            double s = 0;
            for (int64_t j = 0; j < d; j++)
                s += (double)x[r * d + j] * (double)x[r * d + j];
            sum[r > docs->c.start[c]] += sqrt(s);
        }
    g.f.lm->end(&pass);
    /* The reference ran the model on what predicts something: without the last token. */
    double others = (double)(docs->c.start[docs->c.N] - 2 * docs->c.N);
    relative(sum[0] / (double)docs->c.N,
             lm_num(json_object_get(corpus, "resid_post_mean_norm_position0"), l), 1e-4, "BOS");
    relative(sum[1] / others,
             lm_num(json_object_get(corpus, "resid_post_mean_norm_positions_1plus"), l), 1e-4,
             "others");
    sae_docs_close(&docs);
    close_golden(&g);
}
END_TEST

Suite *suite_lm_golden(void)
{
    Suite *s = suite_create("lm_golden");
    TCase *t = tcase_create("lm_golden");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, prompt, 0, MODELS);
    tcase_add_loop_test(t, residual_stream, 0, MODELS);
    tcase_add_loop_test(t, greedy_text, 0, MODELS);
    tcase_add_loop_test(t, corpus_loss, 0, MODELS);
    tcase_add_loop_test(t, corpus_ablation, 0, MODELS);
    tcase_add_loop_test(t, corpus_norms, 0, MODELS);
    suite_add_tcase(s, t);
    return s;
}
