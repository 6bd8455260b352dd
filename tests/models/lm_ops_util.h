/* tests/models/lm_ops_util.h - an operation of sae_lm_ops on the host and on a device, compared.
 *
 * The device is that of the backend in SAEMARK_CUDA. Without it the host's table is compared with
 * itself, which leaves the laws: the same bytes when repeated, and rows without their company.
 */
#ifndef SAE_TESTS_LM_OPS_UTIL_H
#define SAE_TESTS_LM_OPS_UTIL_H

#include "core/device.h"
#include "models/lm_place.h"
#include "support/backends.h"
#include "support/support.h"
#include <sae/rng.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BUFFERS = 12, MOST_KEPT = 4096 };
#define UNIT 0x1p-24 /* the largest relative error of a rounding */

typedef struct op_bench { /* one per process */
    sae_registry *reg;
    sae_engine engine;
    sae_lm_place host, device;
    sae_err err;
    void *kept[MOST_KEPT];
    int count;
} op_bench;

static op_bench bench;

/* Zeroed memory until the test ends. */
static inline void *keep(int64_t count, size_t size)
{
    ck_assert_int_lt(bench.count, MOST_KEPT);
    void *p = calloc((size_t)count + 1, size);
    ck_assert_ptr_nonnull(p);
    return bench.kept[bench.count++] = p;
}

static inline void bench_open(void)
{
    memset(&bench, 0, sizeof bench);
    ck_assert_ok(sae_registry_open(&bench.reg, &bench.err), bench.err);
    const sae_backend *be = test_backend(bench.reg, 0);
    ck_assert_msg(be != NULL, "SAEMARK_CUDA names no backend");
    ck_assert_ok(sae_device_open(&bench.engine, bench.reg, be->name, 2, &bench.err), bench.err);
    bench.host = sae_lm_place_host(&bench.engine);
    bench.device = sae_lm_place_of(&bench.engine);
    ck_assert_msg(be->lm == NULL || bench.device.ops == be->lm, "%s: its table is not used",
                  be->name);
}

static inline void bench_close(void)
{
    for (int i = 0; i < bench.count; i++)
        free(bench.kept[i]);
    sae_engine_close(&bench.engine);
    sae_registry_close(&bench.reg);
}

