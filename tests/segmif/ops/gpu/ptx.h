// The instructions of segmif/ops/cuda/tensor_core.cuh, by the lanes of an emulated warp: which row and column of a
// factor a lane holds is written from PTX's documentation ("Matrix Fragments for mma.m16n8k8", ".m16n8k16"), not from
// warp.cuh. emulation.py makes calls of these out of the source's asm statements, operand by operand.
#pragma once
#include "cuda_fp16.h"

// The i-th half of a register array, the lower of a register first.
template <unsigned N>
float half_of(const unsigned (&registers)[N], unsigned i) {
    __half2 pair;
    std::memcpy(&pair, &registers[i / 2], sizeof pair);
    return i % 2 ? pair.y : pair.x;
}

struct Accumulators {
    float &c0, &c1, &c2, &c3;
};

template <unsigned DEPTH>
void mma(Accumulators d, const unsigned (&a)[DEPTH / 4], const unsigned (&b)[DEPTH / 8], const float (&c)[4]) {
    const unsigned group = lane() / 4, place = lane() % 4;
    auto& [left, right] = warp().factors;
    for (unsigned i = 0; i < DEPTH / 2; ++i) {
        const unsigned row = i % 4 < 2 ? group : group + 8, column = 2 * place + i % 2 + (i < 4 ? 0 : 8);
        left[row][column] = half_of(a, i);
    }
    for (unsigned i = 0; i < DEPTH / 4; ++i) right[2 * place + i % 2 + (i < 2 ? 0 : 8)][group] = half_of(b, i);
    meet(warp().barrier);
    float sums[4];
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = i < 2 ? group : group + 8, column = 2 * place + i % 2;
        sums[i] = c[i];
        for (unsigned k = 0; k < DEPTH; ++k) sums[i] += left[row][k] * right[k][column];
    }
    d.c0 = sums[0], d.c1 = sums[1], d.c2 = sums[2], d.c3 = sums[3];
    meet(warp().barrier);
}

constexpr auto mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32 = mma<16>;
constexpr auto mma_sync_aligned_m16n8k8_row_col_f32_f16_f16_f32 = mma<8>;

// The first source goes to the upper half; the smaller than 0 become 0, what is not a number stays.
inline void cvt_rn_relu_f16x2_f32(unsigned& to, float upper, float lower) {
    const __half2 pair = __floats2half2_rn(lower < 0 ? 0 : lower, upper < 0 ? 0 : upper);
    std::memcpy(&to, &pair, sizeof to);
}
