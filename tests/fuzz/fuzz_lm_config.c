/* tests/fuzz/fuzz_lm_config.c - headers of language models: a config.json is accepted only with
 * extents that pass the check; a .bin that is accepted can be read to its last weight. */
#include "models/lm_model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok)
{
    if (!ok)
        abort();
}

static void check_bin(const uint8_t *data, size_t size)
{
    sae_err err = {0};
    sae_lm_config c;
    if (sae_lm_config_bin(&c, data, size, &err) < 0) {
        require(err.code == SAE_EFORMAT && err.msg[0]);
        return;
    }
    sae_lm_bin bin = {data, size};
    sae_lm_source src = {&bin, sae_lm_read_bin};
    sae_lm_model *m = NULL;
    int rc = sae_lm_model_open(&m, &c, &src, (sae_lm_place){0}, &err);
    require(rc == SAE_OK ? m && m->w.params * 4 < size : rc == SAE_EFORMAT && !m);
    sae_lm_model_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sae_err err = {0};
    sae_lm_config c;
    check_bin(data, size);
    if (sae_lm_config_json(&c, (const char *)data, size, &err) < 0)
        require(err.code == SAE_EFORMAT && err.msg[0]);
    else
        require(sae_lm_config_check(&c, &err) == SAE_OK && c.bos < c.vocab && c.eos < c.vocab);
    return 0;
}
