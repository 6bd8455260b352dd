/* tests/track/crash.c - the store after kill -9, a full disk and every failing write: what was
 * committed is there, what was not is absent, nothing in between. */
#include "core/memory.h"
#include "track/nights.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SERIES = 40, PROCESSES = 3 };

static void add_big_night(sae_store *s, int night)
{
    char name[SERIES][16];
    night_value v[SERIES * PROCESSES];
    for (int i = 0; i < SERIES * PROCESSES; i++) {
        snprintf(name[i % SERIES], sizeof name[0], "bench%d", i % SERIES);
        v[i] = (night_value){name[i % SERIES], "real_time", i / SERIES, night + i};
    }
    add_night(s, "h", night, v, SERIES * PROCESSES, NULL);
}

/* Every run is whole. */
static void check_store(sae_store *s)
{
    sae_err err = {0};
    ck_assert_ok(sae_store_check(s, &err), err);
    int64_t runs = sql_int(s, "SELECT count(*) FROM run");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM sample"), runs * SERIES * PROCESSES);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM point"), runs * SERIES);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

/* Import night after night; tell each that is done. */
static void write_nights(const char *path, int from, int tell)
{
    sae_store *s;
    sae_err err = {0};
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
    for (int night = from;; night++) {
        add_big_night(s, night);
        if (write(tell, &night, sizeof night) != sizeof night)
            _exit(1);
    }
}

START_TEST(killed)
{
    enum { TIMES = 12 };
    char path[512];
    int done = 0;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    for (int i = 0; i < TIMES; i++) {
        int fd[2], night;
        ck_assert_int_eq(pipe(fd), 0);
        pid_t child = fork();
        if (!child)
            write_nights(path, done, fd[1]);
        close(fd[1]);
        if (i > 0) { /* the first dies while it makes the file, later ones inside a night */
            ck_assert_int_eq(read(fd[0], &night, sizeof night), sizeof night);
            done = night + 1;
        }
        struct timespec t = {0, 700000L * i + 300000};
        nanosleep(&t, NULL);
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        while (read(fd[0], &night, sizeof night) == sizeof night)
            done = night + 1;
        close(fd[0]);
        sae_store *s;
        sae_err err = {0};
        ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
        check_store(s);
        int64_t runs = sql_int(s, "SELECT count(*) FROM run");
        ck_assert_int_ge(runs, done); /* what was told is there; the next may be too */
        ck_assert_int_le(runs, done + 1);
        done = (int)runs;
        sae_store_close(&s);
    }
    ck_assert_int_ge(done, TIMES - 1);
}
END_TEST

/* ---- writes that fail ------------------------------------------------------------------------ */

/* The system's file methods with writes and syncs that can be made to fail. */
typedef struct faulty {
    sqlite3_io_methods m;
    const sqlite3_io_methods *real;
} faulty;

static sqlite3_vfs shim, *real_vfs;
static faulty methods[4];
static int64_t calls, fail_at; /* fail_at 0: never; every call from then on fails */
static int fault;

static int faults(void)
{
    return ++calls >= fail_at && fail_at;
}

static const sqlite3_io_methods *real_of(sqlite3_file *f)
{
    return ((const faulty *)(const void *)f->pMethods)->real;
}

static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return faults() ? fault : real_of(f)->xWrite(f, p, n, at);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    return faults() ? fault : real_of(f)->xSync(f, flags);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return faults() ? fault : real_of(f)->xTruncate(f, size);
}

static int shim_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    (void)v;
    int rc = real_vfs->xOpen(real_vfs, name, f, flags, out), i = 0;
    if (rc != SQLITE_OK || !f->pMethods)
        return rc;
    while (methods[i].real && methods[i].real != f->pMethods)
        i++;
    ck_assert_int_lt(i, 4);
    methods[i].m = *f->pMethods;
    methods[i].real = f->pMethods;
    methods[i].m.xWrite = shim_write;
    methods[i].m.xSync = shim_sync;
    methods[i].m.xTruncate = shim_truncate;
    f->pMethods = &methods[i].m;
    return rc;
}

