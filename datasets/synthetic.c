/* datasets/synthetic.c - sparse combinations of a known dictionary; see synthetic.md.
 *
 * Features fire one by one, by their own frequencies, or a given number at a time; partners and
 * signs are added. Nothing is drawn for features that do not fire: gaps between candidates are
 * geometric, so that a row costs O(l0) random numbers, not O(features).
 */
#include "truth/truth.h"

#include <math.h>
#include <string.h>

enum firing { FIRE_BERNOULLI, FIRE_EXACT };
enum coef { COEF_CONST, COEF_UNIFORM, COEF_EXPONENTIAL, COEF_GAUSSIAN, COEF_TAIL, COEF_NEAR };
enum atoms { ATOMS_GAUSSIAN, ATOMS_ORTHOGONAL };

typedef struct options {
    int64_t d, features, rows, firing, coef, symmetric, unit, atoms;
    double l0, l0_alt, alt, zipf, pairs, scale, decay, noise, offset;
} options;

/* Features [begin, end) with probabilities in [max / 2, max]. */
typedef struct segment {
    int64_t begin, end;
    double max;
} segment;

typedef struct world {
    const options *o;
    double *p, *cdf; /* [features] firing probability, decreasing; its share below and at i */
    double *size;    /* [features] scale (i + 1)^-decay */
    segment *seg;
    int64_t segs;
} world;

/* ---- magnitudes ------------------------------------------------------------------------------ */

static double coefficient(const sae_source *s, uint64_t row, int32_t i)
{
    const world *g = s->own;
    sae_u4 u = sae_philox(s->seed, TRUTH_COEF, row, (uint32_t)i);
    double v = sae_u01_wide(u.v[0], u.v[1]), c = 1.0;
    if (g->o->coef == COEF_UNIFORM)
        c = v;
    else if (g->o->coef == COEF_NEAR)
        c = 0.5 + v;
    else if (g->o->coef == COEF_EXPONENTIAL)
        c = -log(v);
    else if (g->o->coef == COEF_GAUSSIAN)
        c = truth_normal_tail(v);
    else if (g->o->coef == COEF_TAIL)
        c = truth_normal_tail(v * g->o->l0 / (double)g->o->features);
    c *= g->size[i];
    return g->o->symmetric && u.v[2] & 1 ? -c : c;
}

/* ---- support --------------------------------------------------------------------------------- */

/* Keep idx ascending without duplicates; 1 if it was new. */
static int insert(truth_row *w, int32_t i)
{
    int64_t lo = 0, hi = w->count;
    if (hi > 0 && w->idx[hi - 1] < i)
        lo = hi; /* the usual case: candidates come in order */
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (w->idx[mid] < i)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < w->count && w->idx[lo] == i)
        return 0;
    memmove(w->idx + lo + 1, w->idx + lo, (size_t)(w->count - lo) * sizeof *w->idx);
    w->idx[lo] = i;
    w->count++;
    return 1;
}

/* Every feature on its own: within a segment candidates fire with probability max and are kept with
 * probability p / max. */
static void fire_bernoulli(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    const options *o = q->o;
    uint32_t draw = 0;
    for (int64_t k = 0; k < q->segs; k++) {
        const segment *g = &q->seg[k];
        double log_miss = log1p(-g->max);
        for (int64_t i = g->begin;; i++) {
            sae_u4 u = sae_philox(s->seed, TRUTH_SUPPORT, row, draw++);
            double gap = floor(log(sae_u01_wide(u.v[0], u.v[1])) / log_miss);
            if (!(gap < (double)(g->end - i)))
                break;
            i += (int64_t)gap;
            if ((double)sae_u01(u.v[2]) * g->max > q->p[i])
                continue;
            insert(w, (int32_t)i);
            if (o->pairs > 0.0 && (i ^ 1) < o->features && (double)sae_u01(u.v[3]) < o->pairs)
                insert(w, (int32_t)(i ^ 1));
        }
    }
}

/* l0 different features, drawn one after another; l0_alt of them with probability alt. Then their
 * partners, from the last feature to the first: a partner lands beside its feature, never among
 * those to come. */
