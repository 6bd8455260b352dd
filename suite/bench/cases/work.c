/* suite/bench/cases/work.c - data of the kernels' benchmarks. */
#include "bench/cases/work.h"

#include <math.h>
#include <string.h>

enum kind { REALS, DOUBLES, WORDS };

static void *raw(sae_work *w, int64_t count, size_t size)
{
    const sae_engine *e = w->c->e;
    void *p = w->rc < 0 ? NULL : e->be->alloc(e->dev, (size_t)count * size);
    if (!p && w->rc >= 0)
        w->rc = SAE_ENOMEM;
    return p;
}

static void size_of(const sae_shape *s, enum sae_slot slot, int64_t *rows, int64_t *cols,
                    enum kind *kind)
{
    *rows = 1;
    *kind = slot >= SLOT_COUNTS         ? WORDS
            : slot >= SLOT_ROWS_DOUBLE ? DOUBLES
                                       : REALS;
    switch (slot) {
    case SLOT_DENSE_A:
    case SLOT_DENSE_B:
    case SLOT_DENSE_OUT:
        *rows = s->B;
        *cols = s->n;
        break;
    case SLOT_X:
    case SLOT_Y:
    case SLOT_XHAT:
    case SLOT_LONG_DOUBLE:
        *rows = s->B;
        *cols = s->d;
        break;
    case SLOT_W:
    case SLOT_GRAD:
    case SLOT_M:
    case SLOT_V:
        *rows = s->n;
        *cols = s->d;
        break;
    case SLOT_SQUARE:
    case SLOT_SQUARE_START:
    case SLOT_CROSS:
        *rows = *cols = s->d;
        break;
    case SLOT_BIAS_D:
    case SLOT_D_DOUBLE:
        *cols = s->d;
        break;
    case SLOT_ROW:
    case SLOT_TARGET:
    case SLOT_ROWS_DOUBLE:
    case SLOT_L0:
        *cols = s->B;
        break;
    case SLOT_DVAL:
        *cols = s->B * s->k;
        break;
    default:
        *cols = s->n;
        break;
    }
}

/* Where the host writes what is to lie at p: there, or in a copy that bring() brings over. */
static void *draft(sae_work *w, void *p, size_t bytes)
{
    sae_err err = {0};
    void *copy = NULL;
    if (w->rc < 0 || w->c->e->props.shares_host)
        return p;
    w->rc = sae_new(&copy, (int64_t)bytes, 1, "bench.draft", &err);
    return copy;
}

static void bring(sae_work *w, void *p, void *from, size_t bytes)
{
    if (from == p)
        return;
    if (w->rc >= 0)
        w->rc = w->c->e->be->copy(w->c->e->dev, p, from, bytes, SAE_COPY_H2D);
    sae_free(from);
}

/* Symmetric and dominated by its diagonal: positive definite. */
static void fill_square(double *a, int64_t d)
{
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++)
            a[i * d + j] = a[j * d + i] =
                i == j ? 2 * sqrt((double)d)
                       : sae_normal(5, SAE_STREAM_SYNTHETIC, (uint64_t)i, (uint32_t)j) / 2;
}

static void fill_slot(const sae_shape *s, enum sae_slot slot, void *p)
{
    int64_t each = s->B * s->k / s->n;
    if (slot == SLOT_SQUARE_START)
        fill_square(p, s->d);
    for (int64_t i = 0; slot == SLOT_TARGET && i < s->B; i++)
        ((double *)p)[i] = 2 * sqrt((double)s->k);
    for (int64_t j = 0; slot == SLOT_QUOTA && j < s->n; j++)
        ((int64_t *)p)[j] = each > 0 ? each : 1;
}

void *sae_work_get(sae_work *w, enum sae_slot slot)
{
    const sae_engine *e = w->c->e;
    int64_t rows, cols;
    enum kind kind;
    if (w->slot[slot])
        return w->slot[slot];
    size_of(&w->s, slot, &rows, &cols, &kind);
    void *p = w->slot[slot] = raw(w, rows * cols, kind == REALS ? sizeof(sae_real) : 8);
    if (!p)
        return NULL;
    if (kind == REALS && slot != SLOT_GRAD && slot != SLOT_M && slot != SLOT_V)
        w->rc = e->k.normal_fill(e->dev, (uint64_t)slot + 1, SAE_STREAM_SYNTHETIC, 0,
                                 sae_matrix_out(p, rows, cols));
    if (slot == SLOT_W && w->rc >= 0)
        w->rc = e->k.unit_rows(e->dev, sae_matrix_out(p, rows, cols));
    if (slot == SLOT_SQUARE_START || slot == SLOT_TARGET || slot == SLOT_QUOTA) {
        void *host = draft(w, p, (size_t)(rows * cols) * 8);
        if (host)
            fill_slot(&w->s, slot, host);
        bring(w, p, host, (size_t)(rows * cols) * 8);
    }
    return p;
}

