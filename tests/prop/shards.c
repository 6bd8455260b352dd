/* tests/prop/shards.c - what is written reads back; every lie in a manifest is found. */
#include "core/memory.h"
#include "core/shards.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

enum { D = 6, ROWS = 25, PER_SHARD = 10 };

static char *in_dir(const char *name)
{
    return sae_path_join(test_dir(), name);
}

static const enum sae_st_dtype types[] = {SAE_ST_F32, SAE_ST_F16, SAE_ST_BF16};

/* Without gradients when grads is NULL. */
static sae_shards_info info_of(enum sae_st_dtype dtype, const enum sae_st_dtype *grads)
{
    return (sae_shards_info){.model = "model",
                             .weights_hash = "w",
                             .hook = "resid_post.1",
                             .tokenizer_hash = "t",
                             .text = "text",
                             .text_hash = "x",
                             .d = D,
                             .dtype = dtype,
                             .rows_per_shard = PER_SHARD,
                             .grads = grads != NULL,
                             .grads_dtype = grads ? *grads : SAE_ST_F32};
}

static float value(int64_t row, int64_t j)
{
    return (float)(row * D + j) / 8.0f - 3.0f; /* exact in every format */
}

static float gradient(int64_t row, int64_t j)
{
    return 1.0f / 16 - value(row, j) / 4;
}

static int write_rows(const char *dir, enum sae_st_dtype dtype, const enum sae_st_dtype *grads,
                      int64_t rows, sae_err *err)
{
    sae_shards_writer *w;
    sae_shards_info info = info_of(dtype, grads);
    int rc = sae_shards_writer_open(&w, dir, &info, err);
    for (int64_t r = 0; rc >= 0 && r < rows; r += 3) {
        float x[3 * D], g[3 * D];
        sae_token tok[3];
        int64_t n = rows - r < 3 ? rows - r : 3;
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < D; j++) {
                x[i * D + j] = value(r + i, j);
                g[i * D + j] = gradient(r + i, j);
            }
            tok[i] = (sae_token){(uint64_t)(r + i) / 4, (uint32_t)(r + i) % 4, (uint32_t)(r + i)};
        }
        rc = sae_shards_writer_add(w, n, x, grads ? g : NULL, tok, err);
    }
    if (rc >= 0)
        return sae_shards_writer_commit(&w, err);
    sae_shards_writer_abandon(&w);
    return rc;
}

/* Row r of a shard's acts or grads as float. */
static void row_of(const void *data, enum sae_st_dtype t, int64_t r, float x[D])
{
    sae_st_to_f32(t, (const char *)data + (size_t)(r * D) * sae_st_dtype_size(t), D, x);
}

/* Every number format of activations, without gradients and with those of every format. */
START_TEST(round_trip)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *dir = in_dir("shards/");
    enum sae_st_dtype type = types[_i / 4];
    const enum sae_st_dtype *grads = _i % 4 ? &types[_i % 4 - 1] : NULL;
    ck_assert_ok(write_rows(dir, type, grads, ROWS, &err), err);
    ck_assert_ok(sae_shards_verify(dir, &err), err);
    sae_shards *s;
    ck_assert_ok(sae_shards_open(dir, &s, &err), err);
    ck_assert(s->d == D && s->rows == ROWS && s->count == 3);
    ck_assert_str_eq(s->hook, "resid_post.1");
    ck_assert_uint_eq(strlen(s->hash), 32);
    int64_t row = 0;
    for (int64_t k = 0; k < s->count; k++)
        for (int64_t r = 0; r < s->shard[k].rows; r++, row++) {
            const sae_shard *h = &s->shard[k];
            float x[D], g[D];
            ck_assert(!h->grads == !grads);
            row_of(h->acts, type, r, x);
            if (grads)
                row_of(h->grads, *grads, r, g);
            for (int64_t j = 0; j < D; j++)
                ck_assert(x[j] == value(row, j) && (!grads || g[j] == gradient(row, j)));
            ck_assert(h->dtype == _i / 4 && h->tokens[r] == row);
            ck_assert(!grads || h->grads_dtype == _i % 4 - 1);
            ck_assert(h->doc[r] == (uint64_t)row / 4 && h->pos[r] == (uint32_t)row % 4);
        }
    ck_assert_int_eq(row, ROWS);
    sae_shards_close(&s);
    sae_shards_close(&s);
    sae_free(dir);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(refusals)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *dir = in_dir("shards");
    ck_assert_ok(write_rows(dir, SAE_ST_F32, NULL, 0, &err), err); /* no rows is a dataset too */
    sae_shards *s;
    ck_assert_ok(sae_shards_open(dir, &s, &err), err);
    ck_assert(s->rows == 0 && s->count == 0);
    sae_shards_close(&s);
    ck_assert_int_eq(write_rows(dir, SAE_ST_F32, NULL, 1, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "expected a new or empty directory"));

    static const float bad[] = {NAN, INFINITY, 65520.0f};
    for (int i = 0; i < 6; i++) {
        char *other = in_dir("other");
        sae_shards_info info = info_of(SAE_ST_F16, i < 3 ? NULL : &types[1]);
        sae_shards_writer *w;
        sae_token tok = {0};
        const float x[D] = {0, 0, bad[i % 3]}, zero[D] = {0};
        err = (sae_err){0};
        ck_assert_ok(sae_shards_writer_open(&w, other, &info, &err), err);
        int rc = i < 3 ? sae_shards_writer_add(w, 1, x, NULL, &tok, &err)
                       : sae_shards_writer_add(w, 1, zero, x, &tok, &err);
        ck_assert_int_eq(rc, SAE_ENONFINITE);
        ck_assert_ptr_nonnull(strstr(err.msg, i < 3
                                                  ? "row 0, element 2: expected a value of F16"
                                                  : "row 0, gradient 2: expected a value of F16"));
        sae_shards_writer_abandon(&w);
        char **names;
        ck_assert_ok(sae_dir_list(test_dir(), &names, &err), err);
        ck_assert_str_eq(names[0], "shards");
        ck_assert_ptr_null(names[1]);
        sae_names_free(&names);
        sae_free(other);
    }
    sae_free(dir);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

