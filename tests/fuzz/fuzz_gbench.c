/* tests/fuzz/fuzz_gbench.c - benchmark JSON: whatever the bytes, measurements or one line of
 * refusal; what was read can be stored. */
#include "track/import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sae_readings b = {0};
    sae_err err = {0};
    sae_store *s = NULL;
    const sae_import how = {.git = "abc", .host = "h"};
    int64_t run;
    int rc = sae_readings_gbench(&b, "fuzz.json", (const char *)data, size, 0, &err);
    if (rc < 0 && (!err.msg[0] || strchr(err.msg, '\n')))
        abort();
    for (int64_t i = 0; i < b.sample_count; i++)
        if (b.sample[i].series < 0 || b.sample[i].series >= b.series_count ||
            (b.sample[i].status == SAE_SAMPLE_OK && !isfinite(b.sample[i].value)))
            abort();
    if (rc >= 0 && (sae_store_open(&s, ":memory:", 1, &err) < 0 ||
                    sae_import_readings(s, &b, &how, &run, &err) < 0 ||
                    sae_store_check(s, &err) < 0))
        abort();
    sae_store_close(&s);
    sae_readings_free(&b);
    return 0;
}
