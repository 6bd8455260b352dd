/* suite/core/text.h - a string that grows; an allocation failure is remembered, not reported. */
#ifndef SAE_CORE_TEXT_H
#define SAE_CORE_TEXT_H

#include <stddef.h>

typedef struct sae_text { /* starts as {0} */
    char *p; /* terminated; NULL while nothing was added */
    size_t len, cap;
    int failed;
} sae_text;

void sae_text_add(sae_text *t, const char *s, size_t len);
void sae_text_puts(sae_text *t, const char *s);
void sae_text_putc(sae_text *t, char c);
/* The finished string, "" if nothing was added; the caller frees it with sae_free. NULL if any
 * allocation failed. Resets *t. */
char *sae_text_take(sae_text *t);

#endif
