/* suite/core/probe_extras.c - a true dictionary and a base SAE for probes of variants that need
 * them. */
#include "core/probe.h"

#include "core/error.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/registry.h"

#include <math.h>
#include <sae/rng.h>
#include <string.h>

enum { STREAM_ATOMS = 68 };

struct sae_probe_extras {
    sae_base base; /* first: sae_base.encode finds the rest from it */
    sae_truth truth;
    sae_real *atoms;
    const sae_probe *p;
    sae_variant v; /* of the base */
    sae_opts *opts;
    sae_model model;
    sae_tape tape;
};

static int make_atoms(sae_probe_extras *x, sae_probe_shape shape, uint64_t seed, sae_err *err)
{
    SAE_TRY(sae_new(&x->atoms, shape.n * shape.d + 1, sizeof *x->atoms, "probe atoms", err));
    for (int64_t j = 0; j < shape.n; j++) {
        sae_real *atom = x->atoms + j * shape.d;
        double norm2 = 0;
        for (int64_t i = 0; i < shape.d; i++) {
            double v = sae_normal(seed, STREAM_ATOMS, (uint64_t)j, (uint32_t)i);
            atom[i] = (sae_real)v;
            norm2 += v * v;
        }
        for (int64_t i = 0; i < shape.d; i++)
            atom[i] = (sae_real)((double)atom[i] / sqrt(norm2));
    }
    x->truth = (sae_truth){shape.n, shape.d, x->atoms, NULL, NULL};
    return SAE_OK;
}

static int encode(const sae_base *base, const sae_batch *b, const sae_tape **t, sae_err *err)
{
    sae_probe_extras *x = (sae_probe_extras *)(uintptr_t)base;
    sae_ctx c = x->p->ctx;
    c.mode = SAE_EVAL;
    c.opt = x->model.opt;
    c.hold = NULL;
    c.hold_m = NULL;
    c.err = err;
    sae_batch own = {.B = b->B, .x = b->x, .y = b->x, .row0 = b->row0};
    *t = &x->tape;
    return sae_forward(&x->model, &c, &own, &x->tape, x->p->e);
}

/* The first registered variant that reads nothing but rows and does not grow. */
static int choose_base(sae_probe_extras *x, sae_err *err)
{
    for (int i = 0; sae_list_variants[i]; i++) {
        SAE_TRY(sae_admit_variant(sae_list_variants[i], &x->v, err));
        SAE_TRY(sae_opts_open(&x->opts, x->v.options, x->v.opt_size, err));
        const void *opt = sae_opts_base(x->opts);
        if (!(x->v.needs(opt, SAE_TRAIN) | x->v.needs(opt, SAE_EVAL)) &&
            !(x->v.caps & SAE_CAP_GROWS) && x->v.caps & SAE_CAP_LINEAR_DEC)
            return SAE_OK;
        sae_opts_close(&x->opts);
    }
    SAE_FAIL(err, SAE_ENEEDS, "no registered variant can be the base of a probe");
}

static int open_base(sae_probe_extras *x, sae_probe_shape shape, sae_err *err)
{
    sae_dims dim = {shape.d, shape.d, shape.n, shape.n};
    const sae_probe *p = x->p;
    SAE_TRY(choose_base(x, err));
    const void *opt = sae_opts_base(x->opts);
    SAE_TRY(sae_model_open(&x->model, &x->v, opt, &dim, p->e, 0, err));
    SAE_TRY(sae_tape_open(&x->tape, &x->v, opt, &dim, shape.B, SAE_EVAL, p->e, err));
    sae_ctx c = p->ctx;
    c.opt = opt;
    c.err = err;
    x->base.m = &x->model;
    x->base.encode = encode;
    return x->v.init(&x->model, &c, &p->batch);
}

int sae_probe_extras_open(sae_probe *p, uint64_t needs, sae_probe_shape shape, uint64_t seed,
                          sae_err *err)
{
    if (!(needs & (SAE_NEED_TRUTH | SAE_NEED_BASE)))
        return SAE_OK;
    SAE_TRY(sae_new(&p->extras, 1, sizeof *p->extras, "probe extras", err));
    p->extras->p = p;
    SAE_TRY(make_atoms(p->extras, shape, seed, err));
    if (needs & SAE_NEED_BASE)
        SAE_TRY(open_base(p->extras, shape, err));
    p->ctx.truth = needs & SAE_NEED_TRUTH ? &p->extras->truth : NULL;
    p->ctx.base = needs & SAE_NEED_BASE ? &p->extras->base : NULL;
    return SAE_OK;
}

void sae_probe_extras_close(sae_probe *p)
{
    sae_probe_extras *x = p->extras;
    if (!x)
        return;
    sae_model_close(&x->model, p->e);
    sae_tape_close(&x->tape, p->e);
    sae_opts_close(&x->opts);
    sae_free(x->atoms);
    sae_free(x);
    p->extras = NULL;
}
