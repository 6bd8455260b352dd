/* tests/fuzz/fuzz_spec.c - spec strings: whatever parses prints to a fixpoint; whatever expands
 * contains no alternatives any more. */
#include "core/memory.h"
#include "core/spec.h"
#include "support/probe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok)
{
    if (!ok)
        abort();
}

static void check_fixpoint(const sae_registry *reg, const sae_spec *s, int canonical)
{
    sae_spec again;
    char *first = sae_spec_print(s, canonical);
    require(first != NULL);
    require(sae_spec_parse(&again, reg, SAE_KIND_VARIANT, first, NULL) == SAE_OK);
    char *second = sae_spec_print(&again, canonical);
    require(second && strcmp(first, second) == 0);
    sae_spec_free(&again);
    sae_free(first);
    sae_free(second);
}

static void check_text(const sae_registry *reg, const char *text)
{
    sae_err err = {0};
    sae_spec s;
    if (sae_spec_parse(&s, reg, SAE_KIND_VARIANT, text, &err) == SAE_OK) {
        check_fixpoint(reg, &s, 0);
        check_fixpoint(reg, &s, 1);
        sae_spec_free(&s);
    } else {
        require(err.code < 0 && err.msg[0] && !s.opts);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sae_registry *reg;
    if (!reg)
        require(sae_registry_open(&reg, NULL) == SAE_OK &&
                sae_registry_add(reg, &probe_plugin, NULL) == SAE_OK);
    size_t live = sae_alloc_live();
    char *text = calloc(1, size + 1), **list = NULL;
    if (!text)
        return 0;
    memcpy(text, data, size);
    check_text(reg, text);
    if (sae_spec_expand(text, &list, NULL) == SAE_OK) {
        for (int64_t i = 0; list[i] && i < 100; i++)
            check_text(reg, list[i]);
        sae_spec_list_free(&list);
    }
    free(text);
    require(sae_alloc_live() == live);
    return 0;
}
