/* tests/prop/truths.c - what holds for every source with known atoms, and the laws of tree and
 * clusters.
 */
#include "prop/sample.h"
#include "truth/truth.h"

#include <string.h>

/* ---- every source ---------------------------------------------------------------------------- */

static const char *const exact[] = {
    /* without noise and offset */
    "synthetic:d=24,features=60,l0=4,coef=gaussian,symmetric=1,pairs=0.2,zipf=1",
    "synthetic:d=24,features=60,l0=4,firing=exact,scale=2,decay=0.3,atoms=orthogonal",
    "tree",
    "tree:setting=unbalanced,d=9,magnitude_sd=0.5",
    "correlated:setting=sharkey,d=9",
    "correlated:setting=sharkey_correlated,d=9",
    "correlated:d=60",
    "correlated:setting=negative",
    "synthsae:d=24,features=900,roots=20,offset=0",
};
enum { EXACT = sizeof exact / sizeof exact[0] };

/* x = sum c D, where x and c are rounded once each; the 1.001 covers products of roundings and the
 * sums in double. */
START_TEST(rows_are_codes)
{
    sample a = draw(exact[_i / 2], _i % 2 ? SAE_SPLIT_EVAL : SAE_SPLIT_TRAIN);
    const sae_code *z = a.t.code;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < a.d; j++) {
            double sum = 0.0, size = 0.0;
            for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++) {
                double term = (double)z->val[e] * (double)a.t.dict[z->idx[e] * a.d + j];
                sum += term;
                size += fabs(term);
            }
            ck_assert_msg(fabs((double)a.x[r * a.d + j] - sum) <= 2 * U * 1.001 * size, "row %d",
                          (int)r);
        }
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t e = z->rowptr[r] + 1; e < z->rowptr[r + 1]; e++)
            ck_assert_int_lt(z->idx[e - 1], z->idx[e]);
    for (int64_t i = 0; i < a.n; i++) { /* elements are rounded twice, then squared */
        double sq = 0.0;
        for (int64_t j = 0; j < a.d; j++)
            sq += pow((double)a.t.dict[i * a.d + j], 2);
        ck_assert(fabs(sq - 1.0) <= 4 * U * 1.001);
    }
    done(&a);
}
END_TEST

/* A child is never there without its parent, which stands before it. */
START_TEST(children_have_their_parents)
{
    static const int edges[EXACT] = {[2] = 9, [3] = 3, [8] = 900 - 20}; /* all in trees */
    sample a = draw_codes(exact[_i], SAE_SPLIT_EVAL);
    const sae_code *z = a.t.code;
    int found = 0;
    for (int64_t i = 0; a.t.parent && i < a.n; i++) {
        ck_assert_int_lt(a.t.parent[i], (int32_t)i);
        found += a.t.parent[i] >= 0;
    }
    ck_assert_int_eq(found, edges[_i]);
    for (int64_t r = 0; a.t.parent && r < ROWS; r++)
        for (int64_t e = z->rowptr[r]; e < z->rowptr[r + 1]; e++) {
            int64_t up = a.t.parent[z->idx[e]], seen = up < 0;
            for (int64_t k = z->rowptr[r]; k < e; k++)
                seen |= z->idx[k] == up;
            ck_assert_msg(seen, "row %d: %d without %d", (int)r, (int)z->idx[e], (int)up);
        }
    done(&a);
}
END_TEST

static const char *const bases[] = {
    /* together every option of these sources counts */
    "synthetic:d=6,features=40,symmetric=1,noise=0.1,rows=900",
    "synthetic:d=6,features=40,l0=3,firing=exact,alt=0.5,l0_alt=5",
    "tree:d=30",
    "tree:setting=hedging",
    "correlated:d=70",
    "synthsae:d=16,features=700,roots=12",
    "synthsae:d=16,features=700,roots=12,depth=2",
    "clusters",
};
enum { BASES = sizeof bases / sizeof bases[0], SOME = 400 };

