/* suite/kernels/divided/weights.c - the optimiser: rows of weights belong to the devices on which
 * they lie. */
#include "divided/parts.h"

#include "shared/sum.h"

#define WHOLE(d, op, ...) (d)->k->op((d)->dev[0], __VA_ARGS__)

/* ---- projection ------------------------------------------------------------------------------ */

/* Rows go in blocks of a power of two of them, some to every device: the sum of a block is a node
 * of the tree along which |g|^2 of all rows is added up. */
enum { BLOCKS_EACH = 8, MOST_BLOCKS = 2 * BLOCKS_EACH * SAE_DIVIDED_MOST + 1 };

typedef struct project_args {
    sae_cmat w;
    sae_mat g;
    int64_t block; /* rows of one; the last one may have fewer */
    double *norm2; /* |g|^2 of each */
} project_args;

static int project_part(const sae_part *p, const void *arg)
{
    const project_args *a = arg;
    for (int64_t b = p->from; b < p->to; b++) {
        sae_part rows = *p;
        rows.from = b * a->block;
        rows.to = rows.from + a->block < a->g.rows ? rows.from + a->block : a->g.rows;
        int rc = p->k->project_rows(p->dev, sae_part_rows(&rows, a->w),
                                    sae_part_out_rows(&rows, a->g), &a->norm2[b]);
        if (rc < 0)
            return rc;
    }
    return SAE_OK;
}

/* As sae_pairwise adds up all rows: the rows behind the last full block are its lowest sums. */
static double sum_of_blocks(const double *sum, int64_t full, double rest)
{
    sae_pairwise p = {0};
    for (int64_t b = 0; b < full; b++)
        sae_pairwise_add(&p, sum[b]);
    int i = 0;
    for (uint64_t c = p.count; c; c >>= 1, i++)
        if (c & 1)
            rest = p.part[i] + rest;
    return rest;
}

SAE_DECL_project_rows(SAE_DIVIDED(project_rows))
{
    sae_divided *d = sae_divided_of(dev);
    double sum[MOST_BLOCKS] = {0};
    project_args a = {.w = w, .g = g, .block = 1, .norm2 = sum};
    if (bad_mat(g) || (w.p && !has_shape(w, g.rows, g.cols)) || sae_is_small(d, g.rows, g.cols))
        return WHOLE(d, project_rows, w, g, norm2);
    while (2 * a.block * BLOCKS_EACH * d->count <= g.rows)
        a.block *= 2;
    int64_t full = g.rows / a.block, rest = g.rows % a.block != 0;
    int rc = sae_divide(d, full + rest, project_part, &a);
    *norm2 = sum_of_blocks(sum, full, rest ? sum[full] : 0);
    return rc;
}

/* ---- Adam, norms, random numbers ------------------------------------------------------------- */

typedef struct adam_args {
    const sae_adam *a;
    sae_mat w;
    sae_real *g, *m, *v;
} adam_args;

static int adam_part(const sae_part *p, const void *arg)
{
    const adam_args *a = arg;
    int64_t at = p->from * a->w.cols;
    return p->k->adam_step(p->dev, a->a, sae_part_out_rows(p, a->w), a->g + at, a->m + at,
                           a->v + at);
}

SAE_DECL_adam_step(SAE_DIVIDED(adam_step))
{
    sae_divided *d = sae_divided_of(dev);
    adam_args args = {a, w, g, m, v};
    if (bad_mat(w) || w.ld != w.cols || sae_is_small(d, w.rows, w.cols))
        return WHOLE(d, adam_step, a, w, g, m, v);
    return sae_divide(d, w.rows, adam_part, &args);
}

static int unit_part(const sae_part *p, const void *arg)
{
    return p->k->unit_rows(p->dev, sae_part_out_rows(p, *(const sae_mat *)arg));
}

SAE_DECL_unit_rows(SAE_DIVIDED(unit_rows))
{
    sae_divided *d = sae_divided_of(dev);
    if (bad_mat(w) || sae_is_small(d, w.rows, w.cols))
        return WHOLE(d, unit_rows, w);
    return sae_divide(d, w.rows, unit_part, &w);
}

typedef struct normal_args {
    uint64_t seed, row0;
    uint32_t stream;
    sae_mat out;
} normal_args;

static int normal_part(const sae_part *p, const void *arg)
{
    const normal_args *a = arg;
    return p->k->normal_fill(p->dev, a->seed, a->stream, a->row0 + (uint64_t)p->from,
                             sae_part_out_rows(p, a->out));
}

SAE_DECL_normal_fill(SAE_DIVIDED(normal_fill))
{
    sae_divided *d = sae_divided_of(dev);
    normal_args a = {seed, row0, stream, out};
    if (bad_mat(out) || sae_is_small(d, out.rows, out.cols))
        return WHOLE(d, normal_fill, seed, stream, row0, out);
    return sae_divide(d, out.rows, normal_part, &a);
}
