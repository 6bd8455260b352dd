/* tests/prop/npy.c - headers as NumPy writes them, and broken ones. */
#include "core/memory.h"
#include "core/npy.h"
#include "support/support.h"

#include <string.h>

#define DICT(descr, order, shape)                                                                  \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

static const struct {
    const char *header;
    int version;
    size_t data;
    const char *message; /* part of it; NULL: fine */
} files[] = {
    {DICT("'<f4'", "False", "(2, 3)") "   \n", 1, 24, NULL},
    {DICT("'<f4'", "False", "(2, 3)") "   \n", 2, 24, NULL},
    {DICT("'<f4'", "False", "(2, 3)") "   \n", 3, 24, NULL},
    {DICT("'<i8'", "False", "()") "\n", 1, 8, NULL},
    {DICT("'|b1'", "False", "(0,)") "\n", 1, 0, NULL},
    {"{\"shape\": (2,), \"descr\": \"<u2\", \"fortran_order\": False}", 1, 4, NULL},
    {DICT("'<f4'", "False", "(2, 3)"), 4, 24, "version 1 to 3"},
    {DICT("'<f4'", "False", "(2, 3)"), 1, 23, "F32 [2, 3] needs 6 x 4 bytes of data, found 23"},
    {DICT("'<f4'", "False", "(2, 3)"), 1, 25, "found 25"},
    {DICT("'>f4'", "False", "(2, 3)"), 1, 24, "found '>f4'"},
    {DICT("'|O'", "False", "(2, 3)"), 1, 24, "found '|O'"},
    {DICT("'<f4'", "True", "(2, 3)"), 1, 24, "expected C order"},
    {DICT("'<f4'", "0", "(2, 3)"), 1, 24, "True or False"},
    {DICT("'<f4'", "False", "(2 3)"), 1, 24, "a tuple of at most"},
    {DICT("'<f4'", "False", "(2)"), 1, 8, "a number in parentheses"},
    {DICT("'<f4'", "False", "(-2,)"), 1, 8, "non-negative extent"},
    {DICT("'<f4'", "False", "[2]"), 1, 8, "expected a tuple"},
    {DICT("'<f4'", "False", "(1,1,1,1,1,1,1,1,1)"), 1, 4, "at most 8"},
    {DICT("'<f4'", "False", "(9223372036854775808,)"), 1, 4, "below 2^63"},
    {DICT("'<f4'", "False", "(4294967296, 4294967296)"), 1, 4, "overflows"},
    {DICT("'<f8'", "False", "(4611686018427387904,)"), 1, 4, "needs"},
    {DICT("'<f4'", "False", "(1,)") "x", 1, 4, "and nothing else"},
    {"{'descr': '<f4', 'shape': (1,)}", 1, 4, "descr, fortran_order, shape"},
    {"{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", 1, 4, "each once"},
    {"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", 1, 4, "a comma"},
    {"{'extra': '<f4'}", 1, 4, "each once"},
    {"{'descr", 1, 0, "a closing quote"},
    {"{'a very long key indeed'", 1, 0, "a short string"},
    {"", 1, 0, "a dictionary"},
};

static size_t compose(unsigned char *out, const char *header, int version, size_t data)
{
    size_t len = strlen(header), at = version == 1 ? 10 : 12;
    memset(out, 0, 512);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[8] = (unsigned char)len;
    out[9] = (unsigned char)(len >> 8);
    memcpy(out + at, header, len);
    return at + len + data;
}

START_TEST(headers)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = sae_path_join(test_dir(), "a.npy");
    unsigned char buf[512];
    size_t bytes = compose(buf, files[_i].header, files[_i].version, files[_i].data);
    ck_assert_ok(sae_file_write(path, buf, bytes, &err), err);
    sae_npy a;
    int rc = sae_npy_open(&a, path, &err);
    if (!files[_i].message) {
        ck_assert_ok(rc, err);
        ck_assert_uint_eq(a.bytes, files[_i].data);
        ck_assert_uint_eq((size_t)a.count * sae_st_dtype_size(a.dtype), files[_i].data);
    } else {
        ck_assert_msg(rc == SAE_EFORMAT, "%s: status %d", files[_i].header, rc);
        ck_assert_msg(strstr(err.msg, files[_i].message) != NULL, "%s", err.msg);
        ck_assert_ptr_nonnull(strstr(err.msg, path));
        ck_assert_ptr_null(a.map.p);
    }
    sae_npy_close(&a);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(values)
{
    sae_err err = {0};
    char *path = sae_path_join(test_dir(), "a.npy");
    unsigned char buf[512];
    const float x[6] = {1, -2, 3, 0.5f, 5, 6};
    size_t bytes = compose(buf, DICT("'<f4'", "False", "(2, 3)"), 1, sizeof x);
    memcpy(buf + bytes - sizeof x, x, sizeof x);
    sae_npy a;
    ck_assert_ok(sae_file_write(path, buf, bytes, &err), err);
    ck_assert_ok(sae_npy_open(&a, path, &err), err);
    ck_assert_int_eq(a.rank, 2);
    ck_assert(a.shape[0] == 2 && a.shape[1] == 3 && a.dtype == SAE_ST_F32);
    ck_assert_mem_eq(a.data, x, sizeof x);
    sae_npy_close(&a);
    for (size_t n = 0; n < bytes; n++) { /* every truncation is refused */
        ck_assert_ok(sae_file_write(path, buf, n, &err), err);
        ck_assert_int_eq(sae_npy_open(&a, path, NULL), SAE_EFORMAT);
    }
    sae_free(path);
}
END_TEST

Suite *suite_npy(void)
{
    Suite *s = suite_create("npy");
    TCase *tc = tcase_create("npy");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, headers, 0, (int)(sizeof files / sizeof files[0]));
    tcase_add_test(tc, values);
    suite_add_tcase(s, tc);
    return s;
}
