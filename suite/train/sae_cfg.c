/* suite/train/sae_cfg.c - cfg.json of a SAE in SAELens' layout. */
#include "train/sae_cfg.h"

#include "core/error.h"
#include "core/memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MOST = INT32_MAX }; /* of any extent */

static int bad(const char *key, const char *expected, const json_t *v, sae_err *err)
{
    char found[64];
    size_t len = v ? json_dumpb(v, found, sizeof found - 1, JSON_ENCODE_ANY | JSON_COMPACT) : 0;
    found[len < sizeof found ? len : 0] = '\0';
    if (!v)
        SAE_FAIL(err, SAE_EFORMAT, "\"%s\": expected %s, found nothing", key, expected);
    SAE_FAIL(err, SAE_EFORMAT, "\"%s\": expected %s, found %s", key, expected,
             found[0] ? found : "something long");
}

static int get_count(const json_t *root, const char *key, int64_t *out, sae_err *err)
{
    const json_t *v = json_object_get(root, key);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > MOST)
        return bad(key, "a positive integer", v, err);
    *out = json_integer_value(v);
    return SAE_OK;
}

/* An absent key or null is the default. */
static int get_flag(const json_t *root, const char *key, int def, int *out, sae_err *err)
{
    const json_t *v = json_object_get(root, key);
    *out = def;
    if (!v || json_is_null(v))
        return SAE_OK;
    if (!json_is_boolean(v))
        return bad(key, "true or false", v, err);
    *out = json_is_true(v);
    return SAE_OK;
}

/* The first of the keys that holds a string, NULL if none. */
static const char *get_text(const json_t *root, const char *key, const char *old_key)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text ? text : json_string_value(json_object_get(root, old_key));
}

static void read_hook(const json_t *root, sae_cfg *c)
{
    const char *old = get_text(root, "hook_name", "hook_point");
    const char *name = get_text(json_object_get(root, "metadata"), "hook_name", "hook_point");
    snprintf(c->hook, sizeof c->hook, "%s", name ? name : old ? old : "");
}

static int read_norm(const json_t *root, sae_cfg *c, sae_err *err)
{
    const json_t *v = json_object_get(root, "normalize_activations");
    const char *text = json_string_value(v);
    c->norm = SAE_NORM_NONE;
    if (!v || json_is_null(v) || json_is_false(v) || (text && strcmp(text, "none") == 0))
        return SAE_OK;
    if (text && strcmp(text, "constant_norm_rescale") == 0) {
        c->norm = SAE_NORM_UNIT_ROW;
        return SAE_OK;
    }
    if (text && strcmp(text, "layer_norm") == 0) {
        c->norm = SAE_NORM_ROW_STD;
        return SAE_OK;
    }
    if (json_is_true(v) || (text && strcmp(text, "expected_average_only_in") == 0))
        SAE_FAIL(err, SAE_EFORMAT, "\"normalize_activations\": the weights expect activations "
                 "scaled by a factor that is not in the file; fold it into them first");
    return bad("normalize_activations", "none, constant_norm_rescale or layer_norm", v, err);
}

/* How SAELens writes the variant of an architecture; NULL: no variant of ours. */
static const sae_saelens *by_architecture(const sae_variant *const *v, const char *name)
{
    for (; *v; v++)
        if ((*v)->saelens && strcmp((*v)->saelens->architecture, name) == 0)
            return (*v)->saelens;
    return NULL;
}

static const sae_saelens *by_activation(const sae_variant *const *v, const char *name)
{
    for (; *v; v++)
        if ((*v)->saelens && (*v)->saelens->activation &&
            strcmp((*v)->saelens->activation, name) == 0)
            return (*v)->saelens;
    return NULL;
}

/* Some architectures were an activation function of the first one before they had a name. */
static int read_architecture(const json_t *root, const sae_variant *const *variants, sae_cfg *c,
                             sae_err *err)
{
    static const char first[] = "standard";
    const json_t *v = json_object_get(root, "architecture"), *holder = root;
    const char *name = json_string_value(v);
    const char *act = get_text(root, "activation_fn", "activation_fn_str");
    const sae_saelens *old = act ? by_activation(variants, act) : NULL, *how;
    if (v && (!name || !name[0]))
        return bad("architecture", "a name", v, err);
    if (act && !old)
        SAE_FAIL(err, SAE_EFORMAT, "\"activation_fn\": expected that of a known variant, found "
                 "%.40s", act);
    name = name ? name : first;
    if (old && strcmp(name, first) == 0) {
        name = old->architecture;
        holder = old->k ? json_object_get(root, "activation_fn_kwargs") : root;
    }
    if (strlen(name) >= sizeof c->architecture)
        return bad("architecture", "a known name", v, err);
    snprintf(c->architecture, sizeof c->architecture, "%s", name);
    c->k = -1;
    how = by_architecture(variants, name);
    return json_object_get(holder, "k") || (how && how->k) ? get_count(holder, "k", &c->k, err)
                                                           : SAE_OK;
}

static int read_cfg(const json_t *root, const sae_variant *const *variants, sae_cfg *c,
                    sae_err *err)
{
    int scaled = 0;
    if (!json_is_object(root))
        return bad("cfg.json", "an object", root, err);
    SAE_TRY(get_count(root, "d_in", &c->d_in, err));
    SAE_TRY(get_count(root, "d_sae", &c->d_sae, err));
    SAE_TRY(read_architecture(root, variants, c, err));
    SAE_TRY(read_norm(root, c, err));
    read_hook(root, c);
    SAE_TRY(get_flag(root, "apply_b_dec_to_input", 1, &c->subtract_b_dec, err));
    SAE_TRY(get_flag(root, "rescale_acts_by_decoder_norm", 0, &c->rank_by_norm, err));
    SAE_TRY(get_flag(root, "finetuning_scaling_factor", 0, &scaled, err));
    if (scaled)
        return bad("finetuning_scaling_factor", "false",
                   json_object_get(root, "finetuning_scaling_factor"), err);
    return SAE_OK;
}

int sae_cfg_parse(const char *text, size_t bytes, const sae_variant *const *variants, sae_cfg *c,
                  sae_err *err)
{
    json_error_t e;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    memset(c, 0, sizeof *c);
    if (!root)
        SAE_FAIL(err, SAE_EFORMAT, "line %d, column %d: %s", e.line, e.column, e.text);
    int rc = read_cfg(root, variants, c, err);
    json_decref(root);
    return rc;
}

/* The value of an option as text; 0 when the descriptor names none. */
static int option_text(const char *name, const sae_opts *o, char *out, size_t size, sae_err *err)
{
    char *text = name ? sae_opts_get(o, name) : NULL;
    out[0] = '\0';
    if (name && !text)
        SAE_FAIL(err, SAE_EINVAL, "no option %s, which says how weights are stored", name);
    if (text)
        snprintf(out, size, "%s", text);
    sae_free(text);
    return SAE_OK;
}

int sae_cfg_form_of(const sae_saelens *how, const sae_opts *o, sae_cfg_form *out, sae_err *err)
{
    char text[64];
    *out = (sae_cfg_form){.centre = 1};
    if (!how)
        return SAE_OK;
    SAE_TRY(option_text(how->param, o, text, sizeof text, err));
    out->log_threshold = strncmp(text, "log", 3) == 0;
    SAE_TRY(option_text(how->centre, o, text, sizeof text, err));
    out->centre = strcmp(text, "0") != 0;
    SAE_TRY(option_text(how->shrink, o, text, sizeof text, err));
    return text[0] ? sae_real_parse(text, &out->shrink) : SAE_OK;
}
