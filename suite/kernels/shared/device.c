/* suite/kernels/shared/device.c - memory and properties of the host backends. */
#include "shared/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGN = 64 };

static void *aligned(size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, ALIGN, bytes ? bytes : ALIGN) ? NULL : p;
}

static int fail(sae_err *err, int rc, int line, const char *why)
{
    if (err && !err->code) {
        err->code = rc;
        err->file = __FILE__;
        err->line = line;
        snprintf(err->msg, sizeof err->msg, "%s", why);
    }
    return rc;
}

static int fail_open(sae_device **dev, sae_err *err, int line)
{
    sae_host_close(dev);
    return fail(err, SAE_ENOMEM, line, "out of memory opening the host backend");
}

/* "model name : X" of the first processor, where the system says so. */
static void processor_name(char out[96])
{
    snprintf(out, 96, "host processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        snprintf(out, 96, "%.95s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    fclose(f);
}

int sae_host_open(sae_device **dev, int threads, const char *library, sae_err *err)
{
    sae_device *d = *dev = calloc(1, sizeof *d);
    if (!d)
        return fail_open(dev, err, __LINE__);
    d->threads = threads;
    d->own = calloc((size_t)d->threads, sizeof *d->own);
    if (!d->own)
        return fail_open(dev, err, __LINE__);
    processor_name(d->name);
    snprintf(d->library, sizeof d->library, "%s", library);
    return SAE_OK;
}

void sae_host_close(sae_device **dev)
{
    sae_device *d = *dev;
    *dev = NULL;
    if (!d)
        return;
    for (int s = 0; s < SAE_WS_SLOTS; s++)
        free(d->shared[s].p);
    for (int t = 0; d->own && t < d->threads; t++)
        for (int s = 0; s < SAE_WS_SLOTS; s++)
            free(d->own[t][s].p);
    free(d->own);
    free(d);
}

int sae_host_props(const sae_device *dev, sae_device_props *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", dev->name);
    snprintf(out->library, sizeof out->library, "%s", dev->library);
    int64_t page = sysconf(_SC_PAGESIZE);
#ifdef _SC_PHYS_PAGES
    out->mem_total = sysconf(_SC_PHYS_PAGES) * page;
    out->mem_free = sysconf(_SC_AVPHYS_PAGES) * page;
#endif
    out->threads = dev->threads;
    out->shares_host = 1;
    return SAE_OK;
}

/* Zeroed by calloc, whose large blocks are pages that cost nothing until they are touched: a step
 * on sparse codes never touches what dense ones need. What calloc returned stands in front of the
 * aligned bytes. */
void *sae_host_alloc(sae_device *dev, size_t bytes)
{
    char *raw = bytes < SIZE_MAX / 2 ? calloc(1, bytes + ALIGN + sizeof raw) : NULL;
    (void)dev;
    if (!raw)
        return NULL;
    char *p = raw + sizeof raw;
    p += (ALIGN - (uintptr_t)p % ALIGN) % ALIGN;
    memcpy(p - sizeof raw, &raw, sizeof raw);
    return p;
}

void sae_host_release(sae_device *dev, void *p)
{
    char *raw = NULL;
    (void)dev;
    if (p)
        memcpy(&raw, (char *)p - sizeof raw, sizeof raw);
    free(raw);
}

int sae_host_copy(sae_device *dev, void *dst, const void *src, size_t bytes, enum sae_copy kind)
{
    (void)dev, (void)kind;
    if (bytes)
        memmove(dst, src, bytes);
    return SAE_OK;
}

int sae_host_sync(sae_device *dev)
{
    (void)dev;
    return SAE_OK;
}

int sae_host_share(sae_device *lead, sae_device *const *peer, int count, sae_err *err)
{
    int own = count >= 0;
    for (int i = 0; own && i < count; i++) {
        own = peer[i] && peer[i] != lead;
        for (int j = 0; own && j < i; j++)
            own = peer[i] != peer[j];
    }
    return own ? SAE_OK : fail(err, SAE_EINVAL, __LINE__, "a device that shares is there twice");
}

int sae_host_after(sae_device *dev, sae_device *other)
{
    (void)dev, (void)other;
    return SAE_OK;
}

static int grow(sae_ws *ws, int64_t count, size_t size)
{
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes))
        return SAE_ENOMEM;
    if (ws->p && bytes <= ws->bytes)
        return SAE_OK;
    free(ws->p);
    ws->p = aligned(bytes);
    ws->bytes = ws->p ? bytes : 0;
    return ws->p ? SAE_OK : SAE_ENOMEM;
}

void *sae_ws_shared(sae_device *dev, int slot, int64_t count, size_t size)
{
    return grow(&dev->shared[slot], count, size) ? NULL : dev->shared[slot].p;
}

int sae_ws_reserve(sae_device *dev, int slot, int64_t count, size_t size)
{
    int rc = SAE_OK;
    for (int t = 0; t < dev->threads && !rc; t++)
        rc = grow(&dev->own[t][slot], count, size);
    return rc;
}

void *sae_ws_extend(sae_device *dev, int thread, int slot, int64_t count, size_t size)
{
    sae_ws *ws = &dev->own[thread][slot];
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes))
        return NULL;
    if (ws->p && bytes <= ws->bytes)
        return ws->p;
    if (bytes < ws->bytes + ws->bytes / 2)
        bytes = ws->bytes + ws->bytes / 2;
    void *p = aligned(bytes);
    if (!p)
        return NULL;
    if (ws->bytes)
        memcpy(p, ws->p, ws->bytes);
    free(ws->p);
    ws->p = p;
    ws->bytes = bytes;
    return p;
}