/* The first rows of both splits and the hash; 0 if the source refuses its options. */
static int rows_of(const sae_dataset *ds, const void *opt, uint64_t seed, sae_real **x,
                   size_t *bytes, char hash[36])
{
    sae_err err = {0};
    sae_dims dim;
    sae_source *s;
    sae_host host = stand_in_host(seed);
    if (ds->open(&s, opt, &host, &dim, &err) < 0)
        return 0;
    *bytes = (size_t)(2 * SOME * dim.d_in) * sizeof **x;
    *x = malloc(*bytes);
    for (int split = 0; split < 2; split++)
        ck_assert_ok(ds->fill(s, (enum sae_split)split, 0, SOME,
                              &(sae_fill){.x = *x + split * SOME * dim.d_in}, &err), err);
    ck_assert_int_eq(ds->hash(s, hash), SAE_OK);
    ds->close(&s);
    return 1;
}

/* Another value of an option: larger where that is in range. */
static void change(const sae_option *o, void *opt)
{
    char *at = (char *)opt + o->off;
    int64_t whole;
    double real;
    memcpy(&whole, at, sizeof whole);
    memcpy(&real, at, sizeof real);
    whole = (double)whole + 1 <= o->hi ? whole + 1 : (int64_t)o->lo;
    real = real + 1 <= o->hi ? real + 1 : real > 0.0 ? real / 2 : 0.5 * o->hi;
    memcpy(at, o->type == SAE_OPT_REAL ? (void *)&real : (void *)&whole, sizeof whole);
}

/* Options, as bits, and those of them that change rows, starting from one base. */
static void try_options(const sae_spec *spec, uint64_t *options, uint64_t *counts)
{
    const sae_dataset *ds = spec->dataset;
    const void *base = sae_opts_base(spec->opts);
    void *other = malloc(ds->opt_size);
    sae_real *x, *y;
    size_t bytes, bytes_y;
    char hash[36], hash_y[36];
    ck_assert(rows_of(ds, base, 5, &x, &bytes, hash));
    ck_assert(rows_of(ds, base, 6, &y, &bytes_y, hash_y));
    ck_assert(memcmp(x, y, bytes) != 0 && strcmp(hash, hash_y) != 0);
    free(y);
    for (int k = 0; ds->options[k].name; k++) {
        *options |= UINT64_C(1) << k;
        memcpy(other, base, ds->opt_size);
        change(&ds->options[k], other);
        if (!rows_of(ds, other, 5, &y, &bytes_y, hash_y))
            continue;
        ck_assert_msg(strcmp(hash, hash_y) != 0, "hash: %s %s", ds->name, ds->options[k].name);
        if (bytes != bytes_y || memcmp(x, y, bytes) != 0)
            *counts |= UINT64_C(1) << k;
        free(y);
    }
    free(x);
    free(other);
}

/* Rows and hash follow the seed and every option. */
START_TEST(every_option_counts)
{
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (const sae_dataset *const *all = sae_all_datasets(reg); *all; all++) {
        uint64_t options = 0, counts = 0;
        for (int b = 0; b < BASES; b++) {
            sae_spec spec;
            ck_assert_ok(sae_spec_parse(&spec, reg, SAE_KIND_DATASET, bases[b], &err), err);
            if (strcmp(spec.dataset->name, (*all)->name) == 0)
                try_options(&spec, &options, &counts);
            sae_spec_free(&spec);
        }
        ck_assert_msg(options || !((*all)->gives & SAE_GIVES_TRUTH), "add a base of %s",
                      (*all)->name);
        ck_assert_msg(counts == options, "%s: options %llx of %llx change rows", (*all)->name,
                      (unsigned long long)counts, (unsigned long long)options);
    }
    sae_registry_close(&reg);
}
END_TEST

/* ---- atoms and matrices ---------------------------------------------------------------------- */

