/* tests/fault/files.c - every write, sync, rename and allocation fails once, in turn: a clean
 * status, no leak, nothing partial under a final name. */
#include "core/csv_table.h"
#include "core/memory.h"
#include "core/npy.h"
#include "core/shards.h"
#include "models/capture.h"
#include "support/stand_in.h"
#include "support/support.h"

#include <string.h>

/* ---- things to do in a fresh directory; `out` is what must be whole or absent
 * --------------------- */

static int write_safetensors(const char *out, sae_err *err)
{
    static const float x[12] = {1, 2, 3};
    const int64_t shape[] = {3, 4};
    sae_st_writer *w;
    int rc = sae_st_writer_open(&w, out, err);
    if (rc >= 0)
        rc = sae_st_writer_meta(w, "k", "v", err);
    if (rc >= 0)
        rc = sae_st_writer_add(w, "x", SAE_ST_F32, 2, shape, err);
    if (rc >= 0)
        rc = sae_st_writer_begin(w, err);
    if (rc >= 0)
        rc = sae_st_writer_data(w, x, sizeof x, err);
    if (rc >= 0)
        return sae_st_writer_commit(&w, err);
    sae_st_writer_abandon(&w);
    return rc;
}

static int read_safetensors(const char *out, sae_err *err)
{
    sae_st *st;
    float x[12];
    int rc = sae_st_open(&st, out, err);
    if (rc >= 0)
        rc = sae_st_floats(st, sae_st_at(st, 0), 0, 12, 1, x, err);
    sae_st_close(&st);
    return rc;
}

static int write_shards(const char *out, sae_err *err)
{
    static const float x[5 * 2] = {1}, g[5 * 2] = {2};
    static const sae_token tok[5] = {{0, 1, 2}};
    sae_shards_info info = {"m", "w", "h", "t", "x", "y", 2, SAE_ST_F16, 2, 1, SAE_ST_F32};
    sae_shards_writer *w;
    int rc = sae_shards_writer_open(&w, out, &info, err);
    if (rc >= 0)
        rc = sae_shards_writer_add(w, 5, x, g, tok, err);
    if (rc >= 0)
        return sae_shards_writer_commit(&w, err);
    sae_shards_writer_abandon(&w);
    return rc;
}

static int read_shards(const char *out, sae_err *err)
{
    sae_shards *s;
    int rc = sae_shards_open(out, &s, err);
    sae_shards_close(&s);
    return rc < 0 ? rc : sae_shards_verify(out, err);
}

static int write_csv(const char *out, sae_err *err)
{
    sae_csv *c;
    int rc = sae_csv_open(&c, out, "a,b", err);
    if (rc < 0)
        return rc;
    sae_csv_text(c, "x");
    sae_csv_real(c, 0.1);
    sae_csv_end_row(c);
    return sae_csv_close(&c, err);
}

static int read_csv(const char *out, sae_err *err)
{
    sae_table t;
    int rc = sae_table_open(&t, out, err);
    sae_table_close(&t);
    return rc;
}

static int capture(const char *out, sae_err *err)
{
    sae_docs *docs;
    sae_host host = stand_in_host(0);
    host.docs_open(&stand_in_lm, "a", "", 4, &docs, err);
    sae_capture c = {.lm = &stand_in_lm,
                     .hook = "resid_post.0",
                     .docs = docs,
                     .dir = out,
                     .model = "m",
                     .dtype = SAE_ST_F32,
                     .grads = 1,
                     .grads_dtype = SAE_ST_BF16,
                     .rows_per_shard = 10,
                     .batch = 20};
    int64_t rows;
    char *text = sae_path_join(test_dir(), "text");
    int rc = text ? SAE_OK : SAE_ENOMEM;
    c.text = text;
    if (rc >= 0)
        rc = sae_capture_run(&c, &rows, err);
    sae_free(text);
    ck_assert_int_eq(stand_in_passes, 0);
    return rc;
}

