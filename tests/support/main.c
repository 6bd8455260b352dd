/* tests/support/main.c - run the suites of one folder and print one closing line.
 *
 * CK_RUN_SUITE and CK_RUN_CASE select as usual. Tests run in child processes (CK_FORK=no to debug),
 * so skips are counted through a pipe.
 */
#include "support/support.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int skip_pipe[2] = {-1, -1};

void test_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("SKIP: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    if (write(skip_pipe[1], "s", 1) != 1)
        perror("skip pipe");
}

void test_mark(const char *file, int line)
{
    static int last[256]; /* by line; two files that share one only leave more marks */
    if (last[line % 256] != line)
        _mark_point(file, line);
    last[line % 256] = line;
}

const char *test_data(const char *relative)
{
    static char path[4][1024];
    static int turn;
    const char *root = getenv("SAEMARK_DATA");
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root ? root : "../shared/data", relative);
    if (access(p, R_OK) == 0)
        return p;
    test_skip("%s is not there (set SAEMARK_DATA)", p);
    return NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static char dir[256];
static pid_t dir_owner;

static void remove_dir(void)
{
    if (dir[0] && dir_owner == getpid())
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_dir(void)
{
    if (dir[0] && dir_owner == getpid())
        return dir;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/saemark-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        abort();
    }
    dir_owner = getpid();
    atexit(remove_dir);
    return dir;
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    (void)argc;
    if (pipe(skip_pipe) || fcntl(skip_pipe[0], F_SETFL, O_NONBLOCK))
        return 1;
    SRunner *r = srunner_create(sae_test_suites[0]());
    for (int i = 1; sae_test_suites[i]; i++)
        srunner_add_suite(r, sae_test_suites[i]());
    srunner_run_all(r, CK_SILENT);
    int failed = srunner_ntests_failed(r), run = srunner_ntests_run(r);
    TestResult **bad = srunner_failures(r);
    for (int i = 0; i < failed; i++)
        printf("FAIL: %s/%s at %s:%d: %s\n", name, tr_tcname(bad[i]), tr_lfile(bad[i]),
               tr_lno(bad[i]), tr_msg(bad[i]));
    free(bad);
    srunner_free(r);
    char buf[256];
    ssize_t skipped = 0, got;
    while ((got = read(skip_pipe[0], buf, sizeof buf)) > 0)
        skipped += got;
    printf("%s: %d passed, %d failed, %d skipped\n", name, run - failed - (int)skipped, failed,
           (int)skipped);
    return failed ? 1 : 0;
}
