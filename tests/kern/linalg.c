/* tests/kern/linalg.c - cross products, symmetric eigenvectors, positive definite systems. */
#include "kern/kern.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct la_case {
    int64_t n, m;
    sae_cmat x, y;
    double *a, *b, *w;             /* what the kernel works on */
    const double *a0, *b0, *exact; /* as they were; expectation */
} la_case;

static double *doubles(int64_t count)
{
    return kern_out((size_t)count * sizeof(double));
}

static double *copy_of(const double *p, int64_t count)
{
    double *o = kern_temp((size_t)count * sizeof *o);
    return memcpy(o, p, (size_t)count * sizeof *o);
}

/* ---- cross: products of floats are exact in double, the chain over the rows is fixed ---- */

static int run_cross(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    return im->k.cross(im->dev, c->x, c->y, c->b);
}

static void check_cross(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    (void)im;
    for (int64_t i = 0; i < c->x.cols * c->y.cols; i++)
        if (c->b[i] != c->exact[i] && !(isnan(c->b[i]) && isnan(c->exact[i]))) {
            kern_fail("out[%lld] %.17g, expected %.17g", (long long)i, c->b[i], c->exact[i]);
            return;
        }
}

static void cross(int64_t rows, int64_t n, int64_t m, enum data kind)
{
    if (!kern_case("cross %lldx%lldx%lld data %d", (long long)rows, (long long)n, (long long)m,
                   (int)kind))
        return;
    la_case c = {.x = kern_matrix(rows, n, kind), .y = kern_matrix(rows, m, kind)};
    double *start = doubles(n * m);
    for (int64_t i = 0; i < n * m; i++)
        start[i] = (double)(kern_random(9)) - 4;
    c.b = start;
    double *exact = copy_of(start, n * m);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < m; j++)
                exact[i * m + j] +=
                    (double)c.x.p[r * c.x.ld + i] * (double)c.y.p[r * c.y.ld + j];
    c.exact = exact;
    kcase k = {run_cross, check_cross, &c, 2.0 * (double)(rows * n * m),
               4.0 * (double)(rows * (n + m)) + 16.0 * (double)(n * m), SAE_OK};
    kern_run(&k);
}

/* ---- eigh ---- */

static int run_eigh(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    memcpy(c->a, c->a0, (size_t)(c->n * c->n) * sizeof *c->a); /* for --bench */
    return im->k.eigh(im->dev, c->n, c->a, c->w);
}

static double norm_of(const double *a, int64_t count)
{
    double s = 0;
    for (int64_t i = 0; i < count; i++)
        s += a[i] * a[i];
    return sqrt(s);
}

static void check_vector(const la_case *c, int64_t i, double bound)
{
    int64_t n = c->n, big = 0;
    const double *v = c->a + i * n;
    for (int64_t p = 0; p < n; p++) {
        double av = 0;
        for (int64_t q = 0; q < n; q++)
            av += c->a0[p * n + q] * v[q];
        if (!(fabs(av - c->w[i] * v[p]) <= bound))
            kern_fail("(a v - w v)[%lld] of vector %lld is %g, bound %g", (long long)p,
                      (long long)i, av - c->w[i] * v[p], bound);
        big = fabs(v[p]) > fabs(v[big]) ? p : big;
    }
    if (!(v[big] > 0))
        kern_fail("vector %lld: its largest entry is %g", (long long)i, v[big]);
    if (i > 0 && !(c->w[i] <= c->w[i - 1]))
        kern_fail("values %lld and %lld are out of order", (long long)i - 1, (long long)i);
}

/* Jacobi: an entry of a or v passes through at most 2 n rotations a sweep, of two products and a
 * sum each; ten sweeps are more than it takes: 60 n roundings. LAPACK's reduction and divide and
 * conquer need fewer. Orthonormal vectors that are all within the bound leave no eigenvalue out. */
static void check_eigh(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    int64_t n = c->n;
    double unit = 64 * (double)n * DBL_EPSILON, bound = unit * norm_of(c->a0, n * n);
    (void)im;
    for (int64_t i = 0; i < n; i++) {
        check_vector(c, i, bound);
        for (int64_t j = 0; j <= i; j++) {
            double dot = 0;
            for (int64_t p = 0; p < n; p++)
                dot += c->a[i * n + p] * c->a[j * n + p];
            if (!(fabs(dot - (i == j)) <= unit))
                kern_fail("<v%lld, v%lld> is %.17g", (long long)i, (long long)j, dot);
        }
    }
}

/* 'n'ormal, 'i'dentity, 'z'ero, rank 'o'ne, 'b'locks that repeat (every eigenvalue occurs several
 * times), 'l'arge and 's'mall entries, not 'f'inite */
static double entry(char kind, int64_t n, int64_t i, int64_t j, const float *x)
{
    double v = (double)x[i * n + j];
    switch (kind) {
    case 'i': return i == j ? 3 : 0;
    case 'z': return 0;
    case 'o': return (double)x[i] * (double)x[j];
    case 'b': return i / 3 == j / 3 ? 1 : 0;
    case 'l': return v * 1e100;
    case 's': return v * 1e-100;
    case 'f': return i == n - 1 && j == 0 ? (double)NAN : v;
    default: return v;
    }
}