/* Sum of all squared cosines: n^2 / d is the least. Of random atoms it is n + n (n - 1) / d. */
static double frame_potential(const sample *a)
{
    double sum = 0.0;
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t k = 0; k < a->n; k++) {
            double dot = 0.0;
            for (int64_t j = 0; j < a->d; j++)
                dot += (double)a->t.dict[i * a->d + j] * (double)a->t.dict[k * a->d + j];
            sum += dot * dot;
        }
    return sum;
}

/* D^T D is (n / d) I up to what normalising the rows undoes: squared norms of rows of a random
 * n x d matrix with orthonormal columns are Beta(d / 2, (n - d) / 2), relative variance
 * v = 2 (1 - d / n) / d; it adds the share v (1 - d / n) of n^2 / n at most, and 6 times that
 * leaves room for one draw. Gaussian atoms are at n. */
START_TEST(atoms_are_spread)
{
    sample a = draw("synthetic:d=32,features=300,atoms=orthogonal", SAE_SPLIT_TRAIN);
    double least = 300.0 * 300.0 / 32.0, excess = frame_potential(&a) - least;
    double v = 2.0 * (1.0 - 32.0 / 300.0) / 32.0;
    ck_assert_msg(excess > -1e-3 && excess < 6.0 * v * v * 300.0, "excess %g", excess);
    done(&a);
    a = draw("synthetic:d=32,features=300", SAE_SPLIT_TRAIN);
    ck_assert_double_gt(frame_potential(&a) - least, 200.0);
    done(&a);
    a = draw("synthetic:d=32,features=32,atoms=orthogonal", SAE_SPLIT_TRAIN);
    for (int64_t i = 0; i < 32; i++)
        for (int64_t k = 0; k < i; k++) {
            double dot = 0.0; /* of rows rounded once: the terms' absolute values sum to <= 1 */
            for (int64_t j = 0; j < 32; j++)
                dot += (double)a.t.dict[i * 32 + j] * (double)a.t.dict[k * 32 + j];
            ck_assert_double_le(fabs(dot), 2 * U * 1.001);
        }
    done(&a);
}
END_TEST

/* a = V^T diag(w) V and a = L L^T, for a Gram matrix of size about n with eigenvalues up to 4 n. */
START_TEST(factorizations)
{
    enum { N = 24 };
    double a[N * N] = {0}, w[N * N], v[N * N], L[N * N];
    for (int i = 0; i < N * N; i++)
        for (int k = 0; k < N; k++)
            a[i] += sae_normal(1, 1024, (uint64_t)(i / N), (uint32_t)k) *
                    sae_normal(1, 1024, (uint64_t)(i % N), (uint32_t)k);
    memcpy(w, a, sizeof a);
    memcpy(L, a, sizeof a);
    truth_eigen(w, v, N);
    ck_assert(truth_cholesky(L, N));
    double bound = 100.0 * N * 4 * N * DBL_EPSILON; /* a hundred roundings of size |a| per entry */
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double of_eigen = 0.0, of_factor = 0.0, unit = 0.0;
            for (int k = 0; k < N; k++) {
                of_eigen += w[k * N + k] * v[k * N + i] * v[k * N + j];
                unit += v[i * N + k] * v[j * N + k];
                of_factor += k <= i && k <= j ? L[i * N + k] * L[j * N + k] : 0.0;
            }
            ck_assert_double_le(fabs(of_eigen - a[i * N + j]), bound);
            ck_assert_double_le(fabs(of_factor - a[i * N + j]), bound);
            ck_assert_double_le(fabs(unit - (i == j)), bound);
        }
    a[0] = -1.0;
    ck_assert(!truth_cholesky(a, N));
    ck_assert_double_le(fabs(truth_normal_above(0.4) - 0.25334710313579972), 1e-12);
    ck_assert_double_le(fabs(truth_normal_above(0.999) + 3.0902323061678132), 1e-11);
    ck_assert(isinf(truth_normal_above(0.0)) && truth_normal_above(1.0) < 0.0);
}
END_TEST

