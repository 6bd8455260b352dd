/* tests/fuzz/bytes.h - bytes as a file that disappears by itself. */
#ifndef SAE_TESTS_FUZZ_BYTES_H
#define SAE_TESTS_FUZZ_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Write data to an unnamed file; *path names it until it is closed. */
static inline FILE *fuzz_file(const uint8_t *data, size_t size, char path[32])
{
    FILE *f = tmpfile();
    if (!f || fwrite(data, 1, size, f) != size || fflush(f))
        abort();
    snprintf(path, 32, "/dev/fd/%d", fileno(f));
    return f;
}

#endif
