/* sae/error_split.h - sums over rows whose error was split into a part linear in x and the rest, by
 * group of documents, and the figures that follow from them. The figures are defined in
 * metrics/darkmatter.md.
 *
 * The linear maps come from training documents; all figures but one are of test documents.
 */
#ifndef SAE_ERROR_SPLIT_H
#define SAE_ERROR_SPLIT_H

#include "error_rows.h"

enum { SAE_ES_LINEAR, SAE_ES_NONLINEAR, SAE_ES_PARTS };

/* Squared norms as targets: predicted from x, then the first of them from simpler things. */
enum { SAE_ES_Q_ERROR, SAE_ES_Q_X, SAE_ES_Q_XHAT, SAE_ES_NORMS };
enum { SAE_ES_BY_L0, SAE_ES_BY_NORM, SAE_ES_BY_LOSS, SAE_ES_BASES };
enum {
    SAE_ES_P_TOKEN = SAE_ES_NORMS,
    SAE_ES_P_BASE,
    SAE_ES_PREDICTORS = SAE_ES_P_BASE + SAE_ES_BASES
};
/* Sums of a predictor over test rows: rows, target, its square, squared error. */
enum { SAE_ES_P_N, SAE_ES_P_Q, SAE_ES_P_QQ, SAE_ES_P_RSS, SAE_ES_P_SUMS };

/* Sums of a group. "..._TRAIN" of training rows, the others of test rows; behind FIXED five
 * vectors [d]: sums of x, e, e^2, nonlinear error^2, and of x over training rows. */
enum {
    SAE_ES_ROWS,
    SAE_ES_TESTED,
    SAE_ES_SSE,
    SAE_ES_XX,
    SAE_ES_RSS,
    SAE_ES_LIN2,
    SAE_ES_EX,
    SAE_ES_NORM_E,
    SAE_ES_NORM_L,
    SAE_ES_NORM_N,
    SAE_ES_SSE_TRAIN,
    SAE_ES_XX_TRAIN,
    SAE_ES_RSS_TRAIN,
    SAE_ES_TOKENS,
    SAE_ES_CE_CLEAN,
    SAE_ES_CE_SAE,
    SAE_ES_CE_LINEAR,
    SAE_ES_CE_NONLINEAR,
    SAE_ES_PRED,
    SAE_ES_FIXED = SAE_ES_PRED + SAE_ES_PREDICTORS * SAE_ES_P_SUMS
};
enum { SAE_ES_V_X, SAE_ES_V_E, SAE_ES_V_EE, SAE_ES_V_RR, SAE_ES_V_X_TRAIN, SAE_ES_VECTORS };

static inline void sae_es_add_prediction(double *s, double target, double guess)
{
    if (isnan(guess))
        return;
    s[SAE_ES_P_N] += 1;
    s[SAE_ES_P_Q] += target;
    s[SAE_ES_P_QQ] += target * target;
    s[SAE_ES_P_RSS] += (target - guess) * (target - guess);
}

/* Sums of one row whose linear error is y [d]; q [SAE_ES_PARTS] its squared norms. */
static inline void sae_es_add_row(int half, const sae_eval *e, int64_t i, const sae_real *y,
                                  double *s, double *q)
{
    double *vec = s + SAE_ES_FIXED, ee = 0, xx = 0, ex = 0;
    int64_t d = e->d;
    q[SAE_ES_LINEAR] = q[SAE_ES_NONLINEAR] = 0;
    for (int64_t j = 0; j < d; j++) {
        double x = (double)e->x[i * d + j], err = (double)sae_es_error_at(e, i * d + j);
        double lin = (double)y[j], rest = err - lin;
        ee += err * err;
        xx += x * x;
        ex += err * x;
        q[SAE_ES_LINEAR] += lin * lin;
        q[SAE_ES_NONLINEAR] += rest * rest;
        vec[(half == SAE_ES_TEST ? SAE_ES_V_X : SAE_ES_V_X_TRAIN) * d + j] += x;
        if (half == SAE_ES_TRAIN)
            continue;
        vec[SAE_ES_V_E * d + j] += err;
        vec[SAE_ES_V_EE * d + j] += err * err;
        vec[SAE_ES_V_RR * d + j] += rest * rest;
    }
    s[SAE_ES_ROWS] += 1;
    s[half == SAE_ES_TEST ? SAE_ES_SSE : SAE_ES_SSE_TRAIN] += ee;
    s[half == SAE_ES_TEST ? SAE_ES_XX : SAE_ES_XX_TRAIN] += xx;
    s[half == SAE_ES_TEST ? SAE_ES_RSS : SAE_ES_RSS_TRAIN] += q[SAE_ES_NONLINEAR];
    if (half == SAE_ES_TRAIN)
        return;
    s[SAE_ES_TESTED] += 1;
    s[SAE_ES_LIN2] += q[SAE_ES_LINEAR];
    s[SAE_ES_EX] += ex;
    s[SAE_ES_NORM_E] += sqrt(ee);
    s[SAE_ES_NORM_L] += sqrt(q[SAE_ES_LINEAR]);
    s[SAE_ES_NORM_N] += sqrt(q[SAE_ES_NONLINEAR]);
}

