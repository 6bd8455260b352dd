/* suite/core/shards.c - the reader of activation shards. */
#include "core/shards.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"

#include <jansson.h>
#include <string.h>

typedef struct opened {
    sae_shards pub;   /* first: what callers hold */
    sae_shard *shard; /* [count] pub.shard */
    sae_st **file;    /* [count] */
} opened;

/* A manifest being read. */
typedef struct manifest {
    const char *dir;
    char *path;
    json_t *root;
    enum sae_st_dtype dtype;
    int grads;
    enum sae_st_dtype grads_dtype;
} manifest;

/* ---- manifest -------------------------------------------------------------------------------- */

static int bad_key(const manifest *m, const char *key, const char *expected, sae_err *err)
{
    SAE_FAIL(err, SAE_EFORMAT, "%s: \"%s\": expected %s", m->path, key, expected);
}

static int get_int(const manifest *m, const json_t *from, const char *key, int64_t lo, int64_t *out,
                   sae_err *err)
{
    const json_t *v = json_object_get(from, key);
    *out = json_integer_value(v);
    if (!json_is_integer(v) || *out < lo)
        return bad_key(m, key, lo ? "a positive integer" : "a non-negative integer", err);
    return SAE_OK;
}

static int get_text(const manifest *m, const json_t *from, const char *key, const char **out,
                    sae_err *err)
{
    *out = json_string_value(json_object_get(from, key));
    return *out ? SAE_OK : bad_key(m, key, "a string", err);
}

static int check_norm(const manifest *m, int64_t d, int64_t rows, sae_err *err)
{
    const json_t *norm = json_object_get(m->root, "norm"), *mean = json_object_get(norm, "mean");
    int64_t counted;
    SAE_TRY(get_int(m, norm, "rows", 0, &counted, err));
    if (counted != rows)
        return bad_key(m, "norm", "statistics of all rows", err);
    if (!json_is_number(json_object_get(norm, "mean_sq")))
        return bad_key(m, "mean_sq", "a number", err);
    int good = json_array_size(mean) == (uint64_t)d;
    for (int64_t i = 0; good && i < d; i++)
        good = json_is_number(json_array_get(mean, (size_t)i));
    return good ? SAE_OK : bad_key(m, "mean", "an array of d numbers", err);
}

static int get_dtype(const manifest *m, const char *key, enum sae_st_dtype *out, sae_err *err)
{
    const char *name;
    SAE_TRY(get_text(m, m->root, key, &name, err));
    static const enum sae_st_dtype all[] = {SAE_ST_F32, SAE_ST_F16, SAE_ST_BF16};
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(name, sae_st_dtype_name(all[i]))) {
            *out = all[i];
            return SAE_OK;
        }
    return bad_key(m, key, "F32, F16 or BF16", err);
}

static int manifest_open(manifest *m, const char *dir, sae_err *err)
{
    *m = (manifest){.dir = dir, .path = sae_path_join(dir, "manifest.json")};
    if (!m->path)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", dir);
    sae_map map;
    SAE_TRY(sae_map_open(&map, m->path, err));
    json_error_t je;
    m->root = json_loadb((const char *)map.p, map.bytes, JSON_REJECT_DUPLICATES, &je);
    sae_map_close(&map);
    if (!m->root)
        SAE_FAIL(err, SAE_EFORMAT, "%s: line %d: %.160s", m->path, je.line, je.text);
    const char *format;
    int64_t version;
    SAE_TRY(get_text(m, m->root, "format", &format, err));
    SAE_TRY(get_int(m, m->root, "version", 1, &version, err));
    if (strcmp(format, "saemark-shards") || version != 1)
        return bad_key(m, "format", "saemark-shards, version 1", err);
    if (!json_is_array(json_object_get(m->root, "shards")))
        return bad_key(m, "shards", "an array", err);
    m->grads = json_object_get(m->root, "grads") != NULL;
    if (m->grads)
        SAE_TRY(get_dtype(m, "grads", &m->grads_dtype, err));
    return get_dtype(m, "dtype", &m->dtype, err);
}

static void manifest_close(manifest *m)
{
    json_decref(m->root);
    sae_free(m->path);
}

typedef struct entry {
    const char *hash;
    char *path;
    int64_t rows;
} entry;

/* Shard i of the list; names cannot leave the directory. */
static int get_entry(const manifest *m, int64_t i, entry *e, sae_err *err)
{
    const json_t *v = json_array_get(json_object_get(m->root, "shards"), (size_t)i);
    const char *file;
    SAE_TRY(get_text(m, v, "file", &file, err));
    if (!*file || strchr(file, '/') || *file == '.')
        return bad_key(m, "file", "the name of a file in the same directory", err);
    SAE_TRY(get_text(m, v, "xxh128", &e->hash, err));
    if (strlen(e->hash) != 32 || strspn(e->hash, "0123456789abcdef") != 32)
        return bad_key(m, "xxh128", "32 hexadecimal digits", err);
    SAE_TRY(get_int(m, v, "rows", 1, &e->rows, err));
    e->path = sae_path_join(m->dir, file);
    if (!e->path)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", m->path);
    return SAE_OK;
}

/* ---- shards ---------------------------------------------------------------------------------- */

static int take_tensor(const sae_st *st, const char *name, enum sae_st_dtype dtype, int rank,
                       const int64_t *shape, const void **data, sae_err *err)
{
    const sae_st_tensor *t;
    SAE_TRY(sae_st_need(st, name, rank, shape, &t, err));
    if (t->dtype != dtype)
        SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%s\": expected dtype %s, found %s",
                 sae_st_path(st), name, sae_st_dtype_name(dtype), sae_st_dtype_name(t->dtype));
    if ((uintptr_t)t->data % sae_st_dtype_size(dtype))
        SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%s\": its data are not aligned to %zu bytes",
                 sae_st_path(st), name, sae_st_dtype_size(dtype));
    *data = t->data;
    return SAE_OK;
}

