/* tests/kern/code.c - sparse products, transposes, norms and firing statistics. */
#include "kern/kern.h"
#include "kern/wide.h"

#include <math.h>
#include <string.h>

typedef struct code_case {
    sae_code z;
    sae_cmat x, w;
    sae_mat out;
    const float *bias;
    float *vals;
    double *want, *bound, *reals, *exact, *peaks;
    int64_t *counts, *want_counts;
    uint64_t *fired, *fires, *want_fired, *want_fires;
    sae_csc t, index;
} code_case;

static sae_code code_of(int64_t B, int64_t n, int64_t k, enum data kind, int dense)
{
    if (!dense)
        return kern_random_code(B, n, k, kind);
    sae_code z = {.B = B, .n = n, .nnz = B * n, .cap = B * n, .dense = 1};
    z.val = kern_in((size_t)(B * n) * sizeof *z.val);
    kern_fill(z.val, B, n, n, kind);
    return z;
}

static wide_code widen(const sae_code *z)
{
    wide_code w = {z->B, z->n, z->nnz, z->cap, 0, z->dense, z->rowptr, z->idx, NULL};
    w.val = kern_widen(z->val, 1, z->nnz, z->nnz);
    return w;
}

static wide_code magnitude(wide_code z)
{
    z.val = kern_abs(z.val, z.nnz);
    return z;
}

static int64_t row_length(const sae_code *z, int64_t r)
{
    return z->dense ? z->n : z->rowptr[r + 1] - z->rowptr[r];
}

static double *temp(int64_t count)
{
    return kern_temp((size_t)count * sizeof(double));
}

/* ---- code_decode ---- */

static int run_decode(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_decode(im->dev, &c->z, c->w, c->bias, c->out);
}

static void check_out(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    kern_close("out", c->out.p, c->out.rows, c->out.cols, c->out.ld, c->want, c->bound);
}

static void decode(int64_t B, int64_t n, int64_t d, int64_t k, enum data kind, int is_dense)
{
    if (!kern_case("code_decode %lldx%lldx%lld k %lld data %d%s", (long long)B, (long long)n,
                   (long long)d, (long long)k, (int)kind, is_dense ? " dense" : ""))
        return;
    code_case c = {.z = code_of(B, n, k, kind, is_dense), .w = kern_matrix(n, d, kind)};
    float *bias = kern_in((size_t)d * sizeof *bias);
    kern_fill(bias, 1, d, d, kind);
    c.bias = kern_random(3) ? bias : NULL;
    c.out = kern_target(B, d);
    c.want = temp(B * d);
    c.bound = temp(B * d);
    wide_code z = widen(&c.z);
    double *w = kern_widen(c.w.p, n, d, c.w.ld), *b = kern_widen(bias, 1, d, d);
    wide_decode(&z, w, c.bias ? b : NULL, c.want, d);
    z = magnitude(z);
    wide_decode(&z, kern_abs(w, n * d), c.bias ? kern_abs(b, d) : NULL, c.bound, d);
    for (int64_t i = 0; i < B * d; i++) {
        double terms = (double)row_length(&c.z, i / d) + 1;
        c.bound[i] = kern_t1(kind, terms, terms, c.bound[i]);
    }
    kcase q = {run_decode, check_out, &c, 2.0 * (double)(c.z.nnz * d), 4.0 * (double)(c.z.nnz * d),
               SAE_OK};
    kern_run(&q);
}

/* ---- code_grad: 16 lanes in blocks of 256, blocks in order; dense codes go through gemm ---- */

static int run_grad(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_grad(im->dev, &c->z, c->x, c->w, c->vals);
}

static void check_vals(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    kern_close("dval", c->vals, 1, c->z.nnz, c->z.nnz, c->want, c->bound);
}

