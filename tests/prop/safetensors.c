/* tests/prop/safetensors.c - round trips, every kind of broken header, half precision. */
#include "core/memory.h"
#include "core/safetensors.h"
#include "support/support.h"

#include <math.h>
#include <sae/half.h>
#include <stdlib.h>
#include <string.h>

/* ---- half precision: every pattern against arithmetic on the definition ---------------------- */

static double value_of(unsigned bits, int exp_bits, int man_bits)
{
    unsigned man = bits & ((1u << man_bits) - 1), top = (1u << exp_bits) - 1;
    unsigned e = bits >> man_bits & top, sign = bits >> (exp_bits + man_bits);
    int bias = (int)(top >> 1);
    double m = e ? 1.0 + ldexp((double)man, -man_bits) : ldexp((double)man, -man_bits);
    double v = ldexp(m, (e ? (int)e : 1) - bias);
    if (e == top)
        v = man ? (double)NAN : (double)INFINITY;
    return sign ? -v : v;
}

static void check_widening(int exp_bits, float (*widen)(uint16_t), uint16_t (*narrow)(float))
{
    int man_bits = 15 - exp_bits;
    for (unsigned h = 0; h < 65536; h++) {
        double want = value_of(h, exp_bits, man_bits);
        float got = widen((uint16_t)h);
        if (isnan(want)) {
            ck_assert_msg(isnan(got) && isnan(widen(narrow(got))), "%04x", h);
            continue;
        }
        ck_assert_msg((double)got == want && !signbit(got) == !signbit(want), "%04x: %g", h,
                      (double)got);
        ck_assert_msg(narrow(got) == h, "%04x comes back as %04x", h, narrow(got));
    }
}

/* Between two neighbours a < b of the format: below the middle gives a, above gives b, the middle
 * gives the even one. For the largest finite value the neighbour is what the next pattern would be
 * if the exponent went on, and stands for infinity. */
static void check_rounding(int exp_bits, uint16_t (*narrow)(float))
{
    int man_bits = 15 - exp_bits;
    unsigned inf = ((1u << exp_bits) - 1) << man_bits;
    for (unsigned h = 0; h < inf; h++) {
        double a = value_of(h, exp_bits, man_bits), b = value_of(h + 1, exp_bits, man_bits);
        if (h + 1 == inf)
            b = 2 * a - value_of(h - 1, exp_bits, man_bits);
        float mid = (float)(a + (b - a) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        ck_assert_msg(narrow(mid) == even, "%04x: middle %a gives %04x", h, (double)mid,
                      narrow(mid));
        ck_assert_msg(narrow(nextafterf(mid, 0.0f)) == h, "%04x: below the middle", h);
        ck_assert_msg(narrow(nextafterf(mid, INFINITY)) == h + 1, "%04x: above the middle", h);
        ck_assert_msg(narrow(-mid) == (even | 0x8000u), "%04x: sign", h);
    }
    ck_assert_uint_eq(narrow(INFINITY), inf);
    ck_assert_uint_eq(narrow(-3e38f) & 0x7fffu, exp_bits == 5 ? inf : narrow(3e38f));
}

START_TEST(half_f16)
{
    check_widening(5, sae_f16_float, sae_float_f16);
    check_rounding(5, sae_float_f16);
}
END_TEST

START_TEST(half_bf16)
{
    check_widening(8, sae_bf16_float, sae_float_bf16);
    check_rounding(8, sae_float_bf16);
}
END_TEST

START_TEST(convert_unaligned)
{
    static const enum sae_st_dtype types[] = {SAE_ST_F32, SAE_ST_F64, SAE_ST_F16, SAE_ST_BF16};
    const float v[5] = {0.0f, -1.5f, 0.25f, 3.0f, -INFINITY};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        unsigned char store[64];
        float back[5];
        sae_st_from_f32(types[i], v, 5, store + 1);
        sae_st_to_f32(types[i], store + 1, 5, back);
        ck_assert_mem_eq(back, v, sizeof v);
        sae_st_to_f32(types[i], NULL, 0, NULL);
        sae_st_from_f32(types[i], NULL, 0, NULL);
    }
}
END_TEST

