/* suite/kernels/cpu/cpu.h - names of the cpu kernels, their workspace slots and thread loops. */
#ifndef SAE_KERNELS_CPU_H
#define SAE_KERNELS_CPU_H

#include "cpu/simd.h"
#include "ref/ref.h"

/* Everything but `sum`, which the reference does well enough. */
#define SAE_CPU_LIST(X)                                                                            \
    X(gemm) X(shift_rows) X(col_sum) X(row_dot)                                                    \
    X(encode_topk) X(encode_flat_topk) X(encode_threshold) X(encode_dense)                         \
    X(row_topk) X(flat_topk) X(col_topk) X(threshold) X(code_to_dense)                             \
    X(code_decode) X(code_grad) X(code_transpose) X(code_outer) X(code_col_sum)                    \
    X(residual) X(code_norms)                                                                      \
    X(project_rows) X(adam_step) X(unit_rows)                                                      \
    X(fire_update) X(normal_fill) X(gate)                                                          \
    X(map) X(mul) X(scale) X(window) X(col_max) X(cross) X(eigh) X(solve_spd)                      \
    X(row_prefix) X(code_slice) X(code_scale) X(pursuit)

#define SAE_CPU(op) sae_k_##op##_cpu
#define SAE_CPU_PROTOTYPE(op) SAE_DECL_##op(SAE_CPU(op));
SAE_CPU_LIST(SAE_CPU_PROTOTYPE)
#undef SAE_CPU_PROTOTYPE

/* Slots of the workspace. A kernel may use several at once; no kernel calls another while it holds
 * one that the other uses. */
enum { OWN_PACK, OWN_ROWS, OWN_LIST, OWN_BOUND, OWN_KEY, OWN_POOL, OWN_TILE };
enum { ALL_WORKERS, ALL_ENTRIES, ALL_KEYS, ALL_BOUNDS, ALL_CURSOR, ALL_SUMS, ALL_LANES,
       ALL_GRAM };

/* Rows per unit of dynamic scheduling; results do not depend on it. */
enum { CHUNK_ROWS = 32 };

static inline const sae_simd *simd_of(const sae_device *dev)
{
    return sae_simd_at(dev->simd);
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t chunks_of(int64_t n, int64_t size)
{
    return n / size + (n % size != 0);
}

/* for (i = 0; i < n; i++) over threads, in chunks of `size` iterations; one chunk wakes nobody. */
#define PARALLEL_FOR(dev, i, n, size)                                                              \
    SAE_OMP(omp parallel for schedule(dynamic, size) num_threads((dev)->threads)                   \
                if ((n) > (size)))                                                                 \
    for (int64_t i = 0; i < (n); i++)
#define SAE_OMP(text) _Pragma(#text)

/* Elementwise kernels go over pieces of rows, so that one long vector has work for every thread. */
enum { PIECE = 8192 };

typedef struct piece { /* elements [c, c + live) of row r */
    int64_t r, c, live;
} piece;

static inline int64_t pieces_of(sae_mat m)
{
    return m.rows * chunks_of(m.cols, PIECE);
}

static inline piece piece_at(sae_mat m, int64_t i)
{
    int64_t per_row = chunks_of(m.cols, PIECE), c = i % per_row * PIECE;
    piece p = {i / per_row, c, min_i64(PIECE, m.cols - c)};
    return p;
}

static inline const float *piece_of(sae_cmat m, piece p)
{
    return row_of(m, p.r) + p.c;
}

static inline float *piece_out(sae_mat m, piece p)
{
    return m.p + p.r * m.ld + p.c;
}

/* for every piece p of the matrix m, over threads; what one piece could hold wakes nobody. */
#define PARALLEL_PIECES(dev, p, m)                                                                 \
    SAE_OMP(omp parallel for schedule(dynamic, (m).cols < PIECE ? CHUNK_ROWS : 1)                  \
                num_threads((dev)->threads) if ((m).rows * (m).cols > PIECE))                      \
    for (int64_t piece_i = 0; piece_i < pieces_of(m); piece_i++)                                   \
        for (piece p = piece_at(m, piece_i), *once = &p; once; once = NULL)

/* Test hook: kernels of the device run at this level (enum sae_simd_level) or the best below it. */
void sae_cpu_force(sae_device *dev, int level);

#endif
