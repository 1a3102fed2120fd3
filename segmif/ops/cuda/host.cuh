// What the launching code of all kernels shares.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__CUDACC__)
#include <atomic>
#endif

#include "overlap.cuh"

namespace segmif {

inline long divide_up(long value, long by) { return (value + by - 1) / by; }
inline size_t round_up(size_t bytes) { return (bytes + 255) / 256 * 256; }
inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

#if defined(__CUDACC__)
// A kernel is loaded when it is first asked for, which may be forbidden while a stream is captured.
template <class Kernel>
int load(Kernel kernel) {
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, kernel);
}

constexpr int DEVICES = 64;  // for which an answer is remembered

// value = ask(device) for the current GPU, once: `known` has the answers by device, plus one.
template <class Ask>
int ask_once(std::atomic<int> (&known)[DEVICES], int& value, Ask ask) {
    int device = 0;
    if (const int error = cudaGetDevice(&device)) return error;
    const int before = device < DEVICES ? known[device].load() : 0;
    if (before) return value = before - 1, 0;
    if (const int error = ask(device, value)) return error;
    if (device < DEVICES) known[device] = value + 1;
    return 0;
}

// Whether this GPU runs a kernel that was compiled to wait (overlap.cuh), and its driver records that in graphs.
template <class Kernel>
int ask_overlap(Kernel kernel, int& overlaps) {
#if CUDART_VERSION >= 12030 && SEGMIF_OVERLAP
    cudaFuncAttributes attributes;
    int driver = 0;
    if (const int error = cudaFuncGetAttributes(&attributes, kernel)) return error;
    if (const int error = cudaDriverGetVersion(&driver)) return error;
    overlaps = attributes.ptxVersion >= 90 && driver >= 12030;
#else
    overlaps = 0;
#endif
    return 0;
}

// Launches a kernel that may begin before the one in front ends, if it `overlaps`.
template <class Arguments>
void launch_behind(bool overlaps, void (*kernel)(Arguments), dim3 grid, int shared_bytes, cudaStream_t stream,
                   const Arguments& arguments) {
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = grid, config.blockDim = dim3(THREADS), config.dynamicSmemBytes = shared_bytes;
    config.stream = stream, config.attrs = &early, config.numAttrs = overlaps ? 1 : 0;
    (void)cudaLaunchKernelEx(&config, kernel, arguments);  // the runtime keeps its error
}

// CUDA remembers a refusal until it is asked for; the next launch would be taken for refused.
inline int forget(int error) {
    (void)cudaGetLastError();
    return error;
}

inline const char* runtime_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
#else
inline int forget(int error) { return error; }
inline const char* runtime_error(int) { return "unknown error"; }
#endif

}  // namespace segmif