static void grad(int64_t B, int64_t n, int64_t d, int64_t k, enum data kind, int is_dense)
{
    if (!kern_case("code_grad %lldx%lldx%lld k %lld data %d%s", (long long)B, (long long)n,
                   (long long)d, (long long)k, (int)kind, is_dense ? " dense" : ""))
        return;
    code_case c = {.z = code_of(B, n, k, kind, is_dense), .w = kern_matrix(n, d, kind)};
    c.x = kern_matrix(B, d, kind);
    c.vals = kern_out((size_t)c.z.nnz * sizeof *c.vals);
    c.want = temp(c.z.nnz);
    c.bound = temp(c.z.nnz);
    wide_code z = widen(&c.z);
    double *w = kern_widen(c.w.p, n, d, c.w.ld), *x = kern_widen(c.x.p, B, d, c.x.ld);
    double depth = is_dense ? (double)d : 20 + ceil((double)d / 256);
    wide_grad(&z, x, w, c.want, d);
    wide_grad(&z, kern_abs(x, B * d), kern_abs(w, n * d), c.bound, d);
    for (int64_t i = 0; i < c.z.nnz; i++)
        c.bound[i] = kern_t1(kind, (double)d, depth, c.bound[i]);
    kcase q = {run_grad, check_vals, &c, 2.0 * (double)(c.z.nnz * d), 4.0 * (double)(c.z.nnz * d),
               SAE_OK};
    kern_run(&q);
}

/* ---- code_transpose, code_outer, code_col_sum ---- */

static sae_csc index_room(int64_t n, int64_t cap, void *(*get)(size_t))
{
    sae_csc t = {.n = n, .cap = cap};
    t.colptr = get((size_t)(n + 1) * sizeof *t.colptr);
    t.row = get((size_t)cap * sizeof *t.row);
    t.pos = get((size_t)cap * sizeof *t.pos);
    return t;
}

/* By definition: for every feature, the rows in order. */
static void index_by_hand(const sae_code *z, sae_csc *t)
{
    int64_t at = 0;
    for (int64_t j = 0; j < z->n; j++) {
        t->colptr[j] = at;
        for (int64_t r = 0; r < z->B; r++)
            for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++)
                if (z->idx[i] == j) {
                    t->row[at] = (int32_t)r;
                    t->pos[at++] = i;
                }
    }
    t->colptr[z->n] = at;
    t->nnz = at;
}

static int run_transpose(const impl *im, void *ctx)
{
    code_case *c = ctx;
    return im->k.code_transpose(im->dev, &c->z, &c->t);
}

static void check_transpose(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    const sae_csc *t = &c->t, *w = &c->index;
    (void)im;
    if (t->n != w->n || t->nnz != w->nnz)
        kern_fail("n %lld nnz %lld", (long long)t->n, (long long)t->nnz);
    kern_same("colptr", t->colptr, w->colptr, (size_t)(w->n + 1) * sizeof *w->colptr);
    kern_same("row", t->row, w->row, (size_t)w->nnz * sizeof *w->row);
    kern_same("pos", t->pos, w->pos, (size_t)w->nnz * sizeof *w->pos);
}

static void transpose(int64_t B, int64_t n, int64_t k, int short_of)
{
    if (!kern_case("code_transpose %lldx%lld k %lld short of %d", (long long)B, (long long)n,
                   (long long)k, short_of))
        return;
    code_case c = {.z = kern_random_code(B, n, k, INTEGERS)};
    c.t = index_room(n, c.z.nnz - short_of, kern_out);
    c.index = index_room(n, c.z.nnz, kern_temp);
    index_by_hand(&c.z, &c.index);
    kcase q = {run_transpose, check_transpose, &c, 0, 16.0 * (double)c.z.nnz,
               short_of ? SAE_ECAPACITY : SAE_OK};
    kern_run(&q);
}

static int run_outer(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_outer(im->dev, &c->index, c->z.val, -0.5f, c->x, c->out);
}

static int run_col_sum(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_col_sum(im->dev, &c->index, c->z.val, -0.5f, c->vals);
}

