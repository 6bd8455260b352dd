/* suite/core/options.h - option tables, values, schedules.
 *
 * Text forms: INT 32 or 1e6 (if integral); REAL 0.5, 3e-4; BOOL 0/1/true/false/on/off; ENUM a name.
 * A REAL option flagged SAE_OPT_SCHED also takes a schedule
 *   lin(a,b,t0,t1)  a until step t0, linear to b at t1, then b
 *   cos(a,b,t0,t1)  the same with half a cosine
 *   exp(a,b,t0,t1)  the same, geometric; a and b positive
 *   step(a,b,t)     a before step t, b from it on
 * where steps may be given as a share of the run with a percent sign: lin(0,1,0,5%).
 */
#ifndef SAE_CORE_OPTIONS_H
#define SAE_CORE_OPTIONS_H

#include <sae/base.h>

typedef struct sae_opts sae_opts; /* one configured option struct with its schedules */

/* All options at their defaults. */
int sae_opts_open(sae_opts **o, const sae_option *table, size_t opt_size, sae_err *err);
void sae_opts_close(sae_opts **o);

/* Set one option from text. SAE_EINVAL: unknown key (message lists the known ones, nearest first),
 * malformed value, value out of [lo, hi] (message has the range, unit and help text). */
int sae_opts_set(sae_opts *o, const char *key, const char *value, sae_err *err);
/* 1 after a set, 0 before, -1 if there is no such key. */
int sae_opts_given(const sae_opts *o, const char *key);
/* SAE_EINVAL: the value is outside the option's range. */
int sae_opt_outside(const sae_option *o, const char *value, sae_err *err);
/* SAE_EINVAL if a required string option (sdef == NULL) was never set. */
int sae_opts_complete(const sae_opts *o, sae_err *err);

/* The option struct at step 0; valid until close. */
const void *sae_opts_base(const sae_opts *o);
/* Write the option struct with schedules applied for `step` of `steps` into out (opt_size
 * bytes). */
void sae_opts_at(const sae_opts *o, int64_t step, int64_t steps, void *out);

/* Append "key=value,..." with keys sorted: all of them (canonical) or only non-defaults (display).
 * Reals print as the shortest text that reads back to the same double; strings that need it are
 * quoted. Returns a string the caller frees with sae_free, NULL when out of memory. */
char *sae_opts_print(const sae_opts *o, int canonical);
/* The same with one more pair, "key=value" as it is, at its place in the order. */
char *sae_opts_print_with(const sae_opts *o, int canonical, const char *key, const char *value);
/* Value of one option as text, strings without quotes (caller frees); NULL if there is
 * no such key. */
char *sae_opts_get(const sae_opts *o, const char *key);

/* Numbers as text, the same in every locale. Print: the shortest that reads back to the same
 * double ("nan", "inf", "-inf" included); caller frees. Parse: the whole string, or SAE_EINVAL. */
char *sae_real_print(double v);
int sae_real_parse(const char *text, double *out);
int sae_int_parse(const char *text, int64_t *out);

/* Closest entry of a NULL-terminated list by edit distance, or NULL if none is near: for
 * "did you mean". */
const char *sae_nearest(const char *word, const char *const *list);
/* SAE_EINVAL: unknown `what` "word"; did you mean ...? Known: ... */
int sae_unknown_word(const char *what, const char *word, const char *const *list, sae_err *err);
/* The same for a key of an option table, with one more known key unless extra is NULL. */
int sae_unknown_key(const char *key, const sae_option *table, const char *extra, sae_err *err);

#endif
