/* suite/report/template.h - pages from templates carried in the binary; text of others in them. */
#ifndef SAE_REPORT_TEMPLATE_H
#define SAE_REPORT_TEMPLATE_H

#include <stdio.h>

typedef struct sae_part { /* the list ends with mark == NULL */
    const char *mark;     /* "@NAME@" */
    void (*put)(const void *page);
} sae_part;

/* Write an asset to f; where a mark stands, its part writes instead. */
void sae_template_fill(const char *asset, const sae_part *parts, const void *page, FILE *f);

/* Text with what HTML reserves escaped, in elements and in quoted attributes. */
void sae_html_text(FILE *f, const char *s);

#endif
