/* suite/core/safetensors.c - the reader of the safetensors container. */
#include "core/safetensors.h"

#include "core/error.h"
#include "core/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 }; /* bytes; limit of the format */

struct sae_st {
    char *path;
    sae_map map;
    int owned;    /* the map is ours to close */
    json_t *root; /* owns the names and the metadata */
    const json_t *meta;
    sae_st_tensor *tensor; /* [count] by position in the file */
    int64_t count;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [SAE_ST_F32] = {"F32", 4}, [SAE_ST_F64] = {"F64", 8},   [SAE_ST_F16] = {"F16", 2},
    [SAE_ST_BF16] = {"BF16", 2}, [SAE_ST_I64] = {"I64", 8}, [SAE_ST_I32] = {"I32", 4},
    [SAE_ST_I16] = {"I16", 2}, [SAE_ST_I8] = {"I8", 1},     [SAE_ST_U64] = {"U64", 8},
    [SAE_ST_U32] = {"U32", 4}, [SAE_ST_U16] = {"U16", 2},   [SAE_ST_U8] = {"U8", 1},
    [SAE_ST_BOOL] = {"BOOL", 1},
};

size_t sae_st_dtype_size(enum sae_st_dtype t)
{
    return dtypes[t].size;
}

const char *sae_st_dtype_name(enum sae_st_dtype t)
{
    return dtypes[t].name;
}

const char *sae_st_shape_text(int rank, const int64_t *shape, char out[SAE_ST_SHAPE_TEXT])
{
    size_t used = 0;
    out[used++] = '[';
    for (int i = 0; i < rank && i < SAE_ST_MAX_RANK; i++) {
        const char *sep = i ? ", " : "";
        size_t room = SAE_ST_SHAPE_TEXT - used;
        int n = shape[i] < 0 ? snprintf(out + used, room, "%sany", sep)
                             : snprintf(out + used, room, "%s%lld", sep, (long long)shape[i]);
        used += (size_t)n;
    }
    out[used++] = ']';
    out[used] = '\0';
    return out;
}

/* ---- one tensor of the header ---------------------------------------------------------------- */

#define BAD(st, t, ...) bad_tensor((st), (t), err, __VA_ARGS__)
static int bad_tensor(const sae_st *st, const sae_st_tensor *t, sae_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int bad_tensor(const sae_st *st, const sae_st_tensor *t, sae_err *err, const char *fmt, ...)
{
    char what[240];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%.80s\": %s", st->path, t->name, what);
}

static int read_dtype(const sae_st *st, sae_st_tensor *t, const json_t *v, sae_err *err)
{
    const char *s = json_string_value(v);
    if (!s)
        return BAD(st, t, "expected a string for dtype");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (!strcmp(s, dtypes[i].name)) {
            t->dtype = (enum sae_st_dtype)i;
            return SAE_OK;
        }
    return BAD(st, t, "expected dtype F64, F32, F16, BF16, I8..I64, U8..U64 or BOOL, found %.20s",
               s);
}

static int read_shape(const sae_st *st, sae_st_tensor *t, const json_t *v, sae_err *err)
{
    if (!json_is_array(v) || json_array_size(v) > SAE_ST_MAX_RANK)
        return BAD(st, t, "expected an array of at most %d extents for shape", SAE_ST_MAX_RANK);
    t->rank = (int)json_array_size(v);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        const json_t *e = json_array_get(v, (size_t)i);
        t->shape[i] = (int64_t)json_integer_value(e);
        if (!json_is_integer(e) || t->shape[i] < 0)
            return BAD(st, t, "shape[%d]: expected a non-negative integer", i);
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return BAD(st, t, "the product of the shape overflows 64 bits");
    }
    return SAE_OK;
}