/* Edits of the manifest of a good data set: first match of `from` becomes `to`. */
static const struct {
    const char *from, *to, *message;
} edits[] = {
    {"saemark-shards", "other-shards", "\"format\": expected saemark-shards"},
    {"\"version\": 1", "\"version\": 2", "version 1"},
    {"\"d\": 6", "\"d\": 7", "\"mean\": expected an array of d numbers"},
    {"\"d\": 6", "\"d\": 0", "\"d\": expected a positive integer"},
    {"\"d\": 6", "\"d\": 6.0", "\"d\": expected a positive integer"},
    {"\"F32\"", "\"F64\"", "\"dtype\": expected F32, F16 or BF16"},
    {"\"F32\"", "\"F16\"", "\"acts\": expected dtype F16, found F32"},
    {"\"rows\": 25", "\"rows\": 24", "expected statistics of all rows"},
    {"\"rows\": 10", "\"rows\": 9", "expected shape [9, 6], found [10, 6]"},
    {"acts-00002", "acts-00000", "expected shape [5, 6], found [10, 6]"},
    {"acts-00000", "../shards/acts-00000", "expected the name of a file in the same directory"},
    {"acts-00000", "acts-00009", "cannot open"},
    {"\"xxh128\": \"", "\"xxh128\": \"z", "expected 32 hexadecimal digits"},
    {"\"resid_post.1\"", "7", "\"hook\": expected a string"},
    {"\"mean\": [", "\"mean\": [\"x\",", "\"mean\": expected"},
    {"\"mean_sq\"", "\"mean_cube\"", "\"mean_sq\": expected a number"},
    {"{", "[", "line "},
    {"\"model\"", "\"d\": 6, \"model\"", "duplicate"},
    {"\"grads\": \"BF16\"", "\"grads\": \"F64\"", "\"grads\": expected F32, F16 or BF16"},
    {"\"grads\": \"BF16\"", "\"grads\": true", "\"grads\": expected a string"},
    {"\"grads\": \"BF16\"", "\"grads\": \"F16\"", "\"grads\": expected dtype F16, found BF16"},
    {"\"grads\"", "\"gradients\"", "\"grads\": expected none"},
};

