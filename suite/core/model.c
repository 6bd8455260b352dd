/* suite/core/model.c - memory of a model, its tape and its statistics. */
#include "core/model.h"

#include "core/divide.h"
#include "core/error.h"
#include "core/list.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- engine ---------------------------------------------------------------------------------- */

/* Fill the table from "ref", then let the backend override. The first entry left NULL, or NULL. */
static const char *complete_kernels(sae_kernels *k, const sae_backend *be, sae_device *dev)
{
    for (int i = 0; sae_list_backends[i]; i++)
        if (strcmp(sae_list_backends[i]->name, "ref") == 0)
            sae_list_backends[i]->kernels(dev, k);
    be->kernels(dev, k);
    k->abi = SAE_KERNELS_ABI;
    k->size = sizeof *k;
#define CHECK(name)                                                                                \
    if (!k->name)                                                                                  \
        return #name;
    SAE_KERNEL_LIST(CHECK)
#undef CHECK
    return NULL;
}

/* The backend in this program with the highest score: all of them share memory with the host. */
static const sae_backend *best_host(void)
{
    const sae_backend *best = sae_list_backends[0];
    for (int i = 1; sae_list_backends[i]; i++)
        if (sae_list_backends[i]->score() > best->score())
            best = sae_list_backends[i];
    return best;
}

static int open_host(sae_engine *e, int threads, sae_err *err)
{
    e->host_be = e->be;
    e->host_dev = e->dev;
    e->host_k = e->k;
    if (e->props.shares_host)
        return SAE_OK;
    e->host_dev = NULL;
    e->host_be = best_host();
    SAE_TRY(e->host_be->open(&e->host_dev, 0, threads, err));
    complete_kernels(&e->host_k, e->host_be, e->host_dev);
    return SAE_OK;
}

int sae_engine_open(sae_engine *e, const sae_backend *be, int index, int threads, sae_err *err)
{
    int rc = SAE_OK;
    memset(e, 0, sizeof *e);
    e->be = be;
    e->index = index;
    if (be->score() <= 0)
        SAE_FAIL(err, SAE_EBACKEND, "backend %s cannot be used on this machine", be->name);
    rc = be->open(&e->dev, index, threads, err);
    if (rc < 0)
        return SAE_SET(err, rc, "backend %s: device %d cannot be opened", be->name, index);
    const char *missing = complete_kernels(&e->k, be, e->dev);
    if (missing)
        SAE_GOTO(SAE_SET(err, SAE_EBACKEND, "backend %s has no kernel %s", be->name, missing));
    rc = be->props(e->dev, &e->props);
    if (rc < 0)
        SAE_GOTO(SAE_SET(err, rc, "backend %s: no device properties", be->name));
    SAE_GOTO(open_host(e, threads, err));
    return SAE_OK;
fail:
    sae_engine_close(e);
    return rc;
}

int sae_engine_precision(sae_engine *e, const char *name)
{
    if (!e->be->precision && strcmp(name, "fp32"))
        return SAE_EINVAL;
    if (e->be->precision)
        SAE_TRY(e->be->precision(e->dev, name));
    e->precision = name;
    return e->be->props(e->dev, &e->props); /* the library's name tells it */
}

const char *sae_engine_name(const sae_engine *e, char out[SAE_ENGINE_NAME])
{
    int rounds = e->precision && strcmp(e->precision, "fp32"); /* as backends do by default */
    char many[16] = "";
    if (e->peers)
        snprintf(many, sizeof many, ",divided/%d", sae_engine_devices(e));
    snprintf(out, SAE_ENGINE_NAME, "%s%s%s%s", e->be->name, many, rounds ? "," : "",
             rounds ? e->precision : "");
    return out;
}

int sae_engine_like(sae_engine *out, const sae_engine *e, int threads, sae_err *err)
{
    SAE_TRY(sae_engine_open(out, e->be, e->index, threads, err));
    int rc = e->precision ? sae_engine_precision(out, e->precision) : SAE_OK;
    if (rc >= 0)
        return rc;
    sae_engine_close(out);
    SAE_FAIL(err, rc, "backend %s: no products in %s", e->be->name, e->precision);
}

void sae_engine_close(sae_engine *e)
{
    sae_engine_unite(e);
    if (e->host_dev && e->host_dev != e->dev)
        e->host_be->close(&e->host_dev);
    if (e->be)
        e->be->close(&e->dev);
    memset(e, 0, sizeof *e);
}

/* What the device itself says of a failure. */
static const char *why(const sae_engine *e)
{
    return e->be->why ? e->be->why(e->dev) : "";
}

