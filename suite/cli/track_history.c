/* suite/cli/track_history.c - saemark track commits, analyse, alert, annotate, maintain. */
#include "cli/open.h"
#include "cli/track.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/analyse.h"
#include "track/import.h"
#include "track/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- commits --------------------------------------------------------------------------------- */

/* A whole file, or standard input for "-". */
static int read_text(const char *path, char **out, sae_err *err)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
    sae_text t = {0};
    char block[4096];
    size_t got;
    if (!f)
        SAE_FAIL(err, SAE_EIO, "%s: cannot open", path);
    while ((got = fread(block, 1, sizeof block, f)) > 0)
        sae_text_add(&t, block, got);
    int bad = ferror(f);
    if (f != stdin)
        fclose(f);
    *out = sae_text_take(&t);
    if (bad || !*out)
        SAE_FAIL(err, bad ? SAE_EIO : SAE_ENOMEM, "%s: cannot read", path);
    return SAE_OK;
}

static int run_commits(const cli_args *a, sae_err *err)
{
    sae_store *s = NULL;
    char *text = NULL;
    int64_t added;
    int rc;
    SAE_GOTO(read_text(a->word[0], &text, err));
    SAE_GOTO(cli_open_store(a, 1, &s, err));
    SAE_GOTO(sae_import_commits(s, cli_branch(a), text, strlen(text), &added, err));
    printf("%lld new commits\n", (long long)added);
fail:
    sae_free(text);
    sae_store_close(&s);
    return rc;
}

static const cli_option commit_options[] = {CLI_DB, CLI_BRANCH, {NULL, NULL, NULL}};

const cli_command cli_track_commits = {
    .name = "track commits",
    .usage = "FILE|- [options]",
    .summary = "Tell the store the order of a branch's commits",
    .text = "Lines \"SHA PARENT... TIME\", oldest first, as printed by\n"
            "  git log --reverse --first-parent --format='%H %P %ct'\n"
            "Without them commits are ordered by the time at which they were first measured.\n",
    .options = commit_options,
    .min_words = 1,
    .max_words = 1,
    .verdicts = 1,
    .run = run_commits,
};

/* ---- analyse --------------------------------------------------------------------------------- */

/* What is open and not an improvement decides: quality before speed before what is missing. */
static int open_status(sae_store *s, const char *branch, int *status, sae_err *err)
{
    static const struct {
        const char *kind;
        int status;
    } kinds[] = {{"regression", SAE_GATE_SLOWER}, {"quality", SAE_GATE_QUALITY},
                 {"hash", SAE_GATE_QUALITY},      {"missing", SAE_GATE_MISSING},
                 {"infra", SAE_GATE_QUARANTINE}};
    *status = SAE_GATE_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int64_t n;
        SAE_TRY(sae_sql_int(s, &n, err,
                            "SELECT count(*) FROM alert WHERE branch=? AND kind=?"
                            " AND state IN('detected','confirmed','triaged')", "tt", branch,
                            kinds[i].kind));
        if (n)
            *status = sae_gate_worse(*status, kinds[i].status);
    }
    return SAE_OK;
}

static int analyse(const cli_args *a, sae_store *s, sae_err *err)
{
    sae_analysis n;
    int status;
    SAE_TRY(sae_analyse(s, cli_branch(a), (int64_t)time(NULL), &n, err));
    SAE_TRY(open_status(s, cli_branch(a), &status, err));
    printf("%lld series, %lld change points (%lld gone), %lld new alerts\n", (long long)n.series,
           (long long)n.found, (long long)n.retired, (long long)n.alerts);
    return CLI_EXIT + status;
}

static int run_analyse(const cli_args *a, sae_err *err)
{
    return cli_with_store(a, analyse, err);
}

