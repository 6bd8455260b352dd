/* suite/cli/track_import.c - saemark track import: measurements into the store. */
#include "cli/track.h"
#include "core/checksum.h"
#include "core/error.h"
#include "track/import.h"

#include <stdio.h>
#include <string.h>

int cli_open_store(const cli_args *a, int create, sae_store **s, sae_err *err)
{
    const char *path = cli_get(a, "db");
    return sae_store_open(s, path ? path : "saemark.db", create, err);
}

int cli_with_store(const cli_args *a, int (*f)(const cli_args *, sae_store *, sae_err *),
                   sae_err *err)
{
    sae_store *s;
    SAE_TRY(cli_open_store(a, 0, &s, err));
    int rc = f(a, s, err);
    sae_store_close(&s);
    return rc;
}

const char *cli_branch(const cli_args *a)
{
    const char *name = cli_get(a, "branch");
    return name ? name : "main";
}

int cli_choice(const cli_args *a, const char *name, const char *const *list, const char **out,
               sae_err *err)
{
    const char *text = cli_get(a, name);
    char known[160] = "";
    for (int i = 0; text && list[i]; i++) {
        if (!strcmp(text, list[i])) {
            *out = list[i];
            return SAE_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", list[i]);
    }
    if (text)
        SAE_FAIL(err, SAE_EINVAL, "--%s %s: expected one of %s", name, text, known);
    return SAE_OK;
}

/* SQLite files begin with this. */
static int is_store(const char *path)
{
    char head[16] = "";
    FILE *f = fopen(path, "rb");
    size_t got = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    return got == sizeof head && !memcmp(head, "SQLite format 3", sizeof head);
}

static int import_stores(const cli_args *a, sae_err *err)
{
    sae_store *s = NULL;
    int rc;
    for (int i = 0; i < a->count; i++)
        if (!is_store(a->word[i]))
            SAE_FAIL(err, SAE_EINVAL, "%s is not a store: import stores and measurements apart",
                     a->word[i]);
    SAE_GOTO(cli_open_store(a, 1, &s, err));
    for (int i = 0; i < a->count; i++) {
        int64_t runs;
        SAE_GOTO(sae_import_store(s, a->word[i], &runs, err));
        printf("%s: %lld new runs\n", a->word[i], (long long)runs);
    }
fail:
    sae_store_close(&s);
    return rc;
}

static int read_how(const cli_args *a, sae_import *how, char sha[65], sae_err *err)
{
    static const char *const kinds[] = {"nightly", "ab", "bisect", "manual", "calibration", NULL};
    static const char *const states[] = {"ok", "failed", "quarantined", NULL};
    *how = (sae_import){.branch = cli_branch(a), .git = cli_get(a, "git"),
                        .host = cli_get(a, "machine")};
    SAE_TRY(cli_choice(a, "kind", kinds, &how->kind, err));
    SAE_TRY(cli_choice(a, "status", states, &how->status, err));
    SAE_TRY(cli_int(a, "commit-time", 0, 1, INT64_MAX / 2, &how->commit_time, err));
    if (cli_has(a, "binary")) {
        SAE_TRY(sae_sha256_file(cli_get(a, "binary"), sha, err));
        how->binary = sha;
    }
    return SAE_OK;
}

/* The files are read before the store is opened: bad ones make none. */
static int import_files(const cli_args *a, sae_err *err)
{
    sae_import how;
    sae_readings b = {0};
    sae_store *s = NULL;
    char sha[65];
    int64_t run;
    int rc;
    SAE_GOTO(read_how(a, &how, sha, err));
    for (int i = 0; i < a->count; i++)
        SAE_GOTO(sae_readings_read(&b, a->word[i], i, err));
    SAE_GOTO(cli_open_store(a, 1, &s, err));
    SAE_GOTO(sae_import_readings(s, &b, &how, &run, err));
    printf("run %lld: %lld samples of %lld series%s\n", (long long)run, (long long)b.sample_count,
           (long long)b.series_count, rc == SAE_DONE ? ", was stored already" : "");
fail:
    sae_readings_free(&b);
    sae_store_close(&s);
    return rc;
}

static int run(const cli_args *a, sae_err *err)
{
    return is_store(a->word[0]) ? import_stores(a, err) : import_files(a, err);
}

static const cli_option options[] = {
    CLI_DB,
    CLI_BRANCH,
    {"git", "SHA", "commit that was measured (default: as the files say)"},
    {"commit-time", "SECONDS", "its time, if the store does not know the commit"},
    {"machine", "NAME", "machine it ran on (default: host name in the files)"},
    {"kind", "KIND", "nightly, manual, calibration, ab or bisect (default: nightly)"},
    {"status", "STATUS", "ok, failed or quarantined (default: ok)"},
    {"binary", "FILE", "the program that ran; its SHA-256 is stored"},
    {NULL, NULL, NULL},
};

const cli_command cli_track_import = {
    .name = "track import",
    .usage = "FILE... [options]",
    .summary = "Store measurements: benchmark JSON, a run of saemark, or another store",
    .text = "FILE is JSON of saemark bench or any Google Benchmark program (several: processes of\n"
            "one run), one run directory (run.json, metrics.csv), or another store.\n"
            "One transaction: all of it is stored or nothing. Importing again changes nothing.\n",
    .options = options,
    .min_words = 1,
    .max_words = -1,
    .verdicts = 1,
    .run = run,
};
