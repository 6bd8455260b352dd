/* tests/bench/rig.h - run the programs beside the test program and read what they print. */
#ifndef TESTS_BENCH_RIG_H
#define TESTS_BENCH_RIG_H

#include "support/support.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A file of the build's test folder; static storage, four at a time. */
static inline const char *program(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    ssize_t n = readlink("/proc/self/exe", p, sizeof path[0] - 1);
    ck_assert_int_gt(n, 0);
    p[n] = 0;
    snprintf(strrchr(p, '/') + 1, 64, "%s", name);
    return p;
}

/* A path in the directory of the test; static storage, sixteen at a time. */
static inline const char *in_dir(const char *name)
{
    static char path[16][512];
    static int turn;
    char *p = path[turn++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", test_dir(), name);
    return p;
}

static inline char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

static inline void holds_text(const char *path, const char *expected)
{
    char *text = read_all(path);
    ck_assert_str_eq(text, expected);
    free(text);
}

/* What the last command printed; heap memory that the end of the test's process releases. */
static char *out, *err;

/* A shell command: its exit status, and `out` and `err`. */
__attribute__((format(printf, 1, 2))) static inline int run(const char *format, ...)
{
    char line[4096], all[6000];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    free(out);
    free(err);
    snprintf(all, sizeof all, "%s >%s 2>%s", line, in_dir("out"), in_dir("err"));
    int status = system(all);
    ck_assert(WIFEXITED(status));
    out = read_all(in_dir("out"));
    err = read_all(in_dir("err"));
    return WEXITSTATUS(status);
}

static inline json_t *parse(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    ck_assert_msg(j != NULL, "%s:%d: %s", path, e.line, e.text);
    return j;
}

static inline int has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static inline json_t *rows_of(json_t *report)
{
    return json_object_get(report, "benchmarks");
}

/* The row of that name, or NULL. */
static inline json_t *row_of(json_t *report, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows_of(report), i, row)
        if (!strcmp(json_string_value(json_object_get(row, "name")), name))
            return row;
    return NULL;
}

static inline double number(json_t *row, const char *key)
{
    json_t *x = json_object_get(row, key);
    ck_assert_msg(json_is_number(x), "%s", key);
    return json_number_value(x);
}

static inline TCase *add_case(Suite *s, const char *name, double seconds)
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, seconds);
    suite_add_tcase(s, c);
    return c;
}

#endif
