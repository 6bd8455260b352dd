/* suite/track/store.c - the SQLite file that keeps every measurement. */
#include "track/store.h"

#include "core/assets.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { APPLICATION = 0x5341454d }; /* "SAEM", in the file's header */

/* Scripts that bring version i to i + 1. */
static const char *const steps[SAE_STORE_VERSION] = {"suite/track/schema-1.sql"};

/* ---- errors ---------------------------------------------------------------------------------- */

static int fail(const sae_store *s, int code, sae_err *err)
{
    const char *said = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        SAE_FAIL(err, SAE_EIO, "%s: another program is writing to it (waited %d s)", s->path,
                 SAE_STORE_WAIT / 1000);
    case SQLITE_FULL:
        SAE_FAIL(err, SAE_EIO, "%s: no room left (%s); nothing of this was stored", s->path, said);
    case SQLITE_NOMEM:
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", s->path);
    case SQLITE_NOTADB:
        SAE_FAIL(err, SAE_EFORMAT, "%s: not a SQLite file", s->path);
    case SQLITE_CORRUPT:
        SAE_FAIL(err, SAE_EFORMAT, "%s: damaged (%s)", s->path, said);
    case SQLITE_CONSTRAINT:
        SAE_FAIL(err, SAE_EFORMAT, "%s: %s", s->path, said);
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
        SAE_FAIL(err, SAE_EBACKEND, "%s: %s", s->path, said);
    default:
        SAE_FAIL(err, SAE_EIO, "%s: %s", s->path, said);
    }
}

/* ---- queries --------------------------------------------------------------------------------- */

static int bind(sqlite3_stmt *q, const char *types, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; rc == SQLITE_OK && *types; i++, types++) {
        if (*types == 't') {
            rc = sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
        } else if (*types == 'i') {
            rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
        } else if (*types == 'r') {
            double v = va_arg(ap, double);
            rc = isnan(v) ? sqlite3_bind_null(q, i) : sqlite3_bind_double(q, i, v);
        } else {
            const void *p = va_arg(ap, const void *);
            rc = sqlite3_bind_blob64(q, i, p, (sqlite3_uint64)va_arg(ap, int64_t), SQLITE_STATIC);
        }
    }
    return rc;
}

static int prepare(sae_store *s, sqlite3_stmt **q, sae_err *err, const char *sql,
                   const char *types, va_list ap)
{
    int rc = sqlite3_prepare_v2(s->db, sql, -1, q, NULL);
    if (rc == SQLITE_OK)
        rc = bind(*q, types, ap);
    if (rc == SQLITE_OK)
        return SAE_OK;
    rc = fail(s, rc, err);
    sqlite3_finalize(*q);
    *q = NULL;
    return rc;
}

