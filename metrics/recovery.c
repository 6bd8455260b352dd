/* metrics/recovery.c - does the dictionary hold the true atoms of a synthetic source, and does each
 * feature fire where its atom does.
 *
 * begin() matches features to atoms one to one by maximal total cosine (linear assignment by
 * shortest augmenting paths, Jonker & Volgenant 1987); batch() counts agreement of supports.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/groups.h>
#include <string.h>

typedef struct options {
    double threshold;
} options;

static const sae_option option_table[] = {
    {"threshold", SAE_OPT_REAL, 0, offsetof(options, threshold), 0.9, 0, 1, NULL, NULL, "1",
     "an atom counts as recovered when its best cosine is above this"},
    {0}};

enum { ROWS, PREDICTED, ACTUAL, AGREED, STATS };

typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    double best_atoms, best_features; /* sums over atoms, over features, of the best cosine */
    double matched;                   /* sum of cosines over matched pairs */
    int64_t pairs, atoms_found, features_true, distinct;
    int32_t match[]; /* [n] atom of the feature, -1 without; then [truth n] 1 where active */
} state;

static int32_t *active_of(const sae_measure *r, state *s)
{
    return s->match + r->m->dim.n;
}

static size_t state_size(const sae_measure *r)
{
    return sizeof(state) + (size_t)(r->m->dim.n + r->truth->n) * sizeof(int32_t);
}

/* Cosines between the smaller set, rows, and the larger one, cols. */
typedef struct table {
    sae_real *p; /* [rows x cols] */
    int64_t rows, cols;
    double *best_row, *best_col;  /* [rows], [cols] best cosine */
    int64_t *arg_row, *arg_col;   /* [rows], [cols] where; ties: the lowest index */
    int64_t *row_of;              /* [cols + 1] assigned row or -1; the last is for augment() */
} table;

/* Buffers of the assignment; index `cols` is the virtual column a new row starts from. */
typedef struct assignment {
    double *u, *v; /* [rows], [cols + 1] dual variables */
    double *slack; /* [cols + 1] smallest reduced cost of a column over the tree */
    int64_t *from; /* [cols + 1] column before it on the shortest path */
    char *in_tree; /* [cols + 1] */
} assignment;

/* Add row `start`: grow a tree of tight edges until it reaches a free column, then flip the path.
 * The cost of a pair is its negated cosine. */
static void augment(const table *t, assignment *a, int64_t start)
{
    int64_t cols = t->cols, col = cols;
    t->row_of[cols] = start;
    for (int64_t j = 0; j < cols; j++)
        a->slack[j] = (double)INFINITY;
    memset(a->in_tree, 0, (size_t)cols + 1);
    while (t->row_of[col] >= 0) {
        int64_t row = t->row_of[col], next = 0;
        const sae_real *cosine = t->p + row * cols;
        double delta = (double)INFINITY;
        a->in_tree[col] = 1;
        for (int64_t j = 0; j < cols; j++) {
            if (a->in_tree[j])
                continue;
            double reduced = -(double)cosine[j] - a->u[row] - a->v[j];
            if (reduced < a->slack[j]) {
                a->slack[j] = reduced;
                a->from[j] = col;
            }
            if (a->slack[j] < delta) {
                delta = a->slack[j];
                next = j;
            }
        }
        for (int64_t j = 0; j <= cols; j++)
            if (a->in_tree[j]) {
                a->u[t->row_of[j]] += delta;
                a->v[j] -= delta;
            } else {
                a->slack[j] -= delta;
            }
        col = next;
    }
    for (; col != cols; col = a->from[col])
        t->row_of[col] = t->row_of[a->from[col]];
}

static int assign(const table *t)
{
    size_t rows = (size_t)t->rows, cols = (size_t)t->cols;
    double *d = calloc(rows + 2 * (cols + 1), sizeof *d);
    int64_t *from = calloc(cols + 1, sizeof *from);
    char *in_tree = calloc(cols + 1, 1);
    int rc = d && from && in_tree ? SAE_OK : SAE_ENOMEM;
    if (rc == SAE_OK) {
        assignment a = {d, d + rows, d + rows + cols + 1, from, in_tree};
        for (size_t j = 0; j <= cols; j++)
            t->row_of[j] = -1;
        for (int64_t i = 0; i < t->rows; i++)
            augment(t, &a, i);
    }
    free(d);
    free(from);
    free(in_tree);
    return rc;
}