static void check_col_sum(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    kern_close("sums", c->vals, 1, c->z.n, c->z.n, c->want, c->bound);
}

static void outer(int64_t B, int64_t n, int64_t d, int64_t k, enum data kind)
{
    if (!kern_case("code_outer %lldx%lldx%lld k %lld data %d", (long long)B, (long long)n,
                   (long long)d, (long long)k, (int)kind))
        return;
    code_case c = {.z = kern_random_code(B, n, k, kind), .x = kern_matrix(B, d, kind)};
    c.out = kern_target(n, d);
    kern_fill(c.out.p, n, d, c.out.ld, kind);
    c.index = index_room(n, c.z.nnz, kern_in);
    index_by_hand(&c.z, &c.index);
    c.want = kern_widen(c.out.p, n, d, c.out.ld);
    c.bound = kern_abs(c.want, n * d);
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < d; i++) {
            double s = 0, a = 0, terms;
            for (int64_t o = c.index.colptr[j]; o < c.index.colptr[j + 1]; o++) {
                double t = (double)c.z.val[c.index.pos[o]] *
                           (double)c.x.p[c.index.row[o] * c.x.ld + i];
                s += t;
                a += fabs(t);
            }
            terms = (double)(c.index.colptr[j + 1] - c.index.colptr[j]) + 1;
            c.want[j * d + i] -= 0.5 * s;
            c.bound[j * d + i] = kern_t1(kind, terms, terms, c.bound[j * d + i] + 0.5 * a);
        }
    kcase q = {run_outer, check_out, &c, 2.0 * (double)(c.z.nnz * d),
               4.0 * (double)(c.z.nnz * d + 2 * n * d), SAE_OK};
    kern_run(&q);
}

static void col_sum(int64_t B, int64_t n, int64_t k, enum data kind)
{
    if (!kern_case("code_col_sum %lldx%lld k %lld data %d", (long long)B, (long long)n,
                   (long long)k, (int)kind))
        return;
    code_case c = {.z = kern_random_code(B, n, k, kind)};
    c.index = index_room(n, c.z.nnz, kern_in);
    index_by_hand(&c.z, &c.index);
    c.vals = kern_out((size_t)n * sizeof *c.vals);
    kern_fill(c.vals, 1, n, n, kind);
    c.want = kern_widen(c.vals, 1, n, n);
    c.bound = kern_abs(c.want, n);
    for (int64_t j = 0; j < n; j++) {
        double a = c.bound[j];
        for (int64_t o = c.index.colptr[j]; o < c.index.colptr[j + 1]; o++) {
            double v = 0.5 * (double)c.z.val[c.index.pos[o]];
            c.want[j] -= v;
            a += fabs(v);
        }
        /* summed in double, rounded once to float */
        c.bound[j] = 2 * U24 * fabs(c.want[j]) + 1e-12 * a + 0x1p-149;
    }
    kcase q = {run_col_sum, check_col_sum, &c, (double)c.z.nnz, 4.0 * (double)c.z.nnz, SAE_OK};
    kern_run(&q);
}

static int run_col_min(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_col_min(im->dev, &c->index, c->z.val, c->vals);
}

static void check_col_min(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    for (int64_t j = 0; j < c->z.n; j++)
        if ((double)c->vals[j] != c->want[j])
            kern_fail("column %lld: %.9g instead of %.9g", (long long)j, (double)c->vals[j],
                      c->want[j]);
}

static void col_min(int64_t B, int64_t n, int64_t k, enum data kind)
{
    if (!kern_case("code_col_min %lldx%lld k %lld data %d", (long long)B, (long long)n,
                   (long long)k, (int)kind))
        return;
    code_case c = {.z = kern_random_code(B, n, k, kind)};
    c.index = index_room(n, c.z.nnz, kern_in);
    index_by_hand(&c.z, &c.index);
    c.vals = kern_out((size_t)n * sizeof *c.vals);
    kern_fill(c.vals, 1, n, n, kind);
    c.want = kern_widen(c.vals, 1, n, n);
    for (int64_t i = 0; i < c.z.nnz; i++)
        c.want[c.z.idx[i]] = fmin(c.want[c.z.idx[i]], (double)c.z.val[i]);
    kcase q = {run_col_min, check_col_min, &c, 0, 4.0 * (double)c.z.nnz, SAE_OK};
    kern_run(&q);
}