static void edit(const char *path, const char *from, const char *to)
{
    sae_err err = {0};
    sae_map m;
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    char *text = sae_strfmt("%.*s", (int)m.bytes, (const char *)m.p);
    sae_map_close(&m);
    char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s is not in %s", from, text);
    char *out = sae_strfmt("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    ck_assert_ok(sae_file_write(path, out, strlen(out), &err), err);
    sae_free(text);
    sae_free(out);
}

START_TEST(lying_manifest)
{
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *dir = in_dir("shards"), *manifest = in_dir("shards/manifest.json");
    ck_assert_ok(write_rows(dir, SAE_ST_F32, &types[2], ROWS, &err), err);
    edit(manifest, edits[_i].from, edits[_i].to);
    sae_shards *s = NULL;
    int rc = sae_shards_open(dir, &s, &err);
    ck_assert_msg(rc == SAE_EFORMAT || rc == SAE_EIO, "%s: status %d", edits[_i].to, rc);
    ck_assert_msg(strstr(err.msg, edits[_i].message) != NULL, "%s", err.msg);
    ck_assert_ptr_nonnull(strstr(err.msg, dir));
    ck_assert_ptr_null(strchr(err.msg, '\n'));
    ck_assert_ptr_null(s);
    sae_free(dir);
    sae_free(manifest);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

/* Shard 1 of `dir` written anew: its rows, and gradients [rows x width] unless width is 0. */
static void replace_shard(const char *dir, int64_t width)
{
    sae_err err = {0};
    static const char zeros[PER_SHARD * (D + 1) * 8];
    const int64_t shape[] = {PER_SHARD, D}, grads[] = {PER_SHARD, width};
    const size_t rows = PER_SHARD;
    sae_st_writer *w;
    char *path = sae_path_join(dir, "acts-00001.safetensors");
    ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "doc", SAE_ST_U64, 1, shape, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "tokens", SAE_ST_I32, 1, shape, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "pos", SAE_ST_U32, 1, shape, &err), err);
    ck_assert_ok(sae_st_writer_add(w, "acts", SAE_ST_F32, 2, shape, &err), err);
    if (width)
        ck_assert_ok(sae_st_writer_add(w, "grads", SAE_ST_F32, 2, grads, &err), err);
    ck_assert_ok(sae_st_writer_begin(w, &err), err);
    const size_t bytes[] = {8 * rows, 4 * rows, 4 * rows, 4 * rows * D, 4 * rows * (size_t)width};
    for (int i = 0; i < 5; i++)
        ck_assert_ok(sae_st_writer_data(w, zeros, bytes[i], &err), err);
    ck_assert_ok(sae_st_writer_commit(&w, &err), err);
    sae_free(path);
}

/* Gradients in some shards only, or of another shape. */
START_TEST(mixed_gradients)
{
    static const struct {
        int promised;
        int64_t width;
        const char *message; /* NULL: good */
    } cases[] = {{1, D, NULL},
                 {0, 0, NULL},
                 {1, 0, "acts-00001.safetensors: tensor \"grads\" is missing"},
                 {0, D, "acts-00001.safetensors: tensor \"grads\": expected none"},
                 {1, D - 1, "\"grads\": expected shape [10, 6], found [10, 5]"}};
    sae_err err = {0};
    size_t live = sae_alloc_live();
    char *dir = in_dir("shards");
    sae_shards *s = NULL;
    ck_assert_ok(write_rows(dir, SAE_ST_F32, cases[_i].promised ? types : NULL, ROWS, &err), err);
    replace_shard(dir, cases[_i].width);
    int rc = sae_shards_open(dir, &s, &err);
    if (cases[_i].message) {
        ck_assert_int_eq(rc, SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, cases[_i].message) != NULL, "%s", err.msg);
        ck_assert_ptr_null(s);
    } else {
        ck_assert_ok(rc, err);
    }
    sae_shards_close(&s);
    sae_free(dir);
    ck_assert_uint_eq(sae_alloc_live(), live);
}
END_TEST

START_TEST(verify_finds_a_flipped_bit)
{
    sae_err err = {0};
    char *dir = in_dir("shards"), *shard = in_dir("shards/acts-00001.safetensors");
    ck_assert_ok(write_rows(dir, SAE_ST_F32, NULL, ROWS, &err), err);
    FILE *f = fopen(shard, "r+b");
    ck_assert(f && fseek(f, -1, SEEK_END) == 0);
    int c = fgetc(f);
    ck_assert(fseek(f, -1, SEEK_END) == 0 && fputc(c ^ 1, f) != EOF && fclose(f) == 0);
    ck_assert_int_eq(sae_shards_verify(dir, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "acts-00001.safetensors: expected xxh128 "));
    sae_free(dir);
    sae_free(shard);
}
END_TEST

Suite *suite_shards(void)
{
    Suite *s = suite_create("shards");
    TCase *tc = tcase_create("shards");
    tcase_add_loop_test(tc, round_trip, 0, 12);
    tcase_add_test(tc, refusals);
    tcase_add_loop_test(tc, lying_manifest, 0, (int)(sizeof edits / sizeof edits[0]));
    tcase_add_loop_test(tc, mixed_gradients, 0, 5);
    tcase_add_test(tc, verify_finds_a_flipped_bit);
    suite_add_tcase(s, tc);
    return s;
}
