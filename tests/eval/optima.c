/* tests/eval/optima.c - what the pages of the families say of known inputs: the best and the worst,
 * scales, signs. */
#include "eval/bench.h"

#include <sae/lda.h>

static world w;

START_TEST(perfect_reconstruction)
{
    static results o;
    world_fill(&w, 3);
    memcpy(w.xhat, w.x, sizeof w.x);
    memset(w.x, 0, D * sizeof w.x[0]); /* a zero row, reproduced */
    memset(w.xhat, 0, D * sizeof w.x[0]);
    measure(&w, "reconstruction", 7, 0, &o);
    static const char *const zero[] = {"mse", "mse_per_element", "nmse", "nmse_pooled", "fvu",
                                       "abs_error", "rel_error", "abs_error_p99",
                                       "rel_error_p99"};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
        ck_assert_msg(value_of(&o, zero[i]) == 0, "%s", zero[i]);
    ck_assert(value_of(&o, "explained_variance") == 1);
    ck_assert(value_of(&o, "l2_ratio") == 1);
    ck_assert(value_of(&o, "l2_ratio_of_means") == 1);
    ck_assert(value_of(&o, "relative_bias") == 1);
    /* xx / (sqrt(xx) sqrt(xx)): three roundings a row, then a mean of ROWS of them */
    ck_assert_double_eq_tol(value_of(&o, "cosine"), 1, (3 + ROWS) * 0x1p-53);
    ck_assert_int_eq(o.row[find_row(&o, "rel_error")].count, ROWS - 1);
    ck_assert_int_eq(o.row[find_row(&o, "mse")].count, ROWS);
}
END_TEST

START_TEST(predicting_the_mean_explains_nothing)
{
    static results o;
    world_fill(&w, 4);
    double mean[D] = {0};
    for (int64_t r = 0; r < ROWS; r++)
        for (int i = 0; i < D; i++)
            mean[i] += (double)w.x[r * D + i] / ROWS;
    for (int64_t r = 0; r < ROWS; r++)
        for (int i = 0; i < D; i++)
            w.xhat[r * D + i] = (sae_real)mean[i];
    measure(&w, "reconstruction", ROWS, 0, &o);
    /* Rounding the mean to float adds ROWS (2^-24 |mean|)^2, a share below 2^-45; the sums round at
     * 6e-12 as in laws.c. */
    ck_assert_double_eq_tol(value_of(&o, "fvu"), 1, 6e-12);
    ck_assert_double_eq_tol(value_of(&o, "explained_variance"), 0, 6e-12);
}
END_TEST

START_TEST(zero_denominators)
{
    static results o;
    world_fill(&w, 5);
    for (int64_t i = 0; i < ROWS * D; i++)
        w.x[i] = w.xhat[i] = (sae_real)0.1; /* constant rows */
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(value_of(&o, "fvu") == 0);
    w.xhat[0] += 1;
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "fvu")) && isnan(value_of(&o, "explained_variance")));
    ck_assert(value_of(&o, "mse") > 0);
    memset(w.x, 0, sizeof w.x); /* only zero rows */
    measure(&w, "reconstruction", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "nmse")) && isnan(value_of(&o, "l2_ratio")));
    ck_assert(value_of(&o, "cosine") == 0);
    memcpy(w.loss[2], w.loss[0], sizeof w.loss[0]); /* an ablation without effect */
    measure(&w, "downstream", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "loss_recovered_zero")));
    ck_assert(!isnan(value_of(&o, "loss_recovered_mean")));
    memset(w.z, 0, sizeof w.z); /* a silent SAE */
    measure(&w, "recovery", ROWS, 0, &o);
    ck_assert(isnan(value_of(&o, "support_precision")));
    ck_assert(value_of(&o, "support_recall") == 0 && value_of(&o, "support_f1") == 0);
    measure(&w, "sparsity", ROWS, 0, &o);
    ck_assert(value_of(&o, "dead_share") == 1 && value_of(&o, "l0") == 0);
}
END_TEST

