/* suite/track/import.c - measurements into the store. */
#include "track/import.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

enum { DIGITS = 12 }; /* of a commit: all the store keeps, so that short and long names agree */

static int fingerprint(const json_t *j, char out[65], sae_err *err)
{
    char *text = j ? sae_canonical(j) : NULL;
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a fingerprint");
    int rc = sae_sha256(text, strlen(text), out, err);
    sae_free(text);
    return rc;
}

/* ---- machine, build, commit ------------------------------------------------------------------ */

typedef struct target { /* where the samples go */
    const char *branch, *host, *version;
    int64_t machine, build, run;
    char machine_print[65];
    char git[DIGITS + 1];
    int dirty;
} target;

static int put_machine(sae_store *s, const sae_readings *b, target *t, sae_err *err)
{
    json_t *j = json_pack("{s:s}", "host", t->host);
    int rc = fingerprint(j, t->machine_print, err);
    json_decref(j);
    SAE_TRY(rc);
    char *info = sae_canonical(b->host);
    if (!info)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a machine");
    rc = sae_sql_run(s, err,
                     "INSERT INTO machine(fingerprint,hostname,info_json) VALUES(?,?,?)"
                     " ON CONFLICT(fingerprint) DO NOTHING",
                     "ttt", t->machine_print, t->host, info);
    sae_free(info);
    SAE_TRY(rc);
    return sae_sql_int(s, &t->machine, err, "SELECT id FROM machine WHERE fingerprint=?", "t",
                       t->machine_print);
}

static int put_build(sae_store *s, const sae_readings *b, const sae_import *how, target *t,
                     sae_err *err)
{
    char print[65];
    const char *compiler = sae_json_text(b->build, "compiler"),
               *flags = sae_json_text(b->build, "flags");
    const char *blas = sae_json_text(b->build, "library"), *cuda = sae_json_text(b->build, "cuda");
    const char *binary = how->binary ? how->binary : "";
    json_t *j = json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:s}", "git", t->git, "dirty", t->dirty,
                          "compiler", compiler, "cflags", flags, "blas", blas, "cuda", cuda,
                          "binary", binary);
    int rc = fingerprint(j, print, err);
    json_decref(j);
    SAE_TRY(rc);
    char *info = sae_canonical(b->build);
    if (!info)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a build");
    rc = sae_sql_run(s, err,
                     "INSERT INTO build(fingerprint,git_sha,git_dirty,tree_sha256,compiler,cflags,"
                     "blas,cuda,binary_sha256,info_json) VALUES(?,?,?,'',?,?,?,?,?,?)"
                     " ON CONFLICT(fingerprint) DO NOTHING",
                     "ttitttttt", print, t->git, (int64_t)t->dirty, compiler, flags, blas,
                     *cuda ? cuda : NULL, binary, info);
    sae_free(info);
    SAE_TRY(rc);
    return sae_sql_int(s, &t->build, err, "SELECT id FROM build WHERE fingerprint=?", "t", print);
}

int sae_import_commit(sae_store *s, const char *branch, const char *sha, const char *parent,
                      int64_t at, int64_t *seq, sae_err *err)
{
    int rc = sae_sql_int(s, seq, err, "SELECT seq FROM commit_order WHERE branch=? AND git_sha=?",
                         "tt", branch, sha);
    if (rc != SAE_DONE)
        return rc;
    int64_t taken = 1;
    for (*seq = at; taken; *seq += taken)
        SAE_TRY(sae_sql_int(s, &taken, err,
                            "SELECT count(*) FROM commit_order WHERE branch=? AND seq=?", "ti",
                            branch, *seq));
    return sae_sql_run(s, err, "INSERT INTO commit_order VALUES(?,?,?,?,?)", "ttiti", branch, sha,
                       *seq, parent, at);
}

