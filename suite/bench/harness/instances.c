/* suite/bench/harness/instances.c - the instances that run: ranges, names, filter. */
#include "harness.h"

#include <inttypes.h>
#include <regex.h>
#include <string.h>

/* ---- ranges ---------------------------------------------------------------------------------- */

static int put(struct sbh_pool *p, int64_t **list, int count, int64_t x)
{
    *list = sbh_grow(p, *list, count, sizeof **list);
    (*list)[count] = x;
    return count + 1;
}

/* The powers of m in [lo, hi], 0 < lo. */
static int powers(struct sbh_pool *p, int64_t **list, int count, int64_t lo, int64_t hi, int m)
{
    for (int64_t x = 1; x <= hi; x *= m) {
        if (x >= lo)
            count = put(p, list, count, x);
        if (x > INT64_MAX / m)
            break;
    }
    return count;
}

/* Minus the powers of m in [lo, hi], hi < 0, ascending. */
static int negative_powers(struct sbh_pool *p, int64_t **list, int count, int64_t lo, int64_t hi,
                           int m)
{
    int from = count, to = powers(p, list, count, -hi, -lo, m);
    for (int i = from; i < to; i++)
        (*list)[i] = -(*list)[i];
    for (int i = from, j = to - 1; i < j; i++, j--) {
        int64_t x = (*list)[i];
        (*list)[i] = (*list)[j];
        (*list)[j] = x;
    }
    return to;
}

int sbh_range(struct sbh_pool *p, int64_t **list, int count, int64_t lo, int64_t hi, int multiplier)
{
    count = put(p, list, count, lo);
    if (lo == hi)
        return count;
    int64_t above = lo + 1, below = hi - 1;
    if (above < 0 && above <= below)
        count = negative_powers(p, list, count, above, below < -1 ? below : -1, multiplier);
    if (lo < 0 && hi >= 0)
        count = put(p, list, count, 0);
    if (below > 0)
        count = powers(p, list, count, above > 1 ? above : 1, below, multiplier);
    if ((*list)[count - 1] != hi)
        count = put(p, list, count, hi);
    return count;
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *with_args(struct sbh_pool *p, const sae_bench *b, const int64_t *args)
{
    const char *name = b->name;
    for (int i = 0; i < b->arity; i++) {
        bool named = i < b->arg_names_count && *b->arg_names[i];
        name = sbh_print(p, "%s/%s%s%" PRId64, name, named ? b->arg_names[i] : "",
                         named ? ":" : "", args[i]);
    }
    return name;
}

/* What is set on the benchmark, never what flags change. */
static const char *with_settings(struct sbh_pool *p, const sae_bench *b, const char *name,
                                 int threads)
{
    if (b->min_time > 0)
        name = sbh_print(p, "%s/min_time:%0.3f", name, b->min_time);
    if (b->min_warmup_time > 0)
        name = sbh_print(p, "%s/min_warmup_time:%0.3f", name, b->min_warmup_time);
    if (b->iterations)
        name = sbh_print(p, "%s/iterations:%" PRId64, name, b->iterations);
    if (b->repetitions)
        name = sbh_print(p, "%s/repeats:%d", name, b->repetitions);
    if (b->process_cpu)
        name = sbh_print(p, "%s/process_time", name);
    if (b->manual_time || b->real_time)
        name = sbh_print(p, "%s/%s_time", name, b->manual_time ? "manual" : "real");
    if (b->threads_count)
        name = sbh_print(p, "%s/threads:%d", name, threads);
    return name;
}

/* ---- selection ------------------------------------------------------------------------------- */

struct filter {
    regex_t re;
    bool negative;
};

static bool open_filter(struct filter *f, const char *text, FILE *err)
{
    if (!*text || !strcmp(text, "all"))
        text = ".";
    f->negative = *text == '-';
    int rc = regcomp(&f->re, text + f->negative, REG_EXTENDED | REG_NOSUB);
    if (rc) {
        char why[256];
        regerror(rc, &f->re, why, sizeof why);
        fprintf(err, "Could not compile benchmark re: %s\n", why);
    }
    return rc == 0;
}

static bool selected(const struct filter *f, const char *name)
{
    if (!strncmp(name, "DISABLED_", 9))
        return false;
    return (regexec(&f->re, name, 0, NULL, 0) == 0) != f->negative;
}

static void add_family(struct sbh_pool *p, const sae_bench *b, const struct filter *f,
                       int *family_index, struct sbh_instances *out)
{
    static const int one = 1;
    const int *threads = b->threads_count ? b->threads : &one;
    int thread_counts = b->threads_count ? b->threads_count : 1, tuples = b->tuples, index = 0;
    if (b->arity < 0 && !b->arg_names)
        tuples = 1; /* the empty tuple */
    for (int t = 0; t < tuples; t++) {
        const int64_t *args = b->arity > 0 ? b->args + (int64_t)t * b->arity : NULL;
        for (int i = 0; i < thread_counts; i++) {
            const char *name = with_settings(p, b, with_args(p, b, args), threads[i]);
            if (!selected(f, name))
                continue;
            out->item = sbh_grow(p, out->item, out->count, sizeof *out->item);
            out->item[out->count++] = (struct sbh_instance){
                .family = b,
                .name = name,
                .name_without_args = with_settings(p, b, b->name, threads[i]),
                .args = args,
                .threads = threads[i],
                .family_index = *family_index,
                .index_in_family = index++,
                .unit = b->unit_set ? b->unit : sbh_flags()->unit,
            };
        }
    }
    *family_index += index > 0; /* families count when one of their instances runs */
}

bool sbh_find(struct sbh_pool *p, const char *filter, struct sbh_instances *out, FILE *err)
{
    const struct sbh_registry *all = sbh_registered();
    struct filter f;
    int family_index = 0;
    if (!open_filter(&f, filter, err))
        return false;
    for (int i = 0; i < all->count; i++) {
        const sae_bench *b = all->family[i];
        int64_t size = (int64_t)b->tuples * (b->threads_count ? b->threads_count : 1);
        if (size > SBH_BIG_FAMILY)
            fprintf(err, "The number of inputs is very large. %s will be repeated at least %" PRId64
                         " times.\n", b->name, size);
        add_family(p, b, &f, &family_index, out);
    }
    regfree(&f.re);
    return true;
}
