/* suite/track/child.c - see child.h. */
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
#include <sys/socket.h>
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

/* The child's end of its socket lies at a fixed number. */
enum { TURNS = 3 };

static int start(pid_t *child, const sae_child *c, int socket)
{
    posix_spawn_file_actions_t io;
    int rc = posix_spawn_file_actions_init(&io);
    if (rc)
        return rc;
    rc = posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_addopen(&io, 1, c->log, O_WRONLY | O_CREAT | O_TRUNC,
                                                    0666);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&io, 1, 2);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&io, socket, TURNS);
    rc = rc ? rc : posix_spawnp(child, c->argv[0], &io, NULL, c->argv, environ);
    posix_spawn_file_actions_destroy(&io);
    return rc;
}

typedef struct running {
    sae_child *c;
    pid_t pid;  /* 0: not started */
    int socket; /* ours; -1: it takes no turns, or no more */
} running;

static int start_child(running *r, sae_err *err)
{
    int pair[2];
    SAE_TRY(set_pad(r->c->pad, err));
    if (setenv("SAE_BENCH_TURNS", "3", 1))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for an environment");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        SAE_FAIL(err, SAE_EIO, "a socket: %s", strerror(errno));
    int failed = start(&r->pid, r->c, pair[1]);
    unsetenv("SAEMARK_PAD");
    unsetenv("SAE_BENCH_TURNS");
    close(pair[1]);
    r->socket = pair[0];
    if (failed) {
        r->pid = 0;
        SAE_FAIL(err, SAE_ENEEDS, "%s cannot be run (%s)", r->c->argv[0], strerror(failed));
    }
    return SAE_OK;
}

static void end_turns(running *r)
{
    if (r->socket >= 0)
        close(r->socket);
    r->socket = -1;
}

/* Wait for a byte of the child: it takes turns, or one is over. Its end is the end of turns. */
static int hear(running *r, sae_err *err)
{
    char byte;
    ssize_t got = -1;
    while (r->socket >= 0 && (got = recv(r->socket, &byte, 1, 0)) < 0 && errno == EINTR)
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted");
    if (got != 1)
        end_turns(r);
    return SAE_OK;
}

static int give_turn(running *r, sae_err *err)
{
    if (r->socket >= 0 && send(r->socket, "", 1, MSG_NOSIGNAL) != 1)
        end_turns(r);
    return hear(r, err);
}

static int wait_for(running *r, sae_err *err)
{
    int raw = 0;
    if (!r->pid)
        return SAE_OK;
    while (waitpid(r->pid, &raw, 0) < 0) {
        if (errno != EINTR)
            SAE_FAIL(err, SAE_EIO, "waiting for %s: %s", r->c->argv[0], strerror(errno));
        if (sae_interrupted())
            kill(r->pid, SIGTERM);
    }
    r->pid = 0;
    r->c->status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
    return SAE_OK;
}

static int take_turns(running *r, int *turns, sae_err *err)
{
    for (int i = 0; i < 2; i++) {
        SAE_TRY(start_child(&r[i], err));
        SAE_TRY(hear(&r[i], err));
        *turns &= r[i].socket >= 0;
        if (r[i].socket < 0)
            SAE_TRY(wait_for(&r[i], err));
    }
    while (r[0].socket >= 0 || r[1].socket >= 0)
        for (int i = 0; i < 2; i++)
            SAE_TRY(give_turn(&r[i], err));
    return SAE_OK;
}

int sae_children_run(sae_child *first, sae_child *second, int *turns, sae_err *err)
{
    running r[2] = {{first, 0, -1}, {second, 0, -1}};
    *turns = 1;
    int rc = take_turns(r, turns, err);
    for (int i = 0; i < 2; i++) {
        end_turns(&r[i]);
        if (rc < 0 && r[i].pid)
            kill(r[i].pid, SIGTERM);
        int waited = wait_for(&r[i], rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : waited;
    }
    if (rc >= 0 && sae_interrupted())
        SAE_FAIL(err, SAE_EINTR, "interrupted");
    return rc;
}
