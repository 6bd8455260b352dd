/* tests/kern/main.c - kernel tests: implementations, runs, guards, timing.
 *
 * usage: kern [--seed N] [--repeat N] [--filter TEXT] [--bench] [--cuda FILE [--precision NAME]]
 *
 * The last implementation is several devices that divide the work of an entry, however small.
 *
 * --cuda tests the backend of that file instead of the processor's. Buffers then lie in memory that
 * the host and the device both reach, so cases and checks are the same. --precision is that of its
 * products; with another than fp32, of use with a filter for what must not depend on it.
 */
#include "kern/kern.h"

#include "core/backend_file.h"
#include "cpu/cpu.h"
#include "divided/divided.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const sae_backend sae_backend_ref, sae_backend_cpu;

enum { MAX_BUFS = 64, GUARD = 256, PATTERN = 0xAA, MAX_IMPLS = 5, TEAMS = 3, DEVICES = 3 };

static const int team_size[TEAMS] = {2, 3, 8};

typedef struct buf {
    unsigned char *base, *p;
    unsigned char *start, *single, *last; /* before a run; after one thread's; after the last
                                             implementation's */
    size_t bytes;
    int out;
} buf;

static struct {
    void *(*managed)(size_t); /* memory of buffers; NULL: malloc */
    void (*managed_free)(void *);
    int64_t (*replays)(const sae_device *);
    void *object; /* of --cuda, or NULL */
    impl impl[MAX_IMPLS];
    sae_device *team[MAX_IMPLS][TEAMS]; /* NULL: it has no threads */
    int impls;
    sae_divided *divided; /* of the last implementation */
    sae_device *peer[DEVICES];
    sae_kernels of_one; /* the table of each */
    buf buf[MAX_BUFS];
    int bufs;
    void *temp[1024];
    int temps;
    char name[128];
    int failed_now, passed, failed, skipped, bench;
    const char *filter;
    uint64_t seed, cases, data, picks; /* data: cases in the high half */
} h;

static sigjmp_buf escape;
static volatile sig_atomic_t armed;

const int64_t kern_sizes[14] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 127, 128, 257};

/* ---- memory ---- */

static void release(void)
{
    for (int i = 0; i < h.bufs; i++) {
        (h.managed ? h.managed_free : free)(h.buf[i].base);
        free(h.buf[i].start);
        free(h.buf[i].single);
        free(h.buf[i].last);
    }
    for (int i = 0; i < h.temps; i++)
        (h.managed ? h.managed_free : free)(h.temp[i]);
    h.bufs = h.temps = 0;
}

static void *must(void *p)
{
    if (p)
        return p;
    fprintf(stderr, "kern: out of memory\n");
    exit(1);
}

static void *take(size_t bytes, int out)
{
    if (h.bufs == MAX_BUFS)
        must(NULL);
    buf *b = &h.buf[h.bufs++];
    b->base = must((h.managed ? h.managed : malloc)(bytes + 2 * GUARD + 16));
    b->bytes = bytes;
    b->out = out;
    memset(b->base, PATTERN, bytes + 2 * GUARD + 16);
    b->p = b->base + GUARD + 8; /* malloc gives multiples of 16 */
    b->start = must(malloc(bytes + 1));
    b->single = must(malloc(bytes + 1));
    b->last = must(malloc(bytes + 1));
    return b->p;
}

void *kern_in(size_t bytes)
{
    return take(bytes, 0);
}

void *kern_out(size_t bytes)
{
    return take(bytes, 1);
}

void *kern_temp(size_t bytes)
{
    if (h.temps == (int)(sizeof h.temp / sizeof h.temp[0]))
        must(NULL);
    void *p = h.temp[h.temps++] = must((h.managed ? h.managed : malloc)(bytes + 1));
    return memset(p, 0, bytes + 1);
}

/* ---- results ---- */

void kern_fail(const char *fmt, ...)
{
    va_list ap;
    if (h.failed_now++ >= 3)
        return;
    printf("FAIL: kern/%s: ", h.name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

void kern_same(const char *what, const void *got, const void *want, size_t bytes)
{
    const unsigned char *a = got, *b = want;
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i]) {
            kern_fail("%s differs at byte %zu of %zu", what, i, bytes);
            return;
        }
}

int kern_case(const char *fmt, ...)
{
    va_list ap;
    release();
    h.data = ++h.cases << 32;
    va_start(ap, fmt);
    vsnprintf(h.name, sizeof h.name, fmt, ap);
    va_end(ap);
    return !h.filter || strstr(h.name, h.filter);
}

const impl *kern_ref(void)
{
    return &h.impl[0];
}

