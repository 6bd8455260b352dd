/* sae/kernels.h - the numeric kernels every component computes with.
 *
 * One table of function pointers per backend; no entry is ever NULL. suite/kernels/ref defines what
 * each entry means (scalar C, always built, the oracle of every other implementation); a backend
 * starts from it and overrides what it does better.
 *
 * Rules for every entry
 *   - Arrays are backend memory unless the entry says host; the structs that hold them are host's.
 *   - Outputs do not overlap inputs unless the entry says so. Sizes may be 0.
 *   - Codes that code_decode, code_grad, code_scale, code_to_dense, code_norms and code_merge read,
 *     and column indices that code_outer, code_col_sum and code_col_min read, may be ranges: rowptr
 *     + r0 with B = r1 - r0, or colptr + j0 with n = j1 - j0, all else being the whole's (rowptr[0]
 *     may be > 0, nnz more than is listed). Results have the bits that the whole's have.
 *   - Result does not depend on the number of threads (level D1); every output element has one
 *     writer and reductions follow a fixed tree over fixed chunks.
 *   - A row of an encode_* or gemm result depends on that row of the input only, bitwise: the same
 *     row in a batch of 1 and in a batch of 4096 gives the same bits.
 *   - The device owns the workspace; it grows on first use and is then reused, so repeated calls of
 *     the same shape do not allocate. One call at a time per device.
 *   - Status: SAE_OK; SAE_EINVAL for negative or inconsistent extents; SAE_ENOMEM; SAE_EBACKEND;
 *     SAE_ECAPACITY where a code is produced (see sae_code).
 *
 * Order of every selection: score descending, then feature index ascending (flat selections: row,
 * then feature, ascending). NaN scores are never selected and are counted in code->nan. -0 == +0.
 */
#ifndef SAE_KERNELS_H
#define SAE_KERNELS_H

#include "base.h"

enum { SAE_KERNELS_ABI = 1 };

typedef struct sae_device sae_device; /* opaque; made by a backend, see backend.h */

/* How a value becomes the score that selections rank. */
enum sae_key {
    SAE_KEY_VALUE = 0, /* score = v; every non-NaN entry is eligible                    */
    SAE_KEY_RELU = 1,  /* score = v; only v > 0 is eligible                              */
    SAE_KEY_ABS = 2    /* score = |v|; only v != 0 is eligible; the value keeps its sign */
};

/* An affine encoder, pre = (x - shift) w^T + bias, never materialised unless asked for. */
typedef struct sae_encoder {
    sae_cmat x;            /* [B x d] */
    const sae_real *shift; /* [d] or NULL: 0 */
    sae_cmat w;            /* [n x d] one row per feature */
    const sae_real *bias;  /* [n] or NULL: 0 */
    const int32_t *subset; /* [m] ascending feature indices, or NULL for all n. Features outside
                              take no part; codes keep full indices; dense output is [B x m] */
    int64_t m;             /* length of subset; ignored when subset is NULL */
} sae_encoder;

/* What a selection over dense scores reads. */
typedef struct sae_scores {
    sae_cmat value; /* [B x n] stored for selected entries */
    sae_cmat score; /* [B x n] ranked through key; p == NULL: score is value */
    enum sae_key key;
} sae_scores;

/* Column index of a sparse code: entries of feature j are pos[colptr[j]..colptr[j+1]) into the
 * code's idx/val, in ascending row order; row[] holds their rows. */
typedef struct sae_csc {
    int64_t n, nnz, cap;
    int64_t *colptr; /* [n + 1] */
    int32_t *row;    /* [cap] */
    int64_t *pos;    /* [cap] */
} sae_csc;

/* Part of a code: its row r is row row0 + r of the whole, its feature j is feature j0 + j. */
typedef struct sae_code_part { sae_code z; int64_t row0, j0; } sae_code_part;

