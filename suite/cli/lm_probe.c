/* suite/cli/lm_probe.c - saemark lm probe: which labels a linear map of activations tells. */
#include "cli/corpus.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "run/lm_probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What the rows are compared with: the embedding, before anything has looked at the context. */
static const char base_hook[] = "resid_pre.0";

typedef struct probe_state {
    const cli_args *a;
    cli_model m;
    cli_corpus corpus;
    sae_lm_probing s;
    int64_t *which; /* [s.count] */
    char hook[64];
    sae_linprobe_result *out, *base; /* [s.count]; base NULL: not wanted */
} probe_state;

/* ---- output ---------------------------------------------------------------------------------- */

/* In seven columns; a dash when it is not known. */
static void print_share(double v)
{
    if (isfinite(v))
        printf(" %6.3f", v);
    else
        printf(" %6s", "-");
}

static void print_rule(double value, double se)
{
    print_share(value);
    if (isfinite(se))
        printf(" +-%.3f", se);
    else
        printf(" %7s", "");
}

static void print_head(const probe_state *k)
{
    const char *more = k->base ? "     embedding" : "";
    printf("%s, %lld documents to fit on, %lld to test on\n", k->s.hook, (long long)k->s.docs,
           (long long)k->s.eval_docs);
    printf("%-13s %7s %8s %6s       accuracy%s chance       balanced%s\n", "label", "classes",
           "rows", "most", more, more);
}

static void print_label(const probe_state *k, int64_t i)
{
    const sae_linprobe_result *r = &k->out[i], *b = k->base ? &k->base[i] : NULL;
    printf("%-13s %7lld %8lld", k->s.table[k->which[i]].name, (long long)r->classes,
           (long long)r->rows);
    print_share(r->majority);
    print_rule(r->accuracy, r->accuracy_se);
    if (b)
        print_rule(b->accuracy, b->accuracy_se);
    print_share(r->classes > 0 ? 1 / (double)r->classes : (double)NAN);
    print_rule(r->balanced, r->balanced_se);
    if (b)
        print_rule(b->balanced, b->balanced_se);
    printf("\n");
}

static json_t *result_json(const sae_linprobe_result *r)
{
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "classes", (json_int_t)r->classes,
                     "trained", (json_int_t)r->trained, "rows", (json_int_t)r->rows, "majority",
                     sae_json_real(r->majority), "accuracy", sae_json_real(r->accuracy),
                     "accuracy_se", sae_json_real(r->accuracy_se), "balanced_accuracy",
                     sae_json_real(r->balanced), "balanced_accuracy_se",
                     sae_json_real(r->balanced_se));
}

static int print_json(const probe_state *k, sae_err *err)
{
    json_t *labels = json_object();
    for (int64_t i = 0; i < k->s.count; i++) {
        json_t *j = result_json(&k->out[i]);
        if (k->base)
            json_object_set_new(j, base_hook, result_json(&k->base[i]));
        json_object_set_new(labels, k->s.table[k->which[i]].name, j);
    }
    return cli_print_json(json_pack("{s:s, s:I, s:I, s:o}", "hook", k->s.hook, "documents",
                                    (json_int_t)k->s.docs, "eval_documents",
                                    (json_int_t)k->s.eval_docs, "labels", labels),
                          err);
}

/* ---- command --------------------------------------------------------------------------------- */

/* The labels of a list like "topic,tense", or all of them; in the order of the table. */
static int choose_labels(probe_state *k, const char *list, sae_err *err)
{
    int64_t count, which;
    SAE_TRY(cli_corpus_labels(&k->corpus, &k->s.table, &count, err));
    SAE_TRY(sae_new(&k->which, count, sizeof *k->which, "labels", err));
    for (const char *at = list, *end; at && *at; at = *end ? end + 1 : end) {
        char name[64];
        end = at + strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(end - at), at);
        SAE_TRY(cli_label_find(k->s.table, count, name, &which, err));
        k->which[which] = 1;
    }
    for (int64_t i = 0; i < count; i++) /* marks become numbers, which are no greater */
        if (!list || k->which[i])
            k->which[k->s.count++] = i;
    k->s.label = k->which;
    SAE_TRY(sae_new(&k->out, k->s.count, sizeof *k->out, "probes", err));
    return cli_has(k->a, "baseline") ? sae_new(&k->base, k->s.count, sizeof *k->base, "probes", err)
                                     : SAE_OK;
}

