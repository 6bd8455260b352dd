/* suite/core/options.c - option tables and values. */
#include "core/options.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/schedule.h"

#include <stdio.h>
#include <string.h>

struct sae_opts {
    const sae_option *table;
    size_t opt_size;
    int64_t count;
    unsigned char *base;  /* [opt_size] the struct at step 0 */
    sae_sched *sched;     /* [count] REAL options */
    char **text;          /* [count] STR options; owned, pointed to from base */
    unsigned char *given; /* [count] 1 after a set */
};

/* Long enough that a share of the run is never step 0 by rounding. */
enum { SOME_STEPS = 1000000 };

static int64_t get_int(const sae_opts *o, int64_t i)
{
    int64_t v;
    memcpy(&v, o->base + o->table[i].off, sizeof v);
    return v;
}

static void put_int(sae_opts *o, int64_t i, int64_t v)
{
    memcpy(o->base + o->table[i].off, &v, sizeof v);
}

static void put_sched(sae_opts *o, int64_t i, sae_sched s)
{
    double v = sae_sched_at(&s, 0, SOME_STEPS);
    o->sched[i] = s;
    memcpy(o->base + o->table[i].off, &v, sizeof v);
}

static int put_text(sae_opts *o, int64_t i, const char *value, sae_err *err)
{
    char *copy = value ? sae_strdup(value) : NULL;
    if (value && !copy)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory: text of key \"%s\"", o->table[i].name);
    sae_free(o->text[i]);
    o->text[i] = copy;
    memcpy(o->base + o->table[i].off, &copy, sizeof copy);
    return SAE_OK;
}

static int put_default(sae_opts *o, int64_t i, sae_err *err)
{
    const sae_option *row = &o->table[i];
    if (row->type == SAE_OPT_STR)
        return put_text(o, i, row->sdef, err);
    if (row->type == SAE_OPT_REAL)
        put_sched(o, i, (sae_sched){.kind = SAE_SCHED_CONST, .a = row->def});
    else
        put_int(o, i, (int64_t)row->def);
    return SAE_OK;
}

int sae_opts_open(sae_opts **out, const sae_option *table, size_t opt_size, sae_err *err)
{
    int rc = SAE_OK;
    sae_opts *o = NULL;
    SAE_TRY(sae_new(&o, 1, sizeof *o, "options", err));
    o->table = table;
    o->opt_size = opt_size;
    while (table[o->count].name)
        o->count++;
    SAE_GOTO(sae_new(&o->base, (int64_t)opt_size, 1, "options", err));
    SAE_GOTO(sae_new(&o->sched, o->count, sizeof *o->sched, "options", err));
    SAE_GOTO(sae_new(&o->text, o->count, sizeof *o->text, "options", err));
    SAE_GOTO(sae_new(&o->given, o->count, 1, "options", err));
    for (int64_t i = 0; i < o->count; i++)
        SAE_GOTO(put_default(o, i, err));
    *out = o;
    return SAE_OK;
fail:
    sae_opts_close(&o);
    return rc;
}

void sae_opts_close(sae_opts **opts)
{
    sae_opts *o = *opts;
    if (!o)
        return;
    for (int64_t i = 0; o->text && i < o->count; i++)
        sae_free(o->text[i]);
    sae_free(o->base);
    sae_free(o->sched);
    sae_free(o->text);
    sae_free(o->given);
    sae_free(o);
    *opts = NULL;
}

/* ---- setting --------------------------------------------------------------------------------- */

static int64_t find(const sae_opts *o, const char *key)
{
    for (int64_t i = 0; i < o->count; i++)
        if (strcmp(o->table[i].name, key) == 0)
            return i;
    return -1;
}

int sae_opt_outside(const sae_option *o, const char *value, sae_err *err)
{
    int pure = strcmp(o->unit, "1") == 0;
    SAE_FAIL(err, SAE_EINVAL, "key \"%s\": %s is outside [%.15g, %.15g]%s%s (%s)", o->name, value,
             o->lo, o->hi, pure ? "" : ", unit ", pure ? "" : o->unit, o->help);
}

static int set_int(sae_opts *o, int64_t i, const char *value, sae_err *err)
{
    const sae_option *row = &o->table[i];
    int64_t v = 0;
    if (sae_int_parse(value, &v) < 0)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" is not an integer (%s)", row->name, value,
                 row->help);
    if (!((double)v >= row->lo && (double)v <= row->hi))
        return sae_opt_outside(row, value, err);
    put_int(o, i, v);
    return SAE_OK;
}

static int set_bool(sae_opts *o, int64_t i, const char *value, sae_err *err)
{
    static const char *const words[] = {"0", "1", "false", "true", "off", "on"};
    for (int64_t w = 0; w < 6; w++) {
        if (strcmp(value, words[w]) == 0) {
            put_int(o, i, w % 2);
            return SAE_OK;
        }
    }
    SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" is not 0/1, false/true or off/on (%s)",
             o->table[i].name, value, o->table[i].help);
}

static int set_enum(sae_opts *o, int64_t i, const char *value, sae_err *err)
{
    const sae_option *row = &o->table[i];
    char what[80];
    for (int64_t v = 0; row->enums[v]; v++) {
        if (strcmp(value, row->enums[v]) == 0) {
            put_int(o, i, v);
            return SAE_OK;
        }
    }
    snprintf(what, sizeof what, "value of key \"%s\":", row->name);
    return sae_unknown_word(what, value, row->enums, err);
}

