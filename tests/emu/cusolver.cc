/* tests/emu/cusolver.cc - see cusolverDn.h. */
#include "cusolverDn.h"
#include "emu.h"

#include <lapacke.h>

namespace
{

/* OpenBLAS's own switch: its threads were made before device memory was, and may not touch it. */
extern "C" void openblas_set_num_threads(int threads) __attribute__((weak));

void one_thread()
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
}

char letter(cublasFillMode_t uplo)
{
    return uplo == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L';
}

cusolverStatus_t checked(int n, int lda)
{
    return n < 0 || lda < (n > 1 ? n : 1) ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

} // namespace

struct emu_solver {
    cudaStream_t stream;
};

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *h)
{
    emu_disturb("a solver made while a thread records"); /* it allocates and waits */
    *h = new emu_solver{nullptr};
    one_thread();
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t h)
{
    delete h;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t h, cudaStream_t s)
{
    h->stream = s;
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDsyevd_bufferSize(cusolverDnHandle_t, cusolverEigMode_t,
                                             cublasFillMode_t, int n, const double *, int lda,
                                             const double *, int *lwork)
{
    *lwork = 1;
    return checked(n, lda);
}

cusolverStatus_t cusolverDnDsyevd(cusolverDnHandle_t h, cusolverEigMode_t jobz,
                                  cublasFillMode_t uplo, int n, double *a, int lda, double *w, double *, int, int *info)
{
    char job = jobz == CUSOLVER_EIG_MODE_VECTOR ? 'V' : 'N';
    emu_enqueue(h->stream, [=] { *info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, job, letter(uplo), n, a, lda, w); });
    return checked(n, lda);
}

cusolverStatus_t cusolverDnDpotrf_bufferSize(cusolverDnHandle_t, cublasFillMode_t, int n, double *,
                                             int lda, int *lwork)
{
    *lwork = 1;
    return checked(n, lda);
}

cusolverStatus_t cusolverDnDpotrf(cusolverDnHandle_t h, cublasFillMode_t uplo, int n, double *a,
                                  int lda, double *, int, int *info)
{
    emu_enqueue(h->stream, [=] { *info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, letter(uplo), n, a, lda); });
    return checked(n, lda);
}

cusolverStatus_t cusolverDnDpotrs(cusolverDnHandle_t h, cublasFillMode_t uplo, int n, int nrhs,
                                  const double *a, int lda, double *b, int ldb, int *info)
{
    emu_enqueue(h->stream, [=] {
        *info = LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, letter(uplo), n, nrhs, a, lda, b, ldb);
    });
    return nrhs < 0 ? CUSOLVER_STATUS_INVALID_VALUE : checked(n, ldb);
}
