/* tests/prop/contract.c - the contract C1-C13 for every registered variant, and proof that the
 * conformance check notices violations. */
#include "core/error.h"
#include "core/list.h"
#include "core/registry.h"
#include "eval/conformance.h"
#include "support/backends.h"
#include "support/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- every allocation of the process --------------------------------------------------------- */

static uint64_t mallocs;

static uint64_t malloc_calls(void)
{
    return mallocs;
}

/* glibc's own entry points; the sanitizers bring an allocator of their own, so there (and with
 * other C libraries) only the suite's allocations are counted. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size)
{
    mallocs++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    mallocs++;
    return __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
    mallocs++;
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    mallocs++;
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    mallocs++;
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}
#define COUNT_CALLS malloc_calls
#else
#define COUNT_CALLS (mallocs ? malloc_calls : NULL)
#endif

/* ---- every variant --------------------------------------------------------------------------- */

static sae_registry *reg;
static sae_engine engine;

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
}

static void use_backend(const sae_backend *be)
{
    sae_err err = {0};
    ck_assert_ok(sae_engine_open(&engine, be, 0, 2, &err), err);
}

static void teardown(void)
{
    sae_engine_close(&engine);
    sae_registry_close(&reg);
}

typedef struct tally {
    int pass[14], fail[14], skip[14]; /* by clause number */
    char first[512];                  /* the first failure */
} tally;

static void count(void *arg, const sae_clause *c)
{
    tally *t = arg;
    int id = atoi(c->id + 1);
    ck_assert_int_ge(id, 1);
    ck_assert_int_le(id, 13);
    int *by[] = {t->pass, t->fail, t->skip};
    by[c->verdict][id]++;
    if (c->verdict == SAE_VERDICT_FAIL && !t->first[0])
        snprintf(t->first, sizeof t->first, "%s:%s B %d d %d n %d: %s (%s): %s", c->variant,
                 c->options, (int)c->shape.B, (int)c->shape.d, (int)c->shape.n, c->id, c->what,
                 c->detail);
}

static void run(const sae_variant *v, tally *t, int64_t *failed)
{
    sae_err err = {0};
    /* A device's runtime allocates on the host as it likes. */
    sae_conformance_to to = {count, t, engine.props.shares_host ? COUNT_CALLS : NULL};
    memset(t, 0, sizeof *t);
    ck_assert_ok(sae_conformance(v, &engine, &to, failed, &err), err);
}

/* _i counts variants and, within each, the backends that this machine can use. */
START_TEST(every_variant)
{
    tally t;
    int64_t failed;
    int backends = test_backend_count();
    const sae_backend *be = test_backend(reg, _i % backends);
    if (be->score() <= 0)
        return;
    use_backend(be);
    run(sae_all_variants(reg)[_i / backends], &t, &failed);
    ck_assert_msg(failed == 0, "%s: %lld clauses failed; first: %s", be->name, (long long)failed,
                  t.first);
    if (t.pass[12] == 0 && t.skip[12] > 0)
        return; /* it needs a language model: nothing could be opened */
    for (int id = 1; id <= 13; id++)
        ck_assert_msg(t.pass[id] + t.skip[id] > 0, "C%d was never checked", id);
}
END_TEST

/* ---- broken variants: what each breaks must be noticed --------------------------------------- */

static sae_variant sound; /* topk, completed by the registry */
static int64_t calls;

static int forward_impure(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.forward(m, c, b, t));
    t->loss[0] += (double)calls++;
    return SAE_OK;
}

static int forward_couples(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.forward(m, c, b, t));
    for (int64_t i = 0; i < t->code.nnz; i++)
        t->code.val[i] *= (sae_real)b->B;
    return SAE_OK;
}

static int forward_writes(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    ((sae_real *)m->t[0].w)[0] += 1;
    return sound.forward(m, c, b, t);
}

static int forward_allocates(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    char *volatile p = malloc(16);
    free(p);
    return sound.forward(m, c, b, t);
}

static int forward_disorders(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.forward(m, c, b, t));
    if (t->code.nnz > 1)
        t->code.idx[1] = t->code.idx[0];
    return SAE_OK;
}

static int forward_negates(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.forward(m, c, b, t));
    for (int64_t i = 0; i < t->code.nnz; i++)
        t->code.val[i] = -t->code.val[i];
    return SAE_OK;
}

static int forward_forgets(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    double old = t->loss[0];
    SAE_TRY(sound.forward(m, c, b, t));
    t->loss[0] = old;
    return SAE_OK;
}