static void fire_exact(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    const options *o = q->o;
    sae_u4 first = sae_philox(s->seed, TRUTH_SUPPORT, row, 0);
    double l0 = (double)sae_u01(first.v[2]) < o->alt ? o->l0_alt : o->l0;
    for (uint32_t draw = 0; w->count < (int64_t)l0; draw++) {
        sae_u4 u = sae_philox(s->seed, TRUTH_SUPPORT, row, draw);
        double v = sae_u01_wide(u.v[0], u.v[1]);
        int64_t lo = 0, hi = o->features - 1;
        while (lo < hi) { /* first i with cdf[i] >= v */
            int64_t mid = (lo + hi) / 2;
            if (q->cdf[mid] < v)
                lo = mid + 1;
            else
                hi = mid;
        }
        insert(w, (int32_t)lo);
    }
    for (int64_t e = w->count - 1; o->pairs > 0.0 && e >= 0; e--) {
        int32_t i = w->idx[e], partner = i ^ 1;
        if (partner < o->features && truth_u01(s, TRUTH_COMMON, row, i) < o->pairs)
            insert(w, partner);
    }
}

static void code(const sae_source *s, uint64_t row, truth_row *w)
{
    const world *q = s->own;
    if (q->o->firing == FIRE_EXACT)
        fire_exact(s, row, w);
    else
        fire_bernoulli(s, row, w);
    for (int64_t e = 0; e < w->count; e++)
        w->val[e] = coefficient(s, row, w->idx[e]);
}

static void noise(const sae_source *s, uint64_t row, truth_row *w)
{
    truth_white(s, row, ((const options *)s->opt)->noise, w->x, s->law.d);
}

/* ---- options --------------------------------------------------------------------------------- */

static const char *const firing_names[] = {"bernoulli", "exact", NULL};
static const char *const coef_names[] = {"const", "uniform", "exponential", "gaussian", "tail",
                                         "near", NULL};
static const char *const atoms_names[] = {"gaussian", "orthogonal", NULL};
static const char *const unit_names[] = {"none", "code", "row", NULL};

static const sae_option table[] = {
    {"d", SAE_OPT_INT, 0, offsetof(options, d), 256, 1, 1 << 20, NULL, NULL, "1",
     "activation width"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 512, 1, 1 << 24, NULL, NULL,
     "features", "dictionary size N"},
    {"l0", SAE_OPT_REAL, 0, offsetof(options, l0), 5, 0, 1 << 24, NULL, NULL, "features",
     "mean number of active features"},
    {"firing", SAE_OPT_ENUM, 0, offsetof(options, firing), FIRE_BERNOULLI, 0, FIRE_EXACT,
     firing_names, NULL, "1", "independent features, or exactly l0 of them"},
    {"alt", SAE_OPT_REAL, 0, offsetof(options, alt), 0, 0, 1, NULL, NULL, "1",
     "with firing=exact: probability that a row has l0_alt features"},
    {"l0_alt", SAE_OPT_REAL, 0, offsetof(options, l0_alt), 0, 0, 1 << 24, NULL, NULL, "features",
     "active features of such a row"},
    {"zipf", SAE_OPT_REAL, 0, offsetof(options, zipf), 0, 0, 2, NULL, NULL, "1",
     "feature i fires proportionally to (i + 1)^-zipf"},
    {"pairs", SAE_OPT_REAL, 0, offsetof(options, pairs), 0, 0, 1, NULL, NULL, "1",
     "probability q that feature i brings its partner i xor 1"},
    {"coef", SAE_OPT_ENUM, 0, offsetof(options, coef), COEF_UNIFORM, 0, COEF_NEAR, coef_names,
     NULL, "1",
     "law of the magnitude: 1, U(0,1), Exp(1), |N(0,1)|, its largest l0 / features, U(0.5,1.5)"},
    {"symmetric", SAE_OPT_BOOL, 0, offsetof(options, symmetric), 0, 0, 1, NULL, NULL, "1",
     "random signs: signed codes are the truth"},
    {"unit", SAE_OPT_ENUM, 0, offsetof(options, unit), TRUTH_UNIT_NONE, 0, TRUTH_UNIT_ROW,
     unit_names, NULL, "1", "scale each row so that its code, or the clean row, has unit norm"},
    {"scale", SAE_OPT_REAL, 0, offsetof(options, scale), 1, 0, 1e6, NULL, NULL, "1",
     "factor of all coefficients"},
    {"decay", SAE_OPT_REAL, 0, offsetof(options, decay), 0, 0, 4, NULL, NULL, "1",
     "coefficients of feature i are scaled with (i + 1)^-decay"},
    {"atoms", SAE_OPT_ENUM, 0, offsetof(options, atoms), ATOMS_GAUSSIAN, 0, ATOMS_ORTHOGONAL,
     atoms_names, NULL, "1", "random unit vectors, or as orthogonal as features and d allow"},
    {"noise", SAE_OPT_REAL, 0, offsetof(options, noise), 0, 0, 1e6, NULL, NULL, "1",
     "standard deviation of noise per coordinate"},
    {"offset", SAE_OPT_REAL, 0, offsetof(options, offset), 0, 0, 1e6, NULL, NULL, "1",
     "norm of a constant vector added to all rows"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "training rows, 0: never the same row twice"},
    {0},
};

