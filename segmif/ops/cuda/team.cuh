// One source for two machines: the threads of a CUDA block, or one thread of a CPU doing the work of all of them.
//
// A kernel's body is a function of a Team. It may share work only through Team::each and the functions of warp.cuh. So
// a host compiler builds the same body for tests without a GPU.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#define SEGMIF_INLINE __device__ __forceinline__
#define SEGMIF_BOTH __host__ __device__  // sizes that a launch computes as well
#define SEGMIF_UNROLL _Pragma("unroll")   // so that an array whose index is known while compiling stays in registers
#define SEGMIF_UNROLL_BY_16 _Pragma("unroll 16")  // so that as many reads are under way at once
#else
#define SEGMIF_INLINE inline
#define SEGMIF_BOTH
#define SEGMIF_UNROLL
#define SEGMIF_UNROLL_BY_16
#endif

namespace segmif {

#if defined(__CUDACC__)
using Half = __half;
#else
// IEEE 754 binary16 for compilers without it: conversions only, all arithmetic is float.
struct Half {
    std::uint16_t bits;
};

inline float half_bits_to_float(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    std::uint32_t exponent = (bits >> 10) & 0x1Fu, fraction = bits & 0x3FFu;
    if (exponent == 0x1Fu) {
        exponent = 0xFFu;
    } else if (exponent != 0) {
        exponent += 127 - 15;
    } else if (fraction != 0) {  // subnormal: shift the leading one to its place in a float
        exponent = 127 - 14;
        while (!(fraction & 0x400u)) {
            fraction <<= 1;
            --exponent;
        }
        fraction &= 0x3FFu;
    }
    const std::uint32_t word = sign | (exponent << 23) | (fraction << 13);
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

// Rounds to nearest, ties to even.
inline std::uint16_t float_to_half_bits(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    const std::uint16_t sign = static_cast<std::uint16_t>((word >> 16) & 0x8000u);
    word &= 0x7FFFFFFFu;
    if (word > 0x7F800000u) return sign | 0x7E00u;   // not a number
    if (word >= 0x477FF000u) return sign | 0x7C00u;  // rounds beyond 65504: infinity
    if (word < 0x38800000u) {                        // subnormal in half: count in units of 2^-24
        float magnitude;
        std::memcpy(&magnitude, &word, sizeof magnitude);
        magnitude += 0.5f;  // the sum's last bit is worth 2^-24, so the addition itself rounds
        std::memcpy(&word, &magnitude, sizeof word);
        return sign | static_cast<std::uint16_t>(word - 0x3F000000u);
    }
    const std::uint32_t odd = (word >> 13) & 1u;
    return sign | static_cast<std::uint16_t>((word + 0xFFFu + odd - 0x38000000u) >> 13);
}
#endif

SEGMIF_INLINE float to_float(float value) { return value; }
SEGMIF_INLINE float to_float(Half value) {
#if defined(__CUDACC__)
    return __half2float(value);
#else
    return half_bits_to_float(value.bits);
#endif
}

template <class T>
SEGMIF_INLINE T from_float(float value);
template <>
SEGMIF_INLINE float from_float<float>(float value) {
    return value;
}
template <>
SEGMIF_INLINE Half from_float<Half>(float value) {
#if defined(__CUDACC__)
    return __float2half_rn(value);
#else
    return Half{float_to_half_bits(value)};
#endif
}

// The value at `from`, constant since before the kernel in front (overlap.cuh): so a compiler may read it at any time.
template <class T>
SEGMIF_INLINE T fetch(const T* from) {
#if defined(__CUDACC__)
    return __ldg(from);
#else
    return *from;
#endif
}

#if defined(__CUDACC__)
#if !defined(SEGMIF_THREADS)
#define SEGMIF_THREADS 256  // until a GPU was asked: `make gpu-check` measures others
#endif
constexpr int THREADS = SEGMIF_THREADS;  // of a block
constexpr int WARPS = THREADS / 32;
static_assert(WARPS >= 2 && (WARPS & (WARPS - 1)) == 0, "warps are added pair by pair");
#else
constexpr int WARPS = 1;
#endif

struct Team {
#if defined(__CUDACC__)
    static constexpr int SIZE = THREADS;
    SEGMIF_INLINE int rank() const { return threadIdx.x; }
    SEGMIF_INLINE void sync() const { __syncthreads(); }
#else
    static constexpr int SIZE = 1;
    SEGMIF_INLINE int rank() const { return 0; }
    SEGMIF_INLINE void sync() const {}
#endif

    // Calls work(i) for i in [0, count), spread over the threads.
    template <class Work>
    SEGMIF_INLINE void each(int count, Work work) const {
        for (int i = rank(); i < count; i += SIZE) work(i);
    }

    // The same for a count known while compiling, so that the reads of all rounds are under way at once.
    template <int COUNT, class Work>
    SEGMIF_INLINE void each(Work work) const {
        SEGMIF_UNROLL
        for (int first = 0; first < COUNT; first += SIZE) {
            if (first + SIZE <= COUNT || first + rank() < COUNT) work(first + rank());
        }
    }
};

}  // namespace segmif
