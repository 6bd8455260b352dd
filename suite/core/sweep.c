/* suite/core/sweep.c - expanding {a,b} alternatives of spec strings. */
#include "core/error.h"
#include "core/memory.h"
#include "core/spec.h"
#include "core/text.h"

#include <string.h>

enum { MAX_GROUPS = 16, MAX_SPECS = 100000 };

typedef struct group {
    const char *open, *close; /* the braces */
    int64_t count;            /* alternatives */
} group;

/* The end of the quoted text that begins at p (the closing quote or the terminator). */
static const char *skip_quoted(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        p += *p == '\\' && p[1];
    return p;
}

/* The end of the alternative that begins at p: a comma outside parentheses and quotes, or the
 * closing brace; NULL if there is none. */
static const char *end_of_alternative(const char *p)
{
    int depth = 0;
    for (; *p && *p != '{'; p++) {
        if (*p == '}' || (*p == ',' && depth <= 0))
            return p;
        if (*p == '"' && !*(p = skip_quoted(p)))
            return NULL;
        depth += (*p == '(') - (*p == ')');
    }
    return NULL;
}

static int read_group(group *g, const char *open, sae_err *err)
{
    const char *p = open;
    *g = (group){open, NULL, 0};
    do {
        const char *from = p + 1;
        p = end_of_alternative(from);
        if (!p)
            SAE_FAIL(err, SAE_EFORMAT, "missing \"}\" after \"%.40s\"", open);
        if (p == from)
            SAE_FAIL(err, SAE_EFORMAT, "empty alternative in \"%.40s\"", open);
        g->count++;
    } while (*p != '}');
    g->close = p;
    return SAE_OK;
}

/* Find the groups; *total = size of the product. */
static int read_groups(group g[MAX_GROUPS], int *count, int64_t *total, const char *text,
                       sae_err *err)
{
    *count = 0;
    *total = 1;
    for (const char *p = text; *p; p++) {
        if (*p == '"' && !*(p = skip_quoted(p)))
            SAE_FAIL(err, SAE_EFORMAT, "missing closing quote in \"%.80s\"", text);
        if (*p == '}')
            SAE_FAIL(err, SAE_EFORMAT, "unexpected \"}\" at \"%.40s\"", p);
        if (*p != '{')
            continue;
        if (*count == MAX_GROUPS)
            SAE_FAIL(err, SAE_EINVAL, "more than %d groups of alternatives", MAX_GROUPS);
        SAE_TRY(read_group(&g[*count], p, err));
        p = g[*count].close;
        *total *= g[(*count)++].count;
        if (*total > MAX_SPECS)
            SAE_FAIL(err, SAE_EINVAL, "more than %d combinations in \"%.80s\"", MAX_SPECS, text);
    }
    return SAE_OK;
}

static void add_alternative(sae_text *out, const group *g, int64_t index)
{
    const char *from = g->open + 1, *end = end_of_alternative(from);
    for (; index > 0; index--) {
        from = end + 1;
        end = end_of_alternative(from);
    }
    sae_text_add(out, from, (size_t)(end - from));
}

/* Combination number `index`; the rightmost group is its fastest digit. */
static char *combine(const char *text, const group *g, int count, int64_t index, int64_t total)
{
    sae_text out = {0};
    for (int i = 0; i < count; i++) {
        total /= g[i].count;
        sae_text_add(&out, text, (size_t)(g[i].open - text));
        add_alternative(&out, &g[i], index / total);
        index %= total;
        text = g[i].close + 1;
    }
    sae_text_puts(&out, text);
    return sae_text_take(&out);
}

int sae_spec_expand(const char *text, char ***out, sae_err *err)
{
    group g[MAX_GROUPS];
    int count = 0;
    int64_t total = 0;
    char **list = NULL;
    SAE_TRY(read_groups(g, &count, &total, text, err));
    SAE_TRY(sae_new(&list, total + 1, sizeof *list, "sweep", err));
    for (int64_t i = 0; i < total; i++) {
        list[i] = combine(text, g, count, i, total);
        if (!list[i]) {
            sae_spec_list_free(&list);
            SAE_FAIL(err, SAE_ENOMEM, "out of memory: %lld specs", (long long)total);
        }
    }
    *out = list;
    return SAE_OK;
}

void sae_spec_list_free(char ***list)
{
    for (char **s = *list; s && *s; s++)
        sae_free(*s);
    sae_free(*list);
    *list = NULL;
}
