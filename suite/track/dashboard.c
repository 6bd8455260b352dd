/* suite/track/dashboard.c - index.html and the figures of a branch. */
#include "track/report.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"
#include "report/template.h"

#include <math.h>
#include <string.h>

enum { SPARK_W = 160, SPARK_H = 28, SPARK_NIGHTS = 90, FIGURE_NIGHTS = 400, TICS = 6 };

/* ---- figures --------------------------------------------------------------------------------- */

static int64_t first_shown(const sae_history *h, int64_t most)
{
    return h->count > most ? h->count - most : 0;
}

/* What a value is multiplied with to be read in the unit that is returned. */
static const char *scale_of(const sae_history *h, double *scale)
{
    static const struct {
        const char *unit;
        double from;
    } times[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}};
    *scale = 1;
    for (size_t i = 0; i < 3 && !strcmp(h->unit, "ns"); i++)
        if (h->night[h->count - 1].median >= times[i].from) {
            *scale = 1 / times[i].from;
            return times[i].unit;
        }
    return h->unit;
}

static int judged(const sae_night *n)
{
    return !n->ignored && !n->was_hampel;
}

/* Of the nights that are judged: one far off must not flatten all others. */
static void range_of(const sae_history *h, int64_t from, double scale, double r[2])
{
    r[0] = INFINITY;
    r[1] = -INFINITY;
    for (int64_t i = from; i < h->count; i++) {
        const sae_night *n = &h->night[i];
        if (!judged(n))
            continue;
        r[0] = fmin(r[0], isnan(n->lo) ? n->median : fmin(n->lo, n->median));
        r[1] = fmax(r[1], isnan(n->hi) ? n->median : fmax(n->hi, n->median));
    }
    r[0] *= scale;
    r[1] *= scale;
}

/* The y axis: the range and some room around it. */
static int axis_of(const double r[2], double y[2])
{
    int is_log = r[0] > 0 && r[1] > 10 * r[0];
    double room = r[1] > r[0] ? 0.08 * (r[1] - r[0]) : r[1] != 0.0 ? 0.1 * fabs(r[1]) : 1;
    y[0] = is_log ? r[0] / 1.3 : r[0] - room;
    y[1] = is_log ? r[1] * 1.3 : r[1] + room;
    return is_log;
}

static void write_levels(FILE *f, const sae_standing *e, int64_t from, double scale)
{
    for (int64_t i = 0; i < e->steps; i++) {
        int64_t end = i + 1 < e->steps ? e->step[i + 1].from : e->h.count;
        int64_t begin = e->step[i].from > from ? e->step[i].from : from;
        if (begin < end)
            fprintf(f, "%lld\t%.9g\n%lld\t%.9g\n\n", (long long)begin, scale * e->step[i].level,
                    (long long)end - 1, scale * e->step[i].level);
    }
}

/* Blocks of reports/series.gp; returns counts for its variables. Nights that are not judged stand
 * at the frame when they are beyond it. */
static void write_data(FILE *f, const sae_standing *e, int64_t from, const double r[2],
                       int64_t *hollow, int64_t *changes)
{
    const sae_history *h = &e->h;
    double k, y[2];
    (void)scale_of(h, &k);
    (void)axis_of(r, y);
    *hollow = *changes = 0;
    for (int64_t i = from; i < h->count; i++) {
        const sae_night *n = &h->night[i];
        if (judged(n))
            fprintf(f, "%lld\t%.9g\t%.9g\t%.9g\n", (long long)i, k * n->median,
                    k * (isnan(n->lo) ? n->median : n->lo), k * (isnan(n->hi) ? n->median : n->hi));
        *hollow += !judged(n);
    }
    fputs("\n\n", f);
    write_levels(f, e, from, k);
    fputs("\n", f);
    for (int64_t i = from; i < h->count && *hollow; i++)
        if (!judged(&h->night[i]))
            fprintf(f, "%lld\t%.9g\n", (long long)i,
                    fmin(fmax(k * h->night[i].median, y[0]), y[1]));
    fputs(*hollow ? "\n\n" : "", f);
    for (int64_t i = 0; i < e->steps; i++)
        if (e->step[i].live && e->step[i].from >= from) {
            fprintf(f, "%.1f\t%.9g\t%.9g\n", (double)e->step[i].from - 0.5, r[0], r[1]);
            ++*changes;
        }
}

/* Commits below the axis: their names are hexadecimal digits, fit for a script. */
static void write_tics(FILE *f, const sae_history *h, int64_t from)
{
    int64_t n = h->count - from, step = n > TICS ? (n + TICS - 1) / TICS : 1;
    const char *comma = "";
    fprintf(f, "set xtics (");
    for (int64_t i = from; i < h->count; i += step) {
        char git[8];
        snprintf(git, sizeof git, "%.7s", h->night[i].git);
        if (git[strspn(git, "0123456789abcdef")])
            snprintf(git, sizeof git, "?");
        fprintf(f, "%s\"%s\" %lld", comma, git, (long long)i);
        comma = ", ";
    }
    fprintf(f, ")\n");
}