/* One Adam step (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (AdamW). */
typedef struct sae_adam {
    double lr, beta1, beta2, eps, weight_decay;
    double grad_scale; /* gradient is multiplied by this first (global-norm clipping) */
    int64_t t;         /* 1 for the first step (bias correction) */
    int unit_rows;     /* 1: rows of w are scaled to unit L2 norm afterwards; a zero row stays */
} sae_adam;

/* Elementwise functions of map; a NaN stays a NaN. */
enum sae_fn {
    SAE_FN_EXP,   /* exp(x)                              */
    SAE_FN_TANH,  /* tanh(x)                             */
    SAE_FN_ABS,   /* |x|                                 */
    SAE_FN_SIGN,  /* -1, 0 or 1                          */
    SAE_FN_POWER, /* x^p for x > 0, else 0               */
    SAE_FN_CLAMP  /* x moved into [p, q]                 */
};

/* Sparse codes over a dictionary by greedy selection. r = x at the start; every step takes the atom
 * j with the largest |<r, w[j]>| (lower index first) and stops the row when that is at most
 * 1e-12 |x| max |w|, which is rounding.
 *   MP        z[j] += <r, w[j]>; an atom may be taken again     (Mallat & Zhang 1993)
 *   OMP       least squares on the atoms taken so far; atoms that are linearly dependent on them
 *             (squared distance below 1e-7) are passed over     (Pati et al. 1993)
 *   GRADIENT  with g = <r, w> on the active atoms (z[j] != 0) and the one taken, z += s g, s the
 *             exact line search                                 (Blumensath & Davies 2008)
 * Rows of w have unit norm for MP and OMP; a zero row is never taken. A row of x that is not finite
 * has no entries and counts n NaN. */
enum sae_solver { SAE_SOLVE_MP, SAE_SOLVE_OMP, SAE_SOLVE_GRADIENT };

typedef struct sae_pursuit {
    enum sae_solver solver;
    int positive;         /* 1: rank by <r, w[j]>, only positive ones; GRADIENT clips z at 0 after
                             each step. Not with OMP */
    int64_t k;            /* steps of a row */
    const int64_t *k_row; /* [B] steps of each row, at most k; NULL: k */
    double tol;           /* a row ends once |r| <= tol */
} sae_pursuit;

/* ---- dense --------------------------------------------------------------------------------- */

/* c = alpha op(a) op(b) + beta c, op = transpose when the flag is 1. beta == 0 ignores old c. */
#define SAE_DECL_gemm(name)                                                                        \
    int name(sae_device *dev, int ta, int tb, sae_real alpha, sae_cmat a, sae_cmat b,             \
             sae_real beta, sae_mat c)
/* out[r,:] = x[r,:] + alpha * v. out may be x. */
#define SAE_DECL_shift_rows(name)                                                                  \
    int name(sae_device *dev, sae_cmat x, sae_real alpha, const sae_real *v, sae_mat out)
/* out[j] += alpha * sum_r x[r,j]; sums over r are blocked pairwise. */
#define SAE_DECL_col_sum(name)                                                                     \
    int name(sae_device *dev, sae_cmat x, sae_real alpha, sae_real *out)
/* out = value where gate > 0, 0 where gate <= 0, gate where gate is NaN (so that a loss shows it).
 * Elementwise; out may be value or gate. ReLU: gate(v, v); its backward: gate(dv, v). */
#define SAE_DECL_gate(name)                                                                        \
    int name(sae_device *dev, sae_cmat value, sae_cmat gate, sae_mat out)
/* out[r] = <a[r,:], b[r,:]>, accumulated in double. a and b may be the same. */
#define SAE_DECL_row_dot(name) int name(sae_device *dev, sae_cmat a, sae_cmat b, double *out)
/* *out (host memory: the call waits for the result) = sum of v[0..n), pairwise over blocks. */
#define SAE_DECL_sum(name) int name(sae_device *dev, int64_t n, const double *v, double *out)

/* ---- fused encode and select: no B x n buffer ---------------------------------------------- */