/* ---- opening --------------------------------------------------------------------------------- */

/* p_i = min(1, c (i + 1)^-zipf) with sum l0 (less what pairs add): weights fall with i, so the
 * clipped ones are the first m. */
static void make_frequencies(world *q)
{
    const options *o = q->o;
    const int64_t n = o->features;
    double rest = 0.0, total = o->l0 / (1.0 + o->pairs), below = 0.0;
    for (int64_t i = n - 1; i >= 0; i--)
        rest += q->p[i] = pow((double)(i + 1), -o->zipf);
    int64_t m = 0;
    while (m < n && total > 0.0 && q->p[m] * total > rest) {
        rest -= q->p[m];
        q->p[m++] = 1.0;
        total -= 1.0;
    }
    for (int64_t i = m; i < n; i++)
        q->p[i] = total > 0.0 ? fmin(1.0, q->p[i] * (total / rest)) : 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (q->segs == 0 || q->p[i] < q->seg[q->segs - 1].max / 2)
            q->seg[q->segs++] = (segment){i, i, q->p[i]};
        q->seg[q->segs - 1].end = i + 1;
        q->cdf[i] = below += q->p[i];
    }
    for (int64_t i = 0; i < n; i++)
        q->cdf[i] /= below;
}

static int make_world(sae_source *s, sae_err *err)
{
    const options *o = s->opt;
    world *q = s->own = truth_take(s, 1, sizeof *q);
    int ok = q && (q->p = truth_take(s, o->features, sizeof *q->p)) &&
             (q->cdf = truth_take(s, o->features, sizeof *q->cdf)) &&
             (q->size = truth_take(s, o->features, sizeof *q->size)) &&
             (q->seg = truth_take(s, o->features, sizeof *q->seg));
    if (!ok)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld features",
                          (long long)o->features);
    q->o = o;
    for (int64_t i = 0; i < o->features; i++)
        q->size[i] = o->scale * pow((double)(i + 1), -o->decay);
    make_frequencies(q);
    return o->atoms == ATOMS_ORTHOGONAL ? truth_spread_atoms(s, err) : SAE_OK;
}

static int check(const options *o, sae_err *err)
{
    double most = (double)o->features / (o->firing == FIRE_EXACT ? 2.0 : 1.0);
    double l0 = fmax(o->l0, o->l0_alt);
    if (l0 > most)
        return SAE_RECORD(err, SAE_EINVAL, "l0 is %g, expected at most %g of %lld features", l0,
                          most, (long long)o->features);
    int whole = o->l0 == floor(o->l0) && o->l0_alt == floor(o->l0_alt);
    if (o->firing == FIRE_EXACT && !whole)
        return SAE_RECORD(err, SAE_EINVAL, "firing=exact expects a whole l0");
    if (o->firing != FIRE_EXACT && o->alt > 0.0)
        return SAE_RECORD(err, SAE_EINVAL, "alt expects firing=exact");
    return SAE_OK;
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    *source = NULL;
    SAE_TRY(check(o, err));
    truth_law law = {.name = "synthetic",
                     .options = table,
                     .opt_size = sizeof *o,
                     .d = o->d,
                     .features = o->features,
                     .rows = o->rows,
                     .unit = (int)o->unit,
                     .offset = o->offset,
                     .code = code,
                     .noise = o->noise > 0.0 ? noise : NULL};
    SAE_TRY(truth_open(source, &law, opt, host, dim, err));
    int rc = make_world(*source, err);
    if (rc < 0)
        truth_close(source);
    return rc;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

const sae_dataset sae_dataset_synthetic = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "synthetic",
    .summary = "sparse combinations of a random unit-norm dictionary, with ground truth",
    .source = "Sharkey, Braun, Millidge 2022 (defaults); others in datasets/synthetic.md",
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
