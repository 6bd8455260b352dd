/* tests/kern/wide.h - the reference kernels in double, over dense arrays.
 *
 * They give the value to expect and, fed with absolute values, the S of the error bounds.
 */
#ifndef SAE_TESTS_WIDE_H
#define SAE_TESTS_WIDE_H

#include <stdint.h>

/* c [m x n] = alpha op(a) op(b) + beta c */
void wide_gemm(int ta, int tb, double alpha, const double *a, const double *b, double beta,
               double *c, int64_t m, int64_t n, int64_t depth);
void wide_col_sum(const double *x, int64_t rows, int64_t cols, double alpha, double *out);
void wide_row_dot(const double *a, const double *b, int64_t rows, int64_t cols, double *out);
void wide_sum(int64_t n, const double *v, double *out);
/* A code over double values; the same members as sae_code uses. */
typedef struct wide_code {
    int64_t B, n, nnz, cap, nan;
    int dense;
    int64_t *rowptr;
    int32_t *idx;
    double *val;
} wide_code;

void wide_decode(const wide_code *z, const double *w, const double *bias, double *xhat, int64_t d);
void wide_grad(const wide_code *z, const double *dx, const double *w, double *dval, int64_t d);
/* Selections over [rows x cols] scores; score may be NULL. rule: 'r'ow and 'f'lat (k), 'c'olumn
 * (quota), 't'hreshold (theta, per_feature). Returns the status. */
int wide_select(char rule, const double *value, const double *score, int64_t rows, int64_t cols,
                int key, int64_t k, const int64_t *quota, double theta, const double *per_feature,
                wide_code *z);
void wide_project(const double *w, double *g, int64_t rows, int64_t cols, double *norm2);
void wide_unit_rows(double *w, int64_t rows, int64_t cols);
void wide_adam(const void *adam, double *w, double *g, double *m, double *v, int64_t rows,
               int64_t cols);

#endif
