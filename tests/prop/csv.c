/* tests/prop/csv.c - what is written reads back; broken tables are refused; rows are appended. */
#include "core/csv_table.h"
#include "core/memory.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

static char *in_dir(const char *name)
{
    return sae_path_join(test_dir(), name);
}

static void assert_text(const char *path, const char *want)
{
    sae_err err = {0};
    sae_map m;
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    ck_assert_msg(m.bytes == strlen(want) && !memcmp(m.p, want, m.bytes), "%.*s", (int)m.bytes,
                  (const char *)m.p);
    sae_map_close(&m);
}

START_TEST(round_trip)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("t.csv");
    static const char *const texts[] = {"plain", " blanks ", "a,b", "a \"q\"", "two\nlines", "",
                                        ""};
    static const double reals[] = {0.1, -1e-300, 1e22, 5e-324, -0.0, 1.7976931348623157e308, 3};
    sae_csv *c;
    ck_assert_ok(sae_csv_open(&c, path, "name,value,count", &err), err);
    for (int i = 0; i < 7; i++) {
        sae_csv_text(c, texts[i]);
        sae_csv_real(c, reals[i]);
        sae_csv_int(c, i == 3 ? INT64_MIN : i);
        sae_csv_end_row(c);
    }
    sae_csv_text(c, NULL);
    sae_csv_real(c, (double)NAN);
    sae_csv_int(c, 9);
    sae_csv_end_row(c);
    ck_assert_ok(sae_csv_flush(c, &err), err);
    ck_assert(!sae_file_exists(path));
    ck_assert_ok(sae_csv_close(&c, &err), err);
    ck_assert_ptr_null(c);

    sae_table t;
    ck_assert_ok(sae_table_open(&t, path, &err), err);
    ck_assert_int_eq(t.rows, 8);
    ck_assert_int_eq(t.cols, 3);
    for (int i = 0; i < 7; i++) {
        ck_assert_str_eq(sae_table_cell(&t, i, "name"), texts[i]);
        double v = sae_table_real(&t, i, "value");
        ck_assert_mem_eq(&v, &reals[i], sizeof v);
    }
    ck_assert_str_eq(t.cell[3 * 3 + 2], "-9223372036854775808");
    ck_assert(isnan(sae_table_real(&t, 7, "value")));
    ck_assert(isnan(sae_table_real(&t, 0, "name")));
    ck_assert_int_eq(sae_table_col(&t, "absent"), -1);
    ck_assert_str_eq(sae_table_cell(&t, 0, "absent"), "");
    ck_assert_str_eq(sae_table_cell(&t, 8, "name"), "");
    sae_table_close(&t);
    sae_table_close(&t);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(single_empty_column)
{
    sae_err err = {0};
    char *path = in_dir("one.csv");
    sae_csv *c;
    ck_assert_ok(sae_csv_open(&c, path, "x", &err), err);
    for (int i = 0; i < 3; i++) {
        sae_csv_real(c, i == 1 ? (double)NAN : i);
        sae_csv_end_row(c);
    }
    ck_assert_ok(sae_csv_close(&c, &err), err);
    sae_table t;
    ck_assert_ok(sae_table_open(&t, path, &err), err);
    ck_assert_int_eq(t.rows, 3);
    ck_assert(isnan(sae_table_real(&t, 1, "x")) && sae_table_real(&t, 2, "x") == 2.0);
    sae_table_close(&t);
    sae_free(path);
}
END_TEST

static const struct {
    const char *text, *message; /* message NULL: fine, with `rows` rows */
    int64_t rows;
} tables[] = {
    {"a,b\n1,2\n", NULL, 1},
    {"a,b\n1,2", NULL, 1},
    {"a,b\r\n1,2\r\n3,4\r\n", NULL, 2},
    {"\xef\xbb\xbf\"a\",b\n1,2\n", NULL, 1},
    {"a,b\n\n1,2\n\n", NULL, 1},
    {"a,b\n", NULL, 0},
    {"a,b\n,\n", NULL, 1},
    {"a,b\n\"x\"\"y\",2\n", NULL, 1},
    {"", "expected a header", 0},
    {"\n\n", "expected a header", 0},
    {"a,b\n1,2,3\n", "row 1: expected 2 fields, found 3", 0},
    {"a,b\n1,2\n1\n", "row 2: expected 2 fields, found 1", 0},
    {"a,a\n1,2\n", "column \"a\" appears twice", 0},
    {"a,b\n1,\"2\n", "stray or open quote", 0},
    {"a,b\n1,2\n3,x\"y\n", "line 3: expected RFC 4180", 0},
    {"a,b\n1,\"2\" \n", "line 2", 0},
};

