/* suite/kernels/cpu/pack.h - operands in the order in which tiles read them. */
#ifndef SAE_KERNELS_PACK_H
#define SAE_KERNELS_PACK_H

#include <stdint.h>

/* out[k * width + r] = x[r * ld + k] - shift[k] for r < rows, 0 for rows <= r < width. shift may be
 * NULL; width is a multiple of 4. */
void sae_pack_rows(const float *x, int64_t ld, int64_t rows, int64_t depth, const float *shift,
                   int width, float *out);
/* out[k * width + c] = x[k * ld + c] for c < cols, 0 for cols <= c < width. */
void sae_pack_cols(const float *x, int64_t ld, int64_t cols, int64_t depth, int width, float *out);
/* out[r * depth + k] = x[k * ld + r] for r < rows, 0 for rows <= r < height. */
void sae_pack_transposed(const float *x, int64_t ld, int64_t rows, int64_t depth, int height,
                         float *out);

#endif