static int set_text(sae_opts *o, int64_t i, const char *value, sae_err *err)
{
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < ' ')
            SAE_FAIL(err, SAE_EINVAL, "key \"%s\": control character in the text",
                     o->table[i].name);
    return put_text(o, i, value, err);
}

int sae_opts_set(sae_opts *o, const char *key, const char *value, sae_err *err)
{
    int64_t i = find(o, key);
    if (i < 0)
        return sae_unknown_key(key, o->table, NULL, err);
    int rc = SAE_OK;
    sae_sched s;
    switch (o->table[i].type) {
    case SAE_OPT_INT:
        rc = set_int(o, i, value, err);
        break;
    case SAE_OPT_REAL:
        rc = sae_sched_parse(&s, &o->table[i], value, err);
        if (rc == SAE_OK)
            put_sched(o, i, s);
        break;
    case SAE_OPT_BOOL:
        rc = set_bool(o, i, value, err);
        break;
    case SAE_OPT_ENUM:
        rc = set_enum(o, i, value, err);
        break;
    case SAE_OPT_STR:
        rc = set_text(o, i, value, err);
        break;
    }
    if (rc == SAE_OK)
        o->given[i] = 1;
    return rc;
}

int sae_opts_given(const sae_opts *o, const char *key)
{
    int64_t i = find(o, key);
    return i < 0 ? -1 : o->given[i];
}

int sae_opts_complete(const sae_opts *o, sae_err *err)
{
    for (int64_t i = 0; i < o->count; i++)
        if (o->table[i].type == SAE_OPT_STR && !o->text[i])
            SAE_FAIL(err, SAE_EINVAL, "key \"%s\" is required (%s)", o->table[i].name,
                     o->table[i].help);
    return SAE_OK;
}

const void *sae_opts_base(const sae_opts *o)
{
    return o->base;
}

void sae_opts_at(const sae_opts *o, int64_t step, int64_t steps, void *out)
{
    memcpy(out, o->base, o->opt_size);
    for (int64_t i = 0; i < o->count; i++) {
        if (o->table[i].type != SAE_OPT_REAL || o->sched[i].kind == SAE_SCHED_CONST)
            continue;
        double v = sae_sched_at(&o->sched[i], step, steps);
        memcpy((unsigned char *)out + o->table[i].off, &v, sizeof v);
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

static int is_default(const sae_opts *o, int64_t i)
{
    const sae_option *row = &o->table[i];
    if (row->type == SAE_OPT_STR)
        return o->text[i] && row->sdef ? strcmp(o->text[i], row->sdef) == 0 : !o->text[i];
    if (row->type == SAE_OPT_REAL)
        return o->sched[i].kind == SAE_SCHED_CONST && o->sched[i].a == row->def;
    return get_int(o, i) == (int64_t)row->def;
}

static void print_quoted(sae_text *out, const char *s)
{
    static const char bare[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_./:+@%~-";
    if (*s && !s[strspn(s, bare)]) {
        sae_text_puts(out, s);
        return;
    }
    sae_text_putc(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            sae_text_putc(out, '\\');
        sae_text_putc(out, *s);
    }
    sae_text_putc(out, '"');
}

/* Strings are quoted where a spec needs it, if `quote`. */
static void print_value(sae_text *out, const sae_opts *o, int64_t i, int quote)
{
    char number[32];
    switch (o->table[i].type) {
    case SAE_OPT_REAL:
        sae_sched_print(&o->sched[i], out);
        return;
    case SAE_OPT_ENUM:
        sae_text_puts(out, o->table[i].enums[get_int(o, i)]);
        return;
    case SAE_OPT_STR:
        if (quote)
            print_quoted(out, o->text[i]);
        else
            sae_text_puts(out, o->text[i] ? o->text[i] : "");
        return;
    case SAE_OPT_INT:
    case SAE_OPT_BOOL:
        snprintf(number, sizeof number, "%lld", (long long)get_int(o, i));
        sae_text_puts(out, number);
        return;
    }
}

static void print_pair(sae_text *out, const char *key)
{
    if (out->len)
        sae_text_putc(out, ',');
    sae_text_puts(out, key);
    sae_text_putc(out, '=');
}

char *sae_opts_print_with(const sae_opts *o, int canonical, const char *key, const char *value)
{
    sae_text out = {0};
    const char *last = ""; /* keys are unique: the next one is the smallest above the last */
    for (;;) {
        const char *next = key && strcmp(key, last) > 0 ? key : NULL;
        int64_t at = -1;
        for (int64_t i = 0; i < o->count; i++) {
            const char *name = o->table[i].name;
            if (strcmp(name, last) > 0 && (!next || strcmp(name, next) < 0)) {
                next = name;
                at = i;
            }
        }
        if (!next)
            return sae_text_take(&out);
        last = next;
        if (at < 0) {
            print_pair(&out, key);
            sae_text_puts(&out, value);
        } else if ((canonical || !is_default(o, at)) &&
                   (o->table[at].type != SAE_OPT_STR || o->text[at])) {
            print_pair(&out, next);
            print_value(&out, o, at, 1);
        }
    }
}

char *sae_opts_print(const sae_opts *o, int canonical)
{
    return sae_opts_print_with(o, canonical, NULL, NULL);
}

char *sae_opts_get(const sae_opts *o, const char *key)
{
    sae_text out = {0};
    int64_t i = find(o, key);
    if (i < 0)
        return NULL;
    print_value(&out, o, i, 0);
    return sae_text_take(&out);
}