/* ---- tree ------------------------------------------------------------------------------------ */

/* Activity of the features of a row. */
static void activity(const sample *a, int64_t r, int on[], int64_t n)
{
    memset(on, 0, (size_t)n * sizeof *on);
    for (int64_t e = a->t.code->rowptr[r]; e < a->t.code->rowptr[r + 1]; e++)
        on[a->t.code->idx[e]] = 1;
}

/* Three parents (0.15) with three exclusive children (0.2 each) and eight leaves (0.05). The mean
 * is 3 * 0.15 * 1.6 + 8 * 0.05 = 1.12; a family has 0, 1 or 2 active features with probability
 * 0.85, 0.06 and 0.09, variance 0.3624, a leaf 0.0475. */
START_TEST(published_tree)
{
    sample a = draw("tree", SAE_SPLIT_TRAIN);
    double count[20] = {0}, length[20] = {0}, sum = 0.0;
    int on[20];
    ck_assert_int_eq(a.n, 20);
    ck_assert_int_eq(a.d, 20);
    for (int64_t r = 0; r < ROWS; r++) {
        activity(&a, r, on, 20);
        for (int i = 0; i < 20; i++)
            count[i] += on[i];
        for (int i = 0; i < 12; i += 4) {
            ck_assert_int_le(on[i + 1] + on[i + 2] + on[i + 3], on[i]);
        }
    }
    for (int i = 0; i < 20; i++)
        assert_share(count[i], i >= 12 ? 0.05 : i % 4 == 0 ? 0.15 : 0.03, "feature");
    assert_mean((double)a.t.code->nnz, ROWS, 1.12, sqrt(3 * 0.3624 + 8 * 0.0475), "l0");
    for (int64_t e = 0; e < a.t.code->nnz; e++) { /* codes are the norms of the atoms */
        double *at = &length[a.t.code->idx[e]], v = (double)a.t.code->val[e];
        ck_assert(*at == 0.0 || *at == v);
        *at = v;
    }
    for (int i = 0; i < 20; i++)
        sum += length[i];
    assert_mean(sum, 20, 1.0, 0.05, "norm");
    done(&a);
}
END_TEST

START_TEST(hedging_trees)
{
    static const double p[2][4] = {{0.25, 0.15, 0.15, 0.15}, {0.25, 0.02, 0.15, 0.5}};
    sample a = draw(_i ? "tree:setting=unbalanced" : "tree:setting=hedging", SAE_SPLIT_EVAL);
    double count[4] = {0}, both = 0.0;
    int on[4];
    for (int64_t r = 0; r < ROWS; r++) {
        activity(&a, r, on, 4);
        for (int i = 0; i < 4; i++) {
            count[i] += on[i];
            ck_assert_int_le(on[i], on[0]);
        }
        both += on[2] && on[3];
    }
    for (int i = 0; i < 4; i++)
        assert_share(count[i], p[_i][i] * (i ? 0.25 : 1.0), "feature");
    assert_share(both, 0.25 * p[_i][2] * p[_i][3], "two children");
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        ck_assert(a.t.code->val[e] == 1);
    done(&a);
}
END_TEST

/* |N(1, 0.5^2)|: mean 1.00849070, mean square 1.25. */
START_TEST(tree_magnitudes)
{
    sample a = draw("tree:setting=hedging,magnitude_sd=0.5", SAE_SPLIT_TRAIN);
    double sum = 0.0, mean = 1.0084907026168297;
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        sum += (double)a.t.code->val[e];
    assert_mean(sum, (double)a.t.code->nnz, mean, sqrt(1.25 - mean * mean), "magnitude");
    done(&a);
}
END_TEST

/* ---- clusters -------------------------------------------------------------------------------- */

