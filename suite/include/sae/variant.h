/* sae/variant.h - what a sparse-autoencoder variant is.
 *
 * A variant is a state machine over declared tensors. Every step the trainer calls a pure,
 * differentiable `forward` with its `backward`, and a non-differentiable `adapt`. What happens in
 * between follows from tensor roles, never from the variant's identity. The contract C1-C13 is in
 * suite/README.md; tests/prop and tests/grad enforce each clause for every registered variant.
 *
 * "Backend memory" may be dereferenced by kernels only (and by host code when the backend shares
 * memory with the host; such a variant declares SAE_CAP_HOST_ONLY).
 */
#ifndef SAE_VARIANT_H
#define SAE_VARIANT_H

#include "backend.h"
#include "base.h"
#include "kernels.h"
#include "lm.h"

enum { SAE_VARIANT_ABI = 1, SAE_MAX_TENSOR = 24, SAE_MAX_LOSS = 8 };

enum sae_mode { SAE_TRAIN, SAE_EVAL };

enum { /* inputs a variant may require; see needs() */
    SAE_NEED_GRAD = 1 << 0,   /* batch.g: d(sum of CE)/dx per token         */
    SAE_NEED_TOKENS = 1 << 1, /* batch.tok: provenance of each row          */
    SAE_NEED_TARGET = 1 << 2, /* batch.y are other rows than batch.x, of width d_out; needed in both
                                 modes or in none                            */
    SAE_NEED_LM = 1 << 3,     /* ctx.lm: loss and gradient with x replaced  */
    SAE_NEED_TRUTH = 1 << 4,  /* ctx.truth: the true dictionary             */
    SAE_NEED_BASE = 1 << 5    /* ctx.base: the trained SAE at option "base" */
};

enum { /* facts about a variant; used by tests and reports, never by the trainer */
    SAE_CAP_SIGNED = 1 << 0,      /* codes may be negative                           */
    SAE_CAP_BATCH_TRAIN = 1 << 1, /* TRAIN codes of a row depend on other rows       */
    SAE_CAP_BATCH_EVAL = 1 << 2,  /* EVAL codes of a row depend on other rows        */
    SAE_CAP_STOCHASTIC = 1 << 3,  /* TRAIN forward draws random numbers              */
    SAE_CAP_GROWS = 1 << 4,       /* n changes during training                       */
    SAE_CAP_LINEAR_DEC = 1 << 5,  /* decode(code) == code W_dec + b_dec              */
    SAE_CAP_HOST_ONLY = 1 << 6,   /* dereferences tensor data on the host            */
    SAE_CAP_SKIP = 1 << 7         /* xhat == decode(code) + a part of x that bypasses the code */
};

enum sae_role {
    SAE_PARAM = 1, /* has .grad; moved by the optimiser                          */
    SAE_STATE = 2  /* no .grad; moved only by init, adapt, finalize              */
};
enum sae_dtype { SAE_REAL, SAE_F64, SAE_I64, SAE_U64 }; /* SAE_REAL: sae_real; PARAM must use it */
enum { SAE_DIM_1 = -1, SAE_DIM_IN = -2, SAE_DIM_OUT = -3, SAE_DIM_N = -4 };
enum { /* tensor flags */
    SAE_T_UNIT_ROWS = 1 << 0, /* rows kept at unit L2 norm; gradient projected          */
    SAE_T_STE = 1 << 1,       /* gradient is a surrogate: golden test, not differences  */
    SAE_T_NO_DECAY = 1 << 2   /* exempt from weight decay                               */
};

/* One declared tensor; the table ends with name == NULL. Reserved names and their shapes:
 * W_enc [n x d_in] (one row per feature), b_enc [1 x n], W_dec [n x d_out] (rows = atoms),
 * b_dec [1 x d_out]. */
typedef struct sae_tensor_spec {
    const char *name;
    enum sae_role role;
    enum sae_dtype dtype;
    uint32_t flags;
    int64_t rows, cols; /* SAE_DIM_* or a literal > 0; row-major, ld == cols */
} sae_tensor_spec;