/* A code so small that rounding all of it away costs less than the share takes no bits. */
START_TEST(codes_that_weigh_nothing)
{
    static results o;
    world_fill(&w, 5);
    for (int64_t i = 0; i < ROWS * N; i++)
        w.z[i] *= (sae_real)0x1p-10;
    measure(&w, "mdl", ROWS, 0, &o);
    ck_assert(value_of(&o, "bits") == 0 && value_of(&o, "active") == 0);
    ck_assert(value_of(&o, "added_fvu") < 0.01 && value_of(&o, "added_fvu") > 0);
}
END_TEST

/* Four times the activations: exact, because 4 is a power of two. */
START_TEST(scale_laws)
{
    static const struct {
        const char *key;
        double factor;
    } law[] = {{"mse", 16}, {"mse_per_element", 16}, {"nmse", 1}, {"fvu", 1}, {"cosine", 1},
               {"l2_norm", 4}, {"l2_ratio", 1}, {"relative_bias", 1}, {"abs_error", 4},
               {"rel_error", 1}, {"abs_error_p99", 4}, {"rel_error_p99", 1}};
    static results a, b;
    world_fill(&w, 6);
    measure(&w, "reconstruction", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * D; i++) {
        w.x[i] *= 4;
        w.xhat[i] *= 4;
    }
    measure(&w, "reconstruction", ROWS, 0, &b);
    for (size_t i = 0; i < sizeof law / sizeof law[0]; i++) {
        ck_assert_msg(value_of(&b, law[i].key) == law[i].factor * value_of(&a, law[i].key), "%s",
                      law[i].key);
        ck_assert_msg(se_of(&b, law[i].key) == law[i].factor * se_of(&a, law[i].key), "se of %s",
                      law[i].key);
    }
    measure(&w, "sparsity", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * N; i++)
        w.z[i] *= 4;
    w.scale = 2;
    measure(&w, "sparsity", ROWS, 0, &b);
    ck_assert(value_of(&b, "l1") == 8 * value_of(&a, "l1"));
    ck_assert(value_of(&b, "l0") == value_of(&a, "l0"));
}
END_TEST

START_TEST(flipped_signs)
{
    static results a, b;
    world_fill(&w, 7);
    measure(&w, "sparsity", ROWS, 0, &a);
    for (int64_t i = 0; i < ROWS * N; i += 2)
        w.z[i] = -w.z[i];
    measure(&w, "sparsity", ROWS, 0, &b);
    static const char *const blind[] = {"l0", "l1", "dead_share", "density_max", "l0_p99"};
    for (size_t i = 0; i < sizeof blind / sizeof blind[0]; i++)
        ck_assert_msg(value_of(&a, blind[i]) == value_of(&b, blind[i]), "%s", blind[i]);
    ck_assert(value_of(&b, "l0_positive") < value_of(&a, "l0_positive"));
    ck_assert_int_eq(b.points, a.points + N); /* density_positive appears */
    w.caps = SAE_CAP_SIGNED;
    memcpy(w.w_dec, w.dict, sizeof w.dict);
    for (int i = 0; i < D; i++)
        w.w_dec[i] = -w.w_dec[i]; /* the first atom, with its sign turned */
    measure(&w, "recovery", ROWS, 0, &a);
    ck_assert(value_of(&a, "share_recovered") == 1);
    w.caps = 0;
    measure(&w, "recovery", ROWS, 0, &b);
    ck_assert(value_of(&b, "share_recovered") < 1);
}
END_TEST

