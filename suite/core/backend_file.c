/* suite/core/backend_file.c - see backend_file.h. */
#include "core/backend_file.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sae_backend_open_file(const char *path, void **object, const sae_backend **be, sae_err *err)
{
    const sae_backend *(*entry)(void) = NULL;
    *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*object)
        SAE_FAIL(err, SAE_EBACKEND, "%s", dlerror());
    void *symbol = dlsym(*object, "sae_backend_of_file");
    if (!symbol) {
        dlclose(*object);
        *object = NULL;
        SAE_FAIL(err, SAE_EFORMAT, "%s: no symbol sae_backend_of_file", path);
    }
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function pointer */
    *be = entry();
    return SAE_OK;
}

/* The folder of this program with `tail` behind it, or NULL. */
static char *beside(const char *tail)
{
    char exe[4096];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (length <= 0)
        return NULL;
    exe[length] = '\0';
    char *slash = strrchr(exe, '/');
    if (!slash)
        return NULL;
    slash[1] = '\0';
    return sae_strfmt("%s%s", exe, tail);
}

int sae_backend_find_file(void **object, const sae_backend **be, char why[200], sae_err *err)
{
    static const char *const places[] = {"libsaemark-cuda.so",
                                         "../lib/saemark/libsaemark-cuda.so"};
    const char *named = getenv("SAEMARK_CUDA");
    *object = NULL;
    *be = NULL;
    why[0] = '\0';
    if (named && *named)
        return sae_backend_open_file(named, object, be, err);
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !*object; i++) {
        sae_err cause = {0};
        char *path = beside(places[i]);
        if (!path || !sae_file_exists(path))
            snprintf(cause.msg, sizeof cause.msg, "libsaemark-cuda.so is not beside this program");
        else if (sae_backend_open_file(path, object, be, &cause) >= 0)
            why[0] = cause.msg[0] = '\0';
        if (cause.msg[0] && (!why[0] || cause.code))
            snprintf(why, 200, "%.199s", cause.msg);
        sae_free(path);
    }
    return *object ? SAE_OK : SAE_DONE;
}
