/* suite/track/alert.c - alerts: opening, grouping, states. */
#include "track/alert.h"

#include "core/error.h"
#include "core/memory.h"
#include "track/alert_parts.h"

#include <math.h>
#include <string.h>

enum { NEAR = 5, RECENT = 14 }; /* nights */

const char *const sae_alert_states[] = {"detected", "confirmed", "triaged", "acknowledged", "fixed",
                                        "verified", "wontfix", "invalid", "expired", NULL};

int sae_alert_inherit(sae_store *s, int64_t changepoint, sae_err *err)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO alert_item(alert_id,changepoint_id)"
        " SELECT i.alert_id,c.id FROM changepoint c JOIN changepoint old"
        " ON old.series_id=c.series_id AND old.id<>c.id AND (old.rel_change>0)=(c.rel_change>0)"
        " JOIN alert_item i ON i.changepoint_id=old.id JOIN alert a ON a.id=i.alert_id"
        " WHERE c.id=?1 AND c.algo<>'exact' AND a.state NOT IN('invalid','expired')"
        " AND NOT EXISTS(SELECT 1 FROM alert_item WHERE changepoint_id=?1)"
        " AND (SELECT count(*) FROM point p JOIN run r ON r.id=p.run_id JOIN build b"
        "  ON b.id=r.build_id JOIN commit_order o ON o.branch=r.branch AND o.git_sha=b.git_sha,"
        "  (SELECT min(seq) AS lo,max(seq) AS hi FROM commit_order n JOIN build nb"
        "    ON nb.git_sha=n.git_sha JOIN run nr ON nr.build_id=nb.id AND nr.branch=n.branch"
        "    WHERE nr.id IN(c.run_id,old.run_id)) span"
        "  WHERE p.series_id=c.series_id AND o.seq BETWEEN span.lo AND span.hi)<=?2+1 LIMIT 1";
    return sae_sql_run(s, err, sql, "ii", changepoint, (int64_t)NEAR);
}

/* ---- opening --------------------------------------------------------------------------------- */

typedef struct fresh { /* a change point without an alert */
    int64_t id, machine, lo, hi; /* commits after lo, up to hi */
    char *name, *bench, *class, *uuid, *git;
    int direction;
    double rel;
} fresh;

static void fresh_free(fresh *f)
{
    sae_free(f->name);
    sae_free(f->bench);
    sae_free(f->class);
    sae_free(f->uuid);
    sae_free(f->git);
}

static int is_canary(const fresh *f)
{
    return !strncmp(f->bench, "calibration", 11);
}

static const char *kind_of(const fresh *f)
{
    int worse = f->direction == 0 || (f->rel > 0) == (f->direction < 0);
    if (is_canary(f))
        return "infra";
    if (!strcmp(f->class, "hash"))
        return "hash";
    return !worse ? "improvement" : strcmp(f->class, "quality") ? "regression" : "quality";
}

/* What comes before the first '/' or ':' of a benchmark's name. */
static int same_family(const char *a, const char *b)
{
    size_t n = strcspn(a, "/:");
    return n == strcspn(b, "/:") && !strncmp(a, b, n);
}

/* The open alert that the change belongs to: one slow commit is one alert. A change between the
 * commits at which the canary of its machine moved belongs to the canary's. 0: none. */
