/* suite/models/lm_pass.c - passes that halt at a hook and go on from it. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_file.h"
#include "models/lm_tape.h"

#include <stdlib.h>
#include <string.h>

/* Contexts are computed together until they have this many rows: enough for the matrix products,
 * few enough that a group's buffers stay in the caches. */
enum { GROUP_ROWS = 2048 };

/* What a hook shows: the stream before half p, what half p puts into its output matrix, or what it
 * adds to the stream. */
enum kind { STREAM, MID, DELTA };
typedef struct hook {
    int64_t p;
    enum kind kind;
} hook;

struct sae_lm_pass {
    sae_lm_model *m;
    hook at;
    int64_t N;
    int64_t *start; /* [N + 1] */
    int32_t *tok;   /* [rows] */
    sae_real *x;    /* [rows x d] the stream that the hook's half reads, or the hook's own */
    sae_real *acts; /* [rows x width] MID and DELTA */
    /* [rows x width] where the model is not in host memory: the activations for callers, and those
     * that they gave in their place. */
    sae_real *shown, *given;
    int64_t width;
    int blind; /* 1: nobody asks for the activations */
    int64_t cap_N, cap_rows, cap_acts, cap_shown, cap_given; /* what there is room for */
};

/* ---- hooks ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *other; /* ours and TransformerLens': "NAME.L", "blocks.L.NAME" */
    int64_t p;                /* 2 L + p */
    enum kind kind;
} hook_kinds[] = {
    {"resid_pre", "hook_resid_pre", 0, STREAM},
    {"resid_mid", "hook_resid_mid", 1, STREAM},
    {"resid_post", "hook_resid_post", 2, STREAM},
    {"attn_z", "attn.hook_z", 0, MID},
    {"attn_out", "hook_attn_out", 0, DELTA},
    {"mlp_act", "mlp.hook_post", 1, MID},
    {"mlp_out", "hook_mlp_out", 1, DELTA},
};

/* The number that text begins with, up to `stop`; -1 if it is none. */
static int64_t layer_number(const char *text, const char **stop)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -1;
    long long v = strtoll(text, &end, 10);
    *stop = end;
    return v;
}

/* The layer that a name gives to hook kind i, -1: it is another hook. */
static int64_t layer_of(const char *name, size_t i)
{
    size_t len = strlen(hook_kinds[i].name);
    const char *stop = name;
    int64_t layer = -1;
    if (strncmp(name, hook_kinds[i].name, len) == 0 && name[len] == '.') {
        layer = layer_number(name + len + 1, &stop);
        return *stop ? -1 : layer;
    }
    if (strncmp(name, "blocks.", 7) == 0)
        layer = layer_number(name + 7, &stop);
    return layer >= 0 && *stop == '.' && strcmp(stop + 1, hook_kinds[i].other) == 0 ? layer : -1;
}

static int find_hook(const sae_lm_model *m, const char *name, hook *out, sae_err *err)
{
    int parallel = m->cfg.parallel;
    for (size_t i = 0; i < sizeof hook_kinds / sizeof hook_kinds[0]; i++) {
        int64_t layer = layer_of(name, i);
        int odd_stream = hook_kinds[i].kind == STREAM && hook_kinds[i].p == 1;
        if (layer >= 0 && layer < m->cfg.layers && !(parallel && odd_stream)) {
            *out = (hook){2 * layer + hook_kinds[i].p, hook_kinds[i].kind};
            return SAE_OK;
        }
    }
    SAE_FAIL(err, SAE_EINVAL,
             "hook \"%.80s\" does not exist: expected resid_pre.L, %sresid_post.L, attn_z.L, "
             "attn_out.L, mlp_act.L or mlp_out.L with L from 0 to %lld",
             name, parallel ? "" : "resid_mid.L, ", (long long)m->cfg.layers - 1);
}