int kern_benching(void)
{
    return h.bench;
}

int64_t kern_replays(const sae_device *dev)
{
    return h.replays(dev);
}

int *kern_emulated(const char *name)
{
    return h.object ? dlsym(h.object, name) : NULL;
}

int kern_graphs_fail(int at)
{
    int *fail = kern_emulated("emu_graphs_fail");
    if (fail)
        *fail = at;
    return fail != NULL;
}

/* ---- runs ---- */

static void on_signal(int sig)
{
    if (armed)
        siglongjmp(escape, sig);
    _exit(1);
}

static void poison(const impl *im)
{
    sae_device *dev = im->dev;
    if (!im->shares_host) /* its workspaces are its own */
        return;
    for (int s = 0; s < SAE_WS_SLOTS; s++) {
        if (dev->shared[s].p)
            memset(dev->shared[s].p, 0xFF, dev->shared[s].bytes);
        for (int t = 0; t < dev->threads; t++)
            if (dev->own[t][s].p)
                memset(dev->own[t][s].p, 0xFF, dev->own[t][s].bytes);
    }
}

static void verify_buf(const buf *b, const char *who)
{
    for (size_t i = 0; i < GUARD + 8; i++)
        if (b->base[i] != PATTERN) {
            kern_fail("%s: wrote before buffer %d", who, (int)(b - h.buf));
            break;
        }
    for (const unsigned char *p = b->p + b->bytes; p < b->p + b->bytes + GUARD; p++)
        if (*p != PATTERN) {
            kern_fail("%s: wrote behind buffer %d", who, (int)(b - h.buf));
            break;
        }
    if (!b->out && memcmp(b->p, b->start, b->bytes))
        kern_fail("%s: changed input buffer %d", who, (int)(b - h.buf));
}

/* One call from the starting contents. Returns 0 if a signal ended it. */
static int call(const kcase *c, const impl *im, const char *who)
{
    for (int i = 0; i < h.bufs; i++)
        memcpy(h.buf[i].p, h.buf[i].start, h.buf[i].bytes);
    poison(im);
    int sig = sigsetjmp(escape, 1);
    if (sig) {
        armed = 0;
        kern_fail("%s: ended by signal %d", who, sig);
        return 0;
    }
    armed = 1;
    int rc = c->body(im, c->ctx);
    if (im->be->sync(im->dev) < 0)
        kern_fail("%s: %s", who, im->be->why ? im->be->why(im->dev) : "the device failed");
    armed = 0;
    if (rc != c->expect)
        kern_fail("%s: status %d, expected %d", who, rc, c->expect);
    for (int i = 0; i < h.bufs; i++)
        verify_buf(&h.buf[i], who);
    return 1;
}

static void same_bytes(const char *who, const char *than, size_t member)
{
    for (int i = 0; i < h.bufs; i++) {
        unsigned char *want;
        memcpy(&want, (const char *)&h.buf[i] + member, sizeof want);
        if (memcmp(h.buf[i].p, want, h.buf[i].bytes))
            kern_fail("%s: buffer %d has other bits than with %s", who, i, than);
    }
}

static int same_workspace(const sae_device *dev, const sae_ws *shared, const sae_ws *own)
{
    return !memcmp(dev->shared, shared, sizeof dev->shared) &&
           !memcmp(dev->own[0], own, sizeof dev->own[0]);
}

/* Called again, the same device gives the same bits and allocates nothing; so do larger teams. */
static void check_again(const kcase *c, int index)
{
    impl im = h.impl[index];
    sae_ws shared[SAE_WS_SLOTS], own[SAE_WS_SLOTS];
    char who[96];
    for (int i = 0; i < h.bufs; i++)
        memcpy(h.buf[i].single, h.buf[i].p, h.buf[i].bytes);
    if (!im.shares_host) {
        if (call(c, &im, im.name))
            same_bytes(im.name, "the first call", offsetof(buf, single));
        return;
    }
    memcpy(shared, im.dev->shared, sizeof shared);
    memcpy(own, im.dev->own[0], sizeof own);
    if (!call(c, &im, im.name))
        return;
    same_bytes(im.name, "the first call", offsetof(buf, single));
    if (!same_workspace(im.dev, shared, own))
        kern_fail("%s: the second call allocated", im.name);
    for (int t = 0; t < TEAMS && h.team[index][t]; t++) {
        snprintf(who, sizeof who, "%s, %d threads", im.name, team_size[t]);
        im.dev = h.team[index][t];
        if (!call(c, &im, who))
            return;
        same_bytes(who, "one thread", offsetof(buf, single));
    }
}

static int is_divided(int index)
{
    return h.divided && index == h.impls - 1;
}

