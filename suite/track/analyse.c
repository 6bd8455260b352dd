/* suite/track/analyse.c - change points of every series into the store.
 *
 * Three ways to change: the level of a noisy series (detect.h); any difference of an exact one;
 * the mean paired difference of a quality series, seed by seed, against the first night of its
 * level, so that small steps add up. A single night far off is a change point of its own kind that
 * lives until the next night.
 */
#include "track/analyse.h"

#include "core/error.h"
#include "core/memory.h"
#include "track/alert.h"
#include "track/detect.h"
#include "track/stats.h"

#include <math.h>
#include <string.h>

enum { W = SAE_DETECT_WINDOW };

typedef struct work {
    sae_store *s;
    sae_history h;
    int64_t now;
    int64_t *kept;      /* [h.count] nights that are judged: their index in h.night */
    int64_t kept_count;
    sae_change *change; /* [h.count] index: into kept */
    int64_t changes;
    sae_analysis *out;
    sae_err *err;
} work;

static const sae_night *kept(const work *w, int64_t i)
{
    return &w->h.night[w->kept[i]];
}

/* ---- finding --------------------------------------------------------------------------------- */

static int find_levels(work *w, int64_t from)
{
    double x[W];
    unsigned char flag[W];
    int64_t n = w->kept_count - from;
    sae_detect d = {w->h.policy.p_max, w->h.policy.min_rel, w->h.policy.min_seg};
    for (int64_t i = 0; i < n; i++)
        x[i] = kept(w, from + i)->median;
    SAE_TRY(sae_detect_changes(x, n, &d, w->change, &w->changes, flag, w->err));
    for (int64_t i = 0; i < w->changes; i++)
        w->change[i].index += from;
    for (int64_t i = 0; i < n; i++)
        w->h.night[w->kept[from + i]].hampel = flag[i];
    return SAE_OK;
}

static void add_step(work *w, int64_t index, int64_t n_left, double left, double right, double rel)
{
    w->change[w->changes++] = (sae_change){index, n_left, 0, left, right, rel, 0};
}

static void close_steps(work *w)
{
    for (int64_t i = 0; i < w->changes; i++) {
        int64_t end = i + 1 < w->changes ? w->change[i + 1].index : w->kept_count;
        w->change[i].n_right = end - w->change[i].index;
    }
}

static void find_exact(work *w)
{
    int64_t since = 0;
    for (int64_t i = 1; i < w->kept_count; i++) {
        double a = kept(w, i - 1)->median, b = kept(w, i)->median;
        if (a == b)
            continue;
        add_step(w, i, i - since, a, b, sae_relative(a, b));
        since = i;
    }
}

/* Mean over common seeds of the change from one run to another: relative, or a difference. NaN
 * without common seeds. */
static int paired_change(const work *w, int64_t from, int64_t to, double *out)
{
    sqlite3_stmt *q;
    double sum = 0;
    int64_t n = 0;
    SAE_TRY(sae_sql(w->s, &q, w->err,
                    "SELECT a.value,b.value FROM sample a JOIN sample b ON b.series_id=a.series_id"
                    " AND b.process_idx=a.process_idx AND b.rep_idx=a.rep_idx WHERE a.series_id=?"
                    " AND a.run_id=? AND b.run_id=? AND a.status=0 AND b.status=0", "iii",
                    w->h.series, from, to));
    int rc;
    while ((rc = sae_sql_next(w->s, q, w->err)) == SAE_OK) {
        double a = sqlite3_column_double(q, 0), b = sqlite3_column_double(q, 1);
        sum += w->h.policy.absolute ? b - a : sae_relative(a, b);
        n++;
    }
    sqlite3_finalize(q);
    *out = n ? sum / (double)n : (double)NAN;
    return rc < 0 ? rc : SAE_OK;
}

static int find_paired(work *w)
{
    int64_t since = 0;
    for (int64_t i = 1; i < w->kept_count; i++) {
        double change = 0, a = kept(w, since)->median, b = kept(w, i)->median;
        if (a == b)
            continue; /* as on most nights: nothing to look up */
        SAE_TRY(paired_change(w, kept(w, since)->run, kept(w, i)->run, &change));
        if (!(fabs(change) > w->h.policy.min_rel))
            continue;
        add_step(w, i, i - since, a, b, change);
        since = i;
    }
    return SAE_OK;
}

/* ---- storing --------------------------------------------------------------------------------- */

static int64_t place_of(const work *w, int64_t run)
{
    for (int64_t i = w->kept_count; i-- > 0;)
        if (kept(w, i)->run == run)
            return i;
    return -1;
}

static int store_change(const work *w, const sae_change *c, const char *algo)
{
    const sae_night *at = kept(w, c->index), *before = kept(w, c->index - 1);
    int64_t id;
    double rel = isinf(c->rel) ? copysign(9e99, c->rel) : c->rel; /* from nothing to something */
    if (!strcmp(w->h.class, "hash"))
        rel = 0; /* how far apart two hashes are says nothing */
    SAE_TRY(sae_sql_run(
        w->s, w->err,
        "INSERT INTO changepoint(series_id,algo,algo_version,prev_run_id,run_id,n_left,n_right,"
        "median_left,median_right,rel_change,p_value,detected_at) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT(series_id,algo,algo_version,run_id) DO UPDATE SET n_left=excluded.n_left,"
        "n_right=excluded.n_right,median_left=excluded.median_left,"
        "median_right=excluded.median_right,rel_change=excluded.rel_change,"
        "p_value=excluded.p_value,prev_run_id=excluded.prev_run_id,retired_at=NULL",
        "itiiiiirrrri", w->h.series, algo, (int64_t)SAE_DETECT_VERSION, before->run, at->run,
        c->n_left, c->n_right, c->left, c->right, rel, c->p, w->now));
    SAE_TRY(sae_sql_int(w->s, &id, w->err,
                        "SELECT id FROM changepoint WHERE series_id=? AND algo=? AND"
                        " algo_version=? AND run_id=?", "itii", w->h.series, algo,
                        (int64_t)SAE_DETECT_VERSION, at->run));
    w->out->found++;
    return sae_alert_inherit(w->s, id, w->err);
}

