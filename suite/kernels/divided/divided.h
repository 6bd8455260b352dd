/* suite/kernels/divided/divided.h - several devices that compute as one.
 *
 * For what does not fit on one device: a dictionary of n features lies in the memory of all of them
 * (sae_backend.share), and each works where it lies. The first device leads: whatever runs on one
 * device runs on it unchanged, since it reaches all memory. Entries of the kernel table with much
 * work are divided: every device computes a range of the rows or columns of the output by its own
 * entry, so that every element still has one writer and is the same sum as on one device. What
 * selections pick from ranges of features is merged by the lead (code_merge).
 *
 * Bits: those of one device where an entry's bits of an element do not depend on the extents of the
 * output, as those of the backend "cpu". The same in every run with as many devices.
 *
 * Order: what the devices are told follows what the lead was told before, and what the lead is told
 * afterwards follows all of it (sae_backend.after). The host waits where the entry does.
 */
#ifndef SAE_KERNELS_DIVIDED_H
#define SAE_KERNELS_DIVIDED_H

#include <sae/backend.h>

enum { SAE_DIVIDED_MOST = 16 };

typedef struct sae_divided sae_divided;

/* work(arg, device) for every device at once, each on a thread that is always the same, that of the
 * first one the caller's; returns when all have. */
typedef void sae_divided_each(void *crew, void (*work)(void *arg, int device), void *arg);

/* dev[0], the lead, and its peers become one; k: the table of each. All are borrowed and outlive
 * it. SAE_ENEEDS: these devices cannot. */
int sae_divided_open(sae_divided **out, const sae_backend *be, sae_device *const *dev, int count,
                     const sae_kernels *k, sae_divided_each *each, void *crew, sae_err *err);
void sae_divided_close(sae_divided **d); /* NULL-safe; sets *d to NULL */
/* *k, the table of the lead, becomes that of all. */
void sae_divided_kernels(sae_kernels *k);
/* Outputs with fewer elements are the lead's alone; for tests, which have small ones. */
void sae_divided_least(sae_divided *d, int64_t elements);

#endif