/* Now, not behind the fit. */
static int check_last_document(const probe_state *k, sae_err *err)
{
    const sae_lm_corpus *c = k->s.corpus;
    sae_docs d;
    int rc = c->docs(c->self, SAE_SPLIT_EVAL, (uint64_t)k->s.eval_docs - 1, 1, &d, err);
    return rc < 0 ? sae_fail_prefix(err, rc, "--eval-docs %lld", (long long)k->s.eval_docs) : rc;
}

static int open_all(probe_state *k, sae_err *err)
{
    const char *hook = cli_get(k->a, "hook");
    const int64_t most = INT64_C(1) << 40;
    int64_t seed, width;
    if (!cli_has(k->a, "data"))
        SAE_FAIL(err, SAE_EINVAL, "lm probe: --data SPEC is required");
    SAE_TRY(cli_int(k->a, "docs", 2048, 1, most, &k->s.docs, err));
    SAE_TRY(cli_int(k->a, "eval-docs", 512, 1, most, &k->s.eval_docs, err));
    SAE_TRY(cli_int(k->a, "seed", 0, 0, INT64_MAX, &seed, err));
    SAE_TRY(cli_open_model(k->a, &k->m, err));
    k->s.lm = k->m.lm;
    snprintf(k->hook, sizeof k->hook, "resid_post.%lld", (long long)(k->s.lm->layers - 1) / 2);
    k->s.hook = hook ? hook : k->hook;
    SAE_TRY(k->s.lm->hook(k->s.lm->self, k->s.hook, &width, err));
    SAE_TRY(cli_corpus_open(&k->corpus, k->a, k->m.reg, &k->m.e, k->m.lm, (uint64_t)seed, err));
    k->s.corpus = &k->corpus.c;
    SAE_TRY(check_last_document(k, err));
    return choose_labels(k, cli_get(k->a, "labels"), err);
}

static int probe(probe_state *k, sae_err *err)
{
    SAE_TRY(sae_lm_probe(&k->s, k->out, err));
    if (k->base) {
        sae_lm_probing s = k->s;
        s.hook = base_hook;
        SAE_TRY(sae_lm_probe(&s, k->base, err));
    }
    if (cli_has(k->a, "json"))
        return print_json(k, err);
    print_head(k);
    for (int64_t i = 0; i < k->s.count; i++)
        print_label(k, i);
    return SAE_OK;
}

static int run(const cli_args *a, sae_err *err)
{
    probe_state k = {.a = a};
    int rc = open_all(&k, err);
    if (rc >= 0)
        rc = probe(&k, err);
    cli_corpus_close(&k.corpus);
    cli_close_model(&k.m);
    sae_free(k.which);
    sae_free(k.out);
    sae_free(k.base);
    return rc;
}

static const cli_option options[] = {
    {"data", "SPEC", "a dataset that has documents with labels, e.g. organism"},
    {"hook", "HOOK", "where to probe (default: resid_post of the middle layer)"},
    {"docs", "N", "training documents to fit on (default 2048)"},
    {"eval-docs", "N", "evaluation documents to test on (default 512)"},
    {"labels", "A,B,...", "which labels (default: all)"},
    {"baseline", NULL, "also probe the embedding, resid_pre.0: what the token alone tells"},
    {"seed", "N", "of the dataset (default 0)"},
    CLI_JSON,
    CLI_DEVICE,
    CLI_THREADS,
    {NULL, NULL, NULL},
};

const cli_command cli_lm_probe = {
    .name = "lm probe",
    .usage = "MODEL --data SPEC [options]",
    .summary = "Which labels of a dataset a linear map of a model's activations tells",
    .text = CLI_MODEL_TEXT
    "Linear discriminant analysis of every label on the positions behind BOS. Accuracy compares\n"
    "with most, the share of the most frequent class; balanced accuracy, where every class counts\n"
    "the same, with chance, 1 / classes. Errors are standard errors over documents.\n"
    "Hooks: " SAE_LM_HOOKS ".\n",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
