/* suite/core/memory.c - checked sizes, tagged allocation, arenas.
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
enum { GAP = 128 };
#else
#define FORBID(p, bytes) ((void)0)
#define ALLOW(p, bytes) ((void)0)
enum { GAP = 0 };
#endif

enum { ALIGN = 64 };

typedef struct header {
    void *raw; /* what calloc returned */
    size_t bytes;
    int purpose; /* index into purposes */
} header;

static _Atomic size_t live, peak;
static _Atomic uint64_t calls, fail_at;

/* Bytes by tag; entries are added and never removed. The last one takes what finds no room. */
static struct {
    _Atomic(const char *) tag;
    _Atomic size_t live;
} purposes[SAE_ALLOC_TAGS];

static int purpose_of(const char *tag)
{
    int i = 0;
    for (; i < SAE_ALLOC_TAGS - 1; i++) {
        const char *known = NULL;
        if (atomic_compare_exchange_strong(&purposes[i].tag, &known, tag))
            break; /* the entry was free; otherwise known is what it holds */
        if (strcmp(known, tag) == 0)
            break;
    }
    return i;
}

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

static void count_up(size_t bytes, int purpose)
{
    atomic_fetch_add(&purposes[purpose].live, bytes);
    size_t now = atomic_fetch_add(&live, bytes) + bytes, top = atomic_load(&peak);
    while (now > top && !atomic_compare_exchange_weak(&peak, &top, now)) {
    }
}

void *sae_alloc(size_t bytes, const char *tag)
{
    const size_t extra = sizeof(header) + ALIGN;
    if (must_fail() || bytes > PTRDIFF_MAX - extra)
        return NULL;
    unsigned char *raw = calloc(1, bytes + extra);
    if (!raw)
        return NULL;
    uintptr_t first = (uintptr_t)raw + sizeof(header);
    unsigned char *p = raw + sizeof(header) + (ALIGN - first % ALIGN) % ALIGN;
    header h = {raw, bytes, purpose_of(tag)};
    memcpy(p - sizeof h, &h, sizeof h);
    FORBID(p + bytes, extra - (size_t)(p - raw));
    count_up(bytes, h.purpose);
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
    atomic_fetch_sub(&purposes[h.purpose].live, h.bytes);
    free(h.raw);
}

void *sae_realloc(void *p, size_t bytes, const char *tag)
{
    void *q = sae_alloc(bytes, tag);
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
    char *p = sae_alloc(bytes, "text");
    return p ? memcpy(p, s, bytes) : NULL;
}

char *sae_strfmt(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = len < 0 ? NULL : sae_alloc((size_t)len + 1, "text");
    if (p)
        vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}

int sae_new(void *out, int64_t count, size_t size, const char *tag, sae_err *err)
{
    size_t bytes = 0;
    SAE_TRY(sae_size_mul(&bytes, count, (int64_t)size, err));
    void *p = sae_alloc(bytes, tag);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory: %zu bytes for %s", bytes, tag);
    memcpy(out, &p, sizeof p);
    return SAE_OK;
}

size_t sae_alloc_live(void)
{
    return atomic_load(&live);
}

int sae_alloc_by_tag(sae_tag_use out[SAE_ALLOC_TAGS])
{
    int count = 0;
    for (int i = 0; i < SAE_ALLOC_TAGS; i++) {
        const char *tag = atomic_load(&purposes[i].tag);
        sae_tag_use use = {tag ? tag : "other", atomic_load(&purposes[i].live)};
        if (use.live)
            out[count++] = use;
    }
    return count;
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

size_t sae_arena_room(size_t bytes)
{
    return (bytes + (ALIGN - 1)) / ALIGN * ALIGN + GAP;
}

int sae_arena_open(sae_arena *a, size_t bytes, const char *tag, sae_err *err)
{
    memset(a, 0, sizeof *a);
    SAE_TRY(sae_new(&a->base, (int64_t)bytes, 1, tag, err));
    a->size = bytes;
    FORBID(a->base, bytes);
    return SAE_OK;
}

void *sae_arena_take(sae_arena *a, size_t bytes)
{
    if (bytes > a->size)
        return NULL; /* also keeps room() from wrapping */
    size_t room = sae_arena_room(bytes);
    if (room > a->size - a->used)
        return NULL;
    void *p = a->base + a->used;
    a->used += room;
    ALLOW(p, bytes);
    return p;
}

void sae_arena_close(sae_arena *a)
{
    sae_free(a->base);
    memset(a, 0, sizeof *a);
}
