/* tests/prop/log.c - messages, progress, the interrupt flag, embedded files. */
#include "core/assets.h"
#include "core/log.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char seen[200];

static void keep(void *arg, enum sae_level level, const char *component, const char *message)
{
    snprintf(seen, sizeof seen, "%s%d %s: %s", (const char *)arg, (int)level, component, message);
}

START_TEST(messages)
{
    sae_log(SAE_LOG_ERROR, "x", "nobody listens");
    sae_log_to(keep, ">", SAE_LOG_WARN);
    sae_log(SAE_LOG_INFO, "x", "too quiet");
    ck_assert_str_eq(seen, "");
    sae_log(SAE_LOG_WARN, "train", "step %d", 3);
    ck_assert_str_eq(seen, ">1 train: step 3");
}
END_TEST

/* What a progress of `total` units that began at `first` writes to a pipe after `age` seconds. */
static ssize_t drawn(char *out, size_t room, double age, double first, double done, double total)
{
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    sae_progress_to(fd[1]);
    sae_progress p;
    sae_progress_open(&p, "train", "tokens", total);
    sae_progress_at(&p, first);
    p.t0 -= age;
    p.last -= age;
    snprintf(p.note, sizeof p.note, "loss 0.5");
    for (int i = 0; i < 1000; i++) /* a burst is drawn once */
        sae_progress_at(&p, done);
    close(fd[1]);
    sae_progress_to(-1);
    ssize_t n = read(fd[0], out, room - 1);
    ck_assert_int_ge(n, 0);
    out[n] = '\0';
    close(fd[0]);
    return n;
}

START_TEST(progress)
{
    char text[2000];
    ck_assert_int_eq(drawn(text, sizeof text, 1.5, 0, 500, 1000), 0);
    ck_assert_int_eq(drawn(text, sizeof text, 10, 0, 100, 1000), 0); /* below a quarter */
    ck_assert_int_gt(drawn(text, sizeof text, 10, 0, 5e6, 1e7), 0);
    ck_assert_str_eq(text, "train  50% 5.00M/10.0M tokens, 500k/s, 10s left, loss 0.5\n");
    ck_assert_int_gt(drawn(text, sizeof text, 7200, 0, 900, 1000), 0);
    ck_assert_ptr_nonnull(strstr(text, "900/1.00k"));
    ck_assert_ptr_nonnull(strstr(text, "13m20s left"));
    ck_assert_int_gt(drawn(text, sizeof text, 10, 500, 700, 1000), 0); /* resumed at 500 */
    ck_assert_ptr_nonnull(strstr(text, "20/s, 15s left"));
    ck_assert_int_eq(drawn(text, sizeof text, 10, 0, 5, 0),
                     0); /* an unknown total has no quarters */
    sae_progress p;
    sae_progress_open(&p, "never", "x", 1); /* drawn nowhere by default */
    ck_assert(!p.active);
    sae_progress_at(&p, 1);
    sae_progress_close(&p);
}
END_TEST

/* The last line has what is true at the end; before, a caller's own estimate stands. */
START_TEST(progress_that_changes)
{
    int fd[2];
    char text[2000];
    ck_assert_int_eq(pipe(fd), 0);
    sae_progress_to(fd[1]);
    sae_progress p;
    sae_progress_open(&p, "train", "rows", 100);
    sae_progress_at(&p, 0);
    p.t0 -= 10;
    p.last -= 10;
    p.left = 7;
    sae_progress_at(&p, 50);
    p.total = 200; /* more than was known */
    p.last -= 10;
    sae_progress_at(&p, 60); /* not the third quarter */
    snprintf(p.note, sizeof p.note, "loss 0.25");
    sae_progress_at(&p, 200); /* too soon for a line */
    sae_progress_close(&p);
    sae_progress_to(-1);
    close(fd[1]);
    ssize_t n = read(fd[0], text, sizeof text - 1);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    close(fd[0]);
    ck_assert_str_eq(text, "train  50% 50/100 rows, 5/s, 7s left\n"
                           "train 100% 200/200 rows, 20/s, 10s in all, loss 0.25\n");
}
END_TEST

START_TEST(interrupt)
{
    ck_assert(!sae_interrupted());
    sae_interrupt();
    ck_assert(sae_interrupted());
    double t = sae_clock();
    ck_assert(sae_clock() >= t);
}
END_TEST

START_TEST(assets)
{
    ck_assert_ptr_null(sae_asset_find("no/such/file"));
    for (const sae_asset *a = sae_assets; a->name; a++) {
        ck_assert_ptr_eq(sae_asset_find(a->name), a);
        char bytes[4096];
        FILE *f = fopen(a->name, "rb"); /* tests run at the root of the source tree */
        if (!f)
            continue;
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        ck_assert_uint_ge((size_t)(a->end - a->data), n);
        ck_assert_mem_eq(bytes, a->data, n);
    }
}
END_TEST

Suite *suite_log(void)
{
    Suite *s = suite_create("log");
    TCase *c = tcase_create("log");
    tcase_add_test(c, messages);
    tcase_add_test(c, progress);
    tcase_add_test(c, progress_that_changes);
    tcase_add_test(c, interrupt);
    tcase_add_test(c, assets);
    suite_add_tcase(s, c);
    return s;
}
