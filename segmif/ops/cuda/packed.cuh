// The parameters of pass 3 as its blocks have them in shared memory. Pass 2 makes them once, so that a block of pass 3
// begins with one copy, all of whose reads are under way at once.
#pragma once

#include "arguments.cuh"

namespace segmif {

constexpr int MATRICES = 3;  // a stream: the embedding of its map, what Y and U are looked up in
constexpr int VECTORS = 4;   // a stream: the biases of embedding and output, the LayerNorm's two

// First the embedding of the semantic map with its bias, then those of each stream.
template <class T, int WIDE>
struct Packed {
    static constexpr int MATRIX = Weight<T, WIDE>::SIZE * static_cast<int>(sizeof(Run<T>));
    static constexpr int VECTOR = WIDE * static_cast<int>(sizeof(float));
    static constexpr int COMMON = MATRIX + VECTOR, STREAM = MATRICES * MATRIX + VECTORS * VECTOR;
    static constexpr int IMAGE = COMMON + STREAMS * STREAM;  // bytes, all multiples of 16

    struct Stream {
        Weight<T, WIDE> to_u, from_y, from_u;
        float *embed_bias, *out_bias, *factor, *summand;
    };
    char* data;

    SEGMIF_INLINE Weight<T, WIDE> to_y() const { return {reinterpret_cast<Run<T>*>(data)}; }
    SEGMIF_INLINE float* embed_bias() const { return reinterpret_cast<float*>(data + MATRIX); }
    SEGMIF_INLINE Stream of(int place) const {
        constexpr int SIZE = Weight<T, WIDE>::SIZE;
        char* own = data + COMMON + place * STREAM;
        Run<T>* runs = reinterpret_cast<Run<T>*>(own);
        float* vector = reinterpret_cast<float*>(own + MATRICES * MATRIX);
        return {{runs}, {runs + SIZE}, {runs + 2 * SIZE}, vector, vector + WIDE, vector + 2 * WIDE, vector + 3 * WIDE};
    }
};

// All but the matrices that pass 2 computes: part 0 is the semantic map's, the others are the streams'.
template <class T, int WIDE>
SEGMIF_INLINE void pack(Team team, const Arguments<T>& a, Packed<T, WIDE> packed, int part) {
    constexpr Order STRAIGHT = Order::STRAIGHT, RUNS = Order::RUNS;
    const int channels = a.channels;
    if (part == 0) {
        const int y = 2 * 2 * channels;  // rows of the embedding
        packed.to_y().template load<STRAIGHT, RUNS>(team, a.embed_weight + y * channels, channels, channels);
        return load_vector<WIDE>(team, packed.embed_bias(), a.embed_bias + y, channels);
    }
    const int stream = part - 1, u = (2 * stream + 1) * channels, row = stream * channels;
    const auto own = packed.of(stream);
    own.to_u.template load<STRAIGHT, RUNS>(team, a.embed_weight + u * channels, channels, channels);
    load_vector<WIDE>(team, own.embed_bias, a.embed_bias + u, channels);
    load_vector<WIDE>(team, own.out_bias, a.out_bias + row, channels);
    load_vector<WIDE>(team, own.factor, a.norm_weight + row, channels);
    load_vector<WIDE>(team, own.summand, a.norm_bias + row, channels);
    if (channels == WIDE) return;
    team.each(WIDE * WIDE, [&](int i) {  // padding; the rest is computed meanwhile
        const int output = i / WIDE, input = i % WIDE;
        if (output < channels && input < channels) return;
        own.from_y.set(output, input, from_float<T>(0));
        own.from_u.set(output, input, from_float<T>(0));
    });
}

// 16 bytes, moved by one instruction.
#if defined(__CUDACC__)
using Chunk = uint4;
#else
struct alignas(16) Chunk {
    char bytes[16];
};
#endif

// What the kernel in front wrote: all reads before the first write.
template <int BYTES>
SEGMIF_INLINE void copy(Team team, char* to, const char* from) {
    constexpr int COUNT = BYTES / static_cast<int>(sizeof(Chunk)), ROUNDS = (COUNT + Team::SIZE - 1) / Team::SIZE;
    Chunk held[ROUNDS];
    SEGMIF_UNROLL
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = round * Team::SIZE + team.rank();
        if (i < COUNT) held[round] = reinterpret_cast<const Chunk*>(from)[i];
    }
    SEGMIF_UNROLL
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = round * Team::SIZE + team.rank();
        if (i < COUNT) reinterpret_cast<Chunk*>(to)[i] = held[round];
    }
}

}  // namespace segmif