static void eigh(int64_t n, char kind)
{
    if (!kern_case("eigh %lld kind %c", (long long)n, kind))
        return;
    la_case c = {.n = n, .a = doubles(n * n), .w = doubles(n)};
    sae_cmat x = kern_matrix(1, n * n, NORMAL);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            c.a[i * n + j] = c.a[j * n + i] = entry(kind, n, i, j, x.p);
    c.a0 = copy_of(c.a, n * n);
    double cube = (double)n * (double)n * (double)n;
    kcase k = {run_eigh, check_eigh, &c, 9 * cube, 16.0 * (double)(n * n),
               kind == 'f' ? SAE_EINVAL : SAE_OK};
    kern_run(&k);
}

/* ---- solve_spd ---- */

static int run_solve(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    memcpy(c->a, c->a0, (size_t)(c->n * c->n) * sizeof *c->a); /* for --bench */
    memcpy(c->b, c->b0, (size_t)(c->n * c->m) * sizeof *c->b);
    return im->k.solve_spd(im->dev, c->n, c->m, c->a, c->b);
}

/* |a z - b| <= gamma(3 n + 1) |L| |L|^T |z| (Higham 2002, theorem 10.4), the entries of |L| |L|^T
 * are at most sqrt(a[i,i] a[j,j]); n + 1 roundings more for this residual itself. */
static void check_solve(const impl *im, void *ctx)
{
    const la_case *c = ctx;
    int64_t n = c->n, m = c->m;
    (void)im;
    for (int64_t i = 0; i < n; i++)
        for (int64_t l = 0; l < m; l++) {
            double r = -c->b0[i * m + l], s = fabs(r);
            for (int64_t j = 0; j < n; j++) {
                r += c->a0[i * n + j] * c->b[j * m + l];
                s += sqrt(c->a0[i * n + i] * c->a0[j * n + j]) * fabs(c->b[j * m + l]);
            }
            if (!(fabs(r) <= (4 * (double)n + 4) * DBL_EPSILON * s))
                kern_fail("(a z - b)[%lld,%lld] is %g, bound %g", (long long)i, (long long)l, r,
                          (4 * (double)n + 4) * DBL_EPSILON * s);
        }
}

/* a = x x^T + shift, x [n x rank]; spoil: 0, or what makes it not positive definite. */
static void solve(int64_t n, int64_t m, int64_t rank, double shift, char spoil)
{
    if (!kern_case("solve_spd %lldx%lld rank %lld shift %g%s%c", (long long)n, (long long)m,
                   (long long)rank, shift, spoil ? " spoilt by " : "", spoil ? spoil : ' '))
        return;
    la_case c = {.n = n, .m = m, .a = doubles(n * n), .b = doubles(n * m)};
    sae_cmat x = kern_matrix(n, rank, NORMAL), y = kern_matrix(1, n * m, NORMAL);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = i == j ? shift : 0;
            for (int64_t t = 0; t < rank; t++)
                s += (double)x.p[i * x.ld + t] * (double)x.p[j * x.ld + t];
            c.a[i * n + j] = s;
        }
    for (int64_t i = 0; i < n * m; i++)
        c.b[i] = (double)y.p[i];
    if (spoil == '-')
        c.a[n / 2 * n + n / 2] *= -1;
    if (spoil == 'd')
        c.a[n * n - 1] = NAN;
    if (spoil == 'o')
        c.a[(n - 1) * n] = c.a[n - 1] = NAN;
    c.a0 = copy_of(c.a, n * n);
    c.b0 = copy_of(c.b, n * m);
    double nn = (double)n * (double)n;
    kcase k = {run_solve, check_solve, &c, nn * (double)n / 3 + 2 * nn * (double)m, 8 * nn,
               spoil || shift <= 0 ? SAE_EINVAL : SAE_OK};
    kern_run(&k);
}

void test_linalg(void)
{
    static const char kinds[] = "nnizobls";
    for (int i = 0; i < 14; i++) {
        int64_t n = kern_sizes[i], m = kern_sizes[kern_pick(14)];
        cross(kern_sizes[kern_pick(14)], n, m, i % 3 ? NORMAL : i % 2 ? SPECIAL : MIXTURE);
        if (n < 128)
            eigh(n, kinds[i % 8]);
        if (n < 128)
            solve(n, m % 19, n + 5, i % 2 ? 1 : 1e-3, 0);
    }
    cross(600, 13, 40, NORMAL); /* several blocks of rows */
    cross(0, 3, 4, NORMAL);
    cross(3, 0, 4, NORMAL);
    for (int i = 0; kinds[i]; i++)
        eigh(24, kinds[i]);
    eigh(2, 'n');
    eigh(0, 'n');
    eigh(5, 'f');
    solve(40, 3, 10, 1e-3, 0); /* ill conditioned */
    solve(9, 2, 14, 1, '-');
    solve(9, 2, 14, 1, 'd');
    solve(9, 2, 14, 1, 'o');
    solve(4, 2, 0, 0, 0); /* zero */
    solve(0, 2, 0, 1, 0);
    solve(3, 0, 5, 1, 0);
    if (kern_benching()) {
        cross(4096, 768, 768, NORMAL);
        eigh(256, 'n');
        solve(512, 64, 600, 1, 0);
    }
}
