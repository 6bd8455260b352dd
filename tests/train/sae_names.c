/* tests/train/sae_names.c - bare weights under the names of other libraries. */
#include "train/rig.h"

#include "core/safetensors.h"
#include "train/sae_file.h"

/* dictionary_learning (layers of PyTorch, one threshold) and sparsify have names of their own. */
START_TEST(other_names_mean_the_same)
{
    static const float by_row[] = {0, 1, 2, 3, 4, 5, 6}, by_column[] = {1, 3, 5, 2, 4, 6};
    static const int64_t shape[] = {3, 2, 3};
    static const char *const name[][4] = {
        {"W_enc", "W_dec", "b_enc", "b_dec"},
        {"encoder.weight", "decoder.weight", "encoder.bias", "bias"},
        {"encoder.weight", "W_dec", "encoder.bias", "b_dec"}};
    char path[512];
    snprintf(path, sizeof path, "%s/named.safetensors", test_dir());
    for (int i = 0; i < 3; i++) {
        rig r;
        sae_loaded s;
        sae_err err = {0};
        sae_st_writer *w;
        ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
        for (int j = 0; j < 5; j++) /* [3 x 2], its transpose for decoder.weight, [3], [2], [] */
            ck_assert_ok(sae_st_writer_add(w, j < 4 ? name[i][j] : "threshold", SAE_ST_F32,
                                           j < 2 ? 2 : j < 4, shape + (j == 3 || i * j == 1), &err),
                         err);
        ck_assert_ok(sae_st_writer_begin(w, &err), err);
        for (int j = 0; j < 5; j++)
            ck_assert_ok(sae_st_writer_data(w, i * j == 1 ? by_column : by_row + j,
                                            sizeof(float) * (size_t[]){6, 6, 3, 2, 1}[j], &err),
                         err);
        ck_assert_ok(sae_st_writer_commit(&w, &err), err);
        rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, 64);
        ck_assert_ok(sae_file_import(&s, path, "batchtopk:k=2", r.reg, &r.e, &err), err);
        for (int j = 0; j < 4; j++)
            ck_assert_int_eq(memcmp(sae_model_tensor(&s.model, name[0][j])->w, by_row + j,
                                    sizeof(float) * (size_t[]){6, 6, 3, 2}[j]), 0);
        ck_assert_double_eq(*(const double *)sae_model_tensor(&s.model, "theta")->w, 4);
        sae_loaded_close(&s, &r.e);
        rig_close(&r);
    }
}
END_TEST

Suite *suite_sae_names(void)
{
    Suite *s = suite_create("sae_names");
    TCase *t = tcase_create("sae_names");
    tcase_add_test(t, other_names_mean_the_same);
    suite_add_tcase(s, t);
    return s;
}
