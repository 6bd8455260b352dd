/* suite/kernels/shared/device.h - the device of the host backends: threads and workspaces. */
#ifndef SAE_KERNELS_DEVICE_H
#define SAE_KERNELS_DEVICE_H

#include <sae/backend.h>

enum { SAE_WS_SLOTS = 8 };

typedef struct sae_ws {
    void *p;
    size_t bytes;
} sae_ws;

struct sae_device {
    int threads; /* workers of a parallel region, >= 1 */
    int simd;    /* enum sae_simd of the cpu backend; 0 for ref */
    char name[96], library[96];
    sae_ws shared[SAE_WS_SLOTS];
    sae_ws (*own)[SAE_WS_SLOTS]; /* [threads] */
};

int sae_host_open(sae_device **dev, int threads, const char *library, sae_err *err);
void sae_host_close(sae_device **dev);
int sae_host_props(const sae_device *dev, sae_device_props *out);
void *sae_host_alloc(sae_device *dev, size_t bytes);
void sae_host_release(sae_device *dev, void *p);
int sae_host_copy(sae_device *dev, void *dst, const void *src, size_t bytes, enum sae_copy kind);
int sae_host_sync(sae_device *dev);
/* Host devices share their memory already, and every call has ended when it returns. */
int sae_host_share(sae_device *lead, sae_device *const *peer, int count, sae_err *err);
int sae_host_after(sae_device *dev, sae_device *other);

/* Room for count * size bytes (64-byte aligned, contents undefined) in a slot that every thread
 * sees; NULL when out of memory or when the product overflows. Grows only; the pointer is valid
 * until the slot is asked for again. */
void *sae_ws_shared(sae_device *dev, int slot, int64_t count, size_t size);
/* The same for one slot of every worker. Call outside parallel regions; then sae_ws_own inside. */
int sae_ws_reserve(sae_device *dev, int slot, int64_t count, size_t size);
static inline void *sae_ws_own(const sae_device *dev, int thread, int slot)
{
    return dev->own[thread][slot].p;
}
/* Grow one worker's slot keeping its contents, to at least count * size bytes and by at least half;
 * that worker may call it inside a parallel region. NULL: out of memory, the slot is unchanged. */
void *sae_ws_extend(sae_device *dev, int thread, int slot, int64_t count, size_t size);

#endif
