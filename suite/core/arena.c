/* suite/core/arena.c - many arrays in one block, sized before it is taken. */
#include "core/arena.h"

#include "core/error.h"
#include "core/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { GAP = 128 };
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
enum { GAP = 0 };
#endif

enum { ALIGN = 64 };

void *sae_arena_take(sae_arena *a, int64_t count, size_t size)
{
    size_t most = (size_t)PTRDIFF_MAX - a->used - ALIGN - GAP;
    if (a->overflow || count < 0 || (size && (uint64_t)count > most / size)) {
        a->overflow = 1;
        return NULL;
    }
    size_t bytes = (size_t)count * size, room = (bytes + ALIGN - 1) / ALIGN * ALIGN + GAP;
    unsigned char *p = a->base ? a->base + a->used : NULL;
    if (p)
        ASAN_POISON_MEMORY_REGION(p + bytes, room - bytes);
    a->used += room;
    return p;
}

int sae_arena_open(sae_arena *a, void (*layout)(sae_arena *a, void *arg), void *arg,
                   const char *tag, sae_err *err)
{
    *a = (sae_arena){0};
    layout(a, arg);
    if (a->overflow)
        SAE_FAIL(err, SAE_ENOMEM, "%s: the size overflows", tag);
    size_t bytes = a->used;
    SAE_TRY(sae_memory_check(bytes, tag, err));
    unsigned char *base = NULL;
    SAE_TRY(sae_new(&base, (int64_t)bytes, 1, tag, err));
    *a = (sae_arena){.base = base};
    layout(a, arg);
    SAE_ASSERT(a->used == bytes && !a->overflow);
    return SAE_OK;
}

void sae_arena_close(sae_arena *a)
{
    if (a->base)
        ASAN_UNPOISON_MEMORY_REGION(a->base, a->used);
    sae_free(a->base);
    *a = (sae_arena){0};
}