int sae_lm_same_hook(const char *a, const char *b)
{
    enum { KINDS = sizeof hook_kinds / sizeof hook_kinds[0] };
    for (size_t i = 0; i < KINDS; i++)
        for (size_t j = 0; j < KINDS; j++) {
            int64_t at = layer_of(a, i), to = layer_of(b, j);
            if (at >= 0 && to >= 0 && hook_kinds[i].kind == hook_kinds[j].kind &&
                2 * at + hook_kinds[i].p == 2 * to + hook_kinds[j].p)
                return 1;
        }
    return 0;
}

static int64_t hook_width(const sae_lm_model *m, hook h)
{
    return h.kind == MID ? sae_lm_mid_width(&m->cfg, h.p) : m->cfg.d;
}

int sae_lm_hook(void *self, const char *name, int64_t *d_hook, sae_err *err)
{
    const sae_lm_model *m = self;
    hook h;
    SAE_TRY(find_hook(m, name, &h, err));
    *d_hook = hook_width(m, h);
    return SAE_OK;
}

/* ---- contexts -------------------------------------------------------------------------------- */

int sae_lm_check_contexts(const sae_lm_model *m, const sae_contexts *c, sae_err *err)
{
    if (c->N < 0 || c->start[0] != 0)
        SAE_FAIL(err, SAE_EINVAL, "contexts: expected N >= 0 and start[0] = 0, found %lld and %lld",
                 (long long)c->N, (long long)c->start[0]);
    for (int64_t i = 0; i < c->N; i++) {
        int64_t len = c->start[i + 1] - c->start[i];
        if (len < 0 || len > m->cfg.ctx)
            SAE_FAIL(err, SAE_EINVAL, "context %lld: expected 0 to %lld tokens, found %lld",
                     (long long)i, (long long)m->cfg.ctx, (long long)len);
    }
    for (int64_t r = 0; r < c->start[c->N]; r++)
        if (c->tok[r] < 0 || c->tok[r] >= m->cfg.vocab)
            SAE_FAIL(err, SAE_EINVAL, "token %lld: expected an id from 0 to %lld, found %d",
                     (long long)r, (long long)m->cfg.vocab - 1, (int)c->tok[r]);
    return SAE_OK;
}

static sae_contexts contexts_of(const sae_lm_pass *s)
{
    return (sae_contexts){s->N, s->start, s->tok};
}

/* ---- passes ---------------------------------------------------------------------------------- */

void sae_lm_pass_free(sae_lm_pass *s)
{
    if (!s)
        return;
    sae_free(s->start);
    sae_free(s->tok);
    sae_free(s->shown);
    sae_lm_free(&s->m->at, s->x);
    sae_lm_free(&s->m->at, s->acts);
    sae_lm_free(&s->m->at, s->given);
    sae_free(s);
}

static int new_pass(sae_lm_model *m, int64_t N, int64_t rows, sae_lm_pass **pass, sae_err *err)
{
    SAE_TRY(sae_new(pass, 1, sizeof **pass, "lm.pass", err));
    sae_lm_pass *s = *pass;
    s->m = m;
    s->cap_N = N;
    s->cap_rows = rows;
    SAE_TRY(sae_new(&s->start, N + 1, sizeof *s->start, "lm.pass", err));
    SAE_TRY(sae_new(&s->tok, rows, sizeof *s->tok, "lm.pass", err));
    return sae_lm_new(&m->at, &s->x, rows * m->cfg.d, sizeof *s->x, "lm.pass", err);
}

/* Room for `need` elements where there is room for *cap. at: where; NULL: on the host. */
static int reserve(const sae_lm_place *at, sae_real **p, int64_t *cap, int64_t need, sae_err *err)
{
    static const sae_lm_place host = {0};
    if (*cap >= need)
        return SAE_OK;
    at = at ? at : &host;
    sae_lm_free(at, *p);
    *p = NULL;
    *cap = 0;
    SAE_TRY(sae_lm_new(at, p, need, sizeof **p, "lm.pass", err));
    *cap = need;
    return SAE_OK;
}

