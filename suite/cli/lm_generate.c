/* suite/cli/lm_generate.c - saemark lm generate: continue a prompt. */
#include "cli/open.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "models/generate.h"
#include "models/lm_file.h"
#include "models/token_text.h"

#include <stdio.h>
#include <string.h>

typedef struct job {
    cli_model m;
    sae_map file;       /* --prompt-file */
    const char *prompt; /* [bytes] */
    size_t bytes;
    int32_t *ids;     /* [n] of the prompt */
    int64_t n, count; /* continuations */
    double prompt_seconds;
    sae_lm_request request;
    sae_lm_generator *g;
    sae_token_text text; /* prompt and continuation so far */
    sae_text out;        /* of the continuation, as far as it is not printed */
    json_t *all, *got;   /* --json: continuations; ids of the current one */
} job;

static int read_options(const cli_args *a, job *j, sae_err *err)
{
    int64_t seed;
    sae_lm_request *r = &j->request;
    SAE_TRY(cli_int(a, "tokens", 256, 0, INT64_MAX / 2, &r->most, err));
    SAE_TRY(cli_int(a, "count", 1, 1, INT32_MAX, &j->count, err));
    SAE_TRY(cli_int(a, "seed", 0, 0, INT64_MAX, &seed, err));
    SAE_TRY(cli_real(a, "temperature", 1, 0, 1e6, &r->sampling.temperature, err));
    SAE_TRY(cli_real(a, "top-p", 1, 0, 1, &r->sampling.top_p, err));
    SAE_TRY(sae_lm_sampling_check(&r->sampling, err));
    r->sampling.seed = (uint64_t)seed;
    r->to_the_end = !cli_has(a, "ignore-eos");
    return SAE_OK;
}

static int read_prompt(const cli_args *a, job *j, sae_err *err)
{
    const char *text = cli_get(a, "prompt"), *path = cli_get(a, "prompt-file");
    if (text && path)
        SAE_FAIL(err, SAE_EINVAL, "lm generate: --prompt and --prompt-file exclude each other");
    j->prompt = text ? text : "";
    j->bytes = strlen(j->prompt);
    if (!path)
        return SAE_OK;
    SAE_TRY(sae_map_open(&j->file, path, err));
    j->prompt = j->file.bytes > 0 ? (const char *)j->file.p : "";
    j->bytes = j->file.bytes;
    return SAE_OK;
}

