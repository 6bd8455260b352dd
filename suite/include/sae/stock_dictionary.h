/* sae/stock_dictionary.h - models that code rows over a dictionary which no gradient moves.
 *
 *     xhat = z W_dec + b_dec     z from a pursuit of x - b_dec over the atoms (rows of W_dec), or
 *                                z = the k largest of (x - b_dec) W_dec^T, for orthonormal atoms
 *
 * There is no encoder and no PARAM tensor: init, adapt and finalize write W_dec and b_dec. The
 * tensor table begins with STOCK_DICTIONARY_TENSORS. Loss 0 is "mse" (stock_loss.h), coefficient 1.
 */
#ifndef SAE_STOCK_DICTIONARY_H
#define SAE_STOCK_DICTIONARY_H

#include "stock_loss.h"

enum { STOCK_ATOMS, STOCK_OFFSET, STOCK_DICTIONARY_COUNT };

#define STOCK_DICTIONARY_TENSORS                                                                   \
    {"W_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT},                                     \
    {                                                                                              \
        "b_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_OUT                                    \
    }

static inline const sae_real *stock_offset(const sae_model *m)
{
    return (const sae_real *)m->t[STOCK_OFFSET].w;
}

/* The `decode` method. */
static inline int stock_dictionary_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                                          sae_mat xhat)
{
    return c->k->code_decode(c->dev, z, stock_w(m, STOCK_ATOMS), stock_offset(m), xhat);
}

/* The `adapt` method of a dictionary that init completed. */
static inline int stock_dictionary_done(sae_model *m, const sae_ctx *c, const sae_batch *b,
                                        const sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_DONE;
}

/* b_dec = mean of the sample (how != 0) or 0; 0 for an empty sample. */
static inline int stock_offset_init(sae_model *m, const sae_ctx *c, const sae_batch *sample,
                                    int64_t how)
{
    sae_mat b = stock_w_out(m, STOCK_OFFSET);
    SAE_TRY(stock_fill(c, b.p, b.cols, 0));
    if (!how || sample->B == 0)
        return SAE_OK;
    return c->k->col_sum(c->dev, stock_cmat(sample->x, sample->B, m->dim.d_in),
                         (sae_real)(1.0 / (double)sample->B), b.p);
}

/* tape.xhat, tape.resid and loss 0 from tape.code; row [B]: scratch. */
static inline int stock_dictionary_loss(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                        sae_tape *t, double *row)
{
    t->coef[0] = 1;
    return stock_reconstruct(m, c, b, t, row, &t->loss[0]);
}

/* ---- codes by pursuit ------------------------------------------------------------------------ */

static const char *const stock_solver_names[] = {"mp", "omp", "gradient", NULL};

typedef struct stock_pursuit_opt {
    int64_t k, solver, positive;
    double tol;
} stock_pursuit_opt;

/* Rows of an option table; T is the option struct, m its stock_pursuit_opt member; the rest are the
 * variant's defaults. */
#define STOCK_PURSUIT_OPTIONS(T, m, def_k, def_solver, def_positive, def_tol)                      \
    {"k", SAE_OPT_INT, 0, offsetof(T, m.k), (def_k), 0, 1e9, NULL, NULL, "1",                      \
     "steps of the pursuit: active features per row at most"},                                     \
        {"solver", SAE_OPT_ENUM, 0, offsetof(T, m.solver), (def_solver), 0, SAE_SOLVE_GRADIENT,    \
         stock_solver_names, NULL, "1", "matching pursuit, orthogonal, or gradient pursuit"},      \
        {"positive", SAE_OPT_BOOL, 0, offsetof(T, m.positive), (def_positive), 0, 1, NULL, NULL,   \
         "1", "codes are not negative; not with solver=omp"},                                      \
    {                                                                                              \
        "tol", SAE_OPT_REAL, 0, offsetof(T, m.tol), (def_tol), 0, 1e30, NULL, NULL, "x",           \
            "a row ends once the norm of its residual is at most this"                             \
    }

