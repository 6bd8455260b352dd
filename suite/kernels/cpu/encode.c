/* suite/kernels/cpu/encode.c - encoders fused with selection.
 *
 * A worker packs a panel of rows of x - shift, then goes over the features in ascending order, one
 * tile at a time. A tile is finished by one call (the products run over all of d) and screened
 * while it is in the first-level cache: the B x n matrix exists nowhere, and w is read in place. A
 * value is one chain of multiply-adds over d, whatever the panel, tile or instruction set.
 */
#include "cpu/pack.h"
#include "cpu/pick.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { PANEL_BYTES = 1 << 20 }; /* packed panel: half of a second-level cache */

typedef struct job {
    sae_device *dev;
    const sae_simd *simd;
    const sae_encoder *e;
    int64_t cols;           /* features that take part */
    int64_t groups, panels; /* tile widths of rows in all; divided evenly among panels */
    int64_t most;           /* rows of the largest panel */
    sae_pick *pick;        /* NULL: dense */
    sae_mat dense;
} job;

typedef struct panel {
    int thread;
    int64_t r0, rows;
    float *packed, *rows_of_w, *tile;
    sae_worker *worker;
} panel;

/* Panels hold as many rows as the cache does and are as many for one thread as for the next. */
static int64_t panel_count(const sae_device *dev, const sae_simd *s, int64_t groups, int64_t depth)
{
    int64_t bytes = s->width * (int64_t)sizeof(float) * (depth ? depth : 1);
    int64_t most = PANEL_BYTES / bytes > 1 ? PANEL_BYTES / bytes : 1;
    return min_i64(groups, chunks_of(chunks_of(groups, most), dev->threads) * dev->threads);
}

static int open_job(job *j, sae_device *dev, const sae_encoder *e)
{
    const sae_simd *s = simd_of(dev);
    job o = {.dev = dev, .simd = s, .e = e, .cols = encoder_cols(e)};
    o.groups = chunks_of(e->x.rows, s->width);
    o.panels = panel_count(dev, s, o.groups, e->x.cols);
    o.most = o.panels ? chunks_of(o.groups, o.panels) * s->width : 0;
    int rc = sae_ws_reserve(dev, OWN_PACK, o.most * e->x.cols, sizeof(float));
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_ROWS, s->height * e->x.cols, sizeof(float));
    if (!rc)
        rc = sae_ws_reserve(dev, OWN_TILE, s->height * (s->width + 1), sizeof(float));
    *j = o;
    return rc;
}

/* Rows of w for features [c, c + height) and their stride; gathered and padded where they are not
 * consecutive rows of w. */
static const float *tile_rows(const job *j, const panel *p, int64_t c, int64_t *ld)
{
    const sae_encoder *e = j->e;
    if (!e->subset && c + j->simd->height <= j->cols) {
        *ld = e->w.ld;
        return e->w.p + c * e->w.ld;
    }
    int64_t depth = e->w.cols;
    *ld = depth;
    for (int64_t h = 0; h < j->simd->height; h++) {
        float *out = p->rows_of_w + h * depth;
        if (c + h >= j->cols)
            memset(out, 0, (size_t)depth * sizeof *out);
        else
            memcpy(out, row_of(e->w, e->subset ? e->subset[c + h] : c + h),
                   (size_t)depth * sizeof *out);
    }
    return p->rows_of_w;
}

static int64_t feature_at(const job *j, int64_t c)
{
    return j->e->subset ? j->e->subset[c] : c;
}

/* One loop over all hits of a tile; `rows` has the bits of the rows that have any left. Hits are
 * rare and unpredictable, so that leaving an inner loop would cost as much as a hit. */
static void offer(const job *j, const panel *p, sae_screen *s, uint32_t rows, int64_t c,
                  int64_t local)
{
    while (rows) {
        int h = __builtin_ctz(rows), l = __builtin_ctz(s->hit[h]);
        int64_t r = local + l;
        float v = p->tile[h * j->simd->width + l];
        float score = s->mask >> 31 ? v : fabsf(v);
        s->hit[h] &= s->hit[h] - 1;
        rows &= rows - (s->hit[h] == 0);
        if (score >= p->worker->lo[r]) /* the bound may have risen within the tile */
            sae_pick_take(j->pick, p->worker, r, p->r0 + r, (int32_t)feature_at(j, c + h), v);
    }
}

static void store_dense(const job *j, const panel *p, const sae_screen *s, int64_t c, int64_t local)
{
    int width = j->simd->width;
    for (int64_t r = 0; r < width && local + r < p->rows; r++) {
        float *out = j->dense.p + (p->r0 + local + r) * j->dense.ld + c;
        for (int h = 0; h < s->height; h++)
            out[h] = s->bias ? p->tile[h * width + r] + s->bias[h] : p->tile[h * width + r];
    }
}

