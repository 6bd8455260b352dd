/* suite/models/lm_state.c - saving and loading where a training run stands. */
#include "models/lm_state.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *state_path(const char *dir, sae_err *err)
{
    char *path = sae_path_join(dir, "state.safetensors");
    if (!path)
        (void)SAE_SET(err, SAE_ENOMEM, "out of memory");
    return path;
}

int sae_lm_state_open(sae_lm_state *s, const sae_lm_weights *w, const sae_lm_place *at,
                      sae_err *err)
{
    *s = (sae_lm_state){.at = *at};
    SAE_TRY(sae_lm_new(at, &s->m, w->count, sizeof *s->m, "lm.adam_m", err));
    return sae_lm_new(at, &s->v, w->count, sizeof *s->v, "lm.adam_v", err);
}

void sae_lm_state_close(sae_lm_state *s)
{
    sae_lm_free(&s->at, s->m);
    sae_lm_free(&s->at, s->v);
    *s = (sae_lm_state){0};
}

/* ---- clock ----------------------------------------------------------------------------------- */

static int put_number(sae_st_writer *w, const char *key, int64_t value, sae_err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return sae_st_writer_meta(w, key, text, err);
}

static int get_number(const sae_st *st, const char *key, int64_t *out, sae_err *err)
{
    const char *text = sae_st_meta(st, key);
    char *end = NULL;
    long long v = text ? strtoll(text, &end, 10) : -1;
    if (!text || end == text || *end || v < 0)
        SAE_FAIL(err, SAE_EFORMAT, "%s: __metadata__.%s: expected a whole number, found %.40s",
                 sae_st_path(st), key, text ? text : "nothing");
    *out = v;
    return SAE_OK;
}

static int put_real(sae_st_writer *w, const char *key, double value, sae_err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%a", value);
    return sae_st_writer_meta(w, key, text, err);
}

static int get_real(const sae_st *st, const char *key, double *out, sae_err *err)
{
    const char *text = sae_st_meta(st, key);
    char *end = NULL;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !isfinite(v))
        SAE_FAIL(err, SAE_EFORMAT, "%s: __metadata__.%s: expected a number, found %.40s",
                 sae_st_path(st), key, text ? text : "nothing");
    *out = v;
    return SAE_OK;
}

static int put_clock(sae_st_writer *w, const sae_lm_state *s, sae_err *err)
{
    SAE_TRY(put_number(w, "step", s->step, err));
    SAE_TRY(put_number(w, "tokens", s->tokens, err));
    SAE_TRY(put_number(w, "log_bytes", s->log_bytes, err));
    SAE_TRY(put_number(w, "due", s->due, err));
    SAE_TRY(put_real(w, "loss", s->loss, err));
    SAE_TRY(put_real(w, "norm", s->norm, err));
    return put_real(w, "seconds", s->seconds, err);
}

static int get_clock(const sae_st *st, sae_lm_state *s, sae_err *err)
{
    SAE_TRY(get_number(st, "step", &s->step, err));
    SAE_TRY(get_number(st, "tokens", &s->tokens, err));
    SAE_TRY(get_number(st, "log_bytes", &s->log_bytes, err));
    SAE_TRY(get_number(st, "due", &s->due, err));
    SAE_TRY(get_real(st, "loss", &s->loss, err));
    SAE_TRY(get_real(st, "norm", &s->norm, err));
    return get_real(st, "seconds", &s->seconds, err);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Elements on their way between the place and a file: a piece as it lies in memory, and in f32.
 * sae_real is float wherever files are written; the f64 build checks gradients only. */
enum { PIECE = 1 << 16 };
typedef struct piece {
    const sae_lm_place *at;
    sae_real *r; /* [PIECE] */
    float *f;    /* [PIECE] */
} piece;

static const char *const names[] = {"w", "m", "v"};

static int piece_open(piece *p, const sae_lm_place *at, sae_err *err)
{
    p->at = at;
    SAE_TRY(sae_new(&p->r, PIECE, sizeof *p->r, "lm.state", err));
    return sae_new(&p->f, PIECE, sizeof *p->f, "lm.state", err);
}

static void piece_close(piece *p)
{
    sae_free(p->r);
    sae_free(p->f);
}

static int put_tensor(sae_st_writer *w, const piece *p, const sae_real *t, int64_t count,
                      sae_err *err)
{
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        SAE_TRY(sae_lm_get(p->at, p->r, t + at, n, sizeof *t, err));
        for (int64_t k = 0; k < n; k++)
            p->f[k] = (float)p->r[k];
        SAE_TRY(sae_st_writer_data(w, p->f, (size_t)n * sizeof *p->f, err));
    }
    return SAE_OK;
}

