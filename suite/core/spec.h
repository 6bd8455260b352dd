/* suite/core/spec.h - spec strings: "name:key=value,key=value".
 *
 * Grammar: name [":" key "=" value {"," key "=" value}]; a value is bare (parentheses nest, commas
 * inside them belong to the value) or in double quotes with \" and \\. For variants two keys are
 * read here: n (dictionary size), n=16384, or n=8d for 8 times the activation width; and preset,
 * whose options apply where the text gives no others. train.lr=1e-3 and the like (sae_train_keys)
 * set what trains it; no option of a component has a dot in its name.
 * Sweeps: "name:k={8,16,32},n={8d,16d}" expands to the Cartesian product, rightmost fastest.
 */
#ifndef SAE_CORE_SPEC_H
#define SAE_CORE_SPEC_H

#include "options.h"
#include "registry.h"

enum { SAE_TRAIN_KEYS = 8 };
extern const char *const sae_train_keys[]; /* "lr", ..., NULL */

typedef struct sae_spec {
    const char *name;      /* of the component; static or owned by the registry */
    const sae_variant *variant; /* exactly one of the three is set */
    const sae_metric *metric;
    const sae_dataset *dataset;
    sae_opts *opts;
    int64_t n;             /* variants: dictionary size, 0 until resolved */
    int64_t n_per_d;       /* variants: n = n_per_d * d, 0 if n was given */
    const sae_preset *preset; /* variants: the one named, or NULL */
    double train[SAE_TRAIN_KEYS]; /* variants: training settings in the order of the keys */
    unsigned train_given;         /* bit i: train[i] is given */
} sae_spec;

enum sae_kind { SAE_KIND_VARIANT, SAE_KIND_METRIC, SAE_KIND_DATASET };

/* SAE_EINVAL / SAE_EFORMAT with the offending part of the text. A variant's n defaults to 8d. */
int sae_spec_parse(sae_spec *s, const sae_registry *reg, enum sae_kind kind, const char *text,
                   sae_err *err);
void sae_spec_free(sae_spec *s);

/* Fix n for an activation width; no-op if n was given. */
int sae_spec_resolve(sae_spec *s, int64_t d, sae_err *err);

/* "name:key=value,...": every option, keys sorted, n included (canonical = 1; the identity of a
 * run), or n and the non-defaults (canonical = 0; for people); then the training settings that the
 * text gives. Caller frees; NULL when out of memory. */
char *sae_spec_print(const sae_spec *s, int canonical);

/* Expand {a,b} alternatives. *out is a NULL-terminated list; free with sae_spec_list_free. */
int sae_spec_expand(const char *text, char ***out, sae_err *err);
void sae_spec_list_free(char ***list);

/* Training settings of a variant where neither the spec (train) nor the run gives one: its
 * preset's, or the variant's own. */
const sae_train_defaults *sae_spec_train(const sae_spec *s);

/* First 16 hexadecimal digits of the xxh128 of a canonical string: the name of result files. */
void sae_spec_id(const char *canonical, char out[17]);

#endif
