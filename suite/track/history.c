/* suite/track/history.c - one series over the commits of its branch. */
#include "track/history.h"

#include "core/error.h"
#include "core/memory.h"
#include "track/readings.h"

#include <math.h>
#include <string.h>

int sae_policy_find(sae_store *s, const char *name, const char *class, sae_policy *p, sae_err *err)
{
    sqlite3_stmt *q;
    const char *metric = strrchr(name, ':');
    const sae_trait *trait = sae_trait_of(metric ? metric + 1 : name);
    *p = (sae_policy){0.02, 1e-3, 4, 0, trait && trait->absolute};
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT min_rel,cp_p,min_seg,gate FROM policy WHERE"
                    " (class IS NULL OR class=?) AND ? GLOB match_glob"
                    " ORDER BY priority DESC, id DESC LIMIT 1", "tt", class, name));
    int rc = sae_sql_next(s, q, err);
    if (rc == SAE_OK) {
        p->min_rel = sqlite3_column_double(q, 0);
        p->p_max = sqlite3_column_double(q, 1);
        p->min_seg = sqlite3_column_int64(q, 2);
        p->gate = sqlite3_column_int(q, 3);
        if (p->min_seg < 1 || !(p->min_rel >= 0) || !(p->p_max > 0))
            rc = SAE_SET(err, SAE_EFORMAT, "policy of %s: min_seg below 1 or a number below 0",
                         name);
    }
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

static int read_series(sae_history *h, sae_store *s, sae_err *err)
{
    sqlite3_stmt *q;
    SAE_TRY(sae_sql(s, &q, err,
                    "SELECT e.bench,e.metric,e.unit,e.class,e.branch,e.direction,m.hostname,"
                    "e.machine_id FROM series e LEFT JOIN machine m ON m.id=e.machine_id"
                    " WHERE e.id=?", "i", h->series));
    int rc = sae_sql_next(s, q, err);
    if (rc == SAE_DONE)
        rc = SAE_SET(err, SAE_EINVAL, "%s: there is no series %lld", s->path,
                     (long long)h->series);
    if (rc == SAE_OK) {
        h->bench = sae_strdup(sae_sql_text(q, 0));
        h->metric = sae_strdup(sae_sql_text(q, 1));
        h->unit = sae_strdup(sae_sql_text(q, 2));
        h->class = sae_strdup(sae_sql_text(q, 3));
        h->branch = sae_strdup(sae_sql_text(q, 4));
        h->direction = sqlite3_column_int(q, 5);
        h->host = sae_strdup(sae_sql_text(q, 6));
        h->machine = sqlite3_column_int64(q, 7);
        h->name = sae_strfmt("%s:%s", sae_sql_text(q, 0), sae_sql_text(q, 1));
        if (!h->bench || !h->metric || !h->unit || !h->class || !h->branch || !h->host || !h->name)
            rc = SAE_SET(err, SAE_ENOMEM, "out of memory for a series");
    }
    sqlite3_finalize(q);
    return rc;
}

static void read_night(sae_night *n, sqlite3_stmt *q)
{
    n->run = sqlite3_column_int64(q, 0);
    n->seq = sqlite3_column_int64(q, 1);
    n->at = sqlite3_column_int64(q, 2);
    n->median = sqlite3_column_double(q, 3);
    n->lo = sae_sql_real(q, 4);
    n->hi = sae_sql_real(q, 5);
    snprintf(n->git, sizeof n->git, "%.15s", sae_sql_text(q, 6));
    n->hampel = n->was_hampel = sqlite3_column_int(q, 7);
    n->ignored = sqlite3_column_int(q, 8);
}

static int read_nights(sae_history *h, sae_store *s, sae_err *err)
{
    static const char sql[] =
        "SELECT r.id,o.seq,r.started_at,p.median,p.ci_lo,p.ci_hi,b.git_sha,p.hampel,"
        " EXISTS(SELECT 1 FROM annotation a WHERE a.kind='ignore' AND a.branch=r.branch"
        "  AND a.seq=o.seq AND (?2=a.series_glob OR ?2 GLOB a.series_glob))"
        " FROM point p JOIN run r ON r.id=p.run_id JOIN build b ON b.id=r.build_id"
        " JOIN commit_order o ON o.branch=r.branch AND o.git_sha=b.git_sha"
        " WHERE p.series_id=?1 AND r.status='ok' AND r.kind IN('nightly','calibration')"
        " ORDER BY o.seq,r.started_at,r.uuid";
    sqlite3_stmt *q;
    int64_t room;
    SAE_TRY(sae_sql_int(s, &room, err, "SELECT count(*) FROM point WHERE series_id=?", "i",
                        h->series));
    SAE_TRY(sae_new(&h->night, room, sizeof *h->night, "track.nights", err));
    SAE_TRY(sae_sql(s, &q, err, sql, "it", h->series, h->name));
    int rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK && h->count < room)
        read_night(&h->night[h->count++], q);
    sqlite3_finalize(q);
    return rc < 0 ? rc : SAE_OK;
}

/* The last annotation that begins a new baseline. */
static int read_base(sae_history *h, sae_store *s, sae_err *err)
{
    int64_t seq;
    SAE_TRY(sae_sql_int(s, &seq, err,
                        "SELECT max(seq) FROM annotation WHERE branch=?1 AND kind IN"
                        "('new_baseline','machine_change','dataset_change')"
                        " AND (?2=series_glob OR ?2 GLOB series_glob) AND seq<=?3", "tti",
                        h->branch, h->name, h->count ? h->night[h->count - 1].seq : (int64_t)0));
    while (h->base < h->count && h->night[h->base].seq < seq)
        h->base++;
    return SAE_OK;
}

int sae_history_open(sae_history *h, sae_store *s, int64_t series, sae_err *err)
{
    int rc;
    *h = (sae_history){.series = series};
    SAE_GOTO(read_series(h, s, err));
    SAE_GOTO(sae_policy_find(s, h->name, h->class, &h->policy, err));
    h->by_seed = !strcmp(h->class, "quality");
    h->exact = !strcmp(h->class, "hash") || (!strcmp(h->class, "count") && h->policy.min_rel <= 0);
    SAE_GOTO(read_nights(h, s, err));
    SAE_GOTO(read_base(h, s, err));
    return SAE_OK;
fail:
    sae_history_close(h);
    return rc;
}

void sae_history_close(sae_history *h)
{
    sae_free(h->name);
    sae_free(h->bench);
    sae_free(h->metric);
    sae_free(h->unit);
    sae_free(h->class);
    sae_free(h->branch);
    sae_free(h->host);
    sae_free(h->night);
    *h = (sae_history){0};
}

int sae_series_list(sae_store *s, const char *branch, int64_t **id, int64_t *count, sae_err *err)
{
    sqlite3_stmt *q;
    int64_t room;
    *count = 0;
    SAE_TRY(sae_sql_int(s, &room, err, "SELECT count(*) FROM series WHERE branch=?", "t", branch));
    SAE_TRY(sae_new(id, room, sizeof **id, "track.series", err));
    int rc = sae_sql(s, &q, err,
                     "SELECT e.id FROM series e LEFT JOIN machine m ON m.id=e.machine_id"
                     " WHERE e.branch=? ORDER BY e.bench,e.metric,m.hostname,e.fingerprint", "t",
                     branch);
    while (rc >= 0 && (rc = sae_sql_next(s, q, err)) == SAE_OK && *count < room)
        (*id)[(*count)++] = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    if (rc < 0) {
        sae_free(*id);
        *id = NULL;
    }
    return rc < 0 ? rc : SAE_OK;
}
