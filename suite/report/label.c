/* suite/report/label.c - short names of SAEs for legends. */
#include "report/data.h"

#include <string.h>

/* The next "key=value" of a spec: commas in parentheses and quotes belong to the value. Returns
 * its length and moves *s behind it and its comma; 0 at the end. */
static size_t next_option(const char **s, const char **option)
{
    const char *p = *option = *s;
    int depth = 0, quoted = 0;
    for (; *p && (depth > 0 || quoted || *p != ','); p++) {
        if (quoted && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (*p == '(') - (*p == ')');
    }
    *s = p + (*p == ',');
    return (size_t)(p - *option);
}

static const char *options_of(const char *spec)
{
    const char *colon = strchr(spec, ':');
    return colon ? colon + 1 : spec + strlen(spec);
}

static int has_option(const char *spec, const char *option, size_t len)
{
    const char *s = options_of(spec), *other;
    for (size_t n; (n = next_option(&s, &other)) > 0;)
        if (n == len && memcmp(other, option, len) == 0)
            return 1;
    return 0;
}

static int is_size(const char *option, size_t len)
{
    return len > 2 && memcmp(option, "n=", 2) == 0;
}

static int is_common(const sae_report_data *d, const char *variant, const char *option, size_t len)
{
    for (int64_t i = 0; i < d->configs; i++)
        if (strcmp(d->config[i].variant, variant) == 0 &&
            !has_option(d->config[i].spec, option, len))
            return 0;
    return 1;
}

/* Joined options that are not common; how long all of them are. */
static size_t put_options(const sae_report_data *d, const sae_config *c, int sizes, char *out,
                          size_t room)
{
    const char *s = options_of(c->spec), *option;
    size_t used = 0;
    out[0] = '\0';
    for (size_t len; used < room && (len = next_option(&s, &option)) > 0;)
        if (!is_common(d, c->variant, option, len) && (sizes || !is_size(option, len)))
            used += (size_t)snprintf(out + used, room - used, "%s%.*s", used ? ", " : "", (int)len,
                                     option);
    return used;
}

static void mark_cut(size_t used, char *out, size_t room)
{
    if (used >= room)
        memcpy(out + room - 4, "...", 4);
}

void sae_short_label(const sae_report_data *d, int64_t config, char *out, size_t room)
{
    const sae_config *c = &d->config[config];
    size_t used = put_options(d, c, 1, out, room);
    if (used == 0)
        used = (size_t)snprintf(out, room, "%s", c->label);
    mark_cut(used, out, room);
}

void sae_recipe_label(const sae_report_data *d, int64_t config, char *out, size_t room)
{
    mark_cut(put_options(d, &d->config[config], 0, out, room), out, room);
}
