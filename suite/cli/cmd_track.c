/* suite/cli/cmd_track.c - saemark track: measurements from night to night, and gates. */
#include "cli/track.h"
#include "core/error.h"

static const cli_command *const commands[] = {
    &cli_track_import,  &cli_track_commits, &cli_track_analyse,  &cli_track_report,
    &cli_track_alert,   &cli_track_annotate, &cli_track_gate,    &cli_track_quality,
    &cli_track_calibrate, &cli_track_maintain, NULL,
};
static const cli_option none[] = {{NULL, NULL, NULL}};

/* Called only when the first word is none of the commands. */
static int run(const cli_args *a, sae_err *err)
{
    return cli_not_found(commands, "track", a->word[0], err);
}

const cli_command cli_track = {
    .name = "track",
    .usage = "COMMAND [arguments]",
    .summary = "Keep measurements of every night, find changes, compare two builds",
    .text = "Exit status: 0 nothing is worse, 1 the command failed, 2 slower, 3 cannot tell,\n"
            "4 the machine was not quiet, 5 quality or output changed, 6 a benchmark is missing.\n",
    .commands = commands,
    .options = none,
    .min_words = 1,
    .max_words = -1,
    .verdicts = 1,
    .run = run,
};