typedef struct sae_tensor {
    const sae_tensor_spec *spec;
    uint32_t flags;     /* SAE_T_* in force: tensor_flags(), else spec->flags; read these      */
    int64_t rows, cols; /* resolved; an axis that is n follows growth                     */
    void *w;            /* backend memory, 64-byte aligned, capacity n_cap on the n axis  */
    sae_real *grad;     /* same shape, PARAM only, zeroed by the trainer each step        */
} sae_tensor;

struct sae_variant;

typedef struct sae_model {
    const struct sae_variant *v;
    const void *opt; /* option struct as configured (schedules at step 0), immutable */
    sae_dims dim;
    int nt;
    sae_tensor t[SAE_MAX_TENSOR]; /* same order as v->tensors */
} sae_model;

typedef struct sae_batch { /* all pointers borrowed, valid for one call */
    int64_t B;             /* rows = tokens */
    const sae_real *x;     /* [B x d_in] normalised by the pipeline */
    const sae_real *y;     /* [B x d_out] the target; == x unless SAE_NEED_TARGET */
    const sae_real *g;     /* [B x d_in] dCE/dx, nats per unit of x, or NULL */
    const sae_token *tok;  /* [B] host memory, or NULL */
    uint64_t row0;         /* index of row 0 in the run's token stream */
} sae_batch;

/* Forward sets code.dense for each batch: val is B x n, and code.cap entries can be listed. */
enum { SAE_CODE_EITHER = 2 };

/* Memory one call of forward + backward works in, sized by workspace(). */
typedef struct sae_workspace {
    size_t scratch;    /* bytes of tape.scratch, contents undefined on entry to forward and kept
                          from forward to backward to adapt of the same step */
    int64_t code_cap;  /* first guess of code entries; forward may ask for more (SAE_ECAPACITY) */
    int dense_code;    /* 1: codes are dense, val is B x n; SAE_CODE_EITHER */
    int dense_pre;     /* 1: tape.pre is B x n; 0: NULL */
} sae_workspace;

typedef struct sae_tape { /* everything forward produces and backward needs */
    int64_t B;
    sae_code code;
    sae_real *pre;             /* [B x n] pre-activations or NULL, see sae_workspace */
    sae_real *xhat, *resid;    /* [B x d_out]; resid = xhat - y */
    double loss[SAE_MAX_LOSS]; /* unweighted, in the order of v->losses; valid on the host when
                                  forward returns */
    double coef[SAE_MAX_LOSS]; /* total = sum coef[i] * loss[i]; constants of the derivative */
    void *scratch;             /* 64-byte aligned */
    int64_t val_cap;           /* the host's: room in code.val */
} sae_tape;

/* Owned by the trainer: the state after the previous step; in adapt, after this one. */
typedef struct sae_stats {
    int64_t n;
    uint64_t tokens;            /* rows seen */
    const uint64_t *last_fired; /* [n] value of tokens when the feature last fired */
    const uint64_t *fire_count; /* [n] rows on which it fired */
} sae_stats;

/* A trained SAE that a variant builds on. The host opens it from the option named "base" (a path,
 * SAE_OPT_STR); it reads the same normalised rows as the variant. */
typedef struct sae_base {
    const sae_model *m;
    /* Codes and reconstructions of a batch by that SAE in EVAL mode: *t is valid until the next
     * call. */
    int (*encode)(const struct sae_base *base, const sae_batch *b, const sae_tape **t,
                  sae_err *err);
} sae_base;

typedef struct sae_ctx { /* services and clock for one call; read-only */
    uint32_t size;       /* sizeof(sae_ctx) in the host */
    enum sae_mode mode;
    int64_t step, steps; /* this step, and the planned total */
    uint64_t seed;       /* key of the counter-based generator */
    const void *opt;     /* option struct with schedules applied for this step */
    const sae_kernels *k;
    sae_device *dev;     /* first argument of every kernel */
    const sae_backend *be;
    const sae_lm *lm;    /* NULL unless SAE_NEED_LM */
    const sae_truth *truth; /* NULL unless SAE_NEED_TRUTH; the dictionary only, code is NULL */
    const sae_base *base;   /* NULL unless SAE_NEED_BASE */
    const sae_stats *stats; /* never NULL; in EVAL the statistics at the end of training */
    /* Gradient checks: take every decision (support, masks, detached values) from this tape and
     * detached weights from this model. NULL in normal runs. The stock parts obey them. */
    const sae_tape *hold;
    const sae_model *hold_m;
    int (*grow)(sae_model *m, int64_t n_new, sae_err *err); /* callable in init and adapt only */
    sae_err *err;
} sae_ctx;

