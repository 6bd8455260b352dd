/* suite/cli/cmd_check.c - saemark check: the contract of variants, for plug-ins and in-tree ones.
 */
#include "cli/open.h"
#include "core/error.h"
#include "core/shards.h"
#include "eval/conformance.h"

#include <stdio.h>
#include <sys/stat.h>

typedef struct tally { /* one variant's outcomes */
    int64_t passed, skipped;
    json_t *failures;
} tally;

static void on_clause(void *arg, const sae_clause *c)
{
    tally *t = arg;
    t->passed += c->verdict == SAE_VERDICT_PASS;
    t->skipped += c->verdict == SAE_VERDICT_SKIP;
    if (c->verdict == SAE_VERDICT_FAIL)
        json_array_append_new(t->failures,
                              json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "clause", c->id,
                                        "what", c->what, "options", c->options, "detail", c->detail,
                                        "B", (json_int_t)c->shape.B, "d", (json_int_t)c->shape.d,
                                        "n", (json_int_t)c->shape.n));
}

static void print_failures(const json_t *failures)
{
    size_t i;
    json_t *f;
    json_array_foreach(failures, i, f)
    {
        const char *id, *what, *options, *detail;
        json_int_t B, d, n;
        if (json_unpack(f, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "clause", &id, "what", &what,
                        "options", &options, "detail", &detail, "B", &B, "d", &d, "n", &n))
            continue;
        printf("  %s %s (B %lld, d %lld, n %lld%s%s): %s\n", id, what, (long long)B, (long long)d,
               (long long)n, options[0] ? ", " : "", options, detail);
    }
}

/* Check one variant; adds to *all and to *failed. */
static int check_variant(const sae_variant *v, const sae_engine *e, json_t *all, int64_t *failed,
                         sae_err *err)
{
    tally t = {.failures = json_array()};
    sae_conformance_to to = {.on_clause = on_clause, .arg = &t};
    int64_t bad = 0;
    int rc = t.failures ? sae_conformance(v, e, &to, &bad, err)
                        : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc < 0) {
        json_decref(t.failures);
        return sae_fail_prefix(err, rc, "%s", v->name);
    }
    *failed += bad;
    if (!all) {
        printf("%s: %lld clauses passed, %lld failed, %lld not applicable\n", v->name,
               (long long)t.passed, (long long)bad, (long long)t.skipped);
        print_failures(t.failures);
        json_decref(t.failures);
        return SAE_OK;
    }
    json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:o}", "variant", v->name, "passed",
                                         (json_int_t)t.passed, "failed", (json_int_t)bad, "skipped",
                                         (json_int_t)t.skipped, "failures", t.failures));
    return SAE_OK;
}

/* The variants a plug-in brings, in their admitted form; or every in-tree one. */
static int check_all(const sae_registry *reg, const sae_plugin *only, const sae_engine *e,
                     json_t *all, int64_t *failed, sae_err *err)
{
    if (!only) {
        for (int i = 0; sae_all_variants(reg)[i]; i++)
            SAE_TRY(check_variant(sae_all_variants(reg)[i], e, all, failed, err));
        return SAE_OK;
    }
    if (!all)
        printf("%s %s by %s (%s): admitted\n", only->name, only->version, only->author,
               only->licence);
    for (int i = 0; only->variants && only->variants[i]; i++)
        SAE_TRY(check_variant(sae_find_variant(reg, only->variants[i]->name), e, all, failed, err));
    return SAE_OK;
}

static int check(const cli_args *a, sae_registry *reg, sae_err *err)
{
    const sae_plugin *only = NULL;
    sae_engine e;
    int64_t failed = 0;
    if (a->count)
        SAE_TRY(sae_registry_plugin(reg, a->word[0], &only, err));
    SAE_TRY(cli_open_engine(a, reg, &e, err));
    json_t *all = cli_has(a, "json") ? json_array() : NULL;
    int rc = check_all(reg, only, &e, all, &failed, err);
    sae_engine_close(&e);
    if (rc >= 0 && all)
        rc = cli_print_json(json_incref(all), err);
    json_decref(all);
    SAE_TRY(rc);
    if (failed)
        SAE_FAIL(err, SAE_EBACKEND, "%lld clauses of the contract do not hold", (long long)failed);
    return SAE_OK;
}

/* Shards on disk: every content hash again. */
static int check_shards(const char *dir, sae_err *err)
{
    SAE_TRY(sae_shards_verify(dir, err));
    printf("%s: every shard has the hash that the manifest states\n", dir);
    return SAE_OK;
}

static int run(const cli_args *a, sae_err *err)
{
    struct stat st;
    if (a->count && stat(a->word[0], &st) == 0 && S_ISDIR(st.st_mode))
        return check_shards(a->word[0], err);
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = check(a, reg, err);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {
    CLI_JSON, CLI_DEVICE, CLI_THREADS, CLI_PLUGIN, {NULL, NULL, NULL}};

const cli_command cli_check = {
    .name = "check",
    .usage = "[PLUGIN.so|SHARDS]",
    .summary = "Test a plug-in's variants against the contract, or the hashes of shards",
    .text =
        "Without an argument, tests the in-tree variants on the backend of this machine. The\n"
        "contract is in suite/README.md. SHARDS is a directory written by capture or convert.\n",
    .options = options,
    .min_words = 0,
    .max_words = 1,
    .run = run,
};
