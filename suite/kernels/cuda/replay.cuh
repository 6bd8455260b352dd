/* suite/kernels/cuda/replay.cuh - the launches of an entry, recorded once and then replayed.
 *
 * An encoder launches a product and a few kernels per chunk and panel, some of which take less time
 * than their launch. What an entry launches is a function of its arguments and the workspaces, so a
 * call that comes again is one launch of a CUDA graph.
 *
 * The first call with a key runs plainly: workspaces grow and libraries load their kernels. The
 * second one is recorded, so that a key which never comes again (a threshold of its own in every
 * step) costs a place in the table. What cannot be recorded runs plainly from
 * then on. Scalars that cuBLAS reads from the host are part of the recording.
 *
 * A graph holds pointers into workspaces: sae_device.generation counts what replaces one or changes
 * launches in another way that keys do not show, and older graphs are not used again. Copies of
 * frozen weights come and go in every step: keys have the copy's address.
 */
#ifndef SAE_KERNELS_CUDA_REPLAY_CUH
#define SAE_KERNELS_CUDA_REPLAY_CUH

#include "cuda/cuda.cuh"

#include <type_traits>

constexpr size_t KEY_BYTES = 320;

/* What decides the launches of a body. Zeros behind the last value. */
typedef struct sae_cuda_key {
    int (*body)(void *);
    unsigned char values[KEY_BYTES];
} sae_cuda_key;

/* key.body(arg), or what it launched before. */
int sae_cuda_replay_key(sae_device *dev, const sae_cuda_key *key, void *arg);

/* body(), a function of `values` (all pointers, extents and scalars that it uses) and nothing else.
 * It only launches: it does not wait, replay, copy from or to the host, or leave anything in host
 * memory. */
template <class F, class... A> int sae_cuda_replay(sae_device *dev, F body, const A &...values)
{
    static_assert(((std::is_floating_point<A>::value ||
                    std::has_unique_object_representations<A>::value) && ...),
                  "padding would make keys of equal values differ");
    static_assert((sizeof(A) + ...) <= KEY_BYTES, "a longer key");
    sae_cuda_key key = {[](void *f) { return (*(F *)f)(); }, {0}};
    unsigned char *end = key.values;
    ((memcpy(end, &values, sizeof values), end += sizeof values), ...);
    return sae_cuda_replay_key(dev, &key, &body);
}

#endif
