// One source for two machines: the threads of a CUDA block, or one thread of a CPU doing the work of all of them.
//
// A kernel's body is a function of a Team. It may only share work through Team::each, Team::each_row and Product,
// so a host compiler builds the very same body for the tests on machines without a GPU.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#include <mma.h>
#define SEGMIF_INLINE __device__ __forceinline__
#define SEGMIF_BOTH __host__ __device__  // sizes that a launch computes as well
#define SEGMIF_UNROLL _Pragma("unroll")   // so that an array whose index is known while compiling stays in registers
#else
#define SEGMIF_INLINE inline
#define SEGMIF_BOTH
#define SEGMIF_UNROLL
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
    } else if (fraction != 0) {  // subnormal: shift until the leading one is where a float has it
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

// Some threads that work on one row together.
struct Lanes {
    int rank, size;

    // Sum over the lanes, known to all of them.
    SEGMIF_INLINE float sum(float value) const {
#if defined(__CUDACC__)
        for (int step = size / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step, size);
#endif
        return value;
    }
};

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

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

    // How many threads work on each of ROWS rows: a power of two, at most a warp.
    template <int ROWS>
    static SEGMIF_BOTH constexpr int lanes() {
        return SIZE / ROWS < 1 ? 1 : SIZE / ROWS < 32 ? SIZE / ROWS : 32;
    }

    // Calls work(row, lanes) for each of ROWS rows by `lanes` threads.
    template <int ROWS, class Work>
    SEGMIF_INLINE void each_row(Work work) const {
#if defined(__CUDACC__)
        constexpr int LANES = lanes<ROWS>();
        static_assert(LANES >= 1 && (LANES & (LANES - 1)) == 0, "lanes are shuffled by halves");
        for (int row = rank() / LANES; row < ROWS; row += THREADS / LANES) work(row, Lanes{rank() % LANES, LANES});
#else
        for (int row = 0; row < ROWS; ++row) work(row, Lanes{0, 1});
#endif
    }
};

// How a matrix lies in memory: element (row, column) is at row * stride + column, or at column * stride + row.
enum class Order { ROWS, COLUMNS };

template <class T, Order ORDER>
struct Matrix {
    T* data;
    int stride;

    SEGMIF_INLINE T& at(int row, int column) const {
        return ORDER == Order::ROWS ? data[row * stride + column] : data[column * stride + row];
    }
};

// A float matrix of ROWS x COLUMNS, kept in the registers of a team's threads, that sums products of shared matrices.
// This form: each thread has some elements. Below, for Half on a GPU: each warp has some 16 x 16 tiles.
template <class T, int ROWS, int COLUMNS, bool TENSOR_CORES>
struct Product {
    static constexpr int OWN = (ROWS * COLUMNS + Team::SIZE - 1) / Team::SIZE;
    float element[OWN];

    SEGMIF_INLINE void clear() {
        for (int i = 0; i < OWN; ++i) element[i] = 0;
    }

    // += left (ROWS x DEPTH) * right (DEPTH x COLUMNS)
    template <int DEPTH, Order LEFT, Order RIGHT>
    SEGMIF_INLINE void add(Team team, Matrix<const T, LEFT> left, Matrix<const T, RIGHT> right) {
        own(team, [&](int row, int column, float& sum) {
#if defined(__CUDACC__)
#pragma unroll 4
#endif
            for (int k = 0; k < DEPTH; ++k) sum += to_float(left.at(row, k)) * to_float(right.at(k, column));
        });
    }

    SEGMIF_INLINE void store(Team team, float* out, int stride) {
        own(team, [&](int row, int column, float& sum) { out[row * stride + column] = sum; });
    }

private:
    template <class Work>
    SEGMIF_INLINE void own(Team team, Work work) {
        SEGMIF_UNROLL
        for (int k = 0; k < OWN; ++k) {
            const int i = team.rank() + k * Team::SIZE;
            if (i < ROWS * COLUMNS) work(i / COLUMNS, i % COLUMNS, element[k]);
        }
    }
};

#if defined(__CUDACC__)
template <Order ORDER>
struct WmmaOrder {
    using type = nvcuda::wmma::row_major;
};
template <>
struct WmmaOrder<Order::COLUMNS> {
    using type = nvcuda::wmma::col_major;
};

template <int ROWS, int COLUMNS>
struct Product<Half, ROWS, COLUMNS, true> {
    static constexpr int EDGE = 16;
    static constexpr int ACROSS = COLUMNS / EDGE, TILES = ROWS / EDGE * ACROSS;
    static constexpr int OWN = (TILES + WARPS - 1) / WARPS;
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, EDGE, EDGE, EDGE, float> tile[OWN];

    __device__ void clear() {
        for (int i = 0; i < OWN; ++i) nvcuda::wmma::fill_fragment(tile[i], 0.0f);
    }

    template <int DEPTH, Order LEFT, Order RIGHT>
    __device__ void add(Team team, Matrix<const Half, LEFT> left, Matrix<const Half, RIGHT> right) {
        namespace wmma = nvcuda::wmma;
        wmma::fragment<wmma::matrix_a, EDGE, EDGE, EDGE, Half, typename WmmaOrder<LEFT>::type> a;
        wmma::fragment<wmma::matrix_b, EDGE, EDGE, EDGE, Half, typename WmmaOrder<RIGHT>::type> b;
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
            const int number = team.rank() / 32 + i * WARPS;
            if (number >= TILES) break;
            const int row = number / ACROSS * EDGE, column = number % ACROSS * EDGE;
#pragma unroll
            for (int k = 0; k < DEPTH; k += EDGE) {
                wmma::load_matrix_sync(a, &left.at(row, k), left.stride);
                wmma::load_matrix_sync(b, &right.at(k, column), right.stride);
                wmma::mma_sync(tile[i], a, b, tile[i]);
            }
        }
    }

    __device__ void store(Team team, float* out, int stride) {
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
            const int number = team.rank() / 32 + i * WARPS;
            if (number >= TILES) break;
            float* corner = out + number / ACROSS * EDGE * stride + number % ACROSS * EDGE;
            nvcuda::wmma::store_matrix_sync(corner, tile[i], stride, nvcuda::wmma::mem_row_major);
        }
    }
};
#endif

}  // namespace segmif
