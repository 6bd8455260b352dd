/* tests/kern/replay.c - calls that come again, on devices that record launches and replay them.
 *
 * The same arguments with other contents, workspaces that grow and weights that thaw in between,
 * more calls than a device remembers, recordings that fail, and another thread beside them: every
 * result is the reference's.
 * All data are small integers, so every product is exact, in bf16 too.
 */
#include "kern/kern.h"

enum event { NOTHING, GROWTH, THAW }; /* before round EVENT */
enum { ROUNDS = 5, EVENT = 2, B = 17, N = 50, D = 4, SUMS = 1 << 13 };

typedef struct again {
    char op;
    enum event event;
    int fails; /* what graphs fail at */
    float *x[ROUNDS], *w;
    sae_encoder e; /* x, w: out; x: the contents of the round */
    double theta, *target, *numbers;
    int64_t *quota;
    sae_code z, from;
    sae_csc t;
    sae_mat dense;
    double *want, *got, **log; /* [room]; log: the one being written */
    int64_t room, at;
} again;

static void note(again *c, double v)
{
    if (c->at < c->room)
        (*c->log)[c->at++] = v;
}

static void note_code(again *c)
{
    note(c, (double)c->z.nnz);
    for (int64_t r = 0; r <= c->z.B; r++)
        note(c, (double)c->z.rowptr[r]);
    for (int64_t i = 0; i < c->z.nnz; i++) {
        note(c, c->z.idx[i]);
        note(c, (double)c->z.val[i]);
    }
}

static void note_index(again *c)
{
    for (int64_t j = 0; j <= c->t.n; j++)
        note(c, (double)c->t.colptr[j]);
    for (int64_t i = 0; i < c->t.nnz; i++) {
        note(c, c->t.row[i]);
        note(c, (double)c->t.pos[i]);
    }
}

static void note_dense(again *c)
{
    for (int64_t i = 0; i < c->dense.rows; i++)
        for (int64_t j = 0; j < c->dense.cols; j++)
            note(c, (double)c->dense.p[i * c->dense.ld + j]);
}

static int call(const impl *im, sae_device *dev, again *c)
{
    const sae_kernels *k = &im->k;
    sae_scores s = {c->e.x, {NULL, 0, 0, 0}, SAE_KEY_ABS};
    sae_pursuit mp = {.solver = SAE_SOLVE_MP, .k = 3};
    sae_cmat chunk = {c->e.x.p, 16, D, D};
    sae_code_part part[] = {{c->from, 0, 0}, {c->from, 0, N}};
    c->z.B = B;
    c->z.n = 2 * N;
    switch (c->op) {
    case 'r': return k->encode_topk(dev, &c->e, SAE_KEY_RELU, 5, &c->z);
    case 'f': return k->encode_flat_topk(dev, &c->e, SAE_KEY_RELU, 40, &c->z);
    case 't': return k->encode_threshold(dev, &c->e, SAE_KEY_ABS, c->theta, NULL, &c->z);
    case 'q': return k->col_topk(dev, &s, c->quota, &c->z);
    case 'p': return k->row_prefix(dev, &s, c->target, 1, &c->z);
    case 'm': return k->pursuit(dev, &mp, chunk, c->e.w, &c->z); /* w is not of unit norm: exact */
    case 'c': return k->code_transpose(dev, &c->from, &c->t);
    case 's': return k->code_merge(dev, part, 2, SAE_MERGE_FLAT, SAE_KEY_VALUE, 20, &c->z);
    case 'v': return k->code_merge(dev, part, 2, SAE_MERGE_FLAT, SAE_KEY_RELU, 8 * B, &c->z);
    case 'd': return k->encode_dense(dev, &c->e, c->dense);
    default: return k->gemm(dev, 0, 1, 2, c->e.x, c->e.w, 0, c->dense);
    }
}

/* A call on the contents of a round, and its result. */
static int round_of(const impl *im, sae_device *dev, again *c, int r)
{
    for (int64_t i = 0; i < B * D; i++)
        ((float *)(uintptr_t)c->e.x.p)[i] = c->x[r][i];
    for (int64_t i = 0; i < c->from.nnz; i++) {
        c->from.idx[i] = (int32_t)(i % 4 * 7 + r); /* four in every row */
        c->from.val[i] = c->x[r][i];
    }
    int rc = call(im, dev, c);
    if (im->be->sync(dev) < 0)
        rc = SAE_EBACKEND;
    if (c->op == 'c')
        note_index(c);
    else if (c->op == 'd' || c->op == 'g')
        note_dense(c);
    else
        note_code(c);
    return rc;
}

