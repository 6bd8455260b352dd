/* suite/models/lm_save.c - writing a model as a Hugging Face checkpoint. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_weights.h"

#include <string.h>

typedef struct saver {
    const sae_lm_weights *w;
    const sae_lm_place *at;
    const sae_lm_config *c;
    enum sae_st_dtype dtype;
    sae_st_writer *out;
    sae_real *part; /* [most] a part out of the place; NULL where that is host memory */
    float *f;  /* [most] values of a tensor */
    void *raw; /* the same in dtype */
} saver;

/* Several parts may share a tensor: the first of them stands for it. */
static int stands_for_tensor(enum sae_lm_form form)
{
    return form < SAE_LM_THIRD_Q || form == SAE_LM_THIRD_Q || form == SAE_LM_MIXED_Q;
}

static int declare(saver *s, const sae_lm_slot *slot, int64_t *most, sae_err *err)
{
    const sae_lm_name *n = &s->c->files->names[slot->part];
    char name[160];
    sae_lm_layout l;
    sae_lm_layout_of(&l, s->c, slot->part, n->form);
    sae_lm_tensor_name(name, sizeof name, "", n->name, slot->layer);
    int64_t count = l.shape[0] * (l.rank > 1 ? l.shape[1] : 1);
    *most = count > *most ? count : *most;
    return sae_st_writer_add(s->out, name, s->dtype, l.rank, l.shape, err);
}

/* Put the elements of one part where its tensor, which has `count`, stores them. */
static int place(saver *s, const sae_lm_slot *slot, int64_t count, sae_err *err)
{
    sae_lm_layout l;
    sae_lm_layout_of(&l, s->c, slot->part, s->c->files->names[slot->part].form);
    const sae_real *w = s->part ? s->part : s->w->base + slot->at;
    if (s->part)
        SAE_TRY(sae_lm_get(s->at, s->part, s->w->base + slot->at, slot->rows * slot->cols,
                           sizeof *w, err));
    sae_real less = l.form == SAE_LM_MINUS_ONE ? 1 : 0;
    for (int64_t e = 0; e < count; e++) {
        int64_t from = sae_lm_layout_element(&l, e);
        if (from >= 0)
            s->f[e] = (float)(w[from] - less);
    }
    return SAE_OK;
}

/* The tensor that slot i stands for, from it and the slots behind it that share it. */
static int write_tensor(saver *s, int64_t i, sae_err *err)
{
    const sae_lm_slot *slot = &s->w->slot[i];
    const sae_lm_name *names = s->c->files->names;
    sae_lm_layout l;
    sae_lm_layout_of(&l, s->c, slot->part, names[slot->part].form);
    int64_t count = l.shape[0] * (l.rank > 1 ? l.shape[1] : 1);
    SAE_TRY(place(s, slot, count, err));
    for (int64_t j = i + 1; j < s->w->slots && s->w->slot[j].layer == slot->layer; j++) {
        const sae_lm_slot *other = &s->w->slot[j];
        if (!stands_for_tensor(names[other->part].form) &&
            strcmp(names[other->part].name, names[slot->part].name) == 0)
            SAE_TRY(place(s, other, count, err));
    }
    sae_st_from_f32(s->dtype, s->f, count, s->raw);
    return sae_st_writer_data(s->out, s->raw, (size_t)count * sae_st_dtype_size(s->dtype), err);
}

static int save(saver *s, sae_err *err)
{
    int64_t most = 0;
    const sae_lm_weights *w = s->w;
    const sae_lm_name *names = s->c->files->names;
    SAE_TRY(sae_st_writer_meta(s->out, "format", "pt", err)); /* what readers of Python expect */
    for (int64_t i = 0; i < w->slots; i++)
        if (stands_for_tensor(names[w->slot[i].part].form))
            SAE_TRY(declare(s, &w->slot[i], &most, err));
    SAE_TRY(sae_st_writer_begin(s->out, err));
    SAE_TRY(sae_new(&s->f, most, sizeof *s->f, "lm.save", err));
    SAE_TRY(sae_new(&s->raw, most, sizeof(float), "lm.save", err));
    if (s->at->be)
        SAE_TRY(sae_new(&s->part, most, sizeof *s->part, "lm.save", err));
    for (int64_t i = 0; i < w->slots; i++)
        if (stands_for_tensor(names[w->slot[i].part].form))
            SAE_TRY(write_tensor(s, i, err));
    return sae_st_writer_commit(&s->out, err);
}

int sae_lm_weights_save(const sae_lm_weights *w, const sae_lm_place *at, const sae_lm_config *c,
                        const char *path, enum sae_st_dtype dtype, sae_err *err)
{
    saver s = {.w = w, .at = at, .c = c, .dtype = dtype};
    if (!c->files)
        SAE_FAIL(err, SAE_EINVAL, "%s: a model of this kind has no Hugging Face tensor names",
                 path);
    SAE_TRY(sae_st_writer_open(&s.out, path, err));
    int rc = save(&s, err);
    sae_st_writer_abandon(&s.out);
    sae_free(s.part);
    sae_free(s.f);
    sae_free(s.raw);
    return rc;
}