/* ---- code_to_dense, code_norms, fire_update: by definition ---- */

static int run_to_dense(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_to_dense(im->dev, &c->z, c->out);
}

static int run_norms(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_norms(im->dev, &c->z, c->counts, c->reals);
}

static void check_norms(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    if (c->counts)
        kern_same("l0", c->counts, c->want_counts, (size_t)c->z.B * sizeof *c->counts);
    for (int64_t r = 0; r < c->z.B && c->reals; r++)
        if (!(fabs(c->reals[r] - c->exact[r]) <= 1e-12 * c->exact[r]))
            kern_fail("l1[%lld] %.17g, expected %.17g", (long long)r, c->reals[r], c->exact[r]);
}

static int run_fire(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.fire_update(im->dev, &c->z, 77, c->fired, c->fires);
}

static void check_fire(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    kern_same("last_fired", c->fired, c->want_fired, (size_t)c->z.n * sizeof *c->fired);
    kern_same("fire_count", c->fires, c->want_fires, (size_t)c->z.n * sizeof *c->fires);
}

static int run_max(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    return im->k.code_max(im->dev, &c->z, c->vals);
}

static void check_max(const impl *im, void *ctx)
{
    const code_case *c = ctx;
    (void)im;
    for (int64_t j = 0; j < c->z.n; j++)
        if ((double)c->vals[j] != c->peaks[j])
            kern_fail("max[%lld] %.9g, expected %.9g", (long long)j, (double)c->vals[j],
                      c->peaks[j]);
}

/* Dense values, counts and statistics of a code, entry by entry. */
static void by_hand(code_case *c)
{
    const sae_code *z = &c->z;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = 0; i < row_length(z, r); i++) {
            int64_t at = z->dense ? r * z->n + i : z->rowptr[r] + i;
            int64_t j = z->dense ? i : z->idx[at];
            double v = (double)z->val[at];
            c->want[r * z->n + j] = v;
            c->exact[r] += fabs(v);
            c->want_counts[r] += v != 0;
            if (v != 0) {
                c->want_fired[j] = 77;
                c->want_fires[j]++;
            }
            c->peaks[j] = fmax(c->peaks[j], v);
        }
}

static void counts(int64_t B, int64_t n, int64_t k, int is_dense)
{
    static const struct {
        const char *name;
        int (*run)(const impl *, void *);
        void (*check)(const impl *, void *);
    } kernel[] = {{"code_to_dense", run_to_dense, check_out},
                  {"code_norms", run_norms, check_norms},
                  {"fire_update", run_fire, check_fire},
                  {"code_max", run_max, check_max}};
    for (int i = 0; i < 4; i++) {
        if (!kern_case("%s %lldx%lld k %lld%s", kernel[i].name, (long long)B, (long long)n,
                       (long long)k, is_dense ? " dense" : ""))
            continue;
        code_case c = {.z = code_of(B, n, k, INTEGERS, is_dense), .out = kern_target(B, n)};
        c.want = temp(B * n);
        c.bound = temp(B * n); /* exact */
        c.exact = temp(B);
        c.want_counts = kern_temp((size_t)B * sizeof *c.want_counts);
        c.want_fired = kern_temp((size_t)n * sizeof *c.want_fired);
        c.want_fires = kern_temp((size_t)n * sizeof *c.want_fires);
        c.peaks = temp(n);
        c.vals = kern_out((size_t)n * sizeof *c.vals);
        kern_fill(c.vals, 1, n, n, INTEGERS);
        for (int64_t j = 0; j < n; j++)
            c.peaks[j] = (double)c.vals[j];
        c.fired = kern_out((size_t)n * sizeof *c.fired);
        c.fires = kern_out((size_t)n * sizeof *c.fires);
        for (int64_t j = 0; j < n; j++) {
            c.want_fired[j] = c.fired[j] = kern_random(50);
            c.want_fires[j] = c.fires[j] = kern_random(50);
        }
        int which = (int)kern_random(3);
        c.counts = which == 0 ? NULL : kern_out((size_t)B * sizeof *c.counts);
        c.reals = which == 1 ? NULL : kern_out((size_t)B * sizeof *c.reals);
        by_hand(&c);
        kcase q = {kernel[i].run, kernel[i].check, &c, 0, 4.0 * (double)c.z.nnz, SAE_OK};
        kern_run(&q);
    }
}

