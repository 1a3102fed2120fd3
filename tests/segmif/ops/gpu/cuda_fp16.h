// What the kernels use of CUDA, by threads of a CPU: so their GPU form runs here, its barriers and all.
//
// One thread of threads.h a CUDA thread, one block after the other. A kernel that may begin before the one in front
// ends does so as early as it can: that one runs when it is waited for. Shared memory is as large as the launch asks
// for and full of garbage, so that a sanitizer and the tests see what a GPU would not tell.
#pragma once
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "threads.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

using cudaError_t = int;
using cudaStream_t = void*;
#define CUDART_VERSION 13000
constexpr int cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaFuncAttributeMaxDynamicSharedMemorySize = 8;
// shared memory a block gets, and gets on being asked: of an sm_75, and of an sm_86
constexpr int UNASKED = 48 * 1024, MOST = (__CUDA_ARCH__ == 750 ? 64 : 99) * 1024;

using __half = _Float16;
inline float __half2float(__half value) { return value; }
inline __half __float2half_rn(float value) { return static_cast<__half>(value); }
struct alignas(4) __half2 {
    __half x, y;
};
inline __half2 __floats2half2_rn(float x, float y) { return {static_cast<__half>(x), static_cast<__half>(y)}; }
extern "C" {
inline std::atomic<int> narrow_reads_of_last_launch = 0;  // of less than 8 bytes
inline const void* first_read_of_last_launch = nullptr;   // of constant memory, by its first thread
}
inline unsigned atomicAdd(unsigned* to, unsigned value) { return std::atomic_ref<unsigned>(*to).fetch_add(value); }
inline float rsqrtf(float value) { return 1 / std::sqrt(value); }

struct Warp {
    Barrier barrier{32};
    float exchange[32];
    struct {
        float left[16][16], right[16][8];
    } factors;
};

// Work of the one stream that the runtime may do when it likes: here at the last moment.
struct Enqueued {
    std::function<void(Enqueued&)> work;
    std::shared_ptr<Enqueued> in_front;  // the kernel that this one need not wait for
    std::once_flag once;

    Enqueued(std::function<void(Enqueued&)> own, std::shared_ptr<Enqueued> before) : work(own), in_front(before) {}
    void finish() {
        std::call_once(once, [this] {
            work(*this);
            if (in_front) in_front->finish();  // if it never waited
        });
    }
};
inline std::shared_ptr<Enqueued> newest;

struct Block {
    unsigned threads;
    Enqueued* enqueued;
    std::atomic<int> narrow_reads = 0;
    const void* first_read = nullptr;  // the first thread's own
    Barrier barrier{threads};
    std::vector<Warp> warps{threads / 32};
    char* shared = nullptr;
};

inline thread_local Block* block = nullptr;
inline thread_local dim3 threadIdx{0}, blockIdx{0}, gridDim{0};

// What these words mean to a thread, kept while others run.
class Kept {
public:
    ~Kept() { block = block_, threadIdx = thread_, blockIdx = place_, gridDim = grid_; }

private:
    Block* const block_ = block;
    const dim3 thread_ = threadIdx, place_ = blockIdx, grid_ = gridDim;
};
inline void meet(Barrier& barrier) {
    const Kept own;
    barrier.wait();
}

template <class T>
T __ldg(const T* from) {
    if (sizeof(T) < 8) ++block->narrow_reads;
    if (threadIdx.x == 0 && !block->first_read) block->first_read = from;
    return *from;
}
inline int last_error = cudaSuccess, allowed = UNASKED;

inline Warp& warp() { return block->warps[threadIdx.x / 32]; }
inline unsigned lane() { return threadIdx.x % 32; }
inline void __syncthreads() { meet(block->barrier); }
inline char* dynamic_shared() { return block->shared; }

// what lane `from` holds
inline float __shfl_sync(unsigned, float value, unsigned from) {
    float* exchange = warp().exchange;
    exchange[lane()] = value;
    meet(warp().barrier);
    const float other = exchange[from];
    meet(warp().barrier);
    return other;
}
inline float __shfl_xor_sync(unsigned all, float value, unsigned step) {
    return __shfl_sync(all, value, lane() ^ step);
}

