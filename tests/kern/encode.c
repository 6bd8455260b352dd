/* tests/kern/encode.c - fused encoders.
 *
 * The dense encoder is held to the error bound of a dot product; every selecting encoder must then
 * give exactly what the reference selects from that implementation's own dense output. On integers
 * all products are exact, so the whole chain must agree with the reference bit for bit.
 */
#include "kern/kern.h"
#include "kern/wide.h"

#include <math.h>
#include <string.h>

typedef struct encode_case {
    enum data kind;
    sae_encoder e;
    enum sae_key key;
    char rule;
    int64_t k;
    double theta, *per_feature;
    sae_code z;
    sae_mat pre;
    double *want, *bound;
} encode_case;

static int64_t cols_of(const sae_encoder *e)
{
    return e->subset ? e->m : e->w.rows;
}

static float *filled(int64_t rows, int64_t cols, int64_t ld, enum data kind)
{
    float *p = kern_in((size_t)(rows * ld) * sizeof *p);
    kern_fill(p, rows, cols, ld, kind);
    return p;
}

/* options: 1 shift, 2 bias, 4 subset */
static sae_encoder encoder(int64_t B, int64_t n, int64_t d, enum data kind, unsigned options)
{
    sae_encoder e = {.x = {NULL, B, d, d + kern_random(4)}, .w = {NULL, n, d, d + kern_random(4)}};
    e.x.p = filled(B, d, e.x.ld, kind);
    e.w.p = filled(n, d, e.w.ld, kind);
    if (options & 1)
        e.shift = filled(1, d, d, kind);
    if (options & 2)
        e.bias = filled(1, n, n, kind);
    if (options & 4) {
        int32_t *subset = kern_in((size_t)n * sizeof *subset);
        for (int32_t j = 0; j < n; j++)
            if (kern_random(3))
                subset[e.m++] = j;
        e.subset = subset;
    }
    return e;
}

static void expect_dense(encode_case *c)
{
    const sae_encoder *e = &c->e;
    int64_t B = e->x.rows, d = e->x.cols, m = cols_of(e);
    double *x = kern_temp((size_t)(B * d) * sizeof *x), *w = kern_temp((size_t)(m * d) * sizeof *w);
    for (int64_t i = 0; i < B * d; i++) {
        float v = e->x.p[i / d * e->x.ld + i % d];
        x[i] = (double)(e->shift ? v - e->shift[i % d] : v);
    }
    c->want = kern_temp((size_t)(B * m) * sizeof *c->want);
    c->bound = kern_temp((size_t)(B * m) * sizeof *c->bound);
    for (int64_t j = 0; j < m; j++) {
        int64_t f = e->subset ? e->subset[j] : j;
        for (int64_t i = 0; i < d; i++)
            w[j * d + i] = (double)e->w.p[f * e->w.ld + i];
        for (int64_t r = 0; r < B; r++) {
            c->want[r * m + j] = e->bias ? (double)e->bias[f] : 0;
            c->bound[r * m + j] = fabs(c->want[r * m + j]);
        }
    }
    wide_gemm(0, 1, 1, x, w, 1, c->want, B, m, d);
    wide_gemm(0, 1, 1, kern_abs(x, B * d), kern_abs(w, m * d), 1, c->bound, B, m, d);
    for (int64_t i = 0; i < B * m; i++)
        c->bound[i] = kern_t1(c->kind, (double)d + 1, (double)d + 1, c->bound[i]);
}

static int run_dense(const impl *im, void *ctx)
{
    const encode_case *c = ctx;
    return im->k.encode_dense(im->dev, &c->e, c->pre);
}

/* The bound, and rows that come out alike in a batch of one. */
static void check_dense(const impl *im, void *ctx)
{
    const encode_case *c = ctx;
    int64_t m = cols_of(&c->e);
    kern_close("pre", c->pre.p, c->pre.rows, m, c->pre.ld, c->want, c->bound);
    float *row = kern_temp((size_t)m * sizeof *row);
    for (int64_t r = 0; r < c->pre.rows; r += 1 + kern_random(40)) {
        sae_encoder e = c->e;
        e.x.p += r * e.x.ld;
        e.x.rows = 1;
        sae_mat out = {row, 1, m, m};
        if (im->k.encode_dense(im->dev, &e, out) || im->be->sync(im->dev))
            kern_fail("row alone failed");
        kern_same("row alone", row, c->pre.p + r * c->pre.ld, (size_t)m * sizeof *row);
    }
}

