/* tests/fault/report.c - reports whatever allocation or write fails: an error, no leak, no
 * half-written file. gnuplot is replaced by a program that does nothing. */
#include "report/report.h"

#include "core/file.h"
#include "core/memory.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const char metrics[] =
    "spec,variant,seed,dataset,hook,metric,value,se,count,unit,input_hash\n"
    "\"topk:k=4,n=8\",topk,0,x,,sparsity.l0,4,,1,features,h\n"
    "\"topk:k=4,n=8\",topk,0,x,,reconstruction.fvu,0.5,,1,1,h\n";
static const char loss[] = "spec,variant,seed,step,tokens,lr,grad_norm,total,loss,value\n"
                           "\"topk:k=4,n=8\",topk,0,1,1,1,1,0.5,mse,0.5\n";

static void save(const char *dir, const char *name, const char *text)
{
    char path[600];
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
}

static void no_temporary_files(const char *dir)
{
    char **names;
    sae_err err = {0};
    if (!sae_file_exists(dir))
        return;
    ck_assert_ok(sae_dir_list(dir, &names, &err), err);
    for (int i = 0; names[i]; i++)
        ck_assert_msg(!strstr(names[i], ".tmp."), "%s/%s is left", dir, names[i]);
    sae_names_free(&names);
}

static void each_fault(void (*fail_at)(uint64_t))
{
    char dir[512], data[600];
    sae_report_options o = {.gnuplot = "true"};
    sae_err err = {0};
    snprintf(dir, sizeof dir, "%s/run", test_dir());
    snprintf(data, sizeof data, "%s/plots/data", dir);
    ck_assert_ok(sae_dir_make(dir, &err), err);
    save(dir, "metrics.csv", metrics);
    save(dir, "loss.csv", loss);
    save(dir, "run.json", "{\"title\": \"t\"}");
    size_t live = sae_alloc_live();
    uint64_t calls = sae_alloc_calls(), failures = 0; /* more than there are writes */
    ck_assert_ok(sae_report_write(dir, &o, &err), err);
    calls = sae_alloc_calls() - calls;
    for (uint64_t i = 1; i <= calls; i++) { /* libcsv gets over some failed allocations */
        err = (sae_err){0};
        fail_at(i);
        int rc = sae_report_write(dir, &o, &err);
        fail_at(0);
        failures += rc < 0;
        ck_assert_msg(rc >= 0 || err.msg[0], "fault %llu: no message", (unsigned long long)i);
        ck_assert_msg(sae_alloc_live() == live, "fault %llu: %s: memory is lost",
                      (unsigned long long)i, err.msg);
        no_temporary_files(dir);
        no_temporary_files(data);
    }
    ck_assert_uint_gt(failures, 8);
}

START_TEST(allocations)
{
    each_fault(sae_alloc_fail_at);
}
END_TEST

START_TEST(writes)
{
    each_fault(sae_io_fail_at);
}
END_TEST

Suite *suite_report(void);
Suite *suite_report(void)
{
    Suite *s = suite_create("report");
    TCase *c = tcase_create("report");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, allocations);
    tcase_add_test(c, writes);
    suite_add_tcase(s, c);
    return s;
}
