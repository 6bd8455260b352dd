/* tests/prop/hash.c - published test values, streaming equals one call. */
#include "core/file.h"
#include "core/checksum.h"
#include "core/hash.h"
#include "core/memory.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

static char *in_dir(const char *name)
{
    return sae_path_join(test_dir(), name);
}

START_TEST(sha256_known)
{
    /* FIPS 180-2, appendix B.1, and the empty message. */
    sae_err err = {0};
    char *path = in_dir("abc"), hex[65];
    ck_assert_ok(sae_file_write(path, "abc", 3, &err), err);
    ck_assert_ok(sae_sha256_file(path, hex, &err), err);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_ok(sae_file_write(path, "", 0, &err), err);
    ck_assert_ok(sae_sha256_file(path, hex, &err), err);
    ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sae_free(path);
}
END_TEST

START_TEST(xxh128_known)
{
    /* The empty input, from the xxHash specification's sanity tables. */
    char hex[36];
    sae_hash_bytes(NULL, 0, hex);
    ck_assert_str_eq(hex, "99aa06d3014798d86001c324468d497f");
}
END_TEST

START_TEST(streaming)
{
    sae_err err = {0};
    unsigned char data[3000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 131 + (i >> 5));
    char whole[36], parts[36], file[36];
    sae_hash_bytes(data, sizeof data, whole);
    for (size_t step = 1; step < sizeof data; step = step * 3 + 1) {
        sae_hasher *h;
        ck_assert_ok(sae_hasher_open(&h, &err), err);
        for (size_t at = 0; at < sizeof data; at += step)
            sae_hasher_add(h, data + at, at + step < sizeof data ? step : sizeof data - at);
        sae_hasher_end(&h, parts);
        ck_assert_ptr_null(h);
        ck_assert_str_eq(parts, whole);
    }
    char *path = in_dir("bytes");
    ck_assert_ok(sae_file_write(path, data, sizeof data, &err), err);
    ck_assert_ok(sae_hash_file(path, file, &err), err);
    ck_assert_str_eq(file, whole);
    data[2999] ^= 1;
    sae_hash_bytes(data, sizeof data, parts);
    ck_assert_str_ne(parts, whole);
    sae_free(path);
}
END_TEST

START_TEST(text_is_delimited)
{
    sae_err err = {0};
    char ab_c[36], a_bc[36];
    sae_hasher *h;
    ck_assert_ok(sae_hasher_open(&h, &err), err);
    sae_hasher_text(h, "ab");
    sae_hasher_text(h, "c");
    sae_hasher_end(&h, ab_c);
    ck_assert_ok(sae_hasher_open(&h, &err), err);
    sae_hasher_text(h, "a");
    sae_hasher_text(h, "bc");
    sae_hasher_end(&h, a_bc);
    ck_assert_str_ne(ab_c, a_bc);
    ck_assert_int_eq(sae_hash_file("/nowhere/at/all", ab_c, &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "/nowhere/at/all"));
}
END_TEST

START_TEST(sums_notice_a_changed_byte)
{
    sae_err err = {0};
    char *dir = in_dir("sums"), *a = sae_path_join(dir, "a.bin"), *b = sae_path_join(dir, "b.bin");
    ck_assert_ok(sae_dir_make(dir, &err), err);
    ck_assert_int_eq(sae_sums_check(dir, &err), SAE_DONE);
    ck_assert_ok(sae_file_write(a, "abc", 3, &err), err);
    ck_assert_ok(sae_file_write(b, "", 0, &err), err);
    ck_assert_ok(sae_sums_write(dir, &err), err);
    ck_assert_int_eq(sae_sums_check(dir, &err), SAE_OK);
    ck_assert_ok(sae_file_remove(b, &err), err);
    ck_assert_int_eq(sae_sums_check(dir, &err), SAE_OK);
    ck_assert_ok(sae_file_write(a, "abd", 3, &err), err);
    ck_assert_int_eq(sae_sums_check(dir, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "a.bin: SHA-256 expected ba7816bf"));
    sae_free(a);
    sae_free(b);
    sae_free(dir);
}
END_TEST

Suite *suite_hash(void)
{
    Suite *s = suite_create("hash");
    TCase *tc = tcase_create("hash");
    tcase_add_test(tc, sha256_known);
    tcase_add_test(tc, sums_notice_a_changed_byte);
    tcase_add_test(tc, xxh128_known);
    tcase_add_test(tc, streaming);
    tcase_add_test(tc, text_is_delimited);
    suite_add_tcase(s, tc);
    return s;
}
