/* variants/itda.c - ITDA: a dictionary of activations, taken where the pursuit fails (itda.md). */
#include <sae/stock_dictionary.h>

#include <math.h>
#include <stdlib.h>

enum { ADD_BATCH, ADD_SEQUENTIAL, ADD_DEDUP };
enum { SEEDS_FIRST, SEEDS_VALUE };
static const char *const add_names[] = {"batch", "sequential", "dedup", NULL};
static const char *const seed_names[] = {"first", "value", NULL};

static const double SMALLEST = 1e-6; /* norm below which a row has no direction */

typedef struct opt {
    stock_pursuit_opt p;
    double kappa, tau, dedup;
    int64_t add, seeds, seed_order, tokens;
} opt;

static const sae_option options[] = {
    STOCK_PURSUIT_OPTIONS(opt, p, 40, SAE_SOLVE_MP, 0, 0),
    {"kappa", SAE_OPT_REAL, 0, offsetof(opt, kappa), 0.8464, 0, 1, NULL, NULL, "1",
     "a row becomes an atom when its cosine with its reconstruction is below this"},
    {"tau", SAE_OPT_REAL, 0, offsetof(opt, tau), 0, 0, 1, NULL, NULL, "1",
     "the same as the released code's cut-off: kappa = 1 - tau d / 2; 0: kappa as given"},
    {"add", SAE_OPT_ENUM, 0, offsetof(opt, add), ADD_BATCH, 0, ADD_DEDUP, add_names, NULL, "1",
     "rows that fail: all of the batch, one after the other, or without near duplicates"},
    {"dedup", SAE_OPT_REAL, 0, offsetof(opt, dedup), 0.9999, 0, 1, NULL, NULL, "1",
     "|cosine| above which a row repeats an atom of its batch (add=dedup)"},
    {"seeds", SAE_OPT_INT, 0, offsetof(opt, seeds), 0, 0, 1e9, NULL, NULL, "1",
     "atoms taken before any row is coded; 0: d"},
    {"seed_order", SAE_OPT_ENUM, 0, offsetof(opt, seed_order), SEEDS_FIRST, 0, SEEDS_VALUE,
     seed_names, NULL, "1", "seeds of equal frequency: by first occurrence or by value"},
    {"tokens", SAE_OPT_INT, 0, offsetof(opt, tokens), 0, 0, 1e15, NULL, NULL, "tokens",
     "rows after which the dictionary is complete; 0: when it is full"},
    {0},
};

enum { LABEL = STOCK_DICTIONARY_COUNT };
static const sae_tensor_spec tensors[] = {
    STOCK_DICTIONARY_TENSORS,
    {"atom", SAE_STATE, SAE_U64, 0, SAE_DIM_N, 3}, /* document, position, vocabulary id */
    {0},
};
static const char *const losses[] = {"mse", "err", NULL};

static const sae_preset presets[] = {
    {"layer_matching", "tau=4e-4,seed_order=value", NULL, "ITDA repository, layer_similarity.py"},
    {0},
};

typedef struct memory { /* in the scratch; NULL in EVAL but for p */
    stock_pursuit_mem p;
    double *xx, *hh, *xh; /* [B] |x|^2, |xhat|^2, <x, xhat> */
    double *cosine;       /* [B] cos(x, xhat); 1 for rows without a direction */
    sae_code one;         /* code of one row, and its reconstruction */
    sae_real *xhat;       /* [d] */
    sae_real *near;       /* [n_cap] products of a row with atoms */
} memory;

static stock_bump layout(const opt *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                         void *scratch, memory *s)
{
    stock_bump at = stock_bump_at(scratch);
    sae_dims full = *dim; /* atoms may join while a batch is walked */
    full.n = dim->n_cap;
    int64_t entries = stock_most_entries(o->p.k, &full, 1);
    stock_take_pursuit(&at, dim, B, &s->p);
    if (mode == SAE_EVAL)
        return at;
    s->xx = (double *)stock_take(&at, B, sizeof(double));
    s->hh = (double *)stock_take(&at, B, sizeof(double));
    s->xh = (double *)stock_take(&at, B, sizeof(double));
    s->cosine = (double *)stock_take(&at, B, sizeof(double));
    s->one = stock_take_code(&at, 1, full.n, entries);
    s->xhat = stock_take_real(&at, 1, dim->d_out);
    s->near = stock_take_real(&at, 1, full.n);
    return at;
}

static double cut_off(const opt *o, int64_t d)
{
    return o->tau > 0 ? 1 - o->tau * (double)d / 2 : o->kappa;
}