/* ---- run ------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* The same sources under the same circumstances are the same run, in whatever order. */
static int run_uuid(const sae_readings *b, const char *kind, const target *t, char out[37],
                    sae_err *err)
{
    size_t n = json_array_size(b->source);
    const char **sha;
    sae_text text = {0};
    SAE_TRY(sae_new(&sha, (int64_t)n, sizeof *sha, "track.sources", err));
    for (size_t i = 0; i < n; i++)
        sha[i] = sae_json_text(json_array_get(b->source, i), "sha256");
    qsort(sha, n, sizeof *sha, by_text);
    const char *const more[] = {kind, t->branch, t->machine_print, t->git};
    for (size_t i = 0; i < n + 4; i++) {
        sae_text_puts(&text, i < n ? sha[i] : more[i - n]);
        sae_text_putc(&text, '\n');
    }
    sae_free(sha);
    char *all = sae_text_take(&text);
    int rc = all ? sae_store_uuid(all, out, err)
                 : SAE_SET(err, SAE_ENOMEM, "out of memory for a run");
    sae_free(all);
    return rc;
}

static int put_run(sae_store *s, const sae_readings *b, const sae_import *how, target *t,
                   int64_t now, sae_err *err)
{
    char uuid[37];
    const char *kind = how->kind ? how->kind : "nightly";
    SAE_TRY(run_uuid(b, kind, t, uuid, err));
    int rc = sae_sql_int(s, &t->run, err, "SELECT id FROM run WHERE uuid=?", "t", uuid);
    if (rc != SAE_DONE)
        return rc < 0 ? rc : SAE_DONE; /* the run is there: done */
    char *env = sae_canonical(b->env);
    if (!env)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a run");
    const char *status = how->status ? how->status : "ok";
    rc = sae_sql_run(s, err,
                     "INSERT INTO run(uuid,machine_id,build_id,branch,kind,peer_run_id,started_at,"
                     "ended_at,status,env_json) VALUES(?,?,?,?,?,nullif(?,0),?,?,?,?)",
                     "tiittiiitt", uuid, t->machine, t->build, t->branch, kind, how->peer,
                     b->when ? b->when : now, now, status, env);
    sae_free(env);
    t->run = sqlite3_last_insert_rowid(s->db);
    return rc;
}

/* ---- series and samples ---------------------------------------------------------------------- */

static int put_series(sae_store *s, const sae_readings *b, const sae_readings_series *e,
                      const target *t, int64_t *id, sae_err *err)
{
    char print[65];
    const char *class = sae_class_name[e->trait->class], *data = b->data ? b->data : "";
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "bench", e->bench, "params",
                          e->params, "metric", e->metric, "unit", e->unit, "machine",
                          t->machine_print, "branch", t->branch, "suite_version", t->version,
                          "dataset", data);
    int rc = fingerprint(j, print, err);
    json_decref(j);
    SAE_TRY(rc);
    rc = sae_sql_int(s, id, err, "SELECT id FROM series WHERE fingerprint=?", "t", print);
    if (rc != SAE_DONE)
        return rc;
    SAE_TRY(sae_sql_run(s, err,
                        "INSERT INTO series(fingerprint,bench,params_json,metric,unit,direction,"
                        "class,machine_id,branch,suite_version,dataset_sha256)"
                        " VALUES(?,?,?,?,?,?,?,?,?,?,nullif(?,''))",
                        "tttttitittt", print, e->bench, e->params, e->metric, e->unit,
                        (int64_t)e->trait->direction, class, t->machine, t->branch, t->version,
                        data));
    *id = sqlite3_last_insert_rowid(s->db);
    return SAE_OK;
}

static int put_samples(sae_store *s, const sae_readings *b, const target *t, sae_err *err)
{
    int64_t *id;
    sqlite3_stmt *q = NULL;
    int rc;
    SAE_TRY(sae_new(&id, b->series_count, sizeof *id, "track.series", err));
    for (int64_t i = 0; i < b->series_count; i++)
        SAE_GOTO(put_series(s, b, &b->series[i], t, &id[i], err));
    SAE_GOTO(sae_sql(s, &q, err, "INSERT INTO sample VALUES(?,?,?,?,?,?,?,?)", ""));
    for (int64_t i = 0; i < b->sample_count; i++) {
        const sae_readings_sample *m = &b->sample[i];
        int number = m->status == SAE_SAMPLE_OK && !m->text[0];
        SAE_GOTO(sae_sql_again(s, q, err, "iiiirtii", id[m->series], t->run, m->process, m->rep,
                               number ? m->value : (double)NAN, m->text[0] ? m->text : NULL,
                               m->iterations, (int64_t)m->status));
    }
fail:
    sqlite3_finalize(q);
    sae_free(id);
    return rc;
}

