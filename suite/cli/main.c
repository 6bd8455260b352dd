/* suite/cli/main.c - the saemark program: find the command, run it, turn its status into words and
 * an exit status (0 success, 1 failed, 2 bad input; saemark track has verdicts of its own). */
#include "cli/args.h"
#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {
    &cli_run,     &cli_report, &cli_eval,  &cli_similarity, &cli_capture, &cli_lm, &cli_list,
    &cli_convert, &cli_bench,  &cli_track, &cli_check,      &cli_version, NULL,
};

static void help(FILE *to)
{
    fprintf(to, "usage: saemark COMMAND [arguments]\n\n"
                "Train, measure and compare sparse autoencoders on language-model activations.\n\n"
                "commands:\n");
    for (size_t i = 0; commands[i]; i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "\nFirst steps:\n"
                "  saemark run quickstart            SAEs on the built-in model, report in "
                "runs/quickstart\n"
                "  saemark run lm --set model=DIR --set text=FILE\n"
                "  saemark COMMAND --help            what a command takes\n");
}

static void on_signal(int number)
{
    (void)number;
    sae_interrupt();
}

static void on_log(void *arg, enum sae_level level, const char *component, const char *message)
{
    static const char *const name[] = {"error: ", "warning: ", "", "debug: "};
    (void)arg;
    fprintf(stderr, "saemark %s: %s%s\n", component, name[level], message);
}

/* OpenMP's threads spin between parallel regions by default, which on a busy machine costs a factor
 * of ten (reports/baseline/README.md). The runtime reads its policy before main, so set it and
 * start over; a policy the user gave stays. */
static void wait_quietly(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0)
        execv("/proc/self/exe", argv); /* on failure: go on, only slower */
}

static char *join(int argc, char **argv)
{
    char *line = sae_strdup("saemark");
    for (int i = 1; line && i < argc; i++) {
        char *more = sae_strfmt("%s %s", line, argv[i]);
        sae_free(line);
        line = more;
    }
    return line;
}

static int run_command(const cli_command *c, int argc, char **argv)
{
    sae_err err = {0};
    char *line = join(argc, argv);
    cli_args a = {.line = line};
    const cli_command *in =
        c->commands && argc > 2 ? cli_find(c->commands, c->name, argv[2]) : NULL;
    int words = in ? 2 : 1;
    c = in ? in : c;
    argc -= words;
    argv += words;
    int rc = c->take ? c->take(&argc, argv, &err) : SAE_OK;
    if (rc == SAE_OK)
        rc = cli_parse(c, argc, argv, &a, &err);
    if (rc == SAE_OK)
        rc = c->run(&a, &err);
    cli_args_free(&a);
    sae_free(line);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "saemark: error: writing to standard output failed\n");
        return 1;
    }
    if (rc < 0)
        fprintf(stderr, "saemark: error: %s\n", err.msg[0] ? err.msg : sae_status_name(rc));
    if (c->verdicts)
        return rc >= CLI_EXIT ? rc - CLI_EXIT : rc < 0;
    return sae_status_exit(rc);
}

int main(int argc, char **argv)
{
    wait_quietly(argv);
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then an ordinary write error */
    sae_log_to(on_log, NULL, SAE_LOG_INFO);
    sae_progress_to(STDERR_FILENO);
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return 0;
    }
    const cli_command *c =
        cli_find(commands, NULL, !strcmp(argv[1], "--version") ? "version" : argv[1]);
    if (!c) {
        sae_err err = {0};
        int rc = cli_not_found(commands, NULL, argv[1], &err);
        fprintf(stderr, "saemark: error: %s\n", err.msg);
        return sae_status_exit(rc);
    }
    return run_command(c, argc, argv);
}
