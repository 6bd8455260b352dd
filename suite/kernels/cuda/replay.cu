/* suite/kernels/cuda/replay.cu - the table of graphs of a device. */
#include "cuda/replay.cuh"

#include <stdlib.h>

/* A training step has some ten keys, twice where batches alternate between two buffers; a language
 * model has some of its own per layer. Tests have few, where the oldest must go sometimes, and
 * hashes that many keys share. */
#ifdef SAE_EMULATED_CUDA
constexpr int GRAPHS = 12, CHAINS = 4;
constexpr uint64_t HASH_BITS = 7;
#else
constexpr int GRAPHS = 1024, CHAINS = 2048;
constexpr uint64_t HASH_BITS = UINT64_MAX;
#endif

typedef struct graph {
    sae_cuda_key key;
    uint64_t hash;
    struct graph *next; /* of its chain */
    cudaGraphExec_t exec;
    uint64_t generation, used; /* of the device, behind its plain run; the call that used it last */
    bool seen, refused;        /* it has run plainly; it cannot be recorded */
} graph;

struct sae_cuda_graphs {
    uint64_t calls;
    int count; /* of at, in use */
    graph *chain[CHAINS]; /* by hash */
    graph at[GRAPHS];
};

/* Every step is a bijection of the 64 bits, so that keys which differ in one word never agree. */
static uint64_t hash_of(const sae_cuda_key *key)
{
    static_assert(sizeof *key % sizeof(uint64_t) == 0, "keys are words");
    uint64_t word[sizeof *key / sizeof(uint64_t)], h = 0;
    memcpy(word, key, sizeof word);
    for (uint64_t w : word) {
        h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return h & HASH_BITS;
}

static graph **chain_of(sae_cuda_graphs *all, uint64_t hash)
{
    return &all->chain[hash % CHAINS];
}

static void drop(graph *g)
{
    if (g->exec)
        cudaGraphExecDestroy(g->exec); /* one that still runs is freed when it has ended */
    g->exec = nullptr;
    g->seen = false;
}

/* The place of the graph not used for longest, out of its chain. */
static graph *evicted(sae_cuda_graphs *all)
{
    graph *oldest = all->at;
    for (graph *g = all->at; g < all->at + GRAPHS; g++)
        if (g->used < oldest->used)
            oldest = g;
    graph **link = chain_of(all, oldest->hash);
    while (*link != oldest)
        link = &(*link)->next;
    *link = oldest->next;
    drop(oldest);
    return oldest;
}

/* The graph of a key; where there is none, a place for one. */
static graph *graph_of(sae_cuda_graphs *all, const sae_cuda_key *key)
{
    uint64_t hash = hash_of(key);
    graph **chain = chain_of(all, hash);
    for (graph *g = *chain; g; g = g->next)
        if (g->hash == hash && memcmp(&g->key, key, sizeof *key) == 0)
            return g;
    graph *g = all->count < GRAPHS ? &all->at[all->count++] : evicted(all);
    g->key = *key;
    g->hash = hash;
    g->next = *chain;
    g->refused = false;
    *chain = g;
    return g;
}

/* Only what this thread does may spoil the recording: another may be uploading. Failures are none
 * of the call's, which then runs plainly: neither the stream nor the device remembers them. */
static void record(sae_device *dev, graph *g, void *arg)
{
    cudaGraph_t made = nullptr;
    char why = dev->why[0];
    int rc = SAE_EBACKEND;
    std::shared_lock<std::shared_mutex> among(sae_cuda_recording);
    if (cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess) {
        rc = g->key.body(arg);
        if (cudaStreamEndCapture(dev->stream, &made) != cudaSuccess)
            made = nullptr;
    }
    if (rc < 0 || !made || cudaGraphInstantiate(&g->exec, made, 0) != cudaSuccess)
        g->exec = nullptr;
    if (made)
        cudaGraphDestroy(made);
    dev->why[0] = why;
}

/* 1: the graph has been launched. */
static int launched(sae_device *dev, graph *g, void *arg)
{
    if (!g->exec)
        record(dev, g, arg);
    if (g->exec && cudaGraphLaunch(g->exec, dev->stream) == cudaSuccess)
        return 1;
    drop(g);
    g->refused = true;
    cudaGetLastError(); /* the next launch would find it */
    return 0;
}

int sae_cuda_replay_key(sae_device *dev, const sae_cuda_key *key, void *arg)
{
    if (!dev->graphs)
        dev->graphs = (sae_cuda_graphs *)calloc(1, sizeof *dev->graphs);
    if (!dev->graphs)
        return SAE_ENOMEM;
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    graph *g = graph_of(dev->graphs, key);
    g->used = ++dev->graphs->calls;
    if (g->generation != dev->generation)
        drop(g);
    if (g->seen && !g->refused && launched(dev, g, arg)) {
        dev->replays++;
        return SAE_OK;
    }
    int rc = key->body(arg);
    g->seen = rc >= 0;
    g->generation = dev->generation;
    return rc;
}

void sae_cuda_replay_close(sae_device *dev)
{
    for (int i = 0; dev->graphs && i < dev->graphs->count; i++)
        drop(&dev->graphs->at[i]);
    free(dev->graphs);
}