static const struct {
    const char *name;
    int (*write)(const char *out, sae_err *err);
    int (*read)(const char *out, sae_err *err);
} things[] = {
    {"safetensors", write_safetensors, read_safetensors},
    {"shards", write_shards, read_shards},
    {"csv", write_csv, read_csv},
    {"capture", capture, read_shards},
};
enum { THINGS = sizeof things / sizeof things[0] };

/* ---- the law
 * ---------------------------------------------------------------------------------------- */

static void assert_nothing_left(const char *what, uint64_t i)
{
    sae_err err = {0};
    char **names;
    ck_assert_ok(sae_dir_list(test_dir(), &names, &err), err);
    for (char **n = names; *n; n++)
        ck_assert_msg(!strcmp(*n, "text"), "%s, failure %d: %s is left", what, (int)i, *n);
    sae_names_free(&names);
}

/* Repeat with the i-th fault until none happens; then the result is whole. */
static void fail_each(int t, void (*arm)(uint64_t i), int code)
{
    sae_err err = {0};
    char *out = sae_path_join(test_dir(), "out"), *text = sae_path_join(test_dir(), "text");
    ck_assert_ok(sae_file_write(text, "a", 1, &err), err);
    size_t live = sae_alloc_live();
    uint64_t i = 1;
    for (;; i++) {
        ck_assert_msg(i < 1000, "%s never succeeds", things[t].name);
        err = (sae_err){0};
        arm(i);
        int rc = things[t].write(out, &err);
        arm(0);
        ck_assert_uint_eq(sae_alloc_live(), live);
        if (rc >= 0)
            break;
        ck_assert_msg(rc == code, "%s, failure %d: status %d", things[t].name, (int)i, rc);
        assert_nothing_left(things[t].name, i);
    }
    ck_assert_msg(i > 3, "%s: only %d faults", things[t].name, (int)i - 1);
    ck_assert_ok(things[t].read(out, &err), err);
    ck_assert_uint_eq(sae_alloc_live(), live);
    sae_free(out);
    sae_free(text);
}

START_TEST(every_write)
{
    fail_each(_i, sae_io_fail_at, SAE_EIO);
}
END_TEST

START_TEST(every_allocation)
{
    fail_each(_i, sae_alloc_fail_at, SAE_ENOMEM);
}
END_TEST

START_TEST(every_allocation_of_readers)
{
    sae_err err = {0};
    char *out = sae_path_join(test_dir(), "out");
    ck_assert_ok(things[_i].write(out, &err), err);
    size_t live = sae_alloc_live();
    int rc = SAE_ENOMEM;
    for (uint64_t i = 1; rc < 0; i++) {
        ck_assert_msg(i < 1000, "%s never succeeds", things[_i].name);
        err = (sae_err){0};
        sae_alloc_fail_at(i);
        rc = things[_i].read(out, &err);
        sae_alloc_fail_at(0);
        ck_assert_msg(rc >= 0 || rc == SAE_ENOMEM, "failure %d: status %d", (int)i, rc);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    sae_free(out);
}
END_TEST

/* A directory that may not be written to. Root may write anywhere: a name below a file, then. */
START_TEST(unwritable_place)
{
    sae_err err = {0};
    char *file = sae_path_join(test_dir(), "text"), *out = sae_path_join(file, "out");
    ck_assert_ok(sae_file_write(file, "a", 1, &err), err);
    size_t live = sae_alloc_live();
    ck_assert_int_eq(things[_i].write(out, &err), SAE_EIO);
    ck_assert_msg(strstr(err.msg, file) != NULL, "%s", err.msg);
    ck_assert_uint_eq(sae_alloc_live(), live);
    sae_free(file);
    sae_free(out);
}
END_TEST

Suite *suite_files(void)
{
    Suite *s = suite_create("files");
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_write, 0, THINGS);
    tcase_add_loop_test(tc, every_allocation, 0, THINGS);
    tcase_add_loop_test(tc, every_allocation_of_readers, 0, THINGS - 1);
    tcase_add_loop_test(tc, unwritable_place, 0, THINGS);
    suite_add_tcase(s, tc);
    return s;
}
