/* suite/cli/open.c - opening the registry and the engine; printing JSON. */
#include "cli/open.h"

#include "core/device.h"
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_open_registry(const cli_args *a, sae_registry **reg, sae_err *err)
{
    SAE_TRY(sae_registry_open(reg, err));
    const char **plugin = cli_all(a, "plugin");
    int rc = plugin ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for the plug-ins");
    for (int i = 0; rc >= 0 && plugin[i]; i++)
        rc = sae_registry_plugin(*reg, plugin[i], NULL, err);
    sae_free(plugin);
    if (rc < 0)
        sae_registry_close(reg);
    return rc;
}

int cli_open_engine(const cli_args *a, const sae_registry *reg, sae_engine *e, sae_err *err)
{
    int64_t threads;
    SAE_TRY(cli_int(a, "threads", 0, 1, 4096, &threads, err));
    return sae_device_open(e, reg, cli_get(a, "device"), (int)threads, err);
}

int cli_open_model(const cli_args *a, cli_model *m, sae_err *err)
{
    const char *tokenizer = cli_get(a, "tokenizer");
    SAE_TRY(cli_open_registry(a, &m->reg, err));
    SAE_TRY(cli_open_engine(a, m->reg, &m->e, err));
    return sae_lm_open(&m->lm, a->word[0], tokenizer ? tokenizer : "",
                       sae_lm_place_of(&m->e), err);
}

void cli_close_model(cli_model *m)
{
    sae_lm_close(&m->lm);
    sae_engine_close(&m->e);
    sae_registry_close(&m->reg);
}

int cli_print_json(json_t *j, sae_err *err)
{
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory printing JSON");
    puts(text);
    free(text);
    return SAE_OK;
}

int cli_dtype(const cli_args *a, const char *name, enum sae_st_dtype def, enum sae_st_dtype *out,
              sae_err *err)
{
    static const struct {
        const char *name;
        enum sae_st_dtype dtype;
    } known[] = {{"f32", SAE_ST_F32}, {"f16", SAE_ST_F16}, {"bf16", SAE_ST_BF16}};
    const char *text = cli_get(a, name);
    *out = def;
    for (size_t i = 0; text && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(text, known[i].name) == 0) {
            *out = known[i].dtype;
            return SAE_OK;
        }
    if (text)
        SAE_FAIL(err, SAE_EINVAL, "--%s %s: expected f32, f16 or bf16", name, text);
    return SAE_OK;
}
