/* tests/prop/runs.c - codes cut into runs of rows (sae/stock_run.h) lose and repeat nothing. */
#include "core/model.h"
#include "core/registry.h"
#include "support/support.h"

#include <sae/stock_run.h>

enum { ROWS = 1500, FEATURES = 7, CAP = 8 };

/* Row r lists r % 8 of the 7 features, so that rows are empty and full; chunks of STOCK_CHUNK row
 * pointers begin inside a run. */
static void fill(sae_code *z)
{
    z->nnz = z->rowptr[0] = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        for (int32_t j = 0; j < r % 8; j++, z->nnz++) {
            z->idx[z->nnz] = j;
            z->val[z->nnz] = (sae_real)(r * 8 + j);
        }
        z->rowptr[r + 1] = z->nnz;
    }
}

START_TEST(runs_of_rows)
{
    static int64_t rowptr[ROWS + 1], own[ROWS + 1];
    static int32_t idx[ROWS * FEATURES];
    static sae_real val[ROWS * FEATURES];
    sae_err err = {0};
    sae_engine e;
    sae_registry *reg = NULL;
    sae_code z = {.B = ROWS, .n = FEATURES, .rowptr = rowptr, .idx = idx, .val = val};
    stock_run run = {.cap = _i ? CAP : ROWS * FEATURES, .rowptr = own};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_engine_open(&e, sae_find_backend(reg, "ref"), 0, 1, &err), err);
    sae_ctx c = {.size = sizeof c, .be = e.be, .dev = e.dev, .err = &err};
    fill(&z);
    int64_t runs = 0;
    for (int64_t r = 0; r < z.B; r += run.part.B, runs++) {
        ck_assert_ok(stock_run_at(&c, &z, r, &run), err);
        ck_assert_int_eq(run.row0, r);
        ck_assert_int_ge(run.part.B, 1);
        ck_assert_int_le(run.part.nnz, run.cap);
        ck_assert_int_eq(run.part.rowptr[0], 0);
        ck_assert_int_eq(run.part.rowptr[run.part.B], run.part.nnz);
        ck_assert_ptr_eq(run.part.val, val + rowptr[r]);
        for (int64_t i = 0; i < run.part.B; i++)
            ck_assert_int_eq(run.part.rowptr[i + 1] - run.part.rowptr[i], (r + i) % 8);
        if (r + run.part.B < z.B) /* the next row would not have fitted */
            ck_assert_int_gt(rowptr[r + run.part.B + 1] - rowptr[r], run.cap);
    }
    ck_assert(_i ? runs > 2 : runs == 1);
    sae_engine_close(&e);
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_runs(void);
Suite *suite_runs(void)
{
    Suite *s = suite_create("runs of rows");
    TCase *t = tcase_create("runs");
    tcase_add_loop_test(t, runs_of_rows, 0, 2);
    suite_add_tcase(s, t);
    return s;
}