const cli_command cli_track_analyse = {
    .name = "track analyse",
    .usage = "[options]",
    .summary = "Find change points in every series, open and move alerts",
    .text =
        "Exit status by what is open: 0 nothing worse, 1 failed, 2 a regression, 4 the machine\n"
        "changed, 5 quality or output changed, 6 a benchmark is missing.\n",
    .options = commit_options,
    .max_words = 0,
    .verdicts = 1,
    .run = run_analyse,
};

/* ---- alerts ---------------------------------------------------------------------------------- */

/* Alert ?1, or when it is 0 those of branch ?2, open ones unless ?3. */
static const char alerts_sql[] =
    "SELECT a.id,a.state,a.kind,a.title,"
    " ifnull((SELECT git_sha FROM commit_order WHERE branch=a.branch AND seq=a.seq_lo),'')"
    " AS last_good,"
    " ifnull((SELECT git_sha FROM commit_order WHERE branch=a.branch AND seq=a.seq_hi),'')"
    " AS suspect,a.owner,(SELECT count(*) FROM alert_item WHERE alert_id=a.id) AS series"
    " FROM alert a WHERE a.id=?1 OR (?1=0 AND a.branch=?2"
    "  AND (?3 OR a.state IN('detected','confirmed','triaged','fixed'))) ORDER BY a.id";
static const char items_sql[] =
    "SELECT e.bench||':'||e.metric AS series,m.hostname AS machine,c.median_left AS was,"
    "c.median_right AS became,c.rel_change AS change,c.p_value AS p,c.algo AS found_by,"
    "c.retired_at IS NOT NULL AS gone,i.confirmed,i.ab_ratio,i.ab_lo,i.ab_hi"
    " FROM alert_item i JOIN changepoint c ON c.id=i.changepoint_id"
    " JOIN series e ON e.id=c.series_id JOIN machine m ON m.id=e.machine_id"
    " WHERE i.alert_id=? ORDER BY 1,2";
static const char events_sql[] =
    "SELECT strftime('%Y-%m-%dT%H:%M:%SZ',at,'unixepoch') AS at,actor,to_state AS state,note"
    " FROM alert_event WHERE alert_id=? ORDER BY id";

static int alerts_json(const cli_args *a, sae_store *s, int64_t id, sae_err *err)
{
    json_t *all = sae_sql_json(s, err, alerts_sql, "iti", id, cli_branch(a),
                               (int64_t)cli_has(a, "all"));
    if (id && all) {
        json_t *items = sae_sql_json(s, err, items_sql, "i", id);
        json_t *events = sae_sql_json(s, err, events_sql, "i", id);
        json_t *one = items && events ? json_incref(json_array_get(all, 0)) : NULL;
        json_object_set_new(one, "items", items); /* also where there is no object: released */
        json_object_set_new(one, "events", events);
        json_decref(all);
        all = one;
    }
    return cli_print_json(all, err);
}

static int list_alerts(const cli_args *a, sae_store *s, int64_t id, sae_err *err)
{
    sqlite3_stmt *q;
    int rc;
    SAE_TRY(sae_sql(s, &q, err, alerts_sql, "iti", id, cli_branch(a), (int64_t)cli_has(a, "all")));
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        const char *owner = sae_sql_text(q, 6);
        printf("%4lld  %-12s %-11s %s..%s  %s (%lld series)%s%s\n",
               (long long)sqlite3_column_int64(q, 0), sae_sql_text(q, 1), sae_sql_text(q, 2),
               sae_sql_text(q, 4), sae_sql_text(q, 5), sae_sql_text(q, 3),
               (long long)sqlite3_column_int64(q, 7), *owner ? " by " : "", owner);
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

static int show_alert(sae_store *s, int64_t id, sae_err *err)
{
    sqlite3_stmt *q;
    int rc;
    SAE_TRY(sae_sql(s, &q, err, items_sql, "i", id));
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        printf("  %s on %s: %.6g -> %.6g (%+.2f %%), p %.2g, %s%s", sae_sql_text(q, 0),
               sae_sql_text(q, 1), sqlite3_column_double(q, 2), sqlite3_column_double(q, 3),
               100 * sqlite3_column_double(q, 4), sqlite3_column_double(q, 5), sae_sql_text(q, 6),
               sqlite3_column_int(q, 7) ? ", gone" : "");
        if (sqlite3_column_type(q, 9) != SQLITE_NULL)
            printf("; A/B %.4f (%.4f to %.4f)", sqlite3_column_double(q, 9), sae_sql_real(q, 10),
                   sae_sql_real(q, 11));
        printf("\n");
    }
    sqlite3_finalize(q);
    SAE_TRY(rc);
    SAE_TRY(sae_sql(s, &q, err, events_sql, "i", id));
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK)
        printf("  %s %s: %s %s\n", sae_sql_text(q, 0), sae_sql_text(q, 1), sae_sql_text(q, 2),
               sae_sql_text(q, 3));
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

