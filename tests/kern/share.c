/* tests/kern/share.c - several devices as one: sae_backend.share and after.
 *
 * Three devices of the backend, the first of which leads; where a machine has fewer, some are one
 * device opened several times. What the lead allocates is zeroed, read and written by all, spread
 * evenly and given back; work waits for what it has to; peers find copies of frozen weights.
 * In the emulation (tests/emu) memory that is taken shows to the byte, failures happen where they
 * are wanted, and the same work without its waiting gives old values.
 */
#include "kern/kern.h"

#include <sae/half.h>

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEAM = 3, GRAIN = 4096, WORDS = 1024 };

typedef struct team {
    const sae_backend *be;
    sae_device *dev[TEAM]; /* the lead first */
    int64_t left[TEAM];    /* bytes, at `note_room` */
    int reserved;
} team;

static int emulated(void)
{
    return kern_emulated("emu_apart") != NULL;
}

/* Enough to be spread, and no whole number of anything. */
static size_t large(void)
{
    return emulated() ? 5 * GRAIN + 100 : ((size_t)100 << 20) + 100;
}

static int expect(int right, const char *what)
{
    if (!right)
        kern_fail("%s", what);
    return right;
}

static void close_team(team *t)
{
    for (int i = TEAM; i-- > 0;)
        t->be->close(&t->dev[i]);
}

static int open_devices(team *t, const impl *im)
{
    sae_err err = {0};
    int rc = SAE_OK, there = TEAM;
    *t = (team){.be = im->be};
    for (int i = 0; i < TEAM && rc >= 0; i++) {
        rc = t->be->open(&t->dev[i], i % there, 1, NULL);
        if (rc < 0 && i > 0) {
            there = there < i ? there : i;
            rc = t->be->open(&t->dev[i], i % there, 1, &err);
        }
    }
    if (rc < 0)
        kern_fail("%s: %s", im->name, err.msg);
    return rc;
}

static int open_team(team *t, const impl *im)
{
    sae_err err = {0};
    int rc = open_devices(t, im);
    if (rc >= 0 && (rc = t->be->share(t->dev[0], t->dev + 1, TEAM - 1, &err)) < 0)
        kern_fail("%s: %s", im->name, err.msg);
    if (rc < 0)
        close_team(t);
    return rc;
}

static int64_t left_on(const team *t, int i)
{
    sae_device_props p;
    return t->be->props(t->dev[i], &p) < 0 ? -1 : p.mem_free;
}

static void note_room(team *t)
{
    for (int i = 0; i < TEAM; i++)
        t->left[i] = left_on(t, i);
    t->reserved = emulated() ? *kern_emulated("emu_reserved") : 0;
}

static void check_room_back(const team *t, const char *when)
{
    for (int i = 0; i < TEAM && emulated(); i++)
        if (left_on(t, i) != t->left[i])
            kern_fail("%s device %d misses %lld bytes", when, i,
                      (long long)(t->left[i] - left_on(t, i)));
    if (emulated() && *kern_emulated("emu_reserved") != t->reserved)
        kern_fail("%s a range of addresses is still reserved", when);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 31 % 251 + 1);
}

static int all_zero(const unsigned char *p, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && !p[i])
        i++;
    return i == bytes;
}

/* By what the peers have left; the lead's props are of all. */
static void check_spread(const team *t, size_t bytes)
{
    int64_t piece = (int64_t)(bytes / TEAM);
    for (int i = 1; i < TEAM && emulated(); i++) {
        int64_t took = t->left[i] - left_on(t, i);
        if (took < piece - GRAIN || took > piece + GRAIN)
            kern_fail("device %d holds %lld of %zu bytes", i, (long long)took, bytes);
    }
}

/* Written through the lead, copied and read by every device, written by a peer. */
static int use(const team *t, unsigned char *p, unsigned char *host, unsigned char *back,
               size_t bytes)
{
    const sae_backend *be = t->be;
    int rc = be->copy(t->dev[0], back, p, bytes, SAE_COPY_D2H);
    expect(rc >= 0 && all_zero(back, bytes), "it is not zeroed");
    for (size_t i = 0; i < bytes; i++)
        host[i] = pattern(i);
    rc = rc < 0 ? rc : be->copy(t->dev[0], p, host, bytes, SAE_COPY_H2D);
    for (int i = 0; i < TEAM && rc >= 0; i++) {
        memset(back, 0, bytes);
        rc = be->copy(t->dev[i], back, p, bytes, SAE_COPY_D2H);
        expect(rc >= 0 && !memcmp(host, back, bytes), "a device reads something else");
    }
    for (size_t i = 0; i < bytes; i++)
        host[i] = (unsigned char)~pattern(i);
    rc = rc < 0 ? rc : be->copy(t->dev[TEAM - 1], p, host, bytes, SAE_COPY_H2D);
    rc = rc < 0 ? rc : be->copy(t->dev[0], back, p, bytes, SAE_COPY_D2H);
    expect(rc >= 0 && !memcmp(host, back, bytes), "what a peer wrote is not there");
    return rc;
}

