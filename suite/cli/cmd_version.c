/* suite/cli/cmd_version.c - saemark version: what this binary is and what it can use here. */
#include "cli/open.h"
#include "core/build.h"
#include "core/error.h"

#include <stdio.h>
#include <string.h>

/* What the build found and what this binary does with it. */
static json_t *parts_json(const sae_registry *reg, const sae_build_facts *f)
{
    const char *why = sae_registry_no_cuda(reg);
    char cuda[256];
    snprintf(cuda, sizeof cuda, "%s%s%s", *why ? "absent: " : "found", why,
             *why && strcmp(f->cuda, "yes") ? " (no CUDA compiler at build time)" : "");
    return json_pack("{s:s, s:s, s:s, s:s}", "openblas",
                     strcmp(f->blas, "yes") ? "absent: saemark bench has one yardstick less"
                                            : "found: a yardstick of saemark bench",
                     "cuda", cuda, "mpi", "absent: this version runs on one machine", "seccomp",
                     "absent: this version has no sandbox");
}

static json_t *version_json(const sae_registry *reg)
{
    const sae_build_facts *f = sae_build();
    json_t *backends = json_array();
    for (int i = 0; sae_all_backends(reg)[i]; i++) {
        const sae_backend *b = sae_all_backends(reg)[i];
        json_array_append_new(backends,
                              json_pack("{s:s, s:b}", "name", b->name, "usable", b->score() > 0));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "version", f->version, "git",
                     f->git, "config", f->config, "compiler", f->compiler, "flags", f->flags,
                     "target", f->target, "backends", backends, "parts", parts_json(reg, f));
}

static int run(const cli_args *a, sae_err *err)
{
    sae_registry *reg = NULL;
    sae_engine e;
    SAE_TRY(cli_open_registry(a, &reg, err));
    json_t *j = version_json(reg);
    int rc = cli_open_engine(a, reg, &e, err);
    if (rc < 0) {
        json_decref(j);
        sae_registry_close(&reg);
        return rc;
    }
    json_object_set_new(j, "processor", json_string(e.props.name));
    json_object_set_new(j, "library", json_string(e.props.library));
    json_object_set_new(j, "threads", json_integer(e.props.threads));
    if (cli_has(a, "json")) {
        rc = cli_print_json(j, err);
    } else {
        const sae_build_facts *f = sae_build();
        printf("saemark %s (%s, %s)\n", f->version, f->git, f->config);
        printf("  compiler   %s %s\n", f->compiler, f->flags);
        printf("  processor  %s, %d threads\n", e.props.name, e.props.threads);
        printf("  products   %s\n", e.props.library);
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(j, "parts"), key, value)
            printf("  %-10s %s\n", key, json_string_value(value));
        json_decref(j);
    }
    sae_engine_close(&e);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {CLI_JSON, CLI_THREADS, {NULL, NULL, NULL}};

const cli_command cli_version = {
    .name = "version",
    .usage = "[--json]",
    .summary = "Print the version, how this binary was built and what it can use here",
    .options = options,
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
