/* suite/cli/cmd_convert.c - saemark convert: activations of other programs to shards, published
 * results to what reports read, own results to SAEBench's layout. */
#include "cli/args.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/npy.h"
#include "core/shards.h"
#include "report/published.h"
#include "report/saebench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 4096 };

/* A matrix of activations in a file: .npy, or raw little-endian float32 of a given width. */
typedef struct matrix {
    sae_npy npy;
    sae_map raw;
    enum sae_st_dtype dtype;
    const unsigned char *data;
    int64_t rows, d;
} matrix;

static int open_raw(matrix *m, const char *path, int64_t d, sae_err *err)
{
    if (d <= 0)
        SAE_FAIL(err, SAE_EINVAL, "%s: raw float32 needs --d WIDTH", path);
    SAE_TRY(sae_map_open(&m->raw, path, err));
    if (m->raw.bytes == 0 || m->raw.bytes % ((size_t)d * 4)) {
        size_t bytes = m->raw.bytes;
        sae_map_close(&m->raw);
        SAE_FAIL(
            err, SAE_EFORMAT,
            "%s: expected rows of %lld float32 values, found %zu bytes (not a multiple of %lld)",
            path, (long long)d, bytes, (long long)d * 4);
    }
    m->dtype = SAE_ST_F32;
    m->data = m->raw.p;
    m->d = d;
    m->rows = (int64_t)(m->raw.bytes / ((size_t)d * 4));
    return SAE_OK;
}

static int open_matrix(matrix *m, const char *path, int64_t d, sae_err *err)
{
    size_t len = strlen(path);
    memset(m, 0, sizeof *m);
    if (len < 4 || strcmp(path + len - 4, ".npy"))
        return open_raw(m, path, d, err);
    SAE_TRY(sae_npy_open(&m->npy, path, err));
    int is_float =
        m->npy.dtype == SAE_ST_F32 || m->npy.dtype == SAE_ST_F64 || m->npy.dtype == SAE_ST_F16;
    if (m->npy.rank != 2 || !is_float || m->npy.count == 0) {
        int rank = m->npy.rank;
        const char *dtype = sae_st_dtype_name(m->npy.dtype);
        sae_npy_close(&m->npy);
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: expected a non-empty 2-dimensional float array, found rank %d of %s", path,
                 rank, dtype);
    }
    m->dtype = m->npy.dtype;
    m->data = m->npy.data;
    m->rows = m->npy.shape[0];
    m->d = m->npy.shape[1];
    return SAE_OK;
}

static int refuse_nonfinite(const char *path, const float *x, int64_t count, int64_t row0,
                            int64_t d, sae_err *err)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            SAE_FAIL(err, SAE_EFORMAT, "%s: row %lld, column %lld is not finite", path,
                     (long long)(row0 + i / d), (long long)(i % d));
    return SAE_OK;
}

static int copy_rows(sae_shards_writer *w, const matrix *m, const char *path, int64_t rows_per_doc,
                     sae_err *err)
{
    float *x = NULL;
    sae_token *tok = NULL;
    int rc;
    size_t size = sae_st_dtype_size(m->dtype);
    SAE_GOTO(sae_new(&x, CHUNK * m->d, sizeof *x, "convert.x", err));
    SAE_GOTO(sae_new(&tok, CHUNK, sizeof *tok, "convert.tok", err));
    for (int64_t r = 0; r < m->rows; r += CHUNK) {
        int64_t n = m->rows - r < CHUNK ? m->rows - r : CHUNK;
        sae_st_to_f32(m->dtype, m->data + (size_t)(r * m->d) * size, n * m->d, x);
        SAE_GOTO(refuse_nonfinite(path, x, n * m->d, r, m->d, err));
        for (int64_t i = 0; i < n; i++)
            tok[i] = (sae_token){.doc = (uint64_t)((r + i) / rows_per_doc),
                                 .pos = (uint32_t)((r + i) % rows_per_doc)};
        SAE_GOTO(sae_shards_writer_add(w, n, x, NULL, tok, err));
        if (sae_interrupted())
            SAE_GOTO(SAE_SET(err, SAE_EINTR, "interrupted"));
    }
    rc = SAE_OK;
fail:
    sae_free(x);
    sae_free(tok);
    return rc;
}