START_TEST(perfect_recovery)
{
    static results o;
    world_fill(&w, 8);
    memcpy(w.w_dec, w.dict, sizeof w.dict);
    for (int i = ATOMS * D; i < N * D; i++)
        w.w_dec[i] = 0; /* unused features */
    memset(w.z, 0, sizeof w.z);
    for (int64_t r = 0; r < ROWS; r++)
        memcpy(&w.z[r * N], &w.truth[r * ATOMS], ATOMS * sizeof w.z[0]);
    measure(&w, "recovery", 7, 0, &o);
    /* float products and norms of width D: D + 2 roundings of 2^-24 */
    ck_assert_double_eq_tol(value_of(&o, "max_cosine"), 1, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "matched_cosine"), 1, (D + 2) * 0x1p-24);
    ck_assert(value_of(&o, "share_recovered") == 1);
    ck_assert_double_eq(value_of(&o, "share_recovered_reverse"), (double)ATOMS / N);
    ck_assert(value_of(&o, "support_precision") == 1 && value_of(&o, "support_recall") == 1);
    ck_assert(value_of(&o, "support_f1") == 1);
    ck_assert(value_of(&o, "splitting") == 1 && value_of(&o, "absorption") == 0);
    ck_assert_double_eq(value_of(&o, "latent_f1"), (double)ATOMS / N);
    /* a coefficient is off by the rounding of its atom's norm: D + 2 roundings of 2^-24 */
    ck_assert_double_eq_tol(value_of(&o, "coefficient_slope"), 1, (D + 2) * 0x1p-24);
    ck_assert_double_le(value_of(&o, "coefficient_error"), pow((D + 2) * 0x1p-24, 2));
    ck_assert_double_eq_tol(value_of(&o, "child_holds_parent"), 0, (D + 2) * 0x1p-24);
    ck_assert_double_eq_tol(value_of(&o, "parent_holds_child"), 0, (D + 2) * 0x1p-24);
}
END_TEST

/* Orthonormal atoms: the pursuit finds every code, whatever the encoder did. */
START_TEST(pursuit_of_orthonormal_atoms)
{
    static results o;
    world_fill(&w, 13);
    w.caps = SAE_CAP_SIGNED;
    memset(w.w_dec, 0, sizeof w.w_dec);
    memset(w.dict, 0, sizeof w.dict);
    memset(w.x, 0, sizeof w.x);
    for (int a = 0; a < D; a++) { /* the last atom is never there */
        w.dict[a * D + a] = 1;
        w.w_dec[(N - 1 - a) * D + a] = a % 2 ? -4 : 2;
    }
    for (int64_t r = 0; r < ROWS; r++) {
        w.truth[r * ATOMS + D] = 0;
        for (int a = 0; a < D; a++)
            w.x[r * D + a] = w.truth[r * ATOMS + a];
    }
    measure(&w, "recovery:oracle_rows=20", 7, 0, &o);
    ck_assert(value_of(&o, "oracle_f1") == 1 && value_of(&o, "support_f1") < 1);
    ck_assert_double_le(value_of(&o, "oracle_coefficient_error"), pow((D + 2) * 0x1p-24, 2));
    ck_assert_int_le(o.row[find_row(&o, "oracle_f1")].count, 20);
    ck_assert_int_ge(o.row[find_row(&o, "oracle_f1")].count, 15);
    measure(&w, "recovery:oracle_rows=0", 7, 0, &o);
    for (int i = 0; i < o.rows; i++)
        ck_assert(strncmp(o.row[i].key, "oracle", 6) != 0);
}
END_TEST

