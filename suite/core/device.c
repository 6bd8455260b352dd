/* suite/core/device.c - see device.h. */
#include "core/device.h"

#include "core/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(const sae_registry *reg, const char *name, sae_err *err)
{
    const sae_backend *const *all = sae_all_backends(reg);
    const char *cuda = sae_registry_no_cuda(reg);
    char known[160] = "";
    size_t used = 0;
    for (int i = 0; all[i] && used < sizeof known - 32; i++)
        if (all[i]->score() > 0)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%.20s", used ? ", " : "",
                                     all[i]->name);
    int is_cuda = strncmp(name, "cuda", 4) == 0 && *cuda;
    SAE_FAIL(err, SAE_EINVAL, "--device %s: not available here%s%s%s; usable: %s", name,
             is_cuda ? " (" : "", is_cuda ? cuda : "", is_cuda ? ")" : "", known);
}

/* "NAME" or "NAME:INDEX". */
static int parse(const sae_registry *reg, const char *text, const sae_backend **be, int *index,
                 sae_err *err)
{
    char name[32] = "";
    size_t length = strcspn(text, ":");
    if (length < sizeof name)
        memcpy(name, text, length);
    *be = sae_find_backend(reg, name);
    if (!*be || (*be)->score() <= 0)
        return refuse(reg, text, err);
    *index = 0;
    if (!text[length])
        return SAE_OK;
    char *end;
    long value = strtol(text + length + 1, &end, 10);
    if (end == text + length + 1 || *end || value < 0 || value > 1023)
        SAE_FAIL(err, SAE_EINVAL, "--device %s: expected NAME or NAME:NUMBER", text);
    *index = (int)value;
    return SAE_OK;
}

int sae_device_open(sae_engine *e, const sae_registry *reg, const char *name, int threads,
                    sae_err *err)
{
    const sae_backend *be = sae_all_backends(reg)[0];
    int index = 0;
    if (name)
        SAE_TRY(parse(reg, name, &be, &index, err));
    return sae_engine_open(e, be, index, threads, err);
}
