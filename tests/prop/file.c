/* tests/prop/file.c - nothing half-written under a final name; directories; messages. */
#include "core/file.h"
#include "core/memory.h"
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *in_dir(const char *name)
{
    return sae_path_join(test_dir(), name);
}

static void assert_content(const char *path, const char *want)
{
    sae_err err = {0};
    sae_map m;
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    ck_assert_uint_eq(m.bytes, strlen(want));
    if (m.bytes)
        ck_assert_mem_eq(m.p, want, m.bytes);
    sae_map_close(&m);
}

static size_t entries(const char *dir)
{
    sae_err err = {0};
    char **names;
    size_t n = 0;
    ck_assert_ok(sae_dir_list(dir, &names, &err), err);
    while (names[n])
        n++;
    sae_names_free(&names);
    return n;
}

START_TEST(commit_and_abandon)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("out.txt");
    sae_out o;
    ck_assert_ok(sae_out_open(&o, path, &err), err);
    ck_assert_ok(sae_out_write(&o, "half", 4, &err), err);
    ck_assert_ok(sae_out_flush(&o, &err), err);
    ck_assert(!sae_file_exists(path));
    sae_out_abandon(&o);
    sae_out_abandon(&o);
    ck_assert_uint_eq(entries(test_dir()), 0);

    ck_assert_ok(sae_out_open(&o, path, &err), err);
    ck_assert_int_gt(fprintf(o.f, "whole"), 0);
    ck_assert_ok(sae_out_commit(&o, &err), err);
    sae_out_abandon(&o);
    assert_content(path, "whole");
    ck_assert_int_eq(sae_file_size(path), 5);
    ck_assert_uint_eq(entries(test_dir()), 1);

    ck_assert_int_eq(sae_out_append(&o, path, 6, NULL), SAE_EFORMAT);
    sae_out_abandon(&o);
    ck_assert_ok(sae_out_append(&o, path, 2, &err), err);
    ck_assert_ok(sae_out_write(&o, "ale", 3, &err), err);
    ck_assert_ok(sae_out_commit(&o, &err), err);
    assert_content(path, "whale");
    ck_assert_ok(sae_file_write(path, NULL, 0, &err), err);
    assert_content(path, "");
    ck_assert_ok(sae_file_remove(path, &err), err);
    ck_assert_ok(sae_file_remove(path, &err), err);
    ck_assert_int_eq(sae_file_size(path), -1);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(full_disk)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("full.txt");
    ck_assert_ok(sae_file_write(path, "old", 3, &err), err);
    for (uint64_t i = 1; i <= 4; i++) { /* write, flush, sync, rename */
        err = (sae_err){0};
        sae_io_fail_at(i);
        ck_assert_int_eq(sae_file_write(path, "new", 3, &err), SAE_EIO);
        ck_assert_ptr_nonnull(strstr(err.msg, path));
        ck_assert_ptr_nonnull(strstr(err.msg, strerror(ENOSPC)));
        assert_content(path, "old");
        ck_assert_uint_eq(entries(test_dir()), 1);
    }
    sae_io_fail_at(5);
    err = (sae_err){0};
    ck_assert_ok(sae_file_write(path, "new", 3, &err), err);
    sae_io_fail_at(0);
    assert_content(path, "new");
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(failed_stream)
{
    /* A write through the FILE that fails (here: a device that is always full) must not pass. */
    sae_err err = {0};
    sae_out o;
    char *path = in_dir("stream");
    ck_assert_ok(sae_out_open(&o, path, &err), err);
    FILE *full = fopen("/dev/full", "wb");
    if (!full) {
        sae_out_abandon(&o);
        sae_free(path);
        test_skip("no /dev/full");
        return;
    }
    fclose(o.f);
    o.f = full;
    ck_assert_int_gt(fprintf(o.f, "text"), 0);
    ck_assert_int_eq(sae_out_commit(&o, &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, strerror(ENOSPC)));
    ck_assert_uint_eq(entries(test_dir()), 0);
    sae_free(path);
}
END_TEST

