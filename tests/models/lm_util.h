/* tests/models/lm_util.h - opening models and reading their golden values. */
#ifndef SAE_TESTS_LM_UTIL_H
#define SAE_TESTS_LM_UTIL_H

#include "core/list.h"
#include "core/model.h"
#include "models/lm_file.h"
#include "support/backends.h"
#include "support/support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct lm_fixture {
    sae_registry *reg;
    sae_engine e;
    sae_lm *lm;
    sae_err err;
} lm_fixture;

/* The best backend of the program, or that of SAEMARK_CUDA, with so many threads (0: all). */
static inline void lm_engine(lm_fixture *f, int threads)
{
    const char *only = getenv("SAEMARK_CUDA");
    const sae_backend *best = sae_list_backends[0];
    *f = (lm_fixture){0};
    ck_assert_ok(sae_registry_open(&f->reg, &f->err), f->err);
    for (int i = 1; sae_list_backends[i]; i++)
        if (sae_list_backends[i]->score() > best->score())
            best = sae_list_backends[i];
    if (only && *only)
        best = test_backend(f->reg, 0);
    ck_assert_ok(sae_engine_open(&f->e, best, 0, threads, &f->err), f->err);
}

static inline void lm_engine_close(lm_fixture *f)
{
    sae_engine_close(&f->e);
    sae_registry_close(&f->reg);
}

static inline void lm_setup(lm_fixture *f, const char *path, const char *tokenizer)
{
    lm_engine(f, 0);
    ck_assert_ok(sae_lm_open(&f->lm, path, tokenizer, sae_lm_place_of(&f->e), &f->err), f->err);
}

static inline void lm_teardown(lm_fixture *f)
{
    sae_lm_close(&f->lm);
    lm_engine_close(f);
}

/* Token ids of a JSON array; free() them. */
static inline int32_t *lm_ids(const json_t *a, int64_t *n)
{
    *n = (int64_t)json_array_size(a);
    int32_t *ids = calloc((size_t)*n + 1, sizeof *ids);
    for (int64_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(a, (size_t)i));
    return ids;
}

static inline double lm_num(const json_t *a, int64_t i)
{
    return json_number_value(json_array_get(a, (size_t)i));
}

#endif