/* Room for the activations at the hook, where they are not the stream, and for what is shown. */
static int reserve_acts(sae_lm_pass *s, sae_err *err)
{
    int64_t need = s->cap_rows * s->width;
    if (s->at.kind != STREAM)
        SAE_TRY(reserve(&s->m->at, &s->acts, &s->cap_acts, need, err));
    return s->m->at.be && !s->blind ? reserve(NULL, &s->shown, &s->cap_shown, need, err) : SAE_OK;
}

/* A pass with room for c, the ended one if it fits, and a copy of c. */
static int open_pass(sae_lm_model *m, hook at, int blind, const sae_contexts *c, sae_lm_pass **pass,
                     sae_err *err)
{
    int64_t rows = c->start[c->N];
    *pass = m->spare;
    m->spare = NULL;
    if (*pass && ((*pass)->cap_N < c->N || (*pass)->cap_rows < rows)) {
        sae_lm_pass_free(*pass);
        *pass = NULL;
    }
    if (!*pass)
        SAE_TRY(new_pass(m, c->N, rows, pass, err));
    sae_lm_pass *s = *pass;
    s->at = at;
    s->width = hook_width(m, at);
    s->blind = blind;
    SAE_TRY(reserve_acts(s, err));
    s->N = c->N;
    memcpy(s->start, c->start, (size_t)(c->N + 1) * sizeof *s->start);
    if (rows > 0)
        memcpy(s->tok, c->tok, (size_t)rows * sizeof *s->tok);
    return sae_lm_reserve_groups(m, c, GROUP_ROWS, err);
}

/* Where the stream that a hook needs is: before its half, in a parallel block before both. */
static int64_t stream_place(const sae_lm_model *m, hook h)
{
    return m->cfg.parallel && h.kind != STREAM ? h.p / 2 * 2 : h.p;
}

/* The activations at the hook, in the place's memory. */
static const sae_real *acts_of(const sae_lm_pass *s)
{
    return s->at.kind == STREAM ? s->x : s->acts;
}

/* Where the host cannot reach them: copies of all rows for callers. */
static int show_all(sae_lm_pass *s, sae_err *err)
{
    if (!s->m->at.be || s->blind)
        return SAE_OK;
    return sae_lm_get(&s->m->at, s->shown, acts_of(s), s->start[s->N] * s->width,
                      sizeof *s->shown, err);
}

/* The hook's own activations from the stream in s->x. */
static int show_hook(sae_lm_pass *s, const sae_lm_group *g, sae_err *err)
{
    sae_lm_model *m = s->m;
    sae_lm_frame f = sae_lm_work_frame(m);
    const sae_real *x = s->x + g->row0 * m->cfg.d;
    if (s->at.kind == STREAM)
        return SAE_OK;
    sae_real *acts = s->acts + g->row0 * s->width;
    if (s->at.kind == DELTA)
        return sae_lm_half_forward(m, g, s->at.p, x, acts, err);
    f.mid = acts;
    return sae_lm_half_mid(m, g, s->at.p, x, &f, err);
}

static int run_to_hook(sae_lm_pass *s, const sae_lm_group *g, sae_err *err)
{
    sae_lm_model *m = s->m;
    sae_real *x = s->x + g->row0 * m->cfg.d;
    SAE_TRY(sae_lm_group_use(m, g, err));
    SAE_TRY(sae_lm_embed(m, x, err));
    SAE_TRY(sae_lm_halves(m, g, 0, stream_place(m, s->at), x, err));
    return show_hook(s, g, err);
}

int sae_lm_begin(void *self, const char *name, const sae_contexts *c, sae_lm_pass **pass,
                 sae_err *err)
{
    int rc = SAE_OK;
    sae_lm_model *m = self;
    hook at = {0, STREAM};
    *pass = NULL;
    if (name)
        SAE_GOTO(find_hook(m, name, &at, err));
    SAE_GOTO(sae_lm_check_contexts(m, c, err));
    SAE_GOTO(open_pass(m, at, !name, c, pass, err));
    for (int64_t i = 0; i < c->N;) {
        sae_lm_group g = sae_lm_group_at(c, i, GROUP_ROWS);
        SAE_GOTO(run_to_hook(*pass, &g, err));
        i = g.c1;
    }
    SAE_GOTO(show_all(*pass, err));
    return SAE_OK;
fail:
    sae_lm_pass_free(*pass);
    *pass = NULL;
    return rc;
}

