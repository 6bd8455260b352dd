/* suite/core/error.h - recording and forwarding errors.
 *
 * Functions return enum sae_status; the first failure of a chain is written into sae_err once and
 * then only forwarded. No function below suite/cli prints or exits.
 */
#ifndef SAE_CORE_ERROR_H
#define SAE_CORE_ERROR_H

#include <sae/fail.h> /* SAE_TRY */

/* Record the error unless one is recorded already; returns code. err may be NULL. */
int sae_fail(sae_err *err, int code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Put "prefix: " in front of the recorded message (which file, which key); returns code. */
int sae_fail_prefix(sae_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *sae_status_name(int code); /* "SAE_EINVAL", ...; "unknown status" otherwise */

/* Exit status of the program for a status: 0 success, 2 bad input, 1 any other failure. */
int sae_status_exit(int code);

#define SAE_FAIL(err, code, ...) return sae_fail((err), (code), __FILE__, __LINE__, __VA_ARGS__)
#define SAE_SET(err, code, ...) sae_fail((err), (code), __FILE__, __LINE__, __VA_ARGS__)

/* SAE_TRY with release code behind `fail:`; needs `int rc` in scope. */
#define SAE_GOTO(expr)                                                                             \
    do {                                                                                           \
        rc = (expr);                                                                               \
        if (rc < 0)                                                                                \
            goto fail;                                                                             \
    } while (0)

/* A broken invariant of ours, never user input. Kept in release builds. */
#define SAE_ASSERT(cond) ((cond) ? (void)0 : sae_assert_fail(#cond, __FILE__, __LINE__))
_Noreturn void sae_assert_fail(const char *what, const char *file, int line);

#endif
