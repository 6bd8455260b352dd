/* suite/kernels/cuda/frozen.cu - bf16 copies of weights, for as long as nobody writes to them.
 *
 * Where products are in bf16 (--device cuda,bf16), products with frozen weights read operands that
 * are stored so: half the bytes, and nothing is converted inside them. Sparse products with the
 * weights read the copies too. The weights themselves, which the optimiser moves, stay in fp32.
 */
#include "cuda/share.cuh"

static __global__ void round_all(const sae_real *w, int64_t count, uint16_t *out)
{
    GRID_FOR(i, count)
    narrow(w[i], out + i);
}

/* Where w's copy is or goes: its own place, or the free one whose memory fits best. NULL: all are
 * taken. */
static sae_cuda_copy *place_for(sae_device *dev, sae_cmat w, size_t bytes)
{
    sae_cuda_copy *best = NULL;
    for (int i = 0; i < MOST_FROZEN; i++) {
        sae_cuda_copy *f = &dev->frozen[i];
        if (f->w.p == w.p)
            return f;
        if (f->w.p)
            continue;
        int fits = f->bytes >= bytes, best_fits = best && best->bytes >= bytes;
        if (!best || (fits && !best_fits) || (fits && f->bytes < best->bytes))
            best = f;
    }
    return best;
}

static int round_part(sae_device *dev, const sae_real *w, uint16_t *out, int64_t from, int64_t end)
{
    return LAUNCH(dev, round_all, blocks_for(end - from, BLOCK), BLOCK, w + from, end - from,
                  out + from);
}

/* Every device that the copy is spread over rounds about what it has of both. */
static int round_parts(sae_device *dev, sae_cmat w, uint16_t *out)
{
    int64_t all = w.rows * w.cols;
    sae_device *const *of = &dev;
    int count = sae_cuda_spread_over(dev, out, &of), rc = SAE_OK;
    for (int i = 0; i < count && rc >= 0; i++)
        rc = sae_cuda_after(of[i], dev);
    for (int i = 0; i < count && rc >= 0; i++) {
        int64_t end = i + 1 < count ? all / count * (i + 1) : all;
        rc = round_part(of[i], w.p, out, all / count * i, end);
    }
    for (int i = 0; i < count && rc >= 0; i++)
        rc = sae_cuda_after(dev, of[i]);
    return rc;
}

int sae_cuda_freeze(sae_device *dev, sae_cmat w)
{
    if (bad_cmat(w) || w.ld != w.cols)
        return SAE_EINVAL;
    size_t bytes = (size_t)(w.rows * w.cols) * sizeof(uint16_t);
    sae_cuda_copy *f = place_for(dev, w, bytes);
    if (dev->compute != CUBLAS_COMPUTE_32F_FAST_16BF || bytes == 0 || !f)
        return SAE_OK;
    if (f->users++)
        return SAE_OK;
    if (f->bytes < bytes) {
        sae_cuda_spread_free(dev, f->p);
        f->p = sae_cuda_spread_take(dev, bytes);
        f->bytes = f->p ? bytes : 0;
    }
    f->users = f->p != NULL;
    if (!f->p)
        return SAE_ENOMEM;
    f->w = w;
    return round_parts(dev, w, (uint16_t *)f->p);
}

void sae_cuda_thaw(sae_device *dev, const sae_real *w)
{
    for (int i = 0; i < MOST_FROZEN; i++) {
        sae_cuda_copy *f = &dev->frozen[i];
        if (w && f->w.p == w && --f->users == 0)
            f->w.p = NULL;
    }
}

static sae_cuda_half copy_in(const sae_device *dev, sae_cmat w)
{
    sae_cuda_half none = {NULL, 0, 0, 0};
    for (int i = 0; i < MOST_FROZEN; i++) {
        const sae_cuda_copy *f = &dev->frozen[i];
        const sae_real *end = f->w.p + f->w.rows * f->w.cols;
        const sae_real *last = w.p + (w.rows - 1) * w.ld + w.cols;
        if (!f->w.p || w.p < f->w.p || last > end)
            continue;
        sae_cuda_half copy = {(const uint16_t *)f->p + (w.p - f->w.p), w.rows, w.cols, w.ld};
        return copy;
    }
    return none;
}

/* A peer's is the lead's, whose table nobody changes while peers work. */
sae_cuda_half sae_cuda_frozen(const sae_device *dev, sae_cmat w)
{
    sae_cuda_half copy = {NULL, 0, 0, 0};
    for (; dev && !copy.p && w.rows > 0 && w.cols > 0; dev = dev->lead)
        copy = copy_in(dev, w);
    return copy;
}

void sae_cuda_frozen_close(sae_device *dev)
{
    for (int i = 0; i < MOST_FROZEN; i++)
        sae_cuda_spread_free(dev, dev->frozen[i].p);
}