typedef struct sae_train_defaults { /* data, not code; a plan overrides any of them */
    double lr, beta1, beta2, eps;
    double clip_norm;    /* global norm over PARAM after projection; 0: no clipping */
    double weight_decay;
    int64_t warmup;      /* steps of linear warm-up from 0 */
    double decay;        /* final share of the steps over which lr falls linearly to 0 */
} sae_train_defaults;

/* How SAELens holds a trained SAE of this kind: W_enc, b_enc, W_dec, b_dec as they are (ReLU of the
 * selected pre-activations), k from the option of that name, and a threshold. */
typedef struct sae_saelens {
    const char *architecture; /* what its cfg.json says under that key */
    const char *threshold;    /* tensor of thresholds on pre-activations, [1 x n] or [1 x 1] */
    const char *k;            /* INT option that its cfg.json states as k, or NULL */
    const char *activation;   /* activation_fn of files older than the architecture's name, or NULL;
                                 k then stands in activation_fn_kwargs */
    /* Options, or NULL: */
    const char *param;  /* ENUM: a value that begins with "log" says thresholds are logarithms */
    const char *centre; /* BOOL: 0: b_dec is not subtracted from x */
    const char *shrink; /* REAL: what pre-activations lose besides b_enc */
} sae_saelens;

/* A recipe by name: option values as in a spec string, and training settings. The spec key
 * preset=NAME applies it; keys given beside it win. */
typedef struct sae_preset {
    const char *name;                /* [a-z][a-z0-9_]* */
    const char *options;             /* "k=51,mse=element"; "": the defaults */
    const sae_train_defaults *train; /* NULL: the variant's own */
    const char *source;              /* paper or program, and where in it */
} sae_preset;

typedef struct sae_variant {
    uint32_t abi, size;        /* SAE_VARIANT_ABI, sizeof(sae_variant) */
    const char *name;          /* == file name == symbol suffix */
    const char *summary;       /* one line */
    const char *source;        /* paper, section; variants/<name>.md has the rest */
    uint64_t caps;             /* SAE_CAP_* that can apply */
    size_t opt_size;           /* sizeof of the option struct; >= 1 */
    const sae_option *options;
    const sae_tensor_spec *tensors;
    const char *const *losses; /* names, NULL-terminated; at most SAE_MAX_LOSS */
    sae_train_defaults train;
    /* mandatory */
    int (*workspace)(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out);
    int (*init)(sae_model *m, const sae_ctx *c, const sae_batch *sample);
    int (*forward)(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t);
    int (*decode)(const sae_model *m, const sae_ctx *c, const sae_code *z, sae_mat xhat);
    /* optional: NULL is replaced by a no-op when the variant is admitted (but see tensor_flags) */
    uint64_t (*caps_for)(const void *opt); /* the part of caps that applies with these options */
    uint64_t (*needs)(const void *opt, enum sae_mode mode); /* SAE_NEED_*; constant for a run */
    int (*check)(const void *opt, const sae_dims *dim, sae_err *e);
    int (*backward)(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t);
    int (*adapt)(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t);
    int (*finalize)(sae_model *m, const sae_ctx *c);
    double (*flops)(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode);
    /* Flags of one tensor where they follow from options; NULL: always spec->flags. */
    uint32_t (*tensor_flags)(const void *opt, const sae_tensor_spec *spec);
    const sae_saelens *saelens; /* NULL: SAELens has no such architecture */
    const sae_preset *presets;  /* ends with name == NULL; may be NULL */
} sae_variant;

/* The model's tensor of that name, or NULL. */
static inline const sae_tensor *sae_model_tensor(const sae_model *m, const char *name)
{
    for (int i = 0; i < m->nt; i++) {
        const char *a = m->t[i].spec->name, *b = name;
        while (*a && *a == *b) {
            a++;
            b++;
        }
        if (*a == *b)
            return &m->t[i];
    }
    return NULL;
}

#endif