/* ---- code_slice: by definition ---- */

typedef struct slice_case {
    sae_code z, out;
    int64_t j0, j1, nnz;
    int32_t *idx;
    float *val;
} slice_case;

static int run_slice(const impl *im, void *ctx)
{
    slice_case *c = ctx;
    int rc = im->k.code_slice(im->dev, &c->z, c->j0, c->j1, &c->out);
    if (c->out.nnz != c->nnz)
        kern_fail("%lld entries, expected %lld", (long long)c->out.nnz, (long long)c->nnz);
    return rc;
}

static void check_slice(const impl *im, void *ctx)
{
    const slice_case *c = ctx;
    int64_t at = 0;
    (void)im;
    if (c->out.B != c->z.B || c->out.n != c->z.n || c->out.nan != 0)
        kern_fail("extents");
    for (int64_t r = 0; r < c->z.B; r++) {
        for (int64_t i = c->z.rowptr[r]; i < c->z.rowptr[r + 1]; i++)
            at += c->z.idx[i] >= c->j0 && c->z.idx[i] < c->j1;
        if (c->out.rowptr[0] != 0 || c->out.rowptr[r + 1] != at)
            kern_fail("rowptr[%lld]", (long long)r + 1);
    }
    kern_same("idx", c->out.idx, c->idx, (size_t)c->nnz * sizeof *c->idx);
    kern_same("val", c->out.val, c->val, (size_t)c->nnz * sizeof *c->val);
}

static void slice(int64_t B, int64_t n, int64_t k, int64_t j0, int64_t j1, int short_of)
{
    if (!kern_case("code_slice %lldx%lld k %lld [%lld, %lld) short of %d", (long long)B,
                   (long long)n, (long long)k, (long long)j0, (long long)j1, short_of))
        return;
    slice_case c = {.z = kern_random_code(B, n, k, NORMAL), .j0 = j0, .j1 = j1};
    c.idx = kern_temp((size_t)c.z.nnz * sizeof *c.idx);
    c.val = kern_temp((size_t)c.z.nnz * sizeof *c.val);
    for (int64_t i = 0; i < c.z.nnz; i++)
        if (c.z.idx[i] >= j0 && c.z.idx[i] < j1) {
            c.idx[c.nnz] = c.z.idx[i];
            c.val[c.nnz++] = c.z.val[i];
        }
    c.out = kern_code(B, n, c.nnz - short_of);
    kcase q = {run_slice, check_slice, &c, 0, 8.0 * (double)(c.z.nnz + c.nnz),
               short_of ? SAE_ECAPACITY : SAE_OK};
    kern_run(&q);
}

/* ---- code_scale: row * col is exact in double; one rounding there, one to float ---- */

typedef struct scale_case {
    sae_code z;
    const float *row, *col;
    float *out;
    int in_place;
    double *want, *bound;
} scale_case;

static int run_scale(const impl *im, void *ctx)
{
    const scale_case *c = ctx;
    return im->k.code_scale(im->dev, &c->z, c->in_place ? c->out : c->z.val, c->row, c->col,
                            c->out);
}

