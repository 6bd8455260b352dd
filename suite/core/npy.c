/* suite/core/npy.c - the reader of NumPy .npy files.
 *
 * "\x93NUMPY", two version bytes, the header's length (u16 in version 1, u32 later), a Python
 * dictionary literal, the data.
 */
#include "core/npy.h"

#include "core/error.h"

#include <string.h>

typedef struct scan {
    const char *path;
    const char *p, *end;
} scan;

static const struct {
    const char *descr;
    enum sae_st_dtype dtype;
} kinds[] = {
    {"<f4", SAE_ST_F32}, {"<f8", SAE_ST_F64}, {"<f2", SAE_ST_F16}, {"<i8", SAE_ST_I64},
    {"<i4", SAE_ST_I32}, {"<i2", SAE_ST_I16}, {"|i1", SAE_ST_I8},  {"<u8", SAE_ST_U64},
    {"<u4", SAE_ST_U32}, {"<u2", SAE_ST_U16}, {"|u1", SAE_ST_U8},  {"|b1", SAE_ST_BOOL},
};

static int bad(const scan *s, const char *expected, sae_err *err)
{
    SAE_FAIL(err, SAE_EFORMAT, "%s: header: expected %s, %ld bytes before its end", s->path,
             expected, (long)(s->end - s->p));
}

static void blanks(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n'))
        s->p++;
}

/* Skip blanks, then take the word if it is next. */
static int take(scan *s, const char *word)
{
    blanks(s);
    size_t len = strlen(word);
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len))
        return 0;
    s->p += len;
    return 1;
}

/* A quoted string without escapes, copied; too long for `room` counts as malformed. */
static int take_string(scan *s, char *out, size_t room, sae_err *err)
{
    blanks(s);
    char quote = s->p < s->end ? *s->p : '\0';
    size_t n = 0;
    if (quote != '\'' && quote != '"')
        return bad(s, "a quoted string", err);
    for (s->p++; s->p < s->end && *s->p != quote; s->p++) {
        if (n + 1 == room || (unsigned char)*s->p < ' ')
            return bad(s, "a short string", err);
        out[n++] = *s->p;
    }
    out[n] = '\0';
    return take(s, quote == '"' ? "\"" : "'") ? SAE_OK : bad(s, "a closing quote", err);
}

static int take_descr(scan *s, sae_npy *a, sae_err *err)
{
    char text[16];
    SAE_TRY(take_string(s, text, sizeof text, err));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(text, kinds[i].descr)) {
            a->dtype = kinds[i].dtype;
            return SAE_OK;
        }
    SAE_FAIL(err, SAE_EFORMAT,
             "%s: descr: expected little-endian f2..f8, i1..i8, u1..u8 or b1, found '%s'", s->path,
             text);
}

static int take_order(scan *s, sae_err *err)
{
    if (take(s, "False"))
        return SAE_OK;
    if (take(s, "True"))
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected C order, found fortran_order True", s->path);
    return bad(s, "True or False", err);
}

static int take_extent(scan *s, int64_t *out, sae_err *err)
{
    blanks(s);
    if (s->p == s->end || *s->p < '0' || *s->p > '9')
        return bad(s, "a non-negative extent", err);
    for (*out = 0; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if (__builtin_mul_overflow(*out, (int64_t)10, out) ||
            __builtin_add_overflow(*out, (int64_t)(*s->p - '0'), out))
            return bad(s, "an extent below 2^63", err);
    return SAE_OK;
}

/* (), (3,), (3, 4) or (3, 4,) */
static int take_shape(scan *s, sae_npy *a, sae_err *err)
{
    int comma = 1;
    a->rank = 0;
    a->count = 1;
    if (!take(s, "("))
        return bad(s, "a tuple", err);
    while (!take(s, ")")) {
        if (!comma || a->rank == SAE_ST_MAX_RANK)
            return bad(s, "a tuple of at most 8 extents", err);
        SAE_TRY(take_extent(s, &a->shape[a->rank], err));
        if (__builtin_mul_overflow(a->count, a->shape[a->rank], &a->count))
            SAE_FAIL(err, SAE_EFORMAT, "%s: the product of the shape overflows 64 bits", s->path);
        a->rank++;
        comma = take(s, ",");
    }
    if (a->rank == 1 && !comma)
        return bad(s, "a tuple, found a number in parentheses", err);
    return SAE_OK;
}

static int take_header(scan *s, sae_npy *a, sae_err *err)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0, comma = 1;
    if (!take(s, "{"))
        return bad(s, "a dictionary", err);
    while (!take(s, "}")) {
        char key[16];
        if (!comma)
            return bad(s, "a comma", err);
        SAE_TRY(take_string(s, key, sizeof key, err));
        int which = !strcmp(key, "descr") ? DESCR : !strcmp(key, "fortran_order") ? ORDER
                    : !strcmp(key, "shape") ? SHAPE : 0;
        if (!which || seen & which || !take(s, ":"))
            return bad(s, "descr, fortran_order and shape, each once", err);
        seen |= which;
        SAE_TRY(which == DESCR ? take_descr(s, a, err)
                : which == ORDER ? take_order(s, err) : take_shape(s, a, err));
        comma = take(s, ",");
    }
    blanks(s);
    if (seen != (DESCR | ORDER | SHAPE) || s->p != s->end)
        return bad(s, "descr, fortran_order, shape and nothing else", err);
    return SAE_OK;
}

static int read_array(sae_npy *a, const char *path, sae_err *err)
{
    const unsigned char *p = a->map.p;
    if (a->map.bytes < 10 || memcmp(p, "\x93NUMPY", 6) || p[6] < 1 || p[6] > 3)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a NumPy array of version 1 to 3", path);
    size_t at = p[6] == 1 ? 10 : 12, len = (size_t)p[8] | (size_t)p[9] << 8;
    if (p[6] > 1 && a->map.bytes >= 12)
        len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (a->map.bytes < at || len > a->map.bytes - at)
        SAE_FAIL(err, SAE_EFORMAT, "%s: header of %zu bytes, the file has %zu in all", path, len,
                 a->map.bytes);
    const char *text = (const char *)p + at;
    scan s = {path, text, text + len};
    SAE_TRY(take_header(&s, a, err));
    a->data = p + at + len;
    a->bytes = a->map.bytes - at - len;
    int64_t need;
    if (__builtin_mul_overflow(a->count, (int64_t)sae_st_dtype_size(a->dtype), &need) ||
        (uint64_t)need != a->bytes) {
        char shape[SAE_ST_SHAPE_TEXT];
        SAE_FAIL(err, SAE_EFORMAT, "%s: %s %s needs %lld x %zu bytes of data, found %zu", path,
                 sae_st_dtype_name(a->dtype), sae_st_shape_text(a->rank, a->shape, shape),
                 (long long)a->count, sae_st_dtype_size(a->dtype), a->bytes);
    }
    return SAE_OK;
}

int sae_npy_open(sae_npy *a, const char *path, sae_err *err)
{
    *a = (sae_npy){0};
    SAE_TRY(sae_map_open(&a->map, path, err));
    int rc = read_array(a, path, err);
    if (rc < 0)
        sae_npy_close(a);
    return rc;
}

void sae_npy_close(sae_npy *a)
{
    sae_map_close(&a->map);
    *a = (sae_npy){0};
}
