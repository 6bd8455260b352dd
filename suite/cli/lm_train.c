/* suite/cli/lm_train.c - saemark lm train: a language model from scratch. */
#include "cli/corpus.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/log.h"
#include "core/memory.h"
#include "models/lm_file.h"
#include "models/lm_init.h"
#include "models/lm_train.h"
#include "run/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    const cli_args *a;
    sae_engine e;
    sae_lm *lm;
    cli_corpus corpus;
    sae_lm_init init;
    sae_lm_training t;
    char *identity;
} run_state;

/* ---- settings -------------------------------------------------------------------------------- */

static int read_counts(const cli_args *a, sae_lm_training *t, sae_err *err)
{
    const int64_t most = INT64_C(1) << 40;
    SAE_TRY(cli_int(a, "steps", 1000, 1, most, &t->steps, err));
    SAE_TRY(cli_int(a, "batch", 16, 1, 1 << 20, &t->batch, err));
    SAE_TRY(cli_int(a, "warmup", t->steps / 50, 0, most, &t->warmup, err));
    SAE_TRY(cli_int(a, "log-every", 50, 1, most, &t->log_every, err));
    SAE_TRY(cli_int(a, "eval-every", 500, 0, most, &t->eval_every, err));
    SAE_TRY(cli_int(a, "eval-docs", 512, 1, most, &t->eval_docs, err));
    SAE_TRY(cli_int(a, "checkpoint-every", 500, 0, most, &t->checkpoint_every, err));
    if (t->warmup >= t->steps)
        SAE_FAIL(err, SAE_EINVAL, "--warmup %lld: expected fewer than the %lld steps",
                 (long long)t->warmup, (long long)t->steps);
    return SAE_OK;
}

static int read_settings(const cli_args *a, run_state *r, sae_err *err)
{
    sae_lm_training *t = &r->t;
    int64_t seed;
    SAE_TRY(read_counts(a, t, err));
    SAE_TRY(cli_int(a, "seed", 0, 0, INT64_MAX, &seed, err));
    SAE_TRY(cli_real(a, "lr", 1e-3, 0, 10, &t->lr, err));
    SAE_TRY(cli_real(a, "min-lr", t->lr / 10, 0, t->lr, &t->min_lr, err));
    SAE_TRY(cli_real(a, "beta1", 0.9, 0, 0.999999, &t->beta1, err));
    SAE_TRY(cli_real(a, "beta2", 0.95, 0, 0.999999, &t->beta2, err));
    SAE_TRY(cli_real(a, "weight-decay", 0.1, 0, 10, &t->weight_decay, err));
    SAE_TRY(cli_real(a, "clip", 1, 0, 1e9, &t->clip, err));
    SAE_TRY(cli_real(a, "init-std", 0.02, 0, 10, &r->init.std, err));
    SAE_TRY(cli_dtype(a, "dtype", SAE_ST_F32, &t->dtype, err));
    t->eps = 1e-8;
    r->init.seed = (uint64_t)seed;
    t->resume = cli_has(a, "resume");
    return SAE_OK;
}

/* Everything that decides the bits of the result. A device that does not take models leaves them to
 * the host. */
