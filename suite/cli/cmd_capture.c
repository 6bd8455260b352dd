/* suite/cli/cmd_capture.c - saemark capture: activations of a language model to shards. */
#include "cli/open.h"
#include "core/error.h"
#include "core/memory.h"
#include "models/capture.h"
#include "models/docs.h"
#include "models/lm_file.h"

#include <stdio.h>
#include <string.h>

/* exclude[id] = 1 for the ids whose rows stay out. */
static int excluded(const sae_lm *lm, const char *what, unsigned char **out, sae_err *err)
{
    *out = NULL;
    if (!what)
        what = "bos";
    if (!strcmp(what, "none"))
        return SAE_OK;
    if (strcmp(what, "bos") && strcmp(what, "special"))
        SAE_FAIL(err, SAE_EINVAL, "--exclude %s: expected none, bos or special", what);
    SAE_TRY(sae_new(out, lm->vocab, 1, "capture.exclude", err));
    if (lm->bos >= 0)
        (*out)[lm->bos] = 1;
    if (lm->eos >= 0 && !strcmp(what, "special"))
        (*out)[lm->eos] = 1;
    return SAE_OK;
}

static int capture(const cli_args *a, const sae_lm *lm, const sae_docs *docs, sae_err *err)
{
    unsigned char *exclude = NULL;
    int64_t rows = 0;
    sae_capture c = {.lm = lm,
                     .hook = cli_get(a, "hook"),
                     .docs = docs,
                     .dir = cli_get(a, "out"),
                     .model = cli_get(a, "model"),
                     .text = cli_get(a, "text"),
                     .grads = cli_has(a, "grads"),
                     .batch = 4096};
    SAE_TRY(cli_dtype(a, "dtype", SAE_ST_F32, &c.dtype, err));
    SAE_TRY(cli_dtype(a, "grads-dtype", SAE_ST_F32, &c.grads_dtype, err));
    if (!c.grads && cli_has(a, "grads-dtype"))
        SAE_FAIL(err, SAE_EINVAL, "--grads-dtype: expected --grads with it");
    SAE_TRY(cli_int(a, "rows-per-shard", 1 << 18, 1, INT64_C(1) << 40, &c.rows_per_shard, err));
    SAE_TRY(excluded(lm, cli_get(a, "exclude"), &exclude, err));
    c.exclude = exclude;
    int rc = sae_capture_run(&c, &rows, err);
    sae_free(exclude);
    if (rc >= 0)
        printf("%s: %lld rows of %s%s\n", c.dir, (long long)rows, c.hook,
               c.grads ? " with gradients" : "");
    return rc;
}

static int open_and_capture(const cli_args *a, const sae_registry *reg, sae_err *err)
{
    static const char *const required[] = {"model", "text", "hook", "out"};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        if (!cli_get(a, required[i]))
            SAE_FAIL(err, SAE_EINVAL, "capture: --%s is required", required[i]);
    const char *tokenizer = cli_get(a, "tokenizer"), *separator = cli_get(a, "doc-separator");
    int64_t limit;
    SAE_TRY(cli_int(a, "docs", 0, 1, INT64_MAX, &limit, err));
    sae_engine e;
    sae_lm *lm = NULL;
    sae_docs *docs = NULL;
    SAE_TRY(cli_open_engine(a, reg, &e, err));
    int rc = sae_lm_open(&lm, cli_get(a, "model"), tokenizer ? tokenizer : "", &e.k, e.dev, err);
    if (rc >= 0)
        rc = sae_docs_open(lm, cli_get(a, "text"), separator ? separator : "", limit, &docs, err);
    if (rc >= 0)
        rc = capture(a, lm, docs, err);
    sae_docs_close(&docs);
    sae_lm_close(&lm);
    sae_engine_close(&e);
    return rc;
}

static int run(const cli_args *a, sae_err *err)
{
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = open_and_capture(a, reg, err);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {
    {"model", "PATH", "language model: directory, safetensors or llama2.c .bin"},
    {"text", "FILE", "UTF-8 text"},
    {"hook", "NAME", SAE_LM_HOOKS},
    {"out", "DIR", "directory of shards to write"},
    CLI_TOKENIZER,
    {"doc-separator", "STR", "line between documents (default: the file is one document)"},
    {"docs", "N", "the first N documents only"},
    {"exclude", "none|bos|special", "tokens whose rows are left out (default bos)"},
    {"dtype", "f32|f16|bf16", "number format on disk (default f32)"},
    {"grads", NULL, "also the gradient of the summed cross-entropy at the hook"},
    {"grads-dtype", "f32|f16|bf16",
     "number format of gradients (default f32: they span many orders of magnitude)"},
    {"rows-per-shard", "N", "rows per file (default 262144)"},
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_capture = {
    .name = "capture",
    .usage = "--model PATH --text FILE --hook NAME --out DIR [options]",
    .summary = "Write a language model's activations at a hook to shards",
    .options = options,
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
