/* suite/kernels/cuda/lm_rows.cu - rows of language models: embeddings, norms, nonlinearities,
 * positions. Formulas are those of the host (suite/models/lm_math.c, lm_position.c). */
#include "cuda/each.cuh"
#include "cuda/lm.cuh"
#include "cuda/rows.cuh"

#include <math.h>

namespace
{

/* ---- elements -------------------------------------------------------------------------------- */

struct embedded {
    sae_lm_tables t;
    sae_lm_rows g;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        sae_real at = t.position ? t.position[g.pos[r] * t.d + c] : 0;
        return t.embed[g.tok[r] * t.d + c] * (sae_real)t.scale + at;
    }
};

struct added {
    const sae_real *delta, *x;
    __device__ sae_real operator()(int64_t, int64_t c) const
    {
        return x[c] + delta[c];
    }
};

struct capped {
    const sae_real *z;
    sae_real cap, inverse;
    __device__ sae_real operator()(int64_t, int64_t c) const
    {
        return cap * tanhf(z[c] * inverse);
    }
};

constexpr sae_real GELU_A = (sae_real)0.79788456080286536; /* sqrt(2 / pi) */
constexpr sae_real GELU_B = (sae_real)0.044715;
constexpr sae_real NORMAL = (sae_real)0.39894228040143268; /* 1 / sqrt(2 pi) */
constexpr sae_real ROOT = (sae_real)0.70710678118654752;   /* sqrt(1 / 2) */

__device__ sae_real logistic(sae_real x)
{
    return 1 / (1 + expf(-x));
}

/* The normal distribution function. */
__device__ sae_real phi(sae_real x)
{
    return erfcf(-x * ROOT) / 2;
}

/* (1 + tanh u) / 2 is the logistic function of 2 u. */
__device__ sae_real gelu_arg(sae_real x)
{
    return 2 * GELU_A * (x + GELU_B * x * x * x);
}

__device__ sae_real value_of(enum sae_lm_act act, sae_real x)
{
    switch (act) {
    case SAE_LM_SILU:
        return x * logistic(x);
    case SAE_LM_GELU_TANH:
        return x * logistic(gelu_arg(x));
    case SAE_LM_GELU:
        return x * phi(x);
    case SAE_LM_RELU:
        break;
    }
    return x > 0 ? x : 0;
}

__device__ sae_real slope_of(enum sae_lm_act act, sae_real x)
{
    sae_real s;
    switch (act) {
    case SAE_LM_SILU:
        s = logistic(x);
        return s + x * s * (1 - s);
    case SAE_LM_GELU_TANH:
        s = logistic(gelu_arg(x));
        return s + x * s * (1 - s) * 2 * GELU_A * (1 + 3 * GELU_B * x * x);
    case SAE_LM_GELU:
        return phi(x) + x * NORMAL * expf(-x * x / 2);
    case SAE_LM_RELU:
        break;
    }
    return x > 0 ? 1 : 0;
}

struct mixed {
    enum sae_lm_act act;
    int gated;
    int64_t n;
    const sae_real *wide;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        const sae_real *p = wide + r * (gated ? 2 * n : n) + c;
        sae_real v = value_of(act, *p);
        return gated ? v * p[n] : v;
    }
};

/* The gradient of what f is of; that of `up` takes its place on the way. */
struct mixed_back {
    enum sae_lm_act act;
    int gated;
    int64_t n;
    const sae_real *dout;
    sae_real *wide;
    __device__ sae_real operator()(int64_t r, int64_t c) const
    {
        sae_real *p = wide + r * (gated ? 2 * n : n) + c, x = *p, d = dout[r * n + c];
        if (!gated)
            return d * slope_of(act, x);
        sae_real up = p[n];
        p[n] = d * value_of(act, x);
        return d * up * slope_of(act, x);
    }
};

/* ---- gradients of tables -------------------------------------------------------------------- */

/* table[key[r], :] += by * dx[r, :], rows in order. The block of the first row with a key has all
 * rows with that key. */
__global__ void add_by_key(int64_t rows, int64_t d, const int32_t *key, sae_real by,
                           const sae_real *dx, sae_real *table)
{
    __shared__ int64_t list[BLOCK];
    ROW_FOR(r, rows)
    {
        int earlier = 0, count;
        for (int64_t q = threadIdx.x; q < r; q += BLOCK)
            earlier |= key[q] == key[r];
        block_scan(earlier, &count);
        sae_real *out = table + key[r] * d;
        for (int64_t from = r; count == 0 && from < rows; from += BLOCK) {
            int64_t q = from + threadIdx.x;
            int mine = q < rows && key[q] == key[r], found;
            int at = block_scan(mine, &found);
            if (mine)
                list[at] = q;
            __syncthreads();
            for (int64_t c = threadIdx.x; found && c < d; c += BLOCK) {
                sae_real v = out[c];
                for (int k = 0; k < found; k++)
                    v += dx[list[k] * d + c] * by;
                out[c] = v;
            }
        }
    }
}

