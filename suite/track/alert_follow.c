/* suite/track/alert_follow.c - alerts that open and move by themselves. */
#include "core/error.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/alert_parts.h"
#include "track/stats.h"

#include <math.h>
#include <string.h>

enum { RETURNED = 10, AFTER_FIX = 3, RETRY = 3 }; /* nights */

/* ---- benchmarks that disappeared ------------------------------------------------------------- */

static int report_missing(sae_store *s, sqlite3_stmt *q, const char *branch, int64_t now,
                          int64_t *opened, sae_err *err)
{
    int64_t id;
    char *title = sae_strfmt("%s is missing or failed", sae_sql_text(q, 0));
    char *identity = sae_strfmt("missing %s %s", sae_sql_text(q, 1), sae_sql_text(q, 2));
    int rc = title && identity ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for an alert");
    sae_alert_new a = {identity, "missing", branch, title, sqlite3_column_int64(q, 3),
                       sqlite3_column_int64(q, 4), sqlite3_column_int64(q, 5)};
    if (rc >= 0)
        rc = sae_alert_open(s, &a, now, &id, err);
    *opened += rc == SAE_OK;
    sae_free(title);
    sae_free(identity);
    return rc;
}

int sae_alert_missing(sae_store *s, const char *branch, int64_t now, int64_t *opened, sae_err *err)
{
    /* Commits of each machine and kind of measurement, the last measured one first: benchmarks,
     * and quality by its data and settings, which follow each other independently. */
    static const char sql[] =
        "WITH had AS (SELECT DISTINCT e.id AS series,r.machine_id AS machine,o.seq,"
        "  CASE WHEN e.class='quality' THEN ifnull(e.dataset_sha256,'')||e.params_json"
        "  ELSE 'bench' END||e.suite_version AS kind"
        "  FROM series e CROSS JOIN point p ON p.series_id=e.id JOIN run r ON r.id=p.run_id"
        "  JOIN build b ON b.id=r.build_id"
        "  JOIN commit_order o ON o.branch=r.branch AND o.git_sha=b.git_sha"
        "  WHERE e.branch=?1 AND e.metric IN('real_time','reconstruction.fvu')"
        "  AND r.status='ok' AND r.kind='nightly'),"
        " night AS (SELECT machine,kind,seq,row_number() OVER (PARTITION BY machine,kind"
        "  ORDER BY seq DESC) AS age FROM (SELECT DISTINCT machine,kind,seq FROM had))"
        "SELECT e.bench,e.fingerprint,now.seq,was.machine,was.seq,now.seq"
        " FROM night now JOIN night was USING(machine,kind) JOIN had h USING(machine,kind)"
        " JOIN series e ON e.id=h.series WHERE now.age=1 AND was.age=2 AND h.seq=was.seq"
        " AND NOT EXISTS(SELECT 1 FROM had n WHERE n.series=h.series AND n.seq=now.seq)"
        " ORDER BY e.bench";
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err, sql, "t", branch));
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK)
        if ((rc = report_missing(s, q, branch, now, opened, err)) < 0)
            break;
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

/* ---- open alerts ----------------------------------------------------------------------------- */

typedef struct open_alert { /* by its first change point */
    int64_t id, series, run, fixed_at;
    char state[16];
    double left, rel;
    int live; /* any of its change points is */
} open_alert;

/* Median of the last n nights, of which the first is after `from`; NaN when there are fewer. */
static double recent(const sae_history *h, int64_t from, int64_t n)
{
    double x[RETURNED];
    if (h->count - from - 1 < n)
        return (double)NAN;
    for (int64_t i = 0; i < n; i++)
        x[i] = h->night[h->count - n + i].median;
    return sae_median(x, n);
}

static int within(const sae_history *h, const open_alert *a, double level, double rel)
{
    double gap = fabs(level - a->left);
    return h->policy.absolute ? gap <= rel : gap <= rel * fabs(a->left);
}

static int follow_fixed(sae_store *s, const sae_history *h, const open_alert *a, int64_t now,
                        sae_err *err)
{
    int64_t before = h->count - 1;
    while (before >= 0 && h->night[before].at > a->fixed_at)
        before--;
    double level = recent(h, before, AFTER_FIX);
    if (isnan(level))
        return SAE_OK;
    int back = within(h, a, level, 0.01) || (a->rel > 0) == (level < a->left);
    return back ? sae_alert_move(s, a->id, "verified", "saemark", "the level is back", now, err)
                : sae_alert_move(s, a->id, "confirmed", "saemark", "the level is not back", now,
                                 err);
}

static int follow(sae_store *s, const open_alert *a, int64_t now, sae_err *err)
{
    sae_history h;
    SAE_TRY(sae_history_open(&h, s, a->series, err));
    int64_t at = h.count - 1;
    while (at >= 0 && h.night[at].run != a->run)
        at--;
    int rc = SAE_OK;
    double margin = h.policy.min_rel > 0 ? h.policy.min_rel : 1e-12;
    double level = recent(&h, at - 1, RETURNED);
    if (!strcmp(a->state, "fixed"))
        rc = follow_fixed(s, &h, a, now, err);
    else if (!isnan(level) && within(&h, a, level, margin))
        rc = sae_alert_move(s, a->id, "expired", "saemark", "the level went back by itself", now,
                            err);
    else if (!strcmp(a->state, "detected") && !a->live && h.count - at > RETRY)
        rc = sae_alert_move(s, a->id, "expired", "saemark", "no later night shows it", now, err);
    sae_history_close(&h);
    return rc;
}

int sae_alert_follow(sae_store *s, const char *branch, int64_t now, sae_err *err)
{
    static const char sql[] =
        "SELECT a.id,a.state,c.series_id,c.run_id,c.median_left,c.rel_change,"
        " ifnull((SELECT max(at) FROM alert_event v WHERE v.alert_id=a.id AND v.to_state='fixed'),"
        " 0),EXISTS(SELECT 1 FROM alert_item j JOIN changepoint k ON k.id=j.changepoint_id"
        "  WHERE j.alert_id=a.id AND k.retired_at IS NULL) FROM alert a JOIN changepoint c ON c.id="
        " (SELECT i.changepoint_id FROM alert_item i WHERE i.alert_id=a.id"
        "  ORDER BY i.changepoint_id LIMIT 1) WHERE a.branch=?"
        " AND a.state IN('detected','confirmed','triaged','fixed') ORDER BY a.id";
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err, sql, "t", branch));
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        open_alert a = {.id = sqlite3_column_int64(q, 0),
                        .series = sqlite3_column_int64(q, 2),
                        .run = sqlite3_column_int64(q, 3),
                        .left = sqlite3_column_double(q, 4),
                        .rel = sqlite3_column_double(q, 5),
                        .fixed_at = sqlite3_column_int64(q, 6),
                        .live = sqlite3_column_int(q, 7)};
        snprintf(a.state, sizeof a.state, "%.15s", sae_sql_text(q, 1));
        if ((rc = follow(s, &a, now, err)) < 0)
            break;
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}
