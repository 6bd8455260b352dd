/* tests/eval/allocations.c - whichever allocation of a family fails, the family says that memory is
 * missing and gives back what it took.
 *
 * Families call the C library, so that the linker turns its functions into those below in this
 * program (--wrap in the Makefile).
 */
#include "eval/bench.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t bytes);
void __real_free(void *p);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t bytes);
void __wrap_free(void *p);

static uint64_t calls, fail_at; /* the call that fails; 0: none */
static int64_t live;            /* blocks */

static int fails(void)
{
    return ++calls == fail_at;
}

static void *count(void *p)
{
    live += p != NULL;
    return p;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : count(__real_malloc(bytes));
}

void *__wrap_calloc(size_t members, size_t size)
{
    return fails() ? NULL : count(__real_calloc(members, size));
}

int __wrap_posix_memalign(void **p, size_t align, size_t bytes)
{
    int rc = fails() ? 1 : __real_posix_memalign(p, align, bytes);
    live += rc == 0;
    return rc;
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static world w;

/* Recorders that take no memory: checks do. */
static int count_row(void *rows, const sae_row *row)
{
    (void)row;
    ++*(int *)rows;
    return SAE_OK;
}
static int ignore_point(void *rows, const sae_series *p)
{
    (void)rows, (void)p;
    return SAE_OK;
}

static int run(bench *b, int *rows)
{
    const sae_metric *m = b->spec.metric;
    void *state = sae_alloc(m->state_size(&b->r));
    int rc = state ? m->begin(&b->r, state) : SAE_ENOMEM;
    *rows = 0;
    b->r.sink = rows;
    b->r.emit = count_row;
    b->r.point = ignore_point;
    for (int more = 1; rc >= 0 && more; more = rc == SAE_AGAIN) {
        rc = bench_try(b, state, &w, 0, w.rows, 0);
        if (rc >= 0)
            rc = m->end(&b->r, state);
    }
    sae_free(state);
    return rc;
}

/* Runs the family with the i-th of its allocations failing, 0: none; answers how many it made.
 * *left: blocks that are left, less those that the C library took (strdup). */
static uint64_t run_failing(const char *metric, uint64_t i, int64_t *left)
{
    int64_t before = live;
    int rows;
    bench b;
    bench_open(&b, &w, metric); /* kernels keep scratch until it is closed */
    calls = 0;
    fail_at = i;
    int rc = run(&b, &rows);
    uint64_t made = calls;
    fail_at = 0;
    bench_close(&b);
    *left = live - before;
    ck_assert_msg(rc == (i ? SAE_ENOMEM : SAE_OK), "%s, allocation %d: status %d", metric, (int)i,
                  rc);
    ck_assert(i || rows > 0);
    return made;
}

/* The name of registered family i, empty behind the last. */
static const char *family(int i)
{
    static char name[64];
    sae_registry *reg;
    if (sae_registry_open(&reg, NULL) < 0)
        return ""; /* other tests say so */
    const sae_metric *m = sae_all_metrics(reg)[i];
    snprintf(name, sizeof name, "%s", m ? m->name : "");
    sae_registry_close(&reg);
    return name;
}

START_TEST(every_allocation_fails_once)
{
    const char *metric = spec_of(family(_i));
    world_fill(&w, 11);
    int64_t none, left;
    run_failing(metric, 0, &none); /* test_mark allocates where a line is new to it */
    uint64_t made = run_failing(metric, 0, &none);
    ck_assert_uint_gt(made, 0);
    for (uint64_t i = 1; i <= made; i++) {
        run_failing(metric, i, &left);
        ck_assert_msg(left == none, "%s, allocation %d: %d blocks are left", metric, (int)i,
                      (int)(left - none));
    }
}
END_TEST

Suite *suite_allocations(void)
{
    Suite *s = suite_create("allocations");
    TCase *t = tcase_create("allocations");
    int families = 0;
    while (*family(families))
        families++;
    tcase_add_loop_test(t, every_allocation_fails_once, 0, families);
    suite_add_tcase(s, t);
    return s;
}