static int before_base(const work *w, int64_t run)
{
    int64_t i = 0;
    while (i < w->h.base && w->h.night[i].run != run)
        i++;
    return i < w->h.base;
}

/* Live change points from night `from` on that were not found again. Those further back than what
 * was examined stay, as do those of an earlier baseline. */
static int retire(const work *w, int64_t from, const char *algo)
{
    sqlite3_stmt *q;
    int64_t gone[W];
    int n = 0;
    SAE_TRY(sae_sql(w->s, &q, w->err,
                    "SELECT id,run_id FROM changepoint WHERE series_id=? AND algo=? AND"
                    " retired_at IS NULL", "it", w->h.series, algo));
    int rc;
    while ((rc = sae_sql_next(w->s, q, w->err)) == SAE_OK && n < W) {
        int64_t run = sqlite3_column_int64(q, 1), place = place_of(w, run);
        int found = place >= 0 ? place < from : before_base(w, run);
        for (int64_t i = 0; i < w->changes; i++)
            found |= w->change[i].index == place;
        if (!found)
            gone[n++] = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    SAE_TRY(rc);
    w->out->retired += n;
    for (int i = 0; i < n; i++)
        SAE_TRY(sae_sql_run(w->s, w->err, "UPDATE changepoint SET retired_at=? WHERE id=?", "ii",
                            w->now, gone[i]));
    return SAE_OK;
}

static int store_flags(const work *w)
{
    for (int64_t i = 0; i < w->h.count; i++) {
        const sae_night *n = &w->h.night[i];
        if (n->hampel != n->was_hampel)
            SAE_TRY(sae_sql_run(w->s, w->err,
                                "UPDATE point SET hampel=? WHERE series_id=? AND run_id=?", "iii",
                                (int64_t)n->hampel, w->h.series, n->run));
    }
    return SAE_OK;
}

/* The last night alone: more than three robust sd and 5 % from the level so far. */
static int find_night(work *w)
{
    double x[W], room[W];
    int64_t last = w->kept_count - 1, from = last > W - 1 ? last - (W - 1) : 0;
    if (w->changes && w->change[w->changes - 1].index > from)
        from = w->change[w->changes - 1].index;
    int64_t n = last - from;
    w->changes = 0;
    if (n < 2 * w->h.policy.min_seg)
        return SAE_OK;
    for (int64_t i = 0; i < n; i++)
        x[i] = kept(w, from + i)->median;
    double m = sae_median(x, n), sd = 1.4826 * sae_mad(x, n, m, room), now = kept(w, last)->median;
    if (fabs(now - m) > fmax(3 * sd, 0.05 * fabs(m)) && fabs(now - m) > 0) {
        w->change[0] = (sae_change){last, n, 1, m, now, sae_relative(m, now), 1};
        w->changes = 1;
    }
    return SAE_OK;
}

static int store_changes(work *w, int64_t from, const char *algo)
{
    for (int64_t i = 0; i < w->changes; i++)
        SAE_TRY(store_change(w, &w->change[i], algo));
    return retire(w, from, algo);
}

static int analyse_series(work *w)
{
    int64_t from = 0;
    for (int64_t i = w->h.base; i < w->h.count; i++)
        if (!w->h.night[i].ignored)
            w->kept[w->kept_count++] = i;
    if (w->h.exact || w->h.by_seed) {
        if (w->h.exact)
            find_exact(w);
        else
            SAE_TRY(find_paired(w));
        close_steps(w);
        return store_changes(w, 0, "exact");
    }
    if (w->kept_count > W)
        from = w->kept_count - W;
    SAE_TRY(find_levels(w, from));
    SAE_TRY(store_flags(w));
    /* A change at the edge of the window may not be found any more: it is not judged again. */
    SAE_TRY(store_changes(w, from ? from + 2 * w->h.policy.min_seg : 0, "edivisive"));
    SAE_TRY(find_night(w));
    return store_changes(w, 0, "night");
}

static int analyse_one(sae_store *s, int64_t series, int64_t now, sae_analysis *out, sae_err *err)
{
    work w = {.s = s, .now = now, .out = out, .err = err};
    int rc;
    SAE_TRY(sae_history_open(&w.h, s, series, err));
    SAE_GOTO(sae_new(&w.kept, w.h.count, sizeof *w.kept, "track.nights", err));
    SAE_GOTO(sae_new(&w.change, w.h.count + W, sizeof *w.change, "track.changes", err));
    rc = analyse_series(&w);
    out->series++;
fail:
    sae_free(w.kept);
    sae_free(w.change);
    sae_history_close(&w.h);
    return rc;
}

int sae_analyse(sae_store *s, const char *branch, int64_t now, sae_analysis *out, sae_err *err)
{
    int64_t *id = NULL, count = 0;
    *out = (sae_analysis){0};
    SAE_TRY(sae_store_begin(s, err));
    int rc = sae_series_list(s, branch, &id, &count, err);
    for (int64_t i = 0; rc >= 0 && i < count; i++)
        rc = analyse_one(s, id[i], now, out, err);
    sae_free(id);
    if (rc >= 0)
        rc = sae_alert_update(s, branch, now, &out->alerts, err);
    return sae_store_end(s, rc, err);
}
