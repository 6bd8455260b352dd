/* tests/kern/select.c - selections over dense scores: exact, ties and NaN included. */
#include "kern/kern.h"
#include "kern/wide.h"

#include <math.h>
#include <string.h>

typedef struct select_case {
    char rule;
    sae_scores s;
    int64_t k;
    int64_t *quota;
    double theta, *per_feature;
    sae_code z;
    wide_code want;
} select_case;

static int run_select(const impl *im, void *ctx)
{
    select_case *c = ctx;
    const sae_kernels *k = &im->k;
    if (c->rule == 'r')
        return k->row_topk(im->dev, &c->s, c->k, &c->z);
    if (c->rule == 'f')
        return k->flat_topk(im->dev, &c->s, c->k, &c->z);
    if (c->rule == 'c')
        return k->col_topk(im->dev, &c->s, c->quota, &c->z);
    return k->threshold(im->dev, &c->s, c->theta, c->per_feature, &c->z);
}

static void check_code(const sae_code *z, const wide_code *w)
{
    if (z->nnz != w->nnz || z->nan != w->nan) {
        kern_fail("nnz %lld, nan %lld; expected %lld, %lld", (long long)z->nnz, (long long)z->nan,
                  (long long)w->nnz, (long long)w->nan);
        return;
    }
    kern_same("rowptr", z->rowptr, w->rowptr, (size_t)(z->B + 1) * sizeof *z->rowptr);
    kern_same("idx", z->idx, w->idx, (size_t)z->nnz * sizeof *z->idx);
    for (int64_t i = 0; i < z->nnz; i++) {
        double v = (double)z->val[i];
        if (v != w->val[i] && !(isnan(v) && isnan(w->val[i]))) {
            kern_fail("val[%lld] %g, expected %g", (long long)i, v, w->val[i]);
            return;
        }
    }
}

static void check_select(const impl *im, void *ctx)
{
    const select_case *c = ctx;
    (void)im;
    check_code(&c->z, &c->want);
}

/* Row r is raised by r % 128 * rise. */
static sae_cmat scores(int64_t rows, int64_t cols, enum data kind, float rise)
{
    sae_cmat m = {NULL, rows, cols, cols + kern_random(3)};
    float *p = kern_in((size_t)(rows * m.ld) * sizeof *p);
    kern_fill(p, rows, cols, m.ld, kind);
    for (int64_t i = 0; i < rows * cols && rise != 0; i++)
        p[i / cols * m.ld + i % cols] += rise * (float)(i / cols % 128);
    m.p = p;
    return m;
}

static void bounds(select_case *c, int64_t n)
{
    static const double theta[] = {0, 1, -1, 0.3, -INFINITY, INFINITY, NAN, 1e300, -1e300, 1e-46};
    int64_t *quota = kern_in((size_t)n * sizeof *quota);
    double *per_feature = kern_in((size_t)n * sizeof *per_feature);
    for (int64_t j = 0; j < n; j++) {
        quota[j] = kern_random(4) ? kern_random((uint32_t)c->k + 2) : 1000;
        per_feature[j] = theta[kern_random(10)];
    }
    c->quota = quota;
    c->theta = theta[kern_random(10)];
    c->per_feature = kern_random(2) ? per_feature : NULL;
}

/* options: 1 separate scores, 2 rising rows */
static void one_select(char rule, int64_t rows, int64_t cols, int64_t k, enum sae_key key,
                       enum data kind, int options)
{
    int separate = options & 1;
    if (!kern_case("select %c %lldx%lld k %lld key %d data %d options %d", rule, (long long)rows,
                   (long long)cols, (long long)k, (int)key, (int)kind, options))
        return;
    select_case c = {.rule = rule, .k = k};
    int64_t all = rows * cols;
    c.s.value = scores(rows, cols, kind, options & 2 ? 10 : 0);
    c.s.key = key;
    if (separate)
        c.s.score = scores(rows, cols, kind, 0);
    bounds(&c, cols);
    wide_code w = {.B = rows, .n = cols, .cap = all};
    w.rowptr = kern_temp((size_t)(rows + 1) * sizeof *w.rowptr);
    w.idx = kern_temp((size_t)all * sizeof *w.idx);
    w.val = kern_temp((size_t)all * sizeof *w.val);
    int rc = wide_select(rule, kern_widen(c.s.value.p, rows, cols, c.s.value.ld),
                         separate ? kern_widen(c.s.score.p, rows, cols, c.s.score.ld) : NULL, rows,
                         cols, key, k, c.quota, c.theta, c.per_feature, &w);
    if (rc)
        kern_fail("the reference returned %d", rc);
    c.want = w;
    c.z = kern_code(rows, cols, w.nnz); /* no spare room */
    kcase k1 = {run_select, check_select, &c, 0, 4.0 * (double)all, SAE_OK};
    kern_run(&k1);
}