static char *identity_of(const run_state *r, const char *config)
{
    const sae_lm_training *t = &r->t;
    char name[SAE_ENGINE_NAME];
    const char *backend = t->m->at.be ? sae_engine_name(&r->e, name) : r->e.host_be->name;
    return sae_strfmt("lm-train-1 config=%s init=%llu,%.15g corpus=%s steps=%lld batch=%lld "
                      "warmup=%lld lr=%.15g min_lr=%.15g betas=%.15g,%.15g "
                      "weight_decay=%.15g clip=%.15g "
                      "eval=%lld,%lld,%lld backend=%s",
                      config, (unsigned long long)r->init.seed, r->init.std, r->corpus.c.id,
                      (long long)t->steps, (long long)t->batch, (long long)t->warmup, t->lr,
                      t->min_lr, t->beta1, t->beta2, t->weight_decay, t->clip,
                      (long long)t->log_every, (long long)t->eval_every, (long long)t->eval_docs,
                      backend);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static int copy_file(const char *from, const char *dir, const char *name, sae_err *err)
{
    sae_map map;
    SAE_TRY(sae_map_open(&map, from, err));
    char *to = sae_path_join(dir, name);
    int rc = to ? sae_file_write(to, map.p, map.bytes, err)
                : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_free(to);
    sae_map_close(&map);
    return rc;
}

static int holds(const sae_lm_training *t, const char *name)
{
    char *path = sae_path_join(t->dir, name);
    int there = path && sae_file_exists(path);
    sae_free(path);
    return there;
}

/* The folder exists, holds config.json and the tokenizer, and no other run. A run is finished when
 * it has a model and no state. What a stopped run left stays as it is: until its state is read, it
 * may be another's. */
static int prepare(const cli_args *a, const sae_lm_training *t, sae_err *err)
{
    const char *tokenizer = cli_get(a, "tokenizer");
    SAE_TRY(sae_dir_make(t->dir, err));
    int state = holds(t, "state.safetensors");
    if (state && t->resume)
        return SAE_OK;
    if (state)
        SAE_FAIL(err, SAE_EINVAL, "%s holds state.safetensors already: go on with --resume, or "
                 "take a new one", t->dir);
    if (holds(t, "model.safetensors"))
        SAE_FAIL(err, SAE_EINVAL, "%s holds model.safetensors already%s: expected a new folder",
                 t->dir, t->resume ? " (a finished run: nothing to resume)" : "");
    SAE_TRY(copy_file(a->word[0], t->dir, "config.json", err));
    return tokenizer ? copy_file(tokenizer, t->dir, "tokenizer.json", err) : SAE_OK;
}

/* training.json: what was done, with what, and how it ended. The evaluation is of the weights in
 * memory, which --dtype may round after it. */
static int record(void *arg, const sae_lm_trained *d, sae_err *err)
{
    const run_state *r = arg;
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:I, s:s, s:s, s:f, s:o, s:o}",
                          "command", r->a->line, "identity", r->identity, "arch", r->lm->arch,
                          "parameters", (json_int_t)r->lm->params, "steps", (json_int_t)d->step,
                          "tokens", (json_int_t)d->tokens, "eval_ce_nats", sae_json_real(d->ce),
                          "eval_surprisal_nats", sae_json_real(d->nats), "eval_tokens",
                          (json_int_t)d->scored, "eval_weights", "F32", "saved_weights",
                          sae_st_dtype_name(r->t.dtype), "seconds", d->seconds, "build",
                          sae_facts_build(), "machine", sae_facts_machine(&r->e));
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    char *path = sae_path_join(r->t.dir, "training.json");
    int rc = text && path ? sae_file_write(path, text, strlen(text), err)
                          : SAE_SET(err, SAE_ENOMEM, "out of memory");
    json_decref(j);
    free(text);
    sae_free(path);
    return rc;
}

/* ---- command --------------------------------------------------------------------------------- */

static int train(const cli_args *a, run_state *r, sae_err *err)
{
    sae_lm_trained done;
    SAE_TRY(prepare(a, &r->t, err));
    if (!holds(&r->t, "tokenizer.json"))
        sae_log(SAE_LOG_INFO, "lm", "no --tokenizer: the model will not read or generate text "
                "unless a tokenizer.json is put into %s", r->t.dir);
    SAE_TRY(sae_lm_train(&r->t, &done, err));
    printf("%s: %llu parameters, %lld tokens, cross-entropy %.4f nats", r->t.dir,
           (unsigned long long)r->lm->params, (long long)done.tokens, done.ce);
    if (isfinite(done.nats))
        printf(" (surprisal of the source %.4f)", done.nats);
    printf(", %.0f s\n", done.seconds);
    return SAE_OK;
}

