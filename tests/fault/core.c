/* tests/fault/core.c - whatever allocation fails, on the host or the device, in registry, specs,
 * sweeps, models: a clean status and nothing leaked. */
#include "core/error.h"
#include "core/memory.h"
#include "core/model.h"
#include "core/spec.h"
#include "support/probe.h"
#include "support/support.h"

static const char sweep[] = "probe:k={4,8},l1=lin(0,1,0,5%),label=\"a,b\",n=2d";

static int print_both(const sae_spec *s, sae_err *err)
{
    for (int canonical = 0; canonical < 2; canonical++) {
        char *text = sae_spec_print(s, canonical);
        if (!text)
            SAE_FAIL(err, SAE_ENOMEM, "no text");
        sae_free(text);
    }
    return SAE_OK;
}

/* Read specs, expand a sweep, refuse an unknown key. */
static int use_specs(const sae_registry *reg, sae_err *err)
{
    sae_spec s;
    char **list = NULL;
    int rc = SAE_OK;
    SAE_TRY(sae_spec_expand(sweep, &list, err));
    for (char **text = list; *text && rc == SAE_OK; text++) {
        rc = sae_spec_parse(&s, reg, SAE_KIND_VARIANT, *text, err);
        if (rc == SAE_OK) {
            rc = print_both(&s, err);
            sae_spec_free(&s);
        }
    }
    sae_spec_list_free(&list);
    if (rc < 0)
        return rc;
    sae_err unknown = {0};
    rc = sae_spec_parse(&s, reg, SAE_KIND_VARIANT, "probe:nothing=1", &unknown);
    if (rc == SAE_ENOMEM)
        *err = unknown;
    return rc == SAE_EINVAL ? SAE_OK : rc;
}

/* The reference backend with an allocator that counts and fails on request. */
static const sae_backend *ref;
static int64_t device_blocks;
static uint64_t device_fail_at;

static void *device_alloc(sae_device *dev, size_t bytes)
{
    if (device_fail_at && --device_fail_at == 0)
        return NULL;
    device_blocks++;
    return ref->alloc(dev, bytes);
}

static void device_release(sae_device *dev, void *p)
{
    device_blocks--;
    ref->release(dev, p);
}

static int use_model(const sae_registry *reg, sae_err *err)
{
    const sae_dims dims = {4, 4, 8, 8};
    const sae_variant *v = sae_find_variant(reg, "probe");
    sae_engine e;
    sae_model m = {0};
    sae_tape t = {0};
    sae_stats_store stats = {0};
    ref = sae_find_backend(reg, "ref");
    sae_backend be = *ref;
    be.alloc = device_alloc;
    be.release = device_release;
    SAE_TRY(sae_engine_open(&e, &be, 0, 1, err));
    int rc = sae_model_open(&m, v, NULL, &dims, &e, 1, err);
    if (rc == SAE_OK)
        rc = sae_tape_open(&t, v, NULL, &dims, 5, SAE_TRAIN, &e, err);
    if (rc == SAE_OK)
        rc = sae_tape_grow_code(&t, 30, &e, err);
    if (rc == SAE_OK)
        rc = sae_stats_open(&stats, 8, &e, err);
    sae_stats_close(&stats, &e);
    sae_tape_close(&t, &e);
    sae_model_close(&m, &e);
    sae_engine_close(&e);
    return rc;
}

static int scenario(sae_err *err)
{
    sae_registry *reg = NULL;
    SAE_TRY(sae_registry_open(&reg, err));
    int rc = sae_registry_add(reg, &probe_plugin, err);
    if (rc == SAE_OK)
        rc = use_specs(reg, err);
    if (rc == SAE_OK)
        rc = use_model(reg, err);
    sae_registry_close(&reg);
    return rc;
}

/* Fail the i-th call for i = 1, 2, ... until the scenario gets through. */
static void each_fault(void (*fail_at)(uint64_t), uint64_t least)
{
    enum { MOST = 2000 };
    uint64_t i = 1;
    for (; i < MOST; i++) {
        sae_err err = {0};
        fail_at(i);
        int rc = scenario(&err);
        fail_at(0);
        ck_assert_msg(sae_alloc_live() == 0 && device_blocks == 0,
                      "fault %d: %zu bytes, %d device blocks leaked", (int)i, sae_alloc_live(),
                      (int)device_blocks);
        if (rc == SAE_OK)
            break;
        ck_assert_msg(rc == SAE_ENOMEM && err.code == rc && err.msg[0], "fault %d: status %d: %s",
                      (int)i, rc, err.msg);
    }
    ck_assert_uint_gt(i, least);
    ck_assert_uint_lt(i, MOST);
}

static void device_fail(uint64_t i)
{
    device_fail_at = i;
}

START_TEST(host_memory)
{
    each_fault(sae_alloc_fail_at, 100);
}
END_TEST

START_TEST(device_memory)
{
    each_fault(device_fail, 15); /* ten tensors and gradients, six tape buffers, statistics */
}
END_TEST

Suite *suite_core(void)
{
    Suite *s = suite_create("core");
    TCase *c = tcase_create("core");
    tcase_add_test(c, host_memory);
    tcase_add_test(c, device_memory);
    suite_add_tcase(s, c);
    return s;
}
