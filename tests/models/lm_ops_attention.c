/* tests/models/lm_ops_attention.c - attention and its gradients on a device against the host's.
 *
 * Bounds: u = 2^-24, of one side; both may be off, so differences are within twice as much. A score
 * s_ij is a sum of `head` products whose sizes add up to S_ij: off by (head + 4) u S_ij, and a cap
 * adds its tanh's 20 u. Let d be that of the largest S_ij of a query. Exponentials of scores and of
 * their largest are off by d relatively, their sum and what the maxima of T / 32 tiles multiply it
 * with by T + 6 (T / 32 + 1) roundings, hence a weight p_ij by
 *     e = 2 d + (T + 6 (T / 32 + 1) + 16) u.
 * out is a weighted mean: off by e times the mean of sizes. With P_ij and D_i the sizes of the sums
 * <dout_i, v_j> and <dout_i, out_i>, the gradient of a score is off by
 *     g = e + (head + 8) u, capped: + 4 d / cap + 60 u,
 * times p_ij (P_ij + D_i), and sums over n of them by n + 4 roundings more.
 */
#include "models/lm_ops_util.h"

typedef struct attention_shape {
    int64_t heads, kv_heads, head, window;
    double cap;
    int64_t length[6]; /* of contexts, to the first -1 */
} attention_shape;