START_TEST(reading)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("t.csv");
    ck_assert_ok(sae_file_write(path, tables[_i].text, strlen(tables[_i].text), &err), err);
    sae_table t;
    int rc = sae_table_open(&t, path, &err);
    if (!tables[_i].message) {
        ck_assert_ok(rc, err);
        ck_assert_int_eq(t.rows, tables[_i].rows);
        ck_assert_int_eq(t.cols, 2);
        ck_assert_str_eq(t.head[0], "a");
    } else {
        ck_assert_int_eq(rc, SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, tables[_i].message) != NULL, "%s", err.msg);
    }
    sae_table_close(&t);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(nul_bytes)
{
    sae_err err = {0};
    char *path = in_dir("t.csv");
    ck_assert_ok(sae_file_write(path, "a\n\0\n", 4, &err), err);
    sae_table t;
    ck_assert_int_eq(sae_table_open(&t, path, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "NUL byte at offset 2"));
    sae_free(path);
}
END_TEST

static void add_rows(const char *path, int64_t keep, int64_t from, int64_t to)
{
    sae_err err = {0};
    sae_csv *c;
    ck_assert_ok(sae_csv_append(&c, path, "step,note", keep, &err), err);
    for (int64_t i = from; i < to; i++) {
        sae_csv_int(c, i);
        sae_csv_text(c, i % 2 ? "a\nb" : "c");
        sae_csv_end_row(c);
    }
    ck_assert_ok(sae_csv_close(&c, &err), err);
}

START_TEST(append)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("loss.csv");
    add_rows(path, 0, 0, 4);
    add_rows(path, 2, 2, 3);
    assert_text(path, "step,note\n0,\"c\"\n1,\"a\nb\"\n2,\"c\"\n");
    add_rows(path, 3, 3, 4);
    add_rows(path, 4, 0, 0);
    assert_text(path, "step,note\n0,\"c\"\n1,\"a\nb\"\n2,\"c\"\n3,\"a\nb\"\n");
    add_rows(path, 0, 7, 8);
    assert_text(path, "step,note\n7,\"a\nb\"\n");
    /* A torn row behind the kept ones, as a killed program leaves it. */
    ck_assert_ok(sae_file_write(path, "step,note\n0,\"c\"\n1,\"a", 20, &err), err);
    add_rows(path, 1, 1, 2);
    assert_text(path, "step,note\n0,\"c\"\n1,\"a\nb\"\n");

    sae_csv *c;
    ck_assert_int_eq(sae_csv_append(&c, path, "step,note", 3, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected at least 3 rows, found 2"));
    ck_assert_ptr_null(c);
    err = (sae_err){0};
    ck_assert_int_eq(sae_csv_append(&c, path, "step,nota", 1, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected the header step,nota"));
    err = (sae_err){0};
    ck_assert_int_eq(sae_csv_append(&c, "/nowhere/x.csv", "a", 1, &err), SAE_EIO);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(writer_errors)
{
    sae_err err = {0};
    char *path = in_dir("t.csv");
    sae_csv *c;
    ck_assert_ok(sae_csv_open(&c, path, "a,b", &err), err);
    sae_csv_int(c, 1);
    sae_csv_end_row(c);
    ck_assert_int_eq(sae_csv_close(&c, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "row 1: the header has 2 fields, 1 were given"));
    ck_assert(!sae_file_exists(path));
    for (uint64_t i = 1; i <= 5; i++) { /* header (2), flush, sync, rename */
        err = (sae_err){0};
        sae_io_fail_at(i);
        int rc = sae_csv_open(&c, path, "a,b", &err);
        if (rc >= 0)
            rc = sae_csv_close(&c, &err);
        ck_assert_int_eq(rc, SAE_EIO);
        ck_assert(!sae_file_exists(path));
    }
    sae_io_fail_at(0);
    sae_free(path);
}
END_TEST

Suite *suite_csv(void)
{
    Suite *s = suite_create("csv");
    TCase *tc = tcase_create("csv");
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, single_empty_column);
    tcase_add_loop_test(tc, reading, 0, (int)(sizeof tables / sizeof tables[0]));
    tcase_add_test(tc, nul_bytes);
    tcase_add_test(tc, append);
    tcase_add_test(tc, writer_errors);
    suite_add_tcase(s, tc);
    return s;
}
