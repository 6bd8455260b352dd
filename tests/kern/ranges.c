/* tests/kern/ranges.c - codes and column indices that are ranges of a larger one's rows or columns:
 * what a kernel makes of all ranges has the bits that it makes of the whole.
 */
#include "kern/kern.h"

typedef struct range_case range_case;

/* What a kernel writes; whole: by one call; parts: by a call for every range. */
typedef struct made {
    sae_mat out; /* [B x d], [B x n] or [n x d] */
    float *entries, *columns;
    int64_t *l0;
    double *l1;
} made;

typedef struct kernel {
    const char *name;
    int columns; /* 1: of an index */
    int (*call)(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m);
} kernel;

struct range_case {
    const kernel *kernel;
    sae_code z;
    sae_csc t;
    sae_cmat x, w; /* [B x d], [n x d] */
    float *bias, *row, *col;
    int64_t *cut;
    int cuts;
    made whole, parts;
    size_t out_bytes;
};

static sae_code rows_of(const sae_code *z, int64_t from, int64_t to)
{
    sae_code part = *z;
    part.B = to - from;
    part.rowptr += from;
    return part;
}

static sae_csc columns_of(const sae_csc *t, int64_t from, int64_t to)
{
    sae_csc part = *t;
    part.n = to - from;
    part.colptr += from;
    return part;
}

static sae_mat out_rows(sae_mat m, int64_t from, int64_t to)
{
    sae_mat part = {m.p + from * m.ld, to - from, m.cols, m.ld};
    return part;
}

static sae_cmat in_rows(sae_cmat m, int64_t from, int64_t to)
{
    sae_cmat part = {m.p + from * m.ld, to - from, m.cols, m.ld};
    return part;
}

/* ---- kernels ---- */

static int decode(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_code z = rows_of(&c->z, from, to);
    return im->k.code_decode(im->dev, &z, c->w, c->bias, out_rows(m->out, from, to));
}

static int grad(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_code z = rows_of(&c->z, from, to);
    return im->k.code_grad(im->dev, &z, in_rows(c->x, from, to), c->w, m->entries);
}

static int scale(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_code z = rows_of(&c->z, from, to);
    return im->k.code_scale(im->dev, &z, c->z.val, c->row + from, c->col, m->entries);
}

static int to_dense(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_code z = rows_of(&c->z, from, to);
    return im->k.code_to_dense(im->dev, &z, out_rows(m->out, from, to));
}

static int norms(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_code z = rows_of(&c->z, from, to);
    return im->k.code_norms(im->dev, &z, m->l0 + from, m->l1 + from);
}

static int outer(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_csc t = columns_of(&c->t, from, to);
    return im->k.code_outer(im->dev, &t, c->z.val, -0.7f, c->x, out_rows(m->out, from, to));
}

static int col_sum(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_csc t = columns_of(&c->t, from, to);
    return im->k.code_col_sum(im->dev, &t, c->z.val, -0.7f, m->columns + from);
}

static int col_min(const impl *im, const range_case *c, int64_t from, int64_t to, const made *m)
{
    sae_csc t = columns_of(&c->t, from, to);
    return im->k.code_col_min(im->dev, &t, c->z.val, m->columns + from);
}

static const kernel kernels[] = {
    {"code_decode", 0, decode},     {"code_grad", 0, grad},   {"code_scale", 0, scale},
    {"code_to_dense", 0, to_dense}, {"code_norms", 0, norms}, {"code_outer", 1, outer},
    {"code_col_sum", 1, col_sum},   {"code_col_min", 1, col_min},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0], OUTER = 5 };

/* ---- cases ---- */

/* The last range first. */
static int run_ranges(const impl *im, void *ctx)
{
    const range_case *c = ctx;
    int rc = c->kernel->call(im, c, 0, c->cut[c->cuts], &c->whole);
    for (int i = c->cuts - 1; i >= 0 && !rc; i--)
        rc = c->kernel->call(im, c, c->cut[i], c->cut[i + 1], &c->parts);
    return rc;
}

static void check_ranges(const impl *im, void *ctx)
{
    const range_case *c = ctx;
    const made *a = &c->parts, *b = &c->whole;
    size_t B = (size_t)c->z.B, n = (size_t)c->z.n, nnz = (size_t)c->z.nnz;
    (void)im;
    kern_same("out", a->out.p, b->out.p, c->out_bytes);
    kern_same("entries", a->entries, b->entries, nnz * sizeof *a->entries);
    kern_same("columns", a->columns, b->columns, n * sizeof *a->columns);
    kern_same("l0", a->l0, b->l0, B * sizeof *a->l0);
    kern_same("l1", a->l1, b->l1, B * sizeof *a->l1);
}