/* The (at most) k best entries of every row. */
#define SAE_DECL_encode_topk(name)                                                                 \
    int name(sae_device *dev, const sae_encoder *e, enum sae_key key, int64_t k, sae_code *z)
/* The (at most) `budget` best entries of the whole B x n matrix (BatchTopK). */
#define SAE_DECL_encode_flat_topk(name)                                                            \
    int name(sae_device *dev, const sae_encoder *e, enum sae_key key, int64_t budget, sae_code *z)
/* Every eligible entry with score > theta; per_feature [n] overrides theta when not NULL. */
#define SAE_DECL_encode_threshold(name)                                                            \
    int name(sae_device *dev, const sae_encoder *e, enum sae_key key, double theta,               \
             const double *per_feature, sae_code *z)
/* pre = (x - shift) w^T + bias, [B x n] ([B x m] with a subset). */
#define SAE_DECL_encode_dense(name) int name(sae_device *dev, const sae_encoder *e, sae_mat pre)

/* ---- selection over dense scores ------------------------------------------------------------ */

#define SAE_DECL_row_topk(name)                                                                    \
    int name(sae_device *dev, const sae_scores *s, int64_t k, sae_code *z)
#define SAE_DECL_flat_topk(name)                                                                   \
    int name(sae_device *dev, const sae_scores *s, int64_t budget, sae_code *z)
/* The quota[j] best rows of every feature j (Feature Choice); ties: lower row first. */
#define SAE_DECL_col_topk(name)                                                                    \
    int name(sae_device *dev, const sae_scores *s, const int64_t *quota, sae_code *z)
#define SAE_DECL_threshold(name)                                                                   \
    int name(sae_device *dev, const sae_scores *s, double theta, const double *per_feature,       \
             sae_code *z)
/* out[r,j] = value of the listed entry, else 0. */
#define SAE_DECL_code_to_dense(name) int name(sae_device *dev, const sae_code *z, sae_mat out)

/* ---- sparse products ------------------------------------------------------------------------- */
/* Sparse and dense codes are both accepted unless the entry says sparse. */

/* xhat = z w + bias; w [n x d]; bias [d] or NULL. */
#define SAE_DECL_code_decode(name)                                                                 \
    int name(sae_device *dev, const sae_code *z, sae_cmat w, const sae_real *bias, sae_mat xhat)
/* dval[i] = <dx[r,:], w[j,:]> for every listed entry i = (r, j): the gradient of listed codes.
 * dval has z's layout ([nnz], or [B x n] for a dense code). */
#define SAE_DECL_code_grad(name)                                                                   \
    int name(sae_device *dev, const sae_code *z, sae_cmat dx, sae_cmat w, sae_real *dval)
/* Column index of a sparse code; exact. SAE_ECAPACITY if t->cap < z->nnz. */
#define SAE_DECL_code_transpose(name) int name(sae_device *dev, const sae_code *z, sae_csc *t)
/* dw[j,:] += alpha * sum over entries i of column j of val[i] * x[row,:]. Sparse. One writer per
 * row of dw, entries in ascending row order. */
#define SAE_DECL_code_outer(name)                                                                  \
    int name(sae_device *dev, const sae_csc *t, const sae_real *val, sae_real alpha, sae_cmat x,  \
             sae_mat dw)
/* out[j] += alpha * sum over entries i of column j of val[i]. Sparse. */
#define SAE_DECL_code_col_sum(name)                                                                \
    int name(sae_device *dev, const sae_csc *t, const sae_real *val, sae_real alpha, sae_real *out)

/* ---- losses ---------------------------------------------------------------------------------- */

/* resid = xhat - y and sse[r] = |resid[r,:]|^2 in double. resid may be xhat; resid.p may be
 * NULL. */
#define SAE_DECL_residual(name)                                                                    \
    int name(sae_device *dev, sae_cmat xhat, sae_cmat y, sae_mat resid, double *sse)
