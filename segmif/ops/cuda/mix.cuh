// Pass 2 of interactive_attention.cuh: the matrices that streams are multiplied with.
#pragma once

#include "packed.cuh"
#include "sum.cuh"

namespace segmif {

// Floats that pass 2 needs: the Gram matrix, the attention of a head (d x d) and half its context (d x C).
template <int WIDE>
SEGMIF_BOTH constexpr int mix_floats(int channels, int heads) {
    return WIDE * WIDE + channels / heads * (channels / heads + channels);
}

// Pass 2: the attention of one head and source from the sums of pass 1; its columns in the matrices of the streams that use it.
template <class T, int WIDE>
SEGMIF_INLINE void mix(Team team, const Arguments<T>& a, int head, int source, int image, float* shared) {
    const int channels = a.channels, size = channels / a.heads;
    float *gram = shared, *context = gram + WIDE * WIDE, *half = context + size * size;
    const long rows = (static_cast<long>(source) * channels + head * size) * channels;
    const T *key = a.key_weight + rows, *value = a.value_weight + rows;
    const Packed<T, WIDE> packed{a.packed + static_cast<long>(image) * Packed<T, WIDE>::IMAGE};

    wait_for_last();
    add_sums<T, WIDE>(team, a, image, source, gram);
    team.sync();
    team.each(size * channels, [&](int i) {
        const int row = i / channels, column = i % channels;
        float sum = 0;
        for (int k = 0; k < channels; ++k) sum += to_float(key[row * channels + k]) * gram[k * WIDE + column];
        half[i] = sum;
    });
    team.sync();
    const float temperature = a.temperature[source * a.heads + head];
    team.each(size * size, [&](int i) {
        const int row = i / size, column = i % size;
        float sum = 0;
        for (int k = 0; k < channels; ++k) sum += half[row * channels + k] * to_float(value[column * channels + k]);
        context[i] = sum * temperature;
    });
    team.sync();
    team.each(size, [&](int column) {  // softmax over the keys
        float largest = context[column], sum = 0;
        for (int k = 1; k < size; ++k) largest = fmaxf(largest, context[k * size + column]);
        for (int k = 0; k < size; ++k) sum += expf(context[k * size + column] - largest);
        for (int k = 0; k < size; ++k) {
            context[k * size + column] = expf(context[k * size + column] - largest) / sum;
        }
    });
    team.sync();
    for (int stream = 0; stream < STREAMS; ++stream) {
        const bool shared_by_both = source == 2;
        if (!shared_by_both && source != stream) continue;
        const int part = shared_by_both ? 1 : 0;  // Z comes first, A second
        const T* out = a.out_weight + static_cast<long>(stream) * channels * 2 * channels + part * channels;
        const auto own = packed.of(stream);
        const Weight<T, WIDE> matrix = part ? own.from_u : own.from_y;
        team.each(channels * size, [&](int i) {
            const int row = i / size, column = i % size;
            float sum = 0;
            for (int k = 0; k < size; ++k) {
                sum += to_float(out[row * 2 * channels + head * size + k]) * context[column * size + k];
            }
            matrix.set(row, head * size + column, from_float<T>(sum));
        });
    }
}

}  // namespace segmif