/* Data section of `room` bytes starting at `data`. */
static int read_offsets(const sae_st *st, sae_st_tensor *t, const json_t *v,
                        const unsigned char *data, size_t room, sae_err *err)
{
    const json_t *b = json_array_get(v, 0), *e = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return BAD(st, t, "expected two integers for data_offsets");
    int64_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > room)
        return BAD(st, t, "data_offsets [%lld, %lld] lie outside the %zu bytes of data",
                   (long long)begin, (long long)end, room);
    int64_t need;
    t->bytes = (size_t)(end - begin);
    if (__builtin_mul_overflow(t->count, (int64_t)dtypes[t->dtype].size, &need) ||
        (uint64_t)need != t->bytes) {
        char shape[SAE_ST_SHAPE_TEXT];
        return BAD(st, t, "%s %s needs %lld x %zu bytes, data_offsets give %zu",
                   dtypes[t->dtype].name, sae_st_shape_text(t->rank, t->shape, shape),
                   (long long)t->count, dtypes[t->dtype].size, t->bytes);
    }
    t->data = data + begin;
    return SAE_OK;
}

static int read_tensor(const sae_st *st, sae_st_tensor *t, const char *name, const json_t *v,
                       const unsigned char *data, size_t room, sae_err *err)
{
    t->name = name;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ')
            SAE_FAIL(err, SAE_EFORMAT, "%s: a tensor's name holds a control character", st->path);
    if (!json_is_object(v))
        return BAD(st, t, "expected an object with dtype, shape and data_offsets");
    SAE_TRY(read_dtype(st, t, json_object_get(v, "dtype"), err));
    SAE_TRY(read_shape(st, t, json_object_get(v, "shape"), err));
    return read_offsets(st, t, json_object_get(v, "data_offsets"), data, room, err);
}

/* ---- the whole header ------------------------------------------------------------------------ */

static int by_position(const void *a, const void *b)
{
    const sae_st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int check_tiling(const sae_st *st, const unsigned char *data, size_t room, sae_err *err)
{
    size_t at = 0;
    for (int64_t i = 0; i < st->count; i++) {
        const sae_st_tensor *t = &st->tensor[i];
        size_t begin = (size_t)((const unsigned char *)t->data - data);
        if (begin != at)
            return BAD(st, t, "data starts at %zu, expected %zu: %s", begin, at,
                       begin < at ? "it overlaps another tensor" : "there is a hole before it");
        at += t->bytes;
    }
    if (at != room)
        SAE_FAIL(err, SAE_EFORMAT, "%s: tensors cover %zu bytes of data, the file has %zu",
                 st->path, at, room);
    return SAE_OK;
}

static int check_meta(sae_st *st, const json_t *meta, sae_err *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(meta))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected an object for __metadata__", st->path);
    json_object_foreach((json_t *)(uintptr_t)meta, key, v) {
        if (!json_is_string(v))
            SAE_FAIL(err, SAE_EFORMAT, "%s: __metadata__ \"%.80s\": expected a string", st->path,
                     key);
    }
    st->meta = meta;
    return SAE_OK;
}

static int read_header(sae_st *st, sae_err *err)
{
    const unsigned char *p = st->map.p;
    if (st->map.bytes < 8)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected at least 8 bytes, found %zu", st->path,
                 st->map.bytes);
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--)
        len = len << 8 | p[i];
    if (memcmp(p, "PK\3\4", 4) == 0)
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: not a safetensors file but a zip archive, such as "
                 "torch.save writes; save its tensors with safetensors.torch.save_file",
                 st->path);
    if (len > MAX_HEADER || len > st->map.bytes - 8)
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: not a safetensors file: header length %llu exceeds the %zu bytes after it "
                 "or the limit of %d",
                 st->path, (unsigned long long)len, st->map.bytes - 8, MAX_HEADER);
    json_error_t je;
    st->root = json_loadb((const char *)p + 8, (size_t)len, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(st->root))
        SAE_FAIL(err, SAE_EFORMAT, "%s: header: expected a JSON object: %.160s (byte %d)",
                 st->path, st->root ? "found another value" : je.text, je.position);
    SAE_TRY(sae_new(&st->tensor, (int64_t)json_object_size(st->root), sizeof *st->tensor,
                    "safetensors.index", err));
    const unsigned char *data = p + 8 + len;
    size_t room = st->map.bytes - 8 - (size_t)len;
    const char *key;
    json_t *v;
    json_object_foreach(st->root, key, v) {
        if (!strcmp(key, "__metadata__")) {
            SAE_TRY(check_meta(st, v, err));
            continue;
        }
        SAE_TRY(read_tensor(st, &st->tensor[st->count], key, v, data, room, err));
        st->count++;
    }
    qsort(st->tensor, (size_t)st->count, sizeof *st->tensor, by_position);
    return check_tiling(st, data, room, err);
}