/* ---- round trip ------------------------------------------------------------------------------ */

static char *in_dir(const char *name)
{
    return sae_path_join(test_dir(), name);
}

static void write_small(const char *path)
{
    sae_err err = {0};
    sae_st_writer *w;
    const int64_t s23[] = {2, 3}, s0[] = {0, 7};
    const float x[6] = {1, 2, 3, 4, NAN, 6};
    const int64_t step = INT64_C(1) << 62;
    const uint16_t h[3] = {0x3c00, 0xc000, 0x7c00}; /* 1, -2, inf */
    ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
    ck_assert_ok(sae_st_writer_meta(w, "format", "pt", &err), err);
    ck_assert_ok(sae_st_writer_meta(w, "note", "\xc3\xa4 \"quoted\"", &err), err);
    ck_assert_ok(sae_st_writer_add(w, "x", SAE_ST_F32, 2, s23, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "step", SAE_ST_I64, 0, NULL, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "empty", SAE_ST_U8, 2, s0, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "h", SAE_ST_F16, 1, s23 + 1, &err), err);
    ck_assert_ok(sae_st_writer_begin(w, &err), err);
    ck_assert_ok(sae_st_writer_data(w, x, sizeof x, &err), err);
    ck_assert_ok(sae_st_writer_data(w, &step, sizeof step, &err), err);
    ck_assert_ok(sae_st_writer_data(w, h, 2, &err), err); /* in any pieces */
    ck_assert_ok(sae_st_writer_data(w, h + 1, 4, &err), err);
    ck_assert_ok(sae_st_writer_commit(&w, &err), err);
    ck_assert_ptr_null(w);
}