static int find_group(sae_store *s, const fresh *f, const char *branch, int64_t *alert,
                      sae_err *err)
{
    sqlite3_stmt *q;
    *alert = 0;
    SAE_TRY(sae_sql(
        s, &q, err,
        "SELECT a.id,e.bench,a.kind FROM alert a JOIN alert_item i ON i.alert_id=a.id"
        " JOIN changepoint c ON c.id=i.changepoint_id JOIN series e ON e.id=c.series_id"
        " WHERE a.branch=? AND a.machine_id=? AND a.state IN('detected','confirmed','triaged')"
        " AND a.seq_lo<? AND a.seq_hi>? ORDER BY a.kind<>'infra',a.id", "tiii", branch,
        f->machine, f->hi, f->lo));
    int rc = SAE_OK;
    while (!*alert && (rc = sae_sql_next(s, q, err)) == SAE_OK) {
        const char *kind = sae_sql_text(q, 2);
        if (!strcmp(kind, "infra") ||
            (!strcmp(kind, kind_of(f)) && same_family(sae_sql_text(q, 1), f->bench)))
            *alert = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return *alert ? SAE_OK : rc < 0 ? rc : SAE_OK;
}

int sae_alert_open(sae_store *s, const sae_alert_new *a, int64_t now, int64_t *id, sae_err *err)
{
    char uuid[37];
    SAE_TRY(sae_store_uuid(a->identity, uuid, err));
    SAE_TRY(sae_sql_run(s, err,
                        "INSERT OR IGNORE INTO alert(uuid,kind,state,branch,machine_id,seq_lo,"
                        "seq_hi,title,created_at,updated_at) VALUES(?,?,'detected',?,?,?,?,?,?,?)",
                        "tttiiitii", uuid, a->kind, a->branch, a->machine, a->lo, a->hi, a->title,
                        now, now));
    if (sqlite3_changes(s->db) == 0) {
        *id = 0; /* the same was opened and closed before */
        return SAE_DONE;
    }
    *id = sqlite3_last_insert_rowid(s->db);
    return sae_sql_run(s, err,
                       "INSERT INTO alert_event(alert_id,at,actor,to_state) VALUES(?,?,"
                       "'saemark','detected')", "ii", *id, now);
}

static int open_alert(sae_store *s, const fresh *f, const char *branch, int64_t now, int64_t *id,
                      sae_err *err)
{
    const char *kind = kind_of(f);
    char change[48] = "changed";
    int slower = !strcmp(kind, "regression") || !strcmp(kind, "improvement");
    if (fabs(f->rel) < 1e9 && strcmp(f->class, "hash"))
        snprintf(change, sizeof change, "%+.3g %%%s", 100 * f->rel,
                 !slower ? "" : !strcmp(kind, "improvement") ? " (better)" : " (worse)");
    char *title = sae_strfmt("%s %s at %s", f->name, change, f->git);
    int rc = title ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for an alert");
    sae_alert_new a = {f->uuid, kind, branch, title, f->machine, f->lo, f->hi};
    if (rc >= 0)
        rc = sae_alert_open(s, &a, now, id, err);
    sae_free(title);
    return rc;
}

static int join_alert(sae_store *s, const fresh *f, int64_t alert, int64_t now, sae_err *err)
{
    SAE_TRY(sae_sql_run(s, err, "INSERT INTO alert_item(alert_id,changepoint_id) VALUES(?,?)", "ii",
                        alert, f->id));
    return sae_sql_run(s, err,
                       "UPDATE alert SET seq_lo=max(seq_lo,?),seq_hi=min(seq_hi,?),updated_at=?"
                       " WHERE id=?", "iiii", f->lo, f->hi, now, alert);
}

static int take_fresh(sae_store *s, const fresh *f, const char *branch, int64_t now,
                      int64_t *opened, sae_err *err)
{
    int64_t alert;
    sae_policy p;
    SAE_TRY(sae_policy_find(s, f->name, f->class, &p, err));
    if (!p.gate && !is_canary(f))
        return SAE_OK;
    SAE_TRY(find_group(s, f, branch, &alert, err));
    if (!alert) {
        int rc = open_alert(s, f, branch, now, &alert, err);
        if (rc != SAE_OK)
            return rc;
        ++*opened;
    }
    return join_alert(s, f, alert, now, err);
}

static void read_fresh(fresh *f, sqlite3_stmt *q)
{
    *f = (fresh){.id = sqlite3_column_int64(q, 0),
                 .machine = sqlite3_column_int64(q, 1),
                 .lo = sqlite3_column_int64(q, 2),
                 .hi = sqlite3_column_int64(q, 3),
                 .name = sae_strdup(sae_sql_text(q, 4)),
                 .bench = sae_strdup(sae_sql_text(q, 5)),
                 .class = sae_strdup(sae_sql_text(q, 6)),
                 .uuid = sae_strdup(sae_sql_text(q, 7)),
                 .git = sae_strdup(sae_sql_text(q, 8)),
                 .direction = sqlite3_column_int(q, 9),
                 .rel = sqlite3_column_double(q, 10)};
    if (f->lo >= f->hi) /* two nights of one commit */
        f->lo = f->hi - 1;
}

/* Change points of the last nights that are in no alert, canaries first. */
static int open_new(sae_store *s, const char *branch, int64_t now, int64_t *opened, sae_err *err)
{
    static const char sql[] =
        "SELECT c.id,e.machine_id,lo.seq,hi.seq,e.bench||':'||e.metric,e.bench,e.class,"
        " e.fingerprint||' '||r.uuid,b.git_sha,e.direction,c.rel_change FROM changepoint c"
        " JOIN series e ON e.id=c.series_id JOIN run r ON r.id=c.run_id"
        " JOIN build b ON b.id=r.build_id JOIN run pr ON pr.id=c.prev_run_id"
        " JOIN build pb ON pb.id=pr.build_id"
        " JOIN commit_order hi ON hi.branch=r.branch AND hi.git_sha=b.git_sha"
        " JOIN commit_order lo ON lo.branch=pr.branch AND lo.git_sha=pb.git_sha"
        " WHERE c.retired_at IS NULL AND c.n_right<=? AND e.branch=?"
        " AND c.id NOT IN(SELECT changepoint_id FROM alert_item)"
        " ORDER BY e.bench NOT GLOB 'calibration*',hi.seq,e.bench,e.metric,e.fingerprint";
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err, sql, "it", (int64_t)RECENT, branch));
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        fresh f;
        read_fresh(&f, q);
        rc = f.name && f.bench && f.class && f.uuid && f.git
                 ? take_fresh(s, &f, branch, now, opened, err)
                 : SAE_SET(err, SAE_ENOMEM, "out of memory for an alert");
        fresh_free(&f);
        if (rc < 0)
            break;
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

