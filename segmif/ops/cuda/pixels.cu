// Launches the kernels of pixels.cuh on a GPU; built as C++ for the host, runs their blocks one by one.
#include "pixels.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#if !defined(__CUDACC__)
#include <vector>
#endif

#include "host.cuh"
#include "pixels.cuh"

namespace segmif {
namespace {

constexpr int SIDE = 32;  // that height and width divide by

#if defined(__CUDACC__)
template <class T>
__global__ void __launch_bounds__(THREADS) survey_kernel(const __grid_constant__ PixelArguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    survey(Team{}, a, blockIdx.x, blockIdx.y, reinterpret_cast<unsigned*>(shared));
}

template <class T, int STRIDE>
__global__ void __launch_bounds__(THREADS) color_kernel(const __grid_constant__ PixelArguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    color<T, STRIDE>(Team{}, a, blockIdx.x, blockIdx.y, *reinterpret_cast<Surroundings*>(shared));
}

template <class T, int STRIDE>
int ask(int& overlaps) {
    static std::atomic<int> known[DEVICES];
    return ask_once(known, overlaps, [](int, int& answer) { return ask_overlap(color_kernel<T, STRIDE>, answer); });
}

template <class T, int STRIDE>
int load_all() {
    int overlaps = 0;
    for (const int error : {load(survey_kernel<T>), load(color_kernel<T, STRIDE>), ask<T, STRIDE>(overlaps)}) {
        if (error) return forget(error);
    }
    return 0;
}

template <class T, int STRIDE>
int launch(const SegmifPixels& s, const PixelArguments<T>& a, int tiles, void* queue) {
    forget(0);  // what another library left
    cudaStream_t stream = static_cast<cudaStream_t>(queue);
    int overlaps = 0;
    if (const int error = ask<T, STRIDE>(overlaps)) return forget(error);
    constexpr int SURVEY = survey_words * sizeof(unsigned), COLOR = sizeof(Surroundings);
    survey_kernel<T><<<dim3(a.surveys, s.batch), THREADS, SURVEY, stream>>>(a);
    launch_behind(overlaps, color_kernel<T, STRIDE>, dim3(tiles, s.batch), COLOR, stream, a);
    return cudaGetLastError();
}
#else
template <class T, int STRIDE>
int load_all() {
    return 0;
}

template <class T, int STRIDE>
int launch(const SegmifPixels& s, const PixelArguments<T>& a, int tiles, void*) {
    std::vector<unsigned> counting(survey_words);
    std::vector<Surroundings> coloring(1);
    const Team team;
    for (int image = 0; image < s.batch; ++image) {
        for (int block = 0; block < a.surveys; ++block) survey(team, a, block, image, counting.data());
        for (int tile = 0; tile < tiles; ++tile) color<T, STRIDE>(team, a, tile, image, coloring[0]);
    }
    return 0;
}
#endif

size_t bytes_of_counts(const SegmifPixels& s) {
    return round_up(static_cast<size_t>(s.batch) * MOST_SURVEYS * LEVELS * sizeof(unsigned));
}

size_t workspace_of(const SegmifPixels& s) {
    const size_t cells = static_cast<size_t>(s.batch) * (s.height / CELL) * (s.width / CELL);
    return bytes_of_counts(s) + round_up(cells * sizeof(unsigned));
}

template <class T, int STRIDE>
int run(const SegmifPixels& s, const void* const* in, void* const* out, char* workspace, void* stream) {
    PixelArguments<T> a{};
    const auto input = [&](int i) { return static_cast<const T*>(in[i]); };
    a.visible = input(0), a.infrared = input(1), a.fused_luma = input(2), a.logits = input(3);
    a.tint = static_cast<const float*>(in[4]);
    a.fused = static_cast<T*>(out[0]), a.labels = static_cast<T*>(out[1]), a.confidence = static_cast<T*>(out[2]);
    a.counts = reinterpret_cast<unsigned*>(workspace);
    a.cells = reinterpret_cast<unsigned*>(workspace + bytes_of_counts(s));
    a.height = s.height, a.width = s.width, a.classes = s.classes;
    const long units = s.height / CELL * divide_up(s.width / CELL, CELLS);
    a.surveys = static_cast<int>(std::min<long>(MOST_SURVEYS, units));
    const long tiles = divide_up(s.height, TILE_ROWS) * divide_up(s.width, TILE_COLUMNS);
    return launch<T, STRIDE>(s, a, static_cast<int>(tiles), stream);
}

// work(T, STRIDE) as integral constants, for arguments that `check` accepted.
template <class T, class Work>
int with_stride(const SegmifPixels& s, Work work) {
    switch (s.label_stride) {
        case 1: return work(T{}, std::integral_constant<int, 1>{});
        case 2: return work(T{}, std::integral_constant<int, 2>{});
        default: return work(T{}, std::integral_constant<int, 4>{});
    }
}

template <class Work>
int with_type(const SegmifPixels& s, Work work) {
    return s.type == SEGMIF_HALF ? with_stride<Half>(s, work) : with_stride<float>(s, work);
}

int check(const SegmifPixels& s) {
    for (int size : {s.batch, s.height, s.width, s.classes}) {
        if (size < 1) return SEGMIF_PIXELS_BAD_SIZE;
    }
    if (s.height % SIDE || s.width % SIDE || s.batch > 65535) return SEGMIF_PIXELS_BAD_SIZE;
    // classes are named in bytes, positions of an image's colours are counted in int
    if (s.classes > LEVELS || static_cast<int64_t>(s.height) * s.width * 3 > INT32_MAX) return SEGMIF_PIXELS_BAD_SIZE;
    if (s.label_stride != 1 && s.label_stride != 2 && s.label_stride != 4) return SEGMIF_PIXELS_BAD_STRIDE;
    return s.type == SEGMIF_FLOAT || s.type == SEGMIF_HALF ? 0 : SEGMIF_PIXELS_BAD_TYPE;
}

}  // namespace
}  // namespace segmif