static void use_shim(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "faulty";
    shim.xOpen = shim_open;
    ck_assert_int_eq(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* Import one more night with the i-th write failing; 0: it went through. */
static int import_with_fault(const char *path, int night, int64_t i)
{
    sae_store *s = NULL;
    sae_err err = {0};
    sae_readings b = {.when = NIGHT_ONE};
    sae_import how = {0};
    int64_t run;
    b.host = json_pack("{s:s}", "host_name", "h");
    b.build = json_pack("{s:s}", "git", "abc1");
    b.env = json_object();
    b.source = json_pack("[{s:s, s:s, s:s}]", "sha256", "fault", "type", "t", "path", "p");
    json_t *none = json_object();
    for (int k = 0; k < SERIES * PROCESSES; k++) {
        char bench[16];
        sae_readings_sample m = {.process = k / SERIES};
        snprintf(bench, sizeof bench, "bench%d", k % SERIES);
        ck_assert_ok(sae_readings_find(&b, bench, none, "real_time", "1", sae_trait_of("real_time"),
                                       &m.series, &err), err);
        ck_assert_ok(sae_readings_value(&b, m, night + k, &err), err);
    }
    json_decref(none);
    calls = 0;
    fail_at = i;
    int rc = sae_store_open(&s, path, 1, &err);
    if (rc >= 0)
        rc = sae_import_readings(s, &b, &how, &run, &err);
    sae_store_close(&s);
    fail_at = 0;
    ck_assert_msg(rc >= 0 || err.msg[0], "write %lld fails without a message", (long long)i);
    if (rc < 0 && fault == SQLITE_FULL)
        ck_assert_msg(strstr(err.msg, "no room left") || strstr(err.msg, "I/O"), "%s", err.msg);
    sae_readings_free(&b);
    return rc;
}

/* Starting without a file (the schema is made, too) and on one that has nights. */
static void each_write_fails(int code, int nights)
{
    char path[512], more[600];
    sae_err err = {0};
    sae_store *s;
    int rc = -1;
    int64_t i = 1;
    use_shim();
    fault = code;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    if (nights) {
        ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
        for (int k = 0; k < nights; k++)
            add_big_night(s, k);
        sae_store_close(&s);
    }
    for (; rc < 0; i++) {
        rc = import_with_fault(path, 99, i);
        ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
        check_store(s);
        int64_t runs = sql_int(s, "SELECT count(*) FROM run");
        ck_assert_msg(runs == nights || runs == nights + 1, "write %lld: %lld runs", (long long)i,
                      (long long)runs);
        ck_assert(rc < 0 || runs == nights + 1);
        sae_store_close(&s);
        if (runs > nights) /* done, though the last write failed (cleaning up) */
            break;
        if (!nights) { /* from nothing again */
            static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
            for (int k = 0; k < 4; k++) {
                snprintf(more, sizeof more, "%s%s", path, ends[k]);
                unlink(more);
            }
        }
    }
    ck_assert_int_gt(i, nights ? 10 : 20); /* that many writes there were at least */
}

START_TEST(full_disk)
{
    each_write_fails(SQLITE_FULL, _i);
}
END_TEST

START_TEST(broken_disk)
{
    each_write_fails(SQLITE_IOERR_WRITE, _i);
}
END_TEST

/* Our own allocations, one after another. */
START_TEST(no_memory)
{
    char path[512];
    int rc = -1;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    static const char text[] = "{\"context\": {\"host_name\": \"h\", \"git\": \"abc\"},"
                               " \"benchmarks\": [{\"name\": \"f\", \"real_time\": 1,"
                               " \"cpu_time\": NaN, \"time_unit\": \"s\"}]}";
    size_t live = sae_alloc_live();
    uint64_t i = 1;
    for (; rc < 0; i++) {
        sae_readings b = {0};
        sae_err err = {0};
        sae_store *s = NULL;
        const sae_import how = {0};
        int64_t run;
        sae_alloc_fail_at(i);
        rc = sae_readings_gbench(&b, "x.json", text, sizeof text - 1, 0, &err);
        if (rc >= 0)
            rc = sae_store_open(&s, path, 1, &err);
        if (rc >= 0)
            rc = sae_import_readings(s, &b, &how, &run, &err);
        sae_alloc_fail_at(0);
        ck_assert_msg(rc >= 0 || (rc == SAE_ENOMEM && err.msg[0]), "allocation %llu: %d %s",
                      (unsigned long long)i, rc, err.msg);
        sae_store_close(&s);
        sae_readings_free(&b);
        ck_assert_msg(sae_alloc_live() == live, "allocation %llu: memory is lost",
                      (unsigned long long)i);
    }
    ck_assert_uint_gt(i, 15);
}
END_TEST

/* A full disk through SQLite's own limit, which counts pages as a quota does. */
START_TEST(quota)
{
    char path[512], sql[64];
    sae_err err = {0};
    sae_store *s;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
    add_big_night(s, 0);
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld",
             (long long)sql_int(s, "PRAGMA page_count") + 1);
    ck_assert_int_eq(sqlite3_exec(s->db, sql, NULL, NULL, NULL), SQLITE_OK);
    sae_readings b = {.when = NIGHT_ONE};
    static const char text[] = "{\"context\": {\"host_name\": \"h\", \"git\": \"abc2\"},"
                               "\"benchmarks\": [{\"name\": \"f\", \"real_time\": 1,"
                               " \"time_unit\": \"s\", \"repetition_index\": 0}]}";
    sae_readings_gbench(&b, "x", text, sizeof text - 1, 0, &err);
    for (int i = 0; i < 3000; i++) {
        sae_readings_sample m = {.series = 0, .process = 1, .rep = i};
        ck_assert_ok(sae_readings_value(&b, m, i, &err), err);
    }
    sae_import how = {0};
    int64_t run;
    ck_assert_int_eq(sae_import_readings(s, &b, &how, &run, &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "no room left"));
    check_store(s);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM run"), 1);
    sqlite3_exec(s->db, "PRAGMA max_page_count=1000000", NULL, NULL, NULL);
    err = (sae_err){0};
    ck_assert_ok(sae_import_readings(s, &b, &how, &run, &err), err);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM run"), 2);
    sae_readings_free(&b);
    sae_store_close(&s);
}
END_TEST

Suite *suite_crash(void);
Suite *suite_crash(void)
{
    Suite *s = suite_create("crash");
    TCase *c = tcase_create("crash");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, killed);
    tcase_add_loop_test(c, full_disk, 0, 3);
    tcase_add_loop_test(c, broken_disk, 0, 3);
    tcase_add_test(c, no_memory);
    tcase_add_test(c, quota);
    suite_add_tcase(s, c);
    return s;
}