/* ---- figures --------------------------------------------------------------------------------- */

static inline double sae_es_share(double part, double whole)
{
    return whole > 0.0 ? part / whole : (double)NAN;
}

/* Dimensions, from the number of sums. */
static inline int64_t sae_es_d(int64_t K)
{
    return (K - SAE_ES_FIXED) / SAE_ES_VECTORS;
}
static inline const double *sae_es_vector(const double *s, int64_t K, int64_t i)
{
    return s + SAE_ES_FIXED + i * sae_es_d(K);
}
static inline double sae_es_spread_x(const double *s, int64_t K)
{
    return sae_about_mean(s[SAE_ES_XX], sae_es_vector(s, K, SAE_ES_V_X), NULL, sae_es_d(K),
                             s[SAE_ES_TESTED]);
}
static inline double sae_es_spread_error(const double *s, int64_t K)
{
    return sae_about_mean(s[SAE_ES_SSE], sae_es_vector(s, K, SAE_ES_V_E), NULL, sae_es_d(K),
                             s[SAE_ES_TESTED]);
}
static inline double sae_es_fvu(const double *s, int64_t K)
{
    return sae_es_share(s[SAE_ES_SSE], sae_es_spread_x(s, K));
}
static inline double sae_es_fvu_nonlinear(const double *s, int64_t K)
{
    return sae_es_share(s[SAE_ES_RSS], sae_es_spread_x(s, K));
}
static inline double sae_es_fvu_linear(const double *s, int64_t K)
{
    return sae_es_fvu(s, K) - sae_es_fvu_nonlinear(s, K);
}
static inline double sae_es_fvu_nonlinear_all(const double *s, int64_t K)
{
    double spread =
        sae_about_mean(s[SAE_ES_XX] + s[SAE_ES_XX_TRAIN], sae_es_vector(s, K, SAE_ES_V_X),
                          sae_es_vector(s, K, SAE_ES_V_X_TRAIN), sae_es_d(K), s[SAE_ES_ROWS]);
    return sae_es_share(s[SAE_ES_RSS] + s[SAE_ES_RSS_TRAIN], spread);
}
static inline double sae_es_linear_fraction(const double *s, int64_t K)
{
    return sae_es_fvu(s, K) < 0.5 ? 1 - sae_es_share(s[SAE_ES_RSS], s[SAE_ES_SSE]) : (double)NAN;
}
static inline double sae_es_error_r2_pooled(const double *s, int64_t K)
{
    return 1 - sae_es_share(s[SAE_ES_RSS], sae_es_spread_error(s, K));
}

/* R^2 of a coordinate of the error; NaN when it does not vary. */
static inline double sae_es_error_r2_at(const double *s, int64_t K, int64_t j)
{
    double spread =
        sae_about_mean(sae_es_vector(s, K, SAE_ES_V_EE)[j], sae_es_vector(s, K, SAE_ES_V_E) + j,
                          NULL, 1, s[SAE_ES_TESTED]);
    return 1 - sae_es_share(sae_es_vector(s, K, SAE_ES_V_RR)[j], spread);
}
static inline double sae_es_error_r2_macro(const double *s, int64_t K)
{
    double sum = 0, count = 0;
    for (int64_t j = 0; j < sae_es_d(K); j++) {
        double r2 = sae_es_error_r2_at(s, K, j);
        sum += isnan(r2) ? 0 : r2;
        count += !isnan(r2);
    }
    return sae_es_share(sum, count);
}

static inline double sae_es_predicted(const double *s, int p)
{
    const double *f = s + SAE_ES_PRED + p * SAE_ES_P_SUMS;
    double spread = sae_about_mean(f[SAE_ES_P_QQ], f + SAE_ES_P_Q, NULL, 1, f[SAE_ES_P_N]);
    return 1 - sae_es_share(f[SAE_ES_P_RSS], spread);
}
#define SAE_ES_PREDICTED(name, p)                                                                  \
    static inline double name(const double *s, int64_t K)                                          \
    {                                                                                              \
        (void)K;                                                                                   \
        return sae_es_predicted(s, p);                                                             \
    }
