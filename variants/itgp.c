/* variants/itgp.c - inference-time gradient pursuit over the dictionary of a trained SAE
 * (itgp.md). */
#include <sae/stock_dictionary.h>

typedef struct opt {
    stock_pursuit_opt p;
    const char *base;
} opt;

static const sae_option options[] = {
    {"base", SAE_OPT_STR, 0, offsetof(opt, base), 0, 0, 0, NULL, "", "path",
     "directory of the trained SAE whose dictionary is used"},
    STOCK_PURSUIT_OPTIONS(opt, p, 0, SAE_SOLVE_GRADIENT, 1, 0),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_DICTIONARY_TENSORS, {0}};
static const char *const losses[] = {"mse", NULL};

typedef struct memory { /* in the scratch */
    stock_pursuit_mem p;
    int64_t *l0; /* [B] active features of the base */
} memory;

static stock_bump layout(const sae_dims *dim, int64_t B, void *scratch, memory *s)
{
    stock_bump at = stock_bump_at(scratch);
    stock_take_pursuit(&at, dim, B, &s->p);
    s->l0 = (int64_t *)stock_take(&at, B, sizeof(int64_t));
    return at;
}

static uint64_t caps_for(const void *o)
{
    return SAE_CAP_LINEAR_DEC | stock_pursuit_caps(&((const opt *)o)->p);
}

/* In TRAIN for the dictionary, in EVAL for the counts. */
static uint64_t needs(const void *o, enum sae_mode mode)
{
    return mode == SAE_TRAIN || ((const opt *)o)->p.k == 0 ? SAE_NEED_BASE : 0;
}

static int check(const void *o, const sae_dims *dim, sae_err *e)
{
    return stock_pursuit_check(&((const opt *)o)->p, dim, e);
}

enum { GUESS = 64 }; /* features per row where the base decides */

/* More entries than guessed are asked for in forward. */
static int workspace(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    const opt *o = opt_;
    memory s;
    (void)mode;
    return stock_workspace(layout(dim, B, NULL, &s),
                           stock_most_entries(o->p.k ? o->p.k : GUESS, dim, B), 0, 0, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    const sae_model *base = c->base->m;
    const sae_tensor *w = sae_model_tensor(base, "W_dec"), *b = sae_model_tensor(base, "b_dec");
    size_t row = (size_t)m->dim.d_in * sizeof(sae_real);
    if (!w || !(base->v->caps & base->v->caps_for(base->opt) & SAE_CAP_LINEAR_DEC))
        return SAE_RECORD(c->err, SAE_EINVAL, "base: a %s is not linear in its codes",
                          base->v->name);
    if (base->dim.n != m->dim.n)
        return SAE_RECORD(c->err, SAE_EINVAL, "n is %lld, the base has %lld features: write n=%lld",
                          (long long)m->dim.n, (long long)base->dim.n, (long long)base->dim.n);
    SAE_TRY(stock_offset_init(m, c, sample, 0));
    if (b)
        SAE_TRY(c->be->copy(c->dev, m->t[STOCK_OFFSET].w, b->w, row, SAE_COPY_D2D));
    return c->be->copy(c->dev, m->t[STOCK_ATOMS].w, w->w, (size_t)m->dim.n * row, SAE_COPY_D2D);
}

/* s->l0 from the base; *most: the largest. */
static int count_active(const sae_ctx *c, const sae_batch *b, const memory *s, int64_t *most)
{
    const sae_tape *base;
    int64_t l0[STOCK_CHUNK];
    SAE_TRY(c->base->encode(c->base, b, &base, c->err));
    SAE_TRY(c->k->code_norms(c->dev, &base->code, s->l0, NULL));
    *most = 0;
    for (int64_t r = 0; r < b->B; r += STOCK_CHUNK) {
        int64_t some = stock_some(b->B - r);
        SAE_TRY(stock_get(c, l0, s->l0 + r, (size_t)some * sizeof *l0));
        for (int64_t i = 0; i < some; i++)
            *most = l0[i] > *most ? l0[i] : *most;
    }
    return SAE_OK;
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    memory s;
    stock_pursuit_opt p = ((const opt *)c->opt)->p;
    int own = p.k > 0;
    layout(&m->dim, b->B, t->scratch, &s);
    if (!own)
        SAE_TRY(count_active(c, b, &s, &p.k));
    return stock_pursuit_forward(m, c, b, &p, own ? NULL : s.l0, &s.p, t);
}

static double flops(const void *opt_, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    const opt *o = opt_;
    (void)mode;
    return stock_pursuit_flops(o->p.k ? o->p.k : GUESS, dim, B);
}

extern const sae_variant sae_variant_itgp;
const sae_variant sae_variant_itgp = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "itgp",
    .summary =
        "gradient pursuit over a trained SAE's dictionary with its number of features per row",
    .source = "Engels et al. 2024, Decomposing the dark matter of sparse autoencoders, section 6.1",
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
