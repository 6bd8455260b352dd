/* suite/cli/args.c - GNU-style long options driven by tables. */
#include "cli/args.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/options.h"
#include "models/tokenizer.h"

#include <stdio.h>
#include <string.h>

const cli_command *cli_find(const cli_command *const *list, const char *group, const char *word)
{
    size_t skip = group ? strlen(group) + 1 : 0;
    for (; *list; list++)
        if (!strcmp((*list)->name + skip, word))
            return *list;
    return NULL;
}

int cli_not_found(const cli_command *const *list, const char *group, const char *word,
                  sae_err *err)
{
    const char *names[16] = {NULL};
    size_t skip = group ? strlen(group) + 1 : 0;
    for (int i = 0; list[i] && i < 15; i++)
        names[i] = list[i]->name + skip;
    const char *near = sae_nearest(word, names);
    SAE_FAIL(err, SAE_EINVAL, "%s%sno command '%s'%s%s%s (see saemark %s%s--help)",
             group ? group : "", group ? ": " : "", word, near ? "; did you mean '" : "",
             near ? near : "", near ? "'?" : "", group ? group : "", group ? " " : "");
}

void cli_help(const cli_command *c)
{
    printf("usage: saemark %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->text)
        printf("\n%s", c->text);
    if (c->commands)
        printf("\ncommands:\n");
    for (const cli_command *const *k = c->commands; k && *k; k++)
        printf("  %-10s %s\n", (*k)->name + strlen(c->name) + 1, (*k)->summary);
    printf("\noptions:\n");
    for (const cli_option *o = c->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("  %-26s %s\n", "--help", "show this text");
}

static const cli_option *find_option(const cli_command *c, const char *name, size_t len)
{
    for (const cli_option *o = c->options; o->name; o++)
        if (strlen(o->name) == len && !memcmp(o->name, name, len))
            return o;
    return NULL;
}

static int unknown_option(const cli_command *c, const char *arg, sae_err *err)
{
    const char *names[64];
    int n = 0;
    char word[64];
    for (const cli_option *o = c->options; o->name && n < 63; o++)
        names[n++] = o->name;
    names[n] = NULL;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    const char *near = sae_nearest(word, names);
    SAE_FAIL(err, SAE_EINVAL, "%s: no option %s%s%s%s (see saemark %s --help)", c->name, arg,
             near ? "; did you mean --" : "", near ? near : "", near ? "?" : "", c->name);
}

/* One "--name", "--name=value" or "--name value"; *i moves past what was used. */
static int take_option(const cli_command *c, int argc, char **argv, int *i, cli_args *a,
                       sae_err *err)
{
    const char *arg = argv[*i], *name = arg + 2;
    size_t len = strcspn(name, "=");
    const cli_option *o = find_option(c, name, len);
    if (!o)
        return unknown_option(c, arg, err);
    a->key[a->given] = o->name;
    a->val[a->given] = "";
    if (!o->value && name[len] == '=')
        SAE_FAIL(err, SAE_EINVAL, "%s: --%s takes no value", c->name, o->name);
    if (o->value && name[len] == '=') {
        a->val[a->given] = name + len + 1;
    } else if (o->value) {
        if (*i + 1 >= argc)
            SAE_FAIL(err, SAE_EINVAL, "%s: --%s needs %s", c->name, o->name, o->value);
        a->val[a->given] = argv[++*i];
    }
    if (o->value && !*a->val[a->given])
        SAE_FAIL(err, SAE_EINVAL, "%s: --%s needs %s, found nothing", c->name, o->name, o->value);
    a->given++;
    return SAE_OK;
}

/* Arguments end up in JSON files, which hold UTF-8 only; an empty one is a variable that a script
 * forgot to set. */
static int check_words(const cli_command *c, int argc, char **argv, sae_err *err)
{
    for (int i = 1; i < argc; i++) {
        int rc = sae_utf8_check(argv[i], strlen(argv[i]), err);
        if (rc < 0)
            return sae_fail_prefix(err, SAE_EINVAL, "%s: argument %d", c->name, i);
        if (!*argv[i])
            SAE_FAIL(err, SAE_EINVAL, "%s: argument %d is empty", c->name, i);
    }
    return SAE_OK;
}

int cli_parse(const cli_command *c, int argc, char **argv, cli_args *a, sae_err *err)
{
    size_t room = (size_t)argc + 1;
    *a = (cli_args){.line = a->line};
    a->word = sae_alloc(room * sizeof *a->word);
    a->key = sae_alloc(room * sizeof *a->key);
    a->val = sae_alloc(room * sizeof *a->val);
    if (!a->word || !a->key || !a->val)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the command line");
    SAE_TRY(check_words(c, argc, argv, err));
    int only_words = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_words && !strcmp(argv[i], "--")) {
            only_words = 1;
        } else if (!only_words && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
            cli_help(c);
            return SAE_DONE;
        } else if (!only_words && !strncmp(argv[i], "--", 2)) {
            SAE_TRY(take_option(c, argc, argv, &i, a, err));
        } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            SAE_FAIL(err, SAE_EINVAL, "%s: no option %s (see saemark %s --help)", c->name, argv[i],
                     c->name);
        } else {
            a->word[a->count++] = argv[i];
        }
    }
    if (a->count < c->min_words || (c->max_words >= 0 && a->count > c->max_words))
        SAE_FAIL(err, SAE_EINVAL, "usage: saemark %s %s (see saemark %s --help)", c->name, c->usage,
                 c->name);
    return SAE_OK;
}

void cli_args_free(cli_args *a)
{
    sae_free(a->word);
    sae_free(a->key);
    sae_free(a->val);
    a->word = NULL;
    a->key = a->val = NULL;
}

const char *cli_get(const cli_args *a, const char *name)
{
    for (int i = a->given; i-- > 0;)
        if (!strcmp(a->key[i], name))
            return a->val[i];
    return NULL;
}

int cli_has(const cli_args *a, const char *name)
{
    return cli_get(a, name) != NULL;
}

const char **cli_all(const cli_args *a, const char *name)
{
    const char **all = sae_alloc((size_t)(a->given + 1) * sizeof *all);
    int n = 0;
    for (int i = 0; all && i < a->given; i++)
        if (!strcmp(a->key[i], name))
            all[n++] = a->val[i];
    return all;
}

int cli_int(const cli_args *a, const char *name, int64_t def, int64_t lo, int64_t hi, int64_t *out,
            sae_err *err)
{
    const char *text = cli_get(a, name);
    *out = def;
    if (!text)
        return SAE_OK;
    if (sae_int_parse(text, out) || *out < lo || *out > hi)
        SAE_FAIL(err, SAE_EINVAL, "--%s %s: expected a whole number from %lld to %lld", name, text,
                 (long long)lo, (long long)hi);
    return SAE_OK;
}

int cli_real(const cli_args *a, const char *name, double def, double lo, double hi, double *out,
             sae_err *err)
{
    const char *text = cli_get(a, name);
    *out = def;
    if (!text)
        return SAE_OK;
    if (sae_real_parse(text, out) || !(*out >= lo && *out <= hi))
        SAE_FAIL(err, SAE_EINVAL, "--%s %s: expected a number from %g to %g", name, text, lo, hi);
    return SAE_OK;
}