static uint64_t caps_for(const void *o)
{
    return SAE_CAP_LINEAR_DEC | SAE_CAP_GROWS | stock_pursuit_caps(&((const opt *)o)->p);
}

static uint64_t needs(const void *o, enum sae_mode mode)
{
    (void)o;
    return mode == SAE_TRAIN ? SAE_NEED_TOKENS : 0;
}

static int check(const void *opt_, const sae_dims *dim, sae_err *e)
{
    const opt *o = opt_;
    double kappa = cut_off(o, dim->d_in);
    if (!(kappa > 0 && kappa < 1))
        return SAE_RECORD(
            e, SAE_EINVAL,
            "the cut-off is a cosine of %g (kappa, or 1 - tau d / 2): expected between "
            "0 (no row would be taken) and 1 (every row would)",
            kappa);
    return stock_pursuit_check(&o->p, dim, e);
}

static int workspace(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode,
                     sae_workspace *out)
{
    memory s;
    return stock_workspace(layout(o, dim, B, mode, NULL, &s),
                           stock_most_entries(((const opt *)o)->p.k, dim, B), 0, 0, out);
}

/* ---- atoms ----------------------------------------------------------------------------------- */

/* Row r of the batch, at unit norm, becomes the last atom. */
static int append(sae_model *m, const sae_ctx *c, const sae_batch *b, int64_t r)
{
    int64_t n = m->dim.n, d = m->dim.d_in;
    uint64_t label[3] = {b->tok[r].doc, b->tok[r].pos, b->tok[r].id};
    SAE_TRY(c->grow(m, n + 1, c->err));
    sae_real *atom = (sae_real *)m->t[STOCK_ATOMS].w + n * d;
    SAE_TRY(c->be->copy(c->dev, atom, b->x + r * d, (size_t)d * sizeof *atom, SAE_COPY_D2D));
    SAE_TRY(c->k->unit_rows(c->dev, stock_mat(atom, 1, d)));
    return stock_put(c, (uint64_t *)m->t[LABEL].w + 3 * n, label, sizeof label);
}

typedef struct seed { /* a row of the batch, or a group of equal ones */
    const sae_real *x;
    int64_t d, row, count; /* first row of the group */
    int by_value;
} seed;

static int compare_values(const seed *a, const seed *b)
{
    for (int64_t i = 0; i < a->d; i++)
        if (a->x[i] != b->x[i])
            return a->x[i] < b->x[i] ? -1 : 1;
    return 0;
}

static int first_row(const seed *a, const seed *b)
{
    return a->row < b->row ? -1 : a->row > b->row;
}

static int by_value_then_row(const void *a, const void *b)
{
    int v = compare_values(a, b);
    return v ? v : first_row(a, b);
}

static int by_count(const void *a_, const void *b_)
{
    const seed *a = a_, *b = b_;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return a->by_value ? compare_values(a, b) : first_row(a, b);
}

/* The rows of x that have a direction, grouped by equality, most frequent first; their number. */
static int64_t group_rows(const sae_real *x, int64_t B, int64_t d, int by_value, seed *s)
{
    int64_t rows = 0, groups = 0;
    for (int64_t r = 0; r < B; r++) {
        double norm2 = 0;
        for (int64_t i = 0; i < d; i++)
            norm2 += (double)x[r * d + i] * (double)x[r * d + i];
        if (isfinite(norm2) && norm2 >= SMALLEST * SMALLEST)
            s[rows++] = (seed){x + r * d, d, r, 1, by_value};
    }
    qsort(s, (size_t)rows, sizeof *s, by_value_then_row);
    for (int64_t i = 0; i < rows; i++) {
        if (groups > 0 && compare_values(&s[groups - 1], &s[i]) == 0)
            s[groups - 1].count++;
        else
            s[groups++] = s[i];
    }
    qsort(s, (size_t)groups, sizeof *s, by_count);
    return groups;
}

/* Up to as many atoms as there shall be seeds, from the different rows of the batch. Runs once or
 * twice in a run, and takes memory for a copy of the batch. */
