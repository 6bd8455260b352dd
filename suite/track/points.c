/* suite/track/points.c - the point of a run in each series: one number per night. */
#include "track/import.h"

#include "core/error.h"
#include "core/memory.h"
#include "track/stats.h"

#include <math.h>
#include <stdlib.h>

typedef struct gather { /* samples of one series, in order of process and repetition */
    double *value;      /* of one process */
    double *centre;     /* a number per process */
    double *room;
    int64_t in_process, processes, samples, process;
} gather;

static void end_process(gather *g)
{
    if (g->in_process > 0)
        g->centre[g->processes++] = sae_median(g->value, g->in_process);
    g->in_process = 0;
}

/* A hash as a number, so that equal hashes are equal points. */
static double leading_bits(const char *hex)
{
    char digits[14];
    snprintf(digits, sizeof digits, "%.13s", hex);
    return (double)strtoull(digits, NULL, 16);
}

static int put_point(sae_store *s, sqlite3_stmt *put, int64_t series, int64_t run, int by_mean,
                     gather *g, sae_err *err)
{
    end_process(g);
    int64_t n = g->processes;
    if (n == 0)
        return SAE_OK; /* errors only */
    double lo = (double)NAN, hi = (double)NAN, sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        sum += g->centre[i];
    double mean = sum / (double)n, centre = sae_median(g->centre, n);
    for (int64_t i = 0; i < n; i++)
        square += (g->centre[i] - mean) * (g->centre[i] - mean);
    double se = n > 1 ? sqrt(square / (double)(n - 1) / (double)n) : (double)NAN;
    if (by_mean) {
        centre = mean;
        lo = mean - 1.96 * se;
        hi = mean + 1.96 * se;
    } else if (n >= 6) { /* order statistics: 95 % by the sign test */
        int64_t k = 0;
        double share = exp2(-(double)n), below = 0, next = share;
        for (; n < 1000 && below + next <= 0.025; k++) {
            below += next;
            next *= (double)(n - k) / (double)(k + 1);
        }
        lo = k > 0 ? g->centre[k - 1] : (double)NAN;
        hi = k > 0 ? g->centre[n - k] : (double)NAN;
    }
    double least = g->centre[0], p25 = sae_sorted_quantile(g->centre, n, 0.25);
    double p75 = sae_sorted_quantile(g->centre, n, 0.75);
    double mad = sae_mad(g->centre, n, centre, g->room);
    return sae_sql_again(s, put, err, "iiiirrrrrrr", series, run, n, g->samples, centre, mad, least,
                         p25, p75, lo, hi);
}

static void take(gather *g, sqlite3_stmt *q)
{
    int64_t process = sqlite3_column_int64(q, 1);
    if (g->samples && process != g->process)
        end_process(g);
    g->process = process;
    g->value[g->in_process++] = sqlite3_column_type(q, 3) == SQLITE_NULL
                                    ? sqlite3_column_double(q, 2)
                                    : leading_bits(sae_sql_text(q, 3));
    g->samples++;
}

static int put_points(sae_store *s, int64_t run, sqlite3_stmt *q, sqlite3_stmt *put, gather *g,
                      sae_err *err)
{
    int64_t series = -1;
    int mean = 0, rc;
    while ((rc = sae_sql_next(s, q, err)) == SAE_OK) {
        int64_t next = sqlite3_column_int64(q, 0);
        if (next != series) {
            SAE_TRY(put_point(s, put, series, run, mean, g, err));
            g->processes = g->samples = 0;
            series = next;
            mean = sqlite3_column_int(q, 4);
        }
        take(g, q);
    }
    return rc < 0 ? rc : put_point(s, put, series, run, mean, g, err);
}

int sae_import_points(sae_store *s, int64_t run, sae_err *err)
{
    static const char sql[] =
        "SELECT m.series_id, m.process_idx, m.value, m.text_value, e.class IN('quality','hash')"
        " FROM series e CROSS JOIN sample m ON m.series_id=e.id AND m.run_id=? WHERE m.status=0"
        " ORDER BY 1, 2, m.rep_idx";
    static const char count[] = "SELECT count(*) FROM series e CROSS JOIN sample m"
                                " ON m.series_id=e.id AND m.run_id=?";
    sqlite3_stmt *q = NULL, *put = NULL;
    gather g = {0};
    int64_t most = 0;
    int rc;
    SAE_TRY(sae_sql_run(s, err, "DELETE FROM point WHERE run_id=?", "i", run));
    SAE_TRY(sae_sql_int(s, &most, err, count, "i", run));
    SAE_TRY(sae_new(&g.value, 3 * most, sizeof *g.value, "track.points", err));
    g.centre = g.value + most;
    g.room = g.centre + most;
    SAE_GOTO(sae_sql(s, &put, err,
                     "INSERT INTO point(series_id,run_id,n_process,n_sample,median,mad,min,p25,p75,"
                     "ci_lo,ci_hi) VALUES(?,?,?,?,?,?,?,?,?,?,?)", ""));
    SAE_GOTO(sae_sql(s, &q, err, sql, "i", run));
    rc = put_points(s, run, q, put, &g, err);
fail:
    sqlite3_finalize(q);
    sqlite3_finalize(put);
    sae_free(g.value);
    return rc;
}