static int open_map(sae_st **out, const char *name, sae_map *map, int owned, sae_err *err)
{
    sae_st *st = NULL;
    int rc;
    SAE_GOTO(sae_new(&st, 1, sizeof *st, "safetensors", err));
    st->map = *map;
    st->owned = owned;
    *map = (sae_map){0};
    st->path = sae_strdup(name);
    if (!st->path)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "%s: out of memory", name));
    SAE_GOTO(read_header(st, err));
    *out = st;
    return SAE_OK;
fail:
    sae_st_close(&st);
    if (owned)
        sae_map_close(map);
    return rc;
}

int sae_st_open(sae_st **out, const char *path, sae_err *err)
{
    sae_map map;
    *out = NULL;
    SAE_TRY(sae_map_open(&map, path, err));
    return open_map(out, path, &map, 1, err);
}

int sae_st_open_bytes(sae_st **out, const char *name, const void *p, size_t bytes, sae_err *err)
{
    sae_map map = {p, bytes};
    *out = NULL;
    return open_map(out, name, &map, 0, err);
}

void sae_st_close(sae_st **st)
{
    if (!*st)
        return;
    json_decref((*st)->root);
    if ((*st)->owned)
        sae_map_close(&(*st)->map);
    sae_free((*st)->tensor);
    sae_free((*st)->path);
    sae_free(*st);
    *st = NULL;
}

/* ---- access ---------------------------------------------------------------------------------- */

const char *sae_st_path(const sae_st *st)
{
    return st->path;
}

int64_t sae_st_count(const sae_st *st)
{
    return st->count;
}

const sae_st_tensor *sae_st_at(const sae_st *st, int64_t i)
{
    return &st->tensor[i];
}

const sae_st_tensor *sae_st_find(const sae_st *st, const char *name)
{
    for (int64_t i = 0; i < st->count; i++)
        if (!strcmp(st->tensor[i].name, name))
            return &st->tensor[i];
    return NULL;
}

const char *sae_st_meta(const sae_st *st, const char *key)
{
    return json_string_value(json_object_get(st->meta, key));
}

int sae_st_need(const sae_st *st, const char *name, int rank, const int64_t *shape,
                const sae_st_tensor **out, sae_err *err)
{
    const sae_st_tensor *t = sae_st_find(st, name);
    if (!t)
        SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%.80s\" is missing", st->path, name);
    int same = t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = shape[i] < 0 || shape[i] == t->shape[i];
    if (!same) {
        char want[SAE_ST_SHAPE_TEXT], have[SAE_ST_SHAPE_TEXT];
        return BAD(st, t, "expected shape %s, found %s", sae_st_shape_text(rank, shape, want),
                   sae_st_shape_text(t->rank, t->shape, have));
    }
    *out = t;
    return SAE_OK;
}

int sae_st_floats(const sae_st *st, const sae_st_tensor *t, int64_t first, int64_t count,
                  int finite, float *out, sae_err *err)
{
    if (t->dtype > SAE_ST_BF16)
        return BAD(st, t, "expected floating-point values, found dtype %s", dtypes[t->dtype].name);
    if (first < 0 || count < 0 || first > t->count || count > t->count - first)
        return BAD(st, t, "elements [%lld, +%lld) asked for, it has %lld", (long long)first,
                   (long long)count, (long long)t->count);
    const unsigned char *src = t->data;
    sae_st_to_f32(t->dtype, src + (size_t)first * dtypes[t->dtype].size, count, out);
    for (int64_t i = 0; finite && i < count; i++)
        if (!isfinite(out[i]))
            SAE_FAIL(err, SAE_EFORMAT,
                     "%s: tensor \"%.80s\": expected finite values, found %g at element %lld",
                     st->path, t->name, (double)out[i], (long long)(first + i));
    return SAE_OK;
}
