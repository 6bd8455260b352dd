/* suite/track/store.h - the SQLite file that keeps every measurement: opening, schema, bound
 * queries.
 *
 * Write-ahead log, full synchronisation: what a transaction committed survives a crash, what it
 * had not committed is not there. One writer at a time; another one waits SAE_STORE_WAIT
 * milliseconds.
 */
#ifndef SAE_TRACK_STORE_H
#define SAE_TRACK_STORE_H

#include <jansson.h>
#include <sae/base.h>
#include <sqlite3.h>

enum { SAE_STORE_VERSION = 1, SAE_STORE_WAIT = 10000 };

typedef struct sae_store {
    sqlite3 *db;
    char *path;
} sae_store;

/* Open a store; `create`: make it if there is none. SAE_EIO: absent or unreadable; SAE_EFORMAT:
 * not a store, damaged, or of a newer schema than SAE_STORE_VERSION. */
int sae_store_open(sae_store **s, const char *path, int create, sae_err *err);
void sae_store_close(sae_store **s); /* NULL-safe; rolls back what is open */

int sae_store_begin(sae_store *s, sae_err *err); /* takes the write lock */
/* Commit, or roll back when rc < 0; returns rc or the failure to commit. */
int sae_store_end(sae_store *s, int rc, sae_err *err);

/* Prepare `sql` and bind: `types` has a letter per value: t text (const char *, NULL: null),
 * i int64_t, r double (NaN: null), b bytes (const void *, int64_t). Text and bytes are borrowed
 * until the query is finished (sqlite3_finalize). */
int sae_sql(sae_store *s, sqlite3_stmt **q, sae_err *err, const char *sql, const char *types, ...);
/* The next row: SAE_OK, or SAE_DONE when there is none. */
int sae_sql_next(sae_store *s, sqlite3_stmt *q, sae_err *err);
/* Bind again, run to the end and leave ready for the next values. */
int sae_sql_again(sae_store *s, sqlite3_stmt *q, sae_err *err, const char *types, ...);
/* Prepare, bind, run to the end. */
int sae_sql_run(sae_store *s, sae_err *err, const char *sql, const char *types, ...);
/* First column of the first row into *out; SAE_DONE: no row, *out is 0. */
int sae_sql_int(sae_store *s, int64_t *out, sae_err *err, const char *sql, const char *types, ...);

const char *sae_sql_text(sqlite3_stmt *q, int column);  /* "" for null; until the next row */
double sae_sql_real(sqlite3_stmt *q, int column);       /* NaN for null */

/* The rows of a query as an array of objects, keys by column names; NULL: failed. */
json_t *sae_sql_json(sae_store *s, sae_err *err, const char *sql, const char *types, ...);

/* The key of a row that is what `identity` says, the same on every machine. */
int sae_store_uuid(const char *identity, char out[37], sae_err *err);

/* Integrity and foreign keys: SAE_EFORMAT with the first fault. */
int sae_store_check(sae_store *s, sae_err *err);
/* A compact copy as it is now; the file must not exist. */
int sae_store_backup(sae_store *s, const char *path, sae_err *err);
/* Delete samples of runs before `before` (Unix seconds) except those of the ten points on either
 * side of a change point; points stay. *deleted: rows. */
int sae_store_prune(sae_store *s, int64_t before, int64_t *deleted, sae_err *err);

#endif