/* The files as they were, compressed: what the tables leave out can still be read. */
static int put_blob(sae_store *s, const json_t *source, sae_err *err)
{
    const char *path = sae_json_text(source, "path");
    sae_map m;
    if (strcmp(sae_json_text(source, "type"), "gbench"))
        return SAE_OK;
    SAE_TRY(sae_map_open(&m, path, err));
    uLongf bytes = compressBound((uLong)m.bytes);
    unsigned char *z = sae_alloc(bytes);
    int rc = SAE_OK;
    if (!z || compress2(z, &bytes, m.p, (uLong)m.bytes, Z_DEFAULT_COMPRESSION) != Z_OK)
        rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path);
    if (rc >= 0)
        rc = sae_sql_run(s, err, "INSERT OR IGNORE INTO blob VALUES(?,?,?)", "ttb",
                         sae_json_text(source, "sha256"), "application/json+zlib", (const void *)z,
                         (int64_t)bytes);
    sae_free(z);
    sae_map_close(&m);
    return rc;
}

/* ---- import ---------------------------------------------------------------------------------- */

/* "28043472da01-dirty", or "v1.0-3-g28043472da01" in a tree with tags; cut to 12 digits. */
static void read_git(const char *git, target *t)
{
    const char *end = strstr(git, "-dirty"), *tag;
    t->dirty = end != NULL;
    for (tag = git; (tag = strstr(tag, "-g")) != NULL; tag++)
        git = tag + 2;
    size_t len = end ? (size_t)(end - git) : strlen(git);
    snprintf(t->git, sizeof t->git, "%.*s", (int)(len < DIGITS ? len : DIGITS), git);
}

static int find_target(const sae_readings *b, const sae_import *how, target *t, sae_err *err)
{
    read_git(how->git ? how->git : sae_json_text(b->build, "git"), t);
    t->branch = how->branch ? how->branch : "main";
    t->host = how->host ? how->host : sae_json_text(b->host, "host_name");
    t->version = sae_json_text(b->build, "saemark");
    if (!*t->git || !strcmp(t->git, "unknown"))
        SAE_FAIL(err, SAE_EINVAL, "which commit was measured? The files name none: --git SHA");
    if (!*t->host)
        SAE_FAIL(err, SAE_EINVAL, "which machine was it? The files name none: --machine NAME");
    return SAE_OK;
}

static int import(sae_store *s, const sae_readings *b, const sae_import *how, target *t,
                  sae_err *err)
{
    int64_t seq, now = (int64_t)time(NULL), at = b->when ? b->when : now;
    SAE_TRY(put_machine(s, b, t, err));
    SAE_TRY(put_build(s, b, how, t, err));
    int rc = put_run(s, b, how, t, now, err);
    if (rc != SAE_OK)
        return rc;
    at = how->commit_time ? how->commit_time : at;
    SAE_TRY(sae_import_commit(s, t->branch, t->git, NULL, at, &seq, err));
    SAE_TRY(put_samples(s, b, t, err));
    for (size_t i = 0; i < json_array_size(b->source); i++)
        SAE_TRY(put_blob(s, json_array_get(b->source, i), err));
    return sae_import_points(s, t->run, err);
}

int sae_import_readings(sae_store *s, const sae_readings *b, const sae_import *how, int64_t *run,
                     sae_err *err)
{
    target t = {.run = 0};
    SAE_TRY(find_target(b, how, &t, err));
    SAE_TRY(sae_store_begin(s, err));
    int rc = sae_store_end(s, import(s, b, how, &t, err), err);
    *run = t.run;
    return rc;
}

