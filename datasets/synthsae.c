/* datasets/synthsae.c - SynthSAEBench: 16,384 features with a hierarchy, correlations and Zipfian
 * frequencies; see synthsae.md.
 *
 * The published sampler draws all features and then removes children without parents. Here a
 * child is drawn where its parent is active, and given the common factors e of a row features fire
 * independently, with probability Q((t_i - e F_i) / sd_i): the same law. Roots and features outside
 * trees are passed over in blocks by geometric gaps at the block's largest probability.
 */
#include "truth/truth.h"

#include <math.h>
#include <string.h>

enum atoms { ATOMS_GAUSSIAN, ATOMS_ORTHOGONAL };
enum { BLOCK = 64, RANK_MAX = 256 };

typedef struct options {
    int64_t d, features, roots, branching, depth, exclusive, scale_children, rank, atoms, rows;
    double p_min, p_max, zipf, correlation, offset, noise;
} options;

static const char *const atoms_names[] = {"gaussian", "orthogonal", NULL};

static const sae_option table[] = {
    {"d", SAE_OPT_INT, 0, offsetof(options, d), 768, 1, 1 << 20, NULL, NULL, "1",
     "activation width"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 16384, 2, 1 << 24, NULL, NULL,
     "features", "dictionary size N"},
    {"roots", SAE_OPT_INT, 0, offsetof(options, roots), 128, 0, 1 << 24, NULL, NULL, "features",
     "trees: the first and most frequent features are their roots"},
    {"branching", SAE_OPT_INT, 0, offsetof(options, branching), 4, 1, 1000, NULL, NULL, "features",
     "children of a parent"},
    {"depth", SAE_OPT_INT, 0, offsetof(options, depth), 3, 0, 20, NULL, NULL, "1",
     "levels of children below a root"},
    {"exclusive", SAE_OPT_BOOL, 0, offsetof(options, exclusive), 1, 0, 1, NULL, NULL, "1",
     "at most one child of a parent is active"},
    {"scale_children", SAE_OPT_BOOL, 0, offsetof(options, scale_children), 1, 0, 1, NULL, NULL, "1",
     "children follow the magnitude of their parent; 0: the published v1 weights"},
    {"rank", SAE_OPT_INT, 0, offsetof(options, rank), 25, 0, RANK_MAX, NULL, NULL, "1",
     "common factors of the copula"},
    {"correlation", SAE_OPT_REAL, 0, offsetof(options, correlation), 0.1, 0, 10, NULL, NULL, "1",
     "standard deviation of the loadings F"},
    {"zipf", SAE_OPT_REAL, 0, offsetof(options, zipf), 0.5, 0, 4, NULL, NULL, "1",
     "exponent of the probabilities before they are mapped to [p_min, p_max]"},
    {"p_min", SAE_OPT_REAL, 0, offsetof(options, p_min), 5e-4, 0, 1, NULL, NULL, "1",
     "probability of the rarest feature"},
    {"p_max", SAE_OPT_REAL, 0, offsetof(options, p_max), 0.4, 0, 1, NULL, NULL, "1",
     "probability of the most frequent feature"},
    {"atoms", SAE_OPT_ENUM, 0, offsetof(options, atoms), ATOMS_ORTHOGONAL, 0, ATOMS_ORTHOGONAL,
     atoms_names, NULL, "1", "random unit vectors, or as orthogonal as features and d allow"},
    {"offset", SAE_OPT_REAL, 0, offsetof(options, offset), 0.5, 0, 1e6, NULL, NULL, "1",
     "norm of a constant vector added to all rows"},
    {"noise", SAE_OPT_REAL, 0, offsetof(options, noise), 0, 0, 1e6, NULL, NULL, "1",
     "standard deviation of noise per coordinate"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "training rows, 0: never the same row twice"},
    {0},
};

typedef struct world {
    int64_t inner, tree; /* features with children; in trees */
    int64_t rank;        /* of the copula, rounded up to fours */
    double *mean, *sd;   /* [n] magnitudes */
    float *level;        /* [n] t_i / sd_i of the copula */
    float *load;         /* [blocks x rank x BLOCK] F_i / sd_i; zeros beyond the rank */
} world;

/* ---- rows ------------------------------------------------------------------------------------ */

/* P(N(0,1) > h). */
static double above(double h)
{
    return 0.5 * erfc(h * 0.70710678118654752440);
}

/* How far feature i's own part of the copula must reach, given the row's common factors. */
static double reach(const sae_source *s, const float *e, int64_t i)
{
    const world *q = s->own;
    const float *load = q->load + i / BLOCK * q->rank * BLOCK + i % BLOCK;
    float h = q->level[i];
    for (int64_t k = 0; k < q->rank; k++)
        h -= e[k] * load[k * BLOCK];
    return (double)h;
}

