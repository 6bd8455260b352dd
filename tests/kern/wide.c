/* tests/kern/wide.c - the reference kernels in double, callable from the float tests. */
#define SAE_REAL_IS_DOUBLE 1

#include "kern/wide.h"

#include "ref/ref.h"

static sae_cmat in(const double *p, int64_t rows, int64_t cols)
{
    sae_cmat m = {p, rows, cols, cols};
    return m;
}

static sae_mat out(double *p, int64_t rows, int64_t cols)
{
    sae_mat m = {p, rows, cols, cols};
    return m;
}

static sae_code code_of(const wide_code *z)
{
    sae_code c = {z->B, z->n, z->nnz, z->cap, z->nan, z->dense, z->rowptr, z->idx, z->val};
    return c;
}

void wide_gemm(int ta, int tb, double alpha, const double *a, const double *b, double beta,
               double *c, int64_t m, int64_t n, int64_t depth)
{
    SAE_REF(gemm)(NULL, ta, tb, alpha, ta ? in(a, depth, m) : in(a, m, depth),
                  tb ? in(b, n, depth) : in(b, depth, n), beta, out(c, m, n));
}

void wide_col_sum(const double *x, int64_t rows, int64_t cols, double alpha, double *o)
{
    SAE_REF(col_sum)(NULL, in(x, rows, cols), alpha, o);
}

void wide_row_dot(const double *a, const double *b, int64_t rows, int64_t cols, double *o)
{
    SAE_REF(row_dot)(NULL, in(a, rows, cols), in(b, rows, cols), o);
}

void wide_sum(int64_t n, const double *v, double *o)
{
    SAE_REF(sum)(NULL, n, v, o);
}

void wide_decode(const wide_code *z, const double *w, const double *bias, double *xhat, int64_t d)
{
    sae_code c = code_of(z);
    SAE_REF(code_decode)(NULL, &c, in(w, z->n, d), bias, out(xhat, z->B, d));
}

void wide_grad(const wide_code *z, const double *dx, const double *w, double *dval, int64_t d)
{
    sae_code c = code_of(z);
    SAE_REF(code_grad)(NULL, &c, in(dx, z->B, d), in(w, z->n, d), dval);
}

int wide_select(char rule, const double *value, const double *score, int64_t rows, int64_t cols,
                int key, int64_t k, const int64_t *quota, double theta, const double *per_feature,
                wide_code *z)
{
    sae_device *dev;
    sae_code c = code_of(z);
    sae_scores s = {in(value, rows, cols), in(score, rows, cols), (enum sae_key)key};
    int rc = sae_host_open(&dev, 1, "", NULL);
    if (rc)
        return rc;
    if (rule == 'r')
        rc = SAE_REF(row_topk)(dev, &s, k, &c);
    else if (rule == 'f')
        rc = SAE_REF(flat_topk)(dev, &s, k, &c);
    else if (rule == 'c')
        rc = SAE_REF(col_topk)(dev, &s, quota, &c);
    else
        rc = SAE_REF(threshold)(dev, &s, theta, per_feature, &c);
    z->nnz = c.nnz;
    z->nan = c.nan;
    sae_host_close(&dev);
    return rc;
}

void wide_project(const double *w, double *g, int64_t rows, int64_t cols, double *norm2)
{
    SAE_REF(project_rows)(NULL, in(w, rows, cols), out(g, rows, cols), norm2);
}

void wide_unit_rows(double *w, int64_t rows, int64_t cols)
{
    SAE_REF(unit_rows)(NULL, out(w, rows, cols));
}

void wide_adam(const void *adam, double *w, double *g, double *m, double *v, int64_t rows,
               int64_t cols)
{
    SAE_REF(adam_step)(NULL, adam, out(w, rows, cols), g, m, v);
}
