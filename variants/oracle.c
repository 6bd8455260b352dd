/* variants/oracle.c - the true dictionary, coded by pursuit: a bound for SAEs on synthetic data
 * (oracle.md). */
#include <sae/stock_dictionary.h>

typedef struct opt {
    stock_pursuit_opt p;
} opt;

static const sae_option options[] = {
    STOCK_PURSUIT_OPTIONS(opt, p, 32, SAE_SOLVE_OMP, 0, 1e-3),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_DICTIONARY_TENSORS, {0}};
static const char *const losses[] = {"mse", NULL};

static stock_bump layout(const sae_dims *dim, int64_t B, void *scratch, stock_pursuit_mem *s)
{
    stock_bump at = stock_bump_at(scratch);
    stock_take_pursuit(&at, dim, B, s);
    return at;
}

static uint64_t caps_for(const void *o)
{
    return SAE_CAP_LINEAR_DEC | stock_pursuit_caps(&((const opt *)o)->p);
}

static uint64_t needs(const void *o, enum sae_mode mode)
{
    (void)o;
    return mode == SAE_TRAIN ? SAE_NEED_TRUTH : 0;
}

static int check(const void *o, const sae_dims *dim, sae_err *e)
{
    return stock_pursuit_check(&((const opt *)o)->p, dim, e);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_pursuit_mem s;
    (void)mode;
    return stock_workspace(layout(dim, B, NULL, &s),
                           stock_most_entries(((const opt *)o)->p.k, dim, B), 0, 0, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const sae_truth *truth = c->truth;
    if (truth->n != m->dim.n || truth->d != m->dim.d_in)
        return SAE_RECORD(c->err, SAE_EINVAL,
                          "n is %lld, the data have %lld true atoms: write n=%lld",
                          (long long)m->dim.n, (long long)truth->n, (long long)truth->n);
    SAE_TRY(stock_offset_init(m, c, sample, 0));
    return stock_put(c, m->t[STOCK_ATOMS].w, truth->dict,
                     (size_t)(truth->n * truth->d) * sizeof(sae_real));
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    stock_pursuit_mem s;
    layout(&m->dim, b->B, t->scratch, &s);
    return stock_pursuit_forward(m, c, b, &o->p, NULL, &s, t);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)mode;
    return stock_pursuit_flops(((const opt *)o)->p.k, dim, B);
}

extern const sae_variant sae_variant_oracle;
const sae_variant sae_variant_oracle = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "oracle",
    .summary = "baseline: the true dictionary of synthetic data, coded by orthogonal pursuit",
    .source = "Pati et al. 1993 on the generator's own atoms",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_dictionary_decode,
    .caps_for = caps_for,
    .needs = needs,
    .check = check,
    .adapt = stock_dictionary_done,
    .flops = flops,
};