static int run_small(const impl *im, void *ctx)
{
    select_case *c = ctx;
    int rc = run_select(im, ctx);
    if (c->z.nnz != c->want.nnz)
        kern_fail("needs %lld, said %lld", (long long)c->want.nnz, (long long)c->z.nnz);
    return rc;
}

static void too_small(char rule)
{
    if (!kern_case("select %c without room", rule))
        return;
    select_case c = {.rule = rule, .k = rule == 'f' ? 60 : 4, .theta = -10};
    c.s.value = scores(20, 30, INTEGERS, 0);
    int64_t *quota = kern_in(30 * sizeof *quota);
    for (int j = 0; j < 30; j++)
        quota[j] = 2;
    c.quota = quota;
    c.want.nnz = rule == 'r' ? 80 : rule == 't' ? 600 : 60;
    c.z = kern_code(20, 30, 59);
    kcase k = {run_small, NULL, &c, 0, 0, SAE_ECAPACITY};
    kern_run(&k);
}

/* ---- row_prefix: every prefix is tried ---- */

typedef struct prefix_case {
    sae_scores s;
    double *target;
    int squared;
    sae_code z;
    int64_t nan, nnz;
    char *chosen; /* [B x n] */
} prefix_case;

static int run_prefix(const impl *im, void *ctx)
{
    prefix_case *c = ctx;
    int rc = im->k.row_prefix(im->dev, &c->s, c->target, c->squared, &c->z);
    if (c->z.nnz != c->nnz)
        kern_fail("%lld entries, expected %lld", (long long)c->z.nnz, (long long)c->nnz);
    return rc;
}

static void check_prefix(const impl *im, void *ctx)
{
    const prefix_case *c = ctx;
    int64_t n = c->s.value.cols, at = 0;
    (void)im;
    if (c->z.nan != c->nan)
        kern_fail("nan %lld, expected %lld", (long long)c->z.nan, (long long)c->nan);
    for (int64_t r = 0; r < c->s.value.rows; r++) {
        for (int64_t j = 0; j < n; j++) {
            float v = c->s.value.p[r * c->s.value.ld + j];
            if (!c->chosen[r * n + j])
                continue;
            if (at >= c->z.nnz || c->z.idx[at] != j || memcmp(&c->z.val[at], &v, sizeof v)) {
                kern_fail("row %lld: entry %lld is not feature %lld", (long long)r, (long long)at,
                          (long long)j);
                return;
            }
            at++;
        }
        if (c->z.rowptr[r + 1] != at)
            kern_fail("rowptr[%lld]", (long long)r + 1);
    }
}

/* The eligible features of a row, best first: repeatedly the best of those left. */
static int64_t ranking(const prefix_case *c, const float *score, int64_t *order, double *ranked)
{
    int64_t n = c->s.value.cols, count = 0;
    char *used = kern_temp((size_t)n);
    for (;; count++) {
        int64_t best = -1;
        double top = 0;
        for (int64_t j = 0; j < n; j++) {
            double v = c->s.key == SAE_KEY_ABS ? fabs((double)score[j]) : (double)score[j];
            int ok = c->s.key == SAE_KEY_VALUE ? v == v : v > 0;
            if (!used[j] && ok && (best < 0 || v > top)) {
                best = j;
                top = v;
            }
        }
        if (best < 0)
            return count;
        used[best] = 1;
        order[count] = best;
        ranked[count] = top;
    }
}

