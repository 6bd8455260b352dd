/* tests/kern/frozen.c - products with frozen weights (sae_backend.freeze).
 *
 * Where a backend rounds operands of products to bf16, a product with frozen weights is the product
 * of rounded operands, held to the bound of a dot product without any rounding of operands, 2^-20
 * where the rounding is 2^-8. Elsewhere freezing changes nothing.
 */
#include "kern/kern.h"
#include "kern/wide.h"

#include <sae/half.h>

#include <math.h>
#include <string.h>

typedef struct frozen_case {
    char op; /* d encode_dense, g gemm, s code_decode, v code_grad, w after a thaw */
    sae_encoder e;
    sae_code z;
    sae_cmat whole; /* what is frozen */
    float *work, *out;
    int64_t rows, cols;
} frozen_case;

static int call(const impl *im, const frozen_case *c)
{
    sae_mat out = {c->out, c->rows, c->cols, c->cols};
    if (c->op == 'd')
        return im->k.encode_dense(im->dev, &c->e, out);
    if (c->op == 's')
        return im->k.code_decode(im->dev, &c->z, c->e.w, c->e.shift, out);
    if (c->op == 'v')
        return im->k.code_grad(im->dev, &c->z, c->e.x, c->e.w, c->out);
    return im->k.gemm(im->dev, 0, 1, 1, c->e.x, c->e.w, 0, out);
}

/* 'w': what was frozen before the weights were what they are is not read. */
static int run_frozen(const impl *im, void *ctx)
{
    frozen_case *c = ctx;
    const sae_backend *be = im->be;
    size_t bytes = (size_t)(c->whole.rows * c->whole.cols) * sizeof(float);
    int rc = SAE_OK;
    if (c->op == 'w' && be->freeze) {
        memcpy(c->work, c->whole.p, bytes);
        memset((float *)c->whole.p, 0, bytes);
        rc = be->freeze(im->dev, c->whole);
        be->thaw(im->dev, c->whole.p);
        rc = rc < 0 ? rc : be->sync(im->dev);
        memcpy((float *)c->whole.p, c->work, bytes);
    }
    if (rc >= 0 && be->freeze) /* twice, thawed once: still frozen */
        rc = be->freeze(im->dev, c->whole);
    if (rc >= 0 && be->freeze) {
        rc = be->freeze(im->dev, c->whole);
        be->thaw(im->dev, c->whole.p);
    }
    rc = rc < 0 ? rc : call(im, c);
    if (be->thaw)
        be->thaw(im->dev, c->whole.p);
    return rc;
}

static double seen(float v, int rounds)
{
    return rounds ? (double)sae_bf16_float(sae_float_bf16(v)) : (double)v;
}

static double *operand(sae_cmat m, const float *shift, int rounds)
{
    double *p = kern_temp((size_t)(m.rows * m.cols) * sizeof *p);
    for (int64_t i = 0; i < m.rows * m.cols; i++) {
        float v = m.p[i / m.cols * m.ld + i % m.cols];
        p[i] = seen(shift ? v - shift[i % m.cols] : v, rounds);
    }
    return p;
}

static void check_frozen(const impl *im, void *ctx)
{
    const frozen_case *c = ctx;
    int rounds = im->rounds, sparse = c->op == 's' || c->op == 'v';
    int64_t d = c->e.w.cols, n = c->e.w.rows, B = c->e.x.rows, count = c->rows * c->cols;
    double *w = operand(c->e.w, NULL, rounds);
    double *x = operand(c->e.x, c->op == 'd' ? c->e.shift : NULL, rounds && !sparse);
    double *want = kern_temp((size_t)count * sizeof *want);
    double *bound = kern_temp((size_t)count * sizeof *bound);
    wide_code z = {c->z.B, c->z.n, c->z.nnz, c->z.cap, 0, 0, c->z.rowptr, c->z.idx, NULL};
    z.val = sparse ? kern_widen(c->z.val, 1, z.nnz, z.nnz) : NULL;
    for (int pass = 0; pass < 2; pass++) { /* the values, and those of magnitudes */
        double *to = pass ? bound : want;
        if (c->op == 's')
            wide_decode(&z, w, NULL, to, d);
        else if (c->op == 'v')
            wide_grad(&z, x, w, to, d);
        else
            wide_gemm(0, 1, 1, x, w, 0, to, B, n, d);
        w = kern_abs(w, n * d);
        x = kern_abs(x, B * d);
        z.val = sparse ? kern_abs(z.val, z.nnz) : NULL;
    }
    for (int64_t i = 0; i < count; i++)
        bound[i] = kern_t1(NORMAL, (double)(d > n ? d : n), 0, bound[i]);
    kern_close("out", c->out, c->rows, c->cols, c->cols, want, bound);
}

static float *normal(int64_t rows, int64_t cols)
{
    float *p = kern_in((size_t)(rows * cols) * sizeof *p);
    kern_fill(p, rows, cols, cols, NORMAL);
    return p;
}

static void frozen(char op, int64_t B, int64_t n, int64_t d, int part, int subset)
{
    if (!kern_case("frozen %c %lldx%lldx%lld part %d subset %d", op, (long long)B, (long long)n,
                   (long long)d, part, subset))
        return;
    frozen_case c = {.op = op, .rows = B, .cols = n};
    int64_t before = part ? 3 : 0;
    c.whole = (sae_cmat){normal(n + 2 * before, d), n + 2 * before, d, d};
    c.e.x = (sae_cmat){normal(B, d), B, d, d};
    c.e.w = (sae_cmat){c.whole.p + before * d, n, d, d};
    c.e.shift = op == 'd' ? normal(1, d) : NULL;
    c.work = kern_temp((size_t)(c.whole.rows * d) * sizeof *c.work);
    if (subset) { /* all of them, gathered */
        int32_t *all = kern_in((size_t)n * sizeof *all);
        for (int32_t j = 0; j < n; j++)
            all[j] = j;
        c.e.subset = all;
        c.e.m = n;
    }
    if (op == 's' || op == 'v')
        c.z = kern_random_code(B, n, 5, NORMAL);
    if (op == 's')
        c.cols = d;
    if (op == 'v') {
        c.rows = 1;
        c.cols = c.z.nnz;
    }
    c.out = kern_out((size_t)(c.rows * c.cols) * sizeof *c.out);
    kcase k = {run_frozen, check_frozen, &c, 2.0 * (double)(B * n * d), 0, SAE_OK};
    kern_run(&k);
}

void test_frozen(void)
{
    static const char ops[] = "dgsvw";
    for (int o = 0; o < 5; o++) {
        frozen(ops[o], 5, 7, 3, 0, 0);
        frozen(ops[o], 33, 130, 70, 0, 0);
        frozen(ops[o], 20, 60, 33, 1, 0);
    }
    frozen('d', 20, 130, 33, 0, 1);
    frozen('d', 20, 60, 33, 1, 1);
}
