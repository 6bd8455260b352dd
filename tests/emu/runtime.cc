/* tests/emu/runtime.cc - threads of a block as coroutines, streams that wait, events, graphs. */
#include "emu.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

emu_position emu_at;

std::recursive_mutex emu_turn;

void emu_give_up(const char *why)
{
    fprintf(stderr, "emulated CUDA: %s (block %u,%u thread %u)\n", why, emu_at.block.x,
            emu_at.block.y, emu_at.thread.x);
    abort();
}

namespace
{

/* ---- threads of a block ---- */

enum waiting { READY, AT_BLOCK, AT_WARP, GONE };
enum { STACK = 64 * 1024, WARP = 32, MAX_THREADS = 1024 };

struct fiber {
    jmp_buf at;
    std::vector<char> stack;
    waiting state;
    bool started = false;
    dim3 index;
    uint64_t word;
};

std::vector<fiber> fibers(MAX_THREADS);
unsigned count, current;
jmp_buf scheduler;
const std::function<void()> *body;

void wait(waiting what)
{
    fiber &f = fibers[current];
    f.state = what;
    if (_setjmp(f.at) == 0)
        _longjmp(scheduler, 1);
}

/* A coroutine runs one thread after the other: making one costs system calls. */
void enter()
{
    for (;;) {
        (*body)();
        wait(GONE);
    }
}

void start(fiber &f)
{
    static ucontext_t made, back;
    f.started = true;
    f.stack.resize(STACK);
    getcontext(&made);
    made.uc_stack.ss_sp = f.stack.data();
    made.uc_stack.ss_size = f.stack.size();
    made.uc_link = nullptr;
    makecontext(&made, enter, 0);
    swapcontext(&back, &made);
}

/* Until the thread waits or has ended. */
void resume(unsigned i)
{
    fiber &f = fibers[i];
    current = i;
    emu_at.thread = f.index;
    if (_setjmp(scheduler) == 0) {
        if (f.started)
            _longjmp(f.at, 1);
        start(f);
    }
}

/* Threads [from, to) that wait for `what` go on when none of them still runs elsewhere. */
bool release(unsigned from, unsigned to, waiting what)
{
    bool any = false;
    for (unsigned i = from; i < to; i++) {
        if (fibers[i].state != what && fibers[i].state != GONE)
            return false;
        any |= fibers[i].state == what;
    }
    for (unsigned i = from; i < to && any; i++)
        if (fibers[i].state == what)
            fibers[i].state = READY;
    return any;
}

void run_block(bool backwards)
{
    for (;;) {
        bool ran = false;
        for (unsigned k = 0; k < count; k++) {
            unsigned i = backwards ? count - 1 - k : k;
            if (fibers[i].state == READY) {
                resume(i);
                ran = true;
            }
        }
        if (ran)
            for (unsigned w = 0; w < count; w += WARP)
                release(w, w + WARP < count ? w + WARP : count, AT_WARP);
        else if (!release(0, count, AT_BLOCK))
            break;
    }
    for (unsigned i = 0; i < count; i++)
        if (fibers[i].state != GONE)
            emu_give_up("a barrier that not every thread reaches");
}

/* ---- streams ---- */

/* What several streams do at once: the last one that comes to it does it. */
struct meeting {
    std::vector<emu_stream *> of;
    std::function<void()> work;
    bool done;
};

/* A place in a stream that others wait for. */
struct mark {
    emu_stream *in;
    bool passed;
};

struct item {
    std::function<void()> work;
    std::shared_ptr<meeting> all; /* or this */
    std::shared_ptr<mark> behind; /* or what another stream has to come to */
};

} // namespace

struct emu_stream {
    int device;
    std::deque<item> queue;
};

struct emu_event {
    int device;
    std::shared_ptr<mark> last; /* NULL: never recorded */
};

