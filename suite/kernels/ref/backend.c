/* suite/kernels/ref/backend.c - the reference kernels as a backend of one thread. */
#include "ref/ref.h"

static int score(void)
{
    return 1;
}

static int open_ref(sae_device **dev, int index, int threads, sae_err *err)
{
    (void)index, (void)threads;
    return sae_host_open(dev, 1, "scalar reference", err);
}

static void kernels(sae_device *dev, sae_kernels *k)
{
    (void)dev;
    SAE_REF(table)(k);
}

extern const sae_backend sae_backend_ref;
const sae_backend sae_backend_ref = {
    .abi = SAE_BACKEND_ABI,
    .size = sizeof(sae_backend),
    .name = "ref",
    .summary = "scalar reference, one thread: slow, the oracle of every other backend",
    .score = score,
    .open = open_ref,
    .close = sae_host_close,
    .props = sae_host_props,
    .alloc = sae_host_alloc,
    .release = sae_host_release,
    .copy = sae_host_copy,
    .sync = sae_host_sync,
    .kernels = kernels,
    .share = sae_host_share,
    .after = sae_host_after,
};
