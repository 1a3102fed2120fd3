// What the kernels use of CUDA, by threads of a CPU: so their GPU form runs here, its barriers and all.
//
// One operating-system thread a CUDA thread, one block after the other. Shared memory is as large as the launch asks
// for and full of garbage, so that a sanitizer and the tests see what a GPU would not tell.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

using cudaError_t = int;
using cudaStream_t = void*;
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
}
template <class T>
T __ldg(const T* from) {
    if (sizeof(T) < 8) ++narrow_reads_of_last_launch;
    return *from;
}
inline unsigned atomicAdd(unsigned* to, unsigned value) { return std::atomic_ref<unsigned>(*to).fetch_add(value); }
inline float rsqrtf(float value) { return 1 / std::sqrt(value); }

class Barrier {
public:
    explicit Barrier(unsigned count) { pthread_barrier_init(&barrier_, nullptr, count); }
    ~Barrier() { pthread_barrier_destroy(&barrier_); }
    Barrier(const Barrier&) = delete;
    void wait() { pthread_barrier_wait(&barrier_); }

private:
    pthread_barrier_t barrier_;
};

struct Warp {
    Barrier barrier{32};
    float exchange[32];
    struct {
        float left[16][16], right[16][8];
    } factors;
};

struct Block {
    unsigned threads;
    Barrier barrier{threads};
    std::vector<Warp> warps{threads / 32};
    char* shared = nullptr;
};

inline thread_local Block* block = nullptr;
inline thread_local dim3 threadIdx{0}, blockIdx{0}, gridDim{0};
inline int last_error = cudaSuccess, allowed = UNASKED;

inline Warp& warp() { return block->warps[threadIdx.x / 32]; }
inline unsigned lane() { return threadIdx.x % 32; }
inline void __syncthreads() { block->barrier.wait(); }
inline char* dynamic_shared() { return block->shared; }

// what lane `from` holds
inline float __shfl_sync(unsigned, float value, unsigned from) {
    float* exchange = warp().exchange;
    exchange[lane()] = value;
    warp().barrier.wait();
    const float other = exchange[from];
    warp().barrier.wait();
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
struct cudaFuncAttributes {};
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
    const int error = last_error;
    last_error = cudaSuccess;
    return error;
}
inline const char* cudaGetErrorString(int) { return "an error of the emulated runtime"; }

extern "C" {
inline unsigned blocks_of_last_launch = 0;
}

template <class Kernel>
struct Launch {
    Kernel* kernel;
    dim3 grid;
    unsigned threads;
    size_t shared_bytes;

    template <class... Arguments>
    void operator()(const Arguments&... arguments) const {
        if (grid.y > 65535 || grid.z > 65535 || shared_bytes > static_cast<size_t>(allowed)) {
            last_error = cudaErrorInvalidValue;
            return;
        }
        blocks_of_last_launch = grid.x * grid.y * grid.z;
        narrow_reads_of_last_launch = 0;
        Block shared_by_all{threads};
        std::vector<std::thread> team;
        for (unsigned rank = 0; rank < threads; ++rank) {
            team.emplace_back([&, rank] {
                threadIdx = dim3(rank), gridDim = grid, block = &shared_by_all;
                each_block([&] { kernel(arguments...); });
            });
        }
        for (std::thread& thread : team) thread.join();
    }

    template <class Work>
    void each_block(Work work) const {
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
    }
};

template <class Kernel>
Launch<Kernel> launch_of(Kernel* kernel, dim3 grid, unsigned threads, size_t shared_bytes, cudaStream_t) {
    return {kernel, grid, threads, shared_bytes};
}
