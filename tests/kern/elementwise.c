/* tests/kern/elementwise.c - functions, products, windows and largest elements of matrices. */
#include "kern/kern.h"

#include <math.h>
#include <string.h>

enum op { MAP, MUL, SCALE, WINDOW };

typedef struct each_case {
    enum op op;
    enum sae_fn f;
    double p, q; /* of map; q: half of window */
    float alpha;
    sae_cmat a, b;
    const float *row, *col;
    sae_mat out;
    int in_place;
    double *want, *bound;
    float *sums, *exact;
} each_case;

static int run_each(const impl *im, void *ctx)
{
    const each_case *c = ctx;
    const sae_kernels *k = &im->k;
    sae_cmat a = c->a;
    if (c->in_place) {
        a.p = c->out.p;
        a.ld = c->out.ld;
    }
    switch (c->op) {
    case MAP:
        return k->map(im->dev, c->f, c->p, c->q, a, c->out);
    case MUL:
        return k->mul(im->dev, c->alpha, a, c->b, c->out);
    case SCALE:
        return k->scale(im->dev, a, c->row, c->col, c->out);
    default:
        return k->window(im->dev, a, c->b, c->q, c->out);
    }
}

static void check_each(const impl *im, void *ctx)
{
    const each_case *c = ctx;
    (void)im;
    kern_close("out", c->out.p, c->out.rows, c->out.cols, c->out.ld, c->want, c->bound);
}

static double function(const each_case *c, double x)
{
    if (isnan(x))
        return x;
    switch (c->f) {
    case SAE_FN_EXP:
        return exp(x);
    case SAE_FN_TANH:
        return tanh(x);
    case SAE_FN_ABS:
        return fabs(x);
    case SAE_FN_SIGN:
        return x > 0 ? 1 : x < 0 ? -1 : 0;
    case SAE_FN_POWER:
        return x > 0 ? pow(x, c->p) : 0;
    default:
        return x < c->p ? c->p : x > c->q ? c->q : x;
    }
}

static double expected(const each_case *c, int64_t r, int64_t i)
{
    double a = (double)c->a.p[r * c->a.ld + i];
    double b = c->b.p ? (double)c->b.p[r * c->b.ld + i] : 0;
    switch (c->op) {
    case MAP:
        return function(c, a);
    case MUL:
        return (double)c->alpha * a * b;
    case SCALE:
        return (c->row ? (double)c->row[r] : 1) * (c->col ? (double)c->col[i] : 1) * a;
    default:
        return isnan(b) ? b : fabs(b) < c->q ? a : 0;
    }
}

/* Everything is computed in double and rounded once to float. Before that, exp, tanh and powers are
 * off by at most 2^-34: the series' first term left out, 7e-12, and what rounding p log x before
 * the exponential costs, |p log x| 2^-52 <= 200 * 2^-52 where the result is a finite float. */
static void expect(each_case *c)
{
    int64_t rows = c->out.rows, cols = c->out.cols;
    c->want = kern_temp((size_t)(rows * cols) * sizeof *c->want);
    c->bound = kern_temp((size_t)(rows * cols) * sizeof *c->bound);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++) {
            double want = expected(c, r, i);
            int half; /* exponent of half a unit in the last place */
            frexp(want, &half);
            half = half - 25 > -150 ? half - 25 : -150;
            c->bound[r * cols + i] = ldexp(1, half) + 0x1p-34 * fabs(want);
            c->want[r * cols + i] = isinf((float)want) ? copysign(INFINITY, want) : want;
            c->out.p[r * c->out.ld + i] = c->a.p[r * c->a.ld + i];
        }
}

static sae_cmat spread(int64_t rows, int64_t cols, enum data kind, float scale)
{
    sae_cmat m = kern_matrix(rows, cols, kind);
    float *p = kern_in((size_t)(rows * m.ld) * sizeof *p);
    memcpy(p, m.p, (size_t)(rows * m.ld) * sizeof *p);
    for (int64_t i = 0; i < rows * cols; i++)
        p[i / cols * m.ld + i % cols] *= scale;
    m.p = p;
    return m;
}

static void run(each_case *c, double bytes)
{
    double count = (double)(c->a.rows * c->a.cols);
    c->out = kern_target(c->a.rows, c->a.cols);
    expect(c);
    kcase k = {run_each, check_each, c, count, bytes * count, SAE_OK};
    kern_run(&k);
}

static void map(enum sae_fn f, double p, double q, int64_t rows, int64_t cols, enum data kind,
                float scale)
{
    static const char *const name[] = {"exp", "tanh", "abs", "sign", "power", "clamp"};
    if (!kern_case("map %s %g %lldx%lld data %d", name[f], p, (long long)rows, (long long)cols,
                   (int)kind))
        return;
    each_case c = {.op = MAP, .f = f, .p = p, .q = q, .a = spread(rows, cols, kind, scale)};
    c.in_place = kern_random(2) != 0;
    run(&c, 8);
}

static void mul(int64_t rows, int64_t cols, enum data kind)
{
    if (!kern_case("mul %lldx%lld data %d", (long long)rows, (long long)cols, (int)kind))
        return;
    each_case c = {.op = MUL, .alpha = -0.7f, .a = kern_matrix(rows, cols, kind)};
    c.b = kern_matrix(rows, cols, kind);
    c.in_place = kern_random(2) != 0;
    run(&c, 12);
}

static const float *factors(int64_t count, enum data kind)
{
    float *p = kern_in((size_t)count * sizeof *p);
    kern_fill(p, 1, count, count, kind);
    return p;
}

