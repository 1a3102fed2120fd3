// The instruction of segmif/ops/cuda/tensor_core.cuh, as PTX says what its lanes hold, by those of an emulated warp.
#pragma once
#include "cuda_fp16.h"

namespace segmif {

inline void tensor_core(float (&d)[4], const __half2 (&a)[4], const __half2 (&b)[2]) {
    const unsigned group = lane() / 4, place = lane() % 4;
    auto& [left, right] = warp().factors;
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned row = i % 4 < 2 ? group : group + 8, column = 2 * place + i % 2 + (i < 4 ? 0 : 8);
        left[row][column] = i % 2 ? a[i / 2].y : a[i / 2].x;
    }
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = 2 * place + i % 2 + (i < 2 ? 0 : 8);
        right[row][group] = i % 2 ? b[i / 2].y : b[i / 2].x;
    }
    warp().barrier.wait();
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = i < 2 ? group : group + 8, column = 2 * place + i % 2;
        for (unsigned k = 0; k < 16; ++k) d[i] += left[row][k] * right[k][column];
    }
    warp().barrier.wait();
}

}  // namespace segmif
