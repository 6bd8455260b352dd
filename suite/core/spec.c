/* suite/core/spec.c - spec strings: parsing, resolving, printing. */
#include "core/spec.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_N_PER_D = 8 };

static const char training[] = "train.";
enum { WARMUP = SAE_TRAIN_KEYS - 1 }; /* the one whole number */
const char *const sae_train_keys[] = {"lr",        "beta1",        "beta2", "eps",
                                      "clip_norm", "weight_decay", "decay", "warmup", NULL};

static const char *const kind_names[] = {"variant", "metric", "dataset"};

/* ---- name ------------------------------------------------------------------------------------ */

static int unknown_name(const sae_registry *reg, enum sae_kind kind, const char *name,
                        sae_err *err)
{
    const char **list = NULL;
    int64_t count = 0;
    const sae_variant *const *v = sae_all_variants(reg);
    const sae_metric *const *m = sae_all_metrics(reg);
    const sae_dataset *const *d = sae_all_datasets(reg);
    while (kind == SAE_KIND_VARIANT   ? v[count] != NULL
           : kind == SAE_KIND_METRIC ? m[count] != NULL
                                     : d[count] != NULL)
        count++;
    SAE_TRY(sae_new(&list, count + 1, sizeof *list, "names", err));
    for (int64_t i = 0; i < count; i++)
        list[i] = kind == SAE_KIND_VARIANT  ? v[i]->name
                  : kind == SAE_KIND_METRIC ? m[i]->name
                                            : d[i]->name;
    int rc = sae_unknown_word(kind_names[kind], name, list, err);
    sae_free(list);
    return rc;
}

/* Find the component and open its options. */
static int open_named(sae_spec *s, const sae_registry *reg, enum sae_kind kind, const char *name,
                      sae_err *err)
{
    const sae_option *table = NULL;
    size_t size = 0;
    if (kind == SAE_KIND_VARIANT && (s->variant = sae_find_variant(reg, name)) != NULL) {
        s->name = s->variant->name;
        table = s->variant->options;
        size = s->variant->opt_size;
    } else if (kind == SAE_KIND_METRIC && (s->metric = sae_find_metric(reg, name)) != NULL) {
        s->name = s->metric->name;
        table = s->metric->options;
        size = s->metric->opt_size;
    } else if (kind == SAE_KIND_DATASET && (s->dataset = sae_find_dataset(reg, name)) != NULL) {
        s->name = s->dataset->name;
        table = s->dataset->options;
        size = s->dataset->opt_size;
    } else {
        return unknown_name(reg, kind, name, err);
    }
    return sae_opts_open(&s->opts, table, size, err);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* Copy the value at *at into out and move *at behind it. Bare values end at a comma outside
 * parentheses; quoted ones end at the closing quote. */
static int read_value(const char **at, sae_text *out, sae_err *err)
{
    const char *p = *at;
    int depth = 0;
    if (*p == '"') {
        for (p++; *p != '"'; p++) {
            if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
                p++;
            else if (*p == '\\' || !*p)
                SAE_FAIL(err, SAE_EFORMAT, "%s at \"%.40s\"",
                         *p ? "unknown escape (only \\\" and \\\\)" : "missing closing quote", *at);
            sae_text_putc(out, *p);
        }
        p++;
        if (*p && *p != ',')
            SAE_FAIL(err, SAE_EFORMAT, "expected \",\" after the quoted value, found \"%.40s\"", p);
    } else {
        for (; *p && (*p != ',' || depth > 0); p++) {
            depth += (*p == '(') - (*p == ')');
            if (depth < 0 || *p == '"' || *p == '{' || *p == '}')
                SAE_FAIL(err, SAE_EFORMAT, "unexpected \"%c\" at \"%.40s\" (quote the value?)", *p,
                         p);
            sae_text_putc(out, *p);
        }
        if (depth > 0)
            SAE_FAIL(err, SAE_EFORMAT, "missing \")\" in \"%.40s\"", *at);
        if (p == *at)
            SAE_FAIL(err, SAE_EFORMAT, "empty value (write \"\" for an empty text)");
    }
    *at = p;
    return SAE_OK;
}

/* "16384" or "8d". */
static int set_n(sae_spec *s, const char *value, sae_err *err)
{
    char number[24];
    size_t len = strlen(value);
    int per_d = len > 0 && value[len - 1] == 'd';
    int64_t v = 0;
    if (s->n || s->n_per_d)
        SAE_FAIL(err, SAE_EINVAL, "key \"n\" is given twice");
    snprintf(number, sizeof number, "%.*s", len < sizeof number ? (int)len - per_d : 0, value);
    if (sae_int_parse(number, &v) < 0 || v < 1 || v > INT32_MAX)
        SAE_FAIL(err, SAE_EINVAL,
                 "key \"n\": \"%s\" is neither a dictionary size in [1, 2147483647] nor a multiple "
                 "of the activation width like 8d", value);
    s->n = per_d ? 0 : v;
    s->n_per_d = per_d ? v : 0;
    return SAE_OK;
}

static int set_preset(sae_spec *s, const char *name, sae_err *err)
{
    const sae_preset *p = s->variant->presets;
    char known[200] = "";
    size_t used = 0;
    if (s->preset)
        SAE_FAIL(err, SAE_EINVAL, "key \"preset\" is given twice");
    for (; p && p->name; p++) {
        if (strcmp(p->name, name) == 0) {
            s->preset = p;
            return SAE_OK;
        }
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     p->name);
    }
    SAE_FAIL(err, SAE_EINVAL, "there is no preset \"%.40s\"; known: %s", name,
             used ? known : "none");
}