/* ---- norms ----------------------------------------------------------------------------------- */

struct moments {
    sae_real mean, factor; /* x-hat = (x - mean) * factor */
    __device__ sae_real hat(sae_real x) const
    {
        return (x - mean) * factor;
    }
};

__device__ moments moments_of(const sae_lm_normer &k, const sae_real *x)
{
    double n = (double)k.n, mean = 0;
    if (k.kind == SAE_LM_NORM_LAYER)
        mean = block_sum_of(k.n, [=](int64_t i) { return (double)x[i]; }) / n;
    double q = block_sum_of(k.n, [=](int64_t i) {
        double v = (double)x[i] - mean;
        return v * v;
    });
    double f =
        k.kind == SAE_LM_NORM_UNIT ? 1 / (fmax(sqrt(q), 1e-12) * sqrt(n)) : 1 / sqrt(q / n + k.eps);
    moments m = {(sae_real)mean, (sae_real)f};
    return m;
}

__global__ void norm_rows(sae_lm_normer k, int64_t rows, const sae_real *x, sae_real *out)
{
    ROW_FOR(r, rows)
    {
        const sae_real *p = x + r * k.n;
        sae_real *o = out + r * k.n;
        moments m = moments_of(k, p);
        for (int64_t i = threadIdx.x; i < k.n; i += blockDim.x) {
            sae_real v = m.hat(p[i]);
            v = k.w ? v * k.w[i] : v;
            o[i] = k.b ? v + k.b[i] : v;
        }
    }
}

/* dx = f (w dy - mean(w dy) - x-hat mean(w dy x-hat)); the first mean is that of LAYER only, and
 * UNIT has a sum in place of the second, because its x-hat is shorter by sqrt(n). */
__global__ void norm_rows_back(sae_lm_normer k, int64_t rows, const sae_real *x, const sae_real *dy,
                               int add, sae_real *dx, sae_real *hat)
{
    ROW_FOR(r, rows)
    {
        const sae_real *p = x + r * k.n, *d = dy + r * k.n, *w = k.w;
        sae_real *out = dx + r * k.n;
        moments m = moments_of(k, p);
        double n = (double)k.n, s = 0;
        auto scaled = [=](int64_t i) { return w ? d[i] * w[i] : d[i]; };
        if (k.kind == SAE_LM_NORM_LAYER)
            s = block_sum_of(k.n, [=](int64_t i) { return (double)scaled(i); });
        double q =
            block_sum_of(k.n, [=](int64_t i) { return (double)scaled(i) * (double)m.hat(p[i]); });
        sae_real mean = (sae_real)(s / n);
        sae_real along = (sae_real)(k.kind == SAE_LM_NORM_UNIT ? q * n : q / n);
        for (int64_t i = threadIdx.x; i < k.n; i += blockDim.x) {
            sae_real xh = m.hat(p[i]), g = m.factor * (scaled(i) - mean - xh * along);
            if (hat)
                hat[r * k.n + i] = d[i] * xh;
            out[i] = add ? out[i] + g : g;
        }
    }
}

/* ---- positions ------------------------------------------------------------------------------- */

/* A warp has a head. Its lanes share out the components so that the two which turn together are one
 * lane's: f(c) for those of this lane. */
template <class F> __device__ void own_components(const sae_lm_heads &h, F f)
{
    int64_t half = h.rotary / 2;
    for (int64_t i = lane_id(); i < half; i += WARP) {
        f(i);
        f(half + i);
    }
    for (int64_t c = 2 * half + lane_id(); c < h.head; c += WARP)
        f(c);
}

/* Components i and rotary/2 + i turn by angle i; sign -1 turns back. */
__device__ void turn(const sae_lm_heads &h, int32_t pos, sae_real sign, sae_real *x)
{
    int64_t half = h.rotary / 2;
    const sae_real *angles = h.rope + pos * h.rotary;
    for (int64_t i = lane_id(); i < half; i += WARP) {
        sae_real a = x[i], b = x[half + i], co = angles[i], si = sign * angles[half + i];
        x[i] = a * co - b * si;
        x[half + i] = b * co + a * si;
    }
}

__device__ sae_real head_factor(const sae_lm_heads &h, const sae_real *x)
{
    double q = 0;
    own_components(h, [&](int64_t c) { q += (double)x[c] * (double)x[c]; });
    return (sae_real)(1 / sqrt(lane_sum(q) / (double)h.head + h.eps));
}

__global__ void place_heads(sae_lm_heads h, sae_lm_rows g, const sae_real *in, sae_real *out)
{
    int64_t turning = h.heads + h.kv_heads, all = turning + h.kv_heads;
    WARP_FOR(i, g.rows * all)
    {
        int64_t k = i % all;
        const sae_real *x = in + i * h.head;
        const sae_real *w = k < h.heads ? h.q_norm : k < turning ? h.k_norm : nullptr;
        sae_real *o = out + i * h.head, f = w ? head_factor(h, x) : 1;
        own_components(h, [=](int64_t c) { o[c] = w ? x[c] * f * w[c] : x[c]; });
        if (k < turning)
            turn(h, g.pos[i / all], 1, o);
    }
}