/* ---- backend memory -------------------------------------------------------------------------- */

/* Zeroed backend memory into *out (any object pointer), counted by extents. */
static int take(const sae_engine *e, void *out, int64_t rows, int64_t cols, size_t size,
                const char *what, sae_err *err)
{
    size_t count = 0, bytes = 0;
    SAE_TRY(sae_size_mul(&count, rows, cols, err));
    SAE_TRY(sae_size_mul(&bytes, (int64_t)count, (int64_t)size, err));
    void *p = e->be->alloc(e->dev, bytes);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s: %zu bytes for %s", e->be->name, bytes,
                 what);
    memcpy(out, &p, sizeof p);
    return SAE_OK;
}

static void give(const sae_engine *e, void *p)
{
    if (p)
        e->be->release(e->dev, p);
}

/* Fail early, with the sum, instead of in the middle of a list of allocations. */
static int check_room(const sae_engine *e, size_t bytes, const char *what, sae_err *err)
{
    if (e->props.shares_host)
        return sae_memory_check(bytes, what, err);
    sae_device_props now;
    if (e->be->props(e->dev, &now) < 0 || now.mem_free <= 0 || (int64_t)bytes <= now.mem_free)
        return SAE_OK;
    SAE_FAIL(err, SAE_ENOMEM, "needs %.1f MiB on %s for %s, %.1f MiB free",
             (double)bytes / 1048576.0, now.name, what, (double)now.mem_free / 1048576.0);
}

/* ---- model ----------------------------------------------------------------------------------- */

size_t sae_dtype_size(enum sae_dtype t)
{
    return t == SAE_REAL ? sizeof(sae_real) : 8;
}

/* A declared extent in numbers, with the dictionary axis counted as n. */
static int64_t extent(int64_t declared, const sae_dims *dim, int64_t n)
{
    switch (declared) {
    case SAE_DIM_1:
        return 1;
    case SAE_DIM_IN:
        return dim->d_in;
    case SAE_DIM_OUT:
        return dim->d_out;
    case SAE_DIM_N:
        return n;
    default:
        return declared;
    }
}

size_t sae_model_bytes(const sae_variant *v, const sae_dims *dim, int with_grad)
{
    size_t total = 0;
    for (const sae_tensor_spec *s = v->tensors; s->name; s++) {
        size_t count = 0, bytes = 0;
        int copies = with_grad && s->role == SAE_PARAM ? 2 : 1;
        int64_t unit = copies * (int64_t)sae_dtype_size(s->dtype);
        if (sae_size_mul(&count, extent(s->rows, dim, dim->n_cap),
                         extent(s->cols, dim, dim->n_cap), NULL) ||
            sae_size_mul(&bytes, (int64_t)count, unit, NULL) ||
            sae_size_add(&total, total, bytes, NULL))
            return SIZE_MAX;
    }
    return total;
}

int sae_model_open(sae_model *m, const sae_variant *v, const void *opt, const sae_dims *dim,
                   const sae_engine *e, int with_grad, sae_err *err)
{
    int rc = SAE_OK;
    memset(m, 0, sizeof *m);
    if (dim->d_in < 1 || dim->d_out < 1 || dim->n < 0 || dim->n_cap < dim->n)
        SAE_FAIL(err, SAE_EINVAL, "%s: extents d_in %lld, d_out %lld, n %lld of %lld", v->name,
                 (long long)dim->d_in, (long long)dim->d_out, (long long)dim->n,
                 (long long)dim->n_cap);
    rc = v->check(opt, dim, err);
    if (rc < 0)
        return SAE_SET(err, rc, "%s refuses these options", v->name);
    SAE_TRY(check_room(e, sae_model_bytes(v, dim, with_grad), v->name, err));
    m->v = v;
    m->opt = opt;
    m->dim = *dim;
    for (const sae_tensor_spec *s = v->tensors; s->name; s++) {
        sae_tensor *t = &m->t[m->nt++];
        int64_t rows = extent(s->rows, dim, dim->n_cap), cols = extent(s->cols, dim, dim->n_cap);
        t->spec = s;
        t->flags = v->tensor_flags ? v->tensor_flags(opt, s) : s->flags;
        t->rows = extent(s->rows, dim, dim->n);
        t->cols = extent(s->cols, dim, dim->n);
        SAE_GOTO(take(e, &t->w, rows, cols, sae_dtype_size(s->dtype), s->name, err));
        if (with_grad && s->role == SAE_PARAM)
            SAE_GOTO(take(e, &t->grad, rows, cols, sizeof(sae_real), "gradient", err));
    }
    return SAE_OK;
fail:
    sae_model_close(m, e);
    return rc;
}