extern "C" {

const char* segmif_pixels_error(int error) {
    switch (error) {
        case 0: return "no error";
        case SEGMIF_PIXELS_BAD_SIZE:
            return "a size is below 1 or too large, or height and width are no multiples of 32";
        case SEGMIF_PIXELS_BAD_STRIDE: return "label_stride is not 1, 2 or 4";
        case SEGMIF_PIXELS_BAD_TYPE: return "the type is not one of the known ones";
        case SEGMIF_PIXELS_SMALL_WORKSPACE: return "the workspace is smaller than segmif_pixels_workspace says";
        case SEGMIF_PIXELS_UNALIGNED:
            return "a tensor or the workspace does not begin at a multiple of 16 bytes";
    }
    return segmif::runtime_error(error);
}

size_t segmif_pixels_workspace(const SegmifPixels* pixels) {
    return segmif::check(*pixels) ? 0 : segmif::workspace_of(*pixels);
}

int segmif_pixels_prepare(const SegmifPixels* pixels) {
    if (const int error = segmif::check(*pixels)) return error;
    return segmif::with_type(*pixels, [](auto type, auto stride) {
        return segmif::load_all<decltype(type), decltype(stride)::value>();
    });
}

int segmif_pixels(const SegmifPixels* pixels, const void* const inputs[5], void* const outputs[3], void* workspace,
                  size_t workspace_bytes, void* stream) {
    if (const int error = segmif::check(*pixels)) return error;
    bool fits = segmif::aligned(workspace);
    for (int i = 0; i < 4; ++i) fits = fits && segmif::aligned(inputs[i]);
    for (int i = 0; i < 3; ++i) fits = fits && segmif::aligned(outputs[i]);
    if (!fits) return SEGMIF_PIXELS_UNALIGNED;
    if (workspace_bytes < segmif_pixels_workspace(pixels)) return SEGMIF_PIXELS_SMALL_WORKSPACE;
    return segmif::with_type(*pixels, [&](auto type, auto stride) {
        return segmif::run<decltype(type), decltype(stride)::value>(*pixels, inputs, outputs,
                                                                    static_cast<char*>(workspace), stream);
    });
}

}  // extern "C"