static sae_device *opened(const impl *im)
{
    sae_err err = {0};
    sae_device *dev = NULL;
    if (im->be->open(&dev, 0, 1, &err) < 0)
        kern_fail("%s: %s", im->name, err.msg);
    return dev;
}

/* Selections have their answer where `sum` has its parts, so they notice when that has moved. */
static int before_round(const impl *im, sae_device *dev, again *c, int r)
{
    double sum;
    if (c->fails && r == ROUNDS - 1)
        kern_graphs_fail(0); /* what was refused once stays so */
    if (c->event == GROWTH && r == EVENT)
        return im->k.sum(dev, SUMS, c->numbers, &sum);
    if (c->event != THAW)
        return SAE_OK;
    if (r == EVENT && im->be->thaw)
        im->be->thaw(dev, c->w);
    for (int i = 0; i < N * D && r == EVENT; i++)
        c->w[i] = -c->w[i];
    if (r > 0 || !im->be->freeze)
        return SAE_OK;
    int rc = im->be->precision(dev, "bf16");
    return rc < 0 ? rc : im->be->freeze(dev, c->e.w);
}

static void begin(again *c, const impl *im)
{
    c->at = 0;
    c->log = im->is_ref ? &c->want : &c->got;
}

/* All rounds on a device of its own, whose workspaces are empty. */
static int run_rounds(const impl *im, void *ctx)
{
    again *c = ctx;
    sae_device *dev = opened(im);
    int rc = dev ? SAE_OK : SAE_EBACKEND;
    begin(c, im);
    kern_graphs_fail(c->fails);
    for (int r = 0; r < ROUNDS && !rc; r++) {
        rc = before_round(im, dev, c, r);
        if (!rc)
            rc = round_of(im, dev, c, r);
    }
    int64_t replays = kern_replays(dev), expected = ROUNDS - 1 - (c->event != NOTHING);
    if (c->op == 'f') /* two recordings; the second one's first run makes the sort's workspace */
        expected = 2 * expected - 1;
    if (c->op == 'v') /* as many entries as there are */
        expected = replays;
    if (!im->is_ref && replays != (c->fails ? 0 : expected))
        kern_fail("%lld replays", (long long)replays);
    if (c->fails && im->be->why && im->be->why(dev)[0])
        kern_fail("a failure that is none: %s", im->be->why(dev));
    im->be->close(&dev);
    return rc;
}

static void check_log(const impl *im, void *ctx)
{
    const again *c = ctx;
    for (int64_t i = 0; i < c->at && !im->is_ref; i++)
        if (c->got[i] != c->want[i]) {
            kern_fail("result %lld: %g, expected %g", (long long)i, c->got[i], c->want[i]);
            return;
        }
}

static float *integers(float *p, int64_t rows, int64_t cols)
{
    kern_fill(p, rows, cols, cols, INTEGERS);
    return p;
}

static again again_of(char op)
{
    again c = {.op = op, .theta = 2.5, .room = 1 << 18};
    float *x = integers(kern_out(B * D * sizeof *x), B, D);
    c.w = integers(kern_out(N * D * sizeof *x), N, D);
    c.e = (sae_encoder){.x = {x, B, D, D}, .w = {c.w, N, D, D}};
    for (int r = 0; r < ROUNDS; r++)
        c.x[r] = integers(kern_temp(B * D * sizeof *x), B, D);
    c.target = kern_in(B * sizeof *c.target);
    for (int i = 0; i < B; i++)
        c.target[i] = 3;
    c.quota = kern_in(D * sizeof *c.quota);
    for (int i = 0; i < D; i++)
        c.quota[i] = i;
    c.numbers = kern_temp(SUMS * sizeof *c.numbers);
    c.z = kern_code(B, N, B * N);
    c.from = kern_code(B, N, 4 * B);
    c.from.nnz = 4 * B;
    for (int r = 0; r <= B; r++)
        c.from.rowptr[r] = 4 * r;
    c.t = (sae_csc){.n = N, .cap = 4 * B, .colptr = kern_out((N + 1) * sizeof *c.t.colptr)};
    c.t.row = kern_out(4 * B * sizeof *c.t.row);
    c.t.pos = kern_out(4 * B * sizeof *c.t.pos);
    c.dense = kern_target(B, N);
    c.want = kern_temp((size_t)c.room * sizeof *c.want);
    c.got = kern_temp((size_t)c.room * sizeof *c.got);
    return c;
}