void sae_model_close(sae_model *m, const sae_engine *e)
{
    for (int i = 0; i < m->nt; i++) {
        give(e, m->t[i].w);
        give(e, m->t[i].grad);
    }
    memset(m, 0, sizeof *m);
}

int sae_model_grow(sae_model *m, int64_t n_new, sae_err *err)
{
    if (n_new < m->dim.n || n_new > m->dim.n_cap)
        SAE_FAIL(err, SAE_ECAPACITY, "%s: dictionary cannot go from %lld to %lld, capacity %lld",
                 m->v->name, (long long)m->dim.n, (long long)n_new, (long long)m->dim.n_cap);
    m->dim.n = n_new;
    for (int i = 0; i < m->nt; i++) {
        m->t[i].rows = extent(m->t[i].spec->rows, &m->dim, n_new);
        m->t[i].cols = extent(m->t[i].spec->cols, &m->dim, n_new);
    }
    return SAE_OK;
}

/* Vectors are no operands of products worth a copy. */
static int is_matrix(const sae_tensor *t)
{
    return t->spec->role == SAE_PARAM && t->rows > 1 && t->cols > 1;
}

int sae_model_freeze(const sae_model *m, const sae_engine *e, sae_err *err)
{
    for (int i = 0; e->be->freeze && i < m->nt; i++) {
        const sae_tensor *t = &m->t[i];
        sae_cmat w = {t->w, t->rows, t->cols, t->cols};
        int rc = is_matrix(t) ? e->be->freeze(e->dev, w) : SAE_OK;
        if (rc >= 0)
            continue;
        while (i--)
            if (is_matrix(&m->t[i]))
                e->be->thaw(e->dev, m->t[i].w);
        SAE_FAIL(err, rc, "%s: no copy of %s in the precision of products%s%s", m->v->name,
                 t->spec->name, *why(e) ? ": " : "", why(e));
    }
    return SAE_OK;
}

void sae_model_thaw(const sae_model *m, const sae_engine *e)
{
    for (int i = 0; e->be->thaw && i < m->nt; i++)
        if (is_matrix(&m->t[i]))
            e->be->thaw(e->dev, m->t[i].w);
}

/* ---- tape ------------------------------------------------------------------------------------ */

int sae_tape_open(sae_tape *t, const sae_variant *v, const void *opt, const sae_dims *dim,
                  int64_t B, enum sae_mode mode, const sae_engine *e, sae_err *err)
{
    int rc = SAE_OK;
    sae_dims full = *dim; /* sized once for the dictionary at its largest */
    sae_workspace ws = {0};
    memset(t, 0, sizeof *t);
    full.n = dim->n_cap;
    rc = v->workspace(opt, &full, B, mode, &ws);
    if (rc < 0)
        return SAE_SET(err, rc, "%s: no workspace for %lld rows", v->name, (long long)B);
    int64_t cap = ws.code_cap > 1 ? ws.code_cap : 1;
    t->B = t->code.B = B;
    t->code.n = dim->n;
    t->code.dense = ws.dense_code == 1;
    t->val_cap = cap;
    if (ws.dense_code) {
        size_t all = 0;
        SAE_TRY(sae_size_mul(&all, B, full.n, err));
        t->val_cap = (int64_t)all > cap ? (int64_t)all : cap;
    }
    if (!t->code.dense) {
        SAE_GOTO(take(e, &t->code.rowptr, B + 1, 1, sizeof(int64_t), "code rows", err));
        SAE_GOTO(take(e, &t->code.idx, cap, 1, sizeof(int32_t), "code indices", err));
    }
    SAE_GOTO(take(e, &t->code.val, t->val_cap, 1, sizeof(sae_real), "code values", err));
    t->code.cap = t->code.dense ? t->val_cap : cap;
    if (ws.dense_pre)
        SAE_GOTO(take(e, &t->pre, B, full.n, sizeof(sae_real), "pre-activations", err));
    SAE_GOTO(take(e, &t->xhat, B, dim->d_out, sizeof(sae_real), "reconstructions", err));
    SAE_GOTO(take(e, &t->resid, B, dim->d_out, sizeof(sae_real), "residuals", err));
    SAE_GOTO(take(e, &t->scratch, (int64_t)ws.scratch, 1, 1, "scratch", err));
    return SAE_OK;
fail:
    sae_tape_close(t, e);
    return rc;
}

