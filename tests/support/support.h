/* tests/support/support.h - what every test program shares. */
#ifndef SAE_TESTS_SUPPORT_H
#define SAE_TESTS_SUPPORT_H

#include <check.h>
#include <stddef.h>

extern Suite *(*const sae_test_suites[])(void); /* generated, NULL-terminated */

/* Path of a file of the data collection (environment SAEMARK_DATA, default ../shared/data), or NULL
 * after printing "SKIP: ..." once: then return from the test. Static storage, four at a time. */
const char *test_data(const char *relative);
/* An empty directory for this test, removed when the process ends. */
const char *test_dir(void);
/* The test is skipped, loudly: prints the reason and counts it. */
void test_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* libcheck writes a mark to a file at every assertion that holds: a system call per element in a
 * loop. Here only a line that is reached for the first time leaves one. */
void test_mark(const char *file, int line);
#undef ck_assert_msg
#define ck_assert_msg(expr, ...)                                                                   \
    ((expr) ? test_mark(__FILE__, __LINE__)                                                        \
            : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", __VA_ARGS__))

#define ck_assert_ok(expr, err)                                                                    \
    do {                                                                                           \
        int ck_rc = (expr);                                                                        \
        ck_assert_msg(ck_rc >= 0, "%s: status %d: %s", #expr, ck_rc, (err).msg);                   \
    } while (0)

#endif