/* Features [c, c + height) against every group of the panel. */
static void run_tile(const job *j, const panel *p, int64_t c)
{
    const sae_simd *s = j->simd;
    int64_t depth = j->e->x.cols, ld;
    const float *w = tile_rows(j, p, c, &ld);
    float *bias = p->tile + s->height * s->width, lo_row[SAE_TILE_MAX_HEIGHT];
    sae_screen sc = {.height = (int)min_i64(s->height, j->cols - c)};
    for (int h = 0; h < sc.height && j->e->bias; h++)
        bias[h] = j->e->bias[feature_at(j, c + h)];
    sc.bias = j->e->bias ? bias : NULL;
    if (j->pick && j->pick->lo_feature) {
        for (int h = 0; h < sc.height; h++)
            lo_row[h] = j->pick->lo_feature[feature_at(j, c + h)];
        sc.lo_row = lo_row;
    }
    for (int64_t g = 0; g * s->width < p->rows; g++) {
        const float *ahead[2] = {w + (s->height + 2 * g % s->height) * ld,
                                 w + (s->height + (2 * g + 1) % s->height) * ld};
        int64_t local = g * s->width, live = min_i64(s->width, p->rows - local);
        memset(p->tile, 0, (size_t)(s->height * s->width) * sizeof *p->tile);
        s->product(depth, w, ld, p->packed + local * depth, ahead, p->tile);
        if (!j->pick) {
            store_dense(j, p, &sc, c, local);
            continue;
        }
        sc.mask = j->pick->mask;
        sc.valid = live == 32 ? UINT32_MAX : (UINT32_C(1) << live) - 1;
        sc.lo_col = p->worker->lo + local;
        offer(j, p, &sc, s->screen(&sc, p->tile), c, local);
    }
    if (j->pick)
        p->worker->nan += sc.nan;
}

static void run_panel(const job *j, panel *p)
{
    const sae_encoder *e = j->e;
    int width = j->simd->width;
    for (int64_t r = 0; r < p->rows; r += width)
        sae_pack_rows(row_of(e->x, p->r0 + r), e->x.ld, min_i64(width, p->rows - r), e->x.cols,
                      e->shift, width, p->packed + r * e->x.cols);
    if (j->pick)
        sae_pick_begin(j->pick, p->worker, j->most);
    for (int64_t c = 0; c < j->cols; c += j->simd->height)
        run_tile(j, p, c);
    if (j->pick)
        sae_pick_end(j->pick, p->worker, p->rows);
}

static void run(const job *j)
{
    PARALLEL_FOR(j->dev, i, j->panels, 1)
    {
        int t = omp_get_thread_num(), width = j->simd->width;
        int64_t r0 = i * j->groups / j->panels * width;
        int64_t end = min_i64((i + 1) * j->groups / j->panels * width, j->e->x.rows);
        panel p = {t, r0, end - r0, sae_ws_own(j->dev, t, OWN_PACK),
                   sae_ws_own(j->dev, t, OWN_ROWS), sae_ws_own(j->dev, t, OWN_TILE), NULL};
        if (j->pick)
            p.worker = &j->pick->worker[t];
        run_panel(j, &p);
    }
}

/* Open the job and a selection over what it encodes. */
static int open_pick(job *j, sae_pick *p, sae_device *dev, const sae_encoder *e,
                     enum sae_rule rule, enum sae_key key, int64_t k)
{
    int rc = open_job(j, dev, e);
    if (!rc)
        rc = sae_pick_open(p, dev, rule, key, k, j->most, e->x.rows, j->cols);
    j->pick = p;
    return rc;
}

static int encode_pick(sae_device *dev, const sae_encoder *e, enum sae_rule rule, enum sae_key key,
                       int64_t k, sae_code *z)
{
    job j;
    sae_pick p;
    int rc = bad_encoder(e) ? SAE_EINVAL : sae_code_begin(z, e->x.rows, e->w.rows);
    if (!rc)
        rc = open_pick(&j, &p, dev, e, rule, key, k);
    if (rc)
        return rc;
    run(&j);
    return sae_pick_write(&p, NULL, z);
}

SAE_DECL_encode_topk(SAE_CPU(encode_topk))
{
    return encode_pick(dev, e, SAE_PICK_ROWS, key, k, z);
}

SAE_DECL_encode_flat_topk(SAE_CPU(encode_flat_topk))
{
    return encode_pick(dev, e, SAE_PICK_FLAT, key, budget, z);
}

SAE_DECL_encode_threshold(SAE_CPU(encode_threshold))
{
    job j;
    sae_pick p;
    int rc = bad_encoder(e) ? SAE_EINVAL : sae_code_begin(z, e->x.rows, e->w.rows);
    if (!rc)
        rc = open_pick(&j, &p, dev, e, SAE_PICK_ABOVE, key, 0);
    if (!rc)
        rc = sae_pick_bounds(&p, theta, per_feature, e->w.rows);
    if (rc)
        return rc;
    p.limit = z->cap;
    run(&j);
    return sae_pick_write(&p, NULL, z);
}

SAE_DECL_encode_dense(SAE_CPU(encode_dense))
{
    job j;
    if (bad_encoder(e) || !has_shape(as_const(pre), e->x.rows, encoder_cols(e)))
        return SAE_EINVAL;
    int rc = open_job(&j, dev, e);
    if (rc)
        return rc;
    j.dense = pre;
    run(&j);
    return SAE_OK;
}