SAE_ES_PREDICTED(sae_es_norm_r2_error, SAE_ES_Q_ERROR)
SAE_ES_PREDICTED(sae_es_norm_r2_x, SAE_ES_Q_X)
SAE_ES_PREDICTED(sae_es_norm_r2_xhat, SAE_ES_Q_XHAT)
SAE_ES_PREDICTED(sae_es_norm_r2_by_token, SAE_ES_P_TOKEN)
SAE_ES_PREDICTED(sae_es_norm_r2_by_l0, SAE_ES_P_BASE + SAE_ES_BY_L0)
SAE_ES_PREDICTED(sae_es_norm_r2_by_norm, SAE_ES_P_BASE + SAE_ES_BY_NORM)
SAE_ES_PREDICTED(sae_es_norm_r2_by_loss, SAE_ES_P_BASE + SAE_ES_BY_LOSS)

/* Products of x and the error about their means. */
static inline double sae_es_common(const double *s, int64_t K)
{
    double mm = 0;
    for (int64_t j = 0; j < sae_es_d(K); j++)
        mm += sae_es_vector(s, K, SAE_ES_V_X)[j] * sae_es_vector(s, K, SAE_ES_V_E)[j];
    return s[SAE_ES_EX] - mm / s[SAE_ES_TESTED];
}
/* Products of xhat and the error, and of xhat and itself, about their means. */
static inline double sae_es_along(const double *s, int64_t K, double *length)
{
    double ex = sae_es_common(s, K), ee = sae_es_spread_error(s, K), xx = sae_es_spread_x(s, K);
    double hh = xx - 2 * ex + ee;
    *length = hh > (xx + ee) * 0x1p-40 ? hh : 0.0;
    return ex - ee;
}
static inline double sae_es_shrinkage(const double *s, int64_t K)
{
    double hh, eh = sae_es_along(s, K, &hh);
    return sae_es_share(eh, hh);
}
static inline double sae_es_shrinkage_r2(const double *s, int64_t K)
{
    double hh, eh = sae_es_along(s, K, &hh);
    return sae_es_share(eh * eh, hh * sae_es_spread_error(s, K));
}

SAE_RATIO(sae_es_norm_error, SAE_ES_NORM_E, SAE_ES_TESTED)
SAE_RATIO(sae_es_norm_linear, SAE_ES_NORM_L, SAE_ES_TESTED)
SAE_RATIO(sae_es_norm_nonlinear, SAE_ES_NORM_N, SAE_ES_TESTED)
SAE_RATIO(sae_es_norm_share_linear, SAE_ES_NORM_L, SAE_ES_NORM_E)
SAE_RATIO(sae_es_norm_share_nonlinear, SAE_ES_NORM_N, SAE_ES_NORM_E)

static inline double sae_es_r2_recovered_linear(const double *s, int64_t K)
{
    (void)K;
    return 1 - sae_es_share(s[SAE_ES_RSS], s[SAE_ES_SSE]);
}
static inline double sae_es_r2_recovered_nonlinear(const double *s, int64_t K)
{
    (void)K;
    return 1 - sae_es_share(s[SAE_ES_LIN2], s[SAE_ES_SSE]);
}

SAE_RATIO(sae_es_ce_clean, SAE_ES_CE_CLEAN, SAE_ES_TOKENS)
SAE_RATIO(sae_es_ce_sae, SAE_ES_CE_SAE, SAE_ES_TOKENS)
SAE_RATIO(sae_es_ce_linear, SAE_ES_CE_LINEAR, SAE_ES_TOKENS)
SAE_RATIO(sae_es_ce_nonlinear, SAE_ES_CE_NONLINEAR, SAE_ES_TOKENS)

static inline double sae_es_ce_recovered_linear(const double *s, int64_t K)
{
    double lost = s[SAE_ES_CE_SAE] - s[SAE_ES_CE_CLEAN];
    (void)K;
    return lost != 0.0 ? (s[SAE_ES_CE_SAE] - s[SAE_ES_CE_LINEAR]) / lost : (double)NAN;
}
static inline double sae_es_ce_recovered_nonlinear(const double *s, int64_t K)
{
    double lost = s[SAE_ES_CE_SAE] - s[SAE_ES_CE_CLEAN];
    (void)K;
    return lost != 0.0 ? (s[SAE_ES_CE_SAE] - s[SAE_ES_CE_NONLINEAR]) / lost : (double)NAN;
}

#endif
