/* variants/neuron.c - the neuron basis: features are the coordinates themselves (neuron.md). */
#include <sae/stock_dictionary.h>

typedef struct opt {
    stock_project_opt p; /* first, as stock_dictionary.h expects */
    int64_t centre;
} opt;

static const sae_option options[] = {
    STOCK_PROJECT_OPTIONS(opt, p),
    {"centre", SAE_OPT_BOOL, 0, offsetof(opt, centre), 0, 0, 1, NULL, NULL, "1",
     "b_dec is the mean of a batch, not 0"},
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_DICTIONARY_TENSORS, {0}};
static const char *const losses[] = {"mse", NULL};

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_bump at = stock_bump_at(NULL);
    (void)mode;
    stock_take(&at, B, sizeof(double));
    return stock_workspace(at, stock_most_entries(((const opt *)o)->p.k, dim, B), 0, 0, out);
}

/* W_dec = the first rows of the identity, as many as fit. */
static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const opt *o = c->opt;
    int64_t d = m->dim.d_in, n = d < m->dim.n_cap ? d : m->dim.n_cap;
    sae_real one = 1;
    SAE_TRY(c->grow(m, n, c->err));
    sae_mat w = stock_w_out(m, STOCK_ATOMS);
    SAE_TRY(stock_fill(c, w.p, n * d, 0));
    for (int64_t j = 0; j < n; j++)
        SAE_TRY(stock_put(c, w.p + j * d + j, &one, sizeof one));
    return stock_offset_init(m, c, sample, o->centre);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    return stock_project_forward(m, c, b, &o->p, t->scratch, t);
}

extern const sae_variant sae_variant_neuron;
const sae_variant sae_variant_neuron = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "neuron",
    .summary = "baseline: the coordinates of the activations as features, the k largest of a row",
    .source = "the neuron basis, as in Bricken et al. 2023 and Cunningham et al. 2023",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_GROWS | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_dictionary_decode,
    .caps_for = stock_project_caps,
    .check = stock_check,
    .adapt = stock_dictionary_done,
    .flops = stock_project_flops,
};
