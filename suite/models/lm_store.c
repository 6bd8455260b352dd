/* suite/models/lm_store.c - the safetensors files of a Hugging Face checkpoint. */
#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "models/lm_weights.h"

#include <string.h>

static const char index_name[] = "model.safetensors.index.json";

static int add_file(sae_lm_store *s, const char *path, sae_err *err)
{
    SAE_TRY(sae_st_open(&s->st[s->count], path, err));
    s->count++;
    return SAE_OK;
}

static int open_single(sae_lm_store *s, const char *path, sae_err *err)
{
    SAE_TRY(sae_new(&s->st, 1, sizeof *s->st, "lm.store", err));
    return add_file(s, path, err);
}

/* The open file of this name; opened when it is not. */
static int need_file(sae_lm_store *s, const char *dir, const char *name, const sae_st **out,
                     sae_err *err)
{
    if (!*name || *name == '.' || strchr(name, '/'))
        SAE_FAIL(err, SAE_EFORMAT, "%s: weight_map: expected a file of the same directory, found "
                                   "\"%.80s\"", index_name, name);
    char *path = sae_path_join(dir, name);
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = SAE_OK;
    int64_t i = 0;
    while (i < s->count && strcmp(sae_st_path(s->st[i]), path))
        i++;
    if (i == s->count && !sae_file_exists(path))
        rc = SAE_SET(err, SAE_EIO, "%s: names the file %s, which is not there", index_name, name);
    else if (i == s->count)
        rc = add_file(s, path, err);
    sae_free(path);
    if (rc >= 0)
        *out = s->st[i];
    return rc;
}

/* A tensor that lies in two files has two values. */
static int refuse_doubles(const sae_lm_store *s, sae_err *err)
{
    for (int64_t i = 1; i < s->count; i++)
        for (int64_t t = 0; t < sae_st_count(s->st[i]); t++)
            for (int64_t k = 0; k < i; k++) {
                const char *name = sae_st_at(s->st[i], t)->name;
                if (sae_st_find(s->st[k], name))
                    SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%.80s\": also in %s",
                             sae_st_path(s->st[i]), name, sae_st_path(s->st[k]));
            }
    return SAE_OK;
}

static int open_indexed(sae_lm_store *s, const char *dir, const json_t *root, sae_err *err)
{
    json_t *map = json_object_get(root, "weight_map"), *v;
    const char *tensor;
    if (!json_is_object(map) || json_object_size(map) == 0)
        SAE_FAIL(err, SAE_EFORMAT, "%s: weight_map: expected an object of tensor names",
                 index_name);
    SAE_TRY(sae_new(&s->st, (int64_t)json_object_size(map), sizeof *s->st, "lm.store", err));
    json_object_foreach(map, tensor, v) {
        const sae_st *st = NULL;
        if (!json_is_string(v))
            SAE_FAIL(err, SAE_EFORMAT, "%s: weight_map.%.80s: expected a file name", index_name,
                     tensor);
        SAE_TRY(need_file(s, dir, json_string_value(v), &st, err));
        if (!sae_st_find(st, tensor))
            SAE_FAIL(err, SAE_EFORMAT, "%s: says that %s holds %.80s, which it does not",
                     index_name, json_string_value(v), tensor);
    }
    return refuse_doubles(s, err);
}

int sae_lm_store_open_index(sae_lm_store *s, const char *dir, const char *text, size_t bytes,
                            sae_err *err)
{
    json_error_t bad;
    *s = (sae_lm_store){0};
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &bad);
    if (!root)
        SAE_FAIL(err, SAE_EFORMAT, "%s: line %d: %s", index_name, bad.line, bad.text);
    int rc = open_indexed(s, dir, root, err);
    json_decref(root);
    if (rc < 0)
        sae_lm_store_close(s);
    return rc;
}

static int open_index_file(sae_lm_store *s, const char *dir, const char *path, sae_err *err)
{
    sae_map map;
    SAE_TRY(sae_map_open(&map, path, err));
    int rc = sae_lm_store_open_index(s, dir, (const char *)map.p, map.bytes, err);
    sae_map_close(&map);
    return rc;
}

int sae_lm_store_open(sae_lm_store *s, const char *dir, sae_err *err)
{
    char *single = sae_path_join(dir, "model.safetensors"), *index = sae_path_join(dir, index_name);
    int rc;
    *s = (sae_lm_store){0};
    if (!single || !index)
        rc = SAE_SET(err, SAE_ENOMEM, "out of memory");
    else if (sae_file_exists(index))
        rc = open_index_file(s, dir, index, err);
    else if (sae_file_exists(single))
        rc = open_single(s, single, err);
    else
        rc = SAE_SET(err, SAE_EIO, "expected model.safetensors or %s in this directory",
                     index_name);
    sae_free(single);
    sae_free(index);
    if (rc < 0)
        sae_lm_store_close(s);
    return rc;
}

int sae_lm_store_open_file(sae_lm_store *s, const char *path, sae_err *err)
{
    *s = (sae_lm_store){0};
    int rc = open_single(s, path, err);
    if (rc < 0)
        sae_lm_store_close(s);
    return rc;
}

int sae_lm_store_open_bytes(sae_lm_store *s, const char *name, const void *p, size_t bytes,
                            sae_err *err)
{
    *s = (sae_lm_store){0};
    SAE_TRY(sae_new(&s->st, 1, sizeof *s->st, "lm.store", err));
    int rc = sae_st_open_bytes(&s->st[0], name, p, bytes, err);
    s->count = rc >= 0;
    if (rc < 0)
        sae_lm_store_close(s);
    return rc;
}

void sae_lm_store_close(sae_lm_store *s)
{
    for (int64_t i = 0; i < s->count; i++)
        sae_st_close(&s->st[i]);
    sae_free(s->st);
    *s = (sae_lm_store){0};
}

int sae_lm_store_hash(const sae_lm_store *s, char out[36], sae_err *err)
{
    if (s->count == 1)
        return sae_hash_file(sae_st_path(s->st[0]), out, err);
    sae_hasher *h = NULL;
    SAE_TRY(sae_hasher_open(&h, err));
    int rc = SAE_OK;
    for (int64_t i = 0; i < s->count && rc >= 0; i++) {
        char one[36];
        rc = sae_hash_file(sae_st_path(s->st[i]), one, err);
        if (rc >= 0)
            sae_hasher_text(h, one);
    }
    sae_hasher_end(&h, out);
    return rc;
}
