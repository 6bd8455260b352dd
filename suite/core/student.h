/* suite/core/student.h - quantiles of Student's t distribution. */
#ifndef SAE_CORE_STUDENT_H
#define SAE_CORE_STUDENT_H

/* P(T <= t) with df > 0 degrees of freedom, not necessarily whole; to about 1e-12. */
double sae_student_cdf(double t, double df);
/* The t with P(T <= t) = p, 0 < p < 1; to about 1e-9 of it. */
double sae_student_quantile(double p, double df);

#endif
