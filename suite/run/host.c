/* suite/run/host.c - the services datasets get, bound to one engine. */
#include "run/host.h"

#include "core/hash.h"
#include "core/shards.h"
#include "models/docs.h"
#include "models/lm_file.h"

static int host_lm_open(const sae_host *host, const char *path, const char *tokenizer, sae_lm **lm,
                        sae_err *err)
{
    return sae_lm_open(lm, path, tokenizer, sae_lm_place_of(host->engine), err);
}

static void host_parallel(void (*body)(void *arg, int64_t i), void *arg, int64_t n)
{
#pragma omp parallel for schedule(static, 1)
    for (int64_t i = 0; i < n; i++)
        body(arg, i);
}

sae_host sae_host_make(const sae_engine *e, uint64_t seed)
{
    sae_host h = {
        .size = sizeof h,
        .seed = seed,
        .k = &e->host_k,
        .dev = e->host_dev,
        .lm_open = host_lm_open,
        .lm_close = sae_lm_close,
        .docs_open = sae_docs_open,
        .docs_close = sae_docs_close,
        .shards_open = sae_shards_open,
        .shards_close = sae_shards_close,
        .hash = sae_hash_bytes,
        .parallel = host_parallel,
        .engine = e,
    };
    return h;
}