inline int refused(int error) { return last_error = error; }  // every refusal is remembered until it is taken
template <class Kernel>
int cudaFuncSetAttribute(Kernel*, int, int bytes) {
    if (bytes > MOST) return refused(cudaErrorInvalidValue);
    allowed = bytes;
    return cudaSuccess;
}
extern "C" {
inline int first_uses = 0;  // calls that load a kernel, which a capture may forbid
}
struct cudaFuncAttributes {
    int ptxVersion = __CUDA_ARCH__ / 10;
};
inline int cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
template <class Kernel>
int cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
    ++first_uses;
    return cudaSuccess;
}
constexpr int cudaDevAttrMultiProcessorCount = 16;
inline int cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline int cudaDeviceGetAttribute(int* value, int, int) { return *value = 1, cudaSuccess; }  // one multiprocessor
// by the memory and the threads of a multiprocessor of an sm_86; the runtime takes 1 KiB of each block's share
template <class Kernel>
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int threads, size_t shared_bytes) {
    ++first_uses;
    const int by_memory = 100 * 1024 / (static_cast<int>(shared_bytes) + 1024), by_threads = 1536 / threads;
    *blocks = by_memory < by_threads ? by_memory : by_threads;
    return cudaSuccess;
}
inline int cudaGetLastError() {
    if (newest) newest->finish();
    newest = nullptr;
    const int error = last_error;
    last_error = cudaSuccess;
    return error;
}
inline const char* cudaGetErrorString(int) { return "an error of the emulated runtime"; }

extern "C" {
inline unsigned blocks_of_last_launch = 0, threads_of_last_launch = 0;  // of the grid, of a block
inline int early_launches = 0;  // that need not wait for the kernel in front
}

// Of a grid's shape that the runtime refuses, or 0.
inline int refusal_of(dim3 grid, size_t shared_bytes) {
    const bool fits = grid.y <= 65535 && grid.z <= 65535 && shared_bytes <= static_cast<size_t>(allowed);
    return fits ? cudaSuccess : refused(cudaErrorInvalidValue);
}

// Threads do the work of all blocks of a kernel, one block after the other.
template <class Work>
void run_blocks(Enqueued& enqueued, dim3 grid, unsigned threads, size_t shared_bytes, Work work) {
    const Kept own;
    Block shared_by_all{threads, &enqueued};
    const auto each_block = [&] {
        for (unsigned i = 0; i < grid.x * grid.y * grid.z; ++i) {
            if (threadIdx.x == 0) {
                block->shared = static_cast<char*>(std::aligned_alloc(128, (shared_bytes + 127) / 128 * 128));
                std::memset(block->shared, 0xFF, shared_bytes);
            }
            __syncthreads();
            blockIdx = dim3(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y);
            work();
            __syncthreads();
            if (threadIdx.x == 0) std::free(block->shared);
        }
    };
    run_threads(threads, [&](unsigned rank) {
        threadIdx = dim3(rank), gridDim = grid, block = &shared_by_all;
        each_block();
    });
    narrow_reads_of_last_launch = shared_by_all.narrow_reads.load();
    first_read_of_last_launch = shared_by_all.first_read;
}

template <class... Parameters>
int enqueue(bool early, void (*kernel)(Parameters...), dim3 grid, unsigned threads, size_t shared_bytes,
            const Parameters&... given) {
    if (const int error = refusal_of(grid, shared_bytes)) return error;
    if (!early && newest) newest->finish();
    blocks_of_last_launch = grid.x * grid.y * grid.z, threads_of_last_launch = threads;
    early_launches += early;
    const auto work = [=](Enqueued& own) { run_blocks(own, grid, threads, shared_bytes, [&] { kernel(given...); }); };
    newest = std::make_shared<Enqueued>(work, early ? newest : nullptr);
    return cudaSuccess;
}

inline void cudaTriggerProgrammaticLaunchCompletion() {}
inline void cudaGridDependencySynchronize() {
    if (block->enqueued->in_front) block->enqueued->in_front->finish();
}

constexpr int cudaLaunchAttributeProgrammaticStreamSerialization = 6;
struct cudaLaunchAttribute {
    int id;
    struct {
        int programmaticStreamSerializationAllowed;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};
template <class... Parameters>
int cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), const Parameters&... given) {
    const bool early = config->numAttrs && config->attrs->val.programmaticStreamSerializationAllowed;
    return enqueue(early, kernel, config->gridDim, config->blockDim.x, config->dynamicSmemBytes, given...);
}

template <class... Parameters>
auto launch_of(void (*kernel)(Parameters...), dim3 grid, unsigned threads, size_t shared_bytes, cudaStream_t) {
    return [=](const Parameters&... given) { enqueue(false, kernel, grid, threads, shared_bytes, given...); };
}
