/* suite/cli/cmd_capture.c - saemark capture: activations of a language model to shards, or what a
 * trained SAE makes of the rows of a dataset. */
#include "cli/open.h"
#include "core/error.h"
#include "core/memory.h"
#include "eval/error_parts.h"
#include "models/capture.h"
#include "models/docs.h"
#include "models/lm_file.h"
#include "run/host.h"
#include "train/sae_file.h"

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
    int rc = sae_lm_open(&lm, cli_get(a, "model"), tokenizer ? tokenizer : "",
                         sae_lm_place_of(&e), err);
    if (rc >= 0)
        rc = sae_docs_open(lm, cli_get(a, "text"), separator ? separator : "", limit, &docs, err);
    if (rc >= 0)
        rc = capture(a, lm, docs, err);
    sae_docs_close(&docs);
    sae_lm_close(&lm);
    sae_engine_close(&e);
    return rc;
}

/* ---- parts of an SAE's rows ------------------------------------------------------------------ */

enum { PART_BATCH = 2048 };

typedef struct source { /* what --dataset and --sae open */
    sae_engine e;
    sae_host host;
    sae_spec spec;
    sae_stream stream;
    sae_loaded sae;
} source;

static int part_of(const cli_args *a, enum sae_error_part *part, sae_err *err)
{
    const char *name = cli_get(a, "part");
    for (int i = 0; name && sae_error_part_names[i]; i++)
        if (!strcmp(name, sae_error_part_names[i])) {
            *part = (enum sae_error_part)i;
            return SAE_OK;
        }
    SAE_FAIL(err, SAE_EINVAL, "--part %s: expected x, xhat, error, linear or nonlinear",
             name ? name : "");
}

static int open_source(source *s, const cli_args *a, const sae_registry *reg, sae_err *err)
{
    SAE_TRY(cli_open_engine(a, reg, &s->e, err));
    SAE_TRY(sae_file_import(&s->sae, cli_get(a, "sae"), NULL, reg, &s->e, err));
    s->host = sae_host_make(&s->e, 0);
    SAE_TRY(sae_spec_parse(&s->spec, reg, SAE_KIND_DATASET, cli_get(a, "dataset"), err));
    return sae_stream_open(&s->stream, &s->spec, &s->host, &s->e, SAE_NORM_NONE, PART_BATCH, err);
}

static int write_parts(source *s, const cli_args *a, const sae_registry *reg, sae_err *err)
{
    int64_t rows = 0;
    sae_subject subject = sae_subject_of(&s->sae);
    sae_error_parts p = {.stream = &s->stream,
                         .e = &s->e,
                         .reg = reg,
                         .subject = &subject,
                         .dir = cli_get(a, "out")};
    SAE_TRY(part_of(a, &p.part, err));
    SAE_TRY(cli_int(a, "rows", 0, 1, INT64_C(1) << 40, &p.rows, err));
    SAE_TRY(cli_dtype(a, "dtype", SAE_ST_F32, &p.dtype, err));
    SAE_TRY(cli_int(a, "rows-per-shard", 1 << 18, 1, INT64_C(1) << 40, &p.rows_per_shard, err));
    SAE_TRY(sae_error_parts_write(&p, &rows, err));
    printf("%s: %lld rows of %s\n", p.dir, (long long)rows, sae_error_part_names[p.part]);
    return SAE_OK;
}

static int open_and_write_parts(const cli_args *a, const sae_registry *reg, sae_err *err)
{
    static const char *const required[] = {"dataset", "sae", "part", "out"};
    static const char *const other[] = {"model", "text",  "hook",      "tokenizer", "docs",
                                        "grads", "exclude", "doc-separator", "grads-dtype"};
    source s = {0};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        if (!cli_get(a, required[i]))
            SAE_FAIL(err, SAE_EINVAL,
                     "capture: --%s is required: the rows of a dataset need --dataset, --sae, "
                     "--part and --out",
                     required[i]);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        if (cli_has(a, other[i]))
            SAE_FAIL(err, SAE_EINVAL, "capture: --%s does not go with --dataset", other[i]);
    int rc = open_source(&s, a, reg, err);
    if (rc >= 0)
        rc = write_parts(&s, a, reg, err);
    sae_stream_close(&s.stream);
    sae_spec_free(&s.spec);
    sae_loaded_close(&s.sae, &s.e);
    sae_engine_close(&s.e);
    return rc;
}

static int run(const cli_args *a, sae_err *err)
{
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int of_a_dataset =
        cli_has(a, "dataset") || cli_has(a, "sae") || cli_has(a, "part") || cli_has(a, "rows");
    int rc = of_a_dataset ? open_and_write_parts(a, reg, err) : open_and_capture(a, reg, err);
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
    {"dataset", "SPEC", "read the rows of a dataset's TRAIN split instead (saemark list datasets)"},
    {"sae", "SAE", "with --dataset: a trained SAE, as for saemark eval"},
    {"part", "PART",
     "what to write of its rows: x, xhat, error, linear or nonlinear (the linear part of the error "
     "is fitted to the same rows)"},
    {"rows", "N", "with --dataset: rows to write (default: all of a bounded split)"},
    CLI_DEVICE,
    CLI_THREADS,
    CLI_PLUGIN,
    {NULL, NULL, NULL},
};

const cli_command cli_capture = {
    .name = "capture",
    .usage = "--out DIR (--model PATH --text FILE --hook NAME |\n"
             "                                --dataset SPEC --sae SAE --part PART) [options]",
    .summary = "Write a language model's activations, or an SAE's errors on a dataset, to shards",
    .options = options,
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
