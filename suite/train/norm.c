/* suite/train/norm.c - normalisation constants: estimate, apply, undo. */
#include "train/stream.h"

#include "core/error.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { ESTIMATE_ROWS = 1 << 15, WORTH_THREADS = 1 << 16 /* elements */ };

const char *const sae_norm_names[] = {"none", "mean_sq1", "sqrt_d", "unit_row", "row_std", NULL};

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

int sae_norm_estimate(sae_norm_const *n, const sae_dataset *ds, sae_source *src, int target,
                      sae_mat buf, sae_err *err)
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
        sae_fill to = target ? (sae_fill){.y = buf.p} : (sae_fill){.x = buf.p};
        SAE_TRY(ds->fill(src, split, (uint64_t)row0, B, &to, err));
        for (int64_t r = 0; r < B; r++) {
            const sae_real *x = buf.p + r * d;
            double sq = row_sum_sq(x, d);
            if (!isfinite(sq))
                SAE_FAIL(err, SAE_ENONFINITE, "dataset %s: %s %s %" PRId64 " is not finite",
                         ds->name, split == SAE_SPLIT_TRAIN ? "training" : "evaluation",
                         target ? "target" : "row", row0 + r);
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
        SAE_FAIL(err, SAE_EINVAL, "dataset %s: the first %" PRId64 " training %s are all zero, "
                 "so norm=%s has no scale", ds->name, rows, target ? "targets" : "rows",
                 sae_norm_names[n->kind]);
    return SAE_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

int sae_norm_is_per_row(enum sae_norm kind)
{
    return kind == SAE_NORM_UNIT_ROW || kind == SAE_NORM_ROW_STD;
}

static sae_norm_row unit_row(const sae_real *x, int64_t d)
{
    double norm = sqrt(row_sum_sq(x, d));
    return (sae_norm_row){norm > 0 ? norm : 1, 0};
}

static sae_norm_row row_std(const sae_real *x, int64_t d)
{
    double mean = 0, sum_sq = 0;
    for (int64_t i = 0; i < d; i++)
        mean += (double)x[i];
    mean /= (double)d;
    for (int64_t i = 0; i < d; i++)
        sum_sq += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (sae_norm_row){sqrt(sum_sq / (double)(d > 1 ? d - 1 : 1)) + 1e-5, mean};
}

/* Scale and shift of row r of model units. */
static sae_norm_row at(const sae_norm_const *n, const sae_norm_row *row, int64_t r)
{
    return sae_norm_is_per_row(n->kind) ? row[r] : (sae_norm_row){n->scale, 0};
}

void sae_norm_apply(const sae_norm_const *n, sae_cmat raw, sae_mat x, sae_norm_row *row)
{
#pragma omp parallel for if (raw.rows * raw.cols > WORTH_THREADS)
    for (int64_t r = 0; r < raw.rows; r++) {
        const sae_real *in = raw.p + r * raw.ld;
        sae_real *out = x.p + r * x.ld;
        if (n->kind == SAE_NORM_UNIT_ROW)
            row[r] = unit_row(in, raw.cols);
        else if (n->kind == SAE_NORM_ROW_STD)
            row[r] = row_std(in, raw.cols);
        const sae_norm_row u = at(n, row, r);
        double by = 1 / u.scale;
        for (int64_t i = 0; i < raw.cols; i++)
            out[i] = (sae_real)(((double)in[i] - u.shift) * by);
    }
}

void sae_norm_undo(const sae_norm_const *n, const sae_norm_row *row, sae_mat x)
{
    for (int64_t r = 0; r < x.rows; r++) {
        const sae_norm_row u = at(n, row, r);
        for (int64_t i = 0; i < x.cols; i++)
            x.p[r * x.ld + i] = (sae_real)((double)x.p[r * x.ld + i] * u.scale + u.shift);
    }
}

void sae_norm_gradient(const sae_norm_const *n, const sae_norm_row *row, sae_mat g)
{
#pragma omp parallel for if (g.rows * g.cols > WORTH_THREADS)
    for (int64_t r = 0; r < g.rows; r++) {
        double scale = at(n, row, r).scale;
        for (int64_t i = 0; i < g.cols; i++)
            g.p[r * g.ld + i] = (sae_real)((double)g.p[r * g.ld + i] * scale);
    }
}