static int take_seeds(sae_model *m, const sae_ctx *c, const sae_batch *b, int64_t seeds)
{
    const opt *o = c->opt;
    size_t bytes = (size_t)(b->B * m->dim.d_in) * sizeof(sae_real);
    sae_real *x = malloc(bytes + 1);
    seed *s = malloc((size_t)b->B * sizeof *s + 1);
    int rc = x && s ? stock_get(c, x, b->x, bytes) : SAE_ENOMEM;
    int64_t groups = rc < 0 ? 0 : group_rows(x, b->B, m->dim.d_in, o->seed_order == SEEDS_VALUE, s);
    for (int64_t i = 0; rc >= 0 && i < groups && m->dim.n < seeds; i++)
        rc = append(m, c, b, s[i].row);
    free(x);
    free(s);
    return rc;
}

static int64_t seeds_of(const opt *o, const sae_dims *dim)
{
    int64_t seeds = o->seeds > 0 ? o->seeds : dim->d_in;
    return seeds < dim->n_cap ? seeds : dim->n_cap;
}

static int init(sae_model *m, const sae_ctx *c, const sae_batch *sample)
{
    return take_seeds(m, c, sample, seeds_of(c->opt, &m->dim));
}

/* ---- forward --------------------------------------------------------------------------------- */

static double cosine(double xx, double hh, double xh)
{
    if (xx < SMALLEST * SMALLEST)
        return 1;
    return hh > 0 ? xh / sqrt(xx * hh) : xx * 0; /* NaN stays NaN */
}

/* s->cosine, and loss 1: the mean of (2 - 2 cos) / d, which nothing follows (coefficient 0). */
static int measure(const sae_model *m, const sae_ctx *c, const sae_batch *b, const memory *s,
                   sae_tape *t)
{
    double xx[STOCK_CHUNK], hh[STOCK_CHUNK], xh[STOCK_CHUNK], sum = 0;
    int64_t d = m->dim.d_in;
    sae_cmat x = stock_cmat(b->x, b->B, d), xhat = stock_cmat(t->xhat, b->B, d);
    SAE_TRY(c->k->row_dot(c->dev, x, x, s->xx));
    SAE_TRY(c->k->row_dot(c->dev, xhat, xhat, s->hh));
    SAE_TRY(c->k->row_dot(c->dev, x, xhat, s->xh));
    for (int64_t r = 0; r < b->B; r += STOCK_CHUNK) {
        int64_t some = stock_some(b->B - r);
        size_t bytes = (size_t)some * sizeof *xx;
        SAE_TRY(stock_get(c, xx, s->xx + r, bytes));
        SAE_TRY(stock_get(c, hh, s->hh + r, bytes));
        SAE_TRY(stock_get(c, xh, s->xh + r, bytes));
        for (int64_t i = 0; i < some; i++) {
            xx[i] = cosine(xx[i], hh[i], xh[i]);
            sum += (2 - 2 * xx[i]) / (double)d;
        }
        SAE_TRY(stock_put(c, s->cosine + r, xx, bytes));
    }
    t->loss[1] = b->B > 0 ? sum / (double)b->B : 0;
    return SAE_OK;
}

static int forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    const opt *o = c->opt;
    memory s;
    layout(o, &m->dim, b->B, c->mode, t->scratch, &s);
    SAE_TRY(stock_pursuit_forward(m, c, b, &o->p, NULL, &s.p, t));
    t->loss[1] = t->coef[1] = 0;
    return c->mode == SAE_TRAIN ? measure(m, c, b, &s, t) : SAE_OK;
}

/* ---- growth ---------------------------------------------------------------------------------- */

typedef struct walk { /* over the rows of one batch */
    sae_model *m;
    const sae_ctx *c;
    const sae_batch *b;
    const opt *o;
    memory s;
    int64_t old; /* atoms before the batch */
} walk;

/* Cosine of row r with its code over all atoms of now. */
static int cosine_now(walk *w, int64_t r, double *out)
{
    const sae_ctx *c = w->c;
    int64_t d = w->m->dim.d_in;
    sae_cmat x = stock_cmat(w->b->x + r * d, 1, d), xhat = stock_cmat(w->s.xhat, 1, d);
    sae_pursuit p = {(enum sae_solver)w->o->p.solver, w->o->p.positive != 0, w->o->p.k, NULL,
                     w->o->p.tol};
    double hh, xh, xx;
    SAE_TRY(c->k->pursuit(c->dev, &p, x, stock_w(w->m, STOCK_ATOMS), &w->s.one));
    SAE_TRY(stock_dictionary_decode(w->m, c, &w->s.one, stock_mat(w->s.xhat, 1, d)));
    SAE_TRY(c->k->row_dot(c->dev, xhat, xhat, w->s.hh));
    SAE_TRY(c->k->row_dot(c->dev, x, xhat, w->s.xh));
    SAE_TRY(stock_get(c, &xx, w->s.xx + r, sizeof xx));
    SAE_TRY(stock_get(c, &hh, w->s.hh, sizeof hh));
    SAE_TRY(stock_get(c, &xh, w->s.xh, sizeof xh));
    *out = cosine(xx, hh, xh);
    return SAE_OK;
}

