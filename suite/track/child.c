/* suite/track/child.c - running a program and waiting for it. */
#include "track/child.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The length of the environment moves the stack: a known bias between builds. */
static int set_pad(int64_t bytes, sae_err *err)
{
    char *pad = sae_alloc((size_t)bytes + 1);
    if (!pad)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for an environment");
    memset(pad, 'x', (size_t)bytes);
    int failed = setenv("SAEMARK_PAD", pad, 1);
    sae_free(pad);
    if (failed)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for an environment");
    return SAE_OK;
}

static int start(pid_t *child, char *const *argv, const char *log)
{
    posix_spawn_file_actions_t io;
    int rc = posix_spawn_file_actions_init(&io);
    if (rc)
        return rc;
    rc = posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_addopen(&io, 1, log, O_WRONLY | O_CREAT | O_TRUNC,
                                                    0666);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&io, 1, 2);
    rc = rc ? rc : posix_spawnp(child, argv[0], &io, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&io);
    return rc;
}

int sae_child_run(char *const *argv, int64_t pad, const char *log, int *status, sae_err *err)
{
    pid_t child;
    int raw = 0;
    SAE_TRY(set_pad(pad, err));
    int failed = start(&child, argv, log);
    unsetenv("SAEMARK_PAD");
    if (failed)
        SAE_FAIL(err, SAE_ENEEDS, "%s cannot be run (%s)", argv[0], strerror(failed));
    while (waitpid(child, &raw, 0) < 0) {
        if (errno != EINTR)
            SAE_FAIL(err, SAE_EIO, "waiting for %s: %s", argv[0], strerror(errno));
        if (sae_interrupted())
            kill(child, SIGTERM);
    }
    if (sae_interrupted())
        SAE_FAIL(err, SAE_EINTR, "interrupted");
    *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
    return SAE_OK;
}