/* SAE_TRAIN_KEYS where key is none of them. */
static int train_key(const char *key)
{
    int i = 0;
    while (i < SAE_TRAIN_KEYS && strcmp(sae_train_keys[i], key) != 0)
        i++;
    return i;
}

static int set_train(sae_spec *s, const char *key, const char *value, sae_err *err)
{
    int i = train_key(key);
    if (i == SAE_TRAIN_KEYS)
        return sae_unknown_word("training setting", key, sae_train_keys, err);
    if (s->train_given >> i & 1)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s%s\" is given twice", training, key);
    double *v = &s->train[i];
    if (sae_real_parse(value, v) < 0 || !isfinite(*v) || (i == WARMUP && *v != floor(*v)))
        SAE_FAIL(err, SAE_EINVAL, "key \"%s%s\": \"%s\" is not a %snumber", training, key, value,
                 i == WARMUP ? "whole " : "");
    s->train_given |= 1u << i;
    return SAE_OK;
}

static int set_pair(sae_spec *s, const char *key, const char *value, sae_err *err)
{
    if (s->variant && strcmp(key, "n") == 0)
        return set_n(s, value, err);
    if (s->variant && strcmp(key, "preset") == 0)
        return set_preset(s, value, err);
    if (s->variant && strncmp(key, training, sizeof training - 1) == 0)
        return set_train(s, key + sizeof training - 1, value, err);
    int given = sae_opts_given(s->opts, key);
    if (given < 0 && s->variant && train_key(key) < SAE_TRAIN_KEYS)
        SAE_FAIL(err, SAE_EINVAL, "unknown key \"%s\"; as a training setting it is %s%s=%s", key,
                 training, key, value);
    if (given < 0 && s->variant)
        return sae_unknown_key(key, s->variant->options, "n", err);
    if (given > 0)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\" is given twice", key);
    return sae_opts_set(s->opts, key, value, err);
}

/* A pair of a preset counts where the text gives none. */
static int set_default(sae_spec *s, const char *key, const char *value, sae_err *err)
{
    if (strcmp(key, "n") == 0 ? s->n || s->n_per_d : sae_opts_given(s->opts, key) > 0)
        return SAE_OK;
    return set_pair(s, key, value, err);
}

typedef int set_fn(sae_spec *s, const char *key, const char *value, sae_err *err);

