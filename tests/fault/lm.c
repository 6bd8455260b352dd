/* tests/fault/lm.c - language models whatever allocation fails: opening a checkpoint of several
 * files, a pass with gradients, writing the weights. */
#include "core/list.h"
#include "core/memory.h"
#include "core/model.h"
#include "models/lm_file.h"
#include "models/lm_model.h"
#include "support/support.h"

#include <string.h>

static sae_engine e;

static int scenario(const char *out, sae_err *err)
{
    static const int64_t start[3] = {0, 5, 12};
    static const int32_t tok[12] = {1, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11, 12};
    const sae_contexts c = {2, start, tok};
    float grad[12 * 64];
    sae_lm *lm;
    sae_lm_pass *pass = NULL;
    int rc = sae_lm_open(&lm, "tests/golden/data/lm/qwen3", "", &e.k, e.dev, err);
    if (rc < 0) {
        ck_assert_ptr_null(lm);
        return rc;
    }
    const sae_lm_model *m = lm->self;
    rc = lm->begin(lm->self, "mlp_act.0", &c, &pass, err);
    ck_assert_int_eq(pass != NULL, rc >= 0);
    if (rc >= 0)
        rc = lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, err);
    lm->end(&pass);
    if (rc >= 0)
        rc = sae_lm_weights_save(&m->w, &m->cfg, out, SAE_ST_BF16, err);
    sae_lm_close(&lm);
    return rc;
}

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_engine_open(&e, sae_list_backends[0], 0, 1, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&e);
}

/* Repeat with the i-th fault until none happens: a clean status, nothing leaked, no half file. */
static void each_fault(void (*arm)(uint64_t i), int code, uint64_t least)
{
    sae_err err = {0};
    char *out = sae_path_join(test_dir(), "model.safetensors");
    size_t live = sae_alloc_live();
    int rc = code;
    uint64_t i = 0;
    while (rc < 0 && i < 500) {
        err = (sae_err){0};
        arm(++i);
        rc = scenario(out, &err);
        arm(0);
        ck_assert_msg(rc >= 0 || (rc == code && err.msg[0]), "fault %d: status %d: %s", (int)i, rc,
                      err.msg);
        ck_assert_uint_eq(sae_alloc_live(), live);
        ck_assert_int_eq(sae_file_exists(out), rc >= 0);
    }
    ck_assert_ok(rc, err);
    ck_assert_uint_gt(i, least);
    sae_free(out);
}

START_TEST(every_allocation)
{
    each_fault(sae_alloc_fail_at, SAE_ENOMEM, 40);
}
END_TEST

START_TEST(every_write)
{
    each_fault(sae_io_fail_at, SAE_EIO, 3);
}
END_TEST

Suite *suite_lm(void)
{
    Suite *s = suite_create("lm");
    TCase *tc = tcase_create("lm");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_allocation);
    tcase_add_test(tc, every_write);
    suite_add_tcase(s, tc);
    return s;
}