static void expect_prefix(prefix_case *c)
{
    int64_t n = c->s.value.cols, *order = kern_temp((size_t)n * sizeof *order);
    double *ranked = kern_temp((size_t)n * sizeof *ranked);
    sae_cmat s = c->s.score.p ? c->s.score : c->s.value;
    c->chosen = kern_temp((size_t)(s.rows * n));
    for (int64_t r = 0; r < s.rows; r++) {
        int64_t count = ranking(c, s.p + r * s.ld, order, ranked), length = 0;
        double sum = 0, best = 0, t = c->target[r];
        for (int64_t i = 0; i < count; i++) {
            sum += ranked[i] * ranked[i];
            double off = fabs(c->squared ? sum - t * t : sqrt(sum) - t);
            if (i == 0 || off < best) {
                best = off;
                length = i + 1;
            }
        }
        for (int64_t i = 0; i < length; i++)
            c->chosen[r * n + order[i]] = 1;
        c->nnz += length;
        for (int64_t j = 0; j < n; j++)
            c->nan += isnan(s.p[r * s.ld + j]);
    }
}

static void prefix(int64_t rows, int64_t cols, enum sae_key key, enum data kind, int separate,
                   int squared, int short_of)
{
    if (!kern_case("row_prefix %lldx%lld key %d data %d%s%s", (long long)rows, (long long)cols,
                   (int)key, (int)kind, separate ? " separate" : "", squared ? " squared" : ""))
        return;
    static const double odd[] = {0, -1, 1e300, INFINITY, NAN, 3, 5, 1e-40};
    prefix_case c = {.squared = squared};
    c.s.value = scores(rows, cols, kind, 0);
    c.s.key = key;
    if (separate)
        c.s.score = scores(rows, cols, kind, 0);
    c.target = kern_in((size_t)rows * sizeof *c.target);
    for (int64_t r = 0; r < rows; r++) /* integers meet prefixes of integers: ties */
        c.target[r] = kern_random(3) ? kern_random(1 + (uint32_t)cols) : odd[kern_random(8)];
    expect_prefix(&c);
    c.z = kern_code(rows, cols, c.nnz - short_of);
    kcase k = {run_prefix, check_prefix, &c, 0, 4.0 * (double)(rows * cols),
               short_of ? SAE_ECAPACITY : SAE_OK};
    kern_run(&k);
}

static void prefixes(void)
{
    for (int i = 0; i < 28; i++) {
        int64_t rows = kern_sizes[kern_pick(14)], cols = kern_sizes[i % 14];
        enum data kind = i % 4 == 0 ? SPECIAL : i % 4 == 1 ? NORMAL : i % 4 == 2 ? INTEGERS : ZEROS;
        prefix(rows, cols, (enum sae_key)(i % 3), kind, i % 5 == 0, i % 2, 0);
    }
    prefix(0, 5, SAE_KEY_RELU, NORMAL, 0, 0, 0);
    prefix(5, 0, SAE_KEY_RELU, NORMAL, 0, 0, 0);
    prefix(9, 20, SAE_KEY_ABS, NORMAL, 0, 0, 1);
    if (kern_benching())
        prefix(64, 4096, SAE_KEY_RELU, NORMAL, 0, 0, 0);
}

void test_select(void)
{
    static const char rules[] = "rfct";
    for (int i = 0; i < 14; i++)
        for (int r = 0; r < 4; r++) {
            int64_t rows = kern_sizes[kern_pick(14)], cols = kern_sizes[i];
            int64_t k = kern_sizes[kern_pick(14)];
            if (rules[r] == 'f')
                k = k * rows / 2;
            enum data kind = r == 3 || i % 2 ? SPECIAL : INTEGERS;
            one_select(rules[r], rows, cols, k, (enum sae_key)kern_pick(3), kind, i % 3 == 0);
        }
    for (int r = 0; r < 4; r++) {
        for (int key = 0; key < 3; key++) {
            one_select(rules[r], 60, 900, 7, (enum sae_key)key, NORMAL, 0); /* lists overflow */
            one_select(rules[r], 200, 300, 9, (enum sae_key)key, INTEGERS, 0);
        }
        one_select(rules[r], 30, 200, 5, SAE_KEY_VALUE, ZEROS, 0); /* one rank */
        one_select(rules[r], 9, 40, 0, SAE_KEY_VALUE, SPECIAL, 0);
        one_select(rules[r], 0, 40, 3, SAE_KEY_VALUE, NORMAL, 0);
        one_select(rules[r], 9, 0, 3, SAE_KEY_VALUE, NORMAL, 0);
        too_small(rules[r]);
        if (kern_benching())
            one_select(rules[r], 64, 16384, rules[r] == 'f' ? 2048 : 32, SAE_KEY_RELU, NORMAL, 0);
    }
    one_select('f', 150, 40, 10, SAE_KEY_VALUE, NORMAL, 2); /* everything passes for long */
    prefixes();
}
