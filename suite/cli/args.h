/* suite/cli/args.h - command tables and their arguments. */
#ifndef SAE_CLI_ARGS_H
#define SAE_CLI_ARGS_H

#include <sae/base.h>

typedef struct cli_option { /* the table ends with name == NULL */
    const char *name;       /* long option, without dashes */
    const char *value;      /* name of its value in the help, NULL for a switch */
    const char *help;
} cli_option;

typedef struct cli_args {
    int count;               /* positional arguments */
    char **word;             /* [count], NULL-terminated */
    const char **key;        /* [given] option names in the order given */
    const char **val;        /* [given] "" for switches */
    int given;
    const char *line;        /* the whole command line */
} cli_args;

typedef struct cli_command {
    const char *name;        /* of a command of a group with the group's: "lm eval" */
    const char *usage;       /* what follows the name: "PLAN [options]" */
    const char *summary;     /* one line */
    const char *text;        /* more help, or NULL */
    const struct cli_command *const *commands; /* of a group, NULL-terminated; else NULL */
    const cli_option *options;
    int min_words, max_words; /* positional arguments; max < 0: any number */
    int verdicts;            /* any failure exits with 1: run returns CLI_EXIT + status besides */
    /* Takes arguments of its own out before the others are parsed; NULL: none. SAE_DONE: all is
     * said and done. */
    int (*take)(int *argc, char **argv, sae_err *err);
    int (*run)(const cli_args *a, sae_err *err);
} cli_command;

enum { CLI_EXIT = 256 };

extern const cli_command cli_list, cli_run, cli_eval, cli_capture, cli_lm, cli_report, cli_convert,
    cli_track, cli_check, cli_bench, cli_similarity, cli_version;
extern const cli_command cli_lm_eval, cli_lm_generate, cli_lm_probe,
    cli_lm_train; /* of the group cli_lm */

/* The command of a NULL-terminated list that is called `word` behind its group's name, which is
 * `group` (NULL: none); NULL when there is none. */
const cli_command *cli_find(const cli_command *const *list, const char *group, const char *word);
/* SAE_EINVAL: there is no such command; did you mean ...? */
int cli_not_found(const cli_command *const *list, const char *group, const char *word,
                  sae_err *err);

/* Parse argv[0..argc) (argv[0] is the command's name). SAE_EINVAL with the nearest option;
 * SAE_DONE when --help was printed. Release with cli_args_free. */
int cli_parse(const cli_command *c, int argc, char **argv, cli_args *a, sae_err *err);
void cli_args_free(cli_args *a);

/* Value of the last occurrence, NULL when not given. */
const char *cli_get(const cli_args *a, const char *name);
int cli_has(const cli_args *a, const char *name);
/* NULL-terminated values of every occurrence, in order; caller frees the array with sae_free. */
const char **cli_all(const cli_args *a, const char *name);
/* Whole number in [lo, hi]; `def` when not given. */
int cli_int(const cli_args *a, const char *name, int64_t def, int64_t lo, int64_t hi, int64_t *out,
            sae_err *err);
/* Number in [lo, hi]; `def` when not given. */
int cli_real(const cli_args *a, const char *name, double def, double lo, double hi, double *out,
             sae_err *err);
void cli_help(const cli_command *c);

#endif