/* Per row of the code: l0[r] entries with val != 0, l1[r] = sum |val|. Either may be NULL. */
#define SAE_DECL_code_norms(name)                                                                  \
    int name(sae_device *dev, const sae_code *z, int64_t *l0, double *l1)

/* ---- optimiser ------------------------------------------------------------------------------- */

/* If w.p != NULL, remove from each row of g its component along the row of w (a zero row of w
 * leaves g alone). Then *norm2 = |g|^2 in double, pairwise over rows. */
#define SAE_DECL_project_rows(name)                                                                \
    int name(sae_device *dev, sae_cmat w, sae_mat g, double *norm2)
/* w, m, v are updated, g is set to zero; all [rows x cols] with ld == cols. Moments that are not
 * normal numbers become 0: those of a feature without gradient would stay denormal for ever, and
 * arithmetic on denormals is slow. */
#define SAE_DECL_adam_step(name)                                                                   \
    int name(sae_device *dev, const sae_adam *a, sae_mat w, sae_real *g, sae_real *m, sae_real *v)
/* Scale every row to unit L2 norm; zero rows stay zero. */
#define SAE_DECL_unit_rows(name) int name(sae_device *dev, sae_mat w)

/* ---- statistics and random numbers ----------------------------------------------------------- */

/* For every feature with an active entry (val != 0): last_fired[j] = now; fire_count[j] += number
 * of rows on which it is active. */
#define SAE_DECL_fire_update(name)                                                                 \
    int name(sae_device *dev, const sae_code *z, uint64_t now, uint64_t *last_fired,              \
             uint64_t *fire_count)
/* out[r,i] = standard normal i of (seed, stream, row0 + r) as sae_normal defines it. */
#define SAE_DECL_normal_fill(name)                                                                 \
    int name(sae_device *dev, uint64_t seed, uint32_t stream, uint64_t row0, sae_mat out)

/* ---- elementwise and small products --------------------------------------------------------- */
/* out may be an input. */

/* out = f(x); p, q: parameters of f. */
#define SAE_DECL_map(name)                                                                         \
    int name(sae_device *dev, enum sae_fn f, double p, double q, sae_cmat x, sae_mat out)
/* out = alpha * a * b, elementwise. */
#define SAE_DECL_mul(name)                                                                         \
    int name(sae_device *dev, sae_real alpha, sae_cmat a, sae_cmat b, sae_mat out)
/* out[r,j] = row[r] * col[j] * x[r,j]; row or col may be NULL: 1. */
#define SAE_DECL_scale(name)                                                                       \
    int name(sae_device *dev, sae_cmat x, const sae_real *row, const sae_real *col, sae_mat out)
/* out = value where |gate| < half, 0 elsewhere, gate where gate is NaN: the rectangle kernel of
 * straight-through estimators. */
#define SAE_DECL_window(name)                                                                      \
    int name(sae_device *dev, sae_cmat value, sae_cmat gate, double half, sae_mat out)
/* out[j] = max(out[j], largest x[r,j]); NaN is passed over. */
#define SAE_DECL_col_max(name) int name(sae_device *dev, sae_cmat x, sae_real *out)
/* out[i * b.cols + j] += sum_r a[r,i] b[r,j] in double, rows in ascending order. */
#define SAE_DECL_cross(name) int name(sae_device *dev, sae_cmat a, sae_cmat b, double *out)
/* Symmetric a [n x n]: rows of a become orthonormal eigenvectors, w [n] their eigenvalues in
 * descending order. The entry of largest magnitude of every eigenvector is positive. SAE_EINVAL
 * when the sum of the squares of a is not finite. */
#define SAE_DECL_eigh(name) int name(sae_device *dev, int64_t n, double *a, double *w)
/* a z = b for symmetric positive definite a [n x n], b [n x m]; b becomes z, a is overwritten. Only
 * the lower triangle of a is read. SAE_EINVAL when a is not positive definite. */