/* AVX2 and AVX-512 compute the same chains of fused operations, and several devices what one
 * does. */
static void check_bits(const impl *im, int index)
{
    if ((is_divided(index) && im->shares_host) || index == 1 + SAE_SIMD_AVX512)
        same_bytes(im->name, h.impl[index - 1].name, offsetof(buf, last));
    for (int i = 0; i < h.bufs; i++)
        memcpy(h.buf[i].last, h.buf[i].p, h.buf[i].bytes);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Fastest of a few batches of calls; state that the kernel updates is left to run on. */
static void time_case(const kcase *c, const impl *im)
{
    double best = 1e30;
    for (int batch = 0; batch < 5; batch++) {
        int calls = 0;
        double t0 = now(), t;
        do {
            c->body(im, c->ctx);
            im->be->sync(im->dev);
            calls++;
            t = now() - t0;
        } while (t < 0.01);
        best = t / calls < best ? t / calls : best;
    }
    printf("%-44s %-22s %12.2f us %8.2f GFLOP/s %8.2f GB/s\n", h.name, im->name, best * 1e6,
           c->flops / best * 1e-9, c->bytes / best * 1e-9);
}

static void run_on(const kcase *c, int impls)
{
    h.failed_now = 0;
    for (int i = 0; i < h.bufs; i++)
        memcpy(h.buf[i].start, h.buf[i].p, h.buf[i].bytes);
    for (int i = 0; i < impls; i++) {
        const impl *im = &h.impl[i];
        if (!call(c, im, im->name))
            continue;
        int before = h.failed_now;
        if (c->check && c->expect == SAE_OK)
            c->check(im, c->ctx);
        if (h.failed_now > before)
            kern_fail("(with %s)", im->name);
        if (!im->is_ref && c->expect == SAE_OK) {
            if (!is_divided(i) || im->shares_host) /* the emulation takes long */
                check_again(c, i);
            check_bits(im, i);
        }
        if (h.bench)
            time_case(c, im);
    }
    if (h.failed_now)
        h.failed++;
    else
        h.passed++;
}

void kern_run(const kcase *c)
{
    run_on(c, h.impls);
}

void kern_run_apart(const kcase *c)
{
    run_on(c, h.impls - (h.divided != NULL));
}

/* ---- set-up ---- */

/* splitmix64 */
static uint32_t draw(uint64_t counter, uint32_t below)
{
    uint64_t z = h.seed + counter * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (uint32_t)((z >> 32) * below >> 32);
}

uint32_t kern_random(uint32_t below)
{
    return draw(++h.data, below);
}

uint32_t kern_pick(uint32_t below)
{
    return draw(++h.picks, below);
}

static impl *open_impl(const sae_backend *be, const char *name)
{
    sae_err err = {0};
    sae_device_props props;
    impl *im = &h.impl[h.impls++];
    im->be = be;
    im->name = name;
    im->is_ref = be == &sae_backend_ref;
    if (be->open(&im->dev, 0, 1, &err) < 0 || be->props(im->dev, &props) < 0) {
        fprintf(stderr, "kern: %s: %s\n", name, err.msg);
        exit(1);
    }
    im->shares_host = props.shares_host;
    sae_backend_ref.kernels(im->dev, &im->k);
    be->kernels(im->dev, &im->k);
    return im;
}

static int add_impl(const sae_backend *be, const char *name, int level)
{
    sae_err err = {0};
    int i = h.impls;
    impl *im = open_impl(be, name);
    for (int t = 0; t < TEAMS && !im->is_ref; t++)
        if (be->open(&h.team[i][t], 0, team_size[t], &err) < 0)
            return -1;
    if (!im->is_ref) {
        sae_cpu_force(im->dev, level);
        for (int t = 0; t < TEAMS; t++)
            sae_cpu_force(h.team[i][t], level);
    }
    return 0;
}

/* One device after the other; the last one first. */
static void each_device(void *crew, void (*work)(void *arg, int device), void *arg)
{
    for (int i = *(const int *)crew; i-- > 0;)
        work(arg, i);
}

/* Skipped where devices do not reach each other's memory. Where there are fewer, the first one is
 * several. */
static int add_divided(const sae_backend *be, const char *name, const char *precision)
{
    static int devices = DEVICES;
    sae_err err = {0};
    int rc = SAE_OK;
    for (int i = 1; i < devices && rc >= 0; i++) {
        if (be->open(&h.peer[i], i, 1, NULL) < 0)
            rc = be->open(&h.peer[i], 0, 1, &err);
        if (rc >= 0 && precision)
            rc = be->precision(h.peer[i], precision);
    }
    if (rc < 0) {
        printf("SKIP: kern: %s: %s\n", name, err.msg);
        h.skipped++;
        return 0;
    }
    impl *im = open_impl(be, name);
    if (precision)
        be->precision(im->dev, precision);
    im->rounds = h.impl[h.impls - 2].rounds;
    h.of_one = im->k;
    h.peer[0] = im->dev;
    rc = sae_divided_open(&h.divided, be, h.peer, devices, &h.of_one, each_device, &devices, &err);
    if (rc < 0) {
        printf("SKIP: kern: %s: %s\n", name, err.msg);
        h.skipped++;
        be->close(&im->dev);
        h.impls--;
        return rc == SAE_ENEEDS ? 0 : rc;
    }
    sae_divided_least(h.divided, 1);
    sae_divided_kernels(&im->k);
    return 0;
}

static void *symbol_of(void *object, const char *name)
{
    void *p = dlsym(object, name);
    if (!p) {
        fprintf(stderr, "kern: no symbol %s\n", name);
        exit(1);
    }
    return p;
}

/* The reference and the backend of a file. */
static int add_cuda(const char *path, const char *precision)
{
    sae_err err = {0};
    const sae_backend *be = NULL;
    void *p;
    if (sae_backend_open_file(path, &h.object, &be, &err) < 0 || be->score() <= 0) {
        fprintf(stderr, "kern: %s: %s\n", path, err.code ? err.msg : "no device");
        return -1;
    }
    p = symbol_of(h.object, "sae_cuda_managed");
    memcpy(&h.managed, &p, sizeof h.managed);
    p = symbol_of(h.object, "sae_cuda_managed_free");
    memcpy(&h.managed_free, &p, sizeof h.managed_free);
    p = symbol_of(h.object, "sae_cuda_replays");
    memcpy(&h.replays, &p, sizeof h.replays);
    open_impl(&sae_backend_ref, "ref");
    impl *im = open_impl(be, "cuda");
    im->rounds = precision && !strcmp(precision, "bf16");
    if (precision && be->precision(im->dev, precision) < 0) {
        fprintf(stderr, "kern: no products in %s\n", precision);
        return -1;
    }
    return add_divided(be, "cuda divided", precision);
}

static int add_impls(void)
{
    static const char *const names[] = {"cpu generic", "cpu AVX2", "cpu AVX-512"};
    int rc = add_impl(&sae_backend_ref, "ref", 0);
    for (int level = 0; level < SAE_SIMD_LEVELS && !rc; level++) {
        if (level <= sae_simd_best()) {
            rc = add_impl(&sae_backend_cpu, names[level], level);
        } else {
            printf("SKIP: kern: this machine does not run %s\n", names[level]);
            h.skipped++;
        }
    }
    return rc ? rc : add_divided(&sae_backend_cpu, "cpu divided", NULL);
}

static void close_impls(void)
{
    sae_divided_close(&h.divided);
    for (int i = 1; i < DEVICES; i++)
        if (h.peer[i])
            h.impl[h.impls - 1].be->close(&h.peer[i]);
    for (int i = 0; i < h.impls; i++) {
        h.impl[i].be->close(&h.impl[i].dev);
        for (int t = 0; t < TEAMS; t++)
            sae_backend_ref.close(&h.team[i][t]);
    }
}

int main(int argc, char **argv)
{
    int repeat = 1;
    const char *cuda = NULL, *precision = NULL;
    h.seed = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            h.bench = 1;
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            h.seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
            repeat = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            h.filter = argv[++i];
        else if (!strcmp(argv[i], "--cuda") && i + 1 < argc)
            cuda = argv[++i];
        else if (!strcmp(argv[i], "--precision") && i + 1 < argc)
            precision = argv[++i];
        else {
            fprintf(stderr, "usage: kern [--seed N] [--repeat N] [--filter TEXT] [--bench] "
                            "[--cuda FILE [--precision NAME]]\n");
            return 2;
        }
    }
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], on_signal);
    if (cuda ? add_cuda(cuda, precision) : add_impls())
        return 1;
    printf("kern: seed %llu\n", (unsigned long long)h.seed);
    for (int r = 0; r < repeat; r++, h.seed++) {
        test_dense();
        test_rows();
        test_select();
        test_encode();
        test_code();
        test_ranges();
        test_merge();
        test_elementwise();
        test_linalg();
        test_pursuit();
        test_frozen();
        if (cuda) {
            test_replay();
            test_share();
        }
    }
    release();
    close_impls();
    printf("kern: %d passed, %d failed, %d skipped\n", h.passed, h.failed, h.skipped);
    return h.failed ? 1 : 0;
}