/* d becomes the gradient of x; hat += d * x-hat. */
__device__ void norm_head_back(const sae_lm_heads &h, const sae_real *w, const sae_real *x,
                               sae_real *d, sae_real *hat)
{
    sae_real f = head_factor(h, x);
    double q = 0;
    own_components(h, [&](int64_t c) {
        sae_real xh = x[c] * f;
        hat[c] += d[c] * xh;
        d[c] *= w[c];
        q += (double)d[c] * (double)xh;
    });
    sae_real along = (sae_real)(lane_sum(q) / (double)h.head);
    own_components(h, [=](int64_t c) { d[c] = f * (d[c] - x[c] * f * along); });
}

/* A warp has the queries or the keys of a row: hat is their sum. */
__global__ void place_heads_back(sae_lm_heads h, sae_lm_rows g, const sae_real *in, sae_real *d,
                                 sae_real *hat_q, sae_real *hat_k)
{
    WARP_FOR(i, 2 * g.rows)
    {
        int64_t r = i / 2, count = i % 2 ? h.kv_heads : h.heads;
        int64_t at = (r * (h.heads + 2 * h.kv_heads) + (i % 2 ? h.heads : 0)) * h.head;
        const sae_real *w = i % 2 ? h.k_norm : h.q_norm;
        sae_real *hat = w ? (i % 2 ? hat_k : hat_q) + r * h.head : nullptr;
        if (w)
            own_components(h, [=](int64_t c) { hat[c] = 0; });
        for (int64_t k = 0; k < count; k++, at += h.head) {
            turn(h, g.pos[r], -1, d + at);
            if (w)
                norm_head_back(h, w, in + at, d + at, hat);
        }
    }
}

int places_nothing(const sae_lm_heads *h)
{
    return h->rotary == 0 && !h->q_norm && !h->k_norm;
}

} // namespace

/* ---- entries --------------------------------------------------------------------------------- */

int sae_cuda_lm_embed(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g, sae_real *x)
{
    embedded f = {*t, *g};
    sae_mat out = {x, g->rows, t->d, t->d};
    return fill(dev, out, f);
}

int sae_cuda_lm_embed_back(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g,
                           const sae_real *dx, sae_real *dembed, sae_real *dposition)
{
    TRY(LAUNCH(dev, add_by_key, blocks_for(g->rows, 1), BLOCK, g->rows, t->d, g->tok,
               (sae_real)t->scale, dx, dembed));
    if (!dposition)
        return SAE_OK;
    return LAUNCH(dev, add_by_key, blocks_for(g->rows, 1), BLOCK, g->rows, t->d, g->pos, 1, dx,
                  dposition);
}

int sae_cuda_lm_norm(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                     sae_real *out)
{
    return LAUNCH(dev, norm_rows, blocks_for(rows, 1), threads_for(k->n), *k, rows, x, out);
}

int sae_cuda_lm_norm_back(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                          const sae_real *dy, int add, sae_real *dx, sae_real *hat)
{
    return LAUNCH(dev, norm_rows_back, blocks_for(rows, 1), threads_for(k->n), *k, rows, x, dy, add,
                  dx, hat);
}

int sae_cuda_lm_mix(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                    const sae_real *wide, sae_real *out)
{
    mixed f = {act, gated, n, wide};
    sae_mat o = {out, rows, n, n};
    return fill(dev, o, f);
}

int sae_cuda_lm_mix_back(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                         const sae_real *dout, sae_real *wide)
{
    mixed_back f = {act, gated, n, dout, wide};
    sae_mat o = {wide, rows, n, gated ? 2 * n : n};
    return fill(dev, o, f);
}

int sae_cuda_lm_add(sae_device *dev, int64_t n, const sae_real *delta, sae_real *x)
{
    added f = {delta, x};
    sae_mat out = {x, 1, n, n};
    return fill(dev, out, f);
}

int sae_cuda_lm_cap(sae_device *dev, int64_t n, double cap, sae_real *z)
{
    capped f = {z, (sae_real)cap, (sae_real)(1 / cap)};
    sae_mat out = {z, 1, n, n};
    return fill(dev, out, f);
}

int sae_cuda_lm_position(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                         const sae_real *in, sae_real *out)
{
    int64_t warps = g->rows * (h->heads + 2 * h->kv_heads);
    if (in == out && places_nothing(h))
        return SAE_OK;
    return LAUNCH(dev, place_heads, blocks_for(warps, WARPS), BLOCK, *h, *g, in, out);
}

int sae_cuda_lm_position_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                              const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k)
{
    if (places_nothing(h))
        return SAE_OK;
    return LAUNCH(dev, place_heads_back, blocks_for(2 * g->rows, WARPS), BLOCK, *h, *g, in, d,
                  hat_q, hat_k);
}