#define SAE_DECL_solve_spd(name)                                                                   \
    int name(sae_device *dev, int64_t n, int64_t m, double *a, double *b)

/* ---- more on codes --------------------------------------------------------------------------- */

/* Per row the prefix of the ranking (key, score) whose norm |(s_1 .. s_i)| of scores is nearest to
 * target[r], i >= 1 and the smaller i on a tie; squared: the squares of both are compared.
 * Nothing when no entry is eligible. */
#define SAE_DECL_row_prefix(name)                                                                  \
    int name(sae_device *dev, const sae_scores *s, const double *target, int squared, sae_code *z)
/* out = the entries of a sparse code whose feature is in [j0, j1), features keep their number. */
#define SAE_DECL_code_slice(name)                                                                  \
    int name(sae_device *dev, const sae_code *z, int64_t j0, int64_t j1, sae_code *out)
/* out[i] = row[r] * col[j] * val[i] for entry i = (r, j), in z's layout; row or col may be NULL: 1.
 * val has z's layout; out may be val. */
#define SAE_DECL_code_scale(name)                                                                  \
    int name(sae_device *dev, const sae_code *z, const sae_real *val, const sae_real *row,        \
             const sae_real *col, sae_real *out)
/* out[j] = min(out[j], smallest val[i] over the entries i of column j). Sparse. */
#define SAE_DECL_code_col_min(name)                                                                \
    int name(sae_device *dev, const sae_csc *t, const sae_real *val, sae_real *out)
/* out[j] = max(out[j], largest val listed for feature j); NaN is passed over. */
#define SAE_DECL_code_max(name) int name(sae_device *dev, const sae_code *z, sae_real *out)
/* z = codes of the rows of x over the atoms w; a coefficient that ends as 0 is not listed. */
#define SAE_DECL_pursuit(name)                                                                     \
    int name(sae_device *dev, const sae_pursuit *p, sae_cmat x, sae_cmat w, sae_code *z)

/* z, whose B and n the caller sets, = every entry of the sparse parts (a host array) for ALL; for
 * ROWS the (at most) k best of each row, for FLAT of them all, ranked by key over their values.
 * Where parts share a row, features ascend from part to part. z->nan = the sum of the parts'. */
enum sae_merge { SAE_MERGE_ALL, SAE_MERGE_ROWS, SAE_MERGE_FLAT };
#define SAE_DECL_code_merge(name)                                                                  \
    int name(sae_device *dev, const sae_code_part *part, int count, enum sae_merge how,           \
             enum sae_key key, int64_t k, sae_code *z)

/* Every kernel once: X(name). Order is the order of the table. */
#define SAE_KERNEL_LIST(X)                                                                         \
    X(gemm) X(shift_rows) X(col_sum) X(row_dot) X(sum)                                             \
    X(encode_topk) X(encode_flat_topk) X(encode_threshold) X(encode_dense)                         \
    X(row_topk) X(flat_topk) X(col_topk) X(threshold) X(code_to_dense)                             \
    X(code_decode) X(code_grad) X(code_transpose) X(code_outer) X(code_col_sum)                    \
    X(residual) X(code_norms)                                                                      \
    X(project_rows) X(adam_step) X(unit_rows)                                                      \
    X(fire_update) X(normal_fill)                                                                  \
    X(gate)                                                                                        \
    X(map) X(mul) X(scale) X(window) X(col_max) X(cross) X(eigh) X(solve_spd)                      \
    X(row_prefix) X(code_slice) X(code_scale) X(pursuit) X(code_col_min) X(code_max) X(code_merge)

/* The table: one pointer per kernel, in the order of the list. Append only. */
typedef struct sae_kernels {
    uint32_t abi, size; /* SAE_KERNELS_ABI, sizeof(sae_kernels) */
#define SAE_KERNEL_FIELD(k) SAE_DECL_##k((*k));
    SAE_KERNEL_LIST(SAE_KERNEL_FIELD)
#undef SAE_KERNEL_FIELD
} sae_kernels;

#endif
