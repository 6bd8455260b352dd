/* suite/cli/track_report.c - saemark track report, calibrate. */
#include "cli/open.h"
#include "cli/track.h"
#include "core/error.h"
#include "core/memory.h"
#include "track/quiet.h"
#include "track/report.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int report(const cli_args *a, sae_store *s, sae_err *err)
{
    sae_standings all;
    const char *dir = cli_get(a, "out");
    SAE_TRY(sae_standings_open(&all, s, cli_branch(a), err));
    int rc = SAE_OK;
    if (dir)
        rc = sae_track_report(&all, s, cli_branch(a), dir, NULL, err);
    char *text = rc < 0 ? NULL : sae_track_text(&all);
    if (rc >= 0 && !text)
        rc = SAE_SET(err, SAE_ENOMEM, "out of memory for the summary");
    if (text)
        fputs(text, stdout);
    if (rc >= 0 && dir)
        printf("%s/index.html\n", dir);
    sae_free(text);
    sae_standings_close(&all);
    return rc;
}

static int run_report(const cli_args *a, sae_err *err)
{
    return cli_with_store(a, report, err);
}

static const cli_option report_options[] = {
    CLI_DB,
    CLI_BRANCH,
    {"out", "DIR", "write index.html, report.csv, report.json and plots there"},
    {NULL, NULL, NULL},
};

const cli_command cli_track_report = {
    .name = "track report",
    .usage = "[options]",
    .summary = "Show how every series stands, the worst first",
    .text = "The files are the same, byte for byte, for the same store.\n",
    .options = report_options,
    .max_words = 0,
    .verdicts = 1,
    .run = run_report,
};

/* ---- calibration ----------------------------------------------------------------------------- */

static json_t *rows(const double seconds[SAE_CALIBRATIONS])
{
    json_t *all = json_array();
    for (int i = 0; i < SAE_CALIBRATIONS; i++) {
        char name[48];
        snprintf(name, sizeof name, "calibration/%s", sae_calibration_name[i]);
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:i, s:f, s:s}", "name", name,
                                             "run_name", name, "run_type", "iteration",
                                             "iterations", 1, "real_time", 1e9 * seconds[i],
                                             "time_unit", "ns"));
    }
    return all;
}

static int run_calibrate(const cli_args *a, sae_err *err)
{
    double seconds[SAE_CALIBRATIONS];
    char host[128] = "", date[32];
    time_t now = time(NULL);
    struct tm tm;
    (void)a;
    gethostname(host, sizeof host - 1);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    SAE_TRY(sae_calibrate(50, seconds, err));
    return cli_print_json(json_pack("{s:{s:s, s:s}, s:o}", "context", "date", date, "host_name",
                                    host, "benchmarks", rows(seconds)), err);
}

static const cli_option no_options[] = {{NULL, NULL, NULL}};

const cli_command cli_track_calibrate = {
    .name = "track calibrate",
    .usage = "",
    .summary = "Time a fixed loop and a fixed copy, as benchmark JSON",
    .text = "Import it with the night's measurements: when these series move, the machine has\n"
            "changed, and what moved on the same night is not blamed on a commit.\n",
    .options = no_options,
    .max_words = 0,
    .verdicts = 1,
    .run = run_calibrate,
};
