/* metrics/meta.c - an SAE of the atoms: how much of a decoder do fewer directions explain, a few of
 * them to an atom. Off unless a number of training steps is given. */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/rng.h>
#include <string.h>

typedef struct options {
    int64_t steps, k, batch, seed;
    double width, lr;
} options;

static const sae_option option_table[] = {
    {"steps", SAE_OPT_INT, 0, offsetof(options, steps), 0, 0, 1 << 24, NULL, NULL, "steps",
     "of training (SAEBench 1500); 0: nothing is measured"},
    {"k", SAE_OPT_INT, 0, offsetof(options, k), 4, 1, 4096, NULL, NULL, "features",
     "meta-latents to an atom, on average (SAEBench)"},
    {"width", SAE_OPT_REAL, 0, offsetof(options, width), 0.25, 1e-6, 16, NULL, NULL, "1",
     "meta-latents for each atom of the dictionary (SAEBench)"},
    {"batch", SAE_OPT_INT, 0, offsetof(options, batch), 1024, 1, 1 << 20, NULL, NULL, "atoms",
     "of a step, all where there are fewer (SAEBench)"},
    {"lr", SAE_OPT_REAL, 0, offsetof(options, lr), 5e-4, 0, 1, NULL, NULL, "1",
     "of Adam (SAEBench)"},
    {"seed", SAE_OPT_INT, 0, offsetof(options, seed), 0, 0, 1e15, NULL, NULL, "1",
     "of the first directions and of the order of atoms"},
    {0}};

/* ---- memory ---------------------------------------------------------------------------------- */

enum { ENC, DEC, ENC_BIAS, DEC_BIAS, TENSORS };

/* Backend memory but for `atoms` and `shuffled`. */
typedef struct trainer {
    const sae_measure *r;
    const options *o;
    int64_t n, d, m, B;         /* atoms, their width, meta-latents, atoms of a step */
    int biased;                 /* 0 for signed codes: an atom and its negative are the same */
    sae_real *atoms, *shuffled; /* [n x d] unit rows; in the order of an epoch */
    sae_real *w[TENSORS], *grad[TENSORS], *first[TENSORS], *second[TENSORS];
    sae_real *x, *in, *resid, *dval; /* [n x d], [B x d] less the bias, [n x d], [k n] */
    double *sse;                     /* [n] */
    sae_code z;
    sae_csc by_latent;
} trainer;

static int64_t rows_of(const trainer *q, int t)
{
    return t < ENC_BIAS ? q->m : 1;
}
static int64_t cols_of(const trainer *q, int t)
{
    return t == ENC_BIAS ? q->m : q->d;
}

/* Zeroed backend memory; NULL without. */
static void *device_new(const trainer *q, int64_t count, size_t size)
{
    return q->r->c->be->alloc(q->r->c->dev, (size_t)count * size);
}

static void trainer_close(trainer *q)
{
    void *device[] = {q->x,
                      q->in,
                      q->resid,
                      q->dval,
                      q->sse,
                      q->z.rowptr,
                      q->z.idx,
                      q->z.val,
                      q->by_latent.colptr,
                      q->by_latent.row,
                      q->by_latent.pos};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        sae_device_release(q->r->c, device[i]);
    for (int t = 0; t < TENSORS; t++) {
        sae_device_release(q->r->c, q->w[t]);
        sae_device_release(q->r->c, q->grad[t]);
        sae_device_release(q->r->c, q->first[t]);
        sae_device_release(q->r->c, q->second[t]);
    }
    free(q->atoms);
    free(q->shuffled);
}

static int open_tensors(trainer *q)
{
    for (int t = 0; t < TENSORS; t++) {
        int64_t count = rows_of(q, t) * cols_of(q, t);
        q->w[t] = device_new(q, count, sizeof(sae_real));
        q->grad[t] = device_new(q, count, sizeof(sae_real));
        q->first[t] = device_new(q, count, sizeof(sae_real));
        q->second[t] = device_new(q, count, sizeof(sae_real));
        if (!q->w[t] || !q->grad[t] || !q->first[t] || !q->second[t])
            return SAE_ENOMEM;
    }
    return SAE_OK;
}

static int open_codes(trainer *q)
{
    int64_t cap = q->o->k * q->n;
    q->z = (sae_code){.n = q->m, .cap = cap};
    q->by_latent = (sae_csc){.n = q->m, .cap = cap};
    q->z.rowptr = device_new(q, q->n + 1, sizeof *q->z.rowptr);
    q->z.idx = device_new(q, cap, sizeof *q->z.idx);
    q->z.val = device_new(q, cap, sizeof *q->z.val);
    q->by_latent.colptr = device_new(q, q->m + 1, sizeof *q->by_latent.colptr);
    q->by_latent.row = device_new(q, cap, sizeof *q->by_latent.row);
    q->by_latent.pos = device_new(q, cap, sizeof *q->by_latent.pos);
    q->x = device_new(q, q->n * q->d, sizeof *q->x);
    q->in = device_new(q, q->B * q->d, sizeof *q->in);
    q->resid = device_new(q, q->n * q->d, sizeof *q->resid);
    q->dval = device_new(q, cap, sizeof *q->dval);
    q->sse = device_new(q, q->n, sizeof *q->sse);
    int all = q->z.rowptr && q->z.idx && q->z.val && q->by_latent.colptr && q->by_latent.row &&
              q->by_latent.pos && q->x && q->in && q->resid && q->dval && q->sse;
    return all ? SAE_OK : SAE_ENOMEM;
}

