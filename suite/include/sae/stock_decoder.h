/* sae/stock_decoder.h - whether rows of W_dec have unit norm or are free.
 *
 * Penalties on codes weigh the code z_j of a free row by w_j = |W_dec[j]|, so that a small code
 * with a long row is no cheaper (stock_dense.h).
 */
#ifndef SAE_STOCK_DECODER_H
#define SAE_STOCK_DECODER_H

#include "stock.h"

enum { STOCK_DECODER_UNIT, STOCK_DECODER_FREE };
static const char *const stock_decoder_names[] = {"unit", "free", NULL};

typedef struct stock_decoder_opt {
    int64_t rows; /* STOCK_DECODER_* */
    double norm;
} stock_decoder_opt;

/* One row of an option table; T is the option struct, m an int64_t member. */
#define STOCK_DECODER_OPTION(T, m, def)                                                            \
    {                                                                                              \
        "decoder", SAE_OPT_ENUM, 0, offsetof(T, m), (def), 0, STOCK_DECODER_FREE,                  \
            stock_decoder_names, NULL, "1", "rows of W_dec keep unit norm, or are free"            \
    }

/* The row and the norm that free rows start with; m is a stock_decoder_opt member. */
#define STOCK_DECODER_OPTIONS(T, m)                                                                \
    STOCK_DECODER_OPTION(T, m.rows, STOCK_DECODER_UNIT),                                           \
    {                                                                                              \
        "dec_norm", SAE_OPT_REAL, 0, offsetof(T, m.norm), 0.1, 1e-6, 1e3, NULL, NULL, "1",         \
            "first row norm of W_dec with decoder=free"                                            \
    }

/* The `tensor_flags` method; rows: STOCK_DECODER_*. */
static inline uint32_t stock_decoder_flags(int64_t rows, const sae_tensor_spec *spec)
{
    return rows == STOCK_DECODER_UNIT ? spec->flags : spec->flags & ~(uint32_t)SAE_T_UNIT_ROWS;
}

static inline double stock_decoder_norm(const stock_decoder_opt *o)
{
    return o->rows == STOCK_DECODER_FREE ? o->norm : 1;
}

#endif