static void write_script(FILE *f, const sae_standing *e, const sae_figure *fig, int64_t from,
                         const double r[2], int64_t hollow, int64_t changes)
{
    static const char *const units[] = {"ns", "us", "ms", "s", "bytes", "features", "nats"};
    double scale;
    const char *unit = scale_of(&e->h, &scale), *label = "value"; /* never a stranger's text */
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        label = strcmp(unit, units[i]) ? label : units[i];
    double y[2];
    int is_log = axis_of(r, y);
    fprintf(f, "# Drawn by saemark; run gnuplot on this file to draw it again.\nreset\n");
    fprintf(f, "name = \"%s\"\nheading = \"%s\"\nxlabel = \"commit\"\nylabel = \"%s\"\n", fig->name,
            fig->heading, label);
    fprintf(f, "width = 680\nheight = 320\nseries = 1\nhollow = %lld\nchanges = %lld\n",
            (long long)hollow, (long long)changes);
    sae_asset_write("reports/style.gp", f);
    fprintf(f, "set xrange [%.9g:%.9g]\nset format y \"%%g\"\n", (double)from - 0.5,
            (double)e->h.count - 0.5);
    fprintf(f, "%sset yrange [%.9g:%.9g]\n", is_log ? "set logscale y 10\n" : "", y[0], y[1]);
    write_tics(f, &e->h, from);
    sae_asset_write("reports/series.gp", f);
}