static inline uint64_t stock_pursuit_caps(const stock_pursuit_opt *o)
{
    return o->positive ? 0 : SAE_CAP_SIGNED;
}

static inline int stock_pursuit_check(const stock_pursuit_opt *o, const sae_dims *dim, sae_err *e)
{
    if (o->positive && o->solver == SAE_SOLVE_OMP)
        return SAE_RECORD(e, SAE_EINVAL, "positive=1 needs solver=mp or solver=gradient: least "
                                         "squares has negative coefficients");
    return stock_check(NULL, dim, e);
}

typedef struct stock_pursuit_mem { /* in the scratch */
    double *row;  /* [B] */
    sae_real *xc; /* [B x d_in] x - b_dec */
} stock_pursuit_mem;

static inline void stock_take_pursuit(stock_bump *s, const sae_dims *dim, int64_t B,
                                      stock_pursuit_mem *mem)
{
    mem->row = (double *)stock_take(s, B, sizeof(double));
    mem->xc = stock_take_real(s, B, dim->d_in);
}

/* The whole of forward. k_row [B] or NULL: steps of each row, at most o->k. */
static inline int stock_pursuit_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                        const stock_pursuit_opt *o, const int64_t *k_row,
                                        const stock_pursuit_mem *mem, sae_tape *t)
{
    sae_pursuit p = {(enum sae_solver)o->solver, o->positive != 0, o->k, k_row, o->tol};
    int64_t d = m->dim.d_in;
    SAE_TRY(c->k->shift_rows(c->dev, stock_cmat(b->x, b->B, d), -1, stock_offset(m),
                             stock_mat(mem->xc, b->B, d)));
    SAE_TRY(c->k->pursuit(c->dev, &p, stock_cmat(mem->xc, b->B, d), stock_w(m, STOCK_ATOMS),
                          &t->code));
    return stock_dictionary_loss(m, c, b, t, mem->row);
}

/* One product with the dictionary per step of the pursuit, and the reconstruction. */
static inline double stock_pursuit_flops(int64_t k, const sae_dims *dim, int64_t B)
{
    return 2 * (double)B * (double)k * (double)dim->d_in * (double)(dim->n + 1);
}

/* ---- codes by projection --------------------------------------------------------------------- */

typedef struct stock_project_opt {
    int64_t k, positive;
} stock_project_opt;

#define STOCK_PROJECT_OPTIONS(T, m)                                                                \
    {"k", SAE_OPT_INT, 0, offsetof(T, m.k), 32, 0, 1e9, NULL, NULL, "1",                           \
     "active features per row, the largest; n or more: all"},                                      \
    {                                                                                              \
        "positive", SAE_OPT_BOOL, 0, offsetof(T, m.positive), 0, 0, 1, NULL, NULL, "1",            \
            "only positive projections take part"                                                  \
    }

/* Methods of variants whose option struct begins with a stock_project_opt. */
static inline uint64_t stock_project_caps(const void *opt)
{
    const stock_project_opt *o = (const stock_project_opt *)opt;
    return SAE_CAP_LINEAR_DEC | SAE_CAP_GROWS | (o->positive ? 0 : SAE_CAP_SIGNED);
}

static inline double stock_project_flops(const void *opt, const sae_dims *dim, int64_t B,
                                         enum sae_mode mode)
{
    const stock_project_opt *o = (const stock_project_opt *)opt;
    (void)mode;
    return 2 * (double)dim->d_in *
           ((double)B * (double)dim->n + (double)stock_most_entries(o->k, dim, B));
}

static inline int stock_project_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                        const stock_project_opt *o, double *row, sae_tape *t)
{
    sae_encoder e;
    e.x = stock_cmat(b->x, b->B, m->dim.d_in);
    e.shift = stock_offset(m);
    e.w = stock_w(m, STOCK_ATOMS);
    e.bias = NULL;
    e.subset = NULL;
    e.m = 0;
    SAE_TRY(c->k->encode_topk(c->dev, &e, o->positive ? SAE_KEY_RELU : SAE_KEY_ABS, o->k,
                              &t->code));
    return stock_dictionary_loss(m, c, b, t, row);
}

#endif