/* Magnitude before the parent's, 0: below zero and thereby off. */
static double magnitude(const sae_source *s, uint64_t row, int64_t i)
{
    const world *q = s->own;
    double v = q->mean[i] + q->sd[i] * sae_normal(s->seed, TRUTH_COEF, row, (uint32_t)i * 4);
    return v > 0.0 ? v : 0.0;
}

/* Features [begin, end) of one block, each on its own. */
static void fire_block(const sae_source *s, uint64_t row, const float *e, int64_t begin,
                       int64_t end, truth_row *w, uint32_t *draw)
{
    const world *q = s->own;
    const int64_t at = begin / BLOCK * BLOCK;
    const float *load = q->load + begin / BLOCK * q->rank * BLOCK;
    float h[BLOCK], least = INFINITY;
    memcpy(h, q->level + at, sizeof h);
    for (int64_t k = 0; k < q->rank; k += 4, load += 4 * BLOCK)
#pragma omp simd
        for (int j = 0; j < BLOCK; j++)
            h[j] -= e[k] * load[j] + e[k + 1] * load[BLOCK + j] + e[k + 2] * load[2 * BLOCK + j] +
                    e[k + 3] * load[3 * BLOCK + j];
#pragma omp simd reduction(min : least)
    for (int64_t j = begin - at; j < end - at; j++)
        least = h[j] < least ? h[j] : least;
    double most = above((double)least), log_miss = log1p(-most);
    for (int64_t i = begin;; i++) {
        sae_u4 u = sae_philox(s->seed, TRUTH_SUPPORT, row, (*draw)++);
        double gap = most < 1.0 ? floor(log(sae_u01_wide(u.v[0], u.v[1])) / log_miss) : 0.0;
        if (!(gap < (double)(end - i)))
            return;
        i += (int64_t)gap;
        if ((double)sae_u01(u.v[2]) * most > above((double)h[i - at]))
            continue;
        double value = magnitude(s, row, i);
        if (value > 0.0)
            truth_add(w, i, value);
    }
}

static void fire_range(const sae_source *s, uint64_t row, const float *e, int64_t begin,
                       int64_t end, truth_row *w, uint32_t *draw)
{
    for (int64_t i = begin; i < end; i = (i / BLOCK + 1) * BLOCK) {
        int64_t stop = (i / BLOCK + 1) * BLOCK;
        fire_block(s, row, e, i, stop < end ? stop : end, w, draw);
    }
}

/* Children of an active parent; of several that fire, one chosen at random stays. */
static void fire_children(const sae_source *s, uint64_t row, const float *e, int64_t parent,
                          double value, truth_row *w)
{
    const world *q = s->own;
    const options *o = s->opt;
    const int64_t first = o->roots + parent * o->branching, before = w->count;
    double scale = o->scale_children ? value / q->mean[parent] : 1.0;
    uint32_t best = 0;
    for (int64_t i = first; i < first + o->branching && i < q->tree; i++) {
        sae_u4 u = sae_philox(s->seed, TRUTH_EXCLUSIVE, row, (uint32_t)i);
        if (sae_u01_wide(u.v[0], u.v[1]) >= above(reach(s, e, i)))
            continue;
        double own = magnitude(s, row, i);
        if (!(own > 0.0) || (o->exclusive && w->count > before && u.v[2] <= best))
            continue;
        if (o->exclusive)
            w->count = before;
        best = u.v[2];
        truth_add(w, i, own * scale);
    }
}

/* Trees are numbered level by level, so that features are appended in ascending order. */
static void code(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    const options *o = s->opt;
    float e[RANK_MAX];
    uint32_t draw = 0;
    for (int64_t k = 0; k < q->rank; k += 4) {
        double z[4];
        sae_normal4(s->seed, TRUTH_COMMON, row, (uint32_t)(k / 4), z);
        for (int h = 0; h < 4; h++)
            e[k + h] = (float)z[h];
    }
    int64_t roots = o->roots < q->tree ? o->roots : q->tree;
    fire_range(s, row, e, 0, roots, w, &draw);
    for (int64_t c = 0; c < w->count && w->idx[c] < q->inner; c++)
        fire_children(s, row, e, w->idx[c], w->val[c], w);
    fire_range(s, row, e, q->tree, o->features, w, &draw);
}

static void noise(const sae_source *s, uint64_t row, truth_row *w)
{
    truth_white(s, row, ((const options *)s->opt)->noise, w->x, s->law.d);
}

/* ---- opening --------------------------------------------------------------------------------- */