static int forward_hides(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.forward(m, c, b, t));
    t->code.nan = 0;
    for (int i = 0; i < 2; i++)
        t->loss[i] = t->loss[i] != t->loss[i] ? 0 : t->loss[i];
    t->coef[1] = t->coef[1] != t->coef[1] ? 0 : t->coef[1];
    return SAE_OK;
}

static int backward_scaled(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    SAE_TRY(sound.backward(m, c, b, t));
    for (int64_t i = 0; i < m->t[0].rows * m->t[0].cols; i++)
        m->t[0].grad[i] *= (sae_real)1.05;
    return SAE_OK;
}

static int decode_shifted(const sae_model *m, const sae_ctx *c, const sae_code *z, sae_mat xhat)
{
    SAE_TRY(sound.decode(m, c, z, xhat));
    for (int64_t i = 0; i < xhat.rows * xhat.cols; i++)
        xhat.p[i] += (sae_real)0.01;
    return SAE_OK;
}

static int adapt_shrinks(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)b, (void)t;
    m->dim.n -= c->step == 10 && calls++ == 0; /* once, after the probe's warm-up */
    return SAE_OK;
}

static int adapt_again(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return calls++ > 3 ? SAE_AGAIN : SAE_OK;
}

#ifndef __SANITIZE_ADDRESS__ /* it objects to the look behind the scratch */
/* Writes behind the scratch, but only where the check laid its guard, so that nobody is harmed. */
static int backward_overruns(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    sae_workspace ws;
    SAE_TRY(sound.workspace(c->opt, &m->dim, b->B, SAE_TRAIN, &ws));
    unsigned char *end = (unsigned char *)t->scratch + ws.scratch;
    if (memcmp(end, "\xA5\xA5\xA5\xA5\xA5\xA5\xA5\xA5", 8) == 0)
        end[0] = 0;
    return sound.backward(m, c, b, t);
}
#endif

static uint64_t needs_change(const void *opt, enum sae_mode mode)
{
    (void)opt, (void)mode;
    return calls++ % 2 ? SAE_NEED_TOKENS : 0;
}

typedef int forward_fn(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t);

static const struct {
    int clause;
    forward_fn *forward;
} broken_forward[] = {{1, forward_impure},     {2, forward_couples},  {4, forward_writes},
                      {7, forward_couples},    {8, forward_allocates}, {9, forward_disorders},
                      {9, forward_negates},    {10, forward_negates}, {11, forward_forgets},
                      {12, forward_hides},     {3, forward_couples}};

static void expect_failure(const sae_variant *v, int clause)
{
    tally t;
    int64_t failed;
    calls = 0;
    run(v, &t, &failed);
    ck_assert_msg(failed > 0 && t.fail[clause] > 0, "C%d was not noticed", clause);
}

static void take_sound(void)
{
    use_backend(sae_find_backend(reg, "ref"));
    sound = *sae_find_variant(reg, "topk");
}

START_TEST(broken_forwards_are_noticed)
{
    take_sound();
    sae_variant v = sound;
    v.forward = broken_forward[_i].forward;
#if defined(__SANITIZE_ADDRESS__) || !defined(__GLIBC__)
    if (broken_forward[_i].clause == 8)
        return; /* malloc cannot be counted here */
#endif
    expect_failure(&v, broken_forward[_i].clause);
}
END_TEST

START_TEST(other_broken_methods_are_noticed)
{
    take_sound();
    sae_variant v = sound;
    v.backward = backward_scaled;
    expect_failure(&v, 3);
    v = sound;
    v.decode = decode_shifted;
    expect_failure(&v, 10);
    v = sound;
    v.adapt = adapt_shrinks;
    expect_failure(&v, 5);
    v = sound;
    v.adapt = adapt_again;
    expect_failure(&v, 13);
#ifndef __SANITIZE_ADDRESS__
    v = sound;
    v.backward = backward_overruns;
    expect_failure(&v, 8);
#endif
    v = sound;
    v.needs = needs_change;
    expect_failure(&v, 6);
}
END_TEST

Suite *suite_contract(void);
Suite *suite_contract(void)
{
    Suite *s = suite_create("contract");
    TCase *t = tcase_create("variants");
    int variants = 0, backends = test_backend_count();
    int broken = (int)(sizeof broken_forward / sizeof broken_forward[0]);
    while (sae_list_variants[variants])
        variants++;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_variant, 0, variants * backends);
    tcase_add_loop_test(t, broken_forwards_are_noticed, 0, broken);
    tcase_add_test(t, other_broken_methods_are_noticed);
    suite_add_tcase(s, t);
    return s;
}
