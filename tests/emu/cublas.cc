/* tests/emu/cublas.cc - see cublas_v2.h. */
#include "cublas_v2.h"

namespace
{

/* What a product sees of an operand: of fp32 that is to be cut, or bf16. */
double seen(float v, uint32_t bits)
{
    return (double)__uint_as_float(__float_as_uint(v) & bits);
}

double seen(uint16_t v, uint32_t)
{
    return (double)__uint_as_float((uint32_t)v << 16);
}

uint32_t bits_of(cublasComputeType_t compute)
{
    return compute == CUBLAS_COMPUTE_32F_FAST_TF32   ? 0xffffe000u
           : compute == CUBLAS_COMPUTE_32F_FAST_16BF ? 0xffff0000u
                                                     : 0xffffffffu;
}

template <class T> struct product {
    bool ta, tb;
    uint32_t bits;
    int64_t m, n, k, lda, ldb, ldc;
    float alpha, beta;
    const T *a, *b;
    float *c;

    void run() const
    {
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) {
                double s = 0;
                for (int64_t l = 0; l < k; l++)
                    s += seen(ta ? a[i * lda + l] : a[l * lda + i], bits) *
                         seen(tb ? b[l * ldb + j] : b[j * ldb + l], bits);
                float *to = c + j * ldc + i;
                *to = (float)((double)alpha * s + (beta == 0 ? 0 : (double)beta * (double)*to));
            }
    }
};

} // namespace

struct emu_blas {
    cudaStream_t stream;
};

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    *h = new emu_blas{nullptr};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h)
{
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s)
{
    h->stream = s;
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

cublasStatus_t cublasGemmEx_64(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,
                               int64_t m, int64_t n, int64_t k, const void *alpha, const void *a,
                               cudaDataType at, int64_t lda, const void *b, cudaDataType bt,
                               int64_t ldb, const void *beta, void *c, cudaDataType ct, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t)
{
    int64_t rows_a = ta == CUBLAS_OP_T ? k : m, rows_b = tb == CUBLAS_OP_T ? n : k;
    if (m < 0 || n < 0 || k < 0 || lda < (rows_a > 1 ? rows_a : 1) ||
        ldb < (rows_b > 1 ? rows_b : 1) || ldc < (m > 1 ? m : 1) || bt != at || ct != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    auto enqueue = [&](auto one) {
        typedef decltype(one) T;
        product<T> p = {ta == CUBLAS_OP_T,   tb == CUBLAS_OP_T,   bits_of(compute), m, n, k, lda,
                        ldb,                 ldc,                 *(const float *)alpha,
                        *(const float *)beta, (const T *)a,       (const T *)b,     (float *)c};
        emu_enqueue(h->stream, [=] { p.run(); });
    };
    at == CUDA_R_16BF ? enqueue(uint16_t()) : enqueue(float());
    return CUBLAS_STATUS_SUCCESS;
}