static const char *author(const cli_args *a)
{
    const char *who = cli_get(a, "author");
    who = who ? who : getenv("USER");
    return who && *who ? who : "unknown";
}

/* --range GOOD..BAD */
static int narrow(const cli_args *a, sae_store *s, int64_t id, sae_err *err)
{
    int64_t lo, hi;
    const char *range = cli_get(a, "range"), *dots = strstr(range, "..");
    char *good = dots ? sae_strfmt("%.*s", (int)(dots - range), range) : NULL;
    if (!good)
        SAE_FAIL(err, SAE_EINVAL, "--range %s: expected GOOD..BAD", range);
    int rc = sae_commit_find(s, cli_branch(a), good, &lo, err);
    sae_free(good);
    SAE_TRY(rc);
    SAE_TRY(sae_commit_find(s, cli_branch(a), dots + 2, &hi, err));
    return sae_alert_narrow(s, id, lo, hi, cli_get(a, "owner"), author(a), (int64_t)time(NULL),
                            err);
}

static int change_alert(const cli_args *a, sae_store *s, int64_t id, sae_err *err)
{
    const char *to = NULL, *note = cli_get(a, "note");
    SAE_TRY(cli_choice(a, "to", sae_alert_states, &to, err));
    SAE_TRY(sae_store_begin(s, err));
    int rc = cli_has(a, "range") ? narrow(a, s, id, err) : SAE_OK;
    if (rc >= 0 && to)
        rc = sae_alert_move(s, id, to, author(a), note ? note : "", (int64_t)time(NULL), err);
    return sae_store_end(s, rc, err);
}

static int alert(const cli_args *a, sae_store *s, sae_err *err)
{
    int64_t id = 0;
    char state[16];
    int change = cli_has(a, "to") || cli_has(a, "range");
    if (a->count && (sae_int_parse(a->word[0], &id) || id < 1))
        SAE_FAIL(err, SAE_EINVAL, "track alert %s: expected the number of an alert", a->word[0]);
    if (change && !id)
        SAE_FAIL(err, SAE_EINVAL, "track alert: --to and --range need the number of an alert");
    if ((cli_has(a, "note") && !cli_has(a, "to")) || (cli_has(a, "owner") && !cli_has(a, "range")))
        SAE_FAIL(err, SAE_EINVAL, "track alert: --note goes with --to, --owner with --range");
    if (change)
        return change_alert(a, s, id, err);
    if (id)
        SAE_TRY(sae_alert_state(s, id, state, err)); /* is there one? */
    if (cli_has(a, "json"))
        return alerts_json(a, s, id, err);
    SAE_TRY(list_alerts(a, s, id, err));
    return id ? show_alert(s, id, err) : SAE_OK;
}

static int run_alert(const cli_args *a, sae_err *err)
{
    return cli_with_store(a, alert, err);
}

#define CLI_AUTHOR {"author", "NAME", "who says so (default: $USER)"}

