/* suite/core/text.c - a string that grows. */
#include "core/text.h"

#include "core/memory.h"

#include <string.h>

void sae_text_add(sae_text *t, const char *s, size_t len)
{
    if (t->failed)
        return;
    if (t->len + len + 1 > t->cap) {
        size_t cap = (t->len + len + 1) * 2;
        char *p = sae_realloc(t->p, cap);
        if (!p) {
            t->failed = 1;
            return;
        }
        t->p = p;
        t->cap = cap;
    }
    memcpy(t->p + t->len, s, len);
    t->len += len;
    t->p[t->len] = '\0';
}

void sae_text_puts(sae_text *t, const char *s)
{
    sae_text_add(t, s, strlen(s));
}

void sae_text_putc(sae_text *t, char c)
{
    sae_text_add(t, &c, 1);
}

char *sae_text_take(sae_text *t)
{
    sae_text_add(t, "", 0);
    char *p = t->p;
    if (t->failed) {
        sae_free(p);
        p = NULL;
    }
    *t = (sae_text){0};
    return p;
}