static void scale(int64_t rows, int64_t cols, enum data kind, unsigned which)
{
    if (!kern_case("scale%s%s %lldx%lld data %d", which & 1 ? " row" : "", which & 2 ? " col" : "",
                   (long long)rows, (long long)cols, (int)kind))
        return;
    each_case c = {.op = SCALE, .a = kern_matrix(rows, cols, kind)};
    c.row = which & 1 ? factors(rows, kind) : NULL;
    c.col = which & 2 ? factors(cols, kind) : NULL;
    c.in_place = kern_random(2) != 0;
    run(&c, 8);
}

static void window(int64_t rows, int64_t cols, enum data kind, double half)
{
    if (!kern_case("window %lldx%lld data %d half %g", (long long)rows, (long long)cols, (int)kind,
                   half))
        return;
    each_case c = {.op = WINDOW, .q = half, .a = kern_matrix(rows, cols, kind)};
    c.b = kern_matrix(rows, cols, kind);
    c.in_place = kern_random(2) != 0;
    run(&c, 12);
}

/* ---- col_max: exact, the sign of a zero included ---- */

static int run_col_max(const impl *im, void *ctx)
{
    const each_case *c = ctx;
    return im->k.col_max(im->dev, c->a, c->sums);
}

static void check_col_max(const impl *im, void *ctx)
{
    const each_case *c = ctx;
    (void)im;
    kern_same("largest", c->sums, c->exact, (size_t)c->a.cols * sizeof *c->exact);
}

static void col_max(int64_t rows, int64_t cols, enum data kind)
{
    if (!kern_case("col_max %lldx%lld data %d", (long long)rows, (long long)cols, (int)kind))
        return;
    each_case c = {.a = kern_matrix(rows, cols, kind)};
    size_t bytes = (size_t)cols * sizeof *c.sums;
    c.sums = kern_out(bytes);
    kern_fill(c.sums, 1, cols, cols, kind);
    c.exact = kern_temp(bytes);
    memcpy(c.exact, c.sums, bytes);
    for (int64_t i = 0; i < rows * cols; i++) {
        float x = c.a.p[i / cols * c.a.ld + i % cols];
        if (x > c.exact[i % cols])
            c.exact[i % cols] = x;
    }
    kcase k = {run_col_max, check_col_max, &c, 0, 4.0 * (double)(rows * cols), SAE_OK};
    kern_run(&k);
}

static void wrong_extents(enum op op)
{
    if (!kern_case("elementwise %d wrong extents", (int)op))
        return;
    each_case c = {.op = op, .a = kern_matrix(3, 4, NORMAL), .out = kern_target(3, 5)};
    c.b = kern_matrix(3, 5, NORMAL);
    kcase k = {run_each, NULL, &c, 0, 0, SAE_EINVAL};
    kern_run(&k);
}

static void functions(int64_t rows, int64_t cols, int64_t i)
{
    static const double powers[] = {0.5, 2, -1, 0, 0.1, 1, 7.5, -0.3};
    enum data kind = i % 3 == 0 ? SPECIAL : i % 3 == 1 ? MIXTURE : NORMAL;
    map(SAE_FN_EXP, 0, 0, rows, cols, kind, kind == NORMAL ? 40 : 1);
    map(SAE_FN_TANH, 0, 0, rows, cols, kind, i % 2 ? 1 : 0.01f);
    map(SAE_FN_ABS, 0, 0, rows, cols, kind, 1);
    map(SAE_FN_SIGN, 0, 0, rows, cols, kind, 1);
    map(SAE_FN_POWER, powers[i % 8], 0, rows, cols, kind, kind == NORMAL ? 100 : 1);
    map(SAE_FN_CLAMP, -0.3, 1.7, rows, cols, kind, 1);
}

void test_elementwise(void)
{
    static const double half[] = {1, 0, 0.3, -1, 1e-60, INFINITY, NAN, 2};
    for (int i = 0; i < 14; i++) {
        int64_t cols = kern_sizes[i], rows = kern_sizes[kern_pick(14)];
        functions(rows, cols, i);
        enum data kind = i % 2 ? SPECIAL : MIXTURE;
        mul(rows, cols, kind);
        scale(rows, cols, kind, (unsigned)i % 4);
        window(rows, cols, kind, half[i % 8]);
        col_max(rows, cols, i % 3 ? SPECIAL : ZEROS);
    }
    functions(2, 20001, 0); /* several pieces of a row */
    mul(1, 20001, MIXTURE);
    scale(2, 20001, NORMAL, 3);
    window(1, 20001, MIXTURE, 1);
    functions(0, 5, 0);
    functions(5, 0, 0);
    col_max(0, 5, NORMAL);
    col_max(3, 0, NORMAL);
    for (int op = MAP; op <= WINDOW; op++)
        wrong_extents((enum op)op);
    if (kern_benching()) {
        map(SAE_FN_EXP, 0, 0, 4096, 4096, NORMAL, 1);
        map(SAE_FN_TANH, 0, 0, 4096, 4096, NORMAL, 1);
        map(SAE_FN_POWER, 0.5, 0, 4096, 4096, NORMAL, 1);
        map(SAE_FN_CLAMP, -1, 1, 4096, 4096, NORMAL, 1);
        mul(4096, 4096, NORMAL);
        scale(4096, 4096, NORMAL, 3);
        window(4096, 4096, NORMAL, 1);
        col_max(4096, 4096, NORMAL);
    }
}