static void check_scale(const impl *im, void *ctx)
{
    const scale_case *c = ctx;
    (void)im;
    kern_close("out", c->out, 1, c->z.nnz, c->z.nnz, c->want, c->bound);
}

static const float *factors(int64_t count, enum data kind)
{
    float *p = kern_in((size_t)count * sizeof *p);
    kern_fill(p, 1, count, count, kind);
    return kern_random(3) ? p : NULL;
}

static void scale(int64_t B, int64_t n, int64_t k, enum data kind, int is_dense)
{
    if (!kern_case("code_scale %lldx%lld k %lld data %d%s", (long long)B, (long long)n,
                   (long long)k, (int)kind, is_dense ? " dense" : ""))
        return;
    scale_case c = {.z = code_of(B, n, k, kind, is_dense), .in_place = kern_random(2) != 0};
    c.row = factors(B, kind);
    c.col = factors(n, kind);
    c.out = kern_out((size_t)c.z.nnz * sizeof *c.out);
    memcpy(c.out, c.z.val, (size_t)c.z.nnz * sizeof *c.out);
    c.want = temp(c.z.nnz);
    c.bound = temp(c.z.nnz);
    for (int64_t r = 0; r < B; r++)
        for (int64_t i = 0; i < row_length(&c.z, r); i++) {
            int64_t at = is_dense ? r * n + i : c.z.rowptr[r] + i, j = is_dense ? i : c.z.idx[at];
            double by = (c.row ? (double)c.row[r] : 1) * (c.col ? (double)c.col[j] : 1);
            double want = by * (double)c.z.val[at];
            c.want[at] = isinf((float)want) ? copysign(INFINITY, want) : want;
            c.bound[at] = U24 * (1 + 0x1p-20) * fabs(want) + 0x1p-150;
        }
    kcase q = {run_scale, check_scale, &c, 2.0 * (double)c.z.nnz, 8.0 * (double)c.z.nnz, SAE_OK};
    kern_run(&q);
}

void test_code(void)
{
    for (int i = 0; i < 14; i++) {
        int64_t n = kern_sizes[kern_pick(14)], B = kern_sizes[kern_pick(14)];
        int64_t d = kern_sizes[i], k = 1 + kern_pick(20);
        enum data kind = (enum data)kern_pick(3);
        decode(B, n, d, k, kind, i % 4 == 0);
        grad(B, n, d, k, kind, i % 4 == 1);
        outer(B, n, d, k, kind);
        col_sum(B, d, k, kind);
        col_min(B, d, k, kind);
        transpose(B, d, k, 0);
        counts(B, d, k, i % 3 == 0);
        int64_t from = kern_pick((uint32_t)d + 1);
        slice(B, d, k, from, from + kern_pick((uint32_t)(d - from) + 1), 0);
        scale(B, d, k, i % 2 ? SPECIAL : MIXTURE, i % 4 == 2);
    }
    slice(9, 20, 6, 0, 20, 0);
    slice(9, 20, 6, 0, 20, 1);
    slice(9, 20, 6, 7, 7, 0);
    slice(0, 20, 6, 0, 9, 0);
    scale(0, 7, 2, NORMAL, 0);
    transpose(100, 50, 30, 0); /* many entries per feature: several parts */
    transpose(10, 50, 3, 1);
    decode(0, 5, 4, 2, NORMAL, 0);
    decode(5, 0, 4, 0, NORMAL, 0);
    decode(5, 6, 0, 2, NORMAL, 0);
    grad(6, 9, 0, 2, NORMAL, 0);
    grad(3, 5, 1000, 2, MIXTURE, 0); /* several blocks */
    if (kern_benching()) {
        decode(256, 4096, 768, 32, NORMAL, 0);
        grad(256, 4096, 768, 32, NORMAL, 0);
        outer(256, 1024, 768, 32, NORMAL);
        transpose(512, 1024, 32, 0);
        slice(4096, 4096, 32, 1024, 3072, 0);
        scale(4096, 4096, 32, NORMAL, 0);
    }
}