/* A peer still reads what is released. host holds it. */
static int release_in_use(const team *t, void *p, const void *host, void *back, size_t bytes)
{
    const sae_backend *be = t->be;
    sae_device *last = t->dev[TEAM - 1];
    void *copy = be->alloc(last, bytes);
    int rc = copy ? be->copy(last, copy, p, bytes, SAE_COPY_D2D) : SAE_ENOMEM;
    be->release(t->dev[0], p);
    rc = rc < 0 ? rc : be->copy(last, back, copy, bytes, SAE_COPY_D2H);
    expect(rc >= 0 && !memcmp(host, back, bytes), "released before it was read");
    be->release(last, copy);
    return rc;
}

static int run_memory(const impl *im, void *ctx)
{
    team t;
    const size_t *size = ctx;
    unsigned char *host = kern_temp(*size), *back = kern_temp(*size);
    int rc = open_team(&t, im);
    if (rc < 0)
        return rc;
    note_room(&t);
    for (int again = 0; again < 2 && rc >= 0; again++) { /* what was used before is zeroed, too */
        unsigned char *p = t.be->alloc(t.dev[0], *size);
        rc = p ? SAE_OK : SAE_ENOMEM;
        if (!expect(p != NULL, "no memory"))
            break;
        expect((uintptr_t)p % 64 == 0, "not aligned");
        if (*size > GRAIN && !im->shares_host)
            check_spread(&t, *size);
        rc = use(&t, p, host, back, *size);
        rc = rc < 0 ? rc : release_in_use(&t, p, host, back, *size);
        check_room_back(&t, "released,");
    }
    void *later = t.be->alloc(t.dev[0], *size);
    for (int i = TEAM; i-- > 1;) /* the lead's memory outlives its peers */
        t.be->close(&t.dev[i]);
    t.be->release(t.dev[0], later);
    expect(!emulated() || *kern_emulated("emu_reserved") == t.reserved, "a range is left");
    close_team(&t);
    return rc;
}

