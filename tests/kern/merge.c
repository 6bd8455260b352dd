/* tests/kern/merge.c - codes cut into parts and merged: exact, against the whole selection's result
 * and by definition.
 */
#include "kern/kern.h"

#include <string.h>

typedef struct merge_case {
    sae_code_part *part;
    int count;
    enum sae_merge how;
    enum sae_key key;
    int64_t k;
    sae_code z, want; /* want.B and want.n: what the caller sets */
} merge_case;

/* Where parts lie: rows [row[q], row[q + 1]) by features [col[p], col[p + 1]). */
typedef struct grid {
    int64_t *row, *col;
    int rows, cols;
} grid;

static int run_merge(const impl *im, void *ctx)
{
    merge_case *c = ctx;
    c->z.B = c->want.B;
    c->z.n = c->want.n;
    c->z.nnz = c->z.nan = -1;
    return im->k.code_merge(im->dev, c->part, c->count, c->how, c->key, c->k, &c->z);
}

static void check_merge(const impl *im, void *ctx)
{
    const merge_case *c = ctx;
    const sae_code *z = &c->z, *w = &c->want;
    (void)im;
    if (z->B != w->B || z->n != w->n || z->dense || z->nnz != w->nnz || z->nan != w->nan) {
        kern_fail("%lld x %lld, nnz %lld, nan %lld; expected %lld, %lld", (long long)z->B,
                  (long long)z->n, (long long)z->nnz, (long long)z->nan, (long long)w->nnz,
                  (long long)w->nan);
        return;
    }
    kern_same("rowptr", z->rowptr, w->rowptr, (size_t)(w->B + 1) * sizeof *w->rowptr);
    kern_same("idx", z->idx, w->idx, (size_t)w->nnz * sizeof *w->idx);
    kern_same("val", z->val, w->val, (size_t)w->nnz * sizeof *w->val);
}

static sae_code code_in(int64_t B, int64_t n, int64_t cap, void *(*get)(size_t))
{
    sae_code z = {.B = B, .n = n, .cap = cap};
    z.rowptr = get((size_t)(B + 1) * sizeof *z.rowptr);
    z.idx = get((size_t)cap * sizeof *z.idx);
    z.val = get((size_t)cap * sizeof *z.val);
    return z;
}

/* ---- cuts ---- */

/* 0 <= ... <= total; some parts are empty. */
static int64_t *cuts(int64_t total, int count)
{
    int64_t *at = kern_temp((size_t)(count + 1) * sizeof *at);
    for (int i = 1; i < count; i++) {
        int64_t v = kern_random((uint32_t)total + 1);
        int j = i;
        for (; at[j - 1] > v; j--)
            at[j] = at[j - 1];
        at[j] = v;
    }
    at[count] = total;
    return at;
}

static grid grid_of(int64_t B, int64_t n, int rows, int cols)
{
    grid g = {cuts(B, rows), cuts(n, cols), rows, cols};
    return g;
}

/* The parts of a grid one behind the other, last rows first: only inside a row does order matter.
 * make(part, ctx) fills one, whose place is set. */
static void cut(merge_case *c, const grid *g, void (*make)(sae_code_part *, const void *),
                const void *ctx)
{
    int64_t B = c->want.B, n = c->want.n, rows = 0, area = 0;
    int64_t *rowptr = kern_in((size_t)(g->cols * (B + g->rows)) * sizeof *rowptr);
    int32_t *idx = kern_in((size_t)(B * n) * sizeof *idx);
    float *val = kern_in((size_t)(B * n) * sizeof *val);
    c->count = g->rows * g->cols;
    c->part = kern_temp((size_t)c->count * sizeof *c->part);
    for (int i = 0; i < c->count; i++) {
        int q = g->rows - 1 - i / g->cols, p = i % g->cols;
        sae_code_part *to = &c->part[i];
        to->row0 = g->row[q];
        to->j0 = g->col[p];
        to->z.B = g->row[q + 1] - to->row0;
        to->z.n = g->col[p + 1] - to->j0;
        to->z.rowptr = rowptr + rows;
        to->z.idx = idx + area;
        to->z.val = val + area;
        to->z.cap = to->z.B * to->z.n;
        make(to, ctx);
        rows += to->z.B + 1;
        area += to->z.nnz;
    }
}

/* ---- the whole selection's result ---- */

typedef struct chosen {
    const merge_case *c;
    sae_cmat value;
    double theta;
} chosen;

