/* suite/cli/cmd_lm.c - saemark lm: the commands on language models. */
#include "cli/open.h"
#include "core/error.h"

static const cli_command *const commands[] = {&cli_lm_eval, &cli_lm_generate, &cli_lm_probe,
                                              &cli_lm_train, NULL};
static const cli_option none[] = {{NULL, NULL, NULL}};

/* Called only when the first word is none of the commands. */
static int run(const cli_args *a, sae_err *err)
{
    return cli_not_found(commands, "lm", a->word[0], err);
}

const cli_command cli_lm = {
    .name = "lm",
    .usage = "COMMAND [arguments]",
    .summary = "Work with a language model: score, continue a prompt, probe, train",
    .commands = commands,
    .options = none,
    .min_words = 1,
    .max_words = -1,
    .run = run,
};
