/* suite/kernels/cpu/pack.c - operands in the order in which tiles read them. */
#include "cpu/pack.h"

#include <string.h>

typedef float v4 __attribute__((vector_size(16)));
typedef float v4u __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows of four floats, transposed into out with the given stride. */
static inline void transpose4(const float *x, int64_t ld, v4 shift, float *out, int64_t stride)
{
    v4 a = *(const v4u *)x - shift, b = *(const v4u *)(x + ld) - shift;
    v4 c = *(const v4u *)(x + 2 * ld) - shift, d = *(const v4u *)(x + 3 * ld) - shift;
    v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    v4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    *(v4u *)out = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(v4u *)(out + stride) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(v4u *)(out + 2 * stride) = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(v4u *)(out + 3 * stride) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

void sae_pack_rows(const float *x, int64_t ld, int64_t rows, int64_t depth, const float *shift,
                   int width, float *out)
{
    int64_t fast_rows = rows - rows % 4, fast_depth = depth - depth % 4;
    for (int64_t k = 0; k < fast_depth; k += 4) {
        v4 s = {0};
        if (shift)
            s = *(const v4u *)(shift + k);
        for (int64_t r = 0; r < fast_rows; r += 4)
            transpose4(x + r * ld + k, ld, s, out + k * width + r, width);
    }
    for (int64_t k = 0; k < depth; k++)
        for (int64_t r = k < fast_depth ? fast_rows : 0; r < rows; r++)
            out[k * width + r] = shift ? x[r * ld + k] - shift[k] : x[r * ld + k];
    for (int64_t k = 0; k < depth && rows < width; k++)
        memset(out + k * width + rows, 0, (size_t)(width - rows) * sizeof *out);
}

void sae_pack_cols(const float *x, int64_t ld, int64_t cols, int64_t depth, int width, float *out)
{
    for (int64_t k = 0; k < depth; k++, out += width, x += ld) {
        memcpy(out, x, (size_t)cols * sizeof *out);
        memset(out + cols, 0, (size_t)(width - cols) * sizeof *out);
    }
}

void sae_pack_transposed(const float *x, int64_t ld, int64_t rows, int64_t depth, int height,
                         float *out)
{
    int64_t fast_rows = rows - rows % 4, fast_depth = depth - depth % 4;
    for (int64_t k = 0; k < fast_depth; k += 4)
        for (int64_t r = 0; r < fast_rows; r += 4)
            transpose4(x + k * ld + r, ld, (v4){0}, out + r * depth + k, depth);
    for (int64_t k = 0; k < depth; k++)
        for (int64_t r = k < fast_depth ? fast_rows : 0; r < rows; r++)
            out[r * depth + k] = x[k * ld + r];
    memset(out + rows * depth, 0, (size_t)((height - rows) * depth) * sizeof *out);
}
