/* variants/abs_jumprelu.c - two-sided JumpReLU: entries whose magnitude exceeds a trained threshold
 * of their feature (abs_jumprelu.md). */
#include <sae/stock_jump.h>

typedef struct opt {
    stock_jump_opt j;
} opt;

static const char *const penalties[] = {"target", "l0", NULL};

static const sae_option options[] = {
    STOCK_JUMP_OPTIONS(opt, j, penalties, STOCK_JUMP_L0),
    {0},
};

static const sae_tensor_spec tensors[] = {STOCK_TENSORS(SAE_T_UNIT_ROWS), STOCK_JUMP_TENSOR, {0}};
static const char *const losses[] = STOCK_JUMP_LOSSES;

static stock_jump rule(const void *o)
{
    stock_jump j = {SAE_KEY_ABS, &((const opt *)o)->j};
    return j;
}

static uint32_t tensor_flags(const void *o, const sae_tensor_spec *spec)
{
    return stock_decoder_flags(((const opt *)o)->j.decoder.rows, spec);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    stock_jump j = rule(o);
    return stock_jump_workspace(&j, dim, B, mode, out);
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    return stock_jump_init(m, c, sample, &((const opt *)c->opt)->j);
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_jump j = rule(c->opt);
    return stock_jump_forward(m, c, b, &j, t);
}

static int backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    stock_jump j = rule(c->opt);
    return stock_jump_backward(m, c, b, &j, t);
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)b, (void)t;
    return stock_jump_adapt(m, c, &((const opt *)c->opt)->j);
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)o;
    return stock_dense_flops(dim, B, mode);
}

extern const sae_variant sae_variant_abs_jumprelu;
const sae_variant sae_variant_abs_jumprelu = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "abs_jumprelu",
    .summary = "pre-activations whose magnitude exceeds a trained threshold of their feature",
    .source = "Zhu et al. 2025, AbsTopK, section 2: the proximal map of lambda |z|_0; thresholds "
              "trained as JumpReLU's",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .train = {.lr = 3e-4, .beta1 = 0, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1, .warmup = 1000,
              .decay = 0.2},
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_decode,
    .check = stock_check,
    .backward = backward,
    .adapt = adapt,
    .flops = flops,
    .tensor_flags = tensor_flags,
};
