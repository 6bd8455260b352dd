/* suite/report/template.c - pages from templates carried in the binary. */
#include "report/template.h"

#include "core/assets.h"
#include "core/error.h"

#include <string.h>

static const sae_part *part_at(const sae_part *parts, const char *s, const char *end)
{
    for (; parts->mark; parts++) {
        size_t len = strlen(parts->mark);
        if (len <= (size_t)(end - s) && memcmp(s, parts->mark, len) == 0)
            return parts;
    }
    return NULL;
}

void sae_template_fill(const char *asset, const sae_part *parts, const void *page, FILE *f)
{
    const sae_asset *a = sae_asset_find(asset);
    SAE_ASSERT(a != NULL);
    const char *s = (const char *)a->data, *end = (const char *)a->end;
    while (s < end) {
        const sae_part *part = *s == '@' ? part_at(parts, s, end) : NULL;
        if (part)
            part->put(page);
        else
            fputc(*s, f);
        s += part ? strlen(part->mark) : 1;
    }
}

void sae_html_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '&':
            fputs("&amp;", f);
            break;
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        case '\'':
            fputs("&#39;", f);
            break;
        default:
            fputc((unsigned char)*s < 0x20 && *s != '\n' ? ' ' : *s, f);
        }
    }
}
