/* tests/fuzz/fuzz_sae_cfg.c - cfg.json of SAEs: parsed values are in range, refusals say why. */
#include "core/list.h"
#include "train/sae_cfg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sae_cfg c;
    sae_err err = {0};
    int rc = sae_cfg_parse((const char *)data, size, sae_list_variants, &c, &err);
    int in_range = c.d_in >= 1 && c.d_in <= INT32_MAX && c.d_sae >= 1 && c.d_sae <= INT32_MAX &&
                   (c.k == -1 || c.k >= 1) && c.architecture[0] &&
                   memchr(c.architecture, '\0', sizeof c.architecture) &&
                   (c.norm == SAE_NORM_NONE || sae_norm_is_per_row(c.norm));
    if (rc == SAE_OK ? !in_range : rc != SAE_EFORMAT || !err.msg[0])
        abort();
    return 0;
}