static void dense(int64_t B, int64_t n, int64_t d, enum data kind, unsigned options)
{
    if (!kern_case("encode_dense %lldx%lldx%lld data %d options %u", (long long)B, (long long)n,
                   (long long)d, (int)kind, options))
        return;
    encode_case c = {.kind = kind, .e = encoder(B, n, d, kind, options)};
    int64_t m = cols_of(&c.e);
    sae_mat pre = {kern_out((size_t)(B * (m + 1)) * sizeof(float)), B, m, m + 1};
    c.pre = pre;
    expect_dense(&c);
    kcase k = {run_dense, check_dense, &c, 2.0 * (double)(B * m * d),
               4.0 * (double)(B * d + m * d + B * m), SAE_OK};
    kern_run(&k);
}

static int encode(const impl *im, const encode_case *c, sae_code *z)
{
    if (c->rule == 'r')
        return im->k.encode_topk(im->dev, &c->e, c->key, c->k, z);
    if (c->rule == 'f')
        return im->k.encode_flat_topk(im->dev, &c->e, c->key, c->k, z);
    return im->k.encode_threshold(im->dev, &c->e, c->key, c->theta, c->per_feature, z);
}

static int run_encode(const impl *im, void *ctx)
{
    encode_case *c = ctx;
    return encode(im, c, &c->z);
}

/* What the reference selects from `pre`; subsets are mapped back to features. */
static int expected(const encode_case *c, sae_mat pre, sae_code *z)
{
    const impl *ref = kern_ref();
    sae_scores s = {{pre.p, pre.rows, pre.cols, pre.ld}, {NULL, 0, 0, 0}, c->key};
    double *theta = NULL;
    if (c->per_feature && c->e.subset) {
        theta = kern_temp((size_t)c->e.m * sizeof *theta);
        for (int64_t j = 0; j < c->e.m; j++)
            theta[j] = c->per_feature[c->e.subset[j]];
    }
    int rc;
    if (c->rule == 'r')
        rc = ref->k.row_topk(ref->dev, &s, c->k, z);
    else if (c->rule == 'f')
        rc = ref->k.flat_topk(ref->dev, &s, c->k, z);
    else
        rc = ref->k.threshold(ref->dev, &s, c->theta, theta ? theta : c->per_feature, z);
    for (int64_t i = 0; i < z->nnz && c->e.subset && !rc; i++)
        z->idx[i] = c->e.subset[z->idx[i]];
    return rc;
}

static void check_encode(const impl *im, void *ctx)
{
    const encode_case *c = ctx;
    int64_t B = c->e.x.rows, m = cols_of(&c->e);
    size_t room = (size_t)(B * m);
    sae_mat pre = {kern_temp(room * sizeof(float)), B, m, m};
    sae_code w = {.cap = B * m};
    w.rowptr = kern_temp((size_t)(B + 1) * sizeof *w.rowptr);
    w.idx = kern_temp(room * sizeof *w.idx);
    w.val = kern_temp(room * sizeof *w.val);
    /* Integers: every dense output is exact, so take the reference's. */
    const impl *source = c->kind == INTEGERS ? kern_ref() : im;
    if (source->k.encode_dense(source->dev, &c->e, pre) || source->be->sync(source->dev) ||
        expected(c, pre, &w)) {
        kern_fail("no expectation");
        return;
    }
    const sae_code *z = &c->z;
    if (z->nnz != w.nnz || z->nan != w.nan || z->B != B || z->n != c->e.w.rows) {
        kern_fail("nnz %lld nan %lld, expected %lld %lld", (long long)z->nnz, (long long)z->nan,
                  (long long)w.nnz, (long long)w.nan);
        return;
    }
    kern_same("rowptr", z->rowptr, w.rowptr, (size_t)(B + 1) * sizeof *z->rowptr);
    kern_same("idx", z->idx, w.idx, (size_t)z->nnz * sizeof *z->idx);
    for (int64_t i = 0; i < z->nnz; i++)
        if (z->val[i] != w.val[i]) {
            kern_fail("val[%lld] %g, expected %g", (long long)i, (double)z->val[i],
                      (double)w.val[i]);
            return;
        }
}