static int to_shards(const cli_args *a, const char *out, sae_err *err)
{
    const char *path = a->word[0];
    int64_t d, rows_per_doc;
    SAE_TRY(cli_int(a, "d", 0, 1, 1 << 24, &d, err));
    SAE_TRY(cli_int(a, "rows-per-doc", 1, 1, INT64_C(1) << 40, &rows_per_doc, err));
    if (a->count > 1)
        SAE_FAIL(err, SAE_EINVAL, "convert: expected one file of activations, found %d", a->count);
    char hash[36];
    matrix m;
    SAE_TRY(open_matrix(&m, path, d, err));
    sae_shards_writer *w = NULL;
    int rc = sae_hash_file(path, hash, err);
    sae_shards_info info = {.model = "",
                            .weights_hash = "",
                            .hook = cli_get(a, "hook") ? cli_get(a, "hook") : "",
                            .tokenizer_hash = "",
                            .text = path,
                            .text_hash = hash,
                            .d = m.d,
                            .dtype = SAE_ST_F32,
                            .rows_per_shard = 1 << 18};
    if (rc >= 0)
        rc = sae_shards_writer_open(&w, out, &info, err);
    if (rc >= 0)
        rc = copy_rows(w, &m, path, rows_per_doc, err);
    if (rc >= 0)
        rc = sae_shards_writer_commit(&w, err);
    sae_shards_writer_abandon(&w);
    if (rc >= 0)
        printf("%s: %lld rows of width %lld\n", out, (long long)m.rows, (long long)m.d);
    sae_npy_close(&m.npy);
    sae_map_close(&m.raw);
    return rc;
}

static int to_saebench(const cli_args *a, const char *out, sae_err *err)
{
    int64_t files;
    if (a->count > 1)
        SAE_FAIL(err, SAE_EINVAL, "convert: expected one run, found %d", a->count);
    SAE_TRY(sae_saebench_write(a->word[0], cli_get(a, "release"), out, &files, err));
    printf("%s: %lld files\n", out, (long long)files);
    return SAE_OK;
}

static int from_published(const cli_args *a, const char *out, sae_err *err)
{
    int64_t values;
    SAE_TRY(sae_published_write((const char *const *)a->word, a->count, out, &values, err));
    printf("%s/metrics.csv: %lld values\n", out, (long long)values);
    return SAE_OK;
}

/* Results are JSON files, tables, and folders of JSON files. */
static int is_published(const char *path)
{
    struct stat st;
    const char *dot = strrchr(path, '.');
    return (dot && (!strcmp(dot, ".json") || !strcmp(dot, ".csv"))) ||
           (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int run(const cli_args *a, sae_err *err)
{
    const char *out = cli_get(a, "out"), *to = cli_get(a, "to");
    if (!out)
        SAE_FAIL(err, SAE_EINVAL, "convert: --out DIR is required");
    if (to && strcmp(to, "saebench"))
        SAE_FAIL(err, SAE_EINVAL, "--to %s: expected saebench", to);
    if (to)
        return to_saebench(a, out, err);
    return is_published(a->word[0]) ? from_published(a, out, err) : to_shards(a, out, err);
}

static const cli_option options[] = {
    {"out", "DIR", "directory to write; of shards: must not hold a manifest"},
    {"to", "saebench", "write a run's saebench06 results as SAEBench's result files"},
    {"release", "NAME", "sae_lens_release_id in them (default: the run's name)"},
    {"d", "WIDTH", "width of a row (raw float32 files)"},
    {"rows-per-doc", "N", "rows that form one document, the unit of standard errors (default 1)"},
    {"hook", "NAME", "where the activations come from, for the manifest"},
    {NULL, NULL, NULL},
};

const cli_command cli_convert = {
    .name = "convert",
    .usage = "ACTIVATIONS.npy|ACTIVATIONS.f32|RESULTS...|RUN --out DIR [options]",
    .summary = "Turn activations into shards, published results into what `report` reads",
    .text = "A matrix of activations becomes shards that `run` and `eval` read. Result files of\n"
            "SAEBench (JSON, or a folder of them) and published tables (CSV) become a folder for\n"
            "report --beside. With --to saebench, a run becomes SAEBench's result files.\n",
    .options = options,
    .min_words = 1,
    .max_words = -1,
    .run = run,
};
