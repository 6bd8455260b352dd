/* suite/track/readings.c - what was measured, in memory. */
#include "track/readings.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const sae_class_name[] = {"time", "memory", "count", "quality", "hash"};

static const sae_trait traits[] = {
    {"real_time", SAE_CLASS_TIME, -1, 0},
    {"cpu_time", SAE_CLASS_TIME, -1, 0},
    {"max_bytes_used", SAE_CLASS_MEMORY, -1, 0},
    {"net_heap_growth", SAE_CLASS_MEMORY, -1, 0},
    {"peak_rss*", SAE_CLASS_MEMORY, -1, 0},
    {"peak_device*", SAE_CLASS_MEMORY, -1, 0},
    {"binary_bytes", SAE_CLASS_MEMORY, -1, 0},
    {"total_allocated_bytes", SAE_CLASS_COUNT, -1, 0},
    {"allocs*", SAE_CLASS_COUNT, -1, 0},
    {"instructions*", SAE_CLASS_COUNT, -1, 0},
    {"weights.sha256", SAE_CLASS_HASH, 0, 0},
    {"sparsity.l0", SAE_CLASS_QUALITY, 0, 0},
    {"sparsity.dead_share", SAE_CLASS_QUALITY, -1, 1},
    {"reconstruction.fvu", SAE_CLASS_QUALITY, -1, 0},
    {"reconstruction.cosine", SAE_CLASS_QUALITY, 1, 0},
    {"downstream.ce_increase", SAE_CLASS_QUALITY, -1, 0},
    {"downstream.ce_spliced", SAE_CLASS_QUALITY, -1, 0},
    {"downstream.kl_spliced", SAE_CLASS_QUALITY, -1, 0},
    {"downstream.loss_recovered_zero", SAE_CLASS_QUALITY, 1, 0},
    {"recovery.matched_cosine", SAE_CLASS_QUALITY, 1, 1},
    {"recovery.share_recovered", SAE_CLASS_QUALITY, 1, 1},
    {"recovery.support_f1", SAE_CLASS_QUALITY, 1, 1},
};

const sae_trait *sae_trait_of(const char *metric)
{
    for (size_t i = 0; i < sizeof traits / sizeof traits[0]; i++) {
        size_t len = strlen(traits[i].metric);
        int open = traits[i].metric[len - 1] == '*';
        if (open ? !strncmp(metric, traits[i].metric, len - 1) : !strcmp(metric, traits[i].metric))
            return &traits[i];
    }
    return NULL;
}

void sae_readings_free(sae_readings *b)
{
    for (int64_t i = 0; i < b->series_count; i++) {
        sae_free(b->series[i].bench);
        sae_free(b->series[i].params);
    }
    sae_free(b->series);
    sae_free(b->sample);
    sae_free(b->data);
    json_decref(b->index);
    json_decref(b->names);
    json_decref(b->host);
    json_decref(b->build);
    json_decref(b->env);
    json_decref(b->source);
    *b = (sae_readings){0};
}

char *sae_canonical(const json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17) |
                                   JSON_ENCODE_ANY);
    char *out = text ? sae_strdup(text) : NULL;
    free(text);
    return out;
}

/* Room for one more element in an array that grows by doubling. */
static int grow(void *array, int64_t count, int64_t *room, size_t size, sae_err *err)
{
    void **p = array;
    size_t bytes;
    if (count < *room)
        return SAE_OK;
    int64_t more = *room ? 2 * *room : 64;
    SAE_TRY(sae_size_mul(&bytes, more, (int64_t)size, err));
    void *q = sae_realloc(*p, bytes);
    if (!q)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld measurements", (long long)more);
    *p = q;
    *room = more;
    return SAE_OK;
}

/* A copy of the string that lives as long as the batch; equal strings are one. */
static const char *keep(sae_readings *b, const char *s)
{
    json_t *have = json_object_get(b->names, s);
    if (have)
        return json_string_value(have);
    if (!b->names)
        b->names = json_object();
    json_t *text = json_string(s);
    return json_object_set_new(b->names, s, text) ? NULL : json_string_value(text);
}

static int new_series(sae_readings *b, const char *key, sae_readings_series s, int64_t *series,
                      sae_err *err)
{
    SAE_TRY(grow(&b->series, b->series_count, &b->series_room, sizeof *b->series, err));
    if (!b->index)
        b->index = json_object();
    if (!s.metric || !s.unit || !s.bench ||
        json_object_set_new(b->index, key, json_integer((json_int_t)b->series_count)))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a series");
    *series = b->series_count;
    b->series[b->series_count++] = s;
    return SAE_OK;
}

int sae_readings_find(sae_readings *b, const char *bench, const json_t *params, const char *metric,
                   const char *unit, const sae_trait *trait, int64_t *series, sae_err *err)
{
    char *facts = sae_canonical(params);
    char *key = facts ? sae_strfmt("%s\n%s\n%s\n%s", bench, facts, metric, unit) : NULL;
    if (!key) {
        sae_free(facts);
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a series");
    }
    const json_t *have = json_object_get(b->index, key);
    int rc = SAE_OK;
    if (have) {
        *series = (int64_t)json_integer_value(have);
        sae_free(facts);
    } else {
        sae_readings_series s = {sae_strdup(bench), facts, keep(b, metric), keep(b, unit), trait};
        rc = new_series(b, key, s, series, err);
        if (rc < 0) {
            sae_free(s.bench);
            sae_free(facts);
        }
    }
    sae_free(key);
    return rc;
}

int sae_readings_add(sae_readings *b, const sae_readings_sample *s, sae_err *err)
{
    SAE_TRY(grow(&b->sample, b->sample_count, &b->sample_room, sizeof *b->sample, err));
    b->sample[b->sample_count++] = *s;
    return SAE_OK;
}

int sae_readings_value(sae_readings *b, sae_readings_sample s, double value, sae_err *err)
{
    s.status = isnan(value) ? SAE_SAMPLE_NAN : isinf(value) ? SAE_SAMPLE_INF : SAE_SAMPLE_OK;
    s.value = value;
    return sae_readings_add(b, &s, err);
}

/* ---- sources --------------------------------------------------------------------------------- */

static int note_source(sae_readings *b, const char *path, const char *sha256, const char *type,
                       sae_err *err)
{
    if (!b->source)
        b->source = json_array();
    json_t *j = json_pack("{s:s, s:s, s:s}", "sha256", sha256, "type", type, "path", path);
    if (!b->source || !j || json_array_append_new(b->source, j))
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    return SAE_OK;
}

static int read_gbench(sae_readings *b, const char *path, int64_t process, sae_err *err)
{
    char sha256[65];
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    int rc = sae_sha256(m.p, m.bytes, sha256, err);
    if (rc >= 0)
        rc = sae_readings_gbench(b, path, (const char *)m.p, m.bytes, process, err);
    sae_map_close(&m);
    SAE_TRY(rc);
    return note_source(b, path, sha256, "gbench", err);
}

static int read_run(sae_readings *b, const char *dir, sae_err *err)
{
    char sha256[65];
    SAE_TRY(sae_readings_run(b, dir, err));
    char *path = sae_path_join(dir, "metrics.csv");
    int rc = path ? sae_sha256_file(path, sha256, err)
                  : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", dir);
    sae_free(path);
    SAE_TRY(rc);
    return note_source(b, dir, sha256, "run", err);
}

int sae_readings_read(sae_readings *b, const char *path, int64_t process, sae_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return read_run(b, path, err);
    return read_gbench(b, path, process, err);
}