START_TEST(unwritable)
{
    sae_err err = {0};
    sae_out o;
    ck_assert_int_eq(sae_out_open(&o, "/nowhere/at/all", &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "/nowhere/at/all: cannot create"));
    sae_map m;
    err = (sae_err){0};
    ck_assert_int_eq(sae_map_open(&m, test_dir(), &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "directory"));
    ck_assert_ptr_null(m.p);
    char *file = in_dir("file"), *below = in_dir("file/below");
    err = (sae_err){0};
    ck_assert_ok(sae_file_write(file, "x", 1, &err), err);
    ck_assert_int_eq(sae_dir_make(below, &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "not a directory"));
    sae_free(file);
    sae_free(below);
}
END_TEST

START_TEST(directories)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *a = in_dir("a"), *deep = in_dir("a/b//c/"), *file = in_dir("a/b/f"), *b = in_dir("bb");
    ck_assert_ok(sae_dir_make(deep, &err), err);
    ck_assert_ok(sae_dir_make(deep, &err), err);
    ck_assert_ok(sae_file_write(file, "old", 3, &err), err);
    char *link = in_dir("a/b/link");
    ck_assert_int_eq(symlink(test_dir(), link), 0);
    ck_assert_ok(sae_dir_make(b, &err), err);

    char **names;
    char *ab = in_dir("a/b");
    ck_assert_ok(sae_dir_list(ab, &names, &err), err);
    ck_assert_str_eq(names[0], "c");
    ck_assert_str_eq(names[1], "f");
    ck_assert_str_eq(names[2], "link");
    ck_assert_ptr_null(names[3]);
    sae_names_free(&names);
    ck_assert_ptr_null(names);

    ck_assert_ok(sae_dir_rename(a, b, &err), err); /* bb existed */
    ck_assert(!sae_file_exists(a));
    char *moved = in_dir("bb/b/f");
    assert_content(moved, "old");
    ck_assert_ok(sae_dir_make(a, &err), err);
    for (uint64_t i = 1; i <= 2; i++) {
        err = (sae_err){0};
        sae_io_fail_at(i);
        ck_assert_int_eq(sae_dir_rename(a, b, &err), SAE_EIO);
        assert_content(moved, "old"); /* still, or again, in its place */
        ck_assert(sae_file_exists(a));
    }
    sae_io_fail_at(0);
    err = (sae_err){0};
    ck_assert_ok(sae_dir_remove(b, &err), err); /* with a link to its own parent inside */
    ck_assert_ok(sae_dir_remove(b, &err), err);
    ck_assert(!sae_file_exists(b));
    ck_assert_uint_eq(entries(test_dir()), 1);
    char *all[] = {a, deep, file, b, link, ab, moved};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sae_free(all[i]);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(many_names)
{
    sae_err err = {0};
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%02d", i);
        char *path = in_dir(name);
        ck_assert_ok(sae_file_write(path, "", 0, &err), err);
        sae_free(path);
    }
    char **names;
    ck_assert_ok(sae_dir_list(test_dir(), &names, &err), err);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(atoi(names[i] + 1), i);
    ck_assert_ptr_null(names[100]);
    sae_names_free(&names);
}
END_TEST

START_TEST(path_join)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"/", "b", "/b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *p = sae_path_join(cases[i][0], cases[i][1]);
        ck_assert_str_eq(p, cases[i][2]);
        sae_free(p);
    }
}
END_TEST

Suite *suite_file(void)
{
    Suite *s = suite_create("file");
    TCase *tc = tcase_create("file");
    tcase_add_test(tc, commit_and_abandon);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, failed_stream);
    tcase_add_test(tc, unwritable);
    tcase_add_test(tc, directories);
    tcase_add_test(tc, many_names);
    tcase_add_test(tc, path_join);
    suite_add_tcase(s, tc);
    return s;
}
