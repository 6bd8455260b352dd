/* datasets/tree.c - features that need their parents: hierarchies of the literature; see tree.md.
 *
 * A node can be active only where its parent is. Children are drawn one by one, or at most one of
 * them is (exclusive). Silent nodes of the published trees stand for "none of them"; they are left
 * out here, which changes nothing.
 */
#include "truth/truth.h"

#include <math.h>
#include <string.h>

typedef struct node {
    int parent; /* an earlier node; -1: the row itself */
    double p;   /* active, given that the parent is */
    int exclusive; /* at most one child is active */
} node;

enum { NODES = 20 };

typedef struct tree {
    int64_t d;
    double norm_sd; /* of atoms, around 1 */
    int nodes;
    node node[NODES];
} tree;

enum setting { NABESHIMA, HEDGING, UNBALANCED };
static const char *const setting_names[] = {"nabeshima", "hedging", "unbalanced", NULL};

#define FAMILY(i) {-1, 0.15, 1}, {i, 0.2, 0}, {i, 0.2, 0}, {i, 0.2, 0}
#define LEAF {-1, 0.05, 0}
#define LEAVES LEAF, LEAF, LEAF, LEAF, LEAF, LEAF, LEAF, LEAF

static const tree trees[] = {
    {20, 0.05, 20, {FAMILY(0), FAMILY(4), FAMILY(8), LEAVES}},
    {50, 0.0, 4, {{-1, 0.25, 0}, {0, 0.15, 0}, {0, 0.15, 0}, {0, 0.15, 0}}},
    {50, 0.0, 4, {{-1, 0.25, 0}, {0, 0.02, 0}, {0, 0.15, 0}, {0, 0.5, 0}}},
};

typedef struct options {
    int64_t setting, d, rows;
    double magnitude_sd;
} options;

static const sae_option table[] = {
    {"setting", SAE_OPT_ENUM, 0, offsetof(options, setting), NABESHIMA, 0, UNBALANCED,
     setting_names, NULL, "1", "published tree: 20, 4 or 4 features"},
    {"d", SAE_OPT_INT, 0, offsetof(options, d), 0, 0, 1 << 20, NULL, NULL, "1",
     "activation width; 0: the setting's (20, 50, 50)"},
    {"magnitude_sd", SAE_OPT_REAL, 0, offsetof(options, magnitude_sd), 0, 0, 100, NULL, NULL, "1",
     "coefficients are |N(1, sd^2)|"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "training rows, 0: never the same row twice"},
    {0},
};

/* own: norms of the atoms */
static void code(const sae_source *s, uint64_t row, truth_row *w)
{
    const options *o = s->opt;
    const tree *t = &trees[o->setting];
    const double *length = s->own;
    double left[NODES] = {0}; /* of the draw that an exclusive parent's children share */
    int on[NODES];
    for (int i = 0; i < t->nodes; i++) {
        const node *v = &t->node[i];
        const int up = v->parent;
        double draw;
        if (v->exclusive)
            left[i] = truth_u01(s, TRUTH_EXCLUSIVE, row, i);
        if (up >= 0 && t->node[up].exclusive) {
            draw = left[up];
            left[up] -= v->p;
        } else {
            draw = truth_u01(s, TRUTH_SUPPORT, row, i);
        }
        on[i] = (up < 0 || on[up]) && draw >= 0.0 && draw < v->p;
        if (!on[i])
            continue;
        double z = o->magnitude_sd > 0.0 ? sae_normal(s->seed, TRUTH_COEF, row, (uint32_t)i) : 0.0;
        truth_add(w, i, length[i] * fabs(1.0 + o->magnitude_sd * z));
    }
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    const tree *t = &trees[o->setting];
    truth_law law = {.name = "tree",
                     .options = table,
                     .opt_size = sizeof *o,
                     .d = o->d ? o->d : t->d,
                     .features = t->nodes,
                     .rows = o->rows,
                     .code = code};
    *source = NULL;
    if (law.d < t->nodes)
        return SAE_RECORD(err, SAE_EINVAL, "d is %lld, expected at least the %d features",
                          (long long)law.d, t->nodes);
    SAE_TRY(truth_open(source, &law, opt, host, dim, err));
    double *length = (*source)->own = truth_take(*source, t->nodes, sizeof *length);
    int32_t *parent = (*source)->parent = truth_take(*source, t->nodes, sizeof *parent);
    int rc = length && parent ? truth_spread_atoms(*source, err)
                              : SAE_RECORD(err, SAE_ENOMEM, "no memory");
    for (int i = 0; rc >= 0 && i < t->nodes; i++) {
        length[i] = 1.0 + t->norm_sd * sae_normal(host->seed, TRUTH_WORLD, 0, (uint32_t)i);
        parent[i] = t->node[i].parent;
    }
    if (rc < 0)
        truth_close(source);
    return rc;
}

const sae_dataset sae_dataset_tree = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "tree",
    .summary = "features that fire only with their parents: absorption and hedging, with truth",
    .source = "Nabeshima 2024; Chanin et al. 2025 (2505.11756); see datasets/tree.md",
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