/* The same features in another order, signed ones also with their signs turned. */
START_TEST(consistent_pair)
{
    static results o;
    world_fill(&w, 12);
    w.caps = _i ? SAE_CAP_SIGNED : 0;
    for (int j = 0; j < N; j++) {
        sae_real turn = _i && j % 2 ? -1 : 1;
        for (int i = 0; i < D; i++)
            w.peer_w_dec[j * D + i] = turn * w.w_dec[(N - 1 - j) * D + i];
        for (int64_t r = 0; r < ROWS; r++)
            w.peer_z[r * N + j] = turn * w.z[r * N + N - 1 - j];
    }
    measure(&w, "consistency", 7, 0, &o);
    static const char *const one[] = {"matched_cosine", "matched_cosine_active", "dcs",
                                      "max_cosine", "max_cosine_reverse"};
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) /* roundings as in perfect_recovery */
        ck_assert_double_eq_tol(value_of(&o, one[i]), 1, (D + 2) * 0x1p-24);
    ck_assert(value_of(&o, "share_shared") == 1 && value_of(&o, "support_iou") == 1);
    ck_assert(value_of(&o, "code_error") == 0);
    ck_assert_int_eq(o.row[find_row(&o, "matched_cosine_active")].count, N - 1); /* 3 is dead */
    memset(w.z, 0, sizeof w.z);
    measure(&w, "consistency", 7, 0, &o);
    ck_assert(value_of(&o, "support_iou") == 0 && value_of(&o, "code_error") == 2);
    memset(w.peer_z, 0, sizeof w.peer_z); /* both silent */
    measure(&w, "consistency", 7, 0, &o);
    ck_assert(isnan(value_of(&o, "support_iou")) && isnan(value_of(&o, "code_error")));
    ck_assert(isnan(value_of(&o, "matched_cosine_active")) && value_of(&o, "share_shared") == 1);
}
END_TEST

/* One atom and its negative; rounding, which depends on the backend, may take cosines beyond 1. */
START_TEST(opposite_atoms)
{
    static results o;
    bench b;
    world_fill(&w, 12);
    for (int i = 0; i < D; i++)
        w.peer_w_dec[i] = -w.w_dec[i];
    bench_open(&b, &w, "consistency:oracle_rows=0");
    b.m.dim.n = b.peer_m.dim.n = b.m.t[1].rows = b.peer_m.t[1].rows = 1;
    bench_end(&b, bench_begin(&b), &o);
    bench_close(&b);
    ck_assert_double_eq_tol(value_of(&o, "matched_cosine"), -1, (D + 2) * 0x1p-24);
    ck_assert(value_of(&o, "dcs") == -value_of(&o, "matched_cosine"));
    ck_assert_int_eq(o.points, 40);
    for (int i = 0; i < o.points; i++)
        ck_assert(o.point[i].value == (o.point[i].index == 0));
    ck_assert_int_eq(sae_cosine_bin(-1.0000002, 40), 0);
    ck_assert_int_eq(sae_cosine_bin(1.0000002, 40), 39);
    ck_assert_int_eq(sae_cosine_bin(0.05, 40), 21);
}
END_TEST

/* What an atom of length 0 does is nothing. */
START_TEST(zero_atoms_do_not_fire)
{
    static const char *const keys[] = {"support_iou", "code_error", "matched_cosine_active"};
    static results a, b;
    world_fill(&w, 12);
    memset(w.w_dec, 0, D * sizeof w.w_dec[0]);
    memset(w.peer_w_dec, 0, D * sizeof w.peer_w_dec[0]);
    measure(&w, "consistency", 7, 0, &a);
    for (int64_t r = 0; r < ROWS; r++)
        w.z[r * N] = w.peer_z[r * N] = 0;
    measure(&w, "consistency", 7, 0, &b);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(value_of(&a, keys[i]) == value_of(&b, keys[i]), "%s", keys[i]);
}
END_TEST

/* Blocks that would overlap: 300 atoms, of which 260 are asked for. */
START_TEST(sampled_features_count_once)
{
    enum { MANY = 300 };
    static sae_real atoms[MANY * D];
    static results o;
    int seen[MANY] = {0};
    bench b;
    world_fill(&w, 13);
    bench_open(&b, &w, "dictionary:features=260");
    for (int i = 0; i < MANY * D; i++)
        atoms[i] = (sae_real)draw(13, 7000, (uint32_t)i);
    b.m.dim.n = b.m.dim.n_cap = b.m.t[1].rows = MANY;
    b.m.t[1].w = atoms;
    bench_end(&b, bench_begin(&b), &o);
    for (int i = 0; i < o.points; i++)
        if (!strcmp(o.point[i].key, "nearest"))
            ck_assert_int_eq(++seen[o.point[i].index], 1);
    ck_assert_int_ge(o.row[find_row(&o, "max_decoder_cosine")].count, 260);
    bench_close(&b);
}
END_TEST