static void memory(size_t bytes)
{
    if (!kern_case("share memory of %zu bytes", bytes))
        return;
    kcase k = {run_memory, NULL, &bytes, 0, 0, SAE_OK};
    kern_run_apart(&k);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* The lead's memory of the emulation, when the driver's call `left` fails; NULL without a leak. */
static void *fail_at(team *t, int left)
{
    int *calls = kern_emulated("emu_driver_calls");
    *calls = left;
    void *p = t->be->alloc(t->dev[0], large());
    *calls = -1;
    if (!p)
        check_room_back(t, "behind a failure");
    return p;
}

/* Call 7 makes the third piece: reserve, then make, map and open each. */
static int run_failures(const impl *im, void *ctx)
{
    team t;
    (void)ctx;
    int rc = im->shares_host ? SAE_OK : open_team(&t, im);
    if (im->shares_host || rc < 0)
        return rc;
    note_room(&t);
    expect(!fail_at(&t, 7), "the third piece was to fail");
    const char *why = t.be->why(t.dev[0]);
    if (!strstr(why, "20580 bytes asked for, of which 8192 on device 2, ") ||
        !strstr(why, " free: out of memory"))
        kern_fail("why: %s", why);
    int left = 0;
    void *p = NULL;
    while (!p && left < 20)
        p = fail_at(&t, left++);
    if (left != 11) /* one, and three for each piece */
        kern_fail("memory after %d calls", left - 1);
    t.be->release(t.dev[0], p);
    check_room_back(&t, "in the end");
    close_team(&t);
    return rc;
}

/* More than there is: no memory, a reason, and the lead goes on. */
static int run_too_much(const impl *im, void *ctx)
{
    team t;
    sae_device_props all;
    (void)ctx;
    int rc = im->shares_host ? SAE_OK : open_team(&t, im);
    if (im->shares_host || rc < 0)
        return rc;
    note_room(&t);
    t.be->props(t.dev[0], &all);
    expect(!t.be->alloc(t.dev[0], (size_t)all.mem_total + 1), "more memory than there is");
    const char *why = t.be->why(t.dev[0]);
    if (!strstr(why, " bytes asked for, of which ") || !strstr(why, " on device "))
        kern_fail("why: %s", why);
    check_room_back(&t, "after too much,");
    expect(t.be->alloc(t.dev[0], SIZE_MAX) == NULL, "an overflow");
    void *p = t.be->alloc(t.dev[0], large());
    expect(p != NULL, "no memory any more");
    t.be->release(t.dev[0], p);
    check_room_back(&t, "in the end");
    close_team(&t);
    return rc;
}

static void refused(const team *t, sae_device *const *peer, int count, int code, const char *text)
{
    sae_err err = {0};
    int rc = t->be->share(t->dev[0], peer, count, &err);
    if (rc != code || err.code != code || !strstr(err.msg, text))
        kern_fail("share: %d, %s", rc, err.msg);
}

/* Devices that do not reach each other, and those that cannot share; what was refused can share
 * later, and a device alone is what it was. */
static int run_refusals(const impl *im, void *ctx)
{
    team t;
    sae_err err = {0};
    (void)ctx;
    int rc = im->shares_host ? SAE_OK : open_devices(&t, im);
    if (im->shares_host || rc < 0)
        return rc;
    sae_device *twice[] = {t.dev[1], t.dev[1]};
    refused(&t, twice, 2, SAE_EINVAL, "there twice");
    refused(&t, t.dev, 1, SAE_EINVAL, "there twice");
    refused(&t, twice, -1, SAE_EINVAL, "-1 devices");
    if (emulated()) {
        *kern_emulated("emu_apart") = 1;
        refused(&t, t.dev + 1, 2, SAE_ENEEDS, "CUDA devices 0 and 1 do not reach each other's");
        *kern_emulated("emu_apart") = 0;
    }
    note_room(&t);
    void *p = t.be->alloc(t.dev[0], large());
    expect(left_on(&t, 0) < t.left[0] || !emulated(), "a device alone takes its own memory");
    t.be->release(t.dev[0], p);
    rc = t.be->share(t.dev[0], t.dev + 1, 2, &err);
    expect(rc >= 0, err.msg);
    refused(&t, t.dev + 1, 2, SAE_EINVAL, "shares its memory already");
    close_team(&t);
    return rc;
}

/* Without share, in the emulation, a device that touches another one's memory ends the program: one
 * of its own. */
static int survives(team *t, void *from, void *to)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *kern_emulated("emu_apart") = 1;
        t->be->copy(t->dev[2], to, from, WORDS, SAE_COPY_D2D);
        t->be->sync(t->dev[2]);
        _exit(0);
    }
    return child < 0 || waitpid(child, &status, 0) < 0 || WIFEXITED(status);
}

static int run_apart(const impl *im, void *ctx)
{
    team t;
    (void)ctx;
    int rc = im->shares_host ? SAE_OK : open_devices(&t, im);
    if (im->shares_host || rc < 0)
        return rc;
    void *p[TEAM];
    for (int i = 0; i < TEAM; i++)
        p[i] = t.be->alloc(t.dev[i], WORDS);
    expect(survives(&t, p[2], p[2]), "memory of its own");
    if (*kern_emulated("emu_guarded"))
        expect(!survives(&t, p[0], p[2]), "another device's memory is open to everybody");
    for (int i = 0; i < TEAM; i++)
        t.be->release(t.dev[i], p[i]);
    close_team(&t);
    return rc;
}

/* ---- order ----------------------------------------------------------------------------------- */

typedef struct relay {
    int from, to, waits;
} relay;

/* from: mid = first; to: last = mid, read by `to` alone. */
static int pass_on(team *t, const relay *r, char *mem, char *back)
{
    const sae_backend *be = t->be;
    char *first = mem, *mid = mem + WORDS, *last = mem + 2 * WORDS;
    memset(back, 'n', WORDS);
    int rc = be->copy(t->dev[0], first, back, WORDS, SAE_COPY_H2D);
    memset(back, 'o', WORDS);
    rc = rc < 0 ? rc : be->copy(t->dev[0], mid, back, WORDS, SAE_COPY_H2D);
    rc = rc < 0 ? rc : be->copy(t->dev[r->from], mid, first, WORDS, SAE_COPY_D2D);
    if (rc >= 0 && r->waits)
        rc = be->after(t->dev[r->to], t->dev[r->from]);
    rc = rc < 0 ? rc : be->copy(t->dev[r->to], last, mid, WORDS, SAE_COPY_D2D);
    rc = rc < 0 ? rc : be->copy(t->dev[r->to], back, last, WORDS, SAE_COPY_D2H);
    return rc < 0 ? rc : be->sync(t->dev[r->from]);
}

