/* suite/report/gnuplot.c - running gnuplot as a child process. */
#include "report/plot.h"

#include "core/error.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

/* In the child: read nothing, write messages to the pipe, run in dir. */
static void become(const char *program, char *const *argv, const char *dir, int messages)
{
    int null = open("/dev/null", O_RDWR);
    if (null >= 0 && chdir(dir) == 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 &&
        dup2(messages, 2) >= 0)
        execvp(program, argv);
    _exit(NOT_STARTED);
}

/* The first `room` - 1 bytes that come; the rest is read and dropped so that the child can go on. */
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
        size_t take = (size_t)got < room - 1 - used ? (size_t)got : room - 1 - used;
        memcpy(out + used, buf, take);
        used += take;
    }
    out[used] = '\0';
    return used;
}

/* One line out of gnuplot's message, which shows the command, a caret and the complaint. */
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

static int run(const char *program, char *const *argv, const char *dir, sae_err *err)
{
    int fd[2], status = 0;
    char message[240];
    if (pipe(fd) != 0)
        SAE_FAIL(err, SAE_EIO, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0)
        become(program, argv, dir, fd[1]);
    close(fd[1]);
    size_t said = child > 0 ? read_all(fd[0], message, sizeof message) : 0;
    close(fd[0]);
    if (child < 0)
        SAE_FAIL(err, SAE_EIO, "fork: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
        SAE_FAIL(err, SAE_ENEEDS, "plots need gnuplot, but '%s' cannot be run", program);
    one_line(message);
    if (status != 0 || said > 0)
        SAE_FAIL(err, SAE_EBACKEND, "gnuplot in %s: %s", dir, said ? message : "ended with failure");
    return SAE_OK;
}

int sae_figures_draw(const sae_figures *figs, const char *dir, const char *program, sae_err *err)
{
    char script[SAE_FIGURES_MAX][64], *argv[SAE_FIGURES_MAX + 2], name[] = "gnuplot";
    if (figs->count == 0)
        return SAE_OK;
    char *data = sae_strfmt("%s/plots/data", dir);
    if (!data)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    argv[0] = name;
    for (int i = 0; i < figs->count; i++) {
        snprintf(script[i], sizeof script[i], "%s.gp", figs->f[i].name);
        argv[i + 1] = script[i];
    }
    argv[figs->count + 1] = NULL;
    int rc = run(program ? program : "gnuplot", argv, data, err);
    sae_free(data);
    return rc;
}
