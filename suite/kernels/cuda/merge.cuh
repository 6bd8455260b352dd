/* suite/kernels/cuda/merge.cuh - the parts of a code, as kernels get them. */
#ifndef SAE_KERNELS_CUDA_MERGE_CUH
#define SAE_KERNELS_CUDA_MERGE_CUH

#include "cuda/select.cuh"

/* Parts in the arguments of one launch. Few in tests, which have more. */
#ifdef SAE_EMULATED_CUDA
constexpr int CUTS = 3;
#else
constexpr int CUTS = 32;
#endif

/* A part of the code, and where its entries begin in a list of all that all parts have. */
typedef struct sae_cuda_cut {
    const int64_t *rowptr;
    const int32_t *idx;
    const sae_real *val;
    int64_t rows, row0, j0, start;
} sae_cuda_cut;

/* The entries of a part in a row of the whole. */
typedef struct sae_cuda_cut_row {
    int64_t row, count, place; /* place: of the first one in the list */
    int64_t j0;                /* what is added to idx */
    const int32_t *idx;
    const sae_real *val;
} sae_cuda_cut_row;

typedef struct sae_cuda_cuts {
    int64_t rows, first, count; /* rows of the whole; parts before these, and these */
    sae_cuda_cut at[CUTS];

    /* Row i % rows of part i / rows; no entries where the part does not have the row. */
    __device__ sae_cuda_cut_row row(int64_t i) const
    {
        const sae_cuda_cut &c = at[i / rows];
        sae_cuda_cut_row out = {i % rows, 0, 0, c.j0, c.idx, c.val};
        int64_t r = out.row - c.row0;
        if (r < 0 || r >= c.rows)
            return out;
        int64_t from = c.rowptr[r];
        out.count = c.rowptr[r + 1] - from;
        out.place = c.start + from - c.rowptr[0];
        out.idx += from;
        out.val += from;
        return out;
    }
} sae_cuda_cuts;

/* A warp for every row of every part. */
static inline unsigned sae_cuda_cut_blocks(const sae_cuda_cuts &in)
{
    return blocks_for(in.count * in.rows, WARPS);
}

/* The most that the parts before `end` can have listed: where that one's entries begin. */
static inline int64_t sae_cuda_cut_start(const sae_code_part *part, int end)
{
    int64_t start = 0;
    for (int p = 0; p < end; p++)
        start += part[p].z.nnz;
    return start;
}

/* launch(some of the parts) until all have been. */
template <class F>
int sae_cuda_cuts_each(const sae_code_part *part, int count, int64_t rows, F launch)
{
    int64_t start = 0;
    for (int from = 0; from < count; from += CUTS) {
        sae_cuda_cuts in = {rows, from, count - from < CUTS ? count - from : CUTS, {}};
        for (int i = 0; i < in.count; i++) {
            const sae_code_part *p = &part[from + i];
            sae_cuda_cut c = {p->z.rowptr, p->z.idx, p->z.val, p->z.B, p->row0, p->j0, start};
            in.at[i] = c;
            start += p->z.nnz;
        }
        TRY(launch(in));
    }
    return SAE_OK;
}

/* code_merge of checked arguments for SAE_MERGE_FLAT, but for nan (select_flat.cu). */
int sae_cuda_merge_flat(sae_device *dev, const sae_code_part *part, int count, enum sae_key key,
                        int64_t k, sae_code *z);

#endif
