// What the passes of the attention share.
#pragma once

#include "strip.cuh"

namespace segmif {

constexpr int SOURCES = 3;  // visible, infrared, semantic
constexpr int STREAMS = 2;  // visible, infrared: those that are refined

template <class T>
struct Arguments {
    const T* maps[SOURCES];    // (B, C, N), or (B, N, C) if channels_last
    const T* embed_weight;     // (3, 2C, C)
    const T* embed_bias;       // (3, 2C)
    const T* key_weight;       // (3, C, C)
    const T* value_weight;     // (3, C, C)
    const float* temperature;  // (3, h)
    const T* out_weight;       // (2, C, 2C)
    const T* out_bias;         // (2, C)
    const T* norm_weight;      // (2, C)
    const T* norm_bias;        // (2, C)
    T* refined[STREAMS];       // as the maps
    float* partial;            // (B, 3, blocks, half_gram<WIDE>)
    char* packed;              // (B, Packed<T, WIDE>::IMAGE): what pass 3 has in shared memory
    int channels, heads, pixels, blocks;
    bool channels_last;
    float epsilon;

    // Map `source` or the refined map `stream` of an image.
    SEGMIF_INLINE Map<const T> map(int source, int image) const { return of_image<const T>(maps[source], image); }
    SEGMIF_INLINE Map<T> out(int stream, int image) const { return of_image<T>(refined[stream], image); }

private:
    template <class Value>
    SEGMIF_INLINE Map<Value> of_image(Value* map, int image) const {
        return {map + static_cast<long>(image) * channels * pixels, pixels, channels, channels_last};
    }
};

// Shared memory, cut into arrays one after the other.
struct Carver {
    char* next;
    template <class T>
    SEGMIF_INLINE T* take(int count) {
        T* array = reinterpret_cast<T*>(next);
        next += bytes<T>(count);
        return array;
    }
    template <class T>
    static SEGMIF_BOTH constexpr int bytes(int count) {
        return (count * static_cast<int>(sizeof(T)) + 127) / 128 * 128;
    }
};

// A vector of parameters as WIDE floats in shared memory, zeros after its channels.
template <int WIDE, class T>
SEGMIF_INLINE void load_vector(Team team, float* out, const T* vector, int channels) {
    team.template each<WIDE>([&](int i) { out[i] = i < channels ? to_float(fetch(vector + i)) : 0; });
}

SEGMIF_INLINE float relu(float value) { return value < 0 ? 0 : value; }  // keeps what is not a number

template <class T>
SEGMIF_INLINE Pair<T> relu_pair(float x, float y) {
    return to_pair<T>(relu(x), relu(y));
}
#if defined(__CUDACC__)
template <>
SEGMIF_INLINE Pair<Half> relu_pair<Half>(float x, float y) {
    return half_relu(x, y);
}
#endif

}  // namespace segmif
