/* suite/core/device.c - see device.h. */
#include "core/device.h"

#include "core/divide.h"
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
    int index, count;      /* the first device, how many */
    int divided;           /* they compute as one */
    const char *precision; /* behind the last comma, or NULL */
} choice;

/* The number at *at, which moves behind it. */
static int number(const char **at, int *out)
{
    char *end;
    long value = strtol(*at, &end, 10);
    if (end == *at || value < 0 || value > 1023)
        return SAE_EINVAL;
    *out = (int)value;
    *at = end;
    return SAE_OK;
}

/* [,divided][,PRECISION] */
static int parse_words(const char *text, const char *at, choice *out, sae_err *err)
{
    static const char divided[] = ",divided";
    size_t length = sizeof divided - 1;
    if (!strncmp(at, divided, length) && (at[length] == '\0' || at[length] == ',')) {
        out->divided = 1;
        at += length;
    }
    if (*at && *at != ',')
        SAE_FAIL(err, SAE_EINVAL,
                 "--device %s: expected NAME[:NUMBER[-NUMBER]][,divided][,fp32|tf32|bf16]", text);
    out->precision = *at ? at + 1 : NULL;
    if (out->divided && out->count == 1)
        SAE_FAIL(err, SAE_EINVAL, "--device %s: expected several devices, as in %s:0-3,divided",
                 text, out->be->name);
    return SAE_OK;
}

/* NAME[:FIRST[-LAST]][,divided][,PRECISION] */
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
        at++;
        if (number(&at, &out->index) < 0)
            SAE_FAIL(err, SAE_EINVAL, "--device %s: expected a number behind the colon", text);
    }
    if (*at == '-') {
        int last = -1;
        at++;
        if (number(&at, &last) < 0 || last < out->index || last - out->index >= SAE_MAX_DEVICES)
            SAE_FAIL(err, SAE_EINVAL, "--device %s: expected FIRST-LAST, at most %d devices", text,
                     (int)SAE_MAX_DEVICES);
        out->count = last - out->index + 1;
    }
    return parse_words(text, at, out, err);
}

static int choose(const sae_registry *reg, const char *name, choice *out, sae_err *err)
{
    *out = (choice){.be = sae_all_backends(reg)[0], .count = 1};
    return name ? parse(reg, name, out, err) : SAE_OK;
}

static int open_one(sae_engine *e, const choice *c, int device, const char *name, int threads,
                    sae_err *err)
{
    SAE_TRY(sae_engine_open(e, c->be, c->index + device, threads, err));
    int rc = c->precision ? sae_engine_precision(e, c->precision) : SAE_OK;
    if (rc >= 0)
        return rc;
    sae_engine_close(e);
    SAE_FAIL(err, rc, "--device %s: products in %s are not available on %s", name, c->precision,
             c->be->name);
}

/* e [c->count], *count of them open behind it, also on failure. */
static int open_range(sae_engine *e, int *count, const choice *c, const char *name, int threads,
                      sae_err *err)
{
    SAE_TRY(open_one(&e[0], c, 0, name, threads, err));
    *count = 1;
    if (c->count > 1 && e[0].props.shares_host) { /* now it is known how many there are */
        threads = e[0].props.threads > c->count ? e[0].props.threads / c->count : 1;
        sae_engine_close(&e[0]);
        *count = 0;
    }
    for (; *count < c->count; ++*count)
        SAE_TRY(open_one(&e[*count], c, *count, name, threads, err));
    return SAE_OK;
}

static int open_choice(sae_engine *e, int *count, const choice *c, const char *name, int threads,
                       sae_err *err)
{
    *count = 0;
    int rc = open_range(e, count, c, name, threads, err);
    if (rc >= 0 && c->divided) {
        rc = sae_engine_divide(e, *count, err);
        sae_fail_prefix(err, rc, "--device %s", name);
        *count = rc >= 0 ? 1 : *count;
    }
    if (rc >= 0)
        return rc;
    sae_devices_close(e, *count);
    *count = 0;
    return rc;
}

int sae_device_open(sae_engine *e, const sae_registry *reg, const char *name, int threads,
                    sae_err *err)
{
    sae_engine all[SAE_MAX_DEVICES];
    choice c;
    int count;
    SAE_TRY(choose(reg, name, &c, err));
    if (c.count > 1 && !c.divided)
        SAE_FAIL(err, SAE_EINVAL,
                 "--device %s: this takes one device, or several that are divided; only training "
                 "SAEs takes several", name);
    SAE_TRY(open_choice(all, &count, &c, name, threads, err));
    *e = all[0];
    return SAE_OK;
}

int sae_devices_open(sae_engine e[SAE_MAX_DEVICES], int *count, const sae_registry *reg,
                     const char *name, int threads, sae_err *err)
{
    choice c;
    *count = 0;
    SAE_TRY(choose(reg, name, &c, err));
    return open_choice(e, count, &c, name, threads, err);
}

void sae_devices_close(sae_engine *e, int count)
{
    while (count--)
        sae_engine_close(&e[count]);
}