size_t sae_tape_bytes(const sae_variant *v, const void *opt, const sae_dims *dim, int64_t B,
                      enum sae_mode mode)
{
    sae_dims full = *dim;
    sae_workspace ws = {0};
    size_t dense = 0, row = 0, entry = sizeof(int32_t), total = 0;
    full.n = dim->n_cap;
    if (v->workspace(opt, &full, B, mode, &ws) < 0 || sae_size_mul(&dense, B, full.n, NULL))
        return SIZE_MAX;
    int64_t wide = (ws.dense_code != 0) + (ws.dense_pre != 0);
    if (!ws.dense_code)
        entry += sizeof(sae_real);
    if (sae_size_mul(&dense, (int64_t)dense, wide * (int64_t)sizeof(sae_real), NULL) ||
        sae_size_mul(&row, B, 2 * dim->d_out * (int64_t)sizeof(sae_real), NULL) ||
        sae_size_mul(&total, ws.dense_code == 1 ? 0 : ws.code_cap, (int64_t)entry, NULL) ||
        sae_size_add(&total, total, dense, NULL) || sae_size_add(&total, total, row, NULL) ||
        sae_size_add(&total, total, ws.scratch, NULL))
        return SIZE_MAX;
    return total;
}

void sae_tape_close(sae_tape *t, const sae_engine *e)
{
    give(e, t->code.rowptr);
    give(e, t->code.idx);
    give(e, t->code.val);
    give(e, t->pre);
    give(e, t->xhat);
    give(e, t->resid);
    give(e, t->scratch);
    memset(t, 0, sizeof *t);
}

int sae_tape_grow_code(sae_tape *t, int64_t need, const sae_engine *e, sae_err *err)
{
    sae_code *z = &t->code;
    size_t most = 0;
    SAE_TRY(sae_size_mul(&most, z->B, z->n, err));
    if (z->dense || need > (int64_t)most)
        SAE_FAIL(err, SAE_ECAPACITY, "a %s code of %lld x %lld asks for %lld entries",
                 z->dense ? "dense" : "sparse", (long long)z->B, (long long)z->n,
                 (long long)need);
    /* A quarter of slack, so that a slowly growing need does not allocate on every batch. */
    int64_t cap = need <= (int64_t)most - need / 4 ? need + need / 4 : (int64_t)most;
    give(e, z->idx);
    z->idx = NULL;
    z->cap = 0;
    SAE_TRY(take(e, &z->idx, cap, 1, sizeof(int32_t), "code indices", err));
    if (cap > t->val_cap) {
        give(e, z->val);
        z->val = NULL;
        t->val_cap = 0;
        SAE_TRY(take(e, &z->val, cap, 1, sizeof(sae_real), "code values", err));
        t->val_cap = cap;
    }
    z->cap = cap;
    return SAE_OK;
}

int sae_forward(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                const sae_engine *e)
{
    for (;;) {
        t->B = t->code.B = b->B;
        t->code.n = m->dim.n;
        t->code.nnz = t->code.nan = 0;
        int rc = m->v->forward(m, c, b, t);
        if (rc != SAE_ECAPACITY) {
            if (rc < 0)
                SAE_SET(c->err, rc, "%s: forward failed at step %lld%s%s", m->v->name,
                        (long long)c->step, *why(e) ? ": " : "", why(e));
            return rc;
        }
        if (t->code.nnz <= t->code.cap)
            SAE_FAIL(c->err, rc, "%s: forward asks for %lld code entries and has %lld", m->v->name,
                     (long long)t->code.nnz, (long long)t->code.cap);
        SAE_TRY(sae_tape_grow_code(t, t->code.nnz, e, c->err));
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */

int sae_stats_open(sae_stats_store *s, int64_t n_cap, const sae_engine *e, sae_err *err)
{
    int rc = SAE_OK;
    memset(s, 0, sizeof *s);
    SAE_GOTO(take(e, &s->last_fired, n_cap, 1, sizeof(uint64_t), "firing statistics", err));
    SAE_GOTO(take(e, &s->fire_count, n_cap, 1, sizeof(uint64_t), "firing statistics", err));
    s->view = (sae_stats){n_cap, 0, s->last_fired, s->fire_count};
    return SAE_OK;
fail:
    sae_stats_close(s, e);
    return rc;
}

void sae_stats_close(sae_stats_store *s, const sae_engine *e)
{
    give(e, s->last_fired);
    give(e, s->fire_count);
    memset(s, 0, sizeof *s);
}