/* ---- commits --------------------------------------------------------------------------------- */

int sae_commit_find(sae_store *s, const char *branch, const char *sha, int64_t *seq, sae_err *err)
{
    enum { NAMED = 5 };
    char name[DIGITS + 1], found[NAMED * (DIGITS + 2) + 1] = "";
    sqlite3_stmt *q;
    int n = 0, rc;
    snprintf(name, sizeof name, "%.*s", DIGITS, sha);
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT seq,git_sha FROM commit_order WHERE branch=? AND"
                    " substr(git_sha,1,length(?2))=?2 ORDER BY git_sha<>?2,seq", "tt", branch,
                    (const char *)name));
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK && n++ < NAMED) {
        const char *git = sae_sql_text(q, 1);
        size_t used = strlen(found);
        if (n == 1)
            *seq = sqlite3_column_int64(q, 0);
        if (!strcmp(git, name))
            break;
        snprintf(found + used, sizeof found - used, "%s%s", n > 1 ? ", " : "", git);
    }
    sqlite3_finalize(q);
    if (rc >= 0 && n == 0)
        SAE_FAIL(err, SAE_EINVAL, "%s: branch %s has no commit %s", s->path, branch, name);
    if (rc >= 0 && n > 1)
        SAE_FAIL(err, SAE_EINVAL, "%s: branch %s has several commits %s...: %s%s", s->path, branch,
                 name, found, n > NAMED ? ", ..." : "");
    return rc < 0 ? rc : SAE_OK;
}

/* One line; words are cut off in place. *before: place of the line above. */
static int take_commit(sae_store *s, const char *branch, char *line, int64_t *before,
                       int64_t *added, sae_err *err)
{
    char *rest = NULL, *sha = strtok_r(line, " \t\r", &rest), *word, *last = NULL, *parent = NULL;
    if (!sha)
        return SAE_OK;
    while ((word = strtok_r(NULL, " \t\r", &rest)) != NULL) {
        parent = parent ? parent : last;
        last = word;
    }
    char *end = NULL;
    int64_t at = last ? strtoll(last, &end, 10) : 0, seq;
    if (!last || *end || at <= 0 || strspn(sha, "0123456789abcdef") != strlen(sha))
        SAE_FAIL(err, SAE_EFORMAT,
                 "commits: expected lines \"SHA PARENT... TIME\", found \"%.60s\"", sha);
    if (strlen(sha) > DIGITS)
        sha[DIGITS] = '\0';
    if (parent && strlen(parent) > DIGITS)
        parent[DIGITS] = '\0';
    int rc = sae_sql_int(s, &seq, err, "SELECT seq FROM commit_order WHERE branch=? AND git_sha=?",
                         "tt", branch, sha);
    if (rc == SAE_DONE) {
        rc = sae_import_commit(s, branch, sha, parent, at > *before ? at : *before + 1, &seq, err);
        *added += 1;
    } else if (rc >= 0 && seq <= *before) {
        rc = SAE_SET(err, SAE_EFORMAT, "commits: %.12s stands before its parent in the store: its "
                     "place is fixed by earlier imports", sha);
    }
    *before = seq;
    return rc;
}

int sae_import_commits(sae_store *s, const char *branch, const char *text, size_t bytes,
                       int64_t *added, sae_err *err)
{
    int64_t before = 0;
    *added = 0;
    SAE_TRY(sae_store_begin(s, err));
    int rc = SAE_OK;
    for (size_t at = 0; rc >= 0 && at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t len = end ? (size_t)(end - text) - at : bytes - at;
        char *line = sae_strfmt("%.*s", (int)(len < 4096 ? len : 4096), text + at);
        rc = line ? take_commit(s, branch, line, &before, added, err)
                  : SAE_SET(err, SAE_ENOMEM, "out of memory for a commit");
        sae_free(line);
        at += len + 1;
    }
    return sae_store_end(s, rc, err);
}
