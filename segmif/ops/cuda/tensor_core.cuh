// Instructions of the GPU only.
#pragma once

#include <cuda_fp16.h>

#include <cstring>

namespace segmif {

__device__ __forceinline__ unsigned word(const __half2& pair) {
    unsigned bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// Both values rounded, 0 for negative ones; keeps NaN.
__device__ __forceinline__ __half2 half_relu(float x, float y) {
#if __CUDA_ARCH__ >= 800
    unsigned bits;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));  // the higher half first
    __half2 pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
#else
    return __floats2half2_rn(x < 0 ? 0 : x, y < 0 ? 0 : y);
#endif
}

// d += a b, in the layout of warp.cuh.
__device__ __forceinline__ void tensor_core(float (&d)[4], const __half2 (&a)[4], const __half2 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(word(a[0])), "r"(word(a[1])), "r"(word(a[2])), "r"(word(a[3])), "r"(word(b[0])), "r"(word(b[1])));
#else  // sm_75: half as deep
#pragma unroll
    for (int q = 0; q < 2; ++q) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(word(a[2 * q])), "r"(word(a[2 * q + 1])), "r"(word(b[q])));
    }
#endif
}

}  // namespace segmif
