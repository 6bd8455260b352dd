/* suite/cli/lm_eval.c - saemark lm eval: how well a language model predicts a text, or the
 * documents of a dataset. */
#include "cli/corpus.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "models/docs.h"
#include "models/lm_baseline.h"
#include "models/lm_eval.h"

#include <math.h>
#include <stdio.h>

/* Documents of TRAIN that the baselines are counted on. */
enum { BASELINE_DOCS = 65536 };

typedef struct eval {
    const cli_args *a;
    cli_model m;
    sae_docs *text;         /* --text */
    cli_corpus corpus;      /* --data */
    sae_docs docs;          /* what is scored */
    const sae_label *label; /* --by; NULL: not given */
    sae_lm_by by;
    json_t *scores; /* --json */
} eval_state;

/* ---- output ---------------------------------------------------------------------------------- */

static json_t *loss_json(const eval_state *s, const sae_lm_loss *l)
{
    json_t *j =
        json_pack("{s:o, s:I}", "ce_nats", sae_json_real(l->ce), "tokens", (json_int_t)l->tokens);
    if (!j || s->text)
        return j;
    json_object_set_new(j, "ce_se", sae_json_real(l->ce_se));
    json_object_set_new(j, "surprisal_nats", sae_json_real(l->surprisal));
    json_object_set_new(j, "gap_nats", sae_json_real(l->gap));
    json_object_set_new(j, "gap_se", sae_json_real(l->gap_se));
    return j;
}

static double bits_per_byte(const eval_state *s, const sae_lm_loss *l)
{
    return l->ce * (double)l->tokens / log(2.0) / (double)sae_docs_bytes(s->text);
}

static json_t *score_json(const eval_state *s, const sae_lm_score *r, const char *ablation)
{
    json_t *j = loss_json(s, &r->all);
    if (!j)
        return NULL;
    if (s->text)
        json_object_set_new(j, "bits_per_byte", json_real(bits_per_byte(s, &r->all)));
    json_object_set_new(j, "tokens_per_second", json_real((double)r->rows / r->seconds));
    if (ablation)
        json_object_set_new(j, "ablate", json_string(ablation));
    if (s->label)
        json_object_set_new(j, s->label->name, json_object());
    for (int64_t i = 0; i < s->by.classes; i++)
        json_object_set_new(json_object_get(j, s->label->name), s->label->class_names[i],
                            loss_json(s, &s->by.part[i]));
    return j;
}

static void print_mean(const char *name, double value, double se)
{
    printf("%s %.4f", name, value);
    if (isfinite(se))
        printf(" +- %.4f", se);
}

/* The columns of a dataset's documents; what is not known is left out. */
static void print_loss(const char *name, const sae_lm_loss *l)
{
    printf("%-24s ", name);
    print_mean("ce_nats", l->ce, l->ce_se);
    if (isfinite(l->surprisal)) {
        printf("  surprisal %.4f", l->surprisal);
        print_mean("  gap", l->gap, l->gap_se);
    }
    printf("  tokens %lld", (long long)l->tokens);
}

static void print_score(const eval_state *s, const sae_lm_score *r, const char *ablation)
{
    const char *name = ablation ? ablation : "clean";
    if (s->text)
        printf("%-24s ce_nats %.6f  tokens %lld  bits/byte %.6f", name, r->all.ce,
               (long long)r->all.tokens, bits_per_byte(s, &r->all));
    else
        print_loss(name, &r->all);
    printf("  %.0f tokens/s\n", (double)r->rows / r->seconds);
    for (int64_t i = 0; i < s->by.classes; i++) {
        char class[64];
        if (s->by.part[i].tokens == 0)
            continue;
        snprintf(class, sizeof class, "  %s", s->label->class_names[i]);
        print_loss(class, &s->by.part[i]);
        printf("\n");
    }
}

/* ---- scoring --------------------------------------------------------------------------------- */

/* Score the documents once; ablation NULL: the model as it is. */
static int score_one(eval_state *s, const char *ablation, sae_err *err)
{
    sae_lm_ablation ab;
    sae_lm_score r;
    if (ablation)
        SAE_TRY(sae_lm_ablation_parse(&ab, s->m.lm, ablation, err));
    SAE_TRY(sae_lm_score_docs(s->m.lm, &s->docs, ablation ? &ab : NULL, s->label ? &s->by : NULL,
                              &r, err));
    if (s->scores)
        json_array_append_new(s->scores, score_json(s, &r, ablation));
    else
        print_score(s, &r, ablation);
    return SAE_OK;
}

static int score_all(eval_state *s, sae_err *err)
{
    const char **ablation = cli_all(s->a, "ablate");
    int rc = ablation ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_lm_ablation ab;
    for (int i = 0; rc >= 0 && ablation[i]; i++) /* a mistake is told before the first score */
        rc = sae_lm_ablation_parse(&ab, s->m.lm, ablation[i], err);
    if (rc >= 0)
        rc = score_one(s, NULL, err);
    for (int i = 0; rc >= 0 && ablation[i]; i++)
        rc = score_one(s, ablation[i], err);
    sae_free(ablation);
    return rc;
}

