// wmma by the lanes of an emulated warp: each holds 8 of a tile's 256 elements.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda::wmma {

struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major };

template <class Use, int M, int N, int K, class T, class Layout = row_major>
struct fragment {
    static constexpr int num_elements = 8;
    T x[num_elements];
};

template <class T>
void check_alignment(const T* place, unsigned stride) {
    const bool right = reinterpret_cast<uintptr_t>(place) % 32 == 0 && stride * sizeof(T) % 16 == 0;
    if (!right) std::abort();
}

template <class Fragment>
void fill_fragment(Fragment& fragment, float value) {
    for (auto& element : fragment.x) element = value;
}

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& out, const T* place, unsigned stride) {
    check_alignment(place, stride);
    warp().barrier.wait();
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned row = (lane() * 8 + i) / 16, column = (lane() * 8 + i) % 16;
        out.x[i] = std::is_same_v<Layout, row_major> ? place[row * stride + column] : place[column * stride + row];
    }
}

template <class T>
void store_matrix_sync(T* place, const fragment<accumulator, 16, 16, 16, T>& in, unsigned stride, layout_t) {
    check_alignment(place, stride);
    warp().barrier.wait();
    for (unsigned i = 0; i < 8; ++i) place[(lane() * 8 + i) / 16 * stride + (lane() * 8 + i) % 16] = in.x[i];
}

template <class Sum, class A, class B>
void mma_sync(Sum& sum, const A& a, const B& b, const Sum& before) {
    auto& exchange = warp().exchange;
    for (unsigned i = 0; i < 8; ++i) {
        exchange[1][lane() * 8 + i] = a.x[i], exchange[2][lane() * 8 + i] = b.x[i];
    }
    warp().barrier.wait();
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned row = (lane() * 8 + i) / 16, column = (lane() * 8 + i) % 16;
        float total = before.x[i];
        for (unsigned k = 0; k < 16; ++k) total += exchange[1][row * 16 + k] * exchange[2][k * 16 + column];
        sum.x[i] = total;
    }
    warp().barrier.wait();
}

}  // namespace nvcuda::wmma
