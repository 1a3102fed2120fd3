// Values of the 32 lanes of a warp in registers, and their products, whose factors and sums stay in registers.
//
// One product is D (16 x 8) += A (16 x 16) B (16 x 8). Lane 4 group + place holds, as mma.m16n8k16 has it,
//
//   of A  the pairs (row group + 8 h, columns 8 q + 2 place + {0, 1})   at h + 2 q
//   of B  the pairs (rows 8 q + 2 place + {0, 1}, column group)         at q
//   of D  the values (row group + 8 h, column 2 place + e)              at 2 h + e,   h, q and e of {0, 1}
//
// So two neighbouring D are an A of the next product, value for value, and a pixel's channels in A are its channels in
// B: nothing has to move between products. 16 channels are numbered in one of two ways: STRAIGHT, or by RUNS, so that a
// place has four that are adjacent in memory.
#pragma once

#include "run.cuh"

namespace segmif {

constexpr int LANES = 32;

struct Warp {
    int number;  // in its block

    // Calls work(lane): each lane for itself.
    template <class Work>
    SEGMIF_INLINE void each(Work work) const {
#if defined(__CUDACC__)
        work(static_cast<int>(threadIdx.x) % LANES);
#else
        for (int lane = 0; lane < LANES; ++lane) work(lane);
#endif
    }
};

SEGMIF_INLINE Warp warp_of(Team team) { return {team.rank() / LANES}; }

// N values a lane. Indices must be compile-time constants, or the values are not in registers.
template <class T, int N>
struct Registers {
#if defined(__CUDACC__)
    T own[N];
    SEGMIF_INLINE T& at(int, int i) { return own[i]; }
    SEGMIF_INLINE const T& at(int, int i) const { return own[i]; }
#else
    T of_lane[LANES][N];
    T& at(int lane, int i) { return of_lane[lane][i]; }
    const T& at(int lane, int i) const { return of_lane[lane][i]; }
#endif
};

template <class T>
struct A : Registers<Pair<T>, 4> {};
template <class T>
struct B : Registers<Pair<T>, 2> {};
struct D : Registers<float, 4> {};

// Each value becomes value(lane, i).
template <int N, class Value>
SEGMIF_INLINE void fill(Warp warp, Registers<float, N>& values, Value value) {
    warp.each([&](int lane) {
        SEGMIF_UNROLL
        for (int i = 0; i < N; ++i) values.at(lane, i) = value(lane, i);
    });
}

template <int N>
SEGMIF_INLINE void clear(Warp warp, Registers<float, N>& values) {
    fill(warp, values, [](int, int) { return 0.0f; });
}

#if defined(__CUDACC__)
SEGMIF_INLINE void multiply(Warp, D& d, const A<Half>& a, const B<Half>& b) { tensor_core(d.own, a.own, b.own); }

// d + a b without tensor cores: each lane asks the others for what it needs. It is no part of its callers, which would
// grow to tens of thousands of instructions.
static __device__ __noinline__ D multiplied(D d, A<float> a, B<float> b) {
    constexpr unsigned ALL = 0xFFFFFFFFu;
    const int group = threadIdx.x % LANES / 4, place = threadIdx.x % 4;
    SEGMIF_UNROLL
    for (int k = 0; k < 16; ++k) {
        const int q = k / 8, holder = k % 8 / 2;
        float left[2], right[2];
        SEGMIF_UNROLL
        for (int i = 0; i < 2; ++i) {
            left[i] = __shfl_sync(ALL, k % 2 ? a.own[i + 2 * q].y : a.own[i + 2 * q].x, 4 * group + holder);
            right[i] = __shfl_sync(ALL, k % 2 ? b.own[q].y : b.own[q].x, 4 * (2 * place + i) + holder);
        }
        SEGMIF_UNROLL
        for (int i = 0; i < 4; ++i) d.own[i] += left[i / 2] * right[i % 2];
    }
    return d;
}

SEGMIF_INLINE void multiply(Warp, D& d, const A<float>& a, const B<float>& b) { d = multiplied(d, a, b); }
#else
template <class T>
void multiply(Warp warp, D& d, const A<T>& a, const B<T>& b) {
    float left[16][16], right[16][8];
    warp.each([&](int lane) {
        const int group = lane / 4, place = lane % 4;
        for (int i = 0; i < 4; ++i) {
            float* pair = left[group + i % 2 * 8] + i / 2 * 8 + 2 * place;
            pair[0] = to_float(a.at(lane, i).x), pair[1] = to_float(a.at(lane, i).y);
        }
        for (int q = 0; q < 2; ++q) {
            const int row = 8 * q + 2 * place;
            right[row][group] = to_float(b.at(lane, q).x), right[row + 1][group] = to_float(b.at(lane, q).y);
        }
    });
    warp.each([&](int lane) {
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int k = 0; k < 16; ++k) d.at(lane, i) += left[row][k] * right[k][column];
        }
    });
}
#endif

// Each value becomes the sum of those that the four lanes of a group hold.
template <int N>
SEGMIF_INLINE void add_group(Warp warp, Registers<float, N>& values) {
#if defined(__CUDACC__)
    SEGMIF_UNROLL
    for (int i = 0; i < N; ++i) {
        values.own[i] += __shfl_xor_sync(0xFFFFFFFFu, values.own[i], 1);
        values.own[i] += __shfl_xor_sync(0xFFFFFFFFu, values.own[i], 2);
    }
#else
    const Registers<float, N> before = values;
    warp.each([&](int lane) {
        const int first = lane / 4 * 4;
        for (int i = 0; i < N; ++i) {
            const float left = before.at(first, i) + before.at(first + 1, i);
            values.at(lane, i) = left + before.at(first + 2, i) + before.at(first + 3, i);
        }
    });
#endif
}

enum class Order { STRAIGHT, RUNS };

// The channel at a position: those of 16 are numbered straight, or so that place p has 4 p to 4 p + 3.
template <Order ORDER>
SEGMIF_INLINE int channel_at(int position) {
    if (ORDER == Order::STRAIGHT) return position;
    const int q = position % 16 / 8, place = position % 8 / 2;
    return position / 16 * 16 + 4 * place + 2 * q + position % 2;
}

// The position of a channel that is numbered by RUNS.
SEGMIF_INLINE int position_by_runs(int channel) {
    return channel / 16 * 16 + channel % 4 / 2 * 8 + channel % 16 / 4 * 2 + channel % 2;
}

}  // namespace segmif