static const cli_option alert_options[] = {
    CLI_DB,
    CLI_BRANCH,
    {"all", NULL, "closed alerts too"},
    {"to", "STATE", "move the alert: confirmed, triaged, acknowledged, fixed, wontfix, invalid"},
    {"note", "TEXT", "why; needed for acknowledged, fixed, wontfix and invalid"},
    {"range", "GOOD..BAD", "narrow its commits: the change came after GOOD, at the latest in BAD"},
    {"owner", "NAME", "with --range: who made the change"},
    CLI_AUTHOR,
    CLI_JSON,
    {NULL, NULL, NULL},
};

const cli_command cli_track_alert = {
    .name = "track alert",
    .usage = "[ID] [options]",
    .summary = "List alerts, show one, move it to another state or narrow its commits",
    .text = "An acknowledged change is the new baseline of its series.\n",
    .options = alert_options,
    .max_words = 1,
    .verdicts = 1,
    .run = run_alert,
};

/* ---- annotations ----------------------------------------------------------------------------- */

static int annotate(const cli_args *a, sae_store *s, sae_err *err)
{
    static const char *const kinds[] = {"new_baseline", "ignore", "machine_change",
                                        "dataset_change", "note", NULL};
    const char *kind = "note";
    int64_t seq;
    SAE_TRY(cli_choice(a, "kind", kinds, &kind, err));
    SAE_TRY(sae_commit_find(s, cli_branch(a), a->word[0], &seq, err));
    return sae_sql_run(s, err,
                       "INSERT INTO annotation(series_glob,branch,seq,kind,text,author,at)"
                       " VALUES(?,?,?,?,?,?,?)", "ttittti", a->word[1], cli_branch(a), seq,
                       kind, a->word[2], author(a), (int64_t)time(NULL));
}

static int run_annotate(const cli_args *a, sae_err *err)
{
    return cli_with_store(a, annotate, err);
}

static const cli_option annotate_options[] = {
    {"kind", "KIND", "new_baseline, ignore, machine_change, dataset_change or note (default)"},
    CLI_AUTHOR,
    CLI_DB,
    CLI_BRANCH,
    {NULL, NULL, NULL},
};

const cli_command cli_track_annotate = {
    .name = "track annotate",
    .usage = "COMMIT SERIES TEXT [options]",
    .summary = "Say something about series at a commit: a new baseline, a night to ignore",
    .text = "SERIES is BENCH:METRIC or a pattern with *, such as 'encode*:real_time'.\n"
            "Levels are not compared across new_baseline, machine_change and dataset_change.\n",
    .options = annotate_options,
    .min_words = 3,
    .max_words = 3,
    .verdicts = 1,
    .run = run_annotate,
};

/* ---- care ------------------------------------------------------------------------------------ */

static int maintain(const cli_args *a, sae_store *s, sae_err *err)
{
    int64_t days, deleted;
    SAE_TRY(cli_int(a, "prune", 0, 1, 36500, &days, err));
    SAE_TRY(sae_store_check(s, err));
    printf("%s: intact\n", s->path);
    if (cli_has(a, "backup")) {
        SAE_TRY(sae_store_backup(s, cli_get(a, "backup"), err));
        printf("%s: written\n", cli_get(a, "backup"));
    }
    if (days) {
        SAE_TRY(sae_store_prune(s, (int64_t)time(NULL) - days * 86400, &deleted, err));
        printf("%lld samples deleted\n", (long long)deleted);
    }
    return SAE_OK;
}

static int run_maintain(const cli_args *a, sae_err *err)
{
    return cli_with_store(a, maintain, err);
}

static const cli_option maintain_options[] = {
    CLI_DB,
    {"backup", "FILE", "write a compact copy; FILE must not exist"},
    {"prune", "DAYS", "delete older samples, except around change points; points stay"},
    {NULL, NULL, NULL},
};

const cli_command cli_track_maintain = {
    .name = "track maintain",
    .usage = "[options]",
    .summary = "Check the store, copy it, drop old samples",
    .options = maintain_options,
    .max_words = 0,
    .verdicts = 1,
    .run = run_maintain,
};
