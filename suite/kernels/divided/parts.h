/* suite/kernels/divided/parts.h - how an entry's work becomes parts. */
#ifndef SAE_KERNELS_DIVIDED_PARTS_H
#define SAE_KERNELS_DIVIDED_PARTS_H

#include "divided/divided.h"
#include "shared/shape.h"

#define SAE_DIVIDED(op) sae_k_##op##_divided

/* The entries that are divided; the others are the lead's. */
#define SAE_DIVIDED_LIST(X)                                                                        \
    X(gemm) X(shift_rows) X(col_sum) X(row_dot) X(residual)                                        \
    X(gate) X(map) X(mul) X(scale) X(window) X(col_max) X(cross)                                   \
    X(encode_topk) X(encode_flat_topk) X(encode_threshold) X(encode_dense)                         \
    X(row_topk) X(flat_topk) X(col_topk) X(threshold) X(row_prefix) X(pursuit)                     \
    X(code_to_dense) X(code_decode) X(code_grad) X(code_outer) X(code_scale)                       \
    X(project_rows) X(adam_step) X(unit_rows) X(normal_fill)
#define SAE_DIVIDED_PROTOTYPE(op) SAE_DECL_##op(SAE_DIVIDED(op));
SAE_DIVIDED_LIST(SAE_DIVIDED_PROTOTYPE)
#undef SAE_DIVIDED_PROTOTYPE

struct sae_divided {
    const sae_backend *be;
    sae_device *dev[SAE_DIVIDED_MOST];
    int count, shares_host;
    const sae_kernels *k; /* of each device */
    sae_divided_each *each;
    void *crew;
    int64_t least;                       /* see sae_divided_least */
    sae_code part[SAE_DIVIDED_MOST];     /* what each selects, in the lead's memory */
    int64_t rows[SAE_DIVIDED_MOST];      /* room in part[].rowptr */
    void *near[SAE_DIVIDED_MOST];        /* of sae_part_near */
    size_t near_bytes[SAE_DIVIDED_MOST];
    sae_divided *next; /* in the list of all */
};

/* Elements [from, to) of what is divided, by one device. */
typedef struct sae_part {
    sae_divided *d;
    int device; /* in d */
    sae_device *dev;
    const sae_kernels *k;
    int64_t from, to;
} sae_part;

typedef int sae_part_work(const sae_part *p, const void *arg);

/* The devices that lead leads. */
sae_divided *sae_divided_of(const sae_device *lead);
/* 1: what has this many elements is for the lead alone; also when one extent is negative. */
static inline int sae_is_small(const sae_divided *d, int64_t rows, int64_t cols)
{
    return rows <= 0 || cols <= 0 || rows < d->least / cols;
}
/* work(part, arg) for the parts of [0, length), of which each device has one; empty ones are left
 * out. The status of the first device whose work failed. */
int sae_divide(sae_divided *d, int64_t length, sae_part_work *work, const void *arg);
/* Where the part of a device begins; that of device `count` is the end. */
int64_t sae_part_start(const sae_divided *d, int64_t length, int device);

/* m, or a copy of it near the part's device: for what a part reads more than once. NULL p: out of
 * memory. Valid until the part asks again. */
sae_cmat sae_part_near(const sae_part *p, sae_cmat m);

/* Rows or columns [from, to) of m, where m.p may be NULL. */
static inline sae_cmat sae_part_rows(const sae_part *p, sae_cmat m)
{
    m.p = m.p ? m.p + p->from * m.ld : NULL;
    m.rows = p->to - p->from;
    return m;
}

static inline sae_mat sae_part_out_rows(const sae_part *p, sae_mat m)
{
    m.p = m.p ? m.p + p->from * m.ld : NULL;
    m.rows = p->to - p->from;
    return m;
}

static inline sae_cmat sae_part_cols(const sae_part *p, sae_cmat m)
{
    m.p = m.p ? m.p + p->from : NULL;
    m.cols = p->to - p->from;
    return m;
}

static inline sae_mat sae_part_out_cols(const sae_part *p, sae_mat m)
{
    m.p = m.p ? m.p + p->from : NULL;
    m.cols = p->to - p->from;
    return m;
}

#endif