static void best_partners(const table *t)
{
    for (int64_t j = 0; j < t->cols; j++)
        t->best_col[j] = -2;
    for (int64_t i = 0; i < t->rows; i++) {
        t->best_row[i] = -2;
        for (int64_t j = 0; j < t->cols; j++) {
            double c = (double)t->p[i * t->cols + j];
            if (c > t->best_row[i]) {
                t->best_row[i] = c;
                t->arg_row[i] = j;
            }
            if (c > t->best_col[j]) {
                t->best_col[j] = c;
                t->arg_col[j] = i;
            }
        }
    }
}

static void summarise(const sae_measure *r, state *s, const table *t)
{
    const options *o = r->opt;
    int64_t n = r->m->dim.n, atoms = r->truth->n;
    int by_row = n <= atoms; /* features are the rows of the table */
    const double *best_feature = by_row ? t->best_row : t->best_col;
    const double *best_atom = by_row ? t->best_col : t->best_row;
    const int64_t *arg_feature = by_row ? t->arg_row : t->arg_col;
    int32_t *chosen = active_of(r, s); /* all zero between rows */
    for (int64_t i = 0; i < n; i++) {
        s->best_features += best_feature[i];
        s->features_true += best_feature[i] > o->threshold;
        s->distinct += !chosen[arg_feature[i]];
        chosen[arg_feature[i]] = 1;
    }
    for (int64_t j = 0; j < atoms; j++) {
        s->best_atoms += best_atom[j];
        s->atoms_found += best_atom[j] > o->threshold;
        chosen[j] = 0;
    }
    for (int64_t col = 0; col < t->cols; col++) {
        int64_t row = t->row_of[col];
        if (row < 0)
            continue;
        s->match[by_row ? row : col] = (int32_t)(by_row ? col : row);
        s->matched += (double)t->p[row * t->cols + col];
        s->pairs++;
    }
}

/* Cosines of the rows of a against those of b; without sign for signed codes. */
static int fill_cosines(const sae_measure *r, sae_cmat a, sae_cmat b, sae_real *out)
{
    sae_cosines s;
    int rc = sae_cosines_open(&s, r, a, b);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; rc >= 0 && i < a.rows; i += SAE_COSINE_BLOCK) {
        int64_t left = a.rows - i, rows = left < SAE_COSINE_BLOCK ? left : SAE_COSINE_BLOCK;
        rc = sae_cosines_block(&s, i, rows, out + i * b.rows);
    }
    for (int64_t i = 0; rc >= 0 && sae_model_signed(r->m) && i < a.rows * b.rows; i++)
        out[i] = out[i] < 0 ? -out[i] : out[i];
    sae_cosines_close(&s);
    return rc;
}

static int compare(const sae_measure *r, state *s, sae_cmat w, sae_cmat dict)
{
    table t = {.rows = w.rows < dict.rows ? w.rows : dict.rows,
               .cols = w.rows < dict.rows ? dict.rows : w.rows};
    size_t both = (size_t)(t.rows + t.cols);
    t.p = malloc((size_t)(t.rows * t.cols) * sizeof *t.p);
    t.best_row = malloc(both * sizeof *t.best_row);
    t.arg_row = malloc((both + (size_t)t.cols + 1) * sizeof *t.arg_row);
    int rc = t.p && t.best_row && t.arg_row ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0) {
        t.best_col = t.best_row + t.rows;
        t.arg_col = t.arg_row + t.rows;
        t.row_of = t.arg_col + t.cols;
        int by_row = w.rows <= dict.rows;
        rc = fill_cosines(r, by_row ? w : dict, by_row ? dict : w, t.p);
    }
    if (rc >= 0)
        rc = assign(&t);
    if (rc >= 0) {
        best_partners(&t);
        summarise(r, s, &t);
    }
    free(t.p);
    free(t.best_row);
    free(t.arg_row);
    return rc;
}

