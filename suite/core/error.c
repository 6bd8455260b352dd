/* suite/core/error.c - recording and forwarding errors. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sae_fail(sae_err *err, int code, const char *file, int line, const char *fmt, ...)
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

/* Length of "NAME: " at the start of a message when the prefix ends with the word NAME already. */
static size_t repeated(const char *prefix, size_t used, const char *msg)
{
    const char *colon = strstr(msg, ": ");
    size_t len = colon ? (size_t)(colon - msg) : 0;
    int ends = len > 0 && len <= used && !memcmp(prefix + used - len, msg, len);
    return ends && (len == used || prefix[used - len - 1] == ' ') ? len + 2 : 0;
}

int sae_fail_prefix(sae_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char old[sizeof err->msg], prefix[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    size_t used = strlen(prefix);
    if (used > sizeof err->msg - 3)
        used = sizeof err->msg - 3;
    size_t skip = repeated(prefix, used, old), keep = strlen(old) - skip;
    memcpy(err->msg, prefix, used);
    memcpy(err->msg + used, ": ", 2);
    used += 2;
    if (keep > sizeof err->msg - 1 - used)
        keep = sizeof err->msg - 1 - used;
    memcpy(err->msg + used, old + skip, keep);
    err->msg[used + keep] = '\0';
    return code;
}

const char *sae_status_name(int code)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
        {SAE_OK, "SAE_OK"},
        {SAE_DONE, "SAE_DONE"},
        {SAE_AGAIN, "SAE_AGAIN"},
        {SAE_EINVAL, "SAE_EINVAL"},
        {SAE_ENOMEM, "SAE_ENOMEM"},
        {SAE_ENONFINITE, "SAE_ENONFINITE"},
        {SAE_ENEEDS, "SAE_ENEEDS"},
        {SAE_ECAPACITY, "SAE_ECAPACITY"},
        {SAE_EABI, "SAE_EABI"},
        {SAE_EIO, "SAE_EIO"},
        {SAE_EFORMAT, "SAE_EFORMAT"},
        {SAE_EBACKEND, "SAE_EBACKEND"},
        {SAE_EINTR, "SAE_EINTR"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code)
            return names[i].name;
    return "unknown status";
}

int sae_status_exit(int code)
{
    if (code >= 0)
        return 0;
    int bad_input = code == SAE_EINVAL || code == SAE_EFORMAT || code == SAE_ENEEDS ||
                    code == SAE_EABI || code == SAE_EIO || code == SAE_ENOMEM;
    return bad_input ? 2 : 1;
}

_Noreturn void sae_assert_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "saemark: internal error at %s:%d: %s does not hold\n", file, line, what);
    abort();
}
