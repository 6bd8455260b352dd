/* tests/support/probe.h - small valid components that tests alter, register and run. */
#ifndef SAE_TESTS_PROBE_H
#define SAE_TESTS_PROBE_H

#include <sae/plugin.h>
#include <stddef.h>

typedef struct probe_opt {
    int64_t k;
    double lr, l1;
    int64_t fast, mode;
    const char *label, *path;
} probe_opt;

static const char *const probe_modes[] = {"row", "batch", "flat-2", NULL};

static const sae_option probe_options[] = {
    {"k", SAE_OPT_INT, 0, offsetof(probe_opt, k), 32, 0, 65536, NULL, NULL, "1", "active codes"},
    {"lr", SAE_OPT_REAL, 0, offsetof(probe_opt, lr), 3e-4, 1e-9, 1, NULL, NULL, "1", "step size"},
    {"l1", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(probe_opt, l1), 0, 0, 1e3, NULL, NULL, "nats",
     "sparsity weight"},
    {"fast", SAE_OPT_BOOL, 0, offsetof(probe_opt, fast), 1, 0, 1, NULL, NULL, "1", "a switch"},
    {"mode", SAE_OPT_ENUM, 0, offsetof(probe_opt, mode), 0, 0, 2, probe_modes, NULL, "1",
     "where to select"},
    {"label", SAE_OPT_STR, 0, offsetof(probe_opt, label), 0, 0, 0, NULL, "", "text", "free text"},
    {.name = NULL},
};

/* The same with a text that must be given. */
static const sae_option probe_required[] = {
    {"path", SAE_OPT_STR, 0, offsetof(probe_opt, path), 0, 0, 0, NULL, NULL, "path", "a file"},
    {.name = NULL},
};

static const sae_tensor_spec probe_tensors[] = {
    {"W_enc", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},
    {"b_enc", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N},
    {"W_dec", SAE_PARAM, SAE_REAL, SAE_T_UNIT_ROWS, SAE_DIM_N, SAE_DIM_OUT},
    {"b_dec", SAE_PARAM, SAE_REAL, 0, SAE_DIM_1, SAE_DIM_OUT},
    {"theta", SAE_STATE, SAE_F64, 0, 1, 1},
    {"hits", SAE_STATE, SAE_U64, 0, SAE_DIM_N, 3},
    {.name = NULL},
};

static const char *const probe_losses[] = {"mse", "l1", NULL};

/* Forward selects every positive pre-activation, so its code outgrows the one entry asked for. */
static inline int probe_workspace(const void *opt, const sae_dims *dim, int64_t B,
                                  enum sae_mode mode, sae_workspace *out)
{
    (void)opt, (void)dim, (void)mode;
    *out = (sae_workspace){.scratch = (size_t)B * 16, .code_cap = 1};
    return SAE_OK;
}

static inline int probe_init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    (void)m, (void)c, (void)sample;
    return SAE_OK;
}

static inline int probe_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                                sae_tape *t)
{
    sae_encoder e = {
        .x = {b->x, b->B, m->dim.d_in, m->dim.d_in},
        .w = {m->t[0].w, m->dim.n, m->dim.d_in, m->dim.d_in},
        .bias = m->t[1].w,
    };
    return c->k->encode_threshold(c->dev, &e, SAE_KEY_RELU, 0, NULL, &t->code);
}

static inline int probe_backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_OK;
}

static inline int probe_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                               sae_mat xhat)
{
    sae_cmat w = {m->t[2].w, m->dim.n, m->dim.d_out, m->dim.d_out};
    return c->k->code_decode(c->dev, z, w, m->t[3].w, xhat);
}

static const sae_train_defaults probe_wide_train = {
    .lr = 1, .beta1 = 0.5, .beta2 = 0.5, .eps = 1e-8};
static const sae_preset probe_presets[] = {
    {"fast", "fast=0,k=3", NULL, "nowhere"},
    {"wide", "n=16d", &probe_wide_train, "nowhere"},
    {0},
};

static const sae_variant probe_variant = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "probe",
    .summary = "for tests",
    .source = "none",
    .caps = SAE_CAP_LINEAR_DEC,
    .opt_size = sizeof(probe_opt),
    .options = probe_options,
    .tensors = probe_tensors,
    .presets = probe_presets,
    .losses = probe_losses,
    .train = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    .workspace = probe_workspace,
    .init = probe_init,
    .forward = probe_forward,
    .decode = probe_decode,
    .backward = probe_backward,
};

static inline size_t probe_state_size(const sae_measure *r)
{
    (void)r;
    return 8;
}

static inline int probe_state(const sae_measure *r, void *state)
{
    (void)r, (void)state;
    return SAE_OK;
}

static inline int probe_batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r, (void)state, (void)e;
    return SAE_OK;
}

static inline int probe_merge(const sae_measure *r, void *into, const void *from)
{
    (void)r, (void)into, (void)from;
    return SAE_OK;
}

static const sae_metric probe_metric = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "gauge",
    .summary = "for tests",
    .source = "none",
    .needs = SAE_MNEED_CODE,
    .opt_size = 1,
    .options = NULL,
    .state_size = probe_state_size,
    .begin = probe_state,
    .batch = probe_batch,
    .merge = probe_merge,
    .end = probe_state,
};

static inline int probe_open(sae_source **s, const void *opt, const sae_host *host, sae_dims *dim,
                             sae_err *err)
{
    (void)s, (void)opt, (void)host, (void)dim, (void)err;
    return SAE_OK;
}

static inline int64_t probe_rows(const sae_source *s, enum sae_split split)
{
    (void)s, (void)split;
    return -1;
}

static inline int probe_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                             const sae_fill *out, sae_err *err)
{
    (void)s, (void)split, (void)row0, (void)B, (void)out, (void)err;
    return SAE_OK;
}

static inline void probe_close(sae_source **s)
{
    (void)s;
}

static inline int probe_hash(const sae_source *s, char out[36])
{
    (void)s;
    out[0] = '\0';
    return SAE_OK;
}

static const sae_dataset probe_dataset = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "well",
    .summary = "for tests",
    .source = "none",
    .licence = "none",
    .gives = SAE_GIVES_TOKENS,
    .opt_size = sizeof(probe_opt),
    .options = probe_required,
    .open = probe_open,
    .rows = probe_rows,
    .fill = probe_fill,
    .close = probe_close,
    .hash = probe_hash,
};

static const sae_variant *const probe_variants[] = {&probe_variant, NULL};
static const sae_metric *const probe_metrics[] = {&probe_metric, NULL};
static const sae_dataset *const probe_datasets[] = {&probe_dataset, NULL};
static const sae_plugin probe_plugin = {
    .abi = SAE_PLUGIN_ABI,
    .size = sizeof(sae_plugin),
    .name = "probe",
    .version = "1",
    .author = "tests",
    .licence = "none",
    .variants = probe_variants,
    .metrics = probe_metrics,
    .datasets = probe_datasets,
};

#endif