/* The emulation's second device does its work at once. */
static int run_order(const impl *im, void *ctx)
{
    team t;
    const relay *r = ctx;
    char *back = kern_temp(WORDS), want = r->waits || im->shares_host || r->from == 1 ? 'n' : 'o';
    int rc = open_team(&t, im);
    char *mem = rc < 0 ? NULL : t.be->alloc(t.dev[0], 3 * WORDS);
    if (rc < 0)
        return rc;
    rc = pass_on(&t, r, mem, back);
    if (rc >= 0 && (back[0] != want || back[WORDS - 1] != want))
        kern_fail("device %d read %s values", r->to, back[0] == 'n' ? "new" : "old");
    t.be->release(t.dev[0], mem);
    close_team(&t);
    return rc;
}

static void order(int from, int to, int waits)
{
    relay r = {from, to, waits};
    if (!kern_case("share order %d to %d%s", from, to, waits ? "" : " without waiting"))
        return;
    kcase k = {run_order, NULL, &r, 0, 0, SAE_OK};
    kern_run_apart(&k);
}

/* ---- parts of a product on all devices, from a thread for each ------------------------------- */

enum { ROWS = 5, FEATURES = 130, DEPTH = 64 };

typedef struct parts {
    const impl *im;
    team t;
    float *x, *w, *stage, *out; /* of the lead */
    float hx[ROWS * DEPTH], hw[FEATURES * DEPTH];
} parts;

static int64_t first_of(int i)
{
    return FEATURES * i / TEAM;
}

/* out = x w^T, some columns by every device at once. */
static int multiply(parts *p)
{
    const team *t = &p->t;
    int rc[TEAM] = {0}, first = SAE_OK;
    for (int i = 1; i < TEAM; i++)
        first = first < 0 ? first : t->be->after(t->dev[i], t->dev[0]);
#pragma omp parallel for num_threads(TEAM) schedule(static, 1)
    for (int i = 0; i < TEAM; i++) {
        int64_t j0 = first_of(i), n = first_of(i + 1) - j0;
        sae_cmat x = {p->x, ROWS, DEPTH, DEPTH}, w = {p->w + j0 * DEPTH, n, DEPTH, DEPTH};
        sae_mat out = {p->out + j0, ROWS, n, FEATURES};
        rc[i] = p->im->k.gemm(t->dev[i], 0, 1, 1, x, w, 0, out);
    }
    for (int i = 1; i < TEAM; i++) {
        rc[i] = rc[i] < 0 ? rc[i] : t->be->after(t->dev[0], t->dev[i]);
        first = first < 0 ? first : rc[i];
    }
    return first < 0 ? first : rc[0];
}

enum rounding { NONE, NEAREST, ANY };

/* Integers times what bf16 cannot hold: sums of products are exact, of rounded ones too. ANY: how a
 * product rounds its own operands is the library's, to within 2^-7 of them. */
static void check_product(parts *p, enum rounding how, int sign, const char *when)
{
    static float got[ROWS * FEATURES];
    int rc = p->t.be->copy(p->t.dev[0], got, p->out, sizeof got, SAE_COPY_D2H);
    for (int64_t i = 0; i < ROWS * FEATURES; i++) {
        double want = 0, slack = 0;
        const float *x = p->hx + i / FEATURES * DEPTH, *w = p->hw + i % FEATURES * DEPTH;
        for (int k = 0; k < DEPTH; k++) {
            float v = how == NEAREST ? sae_bf16_float(sae_float_bf16(w[k])) : w[k];
            want += sign * (double)x[k] * (double)v;
            slack += how == ANY ? 0x1p-7 * fabs((double)x[k] * (double)v) : 0;
        }
        if (rc < 0 || !(fabs((double)got[i] - want) <= slack)) {
            kern_fail("%s: %g in column %lld, expected %g", when, (double)got[i],
                      (long long)(i % FEATURES), want);
            return;
        }
    }
}

