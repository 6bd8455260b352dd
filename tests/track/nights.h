/* tests/track/nights.h - stores in memory or on disk, filled with made-up nights. */
#ifndef SAE_TESTS_TRACK_NIGHTS_H
#define SAE_TESTS_TRACK_NIGHTS_H

#include "support/support.h"
#include "track/import.h"

#include <stdio.h>
#include <string.h>

enum { NIGHT_ONE = 1700000000, A_DAY = 86400 };

typedef struct night_value {
    const char *bench, *metric; /* of sae_trait_of */
    int64_t process;            /* or seed */
    double value;
} night_value;

static inline const char *night_commit(int night, char out[16])
{
    snprintf(out, 16, "%07x", 0xabc0000 + night);
    return out;
}

/* One night on `host` at commit number `night`; the source's hash names it, so that the same night
 * is the same run. */
static inline int64_t add_night(sae_store *s, const char *host, int night, const night_value *v,
                                int64_t count, const char *kind)
{
    sae_readings b = {.when = NIGHT_ONE + (int64_t)night * A_DAY};
    sae_err err = {0};
    int64_t run;
    char git[16], name[96];
    b.host = json_pack("{s:s}", "host_name", host);
    b.build = json_pack("{s:s}", "git", night_commit(night, git));
    b.env = json_object();
    snprintf(name, sizeof name, "%s %d %s", host, night, v[0].bench);
    b.source = json_pack("[{s:s, s:s, s:s}]", "sha256", name, "type", "test", "path", "none");
    json_t *none = json_object();
    for (int64_t i = 0; i < count; i++) {
        sae_readings_sample m = {.process = v[i].process, .iterations = 1};
        const sae_trait *trait = sae_trait_of(v[i].metric);
        ck_assert_ptr_nonnull(trait);
        ck_assert_ok(sae_readings_find(&b, v[i].bench, none, v[i].metric, "1", trait, &m.series,
                                       &err), err);
        if (trait->class == SAE_CLASS_HASH) {
            snprintf(m.text, sizeof m.text, "%013llx%051d", (unsigned long long)v[i].value, 0);
            ck_assert_ok(sae_readings_add(&b, &m, &err), err);
        } else {
            ck_assert_ok(sae_readings_value(&b, m, v[i].value, &err), err);
        }
    }
    json_decref(none);
    sae_import how = {.kind = kind};
    ck_assert_ok(sae_import_readings(s, &b, &how, &run, &err), err);
    sae_readings_free(&b);
    return run;
}

static inline int64_t sql_int(sae_store *s, const char *sql)
{
    sae_err err = {0};
    int64_t v;
    ck_assert_ok(sae_sql_int(s, &v, &err, sql, ""), err);
    return v;
}

static inline double sql_real(sae_store *s, const char *sql)
{
    sqlite3_stmt *q;
    sae_err err = {0};
    ck_assert_ok(sae_sql(s, &q, &err, sql, ""), err);
    ck_assert_int_eq(sae_sql_next(s, q, &err), SAE_OK);
    double v = sae_sql_real(q, 0);
    sqlite3_finalize(q);
    return v;
}

/* First column of every row, joined by '|'. Static storage. */
static inline const char *sql_text(sae_store *s, const char *sql)
{
    static char out[4096];
    sqlite3_stmt *q;
    sae_err err = {0};
    int rc;
    size_t used = 0;
    out[0] = '\0';
    ck_assert_ok(sae_sql(s, &q, &err, sql, ""), err);
    while ((rc = sae_sql_next(s, q, &err)) == SAE_OK && used < sizeof out)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%s", used ? "|" : "",
                                 sae_sql_text(q, 0));
    ck_assert_ok(rc, err);
    sqlite3_finalize(q);
    return out;
}

static inline sae_store *store_in_memory(void)
{
    sae_store *s;
    sae_err err = {0};
    ck_assert_ok(sae_store_open(&s, ":memory:", 1, &err), err);
    return s;
}

#endif
