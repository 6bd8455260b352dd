/* suite/cli/track.h - what the commands of saemark track share. */
#ifndef SAE_CLI_TRACK_H
#define SAE_CLI_TRACK_H

#include "cli/args.h"
#include "track/store.h"

extern const cli_command cli_track_import, cli_track_commits, cli_track_analyse, cli_track_report,
    cli_track_gate, cli_track_quality, cli_track_alert, cli_track_annotate, cli_track_calibrate,
    cli_track_maintain;

#define CLI_DB {"db", "FILE", "the store (default: saemark.db)"}
#define CLI_BRANCH {"branch", "NAME", "branch of the measured commits (default: main)"}

/* Open --db; create: make it if absent. */
int cli_open_store(const cli_args *a, int create, sae_store **s, sae_err *err);
/* f(a, the store of --db, err), which must exist. */
int cli_with_store(const cli_args *a, int (*f)(const cli_args *, sae_store *, sae_err *),
                   sae_err *err);
const char *cli_branch(const cli_args *a);
/* --name must be one of a NULL-terminated list; *out stays when it is not given. */
int cli_choice(const cli_args *a, const char *name, const char *const *list, const char **out,
               sae_err *err);

#endif
