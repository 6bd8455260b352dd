/* tests/fuzz/fuzz_npy.c - any bytes are a valid array or a clean error; accepted data are there. */
#include "core/npy.h"
#include "fuzz/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    FILE *f = fuzz_file(data, size, path);
    sae_err err = {0};
    sae_npy a;
    int rc = sae_npy_open(&a, path, &err);
    fclose(f);
    if (rc < 0 && (a.map.p || !err.msg[0]))
        abort();
    if (rc >= 0) {
        static volatile unsigned sink;
        const unsigned char *p = a.data;
        for (size_t i = 0; i < a.bytes; i++)
            sink += p[i];
        if ((size_t)a.count * sae_st_dtype_size(a.dtype) != a.bytes)
            abort();
    }
    sae_npy_close(&a);
    return 0;
}
