/* suite/train/shares.c - a batch of a stream, divided between the devices of a team. */
#include "train/shares.h"

#include "core/error.h"

#include <inttypes.h>

static int take(const sae_shares *p, const sae_engine *e, int64_t d, sae_real **out, sae_err *err)
{
    size_t bytes = (size_t)(p->B * d) * sizeof **out;
    *out = e->be->alloc(e->dev, bytes);
    if (!*out)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s:%d: %zu bytes for %" PRId64 " rows",
                 e->be->name, e->index, bytes, p->B);
    return SAE_OK;
}

int sae_shares_open(sae_shares *p, sae_team *team, const sae_stream *s, int64_t B, uint64_t need,
                    sae_err *err)
{
    int rc = SAE_OK;
    *p = (sae_shares){.team = team, .s = s, .B = B / sae_team_count(team)};
    for (int i = 1; i < sae_team_count(team); i++) {
        const sae_engine *e = sae_team_engine(team, i);
        if (e->props.shares_host)
            continue;
        SAE_GOTO(take(p, e, s->dim.d_in, &p->x[i], err));
        if (need & SAE_NEED_TARGET)
            SAE_GOTO(take(p, e, s->dim.d_out, &p->y[i], err));
        if (need & SAE_NEED_GRAD)
            SAE_GOTO(take(p, e, s->dim.d_in, &p->g[i], err));
    }
    return SAE_OK;
fail:
    sae_shares_close(p);
    return rc;
}

void sae_shares_close(sae_shares *p)
{
    for (int i = 1; p->team && i < sae_team_count(p->team); i++) {
        const sae_engine *e = sae_team_engine(p->team, i);
        sae_real *all[] = {p->x[i], p->y[i], p->g[i]};
        for (int k = 0; k < 3; k++)
            if (all[k])
                e->be->release(e->dev, all[k]);
    }
    *p = (sae_shares){0};
}

/* *rows [B x d], at the start of the share, to `dev` where there is such memory. */
static int carry(const sae_shares *p, const sae_engine *e, int64_t d, sae_real *dev,
                 const sae_real **rows, sae_err *err)
{
    size_t bytes = (size_t)(p->B * d) * sizeof **rows;
    if (!dev)
        return SAE_OK;
    int rc = e->be->copy(e->dev, dev, *rows, bytes, SAE_COPY_H2D);
    if (rc < 0)
        SAE_FAIL(err, rc, "%zu bytes of a batch cannot be copied there", bytes);
    *rows = dev;
    return SAE_OK;
}

static int load(void *arg, int device, sae_err *err)
{
    sae_shares *p = arg;
    const sae_stream *s = p->s;
    const sae_engine *e = sae_team_engine(p->team, device);
    const sae_batch *all = device ? &s->now.host : &s->now.shown;
    int64_t first = device * p->B;
    sae_batch *b = &p->of[device];
    *b = *all;
    b->B = p->B;
    b->row0 = all->row0 + (uint64_t)first;
    b->x = all->x + first * s->dim.d_in;
    b->tok = all->tok ? all->tok + first : NULL;
    SAE_TRY(carry(p, e, s->dim.d_in, p->x[device], &b->x, err));
    if (all->y == all->x) {
        b->y = b->x;
    } else {
        b->y = all->y + first * s->dim.d_out;
        SAE_TRY(carry(p, e, s->dim.d_out, p->y[device], &b->y, err));
    }
    if (!all->g)
        return SAE_OK;
    b->g = all->g + first * s->dim.d_in;
    return carry(p, e, s->dim.d_in, p->g[device], &b->g, err);
}

int sae_shares_load(sae_shares *p, sae_err *err)
{
    return sae_team_each(p->team, load, p, err);
}