static int number_of(enum sae_st_dtype t) /* as in sae_shard */
{
    return t == SAE_ST_F32 ? 0 : t == SAE_ST_F16 ? 1 : 2;
}

/* All shards hold gradients or none does. */
static int take_grads(sae_shard *s, const sae_st *st, const manifest *m, const int64_t *shape,
                      sae_err *err)
{
    s->grads_dtype = number_of(m->grads_dtype);
    if (m->grads)
        return take_tensor(st, "grads", m->grads_dtype, 2, shape, &s->grads, err);
    if (sae_st_find(st, "grads"))
        SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"grads\": expected none, %s has no entry \"grads\"",
                 sae_st_path(st), m->path);
    return SAE_OK;
}

static int open_shard(opened *o, const manifest *m, int64_t i, sae_hasher *h, sae_err *err)
{
    entry e = {0};
    int rc;
    SAE_GOTO(get_entry(m, i, &e, err));
    sae_hasher_text(h, e.hash);
    sae_shard *s = &o->shard[i];
    const int64_t shape[] = {e.rows, o->pub.d};
    const void *tokens, *doc, *pos;
    SAE_GOTO(sae_st_open(&o->file[i], e.path, err));
    SAE_GOTO(take_tensor(o->file[i], "acts", m->dtype, 2, shape, &s->acts, err));
    SAE_GOTO(take_tensor(o->file[i], "tokens", SAE_ST_I32, 1, shape, &tokens, err));
    SAE_GOTO(take_tensor(o->file[i], "doc", SAE_ST_U64, 1, shape, &doc, err));
    SAE_GOTO(take_tensor(o->file[i], "pos", SAE_ST_U32, 1, shape, &pos, err));
    SAE_GOTO(take_grads(s, o->file[i], m, shape, err));
    s->rows = e.rows;
    s->dtype = number_of(m->dtype);
    s->tokens = tokens;
    s->doc = doc;
    s->pos = pos;
fail:
    sae_free(e.path);
    return rc;
}

static int open_all(opened *o, const manifest *m, sae_err *err)
{
    sae_shards *pub = &o->pub;
    const char *hook;
    int64_t count = (int64_t)json_array_size(json_object_get(m->root, "shards")), rows = 0, want;
    SAE_TRY(get_int(m, m->root, "d", 1, &pub->d, err));
    SAE_TRY(get_int(m, m->root, "rows", 0, &want, err));
    SAE_TRY(get_text(m, m->root, "hook", &hook, err));
    if (strlen(hook) >= sizeof pub->hook)
        return bad_key(m, "hook", "fewer than 64 bytes", err);
    memcpy(pub->hook, hook, strlen(hook));
    SAE_TRY(check_norm(m, pub->d, want, err));
    SAE_TRY(sae_new(&o->file, count, sizeof *o->file, "shards.files", err));
    SAE_TRY(sae_new(&o->shard, count, sizeof *o->shard, "shards", err));
    pub->shard = o->shard;
    pub->count = count;
    sae_hasher *h;
    SAE_TRY(sae_hasher_open(&h, err));
    int rc = SAE_OK;
    for (int64_t i = 0; i < count && rc >= 0; i++) {
        rc = open_shard(o, m, i, h, err);
        if (rc >= 0 && __builtin_add_overflow(rows, o->shard[i].rows, &rows))
            rc = bad_key(m, "rows", "a number below 2^63", err);
    }
    sae_hasher_end(&h, pub->hash);
    SAE_TRY(rc);
    if (rows != want)
        SAE_FAIL(err, SAE_EFORMAT, "%s: \"rows\": the shards have %lld, found %lld", m->path,
                 (long long)rows, (long long)want);
    pub->rows = rows;
    return SAE_OK;
}

int sae_shards_open(const char *dir, sae_shards **shards, sae_err *err)
{
    manifest m;
    opened *o = NULL;
    int rc;
    *shards = NULL;
    SAE_GOTO(manifest_open(&m, dir, err));
    SAE_GOTO(sae_new(&o, 1, sizeof *o, "shards", err));
    SAE_GOTO(open_all(o, &m, err));
    *shards = &o->pub;
    o = NULL;
fail:
    manifest_close(&m);
    if (o) {
        sae_shards *failed = &o->pub;
        sae_shards_close(&failed);
    }
    return rc;
}

void sae_shards_close(sae_shards **shards)
{
    opened *o = (opened *)*shards;
    if (!o)
        return;
    for (int64_t i = 0; i < o->pub.count; i++)
        sae_st_close(&o->file[i]);
    sae_free(o->file);
    sae_free(o->shard);
    sae_free(o);
    *shards = NULL;
}

int sae_shards_verify(const char *dir, sae_err *err)
{
    manifest m;
    int rc;
    SAE_GOTO(manifest_open(&m, dir, err));
    int64_t count = (int64_t)json_array_size(json_object_get(m.root, "shards"));
    for (int64_t i = 0; i < count && rc >= 0; i++) {
        entry e = {0};
        char found[36];
        rc = get_entry(&m, i, &e, err);
        if (rc >= 0)
            rc = sae_hash_file(e.path, found, err);
        if (rc >= 0 && strcmp(found, e.hash))
            rc = SAE_SET(err, SAE_EFORMAT, "%s: expected xxh128 %s, found %s", e.path, e.hash,
                         found);
        sae_free(e.path);
    }
fail:
    manifest_close(&m);
    return rc;
}
