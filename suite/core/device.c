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

typedef struct choice {
    const sae_backend *be;
    int index;
    const char *precision; /* behind the comma, or NULL */
} choice;

/* NAME[:INDEX][,PRECISION] */
static int parse(const sae_registry *reg, const char *text, choice *out, sae_err *err)
{
    char name[32] = "";
    size_t length = strcspn(text, ":,");
    const char *at = text + length;
    if (length < sizeof name)
        memcpy(name, text, length);
    out->be = sae_find_backend(reg, name);
    if (!out->be || out->be->score() <= 0)
        return refuse(reg, text, err);
    if (*at == ':') {
        char *end;
        long value = strtol(at + 1, &end, 10);
        if (end == at + 1 || value < 0 || value > 1023)
            SAE_FAIL(err, SAE_EINVAL, "--device %s: expected a number behind the colon", text);
        out->index = (int)value;
        at = end;
    }
    if (*at && *at != ',')
        SAE_FAIL(err, SAE_EINVAL, "--device %s: expected NAME[:NUMBER][,fp32|tf32|bf16]", text);
    out->precision = *at ? at + 1 : NULL;
    return SAE_OK;
}

int sae_device_open(sae_engine *e, const sae_registry *reg, const char *name, int threads,
                    sae_err *err)
{
    choice c = {.be = sae_all_backends(reg)[0]};
    if (name)
        SAE_TRY(parse(reg, name, &c, err));
    SAE_TRY(sae_engine_open(e, c.be, c.index, threads, err));
    int rc = c.precision ? sae_engine_precision(e, c.precision) : SAE_OK;
    if (rc >= 0)
        return rc;
    sae_engine_close(e);
    SAE_FAIL(err, rc, "--device %s: products in %s are not available on %s", name, c.precision,
             c.be->name);
}
