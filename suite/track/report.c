/* suite/track/report.c - the state of a branch as CSV, JSON and text. */
#include "track/report.h"

#include "core/csv_table.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/text.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *file_in(const char *dir, const char *name, sae_err *err)
{
    char *path = sae_path_join(dir, name);
    if (!path)
        sae_fail(err, SAE_ENOMEM, __FILE__, __LINE__, "%s: out of memory", dir);
    return path;
}

static int write_csv(const sae_standings *a, const char *dir, sae_err *err)
{
    sae_csv *c;
    char *path = file_in(dir, "report.csv", err);
    int rc = path ? sae_csv_open(&c, path,
                                 "name,metric,class,unit,machine,commit,last,ci_lo,ci_hi,baseline,"
                                 "change,p,state,alert,nights", err)
                  : SAE_ENOMEM;
    sae_free(path);
    SAE_TRY(rc);
    for (int64_t i = 0; i < a->count; i++) {
        const sae_standing *e = &a->s[i];
        const sae_night *last = &e->h.night[e->h.count - 1];
        sae_csv_text(c, e->h.bench);
        sae_csv_text(c, e->h.metric);
        sae_csv_text(c, e->h.class);
        sae_csv_text(c, e->h.unit);
        sae_csv_text(c, e->h.host);
        sae_csv_text(c, last->git);
        sae_csv_real(c, last->median);
        sae_csv_real(c, last->lo);
        sae_csv_real(c, last->hi);
        sae_csv_real(c, e->baseline);
        sae_csv_real(c, e->change);
        sae_csv_real(c, e->p);
        sae_csv_text(c, sae_state_name[e->state]);
        sae_csv_int(c, e->alert);
        sae_csv_int(c, e->h.count);
        sae_csv_end_row(c);
    }
    return sae_csv_close(&c, err);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *standing_json(const sae_standing *e)
{
    const sae_night *last = &e->h.night[e->h.count - 1];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:I, s:I}", "name",
                     e->h.bench, "metric", e->h.metric, "class", e->h.class, "unit", e->h.unit,
                     "machine", e->h.host, "commit", last->git, "last", sae_json_real(last->median),
                     "baseline", sae_json_real(e->baseline), "change", sae_json_real(e->change),
                     "p", sae_json_real(e->p), "state", sae_state_name[e->state], "alert",
                     (json_int_t)e->alert, "nights", (json_int_t)e->h.count);
}

static int write_json(const sae_standings *a, sae_store *s, const char *branch, const char *dir,
                      sae_err *err)
{
    json_t *series = json_array();
    for (int64_t i = 0; i < a->count; i++)
        json_array_append_new(series, standing_json(&a->s[i]));
    json_t *alerts = sae_sql_json(
        s, err, "SELECT a.id,a.uuid,a.kind,a.state,a.title,a.owner,a.created_at,a.updated_at"
        " FROM alert a WHERE a.branch=? ORDER BY a.id", "t", branch);
    json_t *machines = sae_sql_json(
        s, err, "SELECT DISTINCT m.hostname,m.info_json FROM machine m JOIN run r"
        " ON r.machine_id=m.id WHERE r.branch=? ORDER BY 1,2", "t", branch);
    json_t *builds = sae_sql_json(
        s, err, "SELECT b.git_sha,b.git_dirty,b.compiler,b.cflags,b.blas,"
        "max(r.started_at) AS last_run FROM build b JOIN run r ON r.build_id=b.id"
        " WHERE r.branch=? GROUP BY b.id ORDER BY last_run DESC,b.fingerprint LIMIT 5", "t",
        branch);
    json_t *j = json_pack("{s:s, s:o, s:o, s:o, s:o}", "branch", branch, "series", series,
                          "alerts", alerts, "machines", machines, "last_builds", builds);
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    char *path = file_in(dir, "report.json", err);
    int rc = text && path ? sae_file_write(path, text, strlen(text), err)
                          : SAE_SET(err, SAE_ENOMEM, "out of memory writing report.json");
    json_decref(j);
    free(text);
    sae_free(path);
    return rc;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void add_line(sae_text *t, const sae_standing *e)
{
    const sae_night *last = &e->h.night[e->h.count - 1];
    char change[24] = "      -", name[96];
    sae_series_short(e->h.name, name);
    if (isfinite(e->change))
        snprintf(change, sizeof change, "%+6.2f%%", 100 * e->change);
    char *line = sae_strfmt("%-11s %s  %12.6g -> %-12.6g %s  %s\n", sae_state_name[e->state],
                            change, e->baseline, last->median, last->git, name);
    sae_text_puts(t, line ? line : "");
    t->failed |= !line;
    sae_free(line);
}

char *sae_track_text(const sae_standings *a)
{
    sae_text t = {0};
    int64_t in[SAE_STATE_YOUNG + 1] = {0}, lines = 1;
    for (int64_t i = 0; i < a->count; i++)
        in[a->s[i].state]++;
    for (int64_t i = 0; i < a->count && a->s[i].state < SAE_STATE_STEADY; i++)
        if (lines < SAE_TEXT_LINES - 1) {
            add_line(&t, &a->s[i]);
            lines++;
        } else if (lines == SAE_TEXT_LINES - 1) {
            sae_text_puts(&t, "...\n");
            lines++;
        }
    for (int i = 0; i <= SAE_STATE_YOUNG; i++) {
        char *part = sae_strfmt("%s%lld %s", i ? ", " : "", (long long)in[i], sae_state_name[i]);
        sae_text_puts(&t, part ? part : "");
        t.failed |= !part;
        sae_free(part);
    }
    sae_text_putc(&t, '\n');
    return sae_text_take(&t);
}

/* ---- all of it ------------------------------------------------------------------------------- */

int sae_track_report(const sae_standings *a, sae_store *s, const char *branch, const char *dir,
                     const char *gnuplot, sae_err *err)
{
    sae_figures *figs;
    sae_err plots = {0};
    int rc;
    SAE_TRY(sae_dir_make(dir, err));
    SAE_TRY(write_csv(a, dir, err));
    SAE_TRY(write_json(a, s, branch, dir, err));
    SAE_TRY(sae_new(&figs, 1, sizeof *figs, "track.figures", err));
    SAE_GOTO(sae_track_figures(a, dir, figs, err));
    int drawn = sae_figures_draw(figs, dir, gnuplot, &plots);
    SAE_GOTO(sae_track_page(a, s, branch, dir, figs, drawn < 0 ? plots.msg : NULL, err));
    if (drawn == SAE_ENEEDS) {
        sae_log(SAE_LOG_WARN, "track", "%s; index.html has the tables only", plots.msg);
        rc = SAE_DONE;
    } else if (drawn < 0) {
        rc = SAE_SET(err, drawn, "%s; index.html has the tables only", plots.msg);
    }
fail:
    sae_free(figs);
    return rc;
}