static double base_probability(const options *o, int64_t i)
{
    double least = pow((double)o->features, -o->zipf), span = 1.0 - least;
    double q = pow((double)(i + 1), -o->zipf);
    return span > 0.0 ? o->p_min + (o->p_max - o->p_min) * (q - least) / span : o->p_max;
}

static int64_t parent_of(const options *o, const world *q, int64_t i)
{
    return i < o->roots || i >= q->tree ? -1 : (i - o->roots) / o->branching;
}

/* Children are drawn more often, to make up for absent parents and exclusive siblings. */
static double drawn_probability(const options *o, const world *q, int64_t i)
{
    double p = base_probability(o, i), siblings = 0.0;
    int64_t parent = parent_of(o, q, i), first = o->roots + parent * o->branching;
    if (parent < 0)
        return p;
    double above_it = base_probability(o, parent);
    for (int64_t j = first; o->exclusive && j < first + o->branching && j < q->tree; j++)
        siblings += j != i ? base_probability(o, j) : 0.0;
    return above_it > 0.0 ? fmin(1.0, p / above_it * (1.0 + siblings / above_it)) : fmin(1.0, p);
}

static void make_feature(void *arg, int64_t i)
{
    const sae_source *s = arg;
    const world *q = s->own;
    const options *o = s->opt;
    double f[RANK_MAX], sq = 0.0, shrink = 1.0;
    q->mean[i] = 5.0 - (double)i / (double)(o->features - 1);
    q->sd[i] = fabs(0.5 + 0.5 * sae_normal(s->seed, TRUTH_WORLD, 0, (uint32_t)i));
    for (int64_t k = 0; k < o->rank; k++) {
        f[k] = o->correlation * sae_normal(s->seed, TRUTH_WORLD, (uint64_t)i + 1, (uint32_t)k);
        sq += f[k] * f[k];
    }
    if (sq > 0.99) { /* at least 0.01 stays a feature's own */
        shrink = sqrt(0.99 / sq);
        sq = 0.99;
    }
    double own = sqrt(1.0 - sq);
    float *load = q->load + i / BLOCK * q->rank * BLOCK + i % BLOCK;
    for (int64_t k = 0; k < o->rank; k++)
        load[k * BLOCK] = (float)(f[k] * shrink / own);
    q->level[i] = (float)(truth_normal_above(drawn_probability(o, q, i)) / own);
}

static int make_world(sae_source *s, sae_err *err)
{
    const options *o = s->opt;
    const int64_t n = o->features, blocks = n / BLOCK + 1, rank = (o->rank + 3) / 4 * 4;
    world *q = s->own = truth_take(s, 1, sizeof *q);
    int ok = q && (q->mean = truth_take(s, n, sizeof *q->mean)) &&
             (q->sd = truth_take(s, n, sizeof *q->sd)) &&
             (q->level = truth_take(s, blocks * BLOCK, sizeof *q->level)) &&
             (q->load = truth_take(s, blocks * rank, BLOCK * sizeof *q->load)) &&
             (s->parent = truth_take(s, n, sizeof *s->parent));
    if (!ok)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld features", (long long)n);
    q->rank = rank;
    for (int64_t level = 0, width = o->roots; level <= o->depth && q->tree < n; level++) {
        q->inner = q->tree;
        q->tree = width < n - q->tree ? q->tree + width : n;
        width = width < n ? width * o->branching : n;
    }
    for (int64_t i = 0; i < n; i++)
        s->parent[i] = (int32_t)parent_of(o, q, i);
    s->parallel(make_feature, s, n);
    return o->atoms == ATOMS_ORTHOGONAL ? truth_spread_atoms(s, err) : SAE_OK;
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    truth_law law = {.name = "synthsae",
                     .options = table,
                     .opt_size = sizeof *o,
                     .d = o->d,
                     .features = o->features,
                     .rows = o->rows,
                     .offset = o->offset,
                     .code = code,
                     .noise = o->noise > 0.0 ? noise : NULL};
    *source = NULL;
    if (o->p_min > o->p_max)
        return SAE_RECORD(err, SAE_EINVAL, "p_min is %g, expected at most p_max, %g", o->p_min,
                          o->p_max);
    SAE_TRY(truth_open(source, &law, opt, host, dim, err));
    int rc = make_world(*source, err);
    if (rc < 0)
        truth_close(source);
    return rc;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

const sae_dataset sae_dataset_synthsae = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "synthsae",
    .summary = "SynthSAEBench: 16k features with hierarchy, correlation and Zipf, with truth",
    .source = "Chanin & Garriga-Alonso 2025 (2602.14687); see datasets/synthsae.md",
    .licence = "none needed: generated",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_TRUTH,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = truth_rows,
    .fill = truth_fill,
    .close = truth_close,
    .hash = truth_hash,
    .truth = truth_of,
};