static int put_all(sae_st_writer *w, const piece *p, const sae_real *const t[3], int64_t count,
                   sae_err *err)
{
    for (int i = 0; i < 3; i++)
        SAE_TRY(sae_st_writer_add(w, names[i], SAE_ST_F32, 1, &count, err));
    SAE_TRY(sae_st_writer_begin(w, err));
    for (int i = 0; i < 3; i++)
        SAE_TRY(put_tensor(w, p, t[i], count, err));
    return SAE_OK;
}

int sae_lm_state_save(const sae_lm_state *s, const sae_lm_weights *w, const char *dir,
                      const char *identity, sae_err *err)
{
    int rc = SAE_OK;
    piece p = {0};
    sae_st_writer *out = NULL;
    char *path = state_path(dir, err);
    if (!path)
        return SAE_ENOMEM;
    SAE_GOTO(piece_open(&p, &s->at, err));
    SAE_GOTO(sae_st_writer_open(&out, path, err));
    SAE_GOTO(sae_st_writer_meta(out, "identity", identity, err));
    SAE_GOTO(put_clock(out, s, err));
    SAE_GOTO(put_all(out, &p, (const sae_real *const[]){w->base, s->m, s->v}, w->count, err));
    SAE_GOTO(sae_st_writer_commit(&out, err));
fail:
    sae_st_writer_abandon(&out);
    piece_close(&p);
    sae_free(path);
    return rc;
}

static int get_tensor(const sae_st *st, const char *name, const piece *p, sae_real *to,
                      int64_t count, sae_err *err)
{
    const sae_st_tensor *t = NULL;
    SAE_TRY(sae_st_need(st, name, 1, &count, &t, err));
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        SAE_TRY(sae_st_floats(st, t, at, n, 1, p->f, err));
        for (int64_t k = 0; k < n; k++)
            p->r[k] = (sae_real)p->f[k];
        SAE_TRY(sae_lm_put(p->at, to + at, p->r, n, sizeof *to, err));
    }
    return SAE_OK;
}

/* Name the first place where two identities differ. */
static int compare(const char *path, const char *expected, const char *found, sae_err *err)
{
    size_t i = 0;
    if (strcmp(expected, found) == 0)
        return SAE_OK;
    while (expected[i] && expected[i] == found[i])
        i++;
    while (i > 0 && expected[i - 1] != ' ')
        i--;
    SAE_FAIL(err, SAE_EFORMAT, "%s: the state of another run: expected \"%.80s\", found \"%.80s\"",
             path, expected + i, strlen(found) > i ? found + i : "");
}

int sae_lm_state_load(sae_lm_state *s, sae_lm_weights *w, const char *dir, const char *identity,
                      sae_err *err)
{
    int rc = SAE_OK;
    piece p = {0};
    sae_real *const to[] = {w->base, s->m, s->v};
    sae_st *st = NULL;
    char *path = state_path(dir, err);
    if (!path)
        return SAE_ENOMEM;
    if (!sae_file_exists(path))
        goto fail;
    SAE_GOTO(sae_st_open(&st, path, err));
    const char *found = sae_st_meta(st, "identity");
    SAE_GOTO(compare(path, identity, found ? found : "", err));
    SAE_GOTO(get_clock(st, s, err));
    SAE_GOTO(piece_open(&p, &s->at, err));
    sae_lm_weights_thaw(w, &s->at);
    for (int i = 0; i < 3; i++)
        SAE_GOTO(get_tensor(st, names[i], &p, to[i], w->count, err));
    SAE_GOTO(sae_lm_weights_freeze(w, &s->at, err));
fail:
    sae_st_close(&st);
    piece_close(&p);
    sae_free(path);
    return rc;
}

int sae_lm_state_remove(const char *dir, sae_err *err)
{
    char *path = state_path(dir, err);
    if (!path)
        return SAE_ENOMEM;
    int rc = sae_file_remove(path, err);
    sae_free(path);
    return rc;
}
