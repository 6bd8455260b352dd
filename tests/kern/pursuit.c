/* tests/kern/pursuit.c - sparse codes by greedy selection.
 *
 * One call codes the same row with 0, 1, 2, ... steps; each result must then follow from the one
 * before it by the rule of the solver, checked in double. Against the reference: the same atoms.
 */
#include "kern/kern.h"

#include <math.h>
#include <string.h>

typedef struct chase_case {
    sae_pursuit p;
    sae_cmat x, w;
    sae_code z, want;
    int64_t need; /* entries, where there is no room */
} chase_case;

static int run_chase(const impl *im, void *ctx)
{
    chase_case *c = ctx;
    int rc = im->k.pursuit(im->dev, &c->p, c->x, c->w, &c->z);
    if (rc == SAE_ECAPACITY && c->z.nnz != c->need)
        kern_fail("needs %lld, said %lld", (long long)c->need, (long long)c->z.nnz);
    return rc;
}

static const char *solver_name(enum sae_solver s)
{
    static const char *const name[] = {"mp", "omp", "gradient"};
    return name[s];
}

/* n unit rows; every ninth is zero, every seventh repeats the one before it. */
static sae_cmat atoms(int64_t n, int64_t d)
{
    sae_cmat m = kern_matrix(n, d, NORMAL);
    float *p = kern_in((size_t)(n * m.ld) * sizeof *p);
    for (int64_t j = 0; j < n; j++) {
        double ww = 0;
        for (int64_t i = 0; i < d; i++)
            ww += (double)m.p[j * m.ld + i] * (double)m.p[j * m.ld + i];
        for (int64_t i = 0; i < d; i++)
            p[j * m.ld + i] = j % 9 == 8 ? 0 : (float)((double)m.p[j * m.ld + i] / sqrt(ww));
        if (j % 7 == 6)
            memcpy(p + j * m.ld, p + (j - 1) * m.ld, (size_t)d * sizeof *p);
    }
    m.p = p;
    return m;
}

static sae_code temp_code(int64_t B, int64_t n, int64_t cap)
{
    sae_code z = {.B = B, .n = n, .cap = cap};
    z.rowptr = kern_temp((size_t)(B + 1) * sizeof *z.rowptr);
    z.idx = kern_temp((size_t)cap * sizeof *z.idx);
    z.val = kern_temp((size_t)cap * sizeof *z.val);
    return z;
}

/* The reference's code; the kernel's gets exactly as much room. */
static void expect(chase_case *c)
{
    int64_t cap = c->x.rows * (c->p.k < c->w.rows ? c->p.k : c->w.rows);
    const impl *ref = kern_ref();
    c->want = temp_code(c->x.rows, c->w.rows, cap);
    int rc = ref->k.pursuit(ref->dev, &c->p, c->x, c->w, &c->want);
    if (rc)
        kern_fail("the reference returned %d", rc);
    c->z = kern_code(c->x.rows, c->w.rows, c->want.nnz);
}

/* ---- the same as the reference's ---- */

/* The atoms are equal. Both compute in double: coefficients differ by the condition of the support
 * times 2^-53 relative to |x|, far below 1e-9 |x| here, and by one rounding to float each. */
static void check_same(const impl *im, void *ctx)
{
    const chase_case *c = ctx;
    const sae_code *z = &c->z, *w = &c->want;
    (void)im;
    if (z->nnz != w->nnz || z->nan != w->nan || z->B != w->B || z->n != w->n) {
        kern_fail("nnz %lld, nan %lld; expected %lld, %lld", (long long)z->nnz, (long long)z->nan,
                  (long long)w->nnz, (long long)w->nan);
        return;
    }
    kern_same("rowptr", z->rowptr, w->rowptr, (size_t)(w->B + 1) * sizeof *w->rowptr);
    kern_same("idx", z->idx, w->idx, (size_t)w->nnz * sizeof *w->idx);
    for (int64_t r = 0; r < w->B; r++) {
        double xx = 0;
        for (int64_t i = 0; i < c->x.cols; i++)
            xx += pow((double)c->x.p[r * c->x.ld + i], 2);
        for (int64_t i = w->rowptr[r]; i < w->rowptr[r + 1]; i++) {
            double a = (double)z->val[i], b = (double)w->val[i];
            if (!(fabs(a - b) <= 2 * U24 * fabs(b) + 1e-9 * sqrt(xx))) {
                kern_fail("row %lld, atom %d: %.9g, expected %.9g", (long long)r, (int)w->idx[i], a,
                          b);
                return;
            }
        }
    }
}

