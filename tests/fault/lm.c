/* tests/fault/lm.c - language models whatever allocation or write fails: opening a checkpoint of
 * several files, a pass with gradients, writing the weights; training; continuing a prompt; probing
 * for labels. */
#include "core/file.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/model.h"
#include "models/generate.h"
#include "models/lm_corpus.h"
#include "models/lm_file.h"
#include "models/lm_train.h"
#include "run/lm_probe.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static sae_engine e;

static int pass_and_save(const char *out, sae_err *err)
{
    static const int64_t start[3] = {0, 5, 12};
    static const int32_t tok[12] = {1, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11, 12};
    const sae_contexts c = {2, start, tok};
    float grad[12 * 64];
    sae_lm *lm;
    sae_lm_pass *pass = NULL;
    int rc = sae_lm_open(&lm, "tests/golden/data/lm/qwen3", "", sae_lm_place_of(&e), err);
    if (rc < 0) {
        ck_assert_ptr_null(lm);
        return rc;
    }
    const sae_lm_model *m = lm->self;
    rc = lm->begin(lm->self, "mlp_act.0", &c, &pass, err);
    ck_assert_int_eq(pass != NULL, rc >= 0);
    if (rc >= 0)
        rc = lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, err);
    lm->end(&pass);
    if (rc >= 0)
        rc = sae_lm_weights_save(&m->w, &m->at, &m->cfg, out, SAE_ST_BF16, err);
    sae_lm_close(&lm);
    ck_assert_int_eq(sae_file_exists(out), rc >= 0);
    return rc;
}

static int record(void *arg, const sae_lm_trained *done, sae_err *err)
{
    (void)done;
    return sae_file_write(arg, "{}", 2, err);
}

/* Three contexts for training, one for evaluation; two steps with a state in between. */
static int train(const char *out, sae_err *err)
{
    static const int64_t start[5] = {0, 5, 12, 15, 20};
    static const int32_t tok[20] = {1, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11, 12, 1, 2, 3, 1, 9, 8, 7, 6};
    static const uint64_t doc[4] = {0, 1, 2, 3};
    const sae_docs docs = {.c = {4, start, tok}, .doc = doc};
    char state[512], training[512];
    snprintf(state, sizeof state, "%s/state.safetensors", test_dir());
    snprintf(training, sizeof training, "%s/training.json", test_dir());
    ck_assert_int_eq(sae_file_remove(training, NULL), SAE_OK);
    sae_lm *lm = NULL;
    sae_lm_text *text = NULL;
    sae_lm_trained done;
    int rc = sae_lm_open(&lm, "tests/golden/data/lm/gpt2", "", sae_lm_place_of(&e), err);
    if (rc >= 0)
        rc = sae_lm_text_open(&text, &docs, 2, 0.5, err);
    sae_lm_corpus corpus = {text, sae_lm_text_docs, text ? sae_lm_text_eval(text) : 0, "text"};
    sae_lm_training t = {.m = lm ? lm->self : NULL, .corpus = &corpus, .dir = test_dir(),
                         .identity = "a", .steps = 2, .batch = 2, .lr = 1e-3, .eps = 1e-8,
                         .log_every = 1, .checkpoint_every = 1, .eval_docs = 1, .on_end = record,
                         .arg = training};
    if (rc >= 0)
        rc = sae_lm_train(&t, &done, err);
    sae_lm_text_close(&text);
    sae_lm_close(&lm);
    ck_assert_int_eq(sae_file_exists(out) && !sae_file_exists(state), rc >= 0); /* finished */
    ck_assert(!sae_file_exists(out) || sae_file_exists(training));
    return rc;
}

static int no_token(void *arg, int32_t id, sae_err *err)
{
    (void)arg, (void)id, (void)err;
    return SAE_OK;
}

