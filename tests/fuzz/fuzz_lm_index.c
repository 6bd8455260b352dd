/* tests/fuzz/fuzz_lm_index.c - any bytes as the index of a checkpoint of two good files,
 * a.safetensors with x and y and b.safetensors with z: what is accepted opens these files alone. */
#include "core/file.h"
#include "core/memory.h"
#include "models/lm_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[1024];

static void remove_dir(void)
{
    sae_dir_remove(dir, NULL);
}

static void require(int ok)
{
    if (!ok)
        abort();
}

static void write_file(const char *name, const char *const *tensors, int count)
{
    static const float x[2] = {1, 2};
    const int64_t shape = 2;
    char path[1100];
    sae_st_writer *w;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    require(sae_st_writer_open(&w, path, NULL) >= 0);
    for (int i = 0; i < count; i++)
        require(sae_st_writer_add(w, tensors[i], SAE_ST_F32, 1, &shape, NULL) >= 0);
    require(sae_st_writer_begin(w, NULL) >= 0);
    for (int i = 0; i < count; i++)
        require(sae_st_writer_data(w, x, sizeof x, NULL) >= 0);
    require(sae_st_writer_commit(&w, NULL) >= 0);
}

static void make_dir(void)
{
    static const char *const names[] = {"x", "y", "z"};
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/saemark-fuzz-XXXXXX", tmp ? tmp : P_tmpdir);
    require(mkdtemp(dir) != NULL);
    write_file("a.safetensors", names, 2);
    write_file("b.safetensors", names + 2, 1);
    atexit(remove_dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*dir)
        make_dir();
    sae_err err = {0};
    sae_lm_store s;
    size_t live = sae_alloc_live();
    if (sae_lm_store_open_index(&s, dir, (const char *)data, size, &err) < 0) {
        require((err.code == SAE_EFORMAT || err.code == SAE_EIO) && err.msg[0]);
        require(!s.st && s.count == 0);
    } else {
        require(s.count == 1 || s.count == 2);
        for (int64_t i = 0; i < s.count; i++)
            require(!strncmp(sae_st_path(s.st[i]), dir, strlen(dir)) &&
                    (sae_st_find(s.st[i], "x") || sae_st_find(s.st[i], "z")));
        sae_lm_store_close(&s);
    }
    require(sae_alloc_live() == live);
    return 0;
}
