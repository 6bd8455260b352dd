/* suite/cli/lm_eval.c - saemark lm eval: how well a language model predicts a text. */
#include "cli/open.h"
#include "core/error.h"
#include "core/memory.h"
#include "models/docs.h"
#include "models/lm_eval.h"

#include <math.h>
#include <stdio.h>

static json_t *score_json(const sae_lm_score *s, const char *ablation, int64_t bytes)
{
    json_t *j = json_pack("{s:f, s:I, s:f, s:f}", "ce_nats", s->ce, "tokens", (json_int_t)s->tokens,
                          "bits_per_byte", s->nats / log(2.0) / (double)bytes, "tokens_per_second",
                          (double)s->rows / s->seconds);
    if (j && ablation)
        json_object_set_new(j, "ablate", json_string(ablation));
    return j;
}

static void score_text(const sae_lm_score *s, const char *ablation, int64_t bytes)
{
    printf("%-24s ce_nats %.6f  tokens %lld  bits/byte %.6f  %.0f tokens/s\n",
           ablation ? ablation : "clean", s->ce, (long long)s->tokens,
           s->nats / log(2.0) / (double)bytes, (double)s->rows / s->seconds);
}

/* Score the documents once; ablation NULL: the model as it is. */
static int score_one(const cli_args *a, const sae_lm *lm, const sae_docs *docs,
                     const char *ablation, json_t *all, sae_err *err)
{
    sae_lm_ablation ab;
    sae_lm_score s;
    if (ablation)
        SAE_TRY(sae_lm_ablation_parse(&ab, lm, ablation, err));
    SAE_TRY(sae_lm_score_docs(lm, docs, ablation ? &ab : NULL, &s, err));
    if (cli_has(a, "json"))
        json_array_append_new(all, score_json(&s, ablation, sae_docs_bytes(docs)));
    else
        score_text(&s, ablation, sae_docs_bytes(docs));
    return SAE_OK;
}

static int score_all(const cli_args *a, const sae_lm *lm, const sae_docs *docs, sae_err *err)
{
    const char **ablation = cli_all(a, "ablate");
    json_t *all = json_array();
    int rc = ablation && all ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0)
        rc = score_one(a, lm, docs, NULL, all, err);
    for (int i = 0; rc >= 0 && ablation[i]; i++)
        rc = score_one(a, lm, docs, ablation[i], all, err);
    sae_free(ablation);
    if (rc < 0 || !cli_has(a, "json")) {
        json_decref(all);
        return rc;
    }
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "arch", lm->arch, "d", (json_int_t)lm->d,
                  "layers", (json_int_t)lm->layers, "parameters", (json_int_t)lm->params,
                  "documents", (json_int_t)docs->c.N, "scores", all);
    return cli_print_json(j, err);
}

static int run(const cli_args *a, sae_err *err)
{
    int rc = SAE_OK;
    const char *text = cli_get(a, "text"), *separator = cli_get(a, "doc-separator");
    int64_t limit;
    cli_model m = {0};
    sae_docs *docs = NULL;
    SAE_TRY(cli_int(a, "docs", 0, 1, INT64_MAX, &limit, err));
    if (!text)
        SAE_FAIL(err, SAE_EINVAL, "lm eval: --text FILE is required");
    SAE_GOTO(cli_open_model(a, &m, err));
    SAE_GOTO(sae_docs_open(m.lm, text, separator ? separator : "", limit, &docs, err));
    rc = score_all(a, m.lm, docs, err);
fail:
    sae_docs_close(&docs);
    cli_close_model(&m);
    return rc;
}

static const cli_option options[] = {
    {"text", "FILE", "UTF-8 text to score"},
    CLI_TOKENIZER,
    {"doc-separator", "STR", "line between documents (default: the file is one document)"},
    {"docs", "N", "score the first N documents only"},
    {"ablate", "HOOK=zero|mean", "also score with a hook's activations replaced; may be repeated"},
    CLI_JSON,
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_lm_eval = {
    .name = "lm eval",
    .usage = "MODEL --text FILE [options]",
    .summary = "How well a model predicts a text: cross-entropy, bits per byte, ablations",
    .text = CLI_MODEL_TEXT
    "Every document is scored on its own: stripped, BOS first, cut to the model's context.\n"
    "Hooks: resid_pre.L, resid_mid.L, resid_post.L, attn_z.L, attn_out.L, mlp_act.L,\n"
    "mlp_out.L.\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
