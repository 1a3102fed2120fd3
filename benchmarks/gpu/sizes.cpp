// Runs all kernels at small, odd sizes, for a sanitizer; answers 0 if all ran.
//
// On a GPU (SEGMIF_ON_GPU, by nvcc, with libsegmif_attention) for compute-sanitizer. Otherwise with the kernels' source,
// built for this CPU as it is or by the stand-in of tests/segmif/ops/gpu.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "interactive_attention.h"
#include "pixels.h"

#if defined(SEGMIF_ON_GPU)
#include <cuda_runtime.h>
static cudaStream_t stream = nullptr;
static void* allocate(size_t bytes) {
    void* memory = nullptr;
    return cudaMalloc(&memory, bytes) == cudaSuccess ? memory : nullptr;
}
static void copy(void* to, const void* from, size_t bytes) { cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice); }
static void release(void* memory) { cudaFree(memory); }
static int start() { return cudaStreamCreate(&stream); }
static int finish() { return cudaDeviceSynchronize(); }
#else
static void* stream = nullptr;
static void* allocate(size_t bytes) {  // no byte more, so that a step outside is noticed
    void* memory = nullptr;
    return posix_memalign(&memory, 16, bytes) ? nullptr : memory;
}
static void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
static void release(void* memory) { std::free(memory); }
static int start() { return 0; }
static int finish() { return 0; }
#endif

// Tensors until the end of a call.
class Tensors {
public:
    ~Tensors() {
        for (void* each : all_) release(each);
    }
    void* empty(size_t bytes) {
        all_.push_back(allocate(bytes));
        return all_.back();
    }
    // 0, 1, 100 and 255 by turns, which are levels and numbers of either type.
    void* filled(int type, size_t count) {
        static const uint16_t halves[] = {0x0000, 0x3C00, 0x5640, 0x5BF8};
        static const float floats[] = {0, 1, 100, 255};
        return type == SEGMIF_HALF ? repeated(halves, count) : repeated(floats, count);
    }

private:
    template <class T>
    void* repeated(const T (&values)[4], size_t count) {
        std::vector<T> held(count);
        for (size_t i = 0; i < count; ++i) held[i] = values[i % 3 + i / 7 % 2];
        void* memory = empty(count * sizeof(T));
        copy(memory, held.data(), count * sizeof(T));
        return memory;
    }
    std::vector<void*> all_;
};

static int run(const SegmifAttention& s) {
    const size_t c = s.channels, map = s.batch * c * s.height * s.width;
    const size_t counts[] = {6 * c * c, 6 * c, 3 * c * c, 3 * c * c, 0, 4 * c * c, 2 * c, 2 * c, 2 * c};
    Tensors tensors;
    const void* inputs[12];
    void* outputs[2];
    for (int i = 0; i < 3; ++i) inputs[i] = tensors.filled(s.type, map);
    for (int i = 0; i < 9; ++i) {
        inputs[3 + i] = i == 4 ? tensors.filled(SEGMIF_FLOAT, 3 * s.heads) : tensors.filled(s.type, counts[i]);
    }
    for (void*& output : outputs) output = tensors.empty(map * (s.type == SEGMIF_HALF ? 2 : 4));
    const size_t bytes = segmif_attention_workspace(&s);
    const int error = segmif_attention(&s, inputs, outputs, tensors.empty(bytes), bytes, stream);
    return error ? error : finish();
}

static int run(const SegmifPixels& s) {
    const size_t frame = static_cast<size_t>(s.batch) * s.height * s.width, size = s.type == SEGMIF_HALF ? 2 : 4;
    Tensors tensors;
    const void* inputs[] = {tensors.filled(s.type, 3 * frame), tensors.filled(s.type, frame),
                            tensors.filled(s.type, frame), tensors.filled(s.type, frame / 16 * s.classes),
                            tensors.filled(SEGMIF_FLOAT, s.batch)};
    void* outputs[] = {tensors.empty(3 * frame * size), tensors.empty(frame * size), tensors.empty(frame * size)};
    const size_t bytes = segmif_pixels_workspace(&s);
    const int error = segmif_pixels(&s, inputs, outputs, tensors.empty(bytes), bytes, stream);
    return error ? error : finish();
}

int main() {
    constexpr int FIRST = SEGMIF_CHANNELS_FIRST, LAST = SEGMIF_CHANNELS_LAST;
    const SegmifAttention attentions[] = {
        {2, 24, 3, 13, 7, SEGMIF_HALF, FIRST, 1e-5f},
        {1, 64, 8, 5, 16, SEGMIF_HALF, LAST, 1e-5f},
        {2, 10, 2, 9, 4, SEGMIF_HALF, LAST, 1e-5f},
        {1, 24, 3, 5, 7, SEGMIF_FLOAT, LAST, 1e-5f},
        {1, 8, 2, 1, 5, SEGMIF_FLOAT, FIRST, 1e-5f},
    };
    const SegmifPixels pixels[] = {
        {2, 64, 96, 9, 2, SEGMIF_HALF},
        {1, 32, 32, 1, 1, SEGMIF_FLOAT},
        {1, 32, 288, 3, 4, SEGMIF_HALF},
    };
    if (const int error = start()) return error;
    for (const auto& each : attentions) {
        if (const int error = run(each)) return error;
    }
    for (const auto& each : pixels) {
        if (const int error = run(each)) return error;
    }
    return 0;
}