int sae_alert_update(sae_store *s, const char *branch, int64_t now, int64_t *opened, sae_err *err)
{
    *opened = 0;
    SAE_TRY(open_new(s, branch, now, opened, err));
    SAE_TRY(sae_alert_missing(s, branch, now, opened, err));
    return sae_alert_follow(s, branch, now, err);
}

/* ---- states ---------------------------------------------------------------------------------- */

static const struct step {
    const char *from, *to;
    int note; /* a reason is needed */
} steps[] = {
    {"detected", "confirmed", 0},     {"detected", "triaged", 0},   {"detected", "invalid", 1},
    {"detected", "expired", 0},       {"detected", "acknowledged", 1},
    {"confirmed", "triaged", 0},      {"confirmed", "acknowledged", 1},
    {"confirmed", "wontfix", 1},      {"confirmed", "fixed", 1},    {"confirmed", "expired", 0},
    {"confirmed", "invalid", 1},      {"triaged", "acknowledged", 1},
    {"triaged", "wontfix", 1},        {"triaged", "fixed", 1},      {"triaged", "invalid", 1},
    {"triaged", "expired", 0},        {"fixed", "verified", 0},     {"fixed", "confirmed", 0},
};

static const struct step *find_step(const char *from, const char *to)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (!strcmp(steps[i].from, from) && !strcmp(steps[i].to, to))
            return &steps[i];
    return NULL;
}

/* Levels after an accepted change are measured from it. */
static int accept(sae_store *s, int64_t alert, const char *actor, const char *note, int64_t now,
                  sae_err *err)
{
    return sae_sql_run(s, err,
                       "INSERT INTO annotation(series_glob,branch,seq,kind,text,author,at)"
                       " SELECT DISTINCT e.bench||':'||e.metric,a.branch,a.seq_hi,'new_baseline',"
                       "?2,?3,?4 FROM alert a JOIN alert_item i ON i.alert_id=a.id"
                       " JOIN changepoint c ON c.id=i.changepoint_id"
                       " JOIN series e ON e.id=c.series_id WHERE a.id=?1",
                       "itti", alert, note, actor, now);
}

int sae_alert_state(sae_store *s, int64_t alert, char state[16], sae_err *err)
{
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err, "SELECT state FROM alert WHERE id=?", "i", alert));
    int rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK)
        snprintf(state, 16, "%.15s", sae_sql_text(q, 0));
    else if (rc == SAE_DONE)
        rc = SAE_SET(err, SAE_EINVAL, "%s: there is no alert %lld", s->path, (long long)alert);
    sqlite3_finalize(q);
    return rc;
}

int sae_alert_move(sae_store *s, int64_t alert, const char *state, const char *actor,
                   const char *note, int64_t now, sae_err *err)
{
    char from[16];
    SAE_TRY(sae_alert_state(s, alert, from, err));
    const struct step *step = find_step(from, state);
    if (!step)
        SAE_FAIL(err, SAE_EINVAL, "alert %lld is %s: that cannot become %s", (long long)alert, from,
                 state);
    if (step->note && !*note)
        SAE_FAIL(err, SAE_EINVAL, "alert %lld: %s needs a note that says why", (long long)alert,
                 state);
    SAE_TRY(sae_sql_run(s, err, "UPDATE alert SET state=?,updated_at=? WHERE id=?", "tii", state,
                        now, alert));
    SAE_TRY(sae_sql_run(s, err,
                        "INSERT INTO alert_event(alert_id,at,actor,from_state,to_state,note)"
                        " VALUES(?,?,?,?,?,?)", "iitttt", alert, now, actor, (const char *)from,
                        state, note));
    return strcmp(state, "acknowledged") ? SAE_OK : accept(s, alert, actor, note, now, err);
}
