// Runs the attention for a sanitizer: both types and layouts; answers 0 where all ran.
#include <cstdlib>
#include <vector>

#include "interactive_attention.h"

static char* filled(std::vector<void*>& all, size_t bytes) {
    char* memory = static_cast<char*>(std::aligned_alloc(16, (bytes + 15) / 16 * 16));
    for (size_t i = 0; i < bytes; ++i) memory[i] = static_cast<char>(i % 48);  // small numbers of either type
    all.push_back(memory);
    return memory;
}

static int run(const SegmifAttention& s) {
    const size_t width = s.type == SEGMIF_HALF ? 2 : 4, c = s.channels, map = width * s.batch * c * s.height * s.width;
    const size_t counts[] = {6 * c * c, 6 * c, 3 * c * c, 3 * c * c, 0, 4 * c * c, 2 * c, 2 * c, 2 * c};
    std::vector<void*> all;
    const void* inputs[12];
    void* outputs[2];
    for (int i = 0; i < 3; ++i) inputs[i] = filled(all, map);
    for (int i = 0; i < 9; ++i) inputs[3 + i] = filled(all, i == 4 ? 4 * 3 * s.heads : counts[i] * width);
    for (void*& output : outputs) output = filled(all, map);
    const size_t bytes = segmif_attention_workspace(&s);
    const int error = segmif_attention(&s, inputs, outputs, filled(all, bytes), bytes, nullptr);
    for (void* memory : all) std::free(memory);
    return error;
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
    for (const auto& attention : attentions) {
        if (const int error = run(attention)) return error;
    }
    return 0;
}
