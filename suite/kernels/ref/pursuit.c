/* suite/kernels/ref/pursuit.c - matching pursuit, orthogonal matching pursuit, gradient pursuit.
 *
 * One row at a time, straight from the definitions in sae/kernels.h: the residual is recomputed in
 * double from the coefficients' changes, correlations with all atoms at every step.
 */
#include "ref/ref.h"

#include <math.h>
#include <string.h>

typedef struct row_work { /* of one row; all double */
    const sae_pursuit *p;
    sae_cmat w;
    double *r;            /* [d] residual */
    double *corr;         /* [n] <r, w[j]> */
    double *z;            /* [n] coefficients */
    double *step;         /* [d] */
    int64_t *taken;       /* [k] OMP: atoms in the order they were taken */
    int64_t count;
    double *l, *rhs, *sol; /* [k x k], [k], [k] OMP: Cholesky factor, <x, w> and solution */
    const double *x;      /* [d] */
    double norm, floor;   /* of the largest atom; no score up to `floor` counts */
    char *out_of_use;     /* [n] OMP: taken or dependent */
    int64_t k_cap;
} row_work;

static double dot_atom(const row_work *q, const double *v, int64_t j)
{
    const sae_real *w = row_of(q->w, j);
    double s = 0;
    for (int64_t i = 0; i < q->w.cols; i++)
        s += v[i] * (double)w[i];
    return s;
}

static void add_atom(const row_work *q, double by, int64_t j, double *v)
{
    const sae_real *w = row_of(q->w, j);
    for (int64_t i = 0; i < q->w.cols; i++)
        v[i] += by * (double)w[i];
}

static double norm2(const double *v, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += v[i] * v[i];
    return s;
}

/* The atom to take, -1 when none has a correlation. */
static int64_t best_atom(row_work *q)
{
    double best = q->floor;
    int64_t at = -1;
    for (int64_t j = 0; j < q->w.rows; j++) {
        double c = q->corr[j] = dot_atom(q, q->r, j);
        double score = q->p->positive ? c : fabs(c);
        if (score > best && !q->out_of_use[j]) {
            best = score;
            at = j;
        }
    }
    return at;
}

static int step_mp(row_work *q)
{
    int64_t j = best_atom(q);
    if (j < 0)
        return 0;
    q->z[j] += q->corr[j];
    add_atom(q, -q->corr[j], j, q->r);
    return 1;
}

static double gram(const row_work *q, int64_t i, int64_t j)
{
    const sae_real *a = row_of(q->w, i), *b = row_of(q->w, j);
    double s = 0;
    for (int64_t t = 0; t < q->w.cols; t++)
        s += (double)a[t] * (double)b[t];
    return s;
}

/* Append atom j to the Cholesky factor of the Gram matrix of the taken atoms; 0 if it depends on
 * them. */
static int extend_factor(row_work *q, int64_t j)
{
    int64_t c = q->count, k = q->k_cap;
    double pivot = gram(q, j, j);
    for (int64_t i = 0; i < c; i++) {
        double g = gram(q, j, q->taken[i]);
        for (int64_t t = 0; t < i; t++)
            g -= q->l[c * k + t] * q->l[i * k + t];
        q->l[c * k + i] = g / q->l[i * k + i];
        pivot -= q->l[c * k + i] * q->l[c * k + i];
    }
    if (pivot < 1e-7)
        return 0;
    q->l[c * k + c] = sqrt(pivot);
    q->rhs[c] = dot_atom(q, q->x, j);
    q->taken[q->count++] = j;
    return 1;
}

/* sol = (L L^T)^-1 rhs. */
static void solve_factor(row_work *q)
{
    int64_t c = q->count, k = q->k_cap;
    for (int64_t i = 0; i < c; i++) {
        double s = q->rhs[i];
        for (int64_t t = 0; t < i; t++)
            s -= q->l[i * k + t] * q->sol[t];
        q->sol[i] = s / q->l[i * k + i];
    }
    for (int64_t i = c - 1; i >= 0; i--) {
        double s = q->sol[i];
        for (int64_t t = i + 1; t < c; t++)
            s -= q->l[t * k + i] * q->sol[t];
        q->sol[i] = s / q->l[i * k + i];
    }
}

static int step_omp(row_work *q)
{
    for (;;) {
        int64_t j = best_atom(q);
        if (j < 0)
            return 0;
        q->out_of_use[j] = 1;
        if (extend_factor(q, j))
            break;
    }
    solve_factor(q);
    memcpy(q->r, q->x, (size_t)q->w.cols * sizeof *q->r);
    for (int64_t i = 0; i < q->count; i++) {
        q->z[q->taken[i]] = q->sol[i];
        add_atom(q, -q->sol[i], q->taken[i], q->r);
    }
    return 1;
}

