/* tests/emu/cusolverDn.h - what suite/kernels/cuda asks of cuSOLVER, by LAPACK. */
#ifndef SAE_EMU_CUSOLVER_H
#define SAE_EMU_CUSOLVER_H

#include "cublas_v2.h"

typedef struct emu_solver *cusolverDnHandle_t;
enum cusolverStatus_t { CUSOLVER_STATUS_SUCCESS = 0, CUSOLVER_STATUS_INVALID_VALUE = 3 };
enum cusolverEigMode_t { CUSOLVER_EIG_MODE_NOVECTOR, CUSOLVER_EIG_MODE_VECTOR };
enum cublasFillMode_t { CUBLAS_FILL_MODE_LOWER, CUBLAS_FILL_MODE_UPPER };

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *h);
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t h);
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t h, cudaStream_t s);
cusolverStatus_t cusolverDnDsyevd_bufferSize(cusolverDnHandle_t h, cusolverEigMode_t jobz,
                                             cublasFillMode_t uplo, int n, const double *a, int lda,
                                             const double *w, int *lwork);
cusolverStatus_t cusolverDnDsyevd(cusolverDnHandle_t h, cusolverEigMode_t jobz,
                                  cublasFillMode_t uplo, int n, double *a, int lda, double *w,
                                  double *work, int lwork, int *info);
cusolverStatus_t cusolverDnDpotrf_bufferSize(cusolverDnHandle_t h, cublasFillMode_t uplo, int n,
                                             double *a, int lda, int *lwork);
cusolverStatus_t cusolverDnDpotrf(cusolverDnHandle_t h, cublasFillMode_t uplo, int n, double *a,
                                  int lda, double *work, int lwork, int *info);
cusolverStatus_t cusolverDnDpotrs(cusolverDnHandle_t h, cublasFillMode_t uplo, int n, int nrhs,
                                  const double *a, int lda, double *b, int ldb, int *info);

#endif