static int begin(const sae_measure *r, void *state_)
{
    state *s = state_;
    sae_cmat w = sae_tensor_matrix(r->m, "W_dec");
    for (int64_t i = 0; i < r->m->dim.n; i++)
        s->match[i] = -1;
    if (!w.p || w.rows == 0 || r->truth->n == 0)
        return SAE_OK; /* nothing to compare: every value is undefined */
    if (w.cols != r->truth->d)
        return SAE_RECORD(r->c->err, SAE_EINVAL, "recovery: atoms of width %lld, decoder of %lld",
                          (long long)r->truth->d, (long long)w.cols);
    size_t bytes = (size_t)(r->truth->n * r->truth->d) * sizeof(sae_real);
    sae_real *copy = r->c->be->alloc(r->c->dev, bytes);
    if (!copy)
        return SAE_ENOMEM;
    sae_cmat dict = {copy, r->truth->n, r->truth->d, r->truth->d};
    int rc = r->c->be->copy(r->c->dev, copy, r->truth->dict, bytes, SAE_COPY_H2D);
    if (rc >= 0)
        rc = compare(r, s, w, dict);
    sae_backend_release(r, copy);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    const sae_code *z = e->code, *t = e->truth->code;
    int32_t *active = active_of(r, s);
    for (int64_t i = 0; i < e->B; i++) {
        double *sum = sae_groups_row(s->sums, STATS, e->tok[i].doc);
        for (int64_t p = sae_code_row(t, i); p < sae_code_row(t, i + 1); p++) {
            active[sae_code_feature(t, i, p)] = t->val[p] != 0;
            sum[ACTUAL] += t->val[p] != 0;
        }
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
            int32_t atom = s->match[sae_code_feature(z, i, p)];
            sum[PREDICTED] += z->val[p] != 0;
            sum[AGREED] += z->val[p] != 0 && atom >= 0 && active[atom];
        }
        for (int64_t p = sae_code_row(t, i); p < sae_code_row(t, i + 1); p++)
            active[sae_code_feature(t, i, p)] = 0;
        sum[ROWS] += 1;
    }
    return SAE_OK;
}

/* The matching depends on the model only: both sides hold the same one. */
static int merge(const sae_measure *r, void *into, const void *from)
{
    (void)r;
    sae_groups_merge(((state *)into)->sums, ((const state *)from)->sums, STATS);
    return SAE_OK;
}

SAE_RATIO(precision, AGREED, PREDICTED)
SAE_RATIO(recall, AGREED, ACTUAL)
SAE_RATIO(true_l0, ACTUAL, ROWS)

static double f1(const double *s, int64_t K)
{
    (void)K;
    double all = s[PREDICTED] + s[ACTUAL];
    return all > 0.0 ? 2 * s[AGREED] / all : (double)NAN;
}

static const sae_estimate estimates[] = {
    {"support_precision", precision, ROWS, "1", SAE_HIGHER},
    {"support_recall", recall, ROWS, "1", SAE_HIGHER},
    {"support_f1", f1, ROWS, "1", SAE_HIGHER},
    {"true_l0", true_l0, ROWS, "atoms", SAE_INFO},
    {0}};

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    int64_t n = s->pairs ? r->m->dim.n : 0, atoms = s->pairs ? r->truth->n : 0;
    const struct {
        const char *key;
        double sum;
        int64_t count;
    } out[] = {{"max_cosine", s->best_atoms, atoms},
               {"max_cosine_reverse", s->best_features, n},
               {"matched_cosine", s->matched, s->pairs},
               {"share_recovered", (double)s->atoms_found, atoms},
               {"share_recovered_reverse", (double)s->features_true, n},
               {"uniqueness", (double)s->distinct, n}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        double value = out[i].count ? out[i].sum / (double)out[i].count : (double)NAN;
        sae_row row = {out[i].key, value, (double)NAN, out[i].count, "1", SAE_HIGHER};
        int rc = r->emit(r->sink, &row);
        if (rc < 0)
            return rc;
    }
    return sae_groups_emit(r, s->sums, STATS, estimates);
}

const sae_metric sae_metric_recovery = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "recovery",
    .summary = "true atoms found, and agreement of supports, on data with known ground truth",
    .source = "metrics/recovery.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_TRUTH,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