/* Whether an atom of this batch has |cosine| > dedup with row r. */
static int repeats(walk *w, int64_t r, int *out)
{
    const sae_ctx *c = w->c;
    int64_t d = w->m->dim.d_in, fresh = w->m->dim.n - w->old;
    sae_real near[STOCK_CHUNK];
    double xx;
    sae_cmat x = stock_cmat(w->b->x + r * d, 1, d);
    sae_cmat atoms = stock_cmat((const sae_real *)w->m->t[STOCK_ATOMS].w + w->old * d, fresh, d);
    SAE_TRY(c->k->gemm(c->dev, 0, 1, 1, x, atoms, 0, stock_mat(w->s.near, 1, fresh)));
    SAE_TRY(stock_get(c, &xx, w->s.xx + r, sizeof xx));
    *out = 0;
    for (int64_t j = 0; j < fresh && !*out; j += STOCK_CHUNK) {
        int64_t some = stock_some(fresh - j);
        SAE_TRY(stock_get(c, near, w->s.near + j, (size_t)some * sizeof *near));
        for (int64_t i = 0; i < some; i++)
            *out |= fabs((double)near[i]) > w->o->dedup * sqrt(xx);
    }
    return SAE_OK;
}

/* A row that failed against the atoms before the batch. */
static int consider(walk *w, int64_t r, double kappa)
{
    double now = 0;
    int again = 0, fresh = w->m->dim.n > w->old;
    if (fresh && w->o->add == ADD_SEQUENTIAL)
        SAE_TRY(cosine_now(w, r, &now));
    if (fresh && w->o->add == ADD_DEDUP)
        SAE_TRY(repeats(w, r, &again));
    return now < kappa && !again ? append(w->m, w->c, w->b, r) : SAE_OK;
}

static int add_failures(walk *w)
{
    double cosines[STOCK_CHUNK], kappa = cut_off(w->o, w->m->dim.d_in);
    const sae_dims *dim = &w->m->dim;
    for (int64_t r = 0; r < w->b->B && dim->n < dim->n_cap; r += STOCK_CHUNK) {
        int64_t some = stock_some(w->b->B - r);
        SAE_TRY(stock_get(w->c, cosines, w->s.cosine + r, (size_t)some * sizeof *cosines));
        for (int64_t i = 0; i < some && dim->n < dim->n_cap; i++)
            if (cosines[i] < kappa)
                SAE_TRY(consider(w, r + i, kappa));
    }
    return SAE_OK;
}

static int adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    const opt *o = c->opt;
    walk w = {.m = m, .c = c, .b = b, .o = o, .old = m->dim.n};
    layout(o, &m->dim, b->B, c->mode, t->scratch, &w.s);
    if (c->step > 0 && m->dim.n < seeds_of(o, &m->dim)) /* init took those of the first batch */
        SAE_TRY(take_seeds(m, c, b, seeds_of(o, &m->dim)));
    else
        SAE_TRY(add_failures(&w));
    int enough = o->tokens > 0 && c->stats->tokens >= (uint64_t)o->tokens;
    return enough || m->dim.n == m->dim.n_cap ? SAE_DONE : SAE_OK;
}

static double flops(const void *o, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)mode;
    return stock_pursuit_flops(((const opt *)o)->p.k, dim, B);
}

extern const sae_variant sae_variant_itda;
const sae_variant sae_variant_itda = {
    .abi = SAE_VARIANT_ABI,
    .size = sizeof(sae_variant),
    .name = "itda",
    .summary =
        "atoms are activations that the dictionary so far could not rebuild; matching pursuit",
    .source = "Leask et al. 2025, Inference-time decomposition of activations, section 3",
    .caps = SAE_CAP_LINEAR_DEC | SAE_CAP_GROWS | SAE_CAP_SIGNED,
    .opt_size = sizeof(opt),
    .options = options,
    .tensors = tensors,
    .losses = losses,
    .workspace = workspace,
    .init = init,
    .forward = forward,
    .decode = stock_dictionary_decode,
    .caps_for = caps_for,
    .needs = needs,
    .check = check,
    .adapt = adapt,
    .flops = flops,
    .presets = presets,
};