/* A row coded alone, by whatever way suits a single row, has the same bits. */
static void check_alone(const impl *im, void *ctx)
{
    const chase_case *c = ctx;
    check_same(im, ctx);
    sae_code z = temp_code(1, c->w.rows, c->w.rows);
    for (int64_t r = 0; r < c->x.rows; r += 1 + kern_random(20)) {
        int64_t first = c->z.rowptr[r], count = c->z.rowptr[r + 1] - first;
        sae_cmat x = {c->x.p + r * c->x.ld, 1, c->x.cols, c->x.ld};
        sae_pursuit p = c->p;
        p.k_row = p.k_row ? p.k_row + r : NULL;
        if (im->k.pursuit(im->dev, &p, x, c->w, &z) || z.nnz != count)
            kern_fail("row %lld alone: %lld entries, not %lld", (long long)r, (long long)z.nnz,
                      (long long)count);
        kern_same("idx alone", z.idx, c->z.idx + first, (size_t)count * sizeof *z.idx);
        kern_same("val alone", z.val, c->z.val + first, (size_t)count * sizeof *z.val);
    }
}

static void same(enum sae_solver solver, int64_t B, int64_t n, int64_t d, int64_t k, int positive)
{
    if (!kern_case("pursuit %s %lldx%lldx%lld k %lld%s", solver_name(solver), (long long)B,
                   (long long)n, (long long)d, (long long)k, positive ? " positive" : ""))
        return;
    chase_case c = {.p = {.solver = solver, .positive = positive, .k = k}};
    c.x = kern_matrix(B, d, NORMAL);
    c.w = atoms(n, d);
    int64_t *k_row = kern_in((size_t)B * sizeof *k_row);
    for (int64_t r = 0; r < B; r++)
        k_row[r] = kern_random((uint32_t)k + 1);
    c.p.k_row = kern_random(2) ? k_row : NULL;
    expect(&c);
    double work = 2 * (double)(B * n) * (double)(d * k);
    kcase q = {run_chase, kern_benching() ? check_same : check_alone, &c, work,
               4 * (double)(B * d + n * d), SAE_OK};
    kern_run(&q);
}

/* ---- a coefficient that is clipped at the fourth step; independent expectation ---- */

static void check_clipped(const impl *im, void *ctx)
{
    const chase_case *c = ctx;
    static const double want[] = {0.11748190193655036, 0.07671712396284207};
    (void)im;
    if (c->z.nnz != 2 || c->z.idx[0] != 1 || c->z.idx[1] != 3)
        kern_fail("%lld entries", (long long)c->z.nnz);
    else if (!(fabs((double)c->z.val[0] - want[0]) <= U24 * want[0]) ||
             !(fabs((double)c->z.val[1] - want[1]) <= U24 * want[1]))
        kern_fail("%.9g, %.9g", (double)c->z.val[0], (double)c->z.val[1]);
}