/* Unit atoms on the host, and the first weights: random directions, the encoder the same. */
static int load(trainer *q, sae_cmat dec)
{
    const sae_ctx *c = q->r->c;
    size_t wide = (size_t)(q->n * q->d) * sizeof(sae_real);
    sae_mat x = {q->x, q->n, q->d, q->d}, w = {q->w[DEC], q->m, q->d, q->d};
    q->atoms = malloc(wide);
    q->shuffled = malloc(wide);
    if (!q->atoms || !q->shuffled)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < q->n; j++)
        SAE_TRY(c->be->copy(c->dev, q->x + j * q->d, dec.p + j * dec.ld,
                            (size_t)q->d * sizeof(sae_real), SAE_COPY_D2D));
    SAE_TRY(c->k->unit_rows(c->dev, x));
    SAE_TRY(c->be->copy(c->dev, q->atoms, q->x, wide, SAE_COPY_D2H));
    SAE_TRY(c->k->normal_fill(c->dev, (uint64_t)q->o->seed, SAE_STREAM_PROBE, 0, w));
    SAE_TRY(c->k->unit_rows(c->dev, w));
    if (q->biased) {
        sae_cmat all = {q->x, q->n, q->d, q->d};
        SAE_TRY(c->k->col_sum(c->dev, all, (sae_real)(1 / (double)q->n), q->w[DEC_BIAS]));
    }
    return c->be->copy(c->dev, q->w[ENC], q->w[DEC], (size_t)(q->m * q->d) * sizeof(sae_real),
                       SAE_COPY_D2D);
}

/* ---- training -------------------------------------------------------------------------------- */

/* The k B largest values of B rows of x, decoded, less x: the error, in resid. */
static int encode(trainer *q, sae_cmat x)
{
    const sae_ctx *c = q->r->c;
    sae_encoder e = {x, q->w[DEC_BIAS], {q->w[ENC], q->m, q->d, q->d}, q->w[ENC_BIAS], NULL, 0};
    sae_cmat dec = {q->w[DEC], q->m, q->d, q->d}, seen = {q->resid, x.rows, q->d, q->d};
    sae_mat resid = {q->resid, x.rows, q->d, q->d};
    SAE_TRY(c->k->encode_flat_topk(c->dev, &e, q->biased ? SAE_KEY_RELU : SAE_KEY_ABS,
                                   q->o->k * x.rows, &q->z));
    SAE_TRY(c->k->code_decode(c->dev, &q->z, dec, q->w[DEC_BIAS], resid));
    return c->k->residual(c->dev, seen, x, resid, q->sse);
}

/* Gradients of the mean of |error|^2 over the rows of x. */
static int differentiate(trainer *q, sae_cmat x)
{
    const sae_ctx *c = q->r->c;
    sae_real alpha = (sae_real)(2 / (double)x.rows);
    sae_cmat resid = {q->resid, x.rows, q->d, q->d}, in = {q->in, x.rows, q->d, q->d};
    sae_cmat dec = {q->w[DEC], q->m, q->d, q->d}, enc = {q->w[ENC], q->m, q->d, q->d};
    sae_cmat to_bias = {q->grad[ENC_BIAS], 1, q->m, q->m};
    sae_mat centred = {q->in, x.rows, q->d, q->d}, d_bias = {q->grad[DEC_BIAS], 1, q->d, q->d};
    sae_mat d_enc = {q->grad[ENC], q->m, q->d, q->d}, d_dec = {q->grad[DEC], q->m, q->d, q->d};
    SAE_TRY(c->k->shift_rows(c->dev, x, -1, q->w[DEC_BIAS], centred));
    SAE_TRY(c->k->code_grad(c->dev, &q->z, resid, dec, q->dval));
    SAE_TRY(c->k->code_transpose(c->dev, &q->z, &q->by_latent));
    SAE_TRY(c->k->code_outer(c->dev, &q->by_latent, q->z.val, alpha, resid, d_dec));
    SAE_TRY(c->k->code_outer(c->dev, &q->by_latent, q->dval, alpha, in, d_enc));
    if (!q->biased)
        return SAE_OK;
    SAE_TRY(c->k->code_col_sum(c->dev, &q->by_latent, q->dval, alpha, q->grad[ENC_BIAS]));
    SAE_TRY(c->k->col_sum(c->dev, resid, alpha, q->grad[DEC_BIAS]));
    return c->k->gemm(c->dev, 0, 0, -1, to_bias, enc, 1, d_bias);
}

