/* suite/run/plan_schema.c - the YAML schema of plans. */
#include "run/plan_schema.h"

#include "core/error.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(key, flags, type)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), type, key, 0, CYAML_UNLIMITED)
#define SETTING(key) TEXT(key, CYAML_FLAG_OPTIONAL, sae_plan_entry)

static const cyaml_schema_field_t entry_fields[] = {
    TEXT(spec, 0, sae_plan_entry),
    SETTING(lr),
    SETTING(beta1),
    SETTING(beta2),
    SETTING(eps),
    SETTING(clip_norm),
    SETTING(weight_decay),
    SETTING(decay),
    SETTING(warmup),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t entry_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_plan_entry, entry_fields),
};

static const cyaml_schema_field_t var_fields[] = {
    TEXT(name, 0, sae_plan_var),
    TEXT(value, CYAML_FLAG_OPTIONAL, sae_plan_var),
    TEXT(help, CYAML_FLAG_OPTIONAL, sae_plan_var),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t var_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_plan_var, var_fields),
};

static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

#define PLAN_TEXT(key, flags) TEXT(key, flags, sae_plan_text)
#define PLAN_LIST(key, flags, schema, min)                                                         \
    CYAML_FIELD_SEQUENCE_COUNT(#key, CYAML_FLAG_POINTER | (flags), sae_plan_text, key,             \
                               key##_count, &(schema), min, CYAML_UNLIMITED)

static const cyaml_schema_field_t plan_fields[] = {
    PLAN_TEXT(name, 0),
    PLAN_TEXT(title, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(dataset, 0),
    PLAN_TEXT(eval_dataset, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(norm, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(steps, 0),
    PLAN_TEXT(batch, 0),
    PLAN_TEXT(eval_rows, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(log_every, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(checkpoint_every, CYAML_FLAG_OPTIONAL),
    PLAN_TEXT(data_seed, CYAML_FLAG_OPTIONAL),
    PLAN_LIST(seeds, 0, text_value, 1),
    PLAN_LIST(saes, 0, entry_value, 1),
    PLAN_LIST(metrics, CYAML_FLAG_OPTIONAL, text_value, 0),
    PLAN_LIST(vars, CYAML_FLAG_OPTIONAL, var_value, 0),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t plan_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, sae_plan_text, plan_fields),
};

int sae_plan_line_of(const char *text, size_t bytes, const char *key, int64_t n)
{
    size_t len = strlen(key);
    int line = 1;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n') {
            line++;
            continue;
        }
        size_t at = i;
        while (at < bytes && (text[at] == ' ' || text[at] == '-'))
            at++;
        if (at + len < bytes && !memcmp(text + at, key, len) && text[at + len] == ':' && n-- == 0)
            return line;
        while (i + 1 < bytes && text[i + 1] != '\n')
            i++;
    }
    return 0;
}

/* libcyaml reports an error as a message followed by a backtrace, innermost first:
 *   Load: Expecting STRING, got event: SEQUENCE_START
 *   Load: Backtrace:
 *     in mapping field 'steps' (line: 2, column: 8)
 * We keep the message, the innermost line number and the innermost field. */
typedef struct report {
    char message[200], field[64];
    int line;
} report;

static void collect(cyaml_log_t level, void *arg, const char *fmt, va_list ap)
{
    static const char in_field[] = "mapping field '";
    report *r = arg;
    char line[240];
    if (level < CYAML_LOG_ERROR)
        return;
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    const char *text = !strncmp(line, "Load: ", 6) ? line + 6 : line;
    if (!strncmp(text, "Backtrace", 9))
        return;
    if (!r->message[0]) {
        snprintf(r->message, sizeof r->message, "%.190s", text);
        return;
    }
    const char *at = strstr(text, "line: "), *field = strstr(text, in_field);
    if (at && !r->line)
        r->line = (int)strtol(at + 6, NULL, 10);
    if (field && !r->field[0]) {
        field += sizeof in_field - 1;
        snprintf(r->field, sizeof r->field, "%.*s", (int)strcspn(field, "'"), field);
    }
}

/* The two messages whose position libcyaml cannot give: a key that should not be there is found in
 * the text, one that is missing is nowhere. */
static void place(report *r, const char *text, size_t bytes)
{
    static const char unexpected[] = "Unexpected key: ", missing[] = "Missing required";
    if (!strncmp(r->message, unexpected, sizeof unexpected - 1)) {
        r->line = sae_plan_line_of(text, bytes, r->message + sizeof unexpected - 1, 0);
        r->field[0] = '\0';
    } else if (!strncmp(r->message, missing, sizeof missing - 1)) {
        r->line = 0;
        r->field[0] = '\0';
    }
}

static cyaml_config_t config_for(report *r)
{
    cyaml_config_t c = {0};
    c.log_fn = collect;
    c.log_ctx = r;
    c.mem_fn = cyaml_mem;
    c.log_level = CYAML_LOG_ERROR;
    c.flags = CYAML_CFG_NO_ALIAS;
    return c;
}

int sae_plan_from_yaml(sae_plan_text **t, const char *name, const char *text, size_t bytes,
                       sae_err *err)
{
    report r = {"", "", 0};
    cyaml_config_t c = config_for(&r);
    cyaml_data_t *data = NULL;
    *t = NULL;
    cyaml_err_t rc = cyaml_load_data((const uint8_t *)text, bytes, &c, &plan_value, &data, NULL);
    if (rc == CYAML_OK && data) {
        *t = data;
        return SAE_OK;
    }
    if (rc == CYAML_OK)
        SAE_FAIL(err, SAE_EFORMAT, "%s: the plan is empty", name);
    char where[32] = "";
    place(&r, text, bytes);
    if (r.line > 0)
        snprintf(where, sizeof where, "line %d: ", r.line);
    SAE_FAIL(err, SAE_EFORMAT, "%s: %s%s%s%s", name, where, r.field, r.field[0] ? ": " : "",
             r.message[0] ? r.message : cyaml_strerror(rc));
}

void sae_plan_text_free(sae_plan_text **t)
{
    report r = {"", "", 0};
    cyaml_config_t c = config_for(&r);
    if (*t)
        cyaml_free(&c, &plan_value, *t, 0);
    *t = NULL;
}

void sae_plan_drop_saes(sae_plan_text *t, unsigned keep)
{
    for (unsigned i = keep; i < t->saes_count; i++) {
        sae_plan_entry *e = &t->saes[i];
        char *const own[] = {e->spec,      e->lr,           e->beta1, e->beta2, e->eps,
                             e->clip_norm, e->weight_decay, e->decay, e->warmup};
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++)
            free(own[k]);
    }
    if (t->saes_count > keep)
        t->saes_count = keep;
}
