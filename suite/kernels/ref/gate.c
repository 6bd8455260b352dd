/* suite/kernels/ref/gate.c - pass a value where a gate is open. */
#include "ref/ref.h"

SAE_DECL_gate(SAE_REF(gate))
{
    (void)dev;
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++) {
            sae_real v = value.p[r * value.ld + i], g = gate.p[r * gate.ld + i];
            out.p[r * out.ld + i] = g > 0 ? v : (g <= 0 ? 0 : g);
        }
    return SAE_OK;
}