/* By the reference: rows [row0, row0 + z->B), features [j0, j0 + z->n). */
static int choose(const chosen *s, int64_t row0, int64_t j0, sae_code *z)
{
    const impl *ref = kern_ref();
    sae_scores from = {{s->value.p + row0 * s->value.ld + j0, z->B, z->n, s->value.ld},
                       {NULL, 0, 0, 0},
                       s->c->key};
    if (s->c->how == SAE_MERGE_ROWS)
        return ref->k.row_topk(ref->dev, &from, s->c->k, z);
    if (s->c->how == SAE_MERGE_FLAT)
        return ref->k.flat_topk(ref->dev, &from, s->c->k, z);
    return ref->k.threshold(ref->dev, &from, s->theta, NULL, z);
}

static void choose_part(sae_code_part *part, const void *ctx)
{
    if (choose(ctx, part->row0, part->j0, &part->z))
        kern_fail("the reference failed");
}

/* The best of every part, merged, are the best of the whole. */
static void selected(enum sae_merge how, int64_t B, int64_t n, int64_t k, enum sae_key key,
                     enum data kind, int rows, int cols)
{
    if (!kern_case("code_merge %d selected %lldx%lld k %lld key %d data %d in %dx%d", (int)how,
                   (long long)B, (long long)n, (long long)k, (int)key, (int)kind, rows, cols))
        return;
    merge_case c = {.how = how, .key = key, .k = k};
    chosen s = {&c, kern_matrix(B, n, kind), kern_random(3) - 1.0};
    grid g = grid_of(B, n, rows, cols);
    c.want = code_in(B, n, B * n, kern_temp);
    if (choose(&s, 0, 0, &c.want))
        kern_fail("the reference failed");
    cut(&c, &g, choose_part, &s);
    c.z = kern_code(B, n, c.want.nnz); /* no spare room */
    kcase q = {run_merge, check_merge, &c, 0, 8.0 * (double)c.want.nnz, SAE_OK};
    kern_run(&q);
}

/* ---- by definition ---- */

/* What a part of the whole lists. */
static void copy_part(sae_code_part *part, const void *ctx)
{
    const sae_code *whole = ctx;
    sae_code *z = &part->z;
    z->rowptr[0] = z->nnz = 0;
    z->nan = 3;
    for (int64_t r = 0; r < z->B; r++) {
        for (int64_t i = whole->rowptr[part->row0 + r]; i < whole->rowptr[part->row0 + r + 1];
             i++) {
            int64_t j = whole->idx[i] - part->j0;
            if (j < 0 || j >= z->n)
                continue;
            z->idx[z->nnz] = (int32_t)j;
            z->val[z->nnz++] = whole->val[i];
        }
        z->rowptr[r + 1] = z->nnz;
    }
}

static int eligible(enum sae_key key, float v)
{
    return v == v && (key == SAE_KEY_VALUE || (key == SAE_KEY_RELU ? v > 0 : v != 0));
}

static float score_of(enum sae_key key, float v)
{
    return key == SAE_KEY_ABS && v < 0 ? -v : v;
}

/* Entry i of `whole` stays: fewer than k of [first, end) come before it. */
static int stays(const merge_case *c, const sae_code *whole, int64_t i, int64_t first, int64_t end)
{
    int64_t before = 0;
    float mine = score_of(c->key, whole->val[i]);
    if (c->how == SAE_MERGE_ALL)
        return 1;
    if (!eligible(c->key, whole->val[i]))
        return 0;
    for (int64_t o = first; o < end; o++) {
        float other = score_of(c->key, whole->val[o]);
        before += eligible(c->key, whole->val[o]) && (other > mine || (other == mine && o < i));
    }
    return before < c->k;
}

static void expect(merge_case *c, const sae_code *whole)
{
    sae_code *w = &c->want;
    int64_t *row = whole->rowptr, all = row[whole->B];
    *w = code_in(whole->B, whole->n, all - row[0], kern_temp);
    for (int64_t r = 0; r < w->B; r++) {
        for (int64_t i = row[r]; i < row[r + 1]; i++) {
            int flat = c->how == SAE_MERGE_FLAT;
            if (!stays(c, whole, i, flat ? row[0] : row[r], flat ? all : row[r + 1]))
                continue;
            w->idx[w->nnz] = whole->idx[i];
            w->val[w->nnz++] = whole->val[i];
        }
        w->rowptr[r + 1] = w->nnz;
    }
}

static int64_t nan_of(const merge_case *c)
{
    int64_t nan = 0;
    for (int i = 0; i < c->count; i++)
        nan += c->part[i].z.nan;
    return nan;
}

static void finish(merge_case *c)
{
    c->want.nan = nan_of(c);
    c->z = kern_code(c->want.B, c->want.n, c->want.nnz);
    kcase q = {run_merge, check_merge, c, 0, 8.0 * (double)c->want.nnz, SAE_OK};
    kern_run(&q);
}

