/* sae/fail.h - recording and forwarding errors in components.
 *
 * Components link the C library only, so what they need for good messages is inline here; the
 * engine's own macros are in suite/core/error.h.
 */
#ifndef SAE_FAIL_H
#define SAE_FAIL_H

#include "base.h"

#include <stdarg.h>
#include <stdio.h>

/* Record the error unless one is recorded already; returns code. err may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
static inline int
sae_record(sae_err *err, int code, const char *file, int line, const char *fmt, ...)
{
    if (!err || err->code)
        return code;
    err->code = code;
    err->file = file;
    err->line = line;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

/* return SAE_RECORD(err, SAE_EINVAL, "k is %d, expected ...", k); */
#define SAE_RECORD(err, code, ...) sae_record((err), (code), __FILE__, __LINE__, __VA_ARGS__)

/* Forward a negative status; SAE_DONE and SAE_AGAIN are successes and fall through. */
#define SAE_TRY(expr)                                                                              \
    do {                                                                                           \
        int sae_try_rc = (expr);                                                                   \
        if (sae_try_rc < 0)                                                                        \
            return sae_try_rc;                                                                     \
    } while (0)

#endif