static int open_all(const cli_args *a, const sae_registry *reg, run_state *r, sae_err *err)
{
    const char *tokenizer = cli_get(a, "tokenizer");
    sae_lm_source init = {&r->init, sae_lm_read_init};
    r->t.dir = cli_get(a, "out");
    if (!r->t.dir)
        SAE_FAIL(err, SAE_EINVAL, "lm train: --out DIR is required");
    if (cli_has(a, "text") && !tokenizer)
        SAE_FAIL(err, SAE_EINVAL, "lm train: --text needs --tokenizer FILE");
    SAE_TRY(read_settings(a, r, err));
    SAE_TRY(cli_open_engine(a, reg, &r->e, err));
    SAE_TRY(sae_lm_open_new(&r->lm, a->word[0], tokenizer ? tokenizer : "", &init,
                            sae_lm_place_of(&r->e), err));
    SAE_TRY(cli_corpus_open(&r->corpus, a, reg, &r->e, r->lm, r->init.seed, err));
    char hash[36];
    SAE_TRY(sae_hash_file(a->word[0], hash, err));
    r->t.m = r->lm->self;
    r->identity = identity_of(r, hash);
    if (!r->identity)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    r->t.corpus = &r->corpus.c;
    r->t.identity = r->identity;
    r->t.on_end = record;
    r->t.arg = r;
    return SAE_OK;
}

static int run(const cli_args *a, sae_err *err)
{
    run_state r = {.a = a};
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = open_all(a, reg, &r, err);
    if (rc >= 0)
        rc = train(a, &r, err);
    cli_corpus_close(&r.corpus);
    sae_lm_close(&r.lm);
    sae_engine_close(&r.e);
    sae_free(r.identity);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {
    {"out", "DIR", "new folder for config.json, model.safetensors, train.csv, training.json"},
    CLI_CORPUS,
    {"tokenizer", "FILE", "tokenizer.json, needed for --text and later for any text; copied"},
    {"steps", "N", "optimiser steps (default 1000)"},
    {"batch", "N", "documents per step (default 16)"},
    {"lr", "X", "peak learning rate (default 1e-3)"},
    {"min-lr", "X", "learning rate at the end of the cosine (default a tenth)"},
    {"warmup", "N", "steps of linear warm-up (default a fiftieth)"},
    {"beta1", "X", "of AdamW (default 0.9)"},
    {"beta2", "X", "of AdamW (default 0.95)"},
    {"weight-decay", "X", "of AdamW, on matrices (default 0.1)"},
    {"clip", "X", "largest gradient norm (default 1; 0: any)"},
    {"init-std", "X", "standard deviation of first weights (default 0.02)"},
    {"seed", "N", "of weights and documents (default 0)"},
    {"log-every", "N", "steps between rows of train.csv (default 50)"},
    {"eval-every", "N", "steps between evaluations (default 500; 0: at the end)"},
    {"eval-docs", "N", "documents of an evaluation (default 512)"},
    {"checkpoint-every", "N", "steps between states to resume from (default 500; 0: none)"},
    {"resume", NULL, "go on from the last state in the folder"},
    {"dtype", "f32|f16|bf16", "of the saved weights (default f32); evaluations are before it"},
    CLI_DEVICE,
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_lm_train = {
    .name = "lm train",
    .usage = "CONFIG.json --out DIR (--data SPEC | --text FILE --tokenizer FILE) [options]",
    .summary = "Train a model of any supported architecture from scratch",
    .text = "CONFIG.json is Hugging Face's; the result is a checkpoint in that layout.\n"
            "On one kind of device the same command gives the same weights, bit for bit, for any\n"
            "number of threads, and so does a run that was interrupted or killed and goes on with\n"
            "--resume, which refuses a state of another backend or precision. Without\n"
            "--tokenizer the model knows ids only: it scores datasets, but neither reads nor\n"
            "generates text until a tokenizer.json lies in its folder.\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