static void make_code(sae_work *w, sae_code *z, int64_t cap)
{
    *z = (sae_code){.B = w->s.B, .n = w->s.n, .cap = cap};
    z->rowptr = raw(w, z->B + 1, sizeof *z->rowptr);
    z->idx = raw(w, cap, sizeof *z->idx);
    z->val = raw(w, cap, sizeof *z->val);
}

/* k features a row: one of each k-th of the dictionary. */
static void fill_code(const sae_code *z, int64_t k)
{
    int64_t part = z->n / k;
    z->rowptr[0] = 0;
    for (int64_t r = 0; r < z->B; r++)
        for (int64_t i = 0; i < k; i++) {
            sae_u4 u = sae_philox(3, SAE_STREAM_SYNTHETIC, (uint64_t)r, (uint32_t)i);
            z->idx[r * k + i] = (int32_t)(i * part + (int64_t)(u.v[0] % (uint64_t)part));
            z->val[r * k + i] = (sae_real)sae_u01(u.v[1]) + 1;
            z->rowptr[r + 1] = (r + 1) * k;
        }
}

sae_code *sae_work_code(sae_work *w)
{
    sae_code *z = &w->z, host;
    if (z->rowptr || w->rc < 0)
        return z;
    make_code(w, z, w->s.B * w->s.k);
    if (w->rc < 0)
        return z;
    size_t ptrs = (size_t)(z->B + 1) * sizeof *z->rowptr, cap = (size_t)z->cap;
    host = *z;
    host.rowptr = draft(w, z->rowptr, ptrs);
    host.idx = draft(w, z->idx, cap * sizeof *z->idx);
    host.val = draft(w, z->val, cap * sizeof *z->val);
    if (w->rc >= 0)
        fill_code(&host, w->s.k);
    bring(w, z->rowptr, host.rowptr, ptrs);
    bring(w, z->idx, host.idx, cap * sizeof *z->idx);
    bring(w, z->val, host.val, cap * sizeof *z->val);
    z->nnz = z->B * w->s.k;
    return z;
}

sae_code *sae_work_made(sae_work *w)
{
    if (!w->made.rowptr)
        make_code(w, &w->made, 2 * w->s.B * w->s.k);
    return &w->made;
}

sae_csc *sae_work_index(sae_work *w)
{
    const sae_engine *e = w->c->e;
    sae_csc *t = &w->t;
    const sae_code *z = sae_work_code(w);
    if (t->colptr || w->rc < 0)
        return t;
    *t = (sae_csc){.n = z->n, .cap = z->nnz};
    t->colptr = raw(w, z->n + 1, sizeof *t->colptr);
    t->row = raw(w, t->cap, sizeof *t->row);
    t->pos = raw(w, t->cap, sizeof *t->pos);
    if (w->rc >= 0)
        w->rc = e->k.code_transpose(e->dev, z, t);
    return t;
}

double sae_work_bound(const sae_work *w)
{
    double lo = -9, hi = 9, share = (double)w->s.k / (double)w->s.n;
    for (int i = 0; i < 60; i++) {
        double x = (lo + hi) / 2;
        *(erfc(x * sqrt(0.5)) / 2 > share ? &lo : &hi) = x;
    }
    return hi;
}

static void drop(sae_work *w)
{
    const sae_engine *e = w->c->e;
    void *p[] = {w->z.rowptr, w->z.idx, w->z.val, w->made.rowptr, w->made.idx, w->made.val,
                 w->t.colptr, w->t.row, w->t.pos};
    for (int i = 0; i < SLOTS; i++)
        e->be->release(e->dev, w->slot[i]);
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++)
        e->be->release(e->dev, p[i]);
    *w = (sae_work){.c = w->c};
}

void sae_work_shape(sae_work *w, const sae_shape *s)
{
    if (w->rc >= 0 && !memcmp(&w->s, s, sizeof *s))
        return;
    drop(w);
    w->s = *s;
}

sae_work *sae_cases_work(sae_cases *c, sae_err *err)
{
    if (!c->work && (c->work = sae_cases_keep(c, sizeof *c->work, err)))
        c->work->c = c;
    return c->work;
}

void sae_work_close(sae_work *w)
{
    if (w && w->c)
        drop(w);
}
