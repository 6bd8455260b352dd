/* tests/train/rig_source.h - the synthetic source of the rig.
 *
 * Rows are sums of ACTIVE of ATOMS unit vectors with coefficients in (0.5, 1.5): a pure function of
 * the row number, so a dataset of any length costs nothing. Targets are the same sums of the
 * vectors' first RIG_OUT entries, turned round, plus 1.
 */
#ifndef SAE_TESTS_RIG_SOURCE_H
#define SAE_TESTS_RIG_SOURCE_H

#include <math.h>
#include <sae/dataset.h>
#include <sae/rng.h>
#include <stdio.h>

enum { RIG_D = 16, RIG_OUT = 11, RIG_ATOMS = 24, RIG_ACTIVE = 3 };
enum { RIG_STREAM = SAE_STREAM_SYNTHETIC + 40 };

/* Unit vector j. */
static inline const double *rig_atom(uint64_t j)
{
    static double atom[RIG_ATOMS][RIG_D];
    double norm = 0;
    if (atom[j][0] != 0)
        return atom[j];
    for (uint32_t i = 0; i < RIG_D; i++) {
        atom[j][i] = sae_normal(1, RIG_STREAM, j, i);
        norm += atom[j][i] * atom[j][i];
    }
    for (int i = 0; i < RIG_D; i++)
        atom[j][i] /= sqrt(norm);
    return atom[j];
}

static inline void rig_row(uint64_t row, sae_real *x)
{
    double sum[RIG_D] = {0};
    for (uint32_t a = 0; a < RIG_ACTIVE; a++) {
        sae_u4 u = sae_philox(1, RIG_STREAM + 1, row, a);
        const double *atom = rig_atom(u.v[0] % RIG_ATOMS);
        for (int i = 0; i < RIG_D; i++)
            sum[i] += atom[i] * (0.5 + (double)sae_u01(u.v[1]));
    }
    for (int i = 0; i < RIG_D; i++)
        x[i] = (sae_real)(2 * sum[i]);
}

static inline void rig_target(uint64_t row, sae_real *y)
{
    sae_real x[RIG_D];
    rig_row(row, x);
    for (int i = 0; i < RIG_OUT; i++)
        y[i] = 3 * x[RIG_OUT - 1 - i] + 1;
}

static uint64_t rig_gives; /* of the source that is opened next */

static inline int rig_open_source(sae_source **s, const void *opt, const sae_host *host,
                                  sae_dims *dim, sae_err *err)
{
    static char here; /* there is no state; the pointer must not be NULL */
    (void)opt, (void)host, (void)err;
    *s = (sae_source *)(void *)&here;
    *dim = (sae_dims){.d_in = RIG_D, .d_out = rig_gives & SAE_GIVES_TARGET ? RIG_OUT : RIG_D};
    return SAE_OK;
}

static inline int64_t rig_rows(const sae_source *s, enum sae_split split)
{
    (void)s, (void)split;
    return -1;
}

static inline int rig_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                           const sae_fill *out, sae_err *err)
{
    (void)s, (void)err;
    uint64_t base = split == SAE_SPLIT_EVAL ? UINT64_C(1) << 40 : 0;
    for (int64_t r = 0; r < B; r++) {
        uint64_t row = base + row0 + (uint64_t)r;
        if (out->x)
            rig_row(row, out->x + r * RIG_D);
        if (out->y)
            rig_target(row, out->y + r * RIG_OUT);
        for (uint32_t i = 0; out->g && i < RIG_D; i++)
            out->g[r * RIG_D + i] = (sae_real)sae_normal(1, RIG_STREAM + 2, row, i);
        if (out->tok)
            out->tok[r] = (sae_token){.doc = row / 64, .pos = (uint32_t)(row % 64), .id = 7};
    }
    return SAE_OK;
}

static inline int rig_truth(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                            sae_truth *t, sae_err *err)
{
    static sae_real dict[RIG_ATOMS * RIG_D];
    (void)s, (void)split, (void)row0, (void)B, (void)err;
    for (int64_t i = 0; i < RIG_ATOMS * RIG_D; i++)
        dict[i] = (sae_real)rig_atom((uint64_t)(i / RIG_D))[i % RIG_D];
    *t = (sae_truth){RIG_ATOMS, RIG_D, dict, NULL, NULL};
    return SAE_OK;
}

static inline void rig_close_source(sae_source **s)
{
    *s = NULL;
}

static inline int rig_hash(const sae_source *s, char out[36])
{
    (void)s;
    snprintf(out, 36, "%032d", 1);
    return SAE_OK;
}

static inline sae_dataset rig_dataset(uint64_t gives)
{
    static const sae_option none[] = {{0}};
    return (sae_dataset){.abi = SAE_DATASET_ABI,
                         .size = sizeof(sae_dataset),
                         .name = "rig",
                         .summary = "sparse sums of unit vectors",
                         .source = "tests/train/rig.h",
                         .licence = "-",
                         .gives = gives,
                         .opt_size = 8,
                         .options = none,
                         .open = rig_open_source,
                         .rows = rig_rows,
                         .fill = rig_fill,
                         .close = rig_close_source,
                         .hash = rig_hash,
                         .truth = gives & SAE_GIVES_TRUTH ? rig_truth : NULL};
}

#endif
