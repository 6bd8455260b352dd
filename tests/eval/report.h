/* tests/eval/report.h - hand-written runs, and what their pages must be like. */
#ifndef SAE_TESTS_EVAL_REPORT_H
#define SAE_TESTS_EVAL_REPORT_H

#include "report/report.h"

#include "core/csv_table.h"
#include "core/log.h"
#include "support/support.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS "spec,variant,seed,dataset,hook,metric,value,se,count,unit,input_hash"
#define LOSS "spec,variant,seed,step,tokens,lr,grad_norm,total,loss,value"
#define FEATURES "spec,variant,seed,metric,series,index,value"
#define SAES "spec,label,id,variant,seed,d,n,parameters,steps,tokens,lr"

static char dir[300];

static inline const char *file(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static inline void begin_run(void)
{
    sae_err err = {0};
    snprintf(dir, sizeof dir, "%s/run", test_dir());
    ck_assert_ok(sae_dir_remove(dir, &err), err);
    ck_assert_ok(sae_dir_make(dir, &err), err);
}

static inline sae_csv *table(const char *name, const char *header)
{
    sae_csv *c;
    sae_err err = {0};
    ck_assert_ok(sae_csv_open(&c, file(name), header, &err), err);
    return c;
}

static inline void close_table(sae_csv *c)
{
    sae_err err = {0};
    ck_assert_ok(sae_csv_close(&c, &err), err);
}

static inline void put_identity(sae_csv *c, const char *spec, const char *variant, int seed)
{
    sae_csv_text(c, spec);
    sae_csv_text(c, variant);
    sae_csv_int(c, seed);
}

static inline void put_metric(sae_csv *c, const char *spec, const char *variant, int seed,
                              const char *metric, double value)
{
    put_identity(c, spec, variant, seed);
    sae_csv_text(c, "synthetic:d=8");
    sae_csv_text(c, "");
    sae_csv_text(c, metric);
    sae_csv_real(c, value);
    sae_csv_real(c, 0.01);
    sae_csv_int(c, 1000);
    sae_csv_text(c, "1");
    sae_csv_text(c, "0123456789abcdef");
    sae_csv_end_row(c);
}

static inline void put_pair(sae_csv *c, const char *spec, const char *variant, int seed, double l0,
                            double fvu)
{
    put_metric(c, spec, variant, seed, "sparsity.l0", l0);
    put_metric(c, spec, variant, seed, "reconstruction.fvu", fvu);
}

static inline void save(const char *name, const char *text)
{
    sae_err err = {0};
    ck_assert_ok(sae_file_write(file(name), text, strlen(text), &err), err);
}

static inline char *read_text(const char *name)
{
    sae_map m;
    sae_err err = {0};
    ck_assert_ok(sae_map_open(&m, file(name), &err), err);
    char *text = malloc(m.bytes + 1);
    if (m.bytes)
        memcpy(text, m.p, m.bytes);
    text[m.bytes] = '\0';
    sae_map_close(&m);
    return text;
}

/* Tags nest, void elements aside. */
static inline void check_nesting(const char *html)
{
    static const char *const empty[] = {"meta", "img", "br", NULL};
    char stack[64][16], name[16];
    int depth = 0;
    for (const char *p = strchr(html, '>') + 1; (p = strchr(p, '<')) != NULL; p++) {
        int close = p[1] == '/', len = 0;
        const char *s = p + 1 + close;
        while (len < 15 && isalnum((unsigned char)s[len]))
            len++;
        snprintf(name, sizeof name, "%.*s", len, s);
        ck_assert_msg(len > 0, "a bare '<' at '%.20s'", p);
        int is_empty = 0;
        for (int i = 0; empty[i]; i++)
            is_empty |= strcmp(name, empty[i]) == 0;
        if (close) {
            ck_assert_msg(depth > 0 && strcmp(stack[depth - 1], name) == 0, "</%s> closes <%s>",
                          name, depth ? stack[depth - 1] : "nothing");
            depth--;
        } else if (!is_empty) {
            ck_assert_int_lt(depth, 64);
            memcpy(stack[depth++], name, sizeof name);
        }
    }
    ck_assert_int_eq(depth, 0);
}

static inline char *read_page(void)
{
    char *html = read_text("index.html");
    check_nesting(html);
    ck_assert_ptr_nonnull(strstr(html, "<!DOCTYPE html>"));
    ck_assert_ptr_null(strstr(html, "http://"));
    ck_assert_ptr_null(strstr(html, "https://"));
    for (const char *p = html; (p = strchr(p, '@')) != NULL; p++) /* every mark was replaced */
        ck_assert_msg(!isupper((unsigned char)p[1]), "left over: %.12s", p);
    return html;
}

static inline void no_warning(void *arg, enum sae_level level, const char *component,
                              const char *message)
{
    (void)arg, (void)level;
    ck_abort_msg("%s: %s", component, message);
}

/* What gnuplot says of our scripts is a failure here. */
static inline int have_gnuplot(void)
{
    sae_log_to(no_warning, NULL, SAE_LOG_WARN);
    if (system("gnuplot --version >/dev/null 2>&1") == 0)
        return 1;
    test_skip("gnuplot is not installed");
    return 0;
}

static inline void check_figure(const char *name, int expected)
{
    char path[128];
    static const char *const ends[] = {"plots/%s.svg", "plots/%s.png", "plots/data/%s.dat"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, ends[i], name);
        int64_t bytes = sae_file_size(file(path));
        ck_assert_msg((bytes > 20) == expected, "%s: %lld bytes", path, (long long)bytes);
    }
}

static inline int occurrences(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

#endif
