/* tests/kern/data.c - inputs, comparisons and codes of the kernel tests. */
#include "kern/kern.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float normal(void)
{
    double u = (kern_random(1 << 24) + 0.5) * 0x1p-24, v = (kern_random(1 << 24) + 0.5) * 0x1p-24;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static float of_run(int kind, int64_t i, float base)
{
    switch (kind) {
    case 0: return 0;
    case 1: return 1;
    case 2: return 1e15f * normal();
    case 3: return 1e-30f * normal();
    case 4: return FLT_TRUE_MIN * (float)kern_random(1000);
    case 5: return base;
    case 6: return i % 2 ? base : -base;
    default: return normal();
    }
}

static float special(void)
{
    static const float v[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1, -1, 2, FLT_TRUE_MIN,
                              -FLT_TRUE_MIN, FLT_MAX, -FLT_MAX, FLT_MIN, 1.5f, 1, 2};
    return v[kern_random(sizeof v / sizeof v[0])];
}

void kern_fill(float *p, int64_t rows, int64_t cols, int64_t ld, enum data kind)
{
    int run = 0;
    int64_t left = 0;
    float base = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            if (left-- == 0) {
                run = (int)kern_random(10);
                left = kern_random(24);
                base = normal();
            }
            float *o = p + r * ld + c;
            if (kind == NORMAL)
                *o = normal();
            else if (kind == MIXTURE)
                *o = of_run(run, c, base);
            else if (kind == INTEGERS)
                *o = (float)((int)kern_random(7) - 3);
            else if (kind == ZEROS)
                *o = kern_random(2) ? 0.0f : -0.0f;
            else
                *o = special();
        }
}

sae_cmat kern_matrix(int64_t rows, int64_t cols, enum data kind)
{
    sae_cmat m = {NULL, rows, cols, cols + kern_random(3)};
    float *p = kern_in((size_t)(rows * m.ld) * sizeof *p);
    kern_fill(p, rows, cols, m.ld, kind);
    m.p = p;
    return m;
}

sae_mat kern_target(int64_t rows, int64_t cols)
{
    sae_mat m = {kern_out((size_t)(rows * (cols + 2)) * sizeof(float)), rows, cols, cols + 2};
    return m;
}

double *kern_widen(const float *p, int64_t rows, int64_t cols, int64_t ld)
{
    double *o = kern_temp((size_t)(rows * cols) * sizeof *o);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            o[r * cols + c] = (double)p[r * ld + c];
    return o;
}

double *kern_abs(const double *p, int64_t count)
{
    double *o = kern_temp((size_t)count * sizeof *o);
    for (int64_t i = 0; i < count; i++)
        o[i] = fabs(p[i]);
    return o;
}

void kern_close(const char *what, const float *got, int64_t rows, int64_t cols, int64_t ld,
                const double *want, const double *bound)
{
    double worst = 0;
    int64_t wr = -1, wc = -1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            double g = (double)got[r * ld + c], w = want[r * cols + c];
            double over = fabs(g - w) / bound[r * cols + c];
            if ((isnan(g) && isnan(w)) || g == w || fabs(g - w) <= bound[r * cols + c])
                continue;
            if (!(over <= worst) || wr < 0) {
                worst = isnan(over) ? HUGE_VAL : over;
                wr = r;
                wc = c;
            }
        }
    if (wr >= 0)
        kern_fail("%s[%lld,%lld]: got %.9g, expected %.9g, off by %.3g bounds of %.3g", what,
                  (long long)wr, (long long)wc, (double)got[wr * ld + wc], want[wr * cols + wc],
                  worst, bound[wr * cols + wc]);
}

double kern_t1(enum data kind, double terms, double depth, double s)
{
    double factor = kind == NORMAL ? fmin(terms, 16) : depth;
    return (factor + 2) * U24 * s + 0x1p-126; /* + 2: the result and one scaling */
}

sae_code kern_code(int64_t B, int64_t n, int64_t cap)
{
    sae_code z = {.B = B, .n = n, .cap = cap};
    z.rowptr = kern_out((size_t)(B + 1) * sizeof *z.rowptr);
    z.idx = kern_out((size_t)cap * sizeof *z.idx);
    z.val = kern_out((size_t)cap * sizeof *z.val);
    return z;
}

sae_code kern_random_code(int64_t B, int64_t n, int64_t k, enum data kind)
{
    sae_code z = {.B = B, .n = n};
    int64_t *ptr = z.rowptr = kern_in((size_t)(B + 1) * sizeof *z.rowptr);
    unsigned char *chosen = kern_temp((size_t)(B * n));
    ptr[0] = 0;
    for (int64_t r = 0; r < B; r++) {
        /* An empty row, a hot feature, and otherwise k draws. */
        for (int64_t i = 0; i < k && r % 5 != 3 && n; i++)
            chosen[r * n + (i ? kern_random((uint32_t)n) : n / 2)] = 1;
        ptr[r + 1] = ptr[r];
        for (int64_t j = 0; j < n; j++)
            ptr[r + 1] += chosen[r * n + j];
    }
    z.nnz = z.cap = ptr[B];
    z.idx = kern_in((size_t)z.nnz * sizeof *z.idx);
    z.val = kern_in((size_t)z.nnz * sizeof *z.val);
    int64_t at = 0;
    for (int64_t i = 0; i < B * n; i++)
        if (chosen[i])
            z.idx[at++] = (int32_t)(i % n);
    kern_fill(z.val, 1, z.nnz, z.nnz, kind);
    return z;
}