static int parse_pairs(sae_spec *s, const char *at, set_fn *set, sae_err *err)
{
    for (;;) {
        size_t len = strcspn(at, "=,");
        if (len == 0 || at[len] != '=')
            SAE_FAIL(err, SAE_EFORMAT, "expected key=value, found \"%.40s\"", at);
        sae_text key = {0}, value = {0};
        sae_text_add(&key, at, len);
        at += len + 1;
        int rc = read_value(&at, &value, err);
        char *k = sae_text_take(&key), *v = sae_text_take(&value);
        if (rc == SAE_OK)
            rc = k && v ? set(s, k, v, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
        sae_free(k);
        sae_free(v);
        if (rc < 0 || !*at)
            return rc;
        at++; /* read_value stops at a comma or the end */
    }
}

int sae_spec_parse(sae_spec *s, const sae_registry *reg, enum sae_kind kind, const char *text,
                   sae_err *err)
{
    int rc = SAE_OK;
    char name[64];
    size_t len = strcspn(text, ":");
    memset(s, 0, sizeof *s);
    if (len >= sizeof name)
        SAE_FAIL(err, SAE_EFORMAT, "\"%.40s...\" is not the name of a %s", text, kind_names[kind]);
    memcpy(name, text, len);
    name[len] = '\0';
    SAE_GOTO(open_named(s, reg, kind, name, err));
    if (text[len] == ':')
        SAE_GOTO(parse_pairs(s, text + len + 1, set_pair, err));
    if (s->preset && *s->preset->options)
        SAE_GOTO(parse_pairs(s, s->preset->options, set_default, err));
    if (kind == SAE_KIND_VARIANT && !s->n && !s->n_per_d)
        s->n_per_d = DEFAULT_N_PER_D;
    SAE_GOTO(sae_opts_complete(s->opts, err));
    return SAE_OK;
fail:
    sae_spec_free(s);
    return sae_fail_prefix(err, rc, "%s \"%.80s\"", kind_names[kind], text);
}

const sae_train_defaults *sae_spec_train(const sae_spec *s)
{
    return s->preset && s->preset->train ? s->preset->train : &s->variant->train;
}

void sae_spec_free(sae_spec *s)
{
    sae_opts_close(&s->opts);
    memset(s, 0, sizeof *s);
}

int sae_spec_resolve(sae_spec *s, int64_t d, sae_err *err)
{
    if (!s->variant || s->n)
        return SAE_OK;
    if (d < 1 || s->n_per_d > INT32_MAX / d)
        SAE_FAIL(err, SAE_EINVAL, "%s: n = %lldd with d = %lld is outside [1, 2147483647]", s->name,
                 (long long)s->n_per_d, (long long)d);
    s->n = s->n_per_d * d;
    return SAE_OK;
}

/* ---- printing -------------------------------------------------------------------------------- */

char *sae_spec_print(const sae_spec *s, int canonical)
{
    char n[32];
    if (s->n)
        snprintf(n, sizeof n, "%lld", (long long)s->n);
    else
        snprintf(n, sizeof n, "%lldd", (long long)s->n_per_d);
    char *pairs = sae_opts_print_with(s->opts, canonical, s->variant ? "n" : NULL, n);
    char *text = pairs ? sae_strfmt("%s%s%s", s->name, *pairs ? ":" : "", pairs) : NULL;
    sae_free(pairs);
    for (int i = 0; text && i < SAE_TRAIN_KEYS; i++) {
        if (!(s->train_given >> i & 1))
            continue;
        char *value = sae_real_print(s->train[i]);
        char *more =
            value ? sae_strfmt("%s,%s%s=%s", text, training, sae_train_keys[i], value) : NULL;
        sae_free(value);
        sae_free(text);
        text = more;
    }
    return text;
}

void sae_spec_id(const char *canonical, char out[17])
{
    char full[36];
    sae_hash_bytes(canonical, strlen(canonical), full);
    memcpy(out, full, 16);
    out[16] = '\0';
}