static int encode_prompt(const cli_args *a, job *j, sae_err *err)
{
    sae_lm *lm = j->m.lm;
    const char *path = cli_get(a, "prompt-file");
    sae_err own = {0};
    SAE_TRY(sae_new(&j->ids, lm->ctx, sizeof *j->ids, "lm.generate", err));
    int rc = lm->tokenize(lm->self, j->prompt, j->bytes, j->ids, lm->ctx, &j->n, &own);
    if (rc < 0 && rc != SAE_ECAPACITY)
        SAE_FAIL(err, rc, "%s: %s", path ? path : "prompt", own.msg);
    return SAE_OK; /* one that is too long is refused by the generator, which knows why */
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Print the text that is complete; JSON gets it in the end. */
static int print_text(job *j, sae_err *err)
{
    if (j->out.failed)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the text");
    if (j->all || j->out.len == 0)
        return SAE_OK;
    fwrite(j->out.p, 1, j->out.len, stdout);
    j->out.len = 0;
    if (fflush(stdout))
        SAE_FAIL(err, SAE_EIO, "writing to standard output failed");
    return SAE_OK;
}

static int on_token(void *arg, int32_t id, sae_err *err)
{
    job *j = arg;
    if (j->got && json_array_append_new(j->got, json_integer(id)))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the tokens");
    SAE_TRY(sae_token_text_put(&j->text, &id, 1, &j->out, err));
    return print_text(j, err);
}

static json_t *result_json(job *j, const sae_lm_generated *r)
{
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    return json_pack("{s:s%, s:O, s:I, s:s, s:f, s:f}", "text", j->out.p ? j->out.p : "",
                     j->out.len, "ids", j->got, "tokens", (json_int_t)r->tokens, "stop",
                     sae_lm_stop_name(r->stop), "seconds", r->seconds, "tokens_per_second", rate);
}

static void result_text(const job *j, const sae_lm_generated *r)
{
    putchar('\n');
    fflush(stdout);
    sae_log(SAE_LOG_INFO, "lm", "%lld tokens, %.1f tokens/s; prompt: %lld tokens, %.1f tokens/s",
            (long long)r->tokens, r->seconds > 0 ? (double)r->tokens / r->seconds : 0,
            (long long)j->n, j->prompt_seconds > 0 ? (double)j->n / j->prompt_seconds : 0);
    if (r->stop == SAE_LM_STOP_CONTEXT)
        sae_log(SAE_LOG_WARN, "lm", "the model's context of %lld tokens is full",
                (long long)j->m.lm->ctx);
}

/* The state in front of a continuation: the prompt is known, and printed. */
static int begin_text(job *j, sae_err *err)
{
    sae_token_text_close(&j->text);
    SAE_TRY(sae_token_text_put(&j->text, j->ids, j->n, &j->out, err));
    j->out.len = 0; /* the prompt as the tokenizer writes it, perhaps with a name for BOS */
    if (j->all)
        return SAE_OK;
    if (j->request.sequence > 0)
        puts("---");
    fwrite(j->prompt, 1, j->bytes, stdout);
    return SAE_OK;
}

static int one(job *j, sae_err *err)
{
    sae_lm_generated r;
    SAE_TRY(begin_text(j, err));
    json_decref(j->got);
    j->got = j->all ? json_array() : NULL;
    SAE_TRY(sae_lm_generate(j->g, &j->request, &r, err));
    sae_token_text_end(&j->text, &j->out);
    SAE_TRY(print_text(j, err));
    if (!j->all)
        result_text(j, &r);
    else if (json_array_append_new(j->all, result_json(j, &r)))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for JSON");
    return SAE_OK;
}

static int print_all(job *j, sae_err *err)
{
    const sae_lm *lm = j->m.lm;
    const sae_lm_sampling *s = &j->request.sampling;
    double rate = j->prompt_seconds > 0 ? (double)j->n / j->prompt_seconds : 0;
    json_t *all =
        json_pack("{s:s, s:s%, s:I, s:f, s:f, s:f, s:I, s:O}", "arch", lm->arch, "prompt",
                  j->prompt, j->bytes, "prompt_tokens", (json_int_t)j->n,
                  "prompt_tokens_per_second", rate, "temperature", s->temperature, "top_p",
                  s->top_p, "seed", (json_int_t)s->seed, "continuations", j->all);
    return cli_print_json(all, err);
}

static int generate(const cli_args *a, job *j, sae_err *err)
{
    SAE_TRY(read_options(a, j, err));
    SAE_TRY(read_prompt(a, j, err));
    SAE_TRY(cli_open_model(a, &j->m, err));
    SAE_TRY(encode_prompt(a, j, err));
    SAE_TRY(sae_lm_generator_open(&j->g, j->m.lm, j->ids, j->n, j->request.most, &j->prompt_seconds,
                                  err));
    j->text.tok = sae_lm_tokenizer(j->m.lm);
    j->request.token = on_token;
    j->request.arg = j;
    j->all = cli_has(a, "json") ? json_array() : NULL;
    for (int64_t i = 0; i < j->count; i++) {
        j->request.sequence = (uint32_t)i;
        SAE_TRY(one(j, err));
    }
    return j->all ? print_all(j, err) : SAE_OK;
}

static int run(const cli_args *a, sae_err *err)
{
    job j = {0};
    int rc = generate(a, &j, err);
    json_decref(j.all);
    json_decref(j.got);
    sae_free(sae_text_take(&j.out));
    sae_token_text_close(&j.text);
    sae_lm_generator_close(&j.g);
    sae_free(j.ids);
    cli_close_model(&j.m);
    sae_map_close(&j.file);
    return rc;
}

static const cli_option options[] = {
    {"prompt", "TEXT", "text to continue (default: none, only BOS)"},
    {"prompt-file", "FILE", "the same from a file, as it is"},
    {"tokens", "N", "at most N tokens (default 256)"},
    {"temperature", "T", "divide logits by T (default 1); 0: always the most probable token"},
    {"top-p", "P", "draw from the smallest set of tokens that has mass P (default 1: all)"},
    {"seed", "S", "another seed, other random numbers (default 0)"},
    {"count", "C", "C continuations (default 1)"},
    {"ignore-eos", NULL, "go on behind the end of a document (EOS, or BOS of another)"},
    CLI_TOKENIZER,
    CLI_JSON,
    CLI_DEVICE,
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_lm_generate = {
    .name = "lm generate",
    .usage = "MODEL [options]",
    .summary = "Continue a prompt: greedy, with a temperature, from the most probable tokens",
    .text = CLI_MODEL_TEXT
    "Prints the prompt and its continuation, token by token; speed goes to stderr. The same\n"
    "seed gives the same text on any number of threads.\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