const sae_real *sae_lm_acts(const sae_lm_pass *s)
{
    return s->blind ? NULL : s->m->at.be ? s->shown : acts_of(s);
}

/* The stream behind the hook's half (in a parallel block behind both) into work.x, with `acts`
 * (a whole pass of them) at the hook; *p becomes the half that comes next. pre: see
 * sae_lm_half_out. */
static int resume(const sae_lm_pass *s, const sae_lm_group *g, const sae_real *acts, sae_real *pre,
                  int64_t *p, sae_err *err)
{
    sae_lm_model *m = s->m;
    int64_t d = m->cfg.d;
    const sae_real *own = acts + g->row0 * s->width, *x = s->x + g->row0 * d;
    *p = s->at.p;
    if (s->at.kind == STREAM)
        return sae_lm_copy(m, g->rows, d, own, m->work.x, err);
    int slot = m->cfg.parallel ? (int)(s->at.p % 2) : 0;
    sae_real *delta = m->work.delta[slot];
    if (m->cfg.parallel) /* first: a half uses the buffers of work */
        SAE_TRY(sae_lm_half_forward(m, g, s->at.p ^ 1, x, m->work.delta[slot ^ 1], err));
    if (s->at.kind == MID) {
        sae_lm_frame f = sae_lm_work_frame(m);
        f.pre = pre;
        SAE_TRY(sae_lm_half_out(m, g, s->at.p, own, &f, delta, err));
    } else {
        SAE_TRY(sae_lm_copy(m, g->rows, d, own, delta, err));
    }
    SAE_TRY(sae_lm_copy(m, g->rows, d, x, m->work.x, err));
    for (int i = 0; i <= m->cfg.parallel; i++)
        SAE_TRY(sae_lm_add(m, g->rows, m->work.delta[i], m->work.x, err));
    *p = m->cfg.parallel ? s->at.p / 2 * 2 + 2 : s->at.p + 1;
    return SAE_OK;
}

/* The rows of one group, with the gradient at the hook. */
static int finish_back(sae_lm_pass *s, const sae_lm_group *g, const sae_real *acts,
                       const sae_lm_out *out, sae_err *err)
{
    sae_lm_model *m = s->m;
    int64_t p;
    sae_real *dx = NULL, *dmid = sae_lm_tape_dmid(m), *pre = sae_lm_tape_pre(m);
    SAE_TRY(resume(s, g, acts, pre, &p, err));
    SAE_TRY(sae_lm_tape_forward(m, g, p, m->work.x, err));
    SAE_TRY(sae_lm_tape_head(m, g, m->work.x, out, NULL, &dx, err));
    SAE_TRY(sae_lm_tape_back(m, g, p, dx, NULL, err));
    if (s->at.kind == MID)
        SAE_TRY(sae_lm_half_out_back(m, g, s->at.p, acts + g->row0 * s->width, pre, dx, dmid, NULL,
                                     err));
    return sae_lm_get(&m->at, out->grad + g->row0 * s->width, s->at.kind == MID ? dmid : dx,
                      g->rows * s->width, sizeof *dx, err);
}

/* *acts: x of the caller, or what the hook shows (x NULL), in the place's memory. */
static int take_acts(sae_lm_pass *s, const sae_real *x, const sae_real **acts, sae_err *err)
{
    const sae_lm_place *at = &s->m->at;
    int64_t count = s->start[s->N] * s->width;
    *acts = x ? x : acts_of(s);
    if (!x || !at->be)
        return SAE_OK;
    SAE_TRY(reserve(at, &s->given, &s->cap_given, s->cap_rows * s->width, err));
    *acts = s->given;
    return sae_lm_put(at, s->given, x, count, sizeof *x, err);
}