int sae_sql(sae_store *s, sqlite3_stmt **q, sae_err *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    *q = NULL;
    int rc = prepare(s, q, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int sae_sql_next(sae_store *s, sqlite3_stmt *q, sae_err *err)
{
    int rc = sqlite3_step(q);
    return rc == SQLITE_ROW ? SAE_OK : rc == SQLITE_DONE ? SAE_DONE : fail(s, rc, err);
}

static int run_to_end(sae_store *s, sqlite3_stmt *q, sae_err *err)
{
    int rc;
    do
        rc = sae_sql_next(s, q, err);
    while (rc == SAE_OK);
    return rc < 0 ? rc : SAE_OK;
}

int sae_sql_again(sae_store *s, sqlite3_stmt *q, sae_err *err, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    int rc = bind(q, types, ap);
    va_end(ap);
    rc = rc == SQLITE_OK ? run_to_end(s, q, err) : fail(s, rc, err);
    sqlite3_reset(q);
    return rc;
}

int sae_sql_run(sae_store *s, sae_err *err, const char *sql, const char *types, ...)
{
    sqlite3_stmt *q = NULL;
    va_list ap;
    va_start(ap, types);
    int rc = prepare(s, &q, err, sql, types, ap);
    va_end(ap);
    SAE_TRY(rc);
    rc = run_to_end(s, q, err);
    sqlite3_finalize(q);
    return rc;
}

int sae_sql_int(sae_store *s, int64_t *out, sae_err *err, const char *sql, const char *types, ...)
{
    sqlite3_stmt *q = NULL;
    va_list ap;
    *out = 0;
    va_start(ap, types);
    int rc = prepare(s, &q, err, sql, types, ap);
    va_end(ap);
    SAE_TRY(rc);
    rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return rc;
}

const char *sae_sql_text(sqlite3_stmt *q, int column)
{
    const unsigned char *p = sqlite3_column_text(q, column);
    return p ? (const char *)p : "";
}

double sae_sql_real(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? (double)NAN
                                                         : sqlite3_column_double(q, column);
}

static json_t *column_json(sqlite3_stmt *q, int column)
{
    switch (sqlite3_column_type(q, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(q, column));
    case SQLITE_FLOAT:
        return sae_json_real(sqlite3_column_double(q, column));
    case SQLITE_NULL:
        return json_null();
    default:
        return json_string(sae_sql_text(q, column));
    }
}

json_t *sae_sql_json(sae_store *s, sae_err *err, const char *sql, const char *types, ...)
{
    sqlite3_stmt *q = NULL;
    json_t *all = json_array();
    va_list ap;
    va_start(ap, types);
    int rc = all ? prepare(s, &q, err, sql, types, ap)
                 : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", s->path);
    va_end(ap);
    while (rc >= 0 && (rc = sae_sql_next(s, q, err)) == SAE_OK) {
        json_t *row = json_object();
        int lost = json_array_append_new(all, row);
        for (int i = 0; !lost && i < sqlite3_column_count(q); i++)
            lost = json_object_set_new(row, sqlite3_column_name(q, i), column_json(q, i));
        if (lost)
            rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", s->path);
    }
    sqlite3_finalize(q);
    if (rc >= 0)
        return all;
    json_decref(all);
    return NULL;
}

int sae_store_uuid(const char *identity, char out[37], sae_err *err)
{
    char hash[65];
    SAE_TRY(sae_sha256(identity, strlen(identity), hash, err));
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hash, hash + 8, hash + 12, hash + 16, hash + 20);
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int script(sae_store *s, const char *sql, sae_err *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SAE_OK : fail(s, rc, err);
}

/* Whose file is it, and how old: *version, or SAE_EFORMAT. A new file has version 0. */
static int identify(sae_store *s, int create, int64_t *version, sae_err *err)
{
    int64_t tables, application;
    SAE_TRY(sae_sql_int(s, version, err, "PRAGMA user_version", ""));
    SAE_TRY(sae_sql_int(s, &application, err, "PRAGMA application_id", ""));
    SAE_TRY(sae_sql_int(s, &tables, err, "SELECT count(*) FROM sqlite_schema", ""));
    if (tables > 0 ? application != APPLICATION : !create)
        SAE_FAIL(err, SAE_EFORMAT, "%s: a SQLite file, but not a store of saemark", s->path);
    if (*version > SAE_STORE_VERSION)
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: written by a newer saemark: schema %lld, this program knows up to %d",
                 s->path, (long long)*version, SAE_STORE_VERSION);
    return SAE_OK;
}

/* Bring the schema up to date. Another program may do the same: look again with the lock. */
static int migrate(sae_store *s, int create, sae_err *err)
{
    int64_t version;
    SAE_TRY(identify(s, create, &version, err));
    if (version == SAE_STORE_VERSION)
        return SAE_OK;
    SAE_TRY(sae_store_begin(s, err));
    int rc = identify(s, create, &version, err);
    for (; rc >= 0 && version < SAE_STORE_VERSION; version++) {
        const sae_asset *a = sae_asset_find(steps[version]);
        SAE_ASSERT(a != NULL);
        rc = script(s, (const char *)a->data, err);
    }
    if (rc >= 0) {
        char sql[96];
        snprintf(sql, sizeof sql, "PRAGMA user_version=%d; PRAGMA application_id=%d",
                 SAE_STORE_VERSION, APPLICATION);
        rc = script(s, sql, err);
    }
    return sae_store_end(s, rc, err);
}

/* Switching to the write-ahead log needs the file alone and does not wait by itself. */
static int use_wal(sae_store *s, sae_err *err)
{
    int rc = SQLITE_BUSY;
    for (int waited = 0; rc == SQLITE_BUSY && waited <= SAE_STORE_WAIT; waited += 50) {
        if (waited)
            sqlite3_sleep(50);
        rc = sqlite3_exec(s->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? SAE_OK : fail(s, rc, err);
}

int sae_store_open(sae_store **out, const char *path, int create, sae_err *err)
{
    sae_store *s;
    int rc;
    *out = NULL;
    SAE_TRY(sae_new(&s, 1, sizeof *s, "track.store", err));
    s->path = sae_strdup(path);
    if (!s->path)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path));
    rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0),
                         NULL);
    if (rc == SQLITE_CANTOPEN)
        SAE_GOTO(SAE_SET(err, SAE_EIO, "%s: cannot open the store%s", path,
                         create ? "" : " (saemark track import makes one)"));
    if (rc != SQLITE_OK)
        SAE_GOTO(fail(s, rc, err));
    sqlite3_busy_timeout(s->db, SAE_STORE_WAIT);
    sqlite3_extended_result_codes(s->db, 1);
    SAE_GOTO(migrate(s, create, err));
    SAE_GOTO(use_wal(s, err));
    SAE_GOTO(script(s, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON", err));
    *out = s;
    return SAE_OK;
fail:
    sae_store_close(&s);
    return rc;
}

void sae_store_close(sae_store **s)
{
    if (!*s)
        return;
    sqlite3_close((*s)->db);
    sae_free((*s)->path);
    sae_free(*s);
    *s = NULL;
}

int sae_store_begin(sae_store *s, sae_err *err)
{
    return script(s, "BEGIN IMMEDIATE", err);
}

int sae_store_end(sae_store *s, int rc, sae_err *err)
{
    if (rc >= 0) {
        int done = script(s, "COMMIT", err);
        if (done >= 0)
            return rc;
        rc = done;
    }
    /* A full disk may have rolled back by itself. */
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* ---- care ------------------------------------------------------------------------------------ */

int sae_store_check(sae_store *s, sae_err *err)
{
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err, "PRAGMA integrity_check(1)", ""));
    int rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK && strcmp(sae_sql_text(q, 0), "ok"))
        rc = SAE_SET(err, SAE_EFORMAT, "%s: damaged: %s", s->path, sae_sql_text(q, 0));
    sqlite3_finalize(q);
    SAE_TRY(rc);
    SAE_TRY(sae_sql(s, &q, err, "PRAGMA foreign_key_check", ""));
    rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK)
        rc = SAE_SET(err, SAE_EFORMAT, "%s: damaged: a row of %s refers to nothing in %s", s->path,
                     sae_sql_text(q, 0), sae_sql_text(q, 2));
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