/* What the figure shows, where the name is fit for a script, else its number. */
static void write_heading(const sae_history *h, char out[96])
{
    static const char fit[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "_./:,=+-";
    if (h->name[strspn(h->name, fit)])
        snprintf(out, 96, "series %lld", (long long)h->series);
    else
        sae_series_short(h->name, out);
}

static int open_out(sae_out *o, const char *dir, const char *name, const char *end, sae_err *err)
{
    char *path = sae_strfmt("%s/plots/data/%s.%s", dir, name, end);
    int rc = path ? sae_out_open(o, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_free(path);
    return rc;
}

static int draw(const sae_standing *e, const char *dir, sae_figure *fig, sae_err *err)
{
    sae_out o;
    double r[2], scale;
    int64_t hollow, changes, from = first_shown(&e->h, FIGURE_NIGHTS);
    *fig = (sae_figure){.beside = 0};
    snprintf(fig->name, sizeof fig->name, "series_%lld", (long long)e->h.series);
    write_heading(&e->h, fig->heading);
    (void)scale_of(&e->h, &scale);
    range_of(&e->h, from, scale, r);
    SAE_TRY(open_out(&o, dir, fig->name, "dat", err));
    write_data(o.f, e, from, r, &hollow, &changes);
    SAE_TRY(sae_out_commit(&o, err));
    SAE_TRY(open_out(&o, dir, fig->name, "gp", err));
    write_script(o.f, e, fig, from, r, hollow, changes);
    return sae_out_commit(&o, err);
}

/* Hashes have no level to draw; a figure needs a night that is judged. */
static int drawable(const sae_standing *e)
{
    int64_t n = 0;
    for (int64_t i = first_shown(&e->h, FIGURE_NIGHTS); i < e->h.count; i++)
        n += judged(&e->h.night[i]);
    return n > 0 && strcmp(e->h.class, "hash") != 0;
}

int sae_track_figures(const sae_standings *a, const char *dir, sae_figures *out, sae_err *err)
{
    *out = (sae_figures){.count = 0};
    char *data = sae_strfmt("%s/plots/data", dir);
    int rc = data ? sae_dir_make(data, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_free(data);
    SAE_TRY(rc);
    for (int64_t i = 0; i < a->count; i++) {
        if (!drawable(&a->s[i]))
            continue;
        if (out->count == SAE_FIGURES_MAX) {
            out->left_out++;
            continue;
        }
        SAE_TRY(draw(&a->s[i], dir, &out->f[out->count], err));
        out->count++;
    }
    return SAE_OK;
}

/* ---- page ------------------------------------------------------------------------------------ */

typedef struct page {
    FILE *f;
    const sae_standings *a;
    sae_store *s;
    const char *branch, *note;
    const sae_figures *figs;
    sqlite3_stmt *alerts; /* bound, not yet stepped */
} page;

static void put_title(const void *arg)
{
    const page *p = arg;
    fputs("saemark: ", p->f);
    sae_html_text(p->f, p->branch);
}

static void put_subtitle(const void *arg)
{
    const page *p = arg;
    const sae_night *newest = NULL;
    for (int64_t i = 0; i < p->a->count; i++) {
        const sae_history *h = &p->a->s[i].h;
        if (!newest || h->night[h->count - 1].seq > newest->seq)
            newest = &h->night[h->count - 1];
    }
    fprintf(p->f, "%lld series", (long long)p->a->count);
    if (newest) {
        fputs(", last commit <code>", p->f);
        sae_html_text(p->f, newest->git);
        fputs("</code>", p->f);
    }
    fputs(". Data: <a href=\"report.csv\">report.csv</a>, <a href=\"report.json\">report.json</a>",
          p->f);
}

static void put_css(const void *arg)
{
    const page *p = arg;
    sae_asset_write("reports/report.css", p->f);
}

static void put_alerts(const void *arg)
{
    const page *p = arg;
    int64_t n = 0;
    while (sqlite3_step(p->alerts) == SQLITE_ROW) {
        if (!n++)
            fputs(
                "<div class=\"scroll\"><table><thead><tr><th>alert</th><th>kind</th><th>state</th>"
                "<th>commits</th><th>owner</th><th>series</th></tr></thead><tbody>\n",
                p->f);
        fprintf(p->f, "<tr><td>%lld ", (long long)sqlite3_column_int64(p->alerts, 0));
        sae_html_text(p->f, sae_sql_text(p->alerts, 3));
        for (int i = 1; i < 3; i++) {
            fputs("</td><td>", p->f);
            sae_html_text(p->f, sae_sql_text(p->alerts, i));
        }
        fputs("</td><td><code>", p->f);
        sae_html_text(p->f, sae_sql_text(p->alerts, 4));
        fputs("..", p->f);
        sae_html_text(p->f, sae_sql_text(p->alerts, 5));
        fputs("</code></td><td>", p->f);
        sae_html_text(p->f, sae_sql_text(p->alerts, 6));
        fprintf(p->f, "</td><td>%lld</td></tr>\n",
                (long long)sqlite3_column_int64(p->alerts, 7));
    }
    fputs(n ? "</tbody></table></div>\n" : "<p>None.</p>\n", p->f);
}

static double spark_y(const double r[2], double value)
{
    double share = r[1] > r[0] ? (fmin(fmax(value, r[0]), r[1]) - r[0]) / (r[1] - r[0]) : 0;
    return SPARK_H - 2 - share * (SPARK_H - 4.0);
}

static void put_spark(FILE *f, const sae_standing *e)
{
    const sae_history *h = &e->h;
    double r[2] = {INFINITY, -INFINITY};
    int64_t from = first_shown(h, SPARK_NIGHTS), n = h->count - from;
    for (int64_t i = from; i < h->count; i++)
        if (judged(&h->night[i])) {
            r[0] = fmin(r[0], h->night[i].median);
            r[1] = fmax(r[1], h->night[i].median);
        }
    double dx = n > 1 ? (SPARK_W - 4.0) / (double)(n - 1) : 0;
    fprintf(f,
            "<svg class=\"spark\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"history\">"
            "<path d=\"",
            SPARK_W, SPARK_H);
    for (int64_t i = 0; i < e->steps; i++) {
        int64_t end = i + 1 < e->steps ? e->step[i + 1].from : h->count;
        int64_t begin = e->step[i].from > from ? e->step[i].from : from;
        if (begin < end)
            fprintf(f, "M%.1f %.1fH%.1f", 2 + dx * (double)(begin - from),
                    spark_y(r, e->step[i].level), 2 + dx * (double)(end - 1 - from));
    }
    fputs("\"/><polyline points=\"", f);
    for (int64_t i = from; i < h->count; i++)
        fprintf(f, "%.1f,%.1f ", 2 + dx * (double)(i - from), spark_y(r, h->night[i].median));
    fputs("\"/></svg>", f);
}

static void put_row(const page *p, const sae_standing *e)
{
    const sae_history *h = &e->h;
    double scale;
    const char *unit = scale_of(h, &scale);
    int bad = e->state < SAE_STATE_CHANGED, good = e->state == SAE_STATE_BETTER;
    fputs("<tr><th scope=\"row\"><code>", p->f);
    sae_html_text(p->f, h->bench);
    fputs("</code> ", p->f);
    sae_html_text(p->f, h->metric);
    fputs("<span class=\"unit\">", p->f);
    sae_html_text(p->f, h->host);
    fprintf(p->f, "</span></th><td class=\"%s\">%s", bad ? "worse" : good ? "good" : "",
            sae_state_name[e->state]);
    if (e->alert)
        fprintf(p->f, " (%lld)", (long long)e->alert);
    if (!strcmp(h->class, "hash")) {
        fputs("</td><td>&ndash;</td><td>&ndash;</td><td>&ndash;</td><td>", p->f);
    } else {
        fprintf(p->f, "</td><td>%.5g", scale * h->night[h->count - 1].median);
        fprintf(p->f, "</td><td>%.5g</td><td class=\"%s\">", scale * e->baseline,
                bad ? "worse" : good ? "good" : "");
        fprintf(p->f, isfinite(e->change) ? "%+.2f&nbsp;%%</td><td>" : "&ndash;</td><td>",
                100 * e->change);
    }
    sae_html_text(p->f, unit);
    fputs("</td><td>", p->f);
    put_spark(p->f, e);
    fputs("</td></tr>\n", p->f);
}

static void put_series(const void *arg)
{
    const page *p = arg;
    fputs("<div class=\"scroll\"><table><thead><tr><th>series</th><th>state</th><th>last</th>"
          "<th>baseline</th><th>change</th><th>unit</th><th>history</th></tr></thead><tbody>\n",
          p->f);
    for (int64_t i = 0; i < p->a->count; i++)
        put_row(p, &p->a->s[i]);
    fputs("</tbody></table></div>\n", p->f);
}

static const sae_standing *drawn(const page *p, const sae_figure *g)
{
    char name[48];
    for (int64_t i = 0; i < p->a->count; i++) {
        snprintf(name, sizeof name, "series_%lld", (long long)p->a->s[i].h.series);
        if (!strcmp(name, g->name))
            return &p->a->s[i];
    }
    return NULL;
}

static void put_plots(const void *arg)
{
    const page *p = arg;
    if (p->note) {
        fputs("<p class=\"note\">No plots: ", p->f);
        sae_html_text(p->f, p->note);
        fputs("</p>\n", p->f);
        return;
    }
    fputs("<div class=\"figures\">\n", p->f);
    for (int i = 0; i < p->figs->count; i++) {
        const char *name = p->figs->f[i].name;
        const sae_standing *e = drawn(p, &p->figs->f[i]);
        fprintf(p->f,
                "<figure><a href=\"plots/%s.svg\"><img src=\"plots/%s.svg\" alt=\"%s\" "
                "loading=\"lazy\"></a>\n<figcaption><code>",
                name, name, p->figs->f[i].heading);
        sae_html_text(p->f, e->h.name);
        fputs("</code> on ", p->f);
        sae_html_text(p->f, e->h.host);
        fprintf(p->f,
                ", %s. <a href=\"plots/%s.png\">PNG</a>, <a href=\"plots/data/%s.dat\">data</a>, "
                "<a href=\"plots/data/%s.gp\">gnuplot</a></figcaption></figure>\n",
                sae_state_name[e->state], name, name, name);
    }
    fputs("</div>\n<p class=\"note\">Bars: 95 % intervals where there are enough processes or "
          "seeds. Lines: medians between change points (dashed). Hollow: nights left out as "
          "isolated outliers or by an annotation, at the frame when they are beyond it.", p->f);
    if (p->figs->left_out)
        fprintf(p->f, " %d more series have no figure.", p->figs->left_out);
    fputs("</p>\n", p->f);
}

static const sae_part parts[] = {
    {"@TITLE@", put_title},   {"@SUBTITLE@", put_subtitle}, {"@CSS@", put_css},
    {"@ALERTS@", put_alerts}, {"@SERIES@", put_series},     {"@PLOTS@", put_plots},
    {NULL, NULL},
};

int sae_track_page(const sae_standings *a, sae_store *s, const char *branch, const char *dir,
                   const sae_figures *figs, const char *note, sae_err *err)
{
    page p = {.a = a, .s = s, .branch = branch, .note = note, .figs = figs};
    sae_out o;
    SAE_TRY(sae_sql(s, &p.alerts, err,
                    "SELECT a.id,a.kind,a.state,a.title,"
                    " (SELECT git_sha FROM commit_order WHERE branch=a.branch AND seq=a.seq_lo),"
                    " (SELECT git_sha FROM commit_order WHERE branch=a.branch AND seq=a.seq_hi),"
                    " a.owner,(SELECT count(*) FROM alert_item WHERE alert_id=a.id) FROM alert a"
                    " WHERE a.branch=? AND a.state IN('detected','confirmed','triaged','fixed')"
                    " ORDER BY a.kind='improvement',a.id", "t", branch));
    char *path = sae_path_join(dir, "index.html");
    int rc = path ? sae_out_open(&o, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0) {
        p.f = o.f;
        sae_template_fill("reports/track.html", parts, &p, o.f);
        rc = sae_out_commit(&o, err);
    }
    sae_free(path);
    sqlite3_finalize(p.alerts);
    return rc;
}
