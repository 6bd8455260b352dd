/* suite/core/memory.h - checked sizes, counted allocation.
 *
 * All long-lived memory of the suite goes through sae_alloc, so that it can be counted and made
 * to fail on purpose by tests/fault.
 */
#ifndef SAE_CORE_MEMORY_H
#define SAE_CORE_MEMORY_H

#include <sae/base.h>

/* *out = a * b or a + b; SAE_ENOMEM (recorded with both numbers) on overflow or a negative
 * operand. */
int sae_size_mul(size_t *out, int64_t a, int64_t b, sae_err *err);
int sae_size_add(size_t *out, size_t a, size_t b, sae_err *err);

/* Zeroed memory, 64-byte aligned. Returns NULL only when out of memory. bytes == 0 gives a valid
 * pointer. Free with sae_free. */
void *sae_alloc(size_t bytes);
/* Grow or shrink, keeping the contents; new bytes are zero. p may be NULL. NULL leaves p valid. */
void *sae_realloc(void *p, size_t bytes);
void sae_free(void *p); /* NULL-safe */
char *sae_strdup(const char *s);
char *sae_strfmt(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Allocate count * size bytes into *out or record SAE_ENOMEM naming the bytes and what they are for
 * ("adam.m"). */
int sae_new(void *out, int64_t count, size_t size, const char *what, sae_err *err);

size_t sae_alloc_live(void); /* bytes held now */
size_t sae_alloc_peak(void);
uint64_t sae_alloc_calls(void);      /* allocations since start: "steps 2..N do not allocate" */
/* Make the i-th allocation from now on fail (1: the next); 0 switches off. For tests/fault. */
void sae_alloc_fail_at(uint64_t i);

/* SAE_ENOMEM with "needs X for WHAT, Y available" if bytes exceed the memory the system can give
 * (MemAvailable and the cgroup limit); call before a large allocation. */
int sae_memory_check(size_t bytes, const char *what, sae_err *err);
size_t sae_memory_available(void);
size_t sae_memory_peak_rss(void); /* of this process, bytes */

#endif
