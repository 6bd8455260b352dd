/* suite/core/yaml.c - YAML text against a schema, with errors that name file, line and key. */
#include "core/yaml.h"

#include "core/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sae_yaml_line_of(const char *text, size_t bytes, const char *key, int64_t n)
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
        r->line = sae_yaml_line_of(text, bytes, r->message + sizeof unexpected - 1, 0);
        r->field[0] = '\0';
    } else if (!strncmp(r->message, missing, sizeof missing - 1)) {
        r->line = 0;
        r->field[0] = '\0';
    }
}

/* libcyaml speaks of the parser's events, people know what they wrote. */
static void translate(report *r)
{
    static const char *const words[][2] = {{"Expecting MAPPING", "expected KEY: VALUE"},
                                           {"Expecting SEQUENCE", "expected a list, like [A, B]"},
                                           {"Expecting STRING", "expected one value"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strncmp(r->message, words[i][0], strlen(words[i][0])))
            snprintf(r->message, sizeof r->message, "%s", words[i][1]);
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

int sae_yaml_load(void **out, const char *name, const char *text, size_t bytes,
                  const struct cyaml_schema_value *schema, sae_err *err)
{
    report r = {"", "", 0};
    cyaml_config_t c = config_for(&r);
    *out = NULL;
    cyaml_err_t rc = cyaml_load_data((const uint8_t *)text, bytes, &c, schema, out, NULL);
    if (rc == CYAML_OK && *out)
        return SAE_OK;
    if (rc == CYAML_OK)
        SAE_FAIL(err, SAE_EFORMAT, "%s: the file is empty", name);
    translate(&r);
    char where[32] = "";
    place(&r, text, bytes);
    if (r.line > 0)
        snprintf(where, sizeof where, "line %d: ", r.line);
    SAE_FAIL(err, SAE_EFORMAT, "%s: %s%s%s%s", name, where, r.field, r.field[0] ? ": " : "",
             r.message[0] ? r.message : cyaml_strerror(rc));
}

void sae_yaml_free(void *data, const struct cyaml_schema_value *schema)
{
    report r = {"", "", 0};
    cyaml_config_t c = config_for(&r);
    if (data)
        cyaml_free(&c, schema, data, 0);
}