int sae_store_backup(sae_store *s, const char *path, sae_err *err)
{
    if (sae_file_exists(path))
        SAE_FAIL(err, SAE_EINVAL, "%s: exists already", path);
    return sae_sql_run(s, err, "VACUUM INTO ?", "t", path);
}

int sae_store_prune(sae_store *s, int64_t before, int64_t *deleted, sae_err *err)
{
    static const char sql[] =
        "WITH place AS (SELECT p.series_id, p.run_id, row_number() OVER "
        "  (PARTITION BY p.series_id ORDER BY o.seq, r.started_at, r.uuid) AS n FROM point p"
        "  JOIN run r ON r.id=p.run_id JOIN build b ON b.id=r.build_id"
        "  LEFT JOIN commit_order o ON o.branch=r.branch AND o.git_sha=b.git_sha),"
        " old AS (SELECT l.series_id, l.run_id FROM place l JOIN run r ON r.id=l.run_id"
        "  WHERE r.started_at<?1 AND NOT EXISTS (SELECT 1 FROM changepoint c JOIN place k"
        "    ON k.series_id=c.series_id AND k.run_id=c.run_id"
        "    WHERE c.series_id=l.series_id AND c.retired_at IS NULL AND abs(k.n-l.n)<=10))"
        "DELETE FROM sample WHERE (series_id,run_id) IN (SELECT series_id,run_id FROM old)";
    SAE_TRY(sae_store_begin(s, err));
    int rc = sae_sql_run(s, err, sql, "i", before);
    *deleted = rc < 0 ? 0 : sqlite3_changes(s->db);
    return sae_store_end(s, rc, err);
}
