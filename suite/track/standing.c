/* suite/track/standing.c - how every series of a branch stands today, the worst first. */
#include "track/standing.h"

#include "core/error.h"
#include "core/memory.h"
#include "track/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RECENT = 14, YOUNG = 8 }; /* nights */

const char *const sae_state_name[] = {"quality", "regression", "missing", "infra",
                                      "changed", "improvement", "steady", "young"};

static int64_t night_of(const sae_history *h, int64_t run)
{
    int64_t i = h->count - 1;
    while (i >= 0 && h->night[i].run != run)
        i--;
    return i;
}

void sae_series_short(const char *name, char out[96])
{
    enum { MOST = 80, BEGIN = 36, END = 41 };
    size_t n = strlen(name);
    if (n <= MOST)
        snprintf(out, 96, "%s", name);
    else
        snprintf(out, 96, "%.*s...%s", BEGIN, name, name + n - END);
}

/* Median of the nights that count in [from, to). */
static double level(const sae_history *h, int64_t from, int64_t to, double *room)
{
    int64_t n = 0;
    for (int64_t i = from; i < to; i++)
        if (!h->night[i].ignored)
            room[n++] = h->night[i].median;
    return sae_median(room, n);
}

/* Levels between the live change points (one of a single night excepted) and the baselines. */
static int read_steps(sae_standing *e, sae_store *s, sae_err *err)
{
    sqlite3_stmt *q;
    const sae_history *h = &e->h;
    double *room;
    SAE_TRY(sae_new(&e->step, h->count + 1, sizeof *e->step, "track.levels", err));
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT DISTINCT c.run_id,c.p_value FROM changepoint c JOIN run r"
                    " ON r.id=c.run_id JOIN build b ON b.id=r.build_id JOIN commit_order o"
                    " ON o.branch=r.branch AND o.git_sha=b.git_sha WHERE c.series_id=?"
                    " AND c.retired_at IS NULL AND c.algo<>'night'"
                    " ORDER BY o.seq,r.started_at,r.uuid", "i", h->series));
    e->step[e->steps++] = (sae_step){0, (double)NAN, 0};
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        int64_t at = night_of(h, sqlite3_column_int64(q, 0));
        if (at <= e->step[e->steps - 1].from)
            continue;
        if (h->base > e->step[e->steps - 1].from && at > h->base)
            e->step[e->steps++] = (sae_step){h->base, (double)NAN, 0};
        e->step[e->steps++] = (sae_step){at, (double)NAN, 1};
        e->p = sqlite3_column_double(q, 1);
    }
    sqlite3_finalize(q);
    SAE_TRY(rc);
    if (h->base > e->step[e->steps - 1].from && h->base < h->count)
        e->step[e->steps++] = (sae_step){h->base, (double)NAN, 0};
    SAE_TRY(sae_new(&room, h->count, sizeof *room, "track.levels", err));
    for (int64_t i = 0; i < e->steps; i++)
        e->step[i].level = level(h, e->step[i].from,
                                 i + 1 < e->steps ? e->step[i + 1].from : h->count, room);
    sae_free(room);
    return SAE_OK;
}

static int read_alert(sae_standing *e, sae_store *s, char kind[16], sae_err *err)
{
    sqlite3_stmt *q;
    kind[0] = '\0';
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT a.id,a.kind FROM alert a JOIN alert_item i ON i.alert_id=a.id"
                    " JOIN changepoint c ON c.id=i.changepoint_id WHERE c.series_id=?"
                    " AND a.state IN('detected','confirmed','triaged') ORDER BY a.id DESC LIMIT 1",
                    "i", e->h.series));
    int rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK) {
        e->alert = sqlite3_column_int64(q, 0);
        snprintf(kind, 16, "%.15s", sae_sql_text(q, 1));
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

static enum sae_state state_of(const sae_standing *e, const char *kind, int64_t last_commit)
{
    static const struct {
        const char *kind;
        enum sae_state state;
    } kinds[] = {{"quality", SAE_STATE_QUALITY}, {"hash", SAE_STATE_QUALITY},
                 {"regression", SAE_STATE_SLOWER}, {"infra", SAE_STATE_INFRA},
                 {"improvement", SAE_STATE_BETTER}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kind, kinds[i].kind))
            return kinds[i].state;
    if (e->h.night[e->h.count - 1].seq < last_commit)
        return SAE_STATE_GONE;
    const sae_step *last = &e->step[e->steps - 1];
    if (last->live && e->h.count - last->from <= RECENT)
        return SAE_STATE_CHANGED;
    return e->h.count - e->h.base < YOUNG ? SAE_STATE_YOUNG : SAE_STATE_STEADY;
}

