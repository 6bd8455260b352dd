/* suite/core/safetensors_writer.c - the writer of the safetensors container. */
#include "core/safetensors.h"

#include "core/error.h"
#include "core/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 }; /* of the data section */

struct sae_st_writer {
    sae_out out;
    json_t *root;
    int64_t declared, written; /* bytes of data */
};

int sae_st_writer_open(sae_st_writer **w, const char *path, sae_err *err)
{
    *w = NULL;
    SAE_TRY(sae_new(w, 1, sizeof **w, "safetensors.writer", err));
    int rc = sae_out_open(&(*w)->out, path, err);
    if (rc == SAE_OK) {
        (*w)->root = json_object();
        if (!(*w)->root)
            rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path);
    }
    if (rc < 0)
        sae_st_writer_abandon(w);
    return rc;
}

int sae_st_writer_meta(sae_st_writer *w, const char *key, const char *value, sae_err *err)
{
    json_t *meta = json_object_get(w->root, "__metadata__");
    if (!meta) {
        meta = json_object();
        json_object_set_new(w->root, "__metadata__", meta);
    }
    if (json_object_set_new(meta, key, json_string(value)))
        SAE_FAIL(err, SAE_EINVAL, "%s: metadata \"%.80s\": expected UTF-8 text", w->out.path, key);
    return SAE_OK;
}

static int bad_tensor(const sae_st_writer *w, const char *name, const char *what, sae_err *err)
{
    SAE_FAIL(err, SAE_EINVAL, "%s: tensor \"%.80s\": %s", w->out.path, name, what);
}

int sae_st_writer_add(sae_st_writer *w, const char *name, enum sae_st_dtype t, int rank,
                      const int64_t *shape, sae_err *err)
{
    if (rank < 0 || rank > SAE_ST_MAX_RANK)
        return bad_tensor(w, name, "expected a rank of 0 to 8", err);
    if (json_object_get(w->root, name) || !strcmp(name, "__metadata__"))
        return bad_tensor(w, name, "the name is taken", err);
    int64_t bytes = (int64_t)sae_st_dtype_size(t), end;
    json_t *extents = json_array();
    int bad = 0;
    for (int i = 0; i < rank; i++) {
        bad |= shape[i] < 0 || __builtin_mul_overflow(bytes, shape[i], &bytes);
        bad |= json_array_append_new(extents, json_integer(shape[i]));
    }
    bad |= __builtin_add_overflow(w->declared, bytes, &end);
    if (bad) {
        json_decref(extents);
        return bad_tensor(w, name, "expected a shape whose size fits in 63 bits", err);
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", sae_st_dtype_name(t), "shape",
                              extents, "data_offsets", (json_int_t)w->declared, (json_int_t)end);
    if (json_object_set_new(w->root, name, entry))
        return bad_tensor(w, name, "expected a UTF-8 name", err);
    w->declared = end;
    return SAE_OK;
}

int sae_st_writer_begin(sae_st_writer *w, sae_err *err)
{
    char *text = json_dumps(w->root, JSON_COMPACT);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory for the header", w->out.path);
    size_t len = strlen(text), pad = (ALIGN - (8 + len) % ALIGN) % ALIGN;
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)(len + pad) >> (8 * i));
    char blank[ALIGN];
    memset(blank, ' ', sizeof blank);
    int rc;
    SAE_GOTO(sae_out_write(&w->out, size, sizeof size, err));
    SAE_GOTO(sae_out_write(&w->out, text, len, err));
    SAE_GOTO(sae_out_write(&w->out, blank, pad, err));
fail:
    free(text);
    return rc;
}

int sae_st_writer_data(sae_st_writer *w, const void *p, size_t bytes, sae_err *err)
{
    if (bytes > (uint64_t)(w->declared - w->written))
        SAE_FAIL(err, SAE_EINVAL, "%s: %lld bytes of tensors declared, more written", w->out.path,
                 (long long)w->declared);
    SAE_TRY(sae_out_write(&w->out, p, bytes, err));
    w->written += (int64_t)bytes;
    return SAE_OK;
}

int sae_st_writer_commit(sae_st_writer **w, sae_err *err)
{
    int rc;
    if ((*w)->written != (*w)->declared)
        rc = SAE_SET(err, SAE_EINVAL, "%s: %lld bytes of tensors declared, %lld written",
                     (*w)->out.path, (long long)(*w)->declared, (long long)(*w)->written);
    else
        rc = sae_out_commit(&(*w)->out, err);
    sae_st_writer_abandon(w);
    return rc;
}

void sae_st_writer_abandon(sae_st_writer **w)
{
    if (!*w)
        return;
    sae_out_abandon(&(*w)->out);
    json_decref((*w)->root);
    sae_free(*w);
    *w = NULL;
}