/* A code of about `width` entries a row in copied parts. */
static void listed(enum sae_merge how, int64_t B, int64_t n, int64_t width, int64_t k,
                   enum sae_key key, enum data kind, int rows, int cols)
{
    if (!kern_case("code_merge %d listed %lldx%lld of %lld k %lld key %d data %d in %dx%d",
                   (int)how, (long long)B, (long long)n, (long long)width, (long long)k, (int)key,
                   (int)kind, rows, cols))
        return;
    merge_case c = {.how = how, .key = key, .k = k};
    sae_code whole = kern_random_code(B, n, width, kind);
    grid g = grid_of(B, n, rows, cols);
    expect(&c, &whole);
    cut(&c, &g, copy_part, &whole);
    finish(&c);
}

/* Parts that are ranges of rows of one code; one range is missing. */
static void ranges(enum sae_merge how, int64_t B, int64_t n, int64_t k, enum data kind, int count)
{
    if (!kern_case("code_merge %d ranges %lldx%lld k %lld data %d in %d", (int)how, (long long)B,
                   (long long)n, (long long)k, (int)kind, count))
        return;
    merge_case c = {.how = how, .key = SAE_KEY_ABS, .k = k, .count = count - 1};
    sae_code whole = kern_random_code(B, n, 8, kind), left = whole;
    int64_t *row = cuts(B, count), missing = kern_random((uint32_t)count), gone = 0;
    c.part = kern_temp((size_t)count * sizeof *c.part);
    for (int q = 0, p = 0; q < count; q++) {
        if (q == missing)
            continue;
        c.part[p] = (sae_code_part){whole, row[q], 0};
        c.part[p].z.B = row[q + 1] - row[q];
        c.part[p].z.nan = q;
        if (q % 2) /* nnz may be the whole's, or what is listed */
            c.part[p].z.nnz = whole.rowptr[row[q + 1]] - whole.rowptr[row[q]];
        c.part[p++].z.rowptr += row[q];
    }
    left.rowptr = kern_temp((size_t)(B + 1) * sizeof *left.rowptr);
    left.idx = kern_temp((size_t)whole.nnz * sizeof *left.idx);
    left.val = kern_temp((size_t)whole.nnz * sizeof *left.val);
    for (int64_t r = 0; r < B; r++) {
        int64_t from = whole.rowptr[r], entries = whole.rowptr[r + 1] - from;
        if (r >= row[missing] && r < row[missing + 1]) {
            gone += entries;
            entries = 0;
        }
        left.rowptr[r + 1] = left.rowptr[r] + entries;
        for (int64_t i = 0; i < entries; i++) {
            left.idx[left.rowptr[r] + i] = whole.idx[from + i];
            left.val[left.rowptr[r] + i] = whole.val[from + i];
        }
    }
    left.nnz = whole.nnz - gone;
    expect(&c, &left);
    finish(&c);
}

/* ---- what is refused ---- */

static int run_small(const impl *im, void *ctx)
{
    merge_case *c = ctx;
    int rc = run_merge(im, ctx);
    if (c->z.nnz != c->want.nnz)
        kern_fail("needs %lld, said %lld", (long long)c->want.nnz, (long long)c->z.nnz);
    return rc;
}

static void without_room(enum sae_merge how, int64_t short_of)
{
    if (!kern_case("code_merge %d short of %lld", (int)how, (long long)short_of))
        return;
    merge_case c = {.how = how, .key = SAE_KEY_VALUE, .k = how == SAE_MERGE_FLAT ? 70 : 5};
    sae_code whole = kern_random_code(20, 30, 9, INTEGERS);
    grid g = grid_of(20, 30, 2, 3);
    expect(&c, &whole);
    cut(&c, &g, copy_part, &whole);
    c.z = kern_code(20, 30, short_of < 0 ? 0 : c.want.nnz - short_of);
    kcase q = {run_small, NULL, &c, 0, 0, SAE_ECAPACITY};
    kern_run(&q);
}

