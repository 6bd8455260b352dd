/* suite/track/alert_answer.c - what an alert is about, and what comparisons and bisections say. */
#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"
#include "track/alert.h"

#include <math.h>
#include <string.h>

enum { TRIES = 3 }; /* comparisons that cannot tell */

/* ---- what it is about ------------------------------------------------------------------------ */

/* Items of alert ?1 about bench ?2, metric ?3. */
#define ITEMS                                                                                      \
    "alert_id=?1 AND changepoint_id IN(SELECT c.id FROM changepoint c JOIN series e"               \
    " ON e.id=c.series_id WHERE e.bench=?2 AND (e.metric=?3"                                       \
    "  OR (e.class='time' AND ?3 IN('real_time','cpu_time'))))"

int sae_alert_has(sae_store *s, int64_t alert, const char *bench, const char *metric, int *yes,
                  sae_err *err)
{
    int64_t n;
    SAE_TRY(sae_sql_int(s, &n, err, "SELECT count(*) FROM alert_item WHERE " ITEMS, "itt", alert,
                        bench, metric));
    *yes = n > 0;
    return SAE_OK;
}

static void add_quoted(sae_text *t, const char *name)
{
    for (; *name; name++) {
        if (strchr("\\^$.[]|()*+?{}", *name))
            sae_text_putc(t, '\\');
        sae_text_putc(t, *name);
    }
}

int sae_alert_filter(sae_store *s, int64_t alert, char **regex, sae_err *err)
{
    sae_text t = {0};
    sqlite3_stmt *q;
    char state[16];
    int64_t n = 0;
    int rc;
    SAE_TRY(sae_alert_state(s, alert, state, err));
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT DISTINCT e.bench FROM alert_item i JOIN changepoint c"
                    " ON c.id=i.changepoint_id JOIN series e ON e.id=c.series_id"
                    " WHERE i.alert_id=? ORDER BY 1", "i", alert));
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        sae_text_puts(&t, n++ ? "|" : "^(");
        add_quoted(&t, sae_sql_text(q, 0));
    }
    sqlite3_finalize(q);
    sae_text_puts(&t, ")$");
    *regex = sae_text_take(&t);
    if (rc >= 0 && *regex && n)
        return SAE_OK;
    sae_free(*regex);
    *regex = NULL;
    SAE_TRY(rc);
    if (!n)
        SAE_FAIL(err, SAE_EINVAL, "alert %lld is about no series", (long long)alert);
    SAE_FAIL(err, SAE_ENOMEM, "out of memory for the benchmarks of an alert");
}

/* ---- answers --------------------------------------------------------------------------------- */

int sae_alert_measured(sae_store *s, int64_t alert, const sae_alert_answer *a, sae_err *err)
{
    return sae_sql_run(s, err,
                       "UPDATE alert_item SET ab_ratio=?4,ab_lo=?5,ab_hi=?6,"
                       "confirmed=nullif(?7,-1) WHERE " ITEMS, "ittrrri", alert, a->bench,
                       a->metric, a->ratio, isinf(a->lo) ? (double)NAN : a->lo,
                       isinf(a->hi) ? (double)NAN : a->hi, (int64_t)a->confirmed);
}

int sae_alert_judge(sae_store *s, int64_t alert, int64_t now, sae_err *err)
{
    int64_t yes, open, tries;
    SAE_TRY(sae_sql_int(s, &yes, err,
                        "SELECT count(*) FROM alert_item WHERE alert_id=? AND confirmed=1", "i",
                        alert));
    SAE_TRY(sae_sql_int(s, &open, err,
                        "SELECT count(*) FROM alert_item WHERE alert_id=? AND confirmed IS NULL",
                        "i", alert));
    if (yes)
        return sae_alert_move(s, alert, "confirmed", "saemark", "A/B comparison", now, err);
    if (!open)
        return sae_alert_move(s, alert, "invalid", "saemark", "refuted by A/B comparison", now,
                              err);
    SAE_TRY(sae_sql_run(s, err,
                        "INSERT INTO alert_event(alert_id,at,actor,from_state,to_state,note)"
                        " VALUES(?,?,'saemark','detected','detected','A/B cannot tell')", "ii",
                        alert, now));
    SAE_TRY(sae_sql_int(s, &tries, err,
                        "SELECT count(*) FROM alert_event WHERE alert_id=? AND"
                        " from_state='detected' AND to_state='detected'", "i", alert));
    if (tries < TRIES)
        return SAE_OK;
    return sae_alert_move(s, alert, "expired", "saemark", "three A/B comparisons cannot tell", now,
                          err);
}

int sae_alert_narrow(sae_store *s, int64_t alert, int64_t lo, int64_t hi, const char *owner,
                     const char *actor, int64_t now, sae_err *err)
{
    char state[16];
    SAE_TRY(sae_alert_state(s, alert, state, err));
    SAE_TRY(sae_sql_run(s, err,
                        "UPDATE alert SET seq_lo=?2,seq_hi=?3,owner=ifnull(?4,owner),updated_at=?5"
                        " WHERE id=?1 AND seq_lo<=?2 AND ?2<?3 AND ?3<=seq_hi", "iiiti", alert, lo,
                        hi, owner, now));
    if (sqlite3_changes(s->db) == 0)
        SAE_FAIL(err, SAE_EINVAL, "alert %lld: the commits are not between those it names",
                 (long long)alert);
    return sae_sql_run(s, err,
                       "INSERT INTO alert_event(alert_id,at,actor,note) SELECT a.id,?2,?3,"
                       "'after '||l.git_sha||', up to '||h.git_sha FROM alert a JOIN commit_order l"
                       " ON l.branch=a.branch AND l.seq=a.seq_lo JOIN commit_order h"
                       " ON h.branch=a.branch AND h.seq=a.seq_hi WHERE a.id=?1", "iit", alert, now,
                       actor);
}
