/* suite/core/memory.c - checked sizes, counted allocation.
 *
 * A block is [slack][header][user bytes][slack]: calloc gives pages the system zeroes lazily, so a
 * large block costs nothing until it is touched, and the header in front of the 64-byte aligned
 * user bytes remembers where the block starts. Under ASan the slack behind the bytes is poisoned.
 */
#include "core/memory.h"

#include "core/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SAE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SAE_ASAN 1
#endif
#endif

#ifdef SAE_ASAN
#include <sanitizer/asan_interface.h>
#define FORBID(p, bytes) ASAN_POISON_MEMORY_REGION(p, bytes)
#define ALLOW(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#else
#define FORBID(p, bytes) ((void)0)
#define ALLOW(p, bytes) ((void)0)
#endif

enum { ALIGN = 64 };

typedef struct header {
    void *raw; /* what calloc returned */
    size_t bytes;
} header;

static _Atomic size_t live, peak;
static _Atomic uint64_t calls, fail_at;

int sae_size_mul(size_t *out, int64_t a, int64_t b, sae_err *err)
{
    if (a < 0 || b < 0 || __builtin_mul_overflow((size_t)a, (size_t)b, out) ||
        *out > PTRDIFF_MAX)
        SAE_FAIL(err, SAE_ENOMEM, "size %lld x %lld is not a valid number of bytes", (long long)a,
                 (long long)b);
    return SAE_OK;
}

int sae_size_add(size_t *out, size_t a, size_t b, sae_err *err)
{
    if (__builtin_add_overflow(a, b, out) || *out > PTRDIFF_MAX)
        SAE_FAIL(err, SAE_ENOMEM, "size %zu + %zu is not a valid number of bytes", a, b);
    return SAE_OK;
}

/* True when this allocation is the one chosen by sae_alloc_fail_at. */
static int must_fail(void)
{
    atomic_fetch_add(&calls, 1);
    uint64_t left = atomic_load(&fail_at);
    while (left && !atomic_compare_exchange_weak(&fail_at, &left, left - 1)) {
    }
    return left == 1;
}

static void count_up(size_t bytes)
{
    size_t now = atomic_fetch_add(&live, bytes) + bytes, top = atomic_load(&peak);
    while (now > top && !atomic_compare_exchange_weak(&peak, &top, now)) {
    }
}

void *sae_alloc(size_t bytes)
{
    const size_t extra = sizeof(header) + ALIGN;
    if (must_fail() || bytes > PTRDIFF_MAX - extra)
        return NULL;
    unsigned char *raw = calloc(1, bytes + extra);
    if (!raw)
        return NULL;
    uintptr_t first = (uintptr_t)raw + sizeof(header);
    unsigned char *p = raw + sizeof(header) + (ALIGN - first % ALIGN) % ALIGN;
    header h = {raw, bytes};
    memcpy(p - sizeof h, &h, sizeof h);
    FORBID(p + bytes, extra - (size_t)(p - raw));
    count_up(bytes);
    return p;
}

static header header_of(const void *p)
{
    header h;
    memcpy(&h, (const unsigned char *)p - sizeof h, sizeof h);
    return h;
}

void sae_free(void *p)
{
    if (!p)
        return;
    header h = header_of(p);
    ALLOW(h.raw, h.bytes + sizeof h + ALIGN);
    atomic_fetch_sub(&live, h.bytes);
    free(h.raw);
}

void *sae_realloc(void *p, size_t bytes)
{
    void *q = sae_alloc(bytes);
    if (!q || !p)
        return q;
    size_t old = header_of(p).bytes;
    memcpy(q, p, old < bytes ? old : bytes);
    sae_free(p);
    return q;
}

char *sae_strdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *p = sae_alloc(bytes);
    return p ? memcpy(p, s, bytes) : NULL;
}

char *sae_strfmt(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = len < 0 ? NULL : sae_alloc((size_t)len + 1);
    if (p)
        vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}

int sae_new(void *out, int64_t count, size_t size, const char *what, sae_err *err)
{
    size_t bytes = 0;
    SAE_TRY(sae_size_mul(&bytes, count, (int64_t)size, err));
    void *p = sae_alloc(bytes);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory: %zu bytes for %s", bytes, what);
    memcpy(out, &p, sizeof p);
    return SAE_OK;
}

size_t sae_alloc_live(void)
{
    return atomic_load(&live);
}

size_t sae_alloc_peak(void)
{
    return atomic_load(&peak);
}

uint64_t sae_alloc_calls(void)
{
    return atomic_load(&calls);
}

void sae_alloc_fail_at(uint64_t i)
{
    atomic_store(&fail_at, i);
}
