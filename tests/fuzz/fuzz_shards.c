/* tests/fuzz/fuzz_shards.c - any bytes as the manifest of a directory with two good shards, one
 * without gradients and one with. */
#include "core/memory.h"
#include "core/shards.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[1024];
static char *manifest;

static void remove_dir(void)
{
    sae_dir_remove(dir, NULL);
    sae_free(manifest);
}

/* A data set of one shard: three rows of width 2, f32. */
static void write_set(const char *out, int grads)
{
    const sae_shards_info info = {"m", "w",        "h", "t",   "x",       "y",
                                  2,   SAE_ST_F32, 3,   grads, SAE_ST_F32};
    static const float acts[6] = {1, 2, 3, 4, 5, 6}, back[6] = {-1, -2, -3, -4, -5, -6};
    static const sae_token tok[3] = {{0, 1, 7}, {0, 2, 8}, {1, 1, 9}};
    sae_shards_writer *w;
    if (sae_shards_writer_open(&w, out, &info, NULL) < 0 ||
        sae_shards_writer_add(w, 3, acts, back, tok, NULL) < 0 ||
        sae_shards_writer_commit(&w, NULL) < 0)
        abort();
}

/* acts-00000.safetensors has no gradients, acts-00001.safetensors has. */
static void make_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char second[1100], from[1200], to[1200];
    snprintf(dir, sizeof dir, "%s/saemark-fuzz-XXXXXX", tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir))
        abort();
    snprintf(second, sizeof second, "%s.grads", dir);
    snprintf(from, sizeof from, "%s/acts-00000.safetensors", second);
    snprintf(to, sizeof to, "%s/acts-00001.safetensors", dir);
    write_set(dir, 0);
    write_set(second, 1);
    if (rename(from, to) || sae_dir_remove(second, NULL) < 0)
        abort();
    manifest = sae_path_join(dir, "manifest.json");
    atexit(remove_dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!manifest)
        make_dir();
    FILE *f = fopen(manifest, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f))
        abort();
    sae_err err = {0};
    sae_shards *s;
    int rc = sae_shards_open(dir, &s, &err);
    if (rc < 0 && (s || !err.msg[0] || strchr(err.msg, '\n')))
        abort();
    for (int64_t k = 0; rc >= 0 && k < s->count; k++) {
        float x[2];
        const sae_shard *h = &s->shard[k];
        if (h->rows != 3 || s->d != 2 || h->dtype != 0 || h->tokens[2] != 9 || h->doc[2] != 1)
            abort();
        memcpy(x, (const float *)h->acts + 4, sizeof x);
        if (x[1] != 6.0f)
            abort();
        if (h->grads && (h->grads_dtype != 0 || ((const float *)h->grads)[5] != -6.0f))
            abort();
    }
    sae_shards_close(&s);
    (void)sae_shards_verify(dir, NULL);
    return 0;
}
