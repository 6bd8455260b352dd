/* suite/core/registry.c - the components this process knows. */
#include "core/registry.h"

#include "core/backend_file.h"
#include "core/elf.h"
#include "core/error.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/options.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For each kind: a list of completed copies, and how to extend, undo and search it. Extending
 * appends to a new array and leaves the old one alone, so that a plug-in comes in whole or not at
 * all. */
#define DEFINE_KIND(kind)                                                                          \
    typedef struct kind##_list {                                                                   \
        const sae_##kind **item; /* [count + 1] NULL-terminated */                                 \
        int64_t count;                                                                             \
    } kind##_list;                                                                                 \
    static void kind##_drop(kind##_list *l, int64_t first)                                         \
    {                                                                                              \
        for (int64_t i = first; i < l->count; i++)                                                 \
            sae_free((void *)(uintptr_t)l->item[i]);                                               \
        sae_free(l->item);                                                                         \
        memset(l, 0, sizeof *l);                                                                   \
    }                                                                                              \
    static const sae_##kind *kind##_find(const kind##_list *l, const char *name)                   \
    {                                                                                              \
        for (int64_t i = 0; i < l->count; i++)                                                     \
            if (strcmp(l->item[i]->name, name) == 0)                                               \
                return l->item[i];                                                                 \
        return NULL;                                                                               \
    }                                                                                              \
    static int kind##_append(kind##_list *l, const sae_##kind *from, sae_err *err)                 \
    {                                                                                              \
        sae_##kind done, *copy = NULL;                                                             \
        SAE_TRY(sae_admit_##kind(from, &done, err));                                               \
        if (kind##_find(l, done.name))                                                             \
            SAE_FAIL(err, SAE_EINVAL, "%s %s exists already", #kind, done.name);                   \
        SAE_TRY(sae_new(&copy, 1, sizeof *copy, "registry", err));                                 \
        *copy = done;                                                                              \
        l->item[l->count++] = copy;                                                                \
        return SAE_OK;                                                                             \
    }                                                                                              \
    static int kind##_extend(kind##_list *out, const kind##_list *old,                             \
                             const sae_##kind *const *more, sae_err *err)                          \
    {                                                                                              \
        int64_t extra = 0;                                                                         \
        int rc = SAE_OK;                                                                           \
        while (more && more[extra])                                                                \
            extra++;                                                                               \
        memset(out, 0, sizeof *out);                                                               \
        SAE_TRY(sae_new(&out->item, old->count + extra + 1, sizeof *out->item, "registry", err));  \
        for (; out->count < old->count; out->count++)                                              \
            out->item[out->count] = old->item[out->count];                                         \
        for (int64_t i = 0; rc == SAE_OK && i < extra; i++)                                        \
            rc = kind##_append(out, more[i], err);                                                 \
        if (rc < 0)                                                                                \
            kind##_drop(out, old->count);                                                          \
        return rc;                                                                                 \
    }                                                                                              \
    static int kind##_by_name(const void *a, const void *b)                                        \
    {                                                                                              \
        const sae_##kind *x = *(const sae_##kind *const *)a, *y = *(const sae_##kind *const *)b;   \
        return strcmp(x->name, y->name);                                                           \
    }                                                                                              \
    static void kind##_replace(kind##_list *l, kind##_list with)                                   \
    {                                                                                              \
        sae_free(l->item);                                                                         \
        *l = with;                                                                                 \
        qsort(l->item, (size_t)l->count, sizeof *l->item, kind##_by_name);                         \
    }

DEFINE_KIND(variant)
DEFINE_KIND(metric)
DEFINE_KIND(dataset)
DEFINE_KIND(backend)

struct sae_registry {
    variant_list variants;
    metric_list metrics;
    dataset_list datasets;
    backend_list backends;
    void **object; /* [objects] from dlopen */
    int64_t objects;
    void *cuda;    /* from dlopen, or NULL */
    char why[200]; /* there is no CUDA backend */
};

int sae_registry_add(sae_registry *reg, const sae_plugin *p, sae_err *err)
{
    variant_list v = {0};
    metric_list m = {0};
    dataset_list d = {0};
    int rc = variant_extend(&v, &reg->variants, p->variants, err);
    if (rc == SAE_OK)
        rc = metric_extend(&m, &reg->metrics, p->metrics, err);
    if (rc == SAE_OK)
        rc = dataset_extend(&d, &reg->datasets, p->datasets, err);
    if (rc < 0) {
        variant_drop(&v, reg->variants.count);
        metric_drop(&m, reg->metrics.count);
        return rc;
    }
    variant_replace(&reg->variants, v);
    metric_replace(&reg->metrics, m);
    dataset_replace(&reg->datasets, d);
    return SAE_OK;
}

static int by_score(const void *a, const void *b)
{
    const sae_backend *x = *(const sae_backend *const *)a, *y = *(const sae_backend *const *)b;
    int sx = x->score(), sy = y->score();
    return sx != sy ? (sx < sy) - (sx > sy) : backend_by_name(a, b);
}

/* The backend in a file of its own, after those in the program. One of another version of the
 * program is as none, unless it was asked for by name. */
static int add_file(sae_registry *reg, sae_err *err)
{
    const sae_backend *more[2] = {NULL, NULL};
    backend_list with;
    sae_err cause = {0};
    const char *named = getenv("SAEMARK_CUDA");
    int rc = sae_backend_find_file(&reg->cuda, &more[0], reg->why, err);
    if (rc != SAE_OK)
        return rc;
    rc = backend_extend(&with, &reg->backends, more, &cause);
    if (rc < 0 && (rc == SAE_ENOMEM || (named && *named)))
        SAE_FAIL(err, rc, "%s", cause.msg);
    if (rc < 0) {
        snprintf(reg->why, sizeof reg->why, "libsaemark-cuda.so: %.170s", cause.msg);
        return SAE_OK;
    }
    backend_replace(&reg->backends, with);
    if (more[0]->score() <= 0)
        snprintf(reg->why, sizeof reg->why, "no device that it can use");
    return SAE_OK;
}

int sae_registry_open(sae_registry **out, sae_err *err)
{
    int rc = SAE_OK;
    const sae_plugin in_tree = {.variants = sae_list_variants,
                                .metrics = sae_list_metrics,
                                .datasets = sae_list_datasets};
    const backend_list none = {0};
    backend_list backends;
    sae_registry *reg = NULL;
    SAE_TRY(sae_new(&reg, 1, sizeof *reg, "registry", err));
    SAE_GOTO(backend_extend(&backends, &none, sae_list_backends, err));
    backend_replace(&reg->backends, backends);
    SAE_GOTO(add_file(reg, err));
    qsort(reg->backends.item, (size_t)reg->backends.count, sizeof *reg->backends.item, by_score);
    SAE_GOTO(sae_registry_add(reg, &in_tree, err));
    *out = reg;
    return SAE_OK;
fail:
    sae_registry_close(&reg);
    return rc;
}

void sae_registry_close(sae_registry **registry)
{
    sae_registry *reg = *registry;
    if (!reg)
        return;
    variant_drop(&reg->variants, 0);
    metric_drop(&reg->metrics, 0);
    dataset_drop(&reg->datasets, 0);
    backend_drop(&reg->backends, 0);
    for (int64_t i = 0; i < reg->objects; i++)
        dlclose(reg->object[i]);
    if (reg->cuda)
        dlclose(reg->cuda);
    sae_free(reg->object);
    sae_free(reg);
    *registry = NULL;
}

/* ---- plug-ins -------------------------------------------------------------------------------- */

static int enter(void *object, const sae_plugin **out, sae_err *err)
{
    const sae_plugin *(*entry)(uint32_t) = NULL;
    void *symbol = dlsym(object, "sae_plugin_entry");
    if (!symbol)
        SAE_FAIL(err, SAE_EFORMAT, "no symbol sae_plugin_entry");
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function pointer */
    const sae_plugin *p = entry(SAE_PLUGIN_ABI);
    if (!p)
        SAE_FAIL(err, SAE_EABI, "the plug-in does not support ABI version %d", SAE_PLUGIN_ABI);
    if (p->abi != SAE_PLUGIN_ABI || p->size != sizeof *p)
        SAE_FAIL(err, SAE_EABI, "ABI version %u, %u bytes; this program has %d, %zu", p->abi,
                 p->size, SAE_PLUGIN_ABI, sizeof *p);
    if (!p->name || !p->version || !p->author || !p->licence)
        SAE_FAIL(err, SAE_EINVAL, "name, version, author and licence are mandatory");
    *out = p;
    return SAE_OK;
}

int sae_registry_plugin(sae_registry *reg, const char *path, const sae_plugin **out, sae_err *err)
{
    int rc = SAE_OK;
    void *object = NULL;
    const sae_plugin *p = NULL;
    /* Room for the handle first: nothing may fail once the components are in. */
    void **grown = sae_realloc(reg->object, (size_t)(reg->objects + 1) * sizeof *grown);
    if (!grown)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    reg->object = grown;
    SAE_GOTO(sae_elf_check_imports(path, err));
    /* A name without a slash would be searched for in the system's library folders. */
    char *file = strchr(path, '/') ? sae_strdup(path) : sae_strfmt("./%s", path);
    if (!file)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "out of memory"));
    object = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    sae_free(file);
    if (!object)
        SAE_GOTO(SAE_SET(err, SAE_EFORMAT, "cannot be loaded: %s", dlerror()));
    SAE_GOTO(enter(object, &p, err));
    SAE_GOTO(sae_registry_add(reg, p, err));
    reg->object[reg->objects++] = object;
    if (out)
        *out = p;
    return SAE_OK;
fail:
    if (object)
        dlclose(object);
    return sae_fail_prefix(err, rc, "%s", path);
}

/* ---- queries --------------------------------------------------------------------------------- */

const sae_variant *sae_find_variant(const sae_registry *reg, const char *name)
{
    return variant_find(&reg->variants, name);
}

const sae_metric *sae_find_metric(const sae_registry *reg, const char *name)
{
    return metric_find(&reg->metrics, name);
}

const sae_dataset *sae_find_dataset(const sae_registry *reg, const char *name)
{
    return dataset_find(&reg->datasets, name);
}

const sae_backend *sae_find_backend(const sae_registry *reg, const char *name)
{
    return backend_find(&reg->backends, name);
}

const sae_variant *const *sae_all_variants(const sae_registry *reg)
{
    return reg->variants.item;
}

const sae_metric *const *sae_all_metrics(const sae_registry *reg)
{
    return reg->metrics.item;
}

const sae_dataset *const *sae_all_datasets(const sae_registry *reg)
{
    return reg->datasets.item;
}

const sae_backend *const *sae_all_backends(const sae_registry *reg)
{
    return reg->backends.item;
}

const char *sae_registry_no_cuda(const sae_registry *reg)
{
    return reg->why;
}
