// What the launching code of all kernels shares.
#pragma once

#include <cstddef>
#include <cstdint>

#include "team.cuh"

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
