/* suite/models/lm_pass.c - passes that halt at a hook and go on from it. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_math.h"

#include <stdlib.h>

/* Contexts are computed together until they have this many rows: enough for the matrix products,
 * few enough that a group's buffers stay in the caches. */
enum { GROUP_ROWS = 2048 };

/* A hook is the stream before half p, or what half p adds to it. */
typedef struct hook {
    int64_t p;
    int delta;
} hook;

struct sae_lm_pass {
    sae_lm_model *m;
    hook at;
    int64_t N;
    int64_t *start; /* [N + 1] */
    int32_t *tok;   /* [rows] */
    float *x;       /* [rows x d] stream before half at.p */
    float *delta;   /* [rows x d] what half at.p adds; used when at.delta */
    int64_t cap_N, cap_rows; /* what there is room for */
};

/* ---- hooks ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *other; /* ours and TransformerLens': "NAME.L", "blocks.L.hook_NAME" */
    int64_t p;                /* 2 L + p */
    int delta;
} hook_kinds[] = {
    {"resid_pre", "hook_resid_pre", 0, 0},
    {"resid_post", "hook_resid_post", 2, 0},
    {"attn_out", "hook_attn_out", 0, 1},
    {"mlp_out", "hook_mlp_out", 1, 1},
};

/* The layer number at text, which ends at `stop`; -1 if it is none. */
static int64_t layer_number(const char *text, const char *stop)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -1;
    long long v = strtoll(text, &end, 10);
    return end == stop ? v : -1;
}

static int find_hook(const sae_lm_model *m, const char *name, hook *out, sae_err *err)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof hook_kinds / sizeof hook_kinds[0]; i++) {
        size_t len = strlen(hook_kinds[i].name);
        int64_t layer = -1;
        if ((size_t)(dot - name) == len && strncmp(name, hook_kinds[i].name, len) == 0)
            layer = layer_number(dot + 1, name + strlen(name));
        else if (strncmp(name, "blocks.", 7) == 0 && strcmp(dot + 1, hook_kinds[i].other) == 0)
            layer = layer_number(name + 7, dot);
        if (layer >= 0 && layer < m->cfg.layers) {
            *out = (hook){2 * layer + hook_kinds[i].p, hook_kinds[i].delta};
            return SAE_OK;
        }
    }
    SAE_FAIL(err, SAE_EINVAL,
             "hook \"%.80s\" does not exist: expected resid_pre.L, resid_post.L, attn_out.L or "
             "mlp_out.L with L from 0 to %lld",
             name, (long long)m->cfg.layers - 1);
}

int sae_lm_hook(void *self, const char *name, int64_t *d_hook, sae_err *err)
{
    const sae_lm_model *m = self;
    hook h;
    SAE_TRY(find_hook(m, name, &h, err));
    *d_hook = m->cfg.d;
    return SAE_OK;
}

/* ---- contexts -------------------------------------------------------------------------------- */

static int check_contexts(const sae_lm_model *m, const sae_contexts *c, sae_err *err)
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

/* The group of contexts that begins with context c0. */
static sae_lm_group group_at(const sae_lm_pass *s, int64_t c0)
{
    sae_lm_group g = {.c0 = c0, .c1 = c0 + 1, .start = s->start, .tok = s->tok};
    g.row0 = s->start[c0];
    while (g.c1 < s->N && s->start[g.c1 + 1] - g.row0 <= GROUP_ROWS)
        g.c1++;
    g.rows = s->start[g.c1] - g.row0;
    return g;
}

/* Room for the largest group and the longest context of the pass. */
static int reserve(const sae_lm_pass *s, sae_err *err)
{
    int64_t rows = 0, longest = 0;
    for (int64_t c = 0; c < s->N;) {
        sae_lm_group g = group_at(s, c);
        rows = g.rows > rows ? g.rows : rows;
        for (; c < g.c1; c++)
            longest = s->start[c + 1] - s->start[c] > longest ? s->start[c + 1] - s->start[c]
                                                              : longest;
    }
    return sae_lm_work_reserve(s->m, rows, longest, err);
}

