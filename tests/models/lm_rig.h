/* tests/models/lm_rig.h - a small training run and its data. */
#ifndef SAE_TESTS_LM_RIG_H
#define SAE_TESTS_LM_RIG_H

#include "lm_models.h"
#include "lm_util.h"

#include "core/file.h"
#include "core/log.h"
#include "models/lm_corpus.h"
#include "models/lm_init.h"
#include "models/lm_train.h"

#include <sae/fail.h>
#include <string.h>

enum { T = 24, MOST_DOCS = 64, VOCAB = 41 };

/* Documents in which every token but the first follows from the one before: t -> 3 t + 1 mod 41. */
typedef struct chain {
    int64_t start[MOST_DOCS + 1];
    int32_t tok[MOST_DOCS * T];
    uint64_t doc[MOST_DOCS];
    double nats[MOST_DOCS * T];
    int64_t stop_at;      /* the batch of TRAIN that cannot be had; -1: none */
    int64_t interrupt_at; /* the evaluation that Ctrl-C meets; -1: none */
    int64_t calls, evals;
} chain;

static inline int chain_docs(void *self, enum sae_split split, uint64_t doc0, int64_t N,
                             sae_docs *out, sae_err *err)
{
    chain *k = self;
    ck_assert_int_le(N, MOST_DOCS);
    if (split == SAE_SPLIT_TRAIN && k->calls++ == k->stop_at)
        return SAE_RECORD(err, SAE_EIO, "the power went out");
    if (split == SAE_SPLIT_EVAL && k->evals++ == k->interrupt_at)
        sae_interrupt();
    for (int64_t i = 0; i < N; i++) {
        uint64_t number = doc0 + (uint64_t)i + (split == SAE_SPLIT_EVAL ? 1u << 30 : 0);
        k->doc[i] = number;
        k->start[i + 1] = (i + 1) * T;
        int32_t t = (int32_t)(sae_philox(3, SAE_STREAM_SYNTHETIC, number, 0).v[0] % VOCAB);
        for (int64_t j = 0; j < T; j++, t = (3 * t + 1) % VOCAB) {
            k->tok[i * T + j] = t;
            k->nats[i * T + j] = j ? 0 : log(VOCAB);
        }
    }
    *out = (sae_docs){.c = {N, k->start, k->tok}, .doc = k->doc, .nats = k->nats};
    return SAE_OK;
}

typedef struct rig {
    lm_fixture f;
    sae_lm_model *m;
    chain data;
    sae_lm_corpus corpus;
    sae_lm_training t;
    sae_lm_trained done;
    char dir[512];
} rig;

/* Settings, and the folder. */
static inline void describe_rig(rig *r, const char *name)
{
    r->data.stop_at = r->data.interrupt_at = -1;
    r->corpus = (sae_lm_corpus){&r->data, chain_docs, -1, "chain"};
    snprintf(r->dir, sizeof r->dir, "%s/%s", test_dir(), name);
    ck_assert_int_eq(sae_dir_make(r->dir, NULL), SAE_OK);
    r->t = (sae_lm_training){.corpus = &r->corpus,
                             .dir = r->dir,
                             .identity = "a=1 b=2",
                             .steps = 120,
                             .batch = 16,
                             .warmup = 10,
                             .lr = 1e-2,
                             .min_lr = 1e-3,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .eps = 1e-8,
                             .weight_decay = 0.1,
                             .clip = 1,
                             .log_every = 10,
                             .eval_every = 40,
                             .checkpoint_every = 25,
                             .eval_docs = 40};
}

/* Configuration i of lm_models.h with the tensor names of `arch`. */
static inline int open_rig_model(rig *r, int i, const char *arch, sae_lm_place at, sae_err *err)
{
    static sae_lm_init init = {4, 0.05};
    sae_lm_source src = {&init, sae_lm_read_init};
    sae_lm_config c = lm_config(i);
    for (int k = 0; sae_lm_archs[k]; k++)
        if (strcmp(sae_lm_archs[k]->name, arch) == 0)
            c.files = sae_lm_archs[k];
    c.bias_head = 0; /* which GPT-2's files do not have */
    int rc = sae_lm_model_open(&r->m, &c, &src, at, err);
    r->t.m = r->m;
    return rc;
}

/* Configuration 3 has learned positions and every kind of bias. */
static inline void open_rig(rig *r, const char *name, int threads)
{
    memset(r, 0, sizeof *r);
    lm_engine(&r->f, threads);
    describe_rig(r, name);
    ck_assert_ok(open_rig_model(r, 3, "gpt2", sae_lm_place_of(&r->f.e), &r->f.err), r->f.err);
}

static inline void close_rig(rig *r)
{
    sae_lm_model_close(&r->m);
    lm_engine_close(&r->f);
}

static inline void train(rig *r)
{
    ck_assert_ok(sae_lm_train(&r->t, &r->done, &r->f.err), r->f.err);
}

/* Bytes of a file of the run; free() them. */
static inline char *bytes_of(const rig *r, const char *name, size_t *bytes)
{
    char path[600];
    sae_map map;
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    ck_assert_int_eq(sae_map_open(&map, path, NULL), SAE_OK);
    char *copy = malloc(map.bytes + 1);
    memcpy(copy, map.p, map.bytes);
    copy[map.bytes] = '\0';
    *bytes = map.bytes;
    sae_map_close(&map);
    return copy;
}

static inline void same_file(const rig *a, const rig *b, const char *name)
{
    size_t n, m;
    char *x = bytes_of(a, name, &n), *y = bytes_of(b, name, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s differs", name);
    free(x);
    free(y);
}

static inline int exists(const rig *r, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    return sae_file_exists(path);
}

#endif
