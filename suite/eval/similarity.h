/* suite/eval/similarity.h - how alike two sets of activations of the same tokens are
 * (similarity.md).
 */
#ifndef SAE_EVAL_SIMILARITY_H
#define SAE_EVAL_SIMILARITY_H

#include "core/model.h"

enum sae_likeness { /* corrected, and as the ITDA paper's code has it */
    SAE_LIKE_CKA,
    SAE_LIKE_CKA_RELEASED,
    SAE_LIKE_SVCCA,
    SAE_LIKE_SVCCA_RELEASED,
    SAE_LIKE_REGRESSION,
    SAE_LIKE_REGRESSION_RELEASED,
    SAE_LIKE_RELATIVE,
    SAE_LIKE_ACTIVATIONS, /* those above read activations, those below the origins of atoms */
    SAE_LIKE_JACCARD = SAE_LIKE_ACTIVATIONS,
    SAE_LIKE_JACCARD_RELEASED,
    SAE_LIKE_ORDERED,                     /* of those above the larger says more alike */
    SAE_LIKE_TRANSFER = SAE_LIKE_ORDERED, /* transfer.h */
    SAE_LIKENESSES
};

typedef struct sae_likeness_name {
    const char *measure, *form;
} sae_likeness_name;
extern const sae_likeness_name sae_likeness_names[SAE_LIKENESSES];

enum { SAE_SVCCA_RANK = 20 };

/* Activations of one place, and what comparing needs of them. */
typedef struct sae_place {
    int64_t rows, d, anchors, rank; /* rank: directions kept for SVCCA */
    sae_real *x;                    /* backend [rows x d] */
    double *mean;                   /* [d] */
    double *raw, *centred;          /* [d x d] products of columns, of centred columns */
    double *size, *axis;            /* [rank] eigenvalues of centred, [rank x d] eigenvectors */
    sae_real *relative;             /* [rows x anchors] cosines, rows scaled to unit length */
} sae_place;

/* x [rows x d] of host memory; anchor [anchors] are row numbers. Close it in any case. */
int sae_place_open(sae_place *p, const sae_engine *e, sae_cmat x, const int64_t *anchor,
                   int64_t anchors, sae_err *err);
void sae_place_close(sae_place *p, const sae_engine *e);

/* out[SAE_LIKE_ACTIVATIONS] of y seen from x: the same rows and anchors. NaN where undefined. */
int sae_place_compare(const sae_engine *e, const sae_place *x, const sae_place *y, double *out,
                      sae_err *err);

/* Order of origins by document and position, for qsort and bsearch. */
int sae_origin_order(const void *a, const void *b);
/* Sorts the list and brings each origin to its front once; answers how many. */
int64_t sae_origins_unique(sae_token *t, int64_t count);
/* Shared origins over all of both; the lists are sorted in place. NaN when both are empty. */
double sae_jaccard(sae_token *a, int64_t count_a, sae_token *b, int64_t count_b);
/* What two independent uniform sets of these sizes share, out of `from` tokens. */
double sae_jaccard_chance(double count_a, double count_b, double from);

/* Layer matching: value [places x places] of one measure; place model_of[i] / layer_of[i], places
 * of a model together and in order. Counts layers of the ordered pairs of models with equally many
 * layers, and those whose largest value (NaN: none) is at the same layer; cross: without a model
 * and itself. */
typedef struct sae_layer_match {
    int64_t hits, layers;
} sae_layer_match;
sae_layer_match sae_match_layers(const double *value, int64_t places, const int64_t *model_of,
                                 const int64_t *layer_of, int cross);

#endif