/* A coordinate without spread gets no weight, though rounding leaves it some variance: as sums in
 * double have it, 2^-53 of 0.1^2 after these 51 rows. */
START_TEST(constant_coordinate)
{
    enum { SOME = 51, CLASSES = 3 };
    int32_t label[SOME];
    sae_lda l;
    bench b;
    world_fill(&w, 15);
    bench_open(&b, &w, "dictionary");
    for (int32_t r = 0; r < SOME; r++) {
        w.x[r * D + 2] = (sae_real)0.1;
        label[r] = r % CLASSES;
    }
    ck_assert_int_eq(sae_lda_open(&l, D, CLASSES, SAE_LDA_RIDGE), SAE_OK);
    ck_assert_int_eq(sae_lda_fit(&b.r, &l, w.x, label, SOME), SAE_OK);
    for (int c = 0; c < CLASSES; c++) {
        ck_assert(fabs(l.w[c * D]) > 1e-3 && !isnan(l.b[c]));
        ck_assert_double_le(fabs(l.w[c * D + 2]), 1e-12); /* rounding of means, at variance 1 */
    }
    sae_lda_close(&l);
    bench_close(&b);
}
END_TEST

START_TEST(perfect_probing)
{
    static const char *const keys[] = {"k1_auc", "k2_auc", "k16_auc", "k1_balanced_accuracy",
                                       "k1_accuracy", "k1_f1"};
    static results o;
    world_fill(&w, 9);
    memset(w.z, 0, sizeof w.z);
    for (int64_t r = 0; r < ROWS; r++) /* a latent per class */
        w.z[r * N + 2 + w.label[r * LABELS]] = w.z[r * N + 6 + w.label[r * LABELS + 1]] = 3;
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(value_of(&o, keys[i]) == 1 && se_of(&o, keys[i]) == 0, "%s", keys[i]);
    for (int64_t r = 0; r < ROWS; r++) /* the other pole: clipped, there is nothing */
        w.z[r * N + 2 + w.label[r * LABELS]] = w.z[r * N + 6 + w.label[r * LABELS + 1]] = -3;
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    ck_assert(value_of(&o, "k1_auc") == 1 && value_of(&o, "k1_auc_stock") == 0.5);
    memset(w.z, 0, sizeof w.z);
    measure(&w, "probing:min_rows=4", 7, 0, &o);
    ck_assert(value_of(&o, "k16_auc") == 0.5 && value_of(&o, "k16_balanced_accuracy") == 0.5);
    ck_assert(value_of(&o, "x_auc") > 0.5);
}
END_TEST

Suite *suite_optima(void)
{
    Suite *s = suite_create("optima");
    TCase *t = tcase_create("optima");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, perfect_reconstruction);
    tcase_add_test(t, predicting_the_mean_explains_nothing);
    tcase_add_test(t, zero_denominators);
    tcase_add_test(t, codes_that_weigh_nothing);
    tcase_add_test(t, scale_laws);
    tcase_add_test(t, flipped_signs);
    tcase_add_test(t, perfect_recovery);
    tcase_add_test(t, pursuit_of_orthonormal_atoms);
    tcase_add_loop_test(t, consistent_pair, 0, 2);
    tcase_add_test(t, opposite_atoms);
    tcase_add_test(t, zero_atoms_do_not_fire);
    tcase_add_test(t, sampled_features_count_once);
    tcase_add_test(t, constant_coordinate);
    tcase_add_test(t, perfect_probing);
    suite_add_tcase(s, t);
    return s;
}