static void clipped(void)
{
    static const float w[] = {-2, 3, 3, 2, -1, -3, 1, 2, -3, 2, 3, -2}, x[] = {1, 0, 0};
    if (!kern_case("pursuit gradient clipped"))
        return;
    chase_case c = {.p = {.solver = SAE_SOLVE_GRADIENT, .positive = 1, .k = 4},
                    .x = {x, 1, 3, 3}, .w = {w, 4, 3, 3}};
    c.z = kern_code(1, 4, 4);
    kcase q = {run_chase, check_clipped, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

/* ---- exact arithmetic: atoms of halves and ones, integers to code ---- */

static void exact(int64_t k, int positive, enum sae_solver solver, int halves)
{
    if (!kern_case("pursuit %s exact k %lld%s%s", solver_name(solver), (long long)k,
                   positive ? " positive" : "", halves ? " halves" : ""))
        return;
    chase_case c = {.p = {.solver = solver, .positive = positive, .k = k}};
    int64_t n = 40, d = 4;
    float *w = kern_in((size_t)(n * d) * sizeof *w);
    for (int64_t j = 0; j < n; j++) {
        int64_t one = kern_random(4);
        for (int64_t i = 0; i < d; i++) {
            float sign = kern_random(2) ? 1 : -1;
            w[j * d + i] = j % 2 && halves ? 0.5f * sign : i == one ? sign : 0;
        }
    }
    sae_cmat m = {w, n, d, d};
    c.w = m;
    c.x = kern_matrix(200, d, INTEGERS);
    expect(&c);
    kcase q = {run_chase, check_alone, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

/* ---- worked by hand: atoms (1,0), (0,1), (0.6,0.8) and the row (1,2) ---- */

static void check_worked(const impl *im, void *ctx)
{
    const chase_case *c = ctx;
    static const double mp[] = {-0.32, 0.24, 2.2}, omp[] = {-0.5, 0, 2.5};
    const double *want = c->p.solver == SAE_SOLVE_MP ? mp : omp;
    int64_t at = 0;
    (void)im;
    for (int32_t j = 0; j < 3; j++) {
        if (want[j] == 0)
            continue;
        /* 0.6 and 0.8 are off by 2^-25, the results by a few times that. */
        if (at >= c->z.nnz || c->z.idx[at] != j || !(fabs((double)c->z.val[at] - want[j]) < 1e-6))
            kern_fail("atom %d is not %g", (int)j, want[j]);
        at++;
    }
    if (c->z.nnz != at)
        kern_fail("%lld entries", (long long)c->z.nnz);
}

static void worked(enum sae_solver solver, int64_t k)
{
    static const float w[] = {1, 0, 0, 1, 0.6f, 0.8f}, x[] = {1, 2};
    if (!kern_case("pursuit %s worked", solver_name(solver)))
        return;
    chase_case c = {.p = {.solver = solver, .k = k}, .x = {x, 1, 2, 2}, .w = {w, 3, 2, 2}};
    c.z = kern_code(1, 3, 3);
    kcase q = {run_chase, check_worked, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

/* The second atom is best, the first depends on it (squared distance 1e-8) but has a correlation
 * with what is left: it is passed over, once, and the third is taken. */
static void check_dependent(const impl *im, void *ctx)
{
    const chase_case *c = ctx;
    (void)im;
    if (c->z.nnz != 2 || c->z.idx[0] != 1 || c->z.idx[1] != 2)
        kern_fail("%lld entries, atoms %d, %d", (long long)c->z.nnz, (int)c->z.idx[0],
                  (int)c->z.idx[1]);
}

static void dependent(void)
{
    static const float w[] = {1, 0, 0, 1, 1e-4f, 0, 0, 0, 1}, x[] = {1, 1, 1e-5f};
    if (!kern_case("pursuit omp dependent atoms"))
        return;
    chase_case c = {.p = {.solver = SAE_SOLVE_OMP, .k = 2}, .x = {x, 1, 3, 3}, .w = {w, 3, 3, 3}};
    c.z = kern_code(1, 3, 3);
    kcase q = {run_chase, check_dependent, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

/* ---- step by step ---- */

typedef struct state { /* of the row after some steps */
    double *z, *r, *corr; /* [n], [d], [n] */
    double norm, off;     /* |r|; how far the rounding of z to float moves r */
} state;

static state room_for_state(const chase_case *c)
{
    size_t n = (size_t)c->w.rows, d = (size_t)c->w.cols;
    state s = {.z = kern_temp(n * 8), .r = kern_temp(d * 8), .corr = kern_temp(n * 8)};
    return s;
}

static state state_of(const chase_case *c, int64_t row, state s)
{
    int64_t n = c->w.rows, d = c->w.cols;
    memset(s.z, 0, (size_t)n * sizeof *s.z);
    memset(s.corr, 0, (size_t)n * sizeof *s.corr);
    s.norm = s.off = 0;
    for (int64_t i = 0; i < d; i++)
        s.r[i] = (double)c->x.p[row * c->x.ld + i];
    for (int64_t i = c->z.rowptr[row]; i < c->z.rowptr[row + 1]; i++) {
        int64_t j = c->z.idx[i];
        s.z[j] = (double)c->z.val[i];
        s.off += U24 * fabs(s.z[j]);
        for (int64_t t = 0; t < d; t++)
            s.r[t] -= s.z[j] * (double)c->w.p[j * c->w.ld + t];
    }
    s.off = 1.01 * s.off + 1e-9; /* + double precision and the condition of the support */
    for (int64_t i = 0; i < d; i++)
        s.norm += s.r[i] * s.r[i];
    s.norm = sqrt(s.norm);
    for (int64_t j = 0; j < n; j++)
        for (int64_t t = 0; t < d; t++)
            s.corr[j] += s.r[t] * (double)c->w.p[j * c->w.ld + t];
    return s;
}

/* The largest score among atoms a step may take. */
static double best_score(const chase_case *c, const state *s)
{
    double best = 0;
    for (int64_t j = 0; j < c->w.rows; j++)
        if (!(c->p.solver == SAE_SOLVE_OMP && s->z[j] != 0))
            best = fmax(best, c->p.positive ? s->corr[j] : fabs(s->corr[j]));
    return best;
}

static double score(const chase_case *c, const state *s, int64_t j)
{
    return c->p.positive ? s->corr[j] : fabs(s->corr[j]);
}

/* One atom changed, one of the best, by its correlation. */
static void check_mp(const chase_case *c, const state *a, const state *b, int64_t step)
{
    int changed = 0;
    for (int64_t j = 0; j < c->w.rows; j++) {
        double move = b->z[j] - a->z[j], off = a->off + U24 * (fabs(a->z[j]) + fabs(b->z[j]));
        if (move == 0)
            continue;
        changed++;
        if (!(score(c, a, j) >= best_score(c, a) - 2 * a->off))
            kern_fail("step %lld took an atom of %g, the best is %g", (long long)step,
                      score(c, a, j), best_score(c, a));
        if (!(fabs(move - a->corr[j]) <= off))
            kern_fail("step %lld moved by %.9g, not %.9g", (long long)step, move, a->corr[j]);
    }
    if (changed != 1)
        kern_fail("step %lld changed %d atoms", (long long)step, changed);
    if (!(b->norm <= a->norm + a->off + b->off))
        kern_fail("step %lld: |r| grew from %.9g to %.9g", (long long)step, a->norm, b->norm);
}

/* One atom more, one of the best; the residual is orthogonal to all that were taken. */
static void check_omp(const chase_case *c, const state *a, const state *b, int64_t step)
{
    int more = 0;
    for (int64_t j = 0; j < c->w.rows; j++) {
        if (b->z[j] != 0 && a->z[j] == 0) {
            more++;
            if (!(score(c, a, j) >= best_score(c, a) - 2 * a->off))
                kern_fail("step %lld took an atom of %g, the best is %g", (long long)step,
                          score(c, a, j), best_score(c, a));
        }
        if (b->z[j] != 0 && !(fabs(b->corr[j]) <= b->off))
            kern_fail("step %lld: <r, w[%lld]> is %g", (long long)step, (long long)j, b->corr[j]);
        if (b->z[j] == 0 && a->z[j] != 0)
            kern_fail("step %lld dropped atom %lld", (long long)step, (long long)j);
    }
    if (more != 1)
        kern_fail("step %lld took %d atoms", (long long)step, more);
}

/* The move is along the correlations of the active atoms and one new one, as far as the residual
 * falls: z' - z = s g with g known to a->off; the projection of z' - z on g leaves at most
 * sqrt(m) (u (|z| + |z'|) + s off) of it. Clipped rows are checked for their sign alone. */
static void check_gradient(const chase_case *c, const state *a, const state *b, int64_t step)
{
    double mg = 0, gg = 0, mm = 0, along = 0, m = 0, big = 0, size = 0;
    int clipped = 0, fresh = 0;
    for (int64_t j = 0; j < c->w.rows; j++) {
        double g = a->corr[j], move = b->z[j] - a->z[j];
        if (c->p.positive && b->z[j] < 0)
            kern_fail("step %lld: z[%lld] is %g", (long long)step, (long long)j, b->z[j]);
        clipped |= c->p.positive && a->z[j] != 0 && b->z[j] == 0;
        if (a->z[j] == 0 && b->z[j] == 0)
            continue;
        if (a->z[j] == 0) {
            fresh++;
            if (!(score(c, a, j) >= best_score(c, a) - 2 * a->off))
                kern_fail("step %lld took an atom of %g, the best is %g", (long long)step,
                          score(c, a, j), best_score(c, a));
        }
        m++;
        mg += move * g;
        gg += g * g;
        mm += move * move;
        big = fmax(big, fabs(a->z[j]) + fabs(b->z[j]));
        along += g * b->corr[j]; /* <r', sum g w> */
        size += fabs(g);
    }
    if (fresh > 1)
        kern_fail("step %lld took %d atoms", (long long)step, fresh);
    if (clipped)
        return;
    double left = mm - mg * mg / gg, bound = sqrt(m) * (U24 * big + 2 * fabs(mg / gg) * a->off);
    if (!(left <= 1e-12 * mm + bound * bound))
        kern_fail("step %lld leaves its direction by %g, bound %g", (long long)step, sqrt(left),
                  bound);
    if (!(fabs(along) <= size * b->off + m * a->off * (b->norm + b->off)))
        kern_fail("step %lld: <r, step> is %g", (long long)step, along);
    if (!(b->norm <= a->norm + a->off + b->off))
        kern_fail("step %lld: |r| grew from %.9g to %.9g", (long long)step, a->norm, b->norm);
}

static int same_code(const state *a, const state *b, int64_t n)
{
    return !memcmp(a->z, b->z, (size_t)n * sizeof *a->z);
}

static void check_steps(const impl *im, void *ctx)
{
    static void (*const rule[])(const chase_case *, const state *, const state *, int64_t) = {
        check_mp, check_omp, check_gradient};
    const chase_case *c = ctx;
    int64_t moved = 0;
    (void)im;
    if (c->z.rowptr[1] != 0)
        kern_fail("no steps, %lld entries", (long long)c->z.rowptr[1]);
    state room[2] = {room_for_state(c), room_for_state(c)};
    for (int64_t i = 0; i + 1 < c->x.rows; i++) {
        state a = state_of(c, i, room[0]), b = state_of(c, i + 1, room[1]);
        int stays = same_code(&a, &b, c->w.rows);
        if (stays && a.norm > c->p.tol + a.off && best_score(c, &a) > 2 * a.off)
            kern_fail("step %lld: the row ends at |r| = %g", (long long)i, a.norm);
        if (!stays && a.norm < c->p.tol - a.off)
            kern_fail("step %lld: the row goes on at |r| = %g", (long long)i, a.norm);
        /* Where the residual is rounding, any atom is the best. */
        if (!stays && best_score(c, &a) > 1e3 * a.off) {
            rule[c->p.solver](c, &a, &b, i);
            moved++;
        }
    }
    if (moved == 0)
        kern_fail("no step was taken");
}

static void steps(enum sae_solver solver, int64_t n, int64_t d, int64_t k, int positive, double tol)
{
    if (!kern_case("pursuit %s steps %lldx%lld k %lld%s tol %g", solver_name(solver), (long long)n,
                   (long long)d, (long long)k, positive ? " positive" : "", tol))
        return;
    chase_case c = {.p = {.solver = solver, .positive = positive, .k = k, .tol = tol}};
    sae_cmat x = kern_matrix(1, d, NORMAL);
    float *rows = kern_in((size_t)((k + 1) * d) * sizeof *rows);
    int64_t *k_row = kern_in((size_t)(k + 1) * sizeof *k_row);
    for (int64_t r = 0; r <= k; r++) {
        memcpy(rows + r * d, x.p, (size_t)d * sizeof *rows);
        k_row[r] = r;
    }
    sae_cmat m = {rows, k + 1, d, d};
    c.x = m;
    c.w = atoms(n, d);
    c.p.k_row = k_row;
    c.z = kern_code(k + 1, n, (k + 1) * k);
    kcase q = {run_chase, check_steps, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

/* ---- rows that are not numbers, zero, huge or tiny; room; arguments ---- */

static void odd_rows(enum sae_solver solver)
{
    static const float size[] = {1, 0, 1e30f, 1e-30f, 1e-42f, NAN, INFINITY, 1, -INFINITY};
    if (!kern_case("pursuit %s odd rows", solver_name(solver)))
        return;
    chase_case c = {.p = {.solver = solver, .k = 4}, .w = atoms(30, 12)};
    sae_cmat x = kern_matrix(9, 12, NORMAL);
    float *p = kern_in((size_t)(9 * 12) * sizeof *p);
    for (int64_t r = 0; r < 9; r++)
        for (int64_t i = 0; i < 12; i++)
            p[r * 12 + i] = isfinite(size[r]) ? x.p[r * x.ld + i] * size[r]
                            : i == 5          ? size[r]
                                              : x.p[r * x.ld + i];
    sae_cmat m = {p, 9, 12, 12};
    c.x = m;
    expect(&c);
    if (c.want.nan != 3 * 30 || c.want.rowptr[2] != c.want.rowptr[1] || c.want.rowptr[9] < 16)
        kern_fail("the reference counts %lld NaN", (long long)c.want.nan);
    kcase q = {run_chase, check_alone, &c, 0, 0, SAE_OK};
    kern_run(&q);
}

static void refused(int64_t d, int64_t k, int positive, enum sae_solver solver, int short_of)
{
    if (!kern_case("pursuit refused %lld %lld %d short of %d", (long long)d, (long long)k, positive,
                   short_of))
        return;
    chase_case c = {.p = {.solver = SAE_SOLVE_MP, .k = 3}, .w = atoms(20, 8)};
    c.x = kern_matrix(10, d, NORMAL);
    if (short_of)
        expect(&c);
    c.need = c.want.nnz;
    c.p.k = k;
    c.p.solver = solver;
    c.p.positive = positive;
    c.z = kern_code(10, 20, short_of ? c.need - short_of : 30);
    kcase q = {run_chase, NULL, &c, 0, 0, short_of ? SAE_ECAPACITY : SAE_EINVAL};
    kern_run(&q);
}

void test_pursuit(void)
{
    worked(SAE_SOLVE_MP, 3);
    worked(SAE_SOLVE_OMP, 2);
    dependent();
    clipped();
    for (int s = SAE_SOLVE_MP; s <= SAE_SOLVE_GRADIENT; s++) {
        enum sae_solver solver = (enum sae_solver)s;
        for (int i = 0; i < 14; i++) {
            int64_t n = kern_sizes[i], d = n / 2 + 1 + kern_pick(40);
            int64_t k = 1 + kern_pick(5), B = kern_sizes[kern_pick(12)];
            same(solver, B, n, d, k < d / 2 ? k : d / 2, s != SAE_SOLVE_OMP && i % 3 == 0);
        }
        same(solver, 300, 150, 70, 12, 0); /* several blocks; MP: by the Gram matrix */
        same(solver, 0, 20, 30, 4, 0);
        same(solver, 5, 0, 30, 4, 0);
        same(solver, 5, 20, 0, 4, 0);
        same(solver, 5, 20, 30, 0, 0);
        exact(1, 0, solver, 1);
        exact(4, 0, solver, 0);
        exact(4, s != SAE_SOLVE_OMP, solver, 0);
        steps(solver, 60, 40, 20, 0, 0);
        steps(solver, 200, 70, 30, 0, 3);
        odd_rows(solver);
    }
    exact(6, 0, SAE_SOLVE_MP, 1);
    exact(6, 1, SAE_SOLVE_MP, 1);
    steps(SAE_SOLVE_MP, 90, 70, 60, 1, 0);
    steps(SAE_SOLVE_GRADIENT, 90, 40, 30, 1, 0);
    steps(SAE_SOLVE_OMP, 12, 40, 15, 0, 0); /* more steps than atoms */
    refused(7, 3, 0, SAE_SOLVE_MP, 0);
    refused(8, -1, 0, SAE_SOLVE_MP, 0);
    refused(8, 3, 1, SAE_SOLVE_OMP, 0);
    refused(8, 3, 0, SAE_SOLVE_MP, 1);
    if (kern_benching())
        for (int s = SAE_SOLVE_MP; s <= SAE_SOLVE_GRADIENT; s++)
            same((enum sae_solver)s, 64, 2048, 256, 16, 0);
}
