/* suite/track/readings.h - what was measured, in memory: read from Google Benchmark JSON or from a
 * run directory. */
#ifndef SAE_TRACK_READINGS_H
#define SAE_TRACK_READINGS_H

#include <jansson.h>
#include <sae/base.h>

enum sae_class { SAE_CLASS_TIME, SAE_CLASS_MEMORY, SAE_CLASS_COUNT, SAE_CLASS_QUALITY,
                 SAE_CLASS_HASH };
enum { SAE_SAMPLE_OK, SAE_SAMPLE_NAN, SAE_SAMPLE_INF, SAE_SAMPLE_ERROR, SAE_SAMPLE_SKIPPED };

extern const char *const sae_class_name[]; /* by enum sae_class */

typedef struct sae_trait { /* of a metric that is tracked; the rest is not */
    const char *metric;    /* "*" at the end: any name that begins so */
    enum sae_class class;
    int direction;         /* -1: smaller is better, 1: larger, 0: neither */
    int absolute;          /* a share: effects are differences, not ratios */
} sae_trait;

/* NULL: not tracked. Counters of a benchmark, or metrics of a run. */
const sae_trait *sae_trait_of(const char *metric);

typedef struct sae_readings_series {
    char *bench, *params; /* params: canonical JSON */
    const char *metric;   /* owned by names */
    const char *unit;     /* likewise */
    const sae_trait *trait;
} sae_readings_series;

typedef struct sae_readings_sample {
    int64_t series, process, rep; /* quality: process is the seed */
    int64_t iterations;
    double value;                 /* times in ns; status OK only */
    char text[65];                /* hash: the value; else "" */
    int status;
} sae_readings_sample;

typedef struct sae_readings { /* starts as {0} */
    sae_readings_series *series;
    sae_readings_sample *sample;
    int64_t series_count, series_room, sample_count, sample_room;
    json_t *index; /* key of a series -> its number */
    json_t *names; /* strings that series borrow */
    json_t *host, *build, *env; /* objects: facts as found; NULL until the first file */
    char *data;     /* hash of the data behind the numbers; NULL: none */
    int64_t when;   /* Unix seconds; 0: unknown */
    json_t *source; /* [{"sha256", "type", "path"}] */
} sae_readings;

void sae_readings_free(sae_readings *b);

/* Number of a series, added if it is new. */
int sae_readings_find(sae_readings *b, const char *bench, const json_t *params, const char *metric,
                   const char *unit, const sae_trait *trait, int64_t *series, sae_err *err);
int sae_readings_add(sae_readings *b, const sae_readings_sample *s, sae_err *err);
/* The same with the status that the value has: NaN and infinities are not stored as numbers. */
int sae_readings_value(sae_readings *b, sae_readings_sample s, double value, sae_err *err);

/* Sorted keys, no blanks, numbers with 17 digits; caller frees with sae_free. NULL: no memory. */
char *sae_canonical(const json_t *j);

/* "2026-11-20T22:46:22+01:00" or "...Z" as Unix seconds; 0 when it is something else. */
int64_t sae_moment(const char *text);

/* One process's output of a Google Benchmark program. `name` is for messages. */
int sae_readings_gbench(sae_readings *b, const char *name, const char *text, size_t bytes,
                     int64_t process, sae_err *err);
/* A run directory of saemark: run.json, metrics.csv, saes.csv and the saved SAEs. */
int sae_readings_run(sae_readings *b, const char *dir, sae_err *err);
/* A file or a run directory, noted as a source. */
int sae_readings_read(sae_readings *b, const char *path, int64_t process, sae_err *err);

#endif
