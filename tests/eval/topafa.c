/* tests/eval/topafa.c - the medians of epsilon_LBO that the top-AFA paper shows for GPT-2 small,
 * from the norms its authors published. */
#include "eval/bench.h"

enum { LAYERS = 12, TEXTS = 1000, ATOMS_OF_RES_JB = 24576 };

/* Per layer: epsilon_LBO and |f| / |x|, medians of the published table (SOURCE.md and section 2.2
 * of the specification; the ratio has four digits). */
static const struct {
    double epsilon, ratio;
} published[LAYERS] = {{2.391569e-06, 0.9718}, {2.440842e-06, 0.9775}, {6.065944e-06, 0.9329},
                       {9.780479e-06, 0.8979}, {1.363439e-05, 0.8655}, {1.685789e-05, 0.8409},
                       {2.045746e-05, 0.8158}, {2.270890e-05, 0.8011}, {2.486693e-05, 0.7878},
                       {2.469713e-05, 0.7889}, {2.150460e-05, 0.8089}, {1.166351e-05, 0.8836}};

static double norm_x[LAYERS][TEXTS], norm_f[LAYERS][TEXTS];

static int read_norms(const char *path)
{
    char line[256];
    int count[LAYERS] = {0};
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    while (fgets(line, sizeof line, f)) {
        int layer;
        double x, y;
        ck_assert_int_eq(sscanf(line, "%d,%*f,%*f,%lf,%lf", &layer, &x, &y), 3);
        ck_assert(layer >= 1 && layer <= LAYERS && count[layer - 1] < TEXTS);
        norm_x[layer - 1][count[layer - 1]] = x;
        norm_f[layer - 1][count[layer - 1]++] = y;
    }
    fclose(f);
    for (int l = 0; l < LAYERS; l++)
        ck_assert_int_eq(count[l], TEXTS);
    return LAYERS;
}

/* Rows of the published lengths: x = (|x|, 0 ..), a code of one feature of unit norm with |f|. The
 * published |f| has the bias in it already. */
static void measure_layer(world *w, sae_real *w_dec, int layer, results *out)
{
    static sae_real x[TEXTS * D], z[TEXTS];
    static int64_t rowptr[TEXTS + 1];
    static int32_t idx[TEXTS];
    static sae_token tok[TEXTS];
    bench b;
    bench_open(&b, w, "quasi_orthogonality:bias=0,points=16");
    b.m.dim.n = b.m.dim.n_cap = ATOMS_OF_RES_JB;
    b.m.t[1].rows = ATOMS_OF_RES_JB;
    b.m.t[1].w = w_dec;
    void *state = bench_begin(&b);
    for (int i = 0; i < TEXTS; i++) {
        x[i * D] = (sae_real)norm_x[layer][i];
        z[i] = (sae_real)norm_f[layer][i];
        rowptr[i + 1] = i + 1;
        tok[i] = (sae_token){(uint64_t)i, 0, 0};
    }
    sae_code code = {.B = TEXTS, .n = ATOMS_OF_RES_JB, .nnz = TEXTS, .cap = TEXTS,
                     .rowptr = rowptr, .idx = idx, .val = z};
    sae_eval e = {.B = TEXTS, .d = D, .x = x, .code = &code, .tok = tok};
    ck_assert_ok(b.spec.metric->batch(&b.r, state, &e), b.err);
    bench_end(&b, state, out);
    bench_close(&b);
}

/* Norms rounded to float leave | |x|^2 - |f|^2 | off by at most 2 u (|x|^2 + |f|^2), u = 2^-24, so
 * with c = (h - 1) epsilon the median by a share of 2 u (2 + c) / c; the published figure has seven
 * digits, of norms that were printed with eight: four times that share covers both. */
START_TEST(published_medians)
{
    static world w;
    static results o;
    const char *path = test_data("topafa-gpt2/gpt2_small_res_jb_norms.csv");
    if (!path)
        return;
    world_fill(&w, 1);
    sae_real *w_dec = sae_alloc((size_t)ATOMS_OF_RES_JB * D * sizeof *w_dec);
    ck_assert_ptr_nonnull(w_dec);
    w_dec[0] = 1;
    for (int l = 0; l < read_norms(path); l++) {
        measure_layer(&w, w_dec, l, &o);
        double got = value_of(&o, "epsilon_lbo"), want = published[l].epsilon;
        double c = (ATOMS_OF_RES_JB - 1) * want;
        ck_assert_msg(fabs(got - want) <= 4 * 2 * 0x1p-24 * (2 + c) / c * want + 5e-7 * want,
                      "layer %d: %.9g, published %.9g", l + 1, got, want);
        ck_assert_double_eq_tol(value_of(&o, "norm_ratio"), published[l].ratio, 5.1e-5);
        ck_assert_int_eq(o.row[find_row(&o, "epsilon_lbo")].count, TEXTS);
        if (getenv("SAEMARK_VERBOSE"))
            printf("%d %.6e %.6e\n", l + 1, got, want);
    }
    sae_free(w_dec);
}
END_TEST

Suite *suite_topafa(void)
{
    Suite *s = suite_create("topafa");
    TCase *t = tcase_create("topafa");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, published_medians);
    suite_add_tcase(s, t);
    return s;
}
