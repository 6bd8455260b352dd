/* tests/emu/cublas.cc - see cublas_v2.h. */
#include "cublas_v2.h"

namespace
{

template <class T> struct product {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    T alpha, beta;
    const T *a, *b;
    T *c;

    void run() const
    {
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) {
                double s = 0;
                for (int64_t l = 0; l < k; l++)
                    s += (double)(ta ? a[i * lda + l] : a[l * lda + i]) *
                         (double)(tb ? b[l * ldb + j] : b[j * ldb + l]);
                T *to = c + j * ldc + i;
                *to = (T)((double)alpha * s + (beta == 0 ? 0 : (double)beta * (double)*to));
            }
    }
};

template <class T>
void enqueue(cublasOperation_t ta, cublasOperation_t tb, int64_t m, int64_t n, int64_t k,
             const void *alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
             const void *beta, void *c, int64_t ldc)
{
    product<T> p = {ta == CUBLAS_OP_T, tb == CUBLAS_OP_T, m, n, k, lda, ldb, ldc,
                    *(const T *)alpha, *(const T *)beta, (const T *)a, (const T *)b, (T *)c};
    emu_enqueue([=] { p.run(); });
}

} // namespace

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    *h = nullptr;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = 0;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t s)
{
    return s ? "invalid value" : "success";
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb,
                               int64_t m, int64_t n, int64_t k, const void *alpha, const void *a,
                               cudaDataType at, int64_t lda, const void *b, cudaDataType bt,
                               int64_t ldb, const void *beta, void *c, cudaDataType ct, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t)
{
    int64_t rows_a = ta == CUBLAS_OP_T ? k : m, rows_b = tb == CUBLAS_OP_T ? n : k;
    bool wide = compute == CUBLAS_COMPUTE_64F;
    if (m < 0 || n < 0 || k < 0 || lda < (rows_a > 1 ? rows_a : 1) ||
        ldb < (rows_b > 1 ? rows_b : 1) || ldc < (m > 1 ? m : 1) || at != bt || at != ct ||
        wide != (at == CUDA_R_64F))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (wide)
        enqueue<double>(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    else
        enqueue<float>(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return CUBLAS_STATUS_SUCCESS;
}