static void select_encoded(char rule, int64_t B, int64_t n, int64_t d, int64_t k, enum data kind,
                           unsigned options)
{
    enum sae_key key = (enum sae_key)kern_pick(3);
    if (!kern_case("encode %c %lldx%lldx%lld k %lld key %d data %d options %u", rule, (long long)B,
                   (long long)n, (long long)d, (long long)k, (int)key, (int)kind, options))
        return;
    static const double theta[] = {0, 1, -2, 0.3, -INFINITY, INFINITY};
    encode_case c = {.kind = kind, .key = key, .rule = rule, .k = k};
    c.e = encoder(B, n, d, kind, options);
    c.theta = theta[kern_random(6)];
    if (kern_random(2)) {
        c.per_feature = kern_in((size_t)n * sizeof(double));
        for (int64_t j = 0; j < n; j++)
            c.per_feature[j] = theta[kern_random(6)];
    }
    c.z = kern_code(B, n, B * n);
    kcase kc = {run_encode, check_encode, &c, 2.0 * (double)(B * cols_of(&c.e) * d),
                4.0 * (double)(B * d + cols_of(&c.e) * d), SAE_OK};
    kern_run(&kc);
}

/* Room for one entry less than needed. */
static int run_small(const impl *im, void *ctx)
{
    encode_case *c = ctx;
    int64_t need = c->z.cap + 1;
    int rc = encode(im, c, &c->z);
    if (c->z.nnz != need)
        kern_fail("needs %lld, said %lld", (long long)need, (long long)c->z.nnz);
    return rc;
}

static void too_small(char rule)
{
    if (!kern_case("encode %c without room", rule))
        return;
    encode_case c = {.rule = rule, .k = rule == 'f' ? 100 : 5, .theta = -INFINITY};
    c.e = encoder(40, 50, 8, NORMAL, 0);
    c.z = kern_code(40, 50, (rule == 'r' ? 200 : rule == 'f' ? 100 : 2000) - 1);
    kcase k = {run_small, NULL, &c, 0, 0, SAE_ECAPACITY};
    kern_run(&k);
}

void test_encode(void)
{
    static const char rules[] = "rft";
    for (int i = 0; i < 14; i++) {
        int64_t n = kern_sizes[i], B = kern_sizes[kern_pick(14)], d = kern_sizes[kern_pick(14)];
        dense(B, n, d, (enum data)kern_pick(3), kern_pick(8));
        dense(n, B, d, NORMAL, kern_pick(8));
        for (int r = 0; r < 3; r++) {
            int64_t k = kern_sizes[kern_pick(14)];
            if (rules[r] == 'f')
                k = k * B / 2;
            select_encoded(rules[r], B, n, d, k, (enum data)(i % 4), kern_pick(8));
        }
    }
    for (int r = 0; r < 3; r++) {
        for (unsigned options = 0; options < 8; options++)
            select_encoded(rules[r], 70, 600, 24, rules[r] == 'f' ? 700 : 9,
                           options % 2 ? NORMAL : INTEGERS, options);
        select_encoded(rules[r], 150, 70, 3000, 20, NORMAL, 3); /* several panels */
        select_encoded(rules[r], 0, 9, 4, 2, NORMAL, 0);
        select_encoded(rules[r], 9, 0, 4, 2, NORMAL, 0);
        select_encoded(rules[r], 9, 5, 0, 2, NORMAL, 2); /* d = 0: the bias decides */
        select_encoded(rules[r], 9, 5, 4, 0, SPECIAL, 2);
        too_small(rules[r]);
        if (kern_benching())
            select_encoded(rules[r], 512, 2048, 768, rules[r] == 'f' ? 16384 : 32, NORMAL, 3);
    }
}