/* Uniform, unigram and bigram; fetches documents anew. */
static int baselines(eval_state *s, json_t *j, sae_err *err)
{
    sae_lm_baseline b;
    if (!cli_has(s->a, "baselines"))
        return SAE_OK;
    SAE_TRY(
        sae_lm_baseline_score(&s->corpus.c, s->m.lm->vocab, BASELINE_DOCS, s->docs.c.N, &b, err));
    if (j)
        json_object_set_new(j, "baselines",
                            json_pack("{s:f, s:f, s:f, s:I}", "uniform_nats", b.uniform,
                                      "unigram_nats", b.unigram, "bigram_nats", b.bigram,
                                      "counted_tokens", (json_int_t)b.trained));
    else
        printf("%-24s ce_nats %.4f\n%-24s ce_nats %.4f\n%-24s ce_nats %.4f\n", "uniform", b.uniform,
               "unigram", b.unigram, "bigram", b.bigram);
    return SAE_OK;
}

static int report(eval_state *s, sae_err *err)
{
    json_t *j = NULL;
    if (cli_has(s->a, "json") && !(s->scores = json_array()))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    SAE_TRY(score_all(s, err));
    if (s->scores)
        j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:O}", "arch", s->m.lm->arch, "d",
                      (json_int_t)s->m.lm->d, "layers", (json_int_t)s->m.lm->layers, "parameters",
                      (json_int_t)s->m.lm->params, "documents", (json_int_t)s->docs.c.N, "scores",
                      s->scores);
    int rc = baselines(s, j, err);
    if (rc >= 0 && s->scores)
        return cli_print_json(j, err);
    json_decref(j);
    return rc;
}

/* ---- what is scored -------------------------------------------------------------------------- */

static int find_label(eval_state *s, const char *name, sae_err *err)
{
    const sae_label *table;
    int64_t count;
    SAE_TRY(cli_corpus_labels(&s->corpus, &table, &count, err));
    SAE_TRY(cli_label_find(table, count, name, &s->by.label, err));
    s->label = &table[s->by.label];
    s->by.classes = s->label->classes;
    return sae_new(&s->by.part, s->by.classes, sizeof *s->by.part, "lm.eval", err);
}

static int open_data(eval_state *s, sae_err *err)
{
    const char *by = cli_get(s->a, "by");
    int64_t docs, seed;
    SAE_TRY(cli_int(s->a, "docs", 512, 1, INT64_C(1) << 40, &docs, err));
    SAE_TRY(cli_int(s->a, "seed", 0, 0, INT64_MAX, &seed, err));
    SAE_TRY(cli_corpus_open(&s->corpus, s->a, s->m.reg, &s->m.e, s->m.lm, (uint64_t)seed, err));
    const sae_lm_corpus *c = &s->corpus.c;
    int rc = c->docs(c->self, SAE_SPLIT_EVAL, 0, docs, &s->docs, err);
    if (rc < 0)
        return sae_fail_prefix(err, rc, "--docs %lld", (long long)docs);
    return by ? find_label(s, by, err) : SAE_OK;
}

static int open_text(eval_state *s, const char *path, sae_err *err)
{
    static const char *const of_data[] = {"by", "baselines", "seed", NULL};
    const char *separator = cli_get(s->a, "doc-separator");
    int64_t limit;
    for (int i = 0; of_data[i]; i++)
        if (cli_has(s->a, of_data[i]))
            SAE_FAIL(err, SAE_EINVAL, "--%s: a text has none; expected --data SPEC with it",
                     of_data[i]);
    SAE_TRY(cli_int(s->a, "docs", 0, 1, INT64_MAX, &limit, err));
    SAE_TRY(sae_docs_open(s->m.lm, path, separator ? separator : "", limit, &s->text, err));
    s->docs = *s->text;
    return SAE_OK;
}

static int open_all(eval_state *s, sae_err *err)
{
    const char *text = cli_get(s->a, "text"), *data = cli_get(s->a, "data");
    if (!text == !data)
        SAE_FAIL(err, SAE_EINVAL, "lm eval: expected one of --data SPEC and --text FILE");
    SAE_TRY(cli_open_model(s->a, &s->m, err));
    return text ? open_text(s, text, err) : open_data(s, err);
}

static int run(const cli_args *a, sae_err *err)
{
    eval_state s = {.a = a};
    int rc = open_all(&s, err);
    if (rc >= 0)
        rc = report(&s, err);
    json_decref(s.scores);
    sae_free(s.by.part);
    sae_docs_close(&s.text);
    cli_corpus_close(&s.corpus);
    cli_close_model(&s.m);
    return rc;
}

static const cli_option options[] = {
    {"data", "SPEC", "score a dataset that has documents of its own, e.g. organism"},
    {"text", "FILE", "or: UTF-8 text"},
    CLI_TOKENIZER,
    {"doc-separator", "STR", "line between documents of the text (default: it is one)"},
    {"docs", "N", "score the first N documents only (default: all of a text, 512 of a dataset)"},
    {"ablate", "HOOK=zero|mean", "also score with a hook's activations replaced; may be repeated"},
    {"by", "LABEL", "also per class of a label of the dataset, e.g. segment"},
    {"baselines", NULL, "also uniform, unigram and bigram models of the dataset"},
    {"seed", "N", "of the dataset (default 0)"},
    CLI_JSON,
    CLI_DEVICE,
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_lm_eval = {
    .name = "lm eval",
    .usage = "MODEL (--data SPEC | --text FILE) [options]",
    .summary = "How well a model predicts: cross-entropy, gap to the source, ablations",
    .text = CLI_MODEL_TEXT
    "A text is cut into documents, each scored on its own: stripped, BOS first, cut to the\n"
    "model's context. Of a dataset the evaluation documents are scored; where it knows the exact\n"
    "surprisal of every token, gap is how far the model is from the best possible one. Errors are\n"
    "standard errors over documents. The baselines are counted on 65536 training documents.\n"
    "Hooks: " SAE_LM_HOOKS ".\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
