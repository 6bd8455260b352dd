/* tests/fuzz/fuzz_safetensors.c - any bytes are a valid container or a clean error; the data of an
 * accepted file can be read to the last byte. */
#include "core/safetensors.h"
#include "fuzz/bytes.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const sae_st *st)
{
    static volatile unsigned sink;
    for (int64_t i = 0; i < sae_st_count(st); i++) {
        const sae_st_tensor *t = sae_st_at(st, i), *same;
        const unsigned char *p = t->data;
        for (size_t b = 0; b < t->bytes; b++)
            sink += p[b];
        if (sae_st_need(st, t->name, t->rank, t->shape, &same, NULL) < 0 || same != t)
            abort();
        float value[4];
        int64_t n = t->count < 4 ? t->count : 4;
        (void)sae_st_floats(st, t, t->count - n, n, 1, value, NULL);
    }
    (void)sae_st_meta(st, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    FILE *f = fuzz_file(data, size, path);
    sae_err err = {0};
    sae_st *st;
    int rc = sae_st_open(&st, path, &err);
    fclose(f);
    if (rc < 0 && (st || !err.msg[0] || strchr(err.msg, '\n')))
        abort();
    if (rc >= 0)
        read_all(st);
    sae_st_close(&st);
    return 0;
}
