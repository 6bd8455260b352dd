/* suite/core/arena.h - many arrays in one block, sized before it is taken.
 *
 * A layout function takes every array in turn. It runs twice: on an empty arena, which only adds up
 * sizes (takes return NULL), then on the block, which hands out zeroed, 64-byte aligned memory. So
 * sizes are computed in one place, checked once, and freed as a whole. In builds with the address
 * sanitizer, arrays are separated by poisoned gaps.
 */
#ifndef SAE_CORE_ARENA_H
#define SAE_CORE_ARENA_H

#include <sae/base.h>

typedef struct sae_arena {
    unsigned char *base; /* NULL while measuring */
    size_t used;
    int overflow; /* a product or the sum did not fit */
} sae_arena;

/* The next count * size bytes. */
void *sae_arena_take(sae_arena *a, int64_t count, size_t size);

/* Measure `layout`, check that the memory is there, take the block, lay it out. SAE_ENOMEM names
 * the tag and the bytes. */
int sae_arena_open(sae_arena *a, void (*layout)(sae_arena *a, void *arg), void *arg,
                   const char *tag, sae_err *err);
void sae_arena_close(sae_arena *a); /* a zeroed arena is fine */

#endif