static inline sae_real *normals(uint32_t stream, int64_t count, double by)
{
    sae_real *x = keep(count, sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (sae_real)(by * sae_normal(11, SAE_STREAM_SYNTHETIC + stream, 0, (uint32_t)i));
    return x;
}

/* An argument: elements per row, or `count` in all; neither: NULL. Without `init` it holds NaN. */
typedef struct op_buffer {
    const void *init;
    int64_t each, count;
    size_t size;
    int out;             /* the operation writes it */
    const double *bound; /* of the differences of sae_real and double; NULL: the same bytes */
} op_buffer;

typedef struct op_case {
    int (*run)(const sae_lm_place *at, const struct op_case *c, int64_t rows, void *const *p);
    op_buffer b[MOST_BUFFERS];
    int64_t rows;
    const void *arg;
    const char *name;
} op_case;

static inline op_buffer input(const void *init, int64_t each, int64_t count, size_t size)
{
    return (op_buffer){init, each, count, size, 0, NULL};
}

static inline op_buffer output(const void *init, int64_t each, int64_t count, size_t size,
                               const double *bound)
{
    return (op_buffer){init, each, count, size, 1, bound};
}

static inline int64_t elements_of(const op_buffer *b, int64_t rows)
{
    return b->each ? b->each * rows : b->count;
}

/* out[i]: what the operation makes of buffer i for rows [first, first + rows). */
static inline void perform(const sae_lm_place *at, const op_case *c, int64_t first, int64_t rows,
                           void **out)
{
    void *p[MOST_BUFFERS] = {0};
    sae_err *err = &bench.err;
    for (int i = 0; i < MOST_BUFFERS; i++) {
        const op_buffer *b = &c->b[i];
        int64_t count = elements_of(b, rows);
        if (!b->each && !b->count)
            continue;
        void *init = keep(count, b->size);
        memset(init, 0xFF, (size_t)count * b->size);
        if (b->init)
            memcpy(init, (const char *)b->init + (size_t)(b->each * first) * b->size,
                   (size_t)count * b->size);
        ck_assert_ok(sae_lm_new(at, &p[i], count + 1, b->size, "a test", err), *err);
        ck_assert_ok(sae_lm_put(at, p[i], init, count, b->size, err), *err);
    }
    ck_assert_msg(c->run(at, c, rows, p) == SAE_OK, "%s fails", c->name);
    for (int i = 0; i < MOST_BUFFERS; i++) {
        int64_t count = elements_of(&c->b[i], rows);
        if (c->b[i].out && p[i]) {
            out[i] = keep(count, c->b[i].size);
            ck_assert_ok(sae_lm_get(at, out[i], p[i], count, c->b[i].size, err), *err);
        }
        sae_lm_free(at, p[i]);
    }
}

static inline void same_bytes(const op_case *c, int i, const void *a, const void *b, int64_t count,
                              const char *what)
{
    ck_assert_msg(!memcmp(a, b, (size_t)count * c->b[i].size), "%s: buffer %d: %s", c->name, i,
                  what);
}

static inline double element(const op_buffer *b, const void *p, int64_t i)
{
    return b->size == sizeof(double) ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static inline void compare_outputs(const op_case *c, void *const *want, void *const *got)
{
    for (int i = 0; i < MOST_BUFFERS; i++) {
        const op_buffer *b = &c->b[i];
        int64_t count = elements_of(b, c->rows);
        if (!b->out || !want[i])
            continue;
        if (!b->bound)
            same_bytes(c, i, want[i], got[i], count, "not the host's");
        for (int64_t k = 0; b->bound && k < count; k++) {
            double x = element(b, want[i], k), y = element(b, got[i], k);
            ck_assert_msg(x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= b->bound[k],
                          "%s: buffer %d [%lld] is %.9g, on the host %.9g, bound %.3g", c->name, i,
                          (long long)k, y, x, b->bound[k]);
        }
    }
}

/* Rows [first, first + rows) by themselves give the bytes that they give among all. */
static inline void check_alone(const op_case *whole, void *const *got, const op_case *part,
                               int64_t first, int64_t rows)
{
    void *one[MOST_BUFFERS] = {0};
    perform(&bench.device, part, first, rows, one);
    for (int i = 0; i < MOST_BUFFERS; i++) {
        const op_buffer *b = &whole->b[i];
        if (b->out && b->each && one[i])
            same_bytes(whole, i, (const char *)got[i] + (size_t)(b->each * first) * b->size, one[i],
                       b->each * rows, "rows depend on their company");
    }
}

/* The device's outputs, within bounds of the host's and the same again. */
static inline void check_case(const op_case *c, void **got)
{
    void *want[MOST_BUFFERS] = {0}, *again[MOST_BUFFERS] = {0};
    perform(&bench.host, c, 0, c->rows, want);
    perform(&bench.device, c, 0, c->rows, got);
    compare_outputs(c, want, got);
    perform(&bench.device, c, 0, c->rows, again);
    for (int i = 0; i < MOST_BUFFERS; i++)
        if (c->b[i].out && again[i])
            same_bytes(c, i, got[i], again[i], elements_of(&c->b[i], c->rows), "two calls differ");
}

/* The same for an operation whose rows do not see each other. */
static inline void check_rows(const op_case *c)
{
    void *got[MOST_BUFFERS] = {0};
    check_case(c, got);
    check_alone(c, got, c, c->rows - 1, 1);
    check_alone(c, got, c, c->rows / 3, c->rows - c->rows / 3);
}

#endif
