/* suite/report/gnuplot.c - running gnuplot as a child process. */
#include "report/plot.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Everything the child says; what does not fit is read and dropped so that it can go on. */
static size_t read_all(int fd, char *out, size_t room)
{
    char buf[512];
    size_t used = 0;
    for (;;) {
        ssize_t got = read(fd, buf, sizeof buf);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size_t left = room - 1 - used, take = (size_t)got < left ? (size_t)got : left;
        memcpy(out + used, buf, take);
        used += take;
    }
    out[used] = '\0';
    return used;
}

/* gnuplot shows the command, a caret and the complaint on lines of their own: make one of them. */
static void one_line(char *s)
{
    char *out = s;
    for (int blank = 1; *s; s++) {
        int space = *s == ' ' || *s == '\n' || *s == '\t' || *s == '^';
        if (!space || !blank)
            *out++ = space ? ' ' : *s;
        blank = space;
    }
    *out = '\0';
}

/* Start the program with nothing to read and its messages going to fd. Returns an errno. */
static int start(pid_t *child, const char *program, char *const *argv, int fd)
{
    posix_spawn_file_actions_t io;
    int rc = posix_spawn_file_actions_init(&io);
    if (rc)
        return rc;
    rc = posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDWR, 0);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&io, 0, 1);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&io, fd, 2);
    rc = rc ? rc : posix_spawnp(child, program, &io, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&io);
    return rc;
}

static int run(const char *program, char *const *argv, sae_err *err)
{
    int fd[2], status = 0;
    char message[240];
    pid_t child;
    if (pipe(fd) != 0)
        SAE_FAIL(err, SAE_EIO, "pipe: %s", strerror(errno));
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    int failed = start(&child, program, argv, fd[1]);
    close(fd[1]);
    size_t said = failed ? 0 : read_all(fd[0], message, sizeof message);
    close(fd[0]);
    if (failed)
        SAE_FAIL(err, SAE_ENEEDS, "plots need gnuplot, but '%s' cannot be run (%s)", program,
                 strerror(failed));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    one_line(message);
    if (status != 0)
        SAE_FAIL(err, SAE_EBACKEND, "%s: %s", program, said ? message : "ended with failure");
    if (said > 0) /* of fonts, say; the plots are there */
        sae_log(SAE_LOG_WARN, "report", "%s: %s", program, message);
    return SAE_OK;
}

/* The command cd 'DIR/plots/data'; quotes in a gnuplot string are doubled. Caller frees. */
static char *cd_command(const char *dir)
{
    sae_text t = {0};
    sae_text_puts(&t, "cd '");
    for (; *dir; dir++) {
        sae_text_putc(&t, *dir);
        if (*dir == '\'')
            sae_text_putc(&t, '\'');
    }
    sae_text_puts(&t, "/plots/data'");
    return sae_text_take(&t);
}

int sae_figures_draw(const sae_figures *figs, const char *dir, const char *program, sae_err *err)
{
    char script[SAE_FIGURES_MAX][64], *argv[SAE_FIGURES_MAX + 4];
    char name[] = "gnuplot", option[] = "-e";
    if (figs->count == 0)
        return SAE_OK;
    char *cd = cd_command(dir);
    if (!cd)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    argv[0] = name;
    argv[1] = option;
    argv[2] = cd;
    for (int i = 0; i < figs->count; i++) {
        snprintf(script[i], sizeof script[i], "%s.gp", figs->f[i].name);
        argv[i + 3] = script[i];
    }
    argv[figs->count + 3] = NULL;
    int rc = run(program ? program : "gnuplot", argv, err);
    sae_free(cd);
    return rc;
}