static const struct {
    const char *spec;
    int64_t d, clusters, dims[6];
    double variance;
} worlds[] = {
    {"clusters", 2, 6, {2, 2, 2, 2, 2, 2}, 0.02209708691207961},
    {"clusters:setting=heterogeneity", 128, 5, {6, 14, 30, 62, 126}, 0.02},
};

/* Rows of a cluster lie around its centre: the squared distance, split into coordinates inside the
 * cluster's extent and outside, has means dims * v and variances 2 dims v^2. */
START_TEST(clusters)
{
    sample a = draw(worlds[_i].spec, SAE_SPLIT_TRAIN);
    const int64_t d = worlds[_i].d, k = worlds[_i].clusters;
    sae_err err = {0};
    const sae_label *table;
    int64_t many;
    int32_t *label = malloc(ROWS * sizeof *label);
    double count[6] = {0}, in[6] = {0}, out[6] = {0};
    ck_assert_ok(a.ds->fill(a.s, SAE_SPLIT_TRAIN, 100, ROWS, &(sae_fill){.label = label}, &err),
                 err);
    ck_assert_int_eq(a.ds->labels(a.s, &table, &many), SAE_OK);
    ck_assert(many == 1 && table->classes == k && a.n == k && a.d == d);
    for (int64_t r = 0; r < ROWS; r++) {
        int32_t c = a.t.code->idx[r];
        ck_assert(a.t.code->rowptr[r] == r && label[r] == c);
        count[c]++;
        for (int64_t j = 0; j < d; j++) {
            double centre = (double)a.t.code->val[r] * (double)a.t.dict[c * d + j];
            double sq = pow((double)a.x[r * d + j] - centre, 2);
            *(j < worlds[_i].dims[c] ? &in[c] : &out[c]) += sq;
        }
    }
    for (int64_t c = 0; c < k; c++) {
        double dims = (double)worlds[_i].dims[c], rest = (double)d - dims;
        double v = worlds[_i].variance / (_i ? dims : 1.0) + 1e-6;
        assert_share(count[c], 1.0 / (double)k, "cluster");
        assert_mean(in[c], count[c], dims * v, sqrt(2 * dims) * v, "inside");
        assert_mean(out[c], count[c], rest * 1e-6, sqrt(2 * rest) * 1e-6 + 1e-12, "outside");
    }
    free(label);
    done(&a);
}
END_TEST

/* Six centres at radius 1.5 and 0.5 in turn, 60 degrees apart. */
START_TEST(plane_of_clusters)
{
    sample a = draw("clusters", SAE_SPLIT_TRAIN);
    for (int64_t e = 0; e < a.t.code->nnz; e++)
        ck_assert(fabs((double)a.t.code->val[e] - (a.t.code->idx[e] % 2 ? 0.5 : 1.5)) < 1e-6);
    for (int64_t i = 0; i < 6; i++) {
        const sae_real *x = a.t.dict + 2 * i, *y = a.t.dict + 2 * ((i + 1) % 6);
        ck_assert(fabs((double)(x[0] * y[0] + x[1] * y[1]) - 0.5) < 1e-6);
    }
    done(&a);
}
END_TEST

Suite *suite_truths(void)
{
    Suite *s = suite_create("truths");
    TCase *tc = tcase_create("truths");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rows_are_codes, 0, 2 * EXACT);
    tcase_add_loop_test(tc, children_have_their_parents, 0, EXACT);
    tcase_add_test(tc, every_option_counts);
    tcase_add_test(tc, atoms_are_spread);
    tcase_add_test(tc, factorizations);
    tcase_add_test(tc, published_tree);
    tcase_add_loop_test(tc, hedging_trees, 0, 2);
    tcase_add_test(tc, tree_magnitudes);
    tcase_add_loop_test(tc, clusters, 0, 2);
    tcase_add_test(tc, plane_of_clusters);
    suite_add_tcase(s, tc);
    return s;
}
