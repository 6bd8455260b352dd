/* datasets/clusters.c - Gaussian clusters whose label is the concept; see clusters.md.
 *
 * A row is the centre of its cluster and noise of the cluster's own extent. The atoms are the
 * directions of the centres, a code holds one of them, the label is the cluster.
 */
#include "truth/truth.h"

#include <math.h>
#include <string.h>

enum setting { SEPARABILITY, HETEROGENEITY };
static const char *const setting_names[] = {"separability", "heterogeneity", NULL};

enum { CLUSTERS = 6 };
static const char *const class_names[] = {"0", "1", "2", "3", "4", "5"};
static const struct {
    int64_t d, clusters;
    int64_t dims[CLUSTERS]; /* coordinates with the cluster's variance: the first ones */
    double variance;        /* sum over these coordinates */
} worlds[] = {
    {2, 6, {2, 2, 2, 2, 2, 2}, 0.04419417382415922}, /* 2^-4.5 */
    {128, 5, {6, 14, 30, 62, 126, 0}, 0.02},
};
static const double EVERYWHERE = 1e-6; /* added to the variance of every coordinate */
static const double SIDE = 300.0 / 50.0 / 128.0;
static const sae_label labels_of[] = {{"cluster", 6, class_names, 0},
                                      {"cluster", 5, class_names, 0}};

typedef struct options {
    int64_t setting, rows;
} options;

static const sae_option table[] = {
    {"setting", SAE_OPT_ENUM, 0, offsetof(options, setting), SEPARABILITY, 0, HETEROGENEITY,
     setting_names, NULL, "1", "six clusters in the plane, or five of 6 to 126 dimensions"},
    {"rows", SAE_OPT_INT, 0, offsetof(options, rows), 0, 0, 1e15, NULL, NULL, "rows",
     "training rows, 0: never the same row twice"},
    {0},
};

static int32_t cluster(const sae_source *s, uint64_t row)
{
    uint64_t u = sae_philox(s->seed, TRUTH_SUPPORT, row, 0).v[0];
    return (int32_t)((u * (uint64_t)s->law.features) >> 32);
}

/* own: norms of the centres */
static void code(const sae_source *s, uint64_t row, truth_row *w)
{
    int32_t i = cluster(s, row);
    truth_add(w, i, ((const double *)s->own)[i]);
}

static void noise(const sae_source *s, uint64_t row, truth_row *w)
{
    const int64_t which = ((const options *)s->opt)->setting;
    const int64_t dims = worlds[which].dims[cluster(s, row)];
    double inside = sqrt(worlds[which].variance / (double)dims + EVERYWHERE);
    for (int64_t j = 0; j < s->law.d; j += 4) {
        double z[4];
        sae_normal4(s->seed, TRUTH_NOISE, row, (uint32_t)(j / 4), z);
        for (int64_t h = 0; h < 4 && j + h < s->law.d; h++)
            w->x[j + h] += z[h] * (j + h < dims ? inside : sqrt(EVERYWHERE));
    }
}

/* Centres become unit atoms and their norms. */
static void make_centres(const sae_source *s, int setting, double *length)
{
    const int64_t d = s->law.d;
    for (int64_t i = 0; i < s->law.features; i++) {
        double angle = 1.04719755119659774615 * (double)i, sq = 0.0;
        for (int64_t j = 0; j < d; j++) {
            double v = setting == HETEROGENEITY ? SIDE * truth_u01(s, TRUTH_WORLD, (uint64_t)i, j)
                       : (i % 2 ? 0.5 : 1.5) * (j ? sin(angle) : cos(angle));
            s->dict[i * d + j] = (sae_real)v;
            sq += v * v;
        }
        length[i] = sqrt(sq);
        for (int64_t j = 0; j < d; j++)
            s->dict[i * d + j] = (sae_real)((double)s->dict[i * d + j] / length[i]);
    }
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    truth_law law = {.name = "clusters",
                     .options = table,
                     .opt_size = sizeof *o,
                     .d = worlds[o->setting].d,
                     .features = worlds[o->setting].clusters,
                     .rows = o->rows,
                     .code = code,
                     .noise = noise,
                     .label = cluster};
    SAE_TRY(truth_open(source, &law, opt, host, dim, err));
    double *length = (*source)->own = truth_take(*source, law.features, sizeof *length);
    if (!length) {
        truth_close(source);
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for %lld clusters",
                          (long long)law.features);
    }
    make_centres(*source, (int)o->setting, length);
    return SAE_OK;
}

static int labels(const sae_source *s, const sae_label **out, int64_t *count)
{
    *out = &labels_of[((const options *)s->opt)->setting];
    *count = 1;
    return SAE_OK;
}

const sae_dataset sae_dataset_clusters = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "clusters",
    .summary = "Gaussian clusters: one concept per row, of equal or of very different extent",
    .source = "Hindupur et al. 2025 (2503.01822); see datasets/clusters.md",
    .licence = "none needed: generated",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_TRUTH | SAE_GIVES_LABELS,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = truth_rows,
    .fill = truth_fill,
    .close = truth_close,
    .hash = truth_hash,
    .truth = truth_of,
    .labels = labels,
};