static int put(parts *p, float **to, const float *from, size_t bytes)
{
    if (!*to && !(*to = p->t.be->alloc(p->t.dev[0], bytes)))
        return SAE_ENOMEM;
    return p->t.be->copy(p->t.dev[0], *to, from, bytes, SAE_COPY_H2D);
}

/* The host does not wait until the weights are there. */
static int put_weights(parts *p)
{
    int rc = put(p, &p->stage, p->hw, sizeof p->hw);
    if (!p->w && !(p->w = p->t.be->alloc(p->t.dev[0], sizeof p->hw)))
        return SAE_ENOMEM;
    return rc < 0 ? rc : p->t.be->copy(p->t.dev[0], p->w, p->stage, sizeof p->hw, SAE_COPY_D2D);
}

/* Twice frozen: the copy's memory of the first time, with what weights are by then. Between freeze
 * and thaw, -w in the weights' place shows that all read the copy. */
static int frozen_twice(parts *p)
{
    const sae_backend *be = p->t.be;
    sae_device *lead = p->t.dev[0];
    sae_cmat w = {p->w, FEATURES, DEPTH, DEPTH};
    int rc = SAE_OK;
    for (int round = 0; round < 2 && rc >= 0; round++) {
        rc = put_weights(p);
        rc = rc < 0 ? rc : be->freeze(lead, w);
        for (int i = 0; i < FEATURES * DEPTH; i++)
            p->hw[i] = -p->hw[i];
        rc = rc < 0 ? rc : put_weights(p);
        rc = rc < 0 ? rc : multiply(p);
        check_product(p, NEAREST, -1, "frozen");
        be->thaw(lead, p->w);
        rc = rc < 0 ? rc : multiply(p);
        check_product(p, ANY, 1, "thawed");
        for (int i = 0; i < FEATURES * DEPTH; i++)
            p->hw[i] += 1; /* the next step's */
    }
    return rc;
}

static int run_parts(const impl *im, void *ctx)
{
    parts *p = ctx;
    int rc = open_team(&p->t, im);
    const sae_backend *be = p->t.be;
    if (rc < 0)
        return rc;
    p->im = im;
    p->x = p->w = p->stage = p->out = NULL;
    rc = put(p, &p->x, p->hx, sizeof p->hx);
    rc = rc < 0 ? rc : put_weights(p);
    p->out = be->alloc(p->t.dev[0], ROWS * FEATURES * sizeof *p->out);
    rc = rc < 0 || !p->out ? SAE_ENOMEM : multiply(p);
    check_product(p, NONE, 1, "in fp32");
    for (int i = 0; i < TEAM && be->freeze && rc >= 0; i++)
        rc = be->precision(p->t.dev[i], "bf16");
    if (rc >= 0 && be->freeze)
        rc = frozen_twice(p);
    be->release(p->t.dev[0], p->x);
    be->release(p->t.dev[0], p->w);
    be->release(p->t.dev[0], p->stage);
    be->release(p->t.dev[0], p->out);
    close_team(&p->t);
    return rc;
}

static void parts_of_a_product(void)
{
    static parts p;
    if (!kern_case("share parts of a product"))
        return;
    for (int i = 0; i < ROWS * DEPTH; i++)
        p.hx[i] = (float)((int)kern_random(7) - 3);
    for (int i = 0; i < FEATURES * DEPTH; i++)
        p.hw[i] = (float)((int)kern_random(4096) - 2048) / 256;
    kcase k = {run_parts, NULL, &p, 0, 0, SAE_OK};
    kern_run_apart(&k);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void without_data(const char *name, int (*body)(const impl *, void *))
{
    kcase k = {body, NULL, NULL, 0, 0, SAE_OK};
    if (kern_case("share %s", name))
        kern_run_apart(&k);
}

void test_share(void)
{
    memory(0);
    memory(100);
    memory(large());
    memory(emulated() ? GRAIN : (size_t)64 << 20);
    for (int from = 0; from < TEAM; from++)
        for (int to = 0; to < TEAM; to++)
            for (int waits = !emulated(); waits < 2; waits++)
                if (from != to)
                    order(from, to, waits);
    parts_of_a_product();
    without_data("too much", run_too_much);
    if (!emulated())
        return;
    without_data("refusals", run_refusals);
    without_data("failures of the driver", run_failures);
    without_data("devices apart", run_apart);
}