namespace
{

std::set<emu_stream *> streams;
thread_local int device; /* of the thread */
thread_local cudaError_t last;

thread_local enum recording { OFF, ON, SPOILT } recording;
thread_local std::vector<std::function<void()>> recorded;
int recordings, recorded_ever; /* of all threads */

void flush(emu_stream *s, const meeting *end = nullptr, const mark *until = nullptr);

void meet(emu_stream *s, meeting *all)
{
    unsigned devices = 0;
    for (emu_stream *other : all->of) {
        devices |= 1u << other->device;
        if (other != s)
            flush(other, all);
    }
    emu_open memory(devices);
    all->work();
    all->done = true;
}

/* All of a stream, or up to that meeting, or until it has passed that mark. */
void flush(emu_stream *s, const meeting *end, const mark *until)
{
    while (!s->queue.empty() && !(end && s->queue.front().all.get() == end) &&
           !(until && until->passed)) {
        item next = s->queue.front();
        s->queue.pop_front();
        if (next.work) {
            emu_open memory(1u << s->device);
            next.work();
        } else if (next.behind) {
            if (!next.behind->passed)
                flush(next.behind->in, nullptr, next.behind.get());
        } else if (!next.all->done) {
            meet(s, next.all.get());
        }
    }
}

/* Work of device 1 runs as soon as it may, that of the others as late as it may: both orders of
 * what does not wait for each other are seen. */
void push(emu_stream *s, const item &work)
{
    emu_alone my_turn(emu_turn);
    s->queue.push_back(work);
    if (s->device == 1 && !work.all)
        flush(s);
}

} // namespace

bool emu_spoils()
{
    if (recording == OFF)
        return false;
    recording = SPOILT;
    last = cudaErrorStreamCaptureUnsupported;
    return true;
}

cudaError_t emu_failed(cudaError_t rc)
{
    return last = rc;
}

int emu_device()
{
    return device;
}

void emu_finish()
{
    for (emu_stream *s : streams)
        flush(s);
}

void emu_disturb(const char *what)
{
    emu_turn.lock();
    int before = recorded_ever;
    bool now = recordings > 0;
    emu_turn.unlock();
    usleep(2000); /* others may begin one */
    emu_alone my_turn(emu_turn);
    if (now || recorded_ever != before)
        emu_give_up(what);
}

void emu_enqueue(cudaStream_t s, std::function<void()> work)
{
    if (s->device != device)
        emu_give_up("work in a stream of another device than the thread's");
    if (recording == OFF)
        push(s, {work, nullptr, nullptr});
    else
        recorded.push_back(work);
}

void emu_enqueue_all(const std::vector<cudaStream_t> &s, std::function<void()> work)
{
    auto all = std::make_shared<meeting>(meeting{s, work, false});
    for (emu_stream *one : s)
        push(one, {nullptr, all, nullptr});
}

int emu_device_of(cudaStream_t s)
{
    return s->device;
}

void emu_grid(dim3 grid, dim3 block, const std::function<void()> &thread)
{
    static unsigned launches;
    count = block.x * block.y * block.z;
    if (!count || count > MAX_THREADS || !grid.x || !grid.y || grid.y > 65535 || grid.z != 1)
        emu_give_up("a launch that no GPU accepts");
    uint64_t blocks = (uint64_t)grid.x * grid.y, step = ++launches % 2 ? 1 : blocks - 1;
    body = &thread;
    emu_at.blocks = grid;
    emu_at.threads = block;
    for (uint64_t k = 0, b = launches % 3 % (blocks ? blocks : 1); k < blocks; k++) {
        emu_at.block = dim3((unsigned)(b % grid.x), (unsigned)(b / grid.x));
        for (unsigned i = 0; i < count; i++) {
            fibers[i].state = READY;
            fibers[i].index = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
        }
        run_block(launches / 2 % 2);
        b = (b + step) % blocks;
    }
}

void __syncthreads()
{
    wait(AT_BLOCK);
}

void __syncwarp(unsigned)
{
    wait(AT_WARP);
}

