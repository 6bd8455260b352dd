/* suite/core/student.c - quantiles of Student's t distribution.
 *
 * P(T > t) = I_x(df / 2, 1 / 2) / 2 with x = df / (df + t^2), I the regularised incomplete beta
 * function by its continued fraction (Abramowitz and Stegun 26.7.1, 26.5.8), evaluated with Lentz's
 * method; the quantile by bisection.
 */
#include "core/student.h"

#include <math.h>

enum { TERMS = 500, HALVINGS = 200 };

/* The continued fraction of I_x(a, b), which converges fast for x < (a + 1) / (a + b + 2). */
static double fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), h = d;
    for (int m = 1; m < TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double before = h;
        d = 1 / fmax(1 + even * d, tiny);
        c = 1 + even / c;
        h *= d * c;
        d = 1 / fmax(1 + odd * d, tiny);
        c = 1 + odd / c;
        h *= d * c;
        if (fabs(h - before) <= 1e-15 * fabs(h))
            break;
    }
    return h;
}

static double incomplete_beta(double x, double a, double b)
{
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * fraction(x, a, b) / a
                                     : 1 - front * fraction(1 - x, b, a) / b;
}

double sae_student_cdf(double t, double df)
{
    double tail = 0.5 * incomplete_beta(df / (df + t * t), 0.5 * df, 0.5);
    return t > 0 ? 1 - tail : tail;
}

double sae_student_quantile(double p, double df)
{
    double low = 0, high = 1, want = p < 0.5 ? 1 - p : p;
    while (sae_student_cdf(high, df) < want && high < 1e12)
        high *= 2;
    for (int i = 0; i < HALVINGS && high - low > 1e-12 * high; i++) {
        double middle = 0.5 * (low + high);
        *(sae_student_cdf(middle, df) < want ? &low : &high) = middle;
    }
    return p < 0.5 ? -high : high;
}
