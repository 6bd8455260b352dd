/* suite/bench/harness/pool.c - memory that is released all at once. */
#include "harness.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct sbh_block {
    struct sbh_block *next;
    _Alignas(16) unsigned char bytes[];
};

void *sbh_alloc(struct sbh_pool *p, size_t bytes)
{
    struct sbh_block *b = calloc(1, sizeof *b + bytes);
    if (!b) {
        fprintf(stderr, "benchmark: out of memory\n");
        abort();
    }
    b->next = p->first;
    p->first = b;
    return b->bytes;
}

char *sbh_print(struct sbh_pool *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = sbh_alloc(p, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void *sbh_grow(struct sbh_pool *p, void *array, int64_t count, size_t size)
{
    if (count & (count - 1)) /* room doubles at powers of two */
        return array;
    void *bigger = sbh_alloc(p, 2 * (size_t)(count ? count : 1) * size);
    if (count)
        memcpy(bigger, array, (size_t)count * size);
    return bigger;
}

void sbh_release(struct sbh_pool *p)
{
    while (p->first) {
        struct sbh_block *next = p->first->next;
        free(p->first);
        p->first = next;
    }
}