/* ---- passes ---------------------------------------------------------------------------------- */

void sae_lm_pass_free(sae_lm_pass *s)
{
    if (!s)
        return;
    sae_free(s->start);
    sae_free(s->tok);
    sae_free(s->x);
    sae_free(s->delta);
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
    return sae_new(&s->x, rows * m->cfg.d, sizeof *s->x, "lm.pass", err);
}

/* A pass with room for c, the ended one if it fits, and a copy of c. */
static int open_pass(sae_lm_model *m, hook at, const sae_contexts *c, sae_lm_pass **pass,
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
    if (at.delta && !s->delta)
        SAE_TRY(sae_new(&s->delta, s->cap_rows * m->cfg.d, sizeof *s->delta, "lm.pass", err));
    s->at = at;
    s->N = c->N;
    memcpy(s->start, c->start, (size_t)(c->N + 1) * sizeof *s->start);
    if (rows > 0)
        memcpy(s->tok, c->tok, (size_t)rows * sizeof *s->tok);
    return reserve(s, err);
}

int sae_lm_begin(void *self, const char *name, const sae_contexts *c, sae_lm_pass **pass,
                 sae_err *err)
{
    int rc = SAE_OK;
    sae_lm_model *m = self;
    hook at;
    *pass = NULL;
    SAE_GOTO(find_hook(m, name, &at, err));
    SAE_GOTO(check_contexts(m, c, err));
    SAE_GOTO(open_pass(m, at, c, pass, err));
    sae_lm_pass *s = *pass;
    for (int64_t i = 0; i < s->N;) {
        sae_lm_group g = group_at(s, i);
        float *x = s->x + g.row0 * m->cfg.d;
        sae_lm_embed(m, &g, x);
        SAE_GOTO(sae_lm_halves(m, &g, 0, at.p, x, err));
        if (at.delta)
            SAE_GOTO(sae_lm_half_forward(m, &g, at.p, x, s->delta + g.row0 * m->cfg.d, err));
        i = g.c1;
    }
    return SAE_OK;
fail:
    sae_lm_pass_free(*pass);
    *pass = NULL;
    return rc;
}

const float *sae_lm_acts(const sae_lm_pass *s)
{
    return s->at.delta ? s->delta : s->x;
}

/* The stream behind the hook into work.x; *p becomes the half that comes next. */
static void resume(const sae_lm_pass *s, const sae_lm_group *g, const float *x, int64_t *p)
{
    int64_t off = g->row0 * s->m->cfg.d, count = g->rows * s->m->cfg.d;
    const float *acts = (x ? x : sae_lm_acts(s)) + off, *from = s->at.delta ? s->x + off : acts;
    float *out = s->m->work.x;
    memcpy(out, from, (size_t)count * sizeof *out);
    *p = s->at.p;
    if (s->at.delta) {
        sae_lm_add(count, acts, out);
        ++*p;
    }
}

int sae_lm_finish(sae_lm_pass *s, const float *x, const sae_lm_out *out, sae_err *err)
{
    sae_lm_model *m = s->m;
    if (out->grad)
        SAE_FAIL(err, SAE_ENEEDS, "gradients need a backward pass, which architecture %s has not",
                 m->cfg.arch);
    if (out->kl && !out->ref)
        SAE_FAIL(err, SAE_EINVAL, "kl needs the log-probabilities of a reference pass");
    SAE_TRY(reserve(s, err)); /* other passes or more threads may have come in between */
    for (int64_t i = 0; i < s->N;) {
        sae_lm_group g = group_at(s, i);
        int64_t p;
        resume(s, &g, x, &p);
        SAE_TRY(sae_lm_halves(m, &g, p, 2 * m->cfg.layers, m->work.x, err));
        SAE_TRY(sae_lm_head_forward(m, &g, m->work.x, out, err));
        i = g.c1;
    }
    return SAE_OK;
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