START_TEST(round_trip)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("small.safetensors");
    write_small(path);
    sae_st *st;
    ck_assert_ok(sae_st_open(&st, path, &err), err);
    ck_assert_int_eq(sae_st_count(st), 4);
    ck_assert_str_eq(sae_st_meta(st, "note"), "\xc3\xa4 \"quoted\"");
    ck_assert_ptr_null(sae_st_meta(st, "absent"));
    const sae_st_tensor *t = sae_st_at(st, 0);
    ck_assert_str_eq(t->name, "x");
    ck_assert_uint_eq((uintptr_t)t->data % 64, 0);
    ck_assert_ptr_null(sae_st_find(st, "__metadata__"));
    ck_assert_int_eq(sae_st_find(st, "step")->count, 1);
    ck_assert_int_eq(sae_st_find(st, "empty")->count, 0);

    const int64_t any[] = {-1, 3}, no[] = {2, 4};
    ck_assert_ok(sae_st_need(st, "x", 2, any, &t, &err), err);
    float v[6];
    ck_assert_ok(sae_st_floats(st, t, 0, 6, 0, v, &err), err);
    ck_assert(v[3] == 4.0f && isnan(v[4]));
    ck_assert_ok(sae_st_floats(st, t, 0, 4, 1, v, &err), err);
    ck_assert_int_eq(sae_st_floats(st, t, 1, 5, 1, v, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "\"x\": expected finite values, found nan at element 4"));
    ck_assert_ok(sae_st_floats(st, sae_st_find(st, "h"), 0, 2, 1, v, &err), err);
    ck_assert(v[0] == 1.0f && v[1] == -2.0f);

    err = (sae_err){0};
    ck_assert_int_eq(sae_st_floats(st, t, 3, 4, 0, v, &err), SAE_EFORMAT);
    err = (sae_err){0};
    ck_assert_int_eq(sae_st_floats(st, sae_st_find(st, "step"), 0, 1, 0, v, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "found dtype I64"));
    err = (sae_err){0};
    ck_assert_int_eq(sae_st_need(st, "x", 2, no, &t, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected shape [2, 4], found [2, 3]"));
    err = (sae_err){0};
    ck_assert_int_eq(sae_st_need(st, "y", 2, no, &t, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "\"y\" is missing"));
    sae_st_close(&st);
    sae_st_close(&st);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(same_bytes)
{
    sae_err err = {0};
    char *a = in_dir("a"), *b = in_dir("b");
    write_small(a);
    write_small(b);
    sae_map x, y;
    ck_assert_ok(sae_map_open(&x, a, &err), err);
    ck_assert_ok(sae_map_open(&y, b, &err), err);
    ck_assert_uint_eq(x.bytes, y.bytes);
    ck_assert_mem_eq(x.p, y.p, x.bytes);
    sae_map_close(&x);
    sae_map_close(&y);
    sae_free(a);
    sae_free(b);
}
END_TEST

START_TEST(writer_misuse)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *path = in_dir("w");
    const int64_t two[] = {2}, bad[] = {-1}, huge[] = {INT64_MAX / 2, 2};
    sae_st_writer *w;
    ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "a", SAE_ST_U8, 1, two, &err), err);
    ck_assert_int_eq(sae_st_writer_add(w, "a", SAE_ST_U8, 1, two, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_add(w, "__metadata__", SAE_ST_U8, 1, two, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_add(w, "b", SAE_ST_U8, 1, bad, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_add(w, "b", SAE_ST_F32, 2, huge, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_add(w, "b", SAE_ST_F32, 9, two, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_add(w, "\xff", SAE_ST_U8, 1, two, NULL), SAE_EINVAL);
    ck_assert_int_eq(sae_st_writer_meta(w, "k", "\xff", NULL), SAE_EINVAL);
    ck_assert_ok(sae_st_writer_begin(w, &err), err);
    ck_assert_int_eq(sae_st_writer_data(w, "abc", 3, NULL), SAE_EINVAL);
    ck_assert_ok(sae_st_writer_data(w, "a", 1, &err), err);
    ck_assert_int_eq(sae_st_writer_commit(&w, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "2 bytes of tensors declared, 1 written"));
    ck_assert_ptr_null(w);
    ck_assert(!sae_file_exists(path));
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

/* ---- broken files ---------------------------------------------------------------------------- */

/* A file with this header text and `data` bytes of data. */
static void write_raw(const char *path, const char *header, size_t data)
{
    sae_err err = {0};
    size_t len = strlen(header);
    unsigned char buf[1024] = {(unsigned char)len, (unsigned char)(len >> 8)};
    memcpy(buf + 8, header, len);
    ck_assert_ok(sae_file_write(path, buf, 8 + len + data, &err), err);
}

#define T(dtype, shape, off)                                                                       \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" off "}"

static const struct {
    const char *header;
    size_t data;
    const char *message; /* part of it; NULL: the file is fine */
} broken[] = {
    {"{}", 0, NULL},
    {"{}   ", 0, NULL},
    {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 4, NULL},
    {"{\"b\":" T("I8", "[]", "[1,2]") ",\"a\":" T("U8", "[1]", "[0,1]") "}", 2, NULL},
    {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 3, "lie outside the 3 bytes"},
    {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 5, "cover 4 bytes of data, the file has 5"},
    {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "F32 [2] needs 2 x 4 bytes, data_offsets give 4"},
    {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "[4, 0] lie outside"},
    {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, "lie outside"},
    {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "expected two integers"},
    {"{\"a\":" T("F32", "[1]", "[0,4.0]") "}", 4, "expected two integers"},
    {"{\"a\":" T("F4", "[1]", "[0,4]") "}", 4, "found F4"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a string for dtype"},
    {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "shape[0]: expected a non-negative"},
    {"{\"a\":" T("F32", "[1e0]", "[0,4]") "}", 4, "shape[0]: expected"},
    {"{\"a\":" T("F32", "1", "[0,4]") "}", 4, "array of at most 8"},
    {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "array of at most 8"},
    {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" T("F64", "[4611686018427387904]", "[0,0]") "}", 0, "needs"},
    {"{\"a\":" T("U8", "[9223372036854775808]", "[0,0]") "}", 0, "too big integer"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[0,1]") "}", 1, "overlaps"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[2,3]") "}", 3, "a hole"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "duplicate"},
    {"{\"a\":5}", 0, "expected an object with dtype"},
    {"{\"a\\n\":5}", 0, "control character"},
    {"{\"__metadata__\":5}", 0, "object for __metadata__"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "\"k\": expected a string"},
    {"[]", 0, "expected a JSON object: found another value"},
    {"{\"a\":", 0, "expected a JSON object"},
    {"", 0, "expected a JSON object"},
};

START_TEST(broken_headers)
{
    size_t live = sae_alloc_live();
    char *path = in_dir("raw");
    write_raw(path, broken[_i].header, broken[_i].data);
    sae_err err = {0};
    sae_st *st = NULL;
    int rc = sae_st_open(&st, path, &err);
    if (!broken[_i].message) {
        ck_assert_ok(rc, err);
    } else {
        ck_assert_msg(rc == SAE_EFORMAT, "%s: status %d", broken[_i].header, rc);
        ck_assert_msg(strstr(err.msg, broken[_i].message) != NULL, "%s: %s", broken[_i].header,
                      err.msg);
        ck_assert_ptr_nonnull(strstr(err.msg, path));
        ck_assert_ptr_null(strchr(err.msg, '\n'));
        ck_assert_ptr_null(st);
    }
    sae_st_close(&st);
    sae_free(path);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(lying_length)
{
    static const unsigned char raw[][10] = {{0}, {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'},
                                            {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}};
    static const size_t size[] = {7, 10, 10};
    static const char *const message[] = {"at least 8 bytes, found 7", "header length 3 exceeds",
                                          "header length 18446744073709551615 exceeds"};
    char *path = in_dir("raw");
    for (size_t i = 0; i < 3; i++) {
        sae_err err = {0};
        sae_st *st;
        ck_assert_ok(sae_file_write(path, raw[i], size[i], &err), err);
        ck_assert_int_eq(sae_st_open(&st, path, &err), SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, message[i]) != NULL, "%s", err.msg);
    }
    sae_free(path);
}
END_TEST

/* Every truncation of a good file is an error, and so is every extension. */
START_TEST(truncation)
{
    sae_err err = {0};
    char *path = in_dir("small"), *cut = in_dir("cut");
    write_small(path);
    sae_map m;
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    unsigned char *more = sae_alloc(m.bytes + 1);
    memcpy(more, m.p, m.bytes);
    for (size_t n = 0; n <= m.bytes + 1; n++) {
        if (n == m.bytes)
            continue;
        sae_st *st;
        ck_assert_ok(sae_file_write(cut, more, n, &err), err);
        ck_assert_int_eq(sae_st_open(&st, cut, NULL), SAE_EFORMAT);
        ck_assert_ptr_null(st);
    }
    sae_free(more);
    sae_map_close(&m);
    sae_free(path);
    sae_free(cut);
}
END_TEST

START_TEST(foreign_file)
{
    const char *path = test_data("routing-toy-sae/sae.f32.safetensors");
    if (!path)
        return;
    sae_err err = {0};
    sae_st *st;
    ck_assert_ok(sae_st_open(&st, path, &err), err);
    ck_assert_int_gt(sae_st_count(st), 0);
    for (int64_t i = 0; i < sae_st_count(st); i++) {
        const sae_st_tensor *t = sae_st_at(st, i);
        float *v = sae_alloc((size_t)t->count * sizeof *v);
        ck_assert_ok(sae_st_floats(st, t, 0, t->count, 1, v, &err), err);
        sae_free(v);
    }
    sae_st_close(&st);
}
END_TEST

Suite *suite_safetensors(void)
{
    Suite *s = suite_create("safetensors");
    TCase *tc = tcase_create("safetensors");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, half_f16);
    tcase_add_test(tc, half_bf16);
    tcase_add_test(tc, convert_unaligned);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, same_bytes);
    tcase_add_test(tc, writer_misuse);
    tcase_add_loop_test(tc, broken_headers, 0, (int)(sizeof broken / sizeof broken[0]));
    tcase_add_test(tc, lying_length);
    tcase_add_test(tc, truncation);
    tcase_add_test(tc, foreign_file);
    suite_add_tcase(s, tc);
    return s;
}