int emu_lane()
{
    return (int)(current % WARP);
}

uint64_t emu_exchange(uint64_t mine, int from)
{
    unsigned first = current / WARP * WARP, other = first + (unsigned)from;
    fibers[current].word = mine;
    wait(AT_WARP);
    if (other < count && fibers[other].state != GONE)
        mine = fibers[other].word;
    wait(AT_WARP);
    return mine;
}

uint32_t emu_ballot(int predicate)
{
    unsigned first = current / WARP * WARP;
    uint32_t bits = 0;
    fibers[current].word = predicate != 0;
    wait(AT_WARP);
    for (unsigned i = 0; i < WARP && first + i < count; i++)
        if (fibers[first + i].state != GONE && fibers[first + i].word)
            bits |= 1u << i;
    wait(AT_WARP);
    return bits;
}

/* ---- the runtime ---- */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = EMU_DEVICES;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int index)
{
    if (index < 0 || index >= EMU_DEVICES)
        return cudaErrorInvalidValue;
    device = index;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *index)
{
    *index = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated on the processor");
    p->multiProcessorCount = 2;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    emu_alone my_turn(emu_turn);
    *s = new emu_stream{device, {}};
    streams.insert(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    emu_alone my_turn(emu_turn);
    flush(s);
    streams.erase(s);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (emu_spoils())
        return last;
    emu_alone my_turn(emu_turn);
    if (!streams.count(s))
        emu_give_up("a stream that is no more");
    flush(s);
    return cudaSuccess;
}

/* From the host: the bytes of now. To the host: those of when the stream comes to it. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    if (kind != cudaMemcpyDeviceToDevice && emu_spoils())
        return last;
    emu_one_piece(to, bytes);
    emu_one_piece(from, bytes);
    if (kind == cudaMemcpyHostToDevice) {
        std::vector<char> copy((const char *)from, (const char *)from + bytes);
        emu_enqueue(s, [=] { memcpy(to, copy.data(), bytes); });
    } else {
        emu_enqueue(s, [=] { memmove(to, from, bytes); });
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    emu_one_piece(p, bytes);
    emu_enqueue(s, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new emu_event{device, nullptr};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    if (emu_spoils())
        return last;
    if (e->device != s->device)
        return last = cudaErrorInvalidResourceHandle;
    auto here = std::make_shared<mark>(mark{s, false});
    push(s, {[=] { here->passed = true; }, nullptr, nullptr});
    emu_alone my_turn(emu_turn);
    e->last = here;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    if (emu_spoils())
        return last;
    emu_alone my_turn(emu_turn);
    if (e->last)
        push(s, {nullptr, nullptr, e->last});
    return cudaSuccess;
}

/* ---- graphs ---- */

struct emu_graph {
    std::vector<std::function<void()>> work;
};
struct emu_exec : emu_graph {
};

/* What fails, for tests of what happens then. */
extern "C" __attribute__((visibility("default"))) int emu_graphs_fail;
int emu_graphs_fail; /* 1: capture; 2: instantiation; 3: launch */

static cudaError_t fails(int what)
{
    return emu_graphs_fail == what ? last = cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode)
{
    if (emu_spoils())
        return last;
    emu_alone my_turn(emu_turn);
    recordings++;
    recorded_ever++;
    recording = emu_graphs_fail == 1 ? SPOILT : ON;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    bool whole = recording == ON;
    *graph = whole ? new emu_graph{recorded} : nullptr;
    emu_alone my_turn(emu_turn);
    recordings--;
    recording = OFF;
    recorded.clear();
    return whole ? cudaSuccess : last = cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    if (fails(2))
        return last;
    *exec = new emu_exec{*graph};
    return cudaSuccess;
}

/* In the order of the recording: it was one stream. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    if (emu_spoils() || fails(3))
        return last;
    for (const std::function<void()> &work : exec->work)
        emu_enqueue(s, work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last;
    last = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? "out of memory" : e ? "invalid value" : "no error";
}
