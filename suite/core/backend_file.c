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
    /* CUDA leaves handlers for the end of threads and of the program: its libraries stay loaded. */
    *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!*object)
        SAE_FAIL(err, SAE_EBACKEND, "%s", dlerror());
    void *symbol = dlsym(*object, "sae_backend_of_file");
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function pointer */
    *be = symbol ? entry() : NULL;
    if (*be)
        return SAE_OK;
    dlclose(*object);
    *object = NULL;
    SAE_FAIL(err, SAE_EFORMAT, "%s: %s", path,
             symbol ? "sae_backend_of_file gives no backend" : "no symbol sae_backend_of_file");
}

/* *path = the folder of this program with `tail` behind it; NULL where that is not known. */
static int beside(const char *tail, char **path, sae_err *err)
{
    char exe[4096];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    *path = NULL;
    if (length <= 0)
        return SAE_OK;
    exe[length] = '\0';
    char *slash = strrchr(exe, '/');
    if (!slash)
        return SAE_OK;
    slash[1] = '\0';
    *path = sae_strfmt("%s%s", exe, tail);
    if (!*path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the name of a backend's file");
    return SAE_OK;
}

/* Without the driver there is no device, and cuBLAS takes 0.15 s to load. */
static int has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver)
        dlclose(driver);
    return driver != NULL;
}

/* why: the first reason, unless a file that is there gives a better one. */
static void try_file(const char *path, void **object, const sae_backend **be, char why[200])
{
    sae_err cause = {0};
    if (!path || !sae_file_exists(path)) {
        if (!why[0])
            snprintf(why, 200, "libsaemark-cuda.so is not beside this program");
    } else if (!has_driver()) {
        snprintf(why, 200, "no NVIDIA driver here (libcuda.so.1)");
    } else if (sae_backend_open_file(path, object, be, &cause) < 0) {
        snprintf(why, 200, "%.199s", cause.msg);
    } else {
        why[0] = '\0';
    }
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
        char *path;
        SAE_TRY(beside(places[i], &path, err));
        try_file(path, object, be, why);
        sae_free(path);
    }
    return *object ? SAE_OK : SAE_DONE;
}
