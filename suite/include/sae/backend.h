/* sae/backend.h - where tensors live and who computes on them. */
#ifndef SAE_BACKEND_H
#define SAE_BACKEND_H

#include "base.h"
#include "kernels.h"
#include "lm_ops.h"

enum { SAE_BACKEND_ABI = 1 };

enum sae_copy { SAE_COPY_H2D, SAE_COPY_D2H, SAE_COPY_D2D };

/* How arrays of several devices become one. */
enum sae_reduction {
    SAE_REDUCE_MEAN, /* of sae_real */
    SAE_REDUCE_SUM,  /* of uint64_t */
    SAE_REDUCE_MAX,  /* of uint64_t */
    SAE_REDUCE_FIRST /* bytes: what the first device has */
};

typedef struct sae_device_props {
    char name[96];              /* processor or device, for run.json */
    char library[96];           /* BLAS name and version */
    int64_t mem_total, mem_free; /* bytes; 0 when unknown */
    int threads;                /* worker threads of a host backend */
    int shares_host;            /* 1: device pointers may be dereferenced by the host */
} sae_device_props;

typedef struct sae_backend {
    uint32_t abi, size; /* SAE_BACKEND_ABI, sizeof(sae_backend) */
    const char *name;   /* "ref", "cpu", "cuda" */
    const char *summary;
    /* 0: unusable on this machine; otherwise the backend with the largest number is the default. */
    int (*score)(void);
    /* index: device number for device backends; threads <= 0: all the process may use. */
    int (*open)(sae_device **dev, int index, int threads, sae_err *err);
    void (*close)(sae_device **dev); /* NULL-safe; sets *dev to NULL */
    int (*props)(const sae_device *dev, sae_device_props *out);
    void *(*alloc)(sae_device *dev, size_t bytes); /* 64-byte aligned, zeroed, or NULL */
    void (*release)(sae_device *dev, void *p);
    /* Everything happens in the order of the calls. Behind a copy from or to the host, src may
     * change and dst may be read at once; release waits for what uses p. */
    int (*copy)(sae_device *dev, void *dst, const void *src, size_t bytes, enum sae_copy kind);
    int (*sync)(sae_device *dev);
    /* *k holds the table of "ref"; override the entries this backend does better. Those of "ref"
     * expect the device of a backend in the program: one with devices of its own overrides all. */
    void (*kernels)(sae_device *dev, sae_kernels *k);
    /* What the device said of its first failure, "" when nothing. NULL: it never says. */
    const char *(*why)(const sae_device *dev);
    /* How products round their operands before they are added up in fp32: "fp32" (not at all, the
     * default), "tf32" or "bf16". props.library names it. SAE_EINVAL: not here. NULL: fp32 only. */
    int (*precision)(sae_device *dev, const char *name);
    /* The passes of language models in this backend's memory. NULL: where it shares memory with the
     * host, the suite's own; elsewhere models stay on the host. */
    const sae_lm_ops *lm;
    /* What follows makes a step faster and may be NULL, but freeze and thaw go together, and so do
     * alloc_host and release_host.
     *
     * From freeze to thaw nobody writes to w [rows x cols], ld == cols: gemm (as b), encoders,
     * code_decode and code_grad may read a copy of it that is rounded as the operands of products
     * are. As many thaws as freezes; thaw of anything else does nothing. */
    int (*freeze)(sae_device *dev, sae_cmat w);
    void (*thaw)(sae_device *dev, const sae_real *w);
    /* Host memory that upload reads at full speed; NULL when there is none. release_host is
     * NULL-safe. */
    void *(*alloc_host)(sae_device *dev, size_t bytes);
    void (*release_host)(sae_device *dev, void *p);
    /* Copy from the host beside what the device computes. The one entry that another thread may
     * call meanwhile. Nothing may use dst while it runs; when it returns dst is there. */
    int (*upload)(sae_device *dev, void *dst, const void *src, size_t bytes);
    /* p[i] [n] in the memory of dev[i], i < count, all of this backend: each becomes the mean, sum
     * or maximum of all, or the first. The result is the same on every device and in every run. One
     * thread calls it for all devices, while none of them is in use elsewhere. SAE_ENEEDS: this
     * machine lacks what it takes; callers then copy through the host. */
    int (*reduce)(sae_device *const *dev, int count, void *const *p, int64_t n,
                  enum sae_reduction how, sae_err *err);
    /* Several devices as one, for what does not fit on one of them; both or none.
     *
     * share: from now on what lead allocates is read and written by its `count` peers, too, and
     * where it is large lies spread evenly over the memory of all, lead first. Copies and sync of
     * lead wait for peers that it comes after, release for whatever they do. Peers close before
     * lead. SAE_ENEEDS: these devices do not reach each other's memory. */
    int (*share)(sae_device *lead, sae_device *const *peer, int count, sae_err *err);
    /* What dev is told from now on happens after what `other` has been told so far; the host does
     * not wait. Nobody else uses either of them meanwhile. */
    int (*after)(sae_device *dev, sae_device *other);
} sae_backend;

#endif