static void rounds(char op, enum event event, int fails)
{
    if (!kern_case("replay %c event %d fails %d", op, (int)event, fails))
        return;
    again c = again_of(op);
    c.event = event;
    c.fails = fails;
    kcase k = {run_rounds, check_log, &c, 0, 0, SAE_OK};
    kern_run_apart(&k);
}

/* Keys that a device remembers; few in the emulation, where hashes have three bits, so that some
 * share one and more share a chain. */
static int places(void)
{
    return kern_graphs_fail(0) ? 12 : 1024;
}

/* Thresholds in turn, more than are remembered; then one that comes again. */
static int run_many(const impl *im, void *ctx)
{
    again *c = ctx;
    sae_device *dev = opened(im);
    int rc = dev ? SAE_OK : SAE_EBACKEND, keys = places() + 3;
    begin(c, im);
    for (int i = 0; i < 2 * keys + 3 && !rc; i++) {
        c->theta = i < 2 * keys ? i % keys : 0.5;
        rc = round_of(im, dev, c, i % ROUNDS);
    }
    if (!im->is_ref && kern_replays(dev) != 2)
        kern_fail("%lld replays", (long long)kern_replays(dev));
    im->be->close(&dev);
    return rc;
}

/* As many thresholds as are remembered, three times; then one more, in whose place the oldest one
 * comes back, while all others stay. */
static int run_full(const impl *im, void *ctx)
{
    again *c = ctx;
    sae_device *dev = opened(im);
    int rc = dev ? SAE_OK : SAE_EBACKEND, keys = places();
    begin(c, im);
    for (int i = 0; i < 5 * keys + 1 && !rc; i++) {
        int at = i < 3 * keys ? i % keys : i == 3 * keys ? keys : (i - 3 * keys) % keys;
        c->theta = 1 + at / 1024.0;
        rc = round_of(im, dev, c, i % ROUNDS);
    }
    /* the second and third calls; those that stay, twice; the oldest one, once it is back */
    int expected = 2 * keys + 2 * (keys - 1) + 1;
    if (!im->is_ref && kern_replays(dev) != expected)
        kern_fail("%lld replays", (long long)kern_replays(dev));
    im->be->close(&dev);
    return rc;
}

/* Devices come and find eigenvectors, for which they make a handle of a library. */
static int solve(const impl *im, double *a, double *value)
{
    int rc = SAE_OK;
    for (int i = 0; i < 50 && rc >= 0; i++) {
        sae_device *dev = opened(im);
        a[0] = a[3] = 2;
        a[1] = a[2] = 1;
        rc = dev ? im->k.eigh(dev, 2, a, value) : SAE_EBACKEND;
        im->be->close(&dev);
    }
    return rc;
}

/* Every threshold twice: the second call is recorded, the third replayed. */
static int record(const impl *im, again *c)
{
    sae_device *dev = opened(im);
    int rc = dev ? SAE_OK : SAE_EBACKEND, keys = 200;
    for (int i = 0; i < 3 * keys && !rc; i++) {
        c->theta = 1 + i / 3 / 1024.0;
        rc = round_of(im, dev, c, i % ROUNDS);
    }
    if (!im->is_ref && kern_replays(dev) != 2 * keys)
        kern_fail("%lld replays", (long long)kern_replays(dev));
    im->be->close(&dev);
    return rc;
}

static int run_beside(const impl *im, void *ctx)
{
    again *c = ctx;
    int rc[2] = {0};
    double *a = kern_temp(4 * sizeof *a), *value = kern_temp(2 * sizeof *value);
    begin(c, im);
#pragma omp parallel sections num_threads(2)
    {
#pragma omp section
        rc[0] = record(im, c);
#pragma omp section
        rc[1] = solve(im, a, value);
    }
    return rc[0] < 0 ? rc[0] : rc[1];
}

static void small(const char *name, int (*body)(const impl *, void *))
{
    if (!kern_case("%s", name))
        return;
    again c = again_of('t');
    c.e.x.rows = 3;
    c.e.w.rows = 9;
    kcase k = {body, check_log, &c, 0, 0, SAE_OK};
    kern_run_apart(&k);
}

void test_replay(void)
{
    for (const char *op = "rftqpmcsvdg"; *op; op++)
        rounds(*op, NOTHING, 0);
    for (const char *op = "ftqs"; *op; op++)
        rounds(*op, GROWTH, 0);
    for (const char *op = "tdg"; *op; op++)
        rounds(*op, THAW, 0);
    for (int at = 1; at <= 3 && kern_graphs_fail(0); at++)
        rounds('t', NOTHING, at);
    small("replay of more calls than are remembered", run_many);
    small("replay of as many calls as are remembered", run_full);
    small("replay recorded beside a solver", run_beside);
}
