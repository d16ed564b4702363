// Runs a .cu file on the CPU: a block's threads are fibres of one thread that take turns at barriers; blocks come one after another.
// Everything but the memory model and the tensor cores' own arithmetic is the kernel's: indices, tiles, masks, barriers, fragments.
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline int atomicExch(int* at, int value) { return std::exchange(*at, value); }

namespace host {

const std::size_t STACK_BYTES = 128 * 1024, SWAP_BYTES = 64;

struct Fibre {
    ucontext_t context;  // only to start it: swapcontext asks the kernel for the signal mask, _longjmp does not
    jmp_buf place;
    bool started;
    std::unique_ptr<char[]> stack;
    Index index;
    bool done;
};

struct Barrier {
    int waiting = 0;
    unsigned generation = 0;
};

static std::vector<Fibre> fibres;
static std::vector<Barrier> warps;
static std::vector<char> swapped;  // SWAP_BYTES a thread
static Barrier block;
static jmp_buf scheduler;
static int current, living;
static void (*body)(void*);
static void* body_arguments;
static char* shared = nullptr;

inline void yield() {
    if (!_setjmp(fibres[current].place)) _longjmp(scheduler, 1);
}

inline void wait(Barrier& barrier, int expected) {
    const unsigned generation = barrier.generation;
    if (++barrier.waiting == expected) {
        barrier.waiting = 0;
        barrier.generation++;
        return;
    }
    while (barrier.generation == generation) yield();
}

inline void enter() {
    body(body_arguments);
    fibres[current].done = true;
    living--;
    _longjmp(scheduler, 1);
}

inline void resume(Fibre& fibre) {
    threadIdx = fibre.index;
    if (_setjmp(scheduler)) return;
    if (fibre.started) _longjmp(fibre.place, 1);
    fibre.started = true;
    setcontext(&fibre.context);
}

inline void run_block() {
    const int count = (int)(blockDim.x * blockDim.y * blockDim.z);
    fibres.resize(count);
    warps.assign((count + 31) / 32, Barrier());
    swapped.resize(count * SWAP_BYTES);
    block = Barrier();
    living = count;
    for (int i = 0; i < count; i++) {
        Fibre& fibre = fibres[i];
        if (!fibre.stack) fibre.stack.reset(new char[STACK_BYTES]);
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = STACK_BYTES;
        fibre.context.uc_link = nullptr;
        fibre.done = fibre.started = false;
        fibre.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        makecontext(&fibre.context, enter, 0);
    }
    while (living) {
        const int before = living;
        const unsigned generation = block.generation;
        std::vector<unsigned> of_warps;
        for (const Barrier& warp : warps) of_warps.push_back(warp.generation);
        // every other block from the last thread on: what a barrier is missing for shows in one of the orders
        for (int turn = 0; turn < count; turn++) {
            current = blockIdx.x % 2 ? count - 1 - turn : turn;
            if (!fibres[current].done) resume(fibres[current]);
        }
        bool moved = living != before || block.generation != generation;
        for (std::size_t i = 0; i < warps.size(); i++) moved = moved || warps[i].generation != of_warps[i];
        if (!moved) {
            std::fprintf(stderr, "deadlock: threads wait at barriers that others never reach\n");
            std::abort();
        }
    }
}

template <typename... Arguments, std::size_t... Is>
void call(void (*kernel)(Arguments...), void** values, std::index_sequence<Is...>) {
    kernel(*static_cast<std::remove_const_t<Arguments>*>(values[Is])...);
}

// What each argument of a kernel is: 'p' and its size for a pointer, 'f' for a float, 'i' for an integer.
template <typename... Arguments> void describe(void (*)(Arguments...), char* kinds) {
    ((*kinds++ = std::is_pointer_v<Arguments> ? 'p' : std::is_floating_point_v<Arguments> ? 'f' : 'i',
      *kinds++ = (char)('0' + sizeof(Arguments))), ...);
    *kinds = 0;
}

template <typename... Arguments> void run(void (*kernel)(Arguments...), const unsigned* sizes, void** values) {
    struct Call {
        void (*kernel)(Arguments...);
        void** values;
    } described = {kernel, values};
    body = [](void* given) {
        const Call* one = static_cast<Call*>(given);
        call(one->kernel, one->values, std::index_sequence_for<Arguments...>());
    };
    body_arguments = &described;
    gridDim = {sizes[0], sizes[1], sizes[2]};
    blockDim = {sizes[3], sizes[4], sizes[5]};
    // exactly as large as the launch said, with garbage in it
    shared = static_cast<char*>(std::aligned_alloc(16, (sizes[6] + 15) / 16 * 16 + 16));
    for (unsigned z = 0; z < sizes[2]; z++)
        for (unsigned y = 0; y < sizes[1]; y++)
            for (unsigned x = 0; x < sizes[0]; x++) {
                blockIdx = {x, y, z};
                std::memset(shared, 0xff, (sizes[6] + 15) / 16 * 16 + 16);  // as half or float: not a number
                run_block();
                for (unsigned at = sizes[6]; at < (sizes[6] + 15) / 16 * 16 + 16; at++)
                    if (shared[at] != (char)0xff) {
                        std::fprintf(stderr, "a kernel wrote beyond its %u bytes of shared memory\n", sizes[6]);
                        std::abort();
                    }
            }
    std::free(shared);
}

}  // namespace host

inline unsigned char* shared_memory() { return reinterpret_cast<unsigned char*>(host::shared); }

inline void __syncthreads() { host::wait(host::block, host::living); }

inline int lane_index() { return host::current % 32; }

// Every lane brings a value and sees those of all 32.
template <typename Value> void swap_in_warp(const Value& brought, Value* of_lanes) {
    static_assert(sizeof(Value) <= host::SWAP_BYTES, "a lane brings more than it may");
    const int warp = host::current / 32;
    std::memcpy(&host::swapped[host::current * host::SWAP_BYTES], &brought, sizeof(Value));
    host::wait(host::warps[warp], 32);
    for (int lane = 0; lane < 32; lane++)
        std::memcpy(&of_lanes[lane], &host::swapped[(32 * warp + lane) * host::SWAP_BYTES], sizeof(Value));
    host::wait(host::warps[warp], 32);
}