static int step_gradient(row_work *q)
{
    int64_t best = best_atom(q), d = q->w.cols;
    if (best < 0)
        return 0;
    memset(q->step, 0, (size_t)d * sizeof *q->step);
    for (int64_t j = 0; j < q->w.rows; j++)
        if (j == best || q->z[j] != 0)
            add_atom(q, q->corr[j], j, q->step);
    double cc = norm2(q->step, d), cr = 0;
    for (int64_t i = 0; i < d; i++)
        cr += q->step[i] * q->r[i];
    if (!(cc > 0))
        return 0;
    memcpy(q->r, q->x, (size_t)d * sizeof *q->r);
    for (int64_t j = 0; j < q->w.rows; j++) {
        if (j == best || q->z[j] != 0)
            q->z[j] += cr / cc * q->corr[j];
        if (q->p->positive && q->z[j] < 0)
            q->z[j] = 0;
        if (q->z[j] != 0)
            add_atom(q, -q->z[j], j, q->r);
    }
    return 1;
}

static void code_row(row_work *q, int64_t k)
{
    static int (*const step[])(row_work *) = {step_mp, step_omp, step_gradient};
    int64_t n = q->w.rows, d = q->w.cols;
    double tol2 = q->p->tol * q->p->tol;
    memset(q->z, 0, (size_t)n * sizeof *q->z);
    memset(q->out_of_use, 0, (size_t)n);
    memcpy(q->r, q->x, (size_t)d * sizeof *q->r);
    q->count = 0;
    q->floor = 1e-12 * sqrt(norm2(q->x, d)) * q->norm;
    for (int64_t i = 0; i < k && norm2(q->r, d) > tol2; i++)
        if (!step[q->p->solver](q))
            break;
}

static int open_work(sae_device *dev, row_work *q)
{
    int64_t n = q->w.rows, d = q->w.cols, k = q->k_cap;
    int omp = q->p->solver == SAE_SOLVE_OMP;
    double *real = sae_ws_shared(dev, 0, 2 * n + 3 * d, sizeof *real);
    double *square = sae_ws_shared(dev, 1, omp ? k * (k + 2) : 1, sizeof *square);
    q->taken = sae_ws_shared(dev, 2, omp ? k : 1, sizeof *q->taken);
    q->out_of_use = sae_ws_shared(dev, 3, n, 1);
    if (!real || !square || !q->taken || !q->out_of_use)
        return SAE_ENOMEM;
    q->corr = real;
    q->z = real + n;
    q->r = real + 2 * n;
    q->step = q->r + d;
    q->x = q->step + d;
    q->l = square;
    q->rhs = square + k * k;
    q->sol = q->rhs + k;
    return SAE_OK;
}

/* Append the coefficients of a row. */
static void put_row(const row_work *q, sae_code *z)
{
    for (int64_t j = 0; j < q->w.rows; j++) {
        if ((sae_real)q->z[j] == 0)
            continue;
        if (z->nnz < z->cap) {
            z->idx[z->nnz] = (int32_t)j;
            z->val[z->nnz] = (sae_real)q->z[j];
        }
        z->nnz++;
    }
}

SAE_DECL_pursuit(SAE_REF(pursuit))
{
    if (bad_cmat(x) || bad_cmat(w) || x.cols != w.cols || w.rows > INT32_MAX || p->k < 0 ||
        z->dense || p->solver > SAE_SOLVE_GRADIENT ||
        (p->positive && p->solver == SAE_SOLVE_OMP))
        return SAE_EINVAL;
    row_work q = {.p = p, .w = w, .k_cap = p->k < w.rows ? p->k : w.rows};
    int rc = open_work(dev, &q);
    if (rc)
        return rc;
    for (int64_t j = 0; j < w.rows; j++)
        q.norm = fmax(q.norm, sqrt(gram(&q, j, j)));
    z->B = x.rows;
    z->n = w.rows;
    z->nnz = z->nan = z->rowptr[0] = 0;
    for (int64_t r = 0; r < x.rows; r++) {
        double *row = q.step + w.cols, sum = 0;
        for (int64_t i = 0; i < x.cols; i++)
            sum += row[i] = (double)row_of(x, r)[i];
        if (isfinite(sum)) {
            int64_t k = p->k_row && p->k_row[r] < p->k ? p->k_row[r] : p->k;
            code_row(&q, p->solver == SAE_SOLVE_OMP && k > q.k_cap ? q.k_cap : k);
            put_row(&q, z);
        } else {
            z->nan += w.rows;
        }
        z->rowptr[r + 1] = z->nnz;
    }
    return z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}