/* Two parts beside each other, one thing wrong. */
static void refused(enum sae_merge how, const char *what)
{
    if (!kern_case("code_merge %d refuses %s", (int)how, what))
        return;
    merge_case c = {.how = how, .k = 3, .count = 2};
    sae_code_part *p = c.part = kern_temp(2 * sizeof *p), *last = &p[1];
    p[0].z = kern_random_code(6, 9, 3, NORMAL);
    p[1] = (sae_code_part){kern_random_code(5, 7, 2, NORMAL), 1, 9};
    c.want.B = 6;
    c.want.n = 16;
    c.z = kern_code(6, 16, 6 * 16);
    if (!strcmp(what, "a dense part"))
        last->z.dense = 1;
    else if (!strcmp(what, "rows before"))
        last->row0 = -1;
    else if (!strcmp(what, "rows behind"))
        last->row0 = 2;
    else if (!strcmp(what, "rows far behind"))
        last->row0 = INT64_MAX;
    else if (!strcmp(what, "features before"))
        last->j0 = -1;
    else if (!strcmp(what, "features behind"))
        last->j0 = 10;
    else if (!strcmp(what, "features far behind"))
        last->j0 = INT64_MAX;
    else if (!strcmp(what, "parts of negative number"))
        c.count = -1;
    else if (!strcmp(what, "negative rows"))
        last->z.B = -1;
    else if (!strcmp(what, "a dense code"))
        c.z.dense = 1;
    else
        c.k = -1;
    kcase q = {run_merge, NULL, &c, 0, 0, SAE_EINVAL};
    if (!strcmp(what, "nothing")) /* k is of no interest where every entry stays */
        q.expect = SAE_OK;
    kern_run(&q);
}

static void refusals(void)
{
    static const char *const what[] = {"a dense part", "rows before", "rows behind",
                                       "rows far behind", "features before", "features behind",
                                       "features far behind", "parts of negative number",
                                       "negative rows", "a dense code"};
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++)
        refused((enum sae_merge)(i % 3), what[i]);
    refused(SAE_MERGE_ROWS, "a negative k");
    refused(SAE_MERGE_FLAT, "a negative k");
    refused(SAE_MERGE_ALL, "nothing");
    for (int how = 0; how < 3; how++) {
        without_room((enum sae_merge)how, 1);
        without_room((enum sae_merge)how, 40);
        without_room((enum sae_merge)how, -1);
    }
}

static void no_parts(enum sae_merge how)
{
    if (!kern_case("code_merge %d of no parts", (int)how))
        return;
    merge_case c = {.how = how, .k = 3};
    c.want = code_in(9, 40, 0, kern_temp); /* zeroed */
    c.part = kern_temp(1);
    finish(&c);
}

static void edges(enum sae_merge how)
{
    static const enum data kinds[] = {ZEROS, SPECIAL, INTEGERS};
    int64_t wide = how == SAE_MERGE_FLAT ? 20 : 1;
    for (int key = 0; key < 3; key++) {
        listed(how, 20, 30, 9, 3 * wide, (enum sae_key)key, kinds[key], 3, 4);
        listed(how, 21, 30, 9, 4 * wide, (enum sae_key)key, SPECIAL, 1, 5);
        selected(how, 18, 50, 5 * wide, (enum sae_key)key, ZEROS, 2, 3);
        selected(how, 60, 300, 7 * wide, (enum sae_key)key, NORMAL, 3, 2);
    }
    listed(how, 3, 900, 700, 300, SAE_KEY_VALUE, INTEGERS, 1, 2); /* rows longer than a block */
    listed(how, 2, 1200, 2000, 257, SAE_KEY_RELU, NORMAL, 1, 5);
    listed(how, 9, 40, 6, 2 * wide, SAE_KEY_VALUE, NORMAL, 9, 6); /* more than a launch takes */
    listed(how, 9, 40, 6, 0, SAE_KEY_VALUE, SPECIAL, 2, 2);
    listed(how, 9, 40, 6, INT64_MAX, SAE_KEY_VALUE, SPECIAL, 2, 2);
    listed(how, 9, 40, 0, 3, SAE_KEY_VALUE, NORMAL, 2, 2); /* nothing is listed */
    listed(how, 0, 40, 3, 3, SAE_KEY_VALUE, NORMAL, 2, 2);
    listed(how, 9, 0, 0, 3, SAE_KEY_VALUE, NORMAL, 2, 2);
    no_parts(how);
    ranges(how, 40, 30, 3 * wide, SPECIAL, 4);
    ranges(how, 33, 17, 2 * wide, INTEGERS, 7);
}

void test_merge(void)
{
    for (int i = 0; i < 14; i++)
        for (int how = 0; how < 3; how++) {
            int64_t B = kern_sizes[kern_pick(14)], n = kern_sizes[i], k = 1 + kern_pick(20);
            enum sae_key key = (enum sae_key)kern_pick(3);
            if (how == SAE_MERGE_FLAT)
                k = k * B / 2;
            selected((enum sae_merge)how, B, n, k, key, i % 2 ? SPECIAL : INTEGERS,
                     1 + (int)kern_pick(4), 1 + (int)kern_pick(5));
        }
    for (int how = 0; how < 3; how++)
        edges((enum sae_merge)how);
    refusals();
    if (kern_benching())
        for (int how = 0; how < 3; how++)
            selected((enum sae_merge)how, 64, 16384, how == SAE_MERGE_FLAT ? 2048 : 32,
                     SAE_KEY_RELU, NORMAL, 1, 8);
}
