/* suite/track/child.c - see child.h. */
#include "track/child.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The length of the environment moves the stack: a known bias between builds. */
static int set_environment(const sae_child *c, int seeded, sae_err *err)
{
    char seed[16], *pad = sae_alloc((size_t)c->pad + 1);
    if (!pad)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for an environment");
    memset(pad, 'x', (size_t)c->pad);
    snprintf(seed, sizeof seed, "%u", c->seed);
    int failed = setenv("SAEMARK_PAD", pad, 1) || setenv("SAE_BENCH_TURNS", "3", 1) ||
                 (!seeded && setenv("BENCHMARK_SEED", seed, 1));
    sae_free(pad);
    if (failed)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for an environment");
    return SAE_OK;
}

static void clear_environment(int seeded)
{
    unsetenv("SAEMARK_PAD");
    unsetenv("SAE_BENCH_TURNS");
    if (!seeded)
        unsetenv("BENCHMARK_SEED");
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

/* A pair of sockets, theirs behind the standard streams and the number it gets. */
static int open_sockets(int pair[2], sae_err *err)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        SAE_FAIL(err, SAE_EIO, "a socket: %s", strerror(errno));
    int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, TURNS + 1);
    int why = errno;
    close(pair[1]);
    pair[1] = theirs;
    if (theirs >= 0)
        return SAE_OK;
    close(pair[0]);
    SAE_FAIL(err, SAE_EIO, "a socket: %s", strerror(why));
}

static int start_child(running *r, sae_err *err)
{
    int pair[2], seeded = getenv("BENCHMARK_SEED") != NULL;
    SAE_TRY(open_sockets(pair, err));
    int rc = set_environment(r->c, seeded, err);
    int failed = rc < 0 ? 0 : start(&r->pid, r->c, pair[1]);
    clear_environment(seeded);
    close(pair[1]);
    r->socket = pair[0];
    if (failed || rc < 0)
        r->pid = 0;
    if (failed)
        SAE_FAIL(err, SAE_ENEEDS, "%s cannot be run (%s)", r->c->argv[0], strerror(failed));
    return rc;
}

static void end_turns(running *r)
{
    if (r->socket >= 0)
        close(r->socket);
    r->socket = -1;
}

static int has_ended(const running *r)
{
    siginfo_t info = {.si_pid = 0};
    return !r->pid || (waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                       info.si_pid == r->pid);
}

/* Wait for a byte of the child: it takes turns, or one is over. Its end is the end of turns, also
 * where something it has left behind holds the socket. */
static int hear(running *r, sae_err *err)
{
    enum { MILLISECONDS = 500 };
    while (r->socket >= 0) {
        char byte;
        struct pollfd p = {.fd = r->socket, .events = POLLIN};
        int ready = poll(&p, 1, MILLISECONDS);
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted");
        if (ready > 0 && recv(r->socket, &byte, 1, 0) == 1)
            return SAE_OK;
        if (ready > 0 || (ready == 0 && has_ended(r)))
            end_turns(r);
    }
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
    }
    for (int i = 0; i < 2; i++) {
        int waited = wait_for(&r[i], rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : waited;
    }
    if (rc >= 0 && sae_interrupted())
        SAE_FAIL(err, SAE_EINTR, "interrupted");
    return rc;
}