enum { ALL = 1 << 20 };
static const attention_shape shapes[] = {
    {1, 1, 6, ALL, 0, {1, -1}},        {2, 1, 6, ALL, 0, {0, 33, 1, 0, 20, -1}},
    {4, 2, 20, 7, 0, {40, 64, -1}},    {3, 3, 32, ALL, 30, {31, 32, 65, -1}},
    {4, 1, 64, ALL, 0, {17, 100, -1}}, {2, 2, 64, 33, 5, {1, 0, 70, -1}},
    {2, 1, 128, ALL, 0, {50, -1}},     {2, 1, 80, 40, 20, {3, 97, -1}},
    {2, 2, 200, ALL, 0, {16, 37, -1}}, {2, 1, 256, 20, 30, {2, 35, -1}},
    {2, 1, 8, ALL, 0, {0, 0, -1}},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* What the operations are told beside their buffers. */
typedef struct attention_arg {
    sae_lm_heads h;
    sae_lm_rows g;       /* start: of the host */
    const int64_t *feed; /* rows per call behind a past, to 0; NULL: no past */
    int64_t padded;
} attention_arg;

enum { A_START, A_QKV, A_OUT, A_ROOM, A_DOUT, A_DQKV };
enum { A_K = A_DOUT, A_V };

static sae_lm_rows rows_of(const attention_arg *a, int64_t rows, void *const *p)
{
    sae_lm_rows g = a->g;
    g.rows = rows;
    g.start = p[A_START];
    return g;
}

static int run_attention(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const attention_arg *a = c->arg;
    sae_lm_rows g = rows_of(a, rows, p);
    return at->ops->attention(at->dev, &a->h, &g, NULL, p[A_QKV], p[A_OUT], p[A_ROOM]);
}

/* The one context in several feeds; start holds {0, rows} of each. */
static int run_feeds(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const attention_arg *a = c->arg;
    sae_lm_past past = {0, a->padded, p[A_K], p[A_V]};
    sae_real *qkv = p[A_QKV], *out = p[A_OUT];
    int rc = SAE_OK;
    for (int i = 0; past.n < rows && rc == SAE_OK; i++) {
        sae_lm_rows g = rows_of(a, a->feed[i], p);
        g.longest = g.rows;
        g.start += 2 * i;
        rc = at->ops->attention(at->dev, &a->h, &g, &past, qkv + past.n * c->b[A_QKV].each,
                                out + past.n * c->b[A_OUT].each, p[A_ROOM]);
        past.n += a->feed[i];
    }
    return rc;
}

static int run_attention_back(const sae_lm_place *at, const op_case *c, int64_t rows,
                              void *const *p)
{
    const attention_arg *a = c->arg;
    sae_lm_rows g = rows_of(a, rows, p);
    return at->ops->attention_back(at->dev, &a->h, &g, p[A_QKV], p[A_OUT], p[A_DOUT], p[A_DQKV],
                                   p[A_ROOM]);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

typedef struct context {
    const sae_lm_heads *h;
    int64_t row0, T;
    const sae_real *qkv, *out, *dout;
    double *b_out, *b_qkv; /* bounds of out and dqkv */
    double *p;             /* [T] weights of a query */
} context;

static int64_t width_of(const sae_lm_heads *h)
{
    return (h->heads + 2 * h->kv_heads) * h->head;
}

/* Element of head k of row r of the context, in rows of all heads. */
static int64_t at_of(const context *t, int64_t r, int64_t k)
{
    return (t->row0 + r) * width_of(t->h) + k * t->h->head;
}

/* p of query (i, k); the largest S_ij. */
static double weights_of(const context *t, int64_t i, int64_t k, int64_t key)
{
    const sae_lm_heads *h = t->h;
    double largest = 0, max = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= i; j++) {
        double s = 0, size = 0;
        for (int64_t c = 0; c < h->head; c++) {
            double x = (double)t->qkv[at_of(t, i, k) + c] * (double)t->qkv[at_of(t, j, key) + c];
            s += x * h->scale;
            size += fabs(x) * h->scale;
        }
        t->p[j] = h->cap > 0 ? h->cap * tanh(s / h->cap) : s;
        if (i - j >= h->window)
            t->p[j] = -INFINITY;
        max = fmax(max, t->p[j]);
        largest = i - j < h->window ? fmax(largest, size) : largest;
    }
    for (int64_t j = 0; j <= i; j++)
        sum += t->p[j] = exp(t->p[j] - max);
    for (int64_t j = 0; j <= i; j++)
        t->p[j] /= sum;
    return largest;
}

/* Adds what query (i, k) does to the bounds of gradients. */
static void add_back(const context *t, int64_t i, int64_t k, int64_t key, double e, double g)
{
    const sae_lm_heads *h = t->h;
    int64_t group = h->heads / h->kv_heads, value = key + h->kv_heads;
    const int64_t o = ((t->row0 + i) * h->heads + k) * h->head;
    double D = 0, more = (double)(group * t->T + 4) * UNIT;
    for (int64_t c = 0; c < h->head; c++)
        D += fabs((double)t->dout[o + c] * (double)t->out[o + c]);
    for (int64_t j = 0; j <= i; j++) {
        double P = 0, *dq = t->b_qkv + at_of(t, i, k), *dk = t->b_qkv + at_of(t, j, key);
        double *dv = t->b_qkv + at_of(t, j, value);
        const sae_real *q = t->qkv + at_of(t, i, k), *x = t->qkv + at_of(t, j, key);
        const sae_real *v = t->qkv + at_of(t, j, value);
        for (int64_t c = 0; c < h->head; c++)
            P += fabs((double)t->dout[o + c] * (double)v[c]);
        double ds = 2 * t->p[j] * (P + D) * (g + more) * h->scale;
        for (int64_t c = 0; c < h->head; c++) {
            dq[c] += ds * fabs((double)x[c]);
            dk[c] += ds * fabs((double)q[c]);
            dv[c] += 2 * t->p[j] * (e + more) * fabs((double)t->dout[o + c]);
        }
    }
}

static void context_bounds(const context *t)
{
    const sae_lm_heads *h = t->h;
    double tiles = (double)(t->T / 32 + 1), head = (double)h->head;
    for (int64_t k = 0; k < h->heads; k++)
        for (int64_t i = 0; i < t->T; i++) {
            int64_t key = h->heads + k / (h->heads / h->kv_heads);
            double d = (head + 4) * UNIT * weights_of(t, i, k, key) + 20 * UNIT * h->cap;
            double e = 2 * d + ((double)t->T + 6 * tiles + 16) * UNIT;
            double g = e + (head + 8) * UNIT;
            double *out = t->b_out + ((t->row0 + i) * h->heads + k) * h->head;
            for (int64_t j = 0; j <= i; j++)
                for (int64_t c = 0; c < h->head; c++)
                    out[c] +=
                        2 * e * t->p[j] * fabs((double)t->qkv[at_of(t, j, key + h->kv_heads) + c]);
            if (h->cap > 0)
                g += 4 * d / h->cap + 60 * UNIT;
            add_back(t, i, k, key, e, g);
        }
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Contexts, input and bounds of a shape. */
typedef struct problem {
    attention_arg a;
    int64_t *start, width, ld;
    sae_real *qkv, *dout;
    double *b_out, *b_qkv;
    op_case forward, back;
} problem;

static int64_t room_for(const sae_lm_heads *h, const sae_lm_rows *g, int back)
{
    int64_t host = bench.host.ops->attention_room(h, g->rows, g->longest, back);
    int64_t device = bench.device.ops->attention_room(h, g->rows, g->longest, back);
    return host > device ? host : device;
}

static void open_problem(problem *p, const attention_shape *s)
{
    sae_lm_rows *g = &p->a.g;
    memset(p, 0, sizeof *p);
    p->a.h = (sae_lm_heads){.heads = s->heads,
                            .kv_heads = s->kv_heads,
                            .head = s->head,
                            .window = s->window,
                            .cap = s->cap,
                            .scale = 1 / sqrt((double)s->head)};
    p->start = keep(8, sizeof *p->start);
    for (; s->length[g->N] >= 0; g->N++) {
        p->start[g->N + 1] = g->rows += s->length[g->N];
        g->longest = s->length[g->N] > g->longest ? s->length[g->N] : g->longest;
    }
    g->start = p->start;
    p->width = s->heads * s->head;
    p->ld = width_of(&p->a.h);
    p->qkv = normals(20, g->rows * p->ld, 1.5);
    p->dout = normals(21, g->rows * p->width, 1);
    p->b_out = keep(g->rows * p->width, sizeof(double));
    p->b_qkv = keep(g->rows * p->ld, sizeof(double));
    size_t size = sizeof(sae_real);
    p->forward = (op_case){
        run_attention,
        {input(p->start, 0, g->N + 1, sizeof *p->start), input(p->qkv, p->ld, 0, size),
         output(NULL, p->width, 0, size, p->b_out), input(NULL, 0, room_for(&p->a.h, g, 0), size)},
        g->rows,
        &p->a,
        "attention"};
    p->back = p->forward;
    p->back.run = run_attention_back;
    p->back.name = "attention_back";
    p->back.b[A_ROOM] = input(NULL, 0, room_for(&p->a.h, g, 1), size);
    p->back.b[A_DOUT] = input(p->dout, p->width, 0, size);
    p->back.b[A_DQKV] = output(NULL, p->ld, 0, size, p->b_qkv);
}

/* Each context by itself. */
static void check_contexts(const problem *p, const op_case *whole, void *const *got)
{
    for (int64_t n = 0; n < p->a.g.N; n++) {
        int64_t T = p->start[n + 1] - p->start[n], start[2] = {0, T};
        attention_arg a = p->a;
        op_case part = *whole;
        a.g.N = 1;
        a.g.longest = T;
        part.arg = &a;
        part.b[A_START] = input(start, 0, 2, sizeof *start);
        if (T > 0)
            check_alone(whole, got, &part, p->start[n], T);
    }
}

/* The last context in feeds gives the bytes that it gives at once. */
static void check_feeds(const problem *p, void *const *got)
{
    static const int64_t pattern[] = {1, 3, 16, 13, 1, 31, 1, 40};
    int64_t N = p->a.g.N, first = p->start[N - 1], T = p->start[N] - first, fed = 0;
    int64_t feed[16] = {0}, start[32] = {0}, wide = (p->a.h.head + 7) / 8 * 8;
    attention_arg a = p->a;
    op_case c = p->forward;
    for (int i = 0; fed < T; fed += feed[i++]) {
        feed[i] = pattern[i % 8] < T - fed ? pattern[i % 8] : T - fed;
        start[2 * i + 1] = feed[i];
    }
    a.g.N = 1;
    a.feed = feed;
    a.padded = (T + 31) / 16 * 16;
    c.run = run_feeds;
    c.arg = &a;
    c.name = "attention behind a past";
    c.b[A_START] = input(start, 0, 32, sizeof *start);
    c.b[A_K] = input(NULL, 0, a.h.kv_heads * a.padded * a.h.head, sizeof(sae_real));
    c.b[A_V] = input(NULL, 0, a.h.kv_heads * a.padded * wide, sizeof(sae_real));
    if (T > 0)
        check_alone(&p->forward, got, &c, first, T);
}

START_TEST(attention)
{
    problem p;
    void *got[MOST_BUFFERS] = {0}, *grads[MOST_BUFFERS] = {0}, *host[MOST_BUFFERS] = {0};
    open_problem(&p, &shapes[_i]);
    perform(&bench.host, &p.forward, 0, p.a.g.rows, host);
    p.back.b[A_OUT] = input(host[A_OUT], p.width, 0, sizeof(sae_real));
    for (int64_t n = 0; n < p.a.g.N; n++) {
        int64_t T = p.start[n + 1] - p.start[n];
        context_bounds(&(context){&p.a.h, p.start[n], T, p.qkv, host[A_OUT], p.dout, p.b_out,
                                  p.b_qkv, keep(T, sizeof(double))});
    }
    check_case(&p.forward, got);
    check_contexts(&p, &p.forward, got);
    check_feeds(&p, got);
    check_case(&p.back, grads);
    check_contexts(&p, &p.back, grads);
}
END_TEST

/* A device may refuse heads; it says so. */
START_TEST(too_wide)
{
    sae_lm_heads h = {.heads = 1, .kv_heads = 1, .head = 257, .window = ALL, .scale = 1};
    sae_lm_rows g = {.N = 1, .rows = 2, .longest = 2};
    const sae_lm_place *at = &bench.device;
    if (!at->be)
        return;
    ck_assert_int_eq(at->ops->attention(at->dev, &h, &g, NULL, NULL, NULL, NULL), SAE_EINVAL);
    ck_assert_int_eq(at->ops->attention_back(at->dev, &h, &g, NULL, NULL, NULL, NULL, NULL),
                     SAE_EINVAL);
}
END_TEST

Suite *suite_lm_ops_attention(void);
Suite *suite_lm_ops_attention(void)
{
    Suite *s = suite_create("lm_ops_attention");
    TCase *t = tcase_create("lm_ops_attention");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, bench_open, bench_close);
    tcase_add_loop_test(t, attention, 0, SHAPES);
    tcase_add_test(t, too_wide);
    suite_add_tcase(s, t);
    return s;
}