/* The newest commit that the same machine measured in the same way, benchmarks or this quality. */
static int last_commit(const sae_standing *e, sae_store *s, int64_t *seq, sae_err *err)
{
    return sae_sql_int(s, seq, err,
                       "SELECT max(o.seq) FROM series me JOIN series e ON"
                       " e.machine_id=me.machine_id AND e.branch=me.branch"
                       " AND e.suite_version=me.suite_version AND e.metric=me.metric"
                       " AND (e.class<>'quality' OR (e.params_json=me.params_json"
                       "  AND e.dataset_sha256 IS me.dataset_sha256))"
                       " JOIN point p ON p.series_id=e.id JOIN run r ON r.id=p.run_id"
                       " JOIN build b ON b.id=r.build_id JOIN commit_order o"
                       "  ON o.branch=r.branch AND o.git_sha=b.git_sha"
                       " WHERE me.id=? AND r.status='ok' AND r.kind='nightly'", "i", e->h.series);
}

static int stand(sae_standing *e, sae_store *s, sae_err *err)
{
    char kind[16];
    int64_t seq = 0;
    e->p = (double)NAN;
    if (e->h.count == 0)
        return SAE_OK;
    SAE_TRY(read_steps(e, s, err));
    SAE_TRY(read_alert(e, s, kind, err));
    if (!e->alert)
        SAE_TRY(last_commit(e, s, &seq, err));
    e->state = state_of(e, kind, seq);
    int64_t last = e->steps - 1;
    e->baseline = e->step[e->alert && last > 0 && e->step[last].live ? last - 1 : last].level;
    double now = e->h.night[e->h.count - 1].median;
    e->change = sae_relative(e->baseline, now);
    if (isinf(e->change)) /* from nothing to something */
        e->change = (double)NAN;
    return SAE_OK;
}

static int by_severity(const void *a, const void *b)
{
    const sae_standing *x = a, *y = b;
    if (x->state != y->state)
        return x->state < y->state ? -1 : 1;
    int order = strcmp(x->h.name, y->h.name);
    if (order == 0)
        order = strcmp(x->h.host, y->h.host);
    return order ? order : (x->h.series > y->h.series) - (x->h.series < y->h.series);
}

int sae_standings_open(sae_standings *a, sae_store *s, const char *branch, sae_err *err)
{
    int64_t *id = NULL, count;
    int rc;
    *a = (sae_standings){0};
    SAE_TRY(sae_series_list(s, branch, &id, &count, err));
    SAE_GOTO(sae_new(&a->s, count, sizeof *a->s, "track.standings", err));
    for (int64_t i = 0; i < count; i++) {
        sae_standing *e = &a->s[a->count];
        SAE_GOTO(sae_history_open(&e->h, s, id[i], err));
        a->count++;
        SAE_GOTO(stand(e, s, err));
        if (e->h.count == 0)
            sae_history_close(&a->s[--a->count].h);
    }
    qsort(a->s, (size_t)a->count, sizeof *a->s, by_severity);
    sae_free(id);
    return SAE_OK;
fail:
    sae_free(id);
    sae_standings_close(a);
    return rc;
}

void sae_standings_close(sae_standings *a)
{
    for (int64_t i = 0; i < a->count; i++) {
        sae_free(a->s[i].step);
        sae_history_close(&a->s[i].h);
    }
    sae_free(a->s);
    *a = (sae_standings){0};
}