int sae_lm_finish(sae_lm_pass *s, const sae_real *x, const sae_lm_out *out, sae_err *err)
{
    sae_lm_model *m = s->m;
    sae_contexts c = contexts_of(s);
    const sae_real *acts;
    int64_t most = out->grad ? sae_lm_tape_rows(m) : GROUP_ROWS;
    if (out->kl && !out->ref)
        SAE_FAIL(err, SAE_EINVAL, "kl needs the log-probabilities of a reference pass");
    for (int64_t r = 0; out->expect && r < c.start[c.N]; r++)
        if (out->expect[r] >= m->cfg.vocab)
            SAE_FAIL(err, SAE_EINVAL, "token %d is not one of the model's %lld", out->expect[r],
                     (long long)m->cfg.vocab);
    SAE_TRY(take_acts(s, x, &acts, err));
    /* other passes or more threads may have come in between */
    SAE_TRY(sae_lm_reserve_groups(m, &c, most, err));
    if (out->grad)
        SAE_TRY(sae_lm_tape_reserve(m, &c, err));
    for (int64_t i = 0; i < s->N;) {
        sae_lm_group g = sae_lm_group_at(&c, i, most);
        int64_t p;
        i = g.c1;
        SAE_TRY(sae_lm_group_use(m, &g, err));
        if (out->grad) {
            SAE_TRY(finish_back(s, &g, acts, out, err));
            continue;
        }
        SAE_TRY(resume(s, &g, acts, NULL, &p, err));
        SAE_TRY(sae_lm_halves(m, &g, p, 2 * m->cfg.layers, m->work.x, err));
        SAE_TRY(sae_lm_head_forward(m, &g, m->work.x, out, NULL, err));
    }
    return SAE_OK;
}

/* The stream that the hook `to` needs into s->x. */
static int run_on(sae_lm_pass *s, const sae_lm_group *g, hook to, sae_err *err)
{
    sae_lm_model *m = s->m;
    int64_t p;
    SAE_TRY(sae_lm_group_use(m, g, err));
    SAE_TRY(resume(s, g, acts_of(s), NULL, &p, err));
    SAE_TRY(sae_lm_halves(m, g, p, stream_place(m, to), m->work.x, err));
    return sae_lm_copy(m, g->rows, m->cfg.d, m->work.x, s->x + g->row0 * m->cfg.d, err);
}

int sae_lm_advance(sae_lm_pass *s, const char *name, sae_err *err)
{
    sae_lm_model *m = s->m;
    sae_contexts c = contexts_of(s);
    hook to;
    SAE_TRY(find_hook(m, name, &to, err));
    if (to.p < s->at.p || (to.p == s->at.p && to.kind <= s->at.kind))
        SAE_FAIL(err, SAE_EINVAL, "hook %.80s: expected one behind the hook of the rows", name);
    int ahead = stream_place(m, to) > stream_place(m, s->at);
    SAE_TRY(sae_lm_reserve_groups(m, &c, GROUP_ROWS, err));
    for (int64_t i = 0; ahead && i < c.N;) {
        sae_lm_group g = sae_lm_group_at(&c, i, GROUP_ROWS);
        SAE_TRY(run_on(s, &g, to, err));
        i = g.c1;
    }
    s->at = to;
    s->blind = 0;
    s->width = hook_width(m, to);
    SAE_TRY(reserve_acts(s, err));
    for (int64_t i = 0; i < c.N;) {
        sae_lm_group g = sae_lm_group_at(&c, i, GROUP_ROWS);
        SAE_TRY(sae_lm_group_use(m, &g, err));
        SAE_TRY(show_hook(s, &g, err));
        i = g.c1;
    }
    return show_all(s, err);
}

void sae_lm_end(sae_lm_pass **pass)
{
    sae_lm_pass *s = *pass;
    *pass = NULL;
    if (!s)
        return;
    if (s->m->spare)
        sae_lm_pass_free(s);
    else
        s->m->spare = s;
}