/* Every output starts from what it held: kernels add to some. */
static void room_for(const range_case *c, made *m, const float *start, int64_t rows, int64_t cols)
{
    sae_mat out = kern_target(rows, cols);
    m->out = out;
    for (int64_t i = 0; i < rows * cols; i++)
        out.p[i / cols * out.ld + i % cols] = start[i];
    m->entries = kern_out((size_t)c->z.nnz * sizeof *m->entries);
    m->columns = kern_out((size_t)c->z.n * sizeof *m->columns);
    for (int64_t j = 0; j < c->z.n; j++)
        m->columns[j] = c->col[j];
    m->l0 = kern_out((size_t)c->z.B * sizeof *m->l0);
    m->l1 = kern_out((size_t)c->z.B * sizeof *m->l1);
}

static float *vector(int64_t count, enum data kind)
{
    float *v = kern_in((size_t)count * sizeof *v);
    kern_fill(v, 1, count, count, kind);
    return v;
}

static sae_csc index_of(const sae_code *z)
{
    const impl *ref = kern_ref();
    sae_csc t = {.cap = z->nnz};
    t.colptr = kern_in((size_t)(z->n + 1) * sizeof *t.colptr);
    t.row = kern_in((size_t)z->nnz * sizeof *t.row);
    t.pos = kern_in((size_t)z->nnz * sizeof *t.pos);
    if (ref->k.code_transpose(ref->dev, z, &t))
        kern_fail("the reference failed");
    return t;
}

/* Cuts of [0, total): one that is empty, one of a single place (of the code that is `hot`), and
 * others; each == 1: every place is a range. */
static void cut(range_case *c, int64_t total, int64_t hot, int each)
{
    int64_t *at = c->cut = kern_temp((size_t)(total + 8) * sizeof *at);
    int64_t third = total / 3, ends[] = {third, third, hot, hot + 1, total - 1, total};
    int count = 1;
    for (int64_t i = 1; each && i <= total; i++)
        at[count++] = i;
    for (int i = 0; i < 6 && !each; i++)
        if (ends[i] >= at[count - 1] && ends[i] <= total)
            at[count++] = ends[i];
    if (at[count - 1] < total || count == 1)
        at[count++] = total;
    c->cuts = count - 1;
}

static void one(const kernel *k, int64_t B, int64_t n, int64_t d, int64_t width, enum data kind,
                int each)
{
    if (!kern_case("%s ranges %lldx%lldx%lld k %lld data %d each %d", k->name, (long long)B,
                   (long long)n, (long long)d, (long long)width, (int)kind, each))
        return;
    range_case c = {.kernel = k, .z = kern_random_code(B, n, width, kind)};
    c.t = index_of(&c.z);
    c.x = kern_matrix(B, d, kind);
    c.w = kern_matrix(n, d, kind);
    c.bias = vector(d, kind);
    c.row = vector(B, kind);
    c.col = vector(n, kind);
    cut(&c, k->columns ? n : B, k->columns ? n / 2 : B / 2, each);
    int64_t rows = k->columns ? n : B, cols = k->call == to_dense ? n : d;
    float *start = kern_temp((size_t)(rows * cols) * sizeof *start);
    kern_fill(start, rows, cols, cols, kind);
    room_for(&c, &c.whole, start, rows, cols);
    room_for(&c, &c.parts, start, rows, cols);
    c.out_bytes = (size_t)(rows * c.whole.out.ld) * sizeof(float);
    kcase q = {run_ranges, check_ranges, &c, 0, 8.0 * (double)c.z.nnz, SAE_OK};
    kern_run(&q);
}

void test_ranges(void)
{
    for (int i = 0; i < KERNELS; i++) {
        const kernel *k = &kernels[i];
        for (int s = 0; s < 5; s++)
            one(k, kern_sizes[5 + kern_pick(9)], kern_sizes[5 + kern_pick(9)],
                kern_sizes[kern_pick(14)], 1 + kern_pick(20), s % 2 ? MIXTURE : NORMAL, 0);
        one(k, 17, 13, 7, 6, SPECIAL, 1);
        one(k, 5, 1, 3, 1, NORMAL, 0);
        one(k, 4, 9, 3, 0, NORMAL, 0); /* nothing is listed */
    }
    one(&kernels[OUTER], 700, 5, 20, 4, NORMAL, 1); /* columns of several segments */
    one(&kernels[OUTER], 700, 40, 20, 9, NORMAL, 0);
}
