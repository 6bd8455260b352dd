/* sae/base.h - status codes, errors, options, extents. Depends on the C library only.
 *
 * Everything under sae/ is the interface between the engine (suite/) and its components
 * (variants/, metrics/, datasets/, backends, plug-ins). Extents are int64_t everywhere, matrices
 * are row-major, floating-point data is sae_real: float in the product, double in the builds that
 * check gradients by finite differences.
 */
#ifndef SAE_BASE_H
#define SAE_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Functions that the host and a CUDA device share. */
#ifdef __CUDACC__
#define SAE_HD __host__ __device__
#else
#define SAE_HD
#endif

#ifdef SAE_REAL_IS_DOUBLE
typedef double sae_real;
#else
typedef float sae_real;
#endif

enum sae_status {
    SAE_OK = 0,
    SAE_DONE = 1,        /* success, and no further step can change the model       */
    SAE_AGAIN = 2,       /* success, but another pass over the data is requested    */
    SAE_EINVAL = -1,     /* bad argument or option value                            */
    SAE_ENOMEM = -2,     /* host or device allocation failed                        */
    SAE_ENONFINITE = -3, /* NaN or Inf where a finite number is required            */
    SAE_ENEEDS = -4,     /* a required input cannot be supplied by this pipeline    */
    SAE_ECAPACITY = -5,  /* code buffer too small; sae_code.nnz holds what is needed */
    SAE_EABI = -6,       /* component and host disagree on the ABI                  */
    SAE_EIO = -7,        /* file system                                             */
    SAE_EFORMAT = -8,    /* malformed file, spec string or header                   */
    SAE_EBACKEND = -9,   /* BLAS or device call failed                              */
    SAE_EINTR = -10      /* stopped by the user (Ctrl-C)                            */
};

/* The first error of a call chain; later ones do not overwrite it. Owned by the outermost caller,
 * who zeroes it before the call. `msg` is one line for a human: what, expected, found. */
typedef struct sae_err {
    int code;         /* enum sae_status, SAE_OK while no error was recorded */
    int line;         /* where it was recorded */
    const char *file; /* static string */
    char msg[480];
} sae_err;

enum sae_opt_type { SAE_OPT_INT, SAE_OPT_REAL, SAE_OPT_BOOL, SAE_OPT_ENUM, SAE_OPT_STR };

enum { SAE_OPT_SCHED = 1 }; /* SAE_OPT_REAL only: the value may follow a schedule over steps */

/* One row of an option table; the table ends with name == NULL. The table drives parsing,
 * validation, help text, the canonical spec string and the documentation. */
typedef struct sae_option {
    const char *name;        /* key in spec strings; [a-z][a-z0-9_]*; "n" is reserved by the host */
    enum sae_opt_type type;  /* int64_t, double, int64_t 0/1, int64_t index, const char* */
    uint32_t flags;          /* SAE_OPT_SCHED */
    size_t off;              /* offsetof the member in the option struct */
    double def, lo, hi;      /* default and closed valid range (INT, REAL, BOOL, ENUM index) */
    const char *const *enums; /* SAE_OPT_ENUM: NULL-terminated names, else NULL */
    const char *sdef;        /* SAE_OPT_STR: default, may be ""; NULL means the value is required */
    const char *unit;        /* "1", "tokens", "nats", "steps", "path", ... */
    const char *help;        /* one line; names the paper's symbol */
} sae_option;

typedef struct sae_dims {
    int64_t d_in, d_out; /* activation widths; equal unless transcoding */
    int64_t n;           /* dictionary size now */
    int64_t n_cap;       /* dictionary size allocated, >= n */
} sae_dims;

/* Read-only and writable views of a row-major matrix; ld >= cols, in elements. p may be NULL where
 * a function says so. */
typedef struct sae_cmat {
    const sae_real *p;
    int64_t rows, cols, ld;
} sae_cmat;

typedef struct sae_mat {
    sae_real *p;
    int64_t rows, cols, ld;
} sae_mat;

/* Where an activation row comes from. */
typedef struct sae_token {
    uint64_t doc; /* document number within the dataset; the unit of independence for errors */
    uint32_t pos; /* position inside the document, BOS is 0 */
    uint32_t id;  /* vocabulary id */
} sae_token;

/* B x n codes (feature activations); dense or compressed rows.
 *
 * A listed entry counts as selected even if its value is 0; "active" means value != 0.
 * Producers fill sparse codes only (dense == 0) and set B, n, nnz and nan; rowptr has room for B +
 * 1. Producers that run out of room return SAE_ECAPACITY with nnz set to the room needed; contents
 * are then undefined. The owner of the buffers grows them and repeats the (pure) call. */
typedef struct sae_code {
    int64_t B, n;
    int64_t nnz;     /* entries listed (dense: B * n) */
    int64_t cap;     /* room in idx and val; for a dense code, room in val */
    int64_t nan;     /* scores that were NaN and therefore not selected */
    int dense;       /* 1: val is B x n with ld n; rowptr and idx are not used */
    int64_t *rowptr; /* [B + 1] */
    int32_t *idx;    /* [cap] strictly ascending inside a row */
    sae_real *val;   /* [cap] */
} sae_code;

typedef struct sae_truth { /* ground truth of a synthetic source; host memory */
    int64_t n, d;
    const sae_real *dict; /* [n x d] atoms, unit norm, in the space of the raw activations */
    const sae_code *code; /* [B x n] true coefficients of the rows of the batch, or NULL */
    const int32_t *parent; /* [n] the atom without which an atom never occurs, -1: none; NULL: no
                              atom has one */
} sae_truth;

#endif