static int descend(trainer *q, int64_t t)
{
    const sae_ctx *c = q->r->c;
    sae_cmat dec = {q->w[DEC], q->m, q->d, q->d};
    sae_mat d_dec = {q->grad[DEC], q->m, q->d, q->d};
    double norm2;
    SAE_TRY(c->k->project_rows(c->dev, dec, d_dec, &norm2));
    for (int i = 0; i < (q->biased ? TENSORS : ENC_BIAS); i++) {
        sae_adam a = {q->o->lr, 0.9, 0.999, 1e-8, 0, 1, t, i == DEC};
        sae_mat w = {q->w[i], rows_of(q, i), cols_of(q, i), cols_of(q, i)};
        SAE_TRY(c->k->adam_step(c->dev, &a, w, q->grad[i], q->first[i], q->second[i]));
    }
    return SAE_OK;
}

/* The atoms in the order of an epoch. */
static int shuffle(trainer *q, int64_t epoch)
{
    const sae_ctx *c = q->r->c;
    size_t row = (size_t)q->d * sizeof(sae_real);
    for (int64_t i = 0; i < q->n; i++) {
        uint64_t from =
            sae_permute((uint64_t)q->o->seed, (uint64_t)epoch, (uint64_t)q->n, (uint64_t)i);
        memcpy(q->shuffled + i * q->d, q->atoms + (int64_t)from * q->d, row);
    }
    return c->be->copy(c->dev, q->x, q->shuffled, (size_t)q->n * row, SAE_COPY_H2D);
}

static int train(trainer *q)
{
    int64_t per_epoch = q->n / q->B;
    for (int64_t s = 0; s < q->o->steps; s++) {
        sae_cmat x = {q->x + s % per_epoch * q->B * q->d, q->B, q->d, q->d};
        if (s % per_epoch == 0)
            SAE_TRY(shuffle(q, s / per_epoch));
        SAE_TRY(encode(q, x));
        SAE_TRY(differentiate(q, x));
        SAE_TRY(descend(q, s + 1));
    }
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sum of squares about the mean, which counts as 0 without biases; rounding counts as 0. */
static double spread(const trainer *q)
{
    double squares = 0, means = 0;
    for (int64_t k = 0; k < q->d; k++) {
        double sum = 0;
        for (int64_t j = 0; j < q->n; j++) {
            double v = (double)q->atoms[j * q->d + k];
            sum += v;
            squares += v * v;
        }
        means += q->biased ? sum * sum / (double)q->n : 0;
    }
    return squares - means > squares * 0x1p-20 ? squares - means : 0;
}

/* All atoms are encoded as one batch. */
static int report(trainer *q)
{
    const sae_ctx *c = q->r->c;
    sae_cmat all = {q->x, q->n, q->d, q->d};
    size_t bytes = (size_t)(q->m + 1) * sizeof(int64_t);
    int64_t *first = malloc(bytes), dead = 0;
    double sse, variance = spread(q);
    int rc = first ? encode(q, all) : SAE_ENOMEM;
    if (rc >= 0)
        rc = c->k->sum(c->dev, q->n, q->sse, &sse);
    if (rc >= 0)
        rc = c->k->code_transpose(c->dev, &q->z, &q->by_latent);
    if (rc >= 0)
        rc = c->be->copy(c->dev, first, q->by_latent.colptr, bytes, SAE_COPY_D2H);
    for (int64_t j = 0; rc >= 0 && j < q->m; j++)
        dead += first[j] == first[j + 1];
    free(first);
    SAE_TRY(rc);
    double explained = variance > 0 ? 1 - sse / variance : (double)NAN;
    double mse = sse / (double)(q->n * q->d), unused = (double)dead / (double)q->m;
    SAE_TRY(sae_emit_value(q->r, "explained", explained, q->n, "1", SAE_INFO));
    SAE_TRY(sae_emit_value(q->r, "mse", mse, q->n, "1", SAE_INFO));
    return sae_emit_value(q->r, "dead_share", unused, q->m, "1", SAE_INFO);
}

static int end(const sae_measure *r, void *state)
{
    const options *o = r->opt;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    trainer q = {.r = r, .o = o, .n = dec.rows, .d = dec.cols, .biased = !sae_model_signed(r->m)};
    (void)state;
    if (o->steps == 0 || !dec.p || dec.rows == 0)
        return SAE_OK;
    q.m = (int64_t)ceil(o->width * (double)q.n);
    q.B = o->batch < q.n ? o->batch : q.n;
    int rc = open_tensors(&q);
    if (rc >= 0)
        rc = open_codes(&q);
    if (rc >= 0)
        rc = load(&q, dec);
    if (rc >= 0)
        rc = train(&q);
    if (rc >= 0)
        rc = report(&q);
    trainer_close(&q);
    return rc;
}

const sae_metric sae_metric_meta = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "meta",
    .summary = "an SAE of the atoms: how much of the decoder fewer directions explain",
    .source = "metrics/meta.md",
    .needs = 0,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = sae_no_rows_size,
    .begin = sae_begin_zero,
    .batch = sae_no_rows_batch,
    .merge = sae_no_rows_merge,
    .end = end,
};
