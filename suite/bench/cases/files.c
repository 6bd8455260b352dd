/* suite/bench/cases/files.c - reading and writing: activation shards, CSV tables, content hashes.
 *
 * In a directory under TMPDIR. Writing counts until the data is on the disk (the writers sync);
 * what is read was just written, so reading is from the page cache.
 */
#include "bench/cases/work.h"
#include "core/csv_table.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 768, ROWS = 16384, LINES = 20000 };

typedef struct job {
    sae_cases *c;
    int (*run)(struct job *j, sae_err *err);
    int reads; /* one call before the loop writes what is read */
    double bytes, items; /* of a call */
    enum sae_st_dtype dtype;
    char dir[256], path[300];
    float *rows;
    sae_token *tok;
} job;

/* ---- shards ---------------------------------------------------------------------------------- */

static int write_shards(job *j, sae_err *err)
{
    const sae_shards_info info = {.model = "bench", .weights_hash = "0", .hook = "resid_post.0",
                                  .tokenizer_hash = "0", .text = "none", .text_hash = "0",
                                  .d = WIDTH, .dtype = j->dtype, .rows_per_shard = ROWS / 2};
    sae_shards_writer *w = NULL;
    SAE_TRY(sae_dir_remove(j->path, err));
    SAE_TRY(sae_shards_writer_open(&w, j->path, &info, err));
    int rc = sae_shards_writer_add(w, ROWS, j->rows, NULL, j->tok, err);
    if (rc < 0) {
        sae_shards_writer_abandon(&w);
        return rc;
    }
    j->items = ROWS;
    j->bytes = (double)ROWS * WIDTH * (double)sae_st_dtype_size(j->dtype);
    return sae_shards_writer_commit(&w, err);
}

/* Every row as float, through the mapping. */
static int read_shards(job *j, sae_err *err)
{
    sae_shards *s = NULL;
    SAE_TRY(sae_shards_open(j->path, &s, err));
    for (int64_t i = 0, at = 0; i < s->count; at += s->shard[i++].rows * WIDTH)
        sae_st_to_f32(j->dtype, s->shard[i].acts, s->shard[i].rows * WIDTH, j->rows + at);
    sae_shards_close(&s);
    return SAE_OK;
}

static int verify_shards(job *j, sae_err *err)
{
    return sae_shards_verify(j->path, err);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int write_table(job *j, sae_err *err)
{
    sae_csv *c = NULL;
    SAE_TRY(sae_csv_open(&c, j->path, "step,name,loss,l0,fvu", err));
    for (int64_t i = 0; i < LINES; i++) {
        sae_csv_int(c, i);
        sae_csv_text(c, "a name of an SAE");
        for (int k = 0; k < 3; k++)
            sae_csv_real(c, (double)j->rows[3 * i + k]);
        sae_csv_end_row(c);
    }
    SAE_TRY(sae_csv_close(&c, err));
    j->items = LINES;
    j->bytes = (double)sae_file_size(j->path);
    return SAE_OK;
}

static int read_table(job *j, sae_err *err)
{
    sae_table t;
    double sum = 0;
    SAE_TRY(sae_table_open(&t, j->path, err));
    for (int64_t i = 0; i < t.rows; i++)
        sum += sae_table_real(&t, i, "fvu");
    sae_bench_use(&sum);
    sae_table_close(&t);
    return SAE_OK;
}

static int hash(job *j, sae_err *err)
{
    char digits[36];
    (void)err;
    sae_hash_bytes(j->rows, (size_t)ROWS * WIDTH * sizeof *j->rows, digits);
    j->bytes = (double)ROWS * WIDTH * sizeof *j->rows;
    j->items = 0;
    return SAE_OK;
}

/* ---- the benchmark --------------------------------------------------------------------------- */

static int open_job(job *j, sae_err *err)
{
    const sae_engine *e = j->c->e;
    const char *tmp = getenv("TMPDIR");
    snprintf(j->dir, sizeof j->dir, "%s/saemark-bench-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(j->dir))
        SAE_FAIL(err, SAE_EIO, "%s: no directory could be made there", j->dir);
    snprintf(j->path, sizeof j->path, "%s/data", j->dir);
    SAE_TRY(sae_new(&j->rows, ROWS * WIDTH, sizeof *j->rows, "bench.rows", err));
    SAE_TRY(sae_new(&j->tok, ROWS, sizeof *j->tok, "bench.tokens", err));
    return e->host_k.normal_fill(e->host_dev, 1, SAE_STREAM_SYNTHETIC, 0,
                                 sae_matrix_out(j->rows, ROWS, WIDTH));
}

static void close_job(job *j)
{
    sae_err err = {0};
    sae_free(j->rows);
    sae_free(j->tok);
    j->rows = NULL;
    j->tok = NULL;
    sae_dir_remove(j->dir, &err);
}

static int prepare(job *j, sae_err *err)
{
    SAE_TRY(open_job(j, err));
    if (j->reads)
        SAE_TRY(j->run == read_table ? write_table(j, err) : write_shards(j, err));
    return j->run(j, err);
}

static int once(void *arg, sae_err *err)
{
    job *j = arg;
    return j->run(j, err);
}

static void run_job(sae_bench_state *st)
{
    job *j = sae_bench_user(st);
    sae_err err = {0};
    sae_work_close(j->c->work);
    int rc = prepare(j, &err);
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        close_job(j);
        return;
    }
    double seconds = sae_cases_loop(st, once, j);
    if (seconds >= 0) {
        double n = (double)sae_bench_iterations(st);
        if (j->items > 0)
            sae_bench_set_items(st, (int64_t)(n * j->items));
        sae_cases_rates(j->c, st, seconds, 0, n * j->bytes);
    }
    close_job(j);
}

int sae_cases_files(sae_cases *c, sae_err *err)
{
    static const struct {
        const char *name;
        int (*run)(job *j, sae_err *err);
        int reads;
        enum sae_st_dtype dtype;
    } what[] = {
        {"io/shards_write/f32", write_shards, 0, SAE_ST_F32},
        {"io/shards_write/bf16", write_shards, 0, SAE_ST_BF16},
        {"io/shards_read/f32", read_shards, 1, SAE_ST_F32},
        {"io/shards_read/bf16", read_shards, 1, SAE_ST_BF16},
        {"io/shards_verify", verify_shards, 1, SAE_ST_F32},
        {"io/csv_write", write_table, 0, SAE_ST_F32},
        {"io/csv_read", read_table, 1, SAE_ST_F32},
        {"io/hash", hash, 0, SAE_ST_F32},
    };
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
        job *j = sae_cases_keep(c, sizeof *j, err);
        if (!j)
            return SAE_ENOMEM;
        *j = (job){.c = c, .run = what[i].run, .reads = what[i].reads, .dtype = what[i].dtype};
        sae_cases_timed(sae_bench_add(what[i].name, run_job, j));
    }
    return SAE_OK;
}
