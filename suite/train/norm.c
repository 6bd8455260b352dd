/* suite/train/norm.c - normalisation constants: estimate, apply, undo. */
#include "train/stream.h"

#include "core/error.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { ESTIMATE_ROWS = 1 << 15 };

const char *const sae_norm_names[] = {"none", "mean_sq1", "sqrt_d", "unit_row", NULL};

static double row_sum_sq(const sae_real *x, int64_t d)
{
    double s = 0;
    for (int64_t i = 0; i < d; i++)
        s += (double)x[i] * (double)x[i];
    return s;
}

static double scale_of(enum sae_norm kind, double mean_sq, double mean_norm, int64_t d)
{
    if (kind == SAE_NORM_MEAN_SQ1)
        return sqrt(mean_sq);
    return kind == SAE_NORM_SQRT_D ? mean_norm / sqrt((double)d) : 1;
}

int sae_norm_estimate(sae_norm_const *n, const sae_dataset *ds, sae_source *src, sae_mat buf,
                      sae_err *err)
{
    enum sae_split split = SAE_SPLIT_TRAIN;
    int64_t d = buf.cols, have = ds->rows(src, split);
    double sum_sq = 0, sum_norm = 0;
    if (have == 0 && n->kind == SAE_NORM_NONE) { /* a source that is held out as a whole */
        split = SAE_SPLIT_EVAL;
        have = ds->rows(src, split);
    }
    int64_t rows = have >= 0 && have < ESTIMATE_ROWS ? have : ESTIMATE_ROWS;
    if (rows == 0)
        SAE_FAIL(err, SAE_EINVAL, "dataset %s has no training rows", ds->name);
    memset(n->mean, 0, (size_t)d * sizeof *n->mean);
    for (int64_t row0 = 0; row0 < rows; row0 += buf.rows) {
        int64_t B = rows - row0 < buf.rows ? rows - row0 : buf.rows;
        SAE_TRY(ds->fill(src, split, (uint64_t)row0, B, &(sae_fill){.x = buf.p}, err));
        for (int64_t r = 0; r < B; r++) {
            const sae_real *x = buf.p + r * d;
            double sq = row_sum_sq(x, d);
            if (!isfinite(sq))
                SAE_FAIL(err, SAE_ENONFINITE, "dataset %s: %s row %" PRId64 " is not finite",
                         ds->name, split == SAE_SPLIT_TRAIN ? "training" : "evaluation", row0 + r);
            sum_sq += sq;
            sum_norm += sqrt(sq);
            for (int64_t i = 0; i < d; i++)
                n->mean[i] += (double)x[i];
        }
    }
    for (int64_t i = 0; i < d; i++)
        n->mean[i] /= (double)rows;
    n->rows = rows;
    n->scale = scale_of(n->kind, sum_sq / (double)rows, sum_norm / (double)rows, d);
    if (n->scale <= 0)
        SAE_FAIL(err, SAE_EINVAL, "dataset %s: the first %" PRId64 " training rows are all zero, "
                 "so norm=%s has no scale", ds->name, rows, sae_norm_names[n->kind]);
    return SAE_OK;
}

static void scale_row(const sae_real *in, double by, int64_t d, sae_real *out)
{
    for (int64_t i = 0; i < d; i++)
        out[i] = (sae_real)((double)in[i] * by);
}

void sae_norm_apply(const sae_norm_const *n, sae_cmat raw, sae_mat x, double *row_scale)
{
    for (int64_t r = 0; r < raw.rows; r++) {
        const sae_real *in = raw.p + r * raw.ld;
        double scale = n->scale;
        if (n->kind == SAE_NORM_UNIT_ROW) {
            double norm = sqrt(row_sum_sq(in, raw.cols));
            scale = row_scale[r] = norm > 0 ? norm : 1;
        }
        scale_row(in, 1 / scale, raw.cols, x.p + r * x.ld);
    }
}

void sae_norm_undo(const sae_norm_const *n, const double *row_scale, sae_mat x)
{
    for (int64_t r = 0; r < x.rows; r++) {
        double scale = n->kind == SAE_NORM_UNIT_ROW ? row_scale[r] : n->scale;
        scale_row(x.p + r * x.ld, scale, x.cols, x.p + r * x.ld);
    }
}