static int generate(const char *out, sae_err *err)
{
    static const int32_t prompt[3] = {1, 2, 3};
    sae_lm *lm = NULL;
    sae_lm_generator *g = NULL;
    sae_lm_generated got;
    double seconds;
    sae_lm_request r = {.sampling = {.temperature = 1, .top_p = 0.9}, .most = 4, .token = no_token};
    (void)out;
    int rc = sae_lm_open(&lm, "tests/golden/data/lm/gpt2", "", sae_lm_place_of(&e), err);
    if (rc >= 0)
        rc = sae_lm_generator_open(&g, lm, prompt, 3, 4, &seconds, err);
    ck_assert_int_eq(g != NULL, rc >= 0);
    if (rc >= 0)
        rc = sae_lm_generate(g, &r, &got, err);
    sae_lm_generator_close(&g);
    sae_lm_close(&lm);
    return rc;
}

/* Two labels of documents that show both of their classes. */
static int label_docs(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                      sae_err *err)
{
    static const int64_t start[4] = {0, 7, 14, 21};
    static const uint64_t doc[3] = {0, 1, 2};
    static int32_t tok[21], label[21 * 2];
    (void)self, (void)split, (void)doc0, (void)err;
    for (int32_t i = 0; i < 21; i++) {
        tok[i] = i % 7 ? 3 + i : 1;
        label[2 * i] = i % 2;
        label[2 * i + 1] = i % 3 - 1;
    }
    *out = (sae_docs){.c = {N, start, tok}, .doc = doc, .labels = 2, .label = label};
    return SAE_OK;
}

static int probe(const char *out, sae_err *err)
{
    static const char *const names[] = {"a", "b"};
    static const sae_label table[] = {{"one", 2, names, 0}, {"two", 2, names, 0}};
    static const int64_t which[] = {0, 1};
    const sae_lm_corpus corpus = {NULL, label_docs, -1, "labels"};
    sae_linprobe_result got[2];
    sae_lm *lm = NULL;
    (void)out;
    int rc = sae_lm_open(&lm, "tests/golden/data/lm/gpt2", "", sae_lm_place_of(&e), err);
    sae_lm_probing s = {.lm = lm, .corpus = &corpus, .hook = "resid_post.0", .docs = 3,
                        .eval_docs = 3, .table = table, .label = which, .count = 2};
    if (rc >= 0)
        rc = sae_lm_probe(&s, got, err);
    ck_assert(rc < 0 || (got[0].rows == 18 && got[1].rows == 12));
    sae_lm_close(&lm);
    return rc;
}

typedef int (*scenario_fn)(const char *out, sae_err *err);

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_engine_open(&e, sae_list_backends[0], 0, 1, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&e);
}

/* Repeat with the i-th fault until none happens: a clean status, nothing leaked, no half file.
 * What a failed write leaves beside `out` does not stop the next try. */
static void each_fault(scenario_fn scenario, void (*arm)(uint64_t i), int code, uint64_t least)
{
    sae_err err = {0};
    char *out = sae_path_join(test_dir(), "model.safetensors");
    size_t live = sae_alloc_live();
    int rc = code;
    uint64_t i = 0;
    while (rc < 0 && i < 500) {
        err = (sae_err){0};
        arm(++i);
        rc = scenario(out, &err);
        arm(0);
        ck_assert_msg(rc >= 0 || (rc == code && err.msg[0]), "fault %d: status %d: %s", (int)i, rc,
                      err.msg);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    ck_assert_ok(rc, err);
    ck_assert_uint_gt(i, least);
    sae_free(out);
}

static const struct {
    scenario_fn run;
    uint64_t allocations, writes; /* more than so many */
} scenarios[] = {{pass_and_save, 40, 3}, {train, 60, 10}, {generate, 40, 0}, {probe, 40, 0}};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

START_TEST(every_allocation)
{
    each_fault(scenarios[_i].run, sae_alloc_fail_at, SAE_ENOMEM, scenarios[_i].allocations);
}
END_TEST

START_TEST(every_write)
{
    each_fault(scenarios[_i].run, sae_io_fail_at, SAE_EIO, scenarios[_i].writes);
}
END_TEST

Suite *suite_lm(void)
{
    Suite *s = suite_create("lm");
    TCase *tc = tcase_create("lm");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, every_allocation, 0, SCENARIOS);
    tcase_add_loop_test(tc, every_write, 0, SCENARIOS);
    suite_add_tcase(s, tc);
    return s;
}
