// Pass 3 of interactive_attention.cuh: the refined maps.
#pragma once

#include "overlap.cuh"
#include "packed.cuh"

namespace segmif {

SEGMIF_INLINE float inverse_root(float value) {
#if defined(__CUDACC__)
    return rsqrtf(value);
#else
    return 1 / sqrtf(value);
#endif
}

// Streams that pass 3 refines at a time, with the semantic map read and embedded once: in float, the weights of both
// would not fit the 99 KiB of an sm_86.
template <class T>
constexpr int TOGETHER = sizeof(T) == 2 ? STREAMS : 1;

template <class T, int WIDE>
constexpr int refine_memory() {
    return Packed<T, WIDE>::COMMON + TOGETHER<T> * Packed<T, WIDE>::STREAM;
}

// The parameters of the streams from `begin` on, into shared memory.
template <class T, int WIDE>
SEGMIF_INLINE void load_parameters(Team team, const Arguments<T>& a, int image, int begin, char* shared) {
    using Own = Packed<T, WIDE>;
    const char* packed = a.packed + static_cast<long>(image) * Own::IMAGE;
    if (TOGETHER<T> == STREAMS) return copy<Own::IMAGE>(team, shared, packed);
    copy<Own::COMMON>(team, shared, packed);
    copy<Own::STREAM>(team, shared + Own::COMMON, packed + Own::COMMON + begin * Own::STREAM);
}

// relu(map x weight + bias) of both halves, pixels as rows, 16 channels from 16 part on as columns.
template <class T, int WIDE>
SEGMIF_INLINE void embed(Warp warp, const Strip<T, WIDE>& map, Weight<T, WIDE> weight, const float* bias,
                         int part, A<T> (&tokens)[2]) {
    D product[2][2];  // of each half, 8 channels each
    SEGMIF_UNROLL
    for (int i = 0; i < 4; ++i) {
        const float* own = bias + 16 * part + i % 2 * 8;
        fill(warp, product[i / 2][i % 2], [&](int lane, int e) { return own[lane % 4 * 2 + e % 2]; });
    }
    SEGMIF_UNROLL
    for (int depth = 0; depth < WIDE / 16; ++depth) {
        SEGMIF_UNROLL
        for (int q = 0; q < 2; ++q) {
            const B<T> outputs = weight.outputs(warp, 2 * part + q, depth);
            SEGMIF_UNROLL
            for (int m = 0; m < 2; ++m) multiply(warp, product[m][q], map.half[m][depth], outputs);
        }
    }
    warp.each([&](int lane) {
        SEGMIF_UNROLL
        for (int q = 0; q < 2; ++q) {
            SEGMIF_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int m = i / 2, h = i % 2;
                const D& sums = product[m][q];
                tokens[m].at(lane, h + 2 * q) = relu_pair<T>(sums.at(lane, 2 * h), sums.at(lane, 2 * h + 1));
            }
        }
    });
}

// sums += tokens x weight, for 16 channels of the tokens.
template <class T, int WIDE>
SEGMIF_INLINE void look_up(Warp warp, const A<T> (&tokens)[2], Weight<T, WIDE> weight, int part,
                           D (&sums)[2][WIDE / 8]) {
    SEGMIF_UNROLL
    for (int tile = 0; tile < WIDE / 8; ++tile) {
        const B<T> outputs = weight.outputs(warp, tile, part);
        SEGMIF_UNROLL
        for (int m = 0; m < 2; ++m) multiply(warp, sums[m][tile], tokens[m], outputs);
    }
}

// LayerNorm over the channels of map + looked_up, in float, in place of the map. Padding channels stay zero.
template <class T, int WIDE>
SEGMIF_INLINE void normalise(Warp warp, const Arguments<T>& a, const typename Packed<T, WIDE>::Stream& stream,
                             D (&looked_up)[2][WIDE / 8], Strip<T, WIDE>& map) {
    Registers<float, 4> total, squares;  // of a lane's four pixels, row group + 8 h of half m at 2 m + h
    clear(warp, total), clear(warp, squares);
    const float share = 1.0f / a.channels;  // of a channel in a mean
    // calls work(lane, pixel, channel, value, pair of the map, which of its two) for all that lanes hold
    const auto each_value = [&](auto work) {
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int tile = 0; tile < WIDE / 8; ++tile) {
                SEGMIF_UNROLL
                for (int i = 0; i < 8; ++i) {
                    const int m = i / 4, h = i / 2 % 2, e = i % 2, q = tile % 2;
                    const int channel = tile / 2 * 16 + lane % 4 * 4 + 2 * q + e;
                    Pair<T>& pair = map.half[m][tile / 2].at(lane, h + 2 * q);
                    work(lane, 2 * m + h, channel, looked_up[m][tile].at(lane, 2 * h + e), e ? pair.y : pair.x);
                }
            }
        });
    };
    each_value([&](int lane, int pixel, int, float& value, T& there) {
        value += to_float(there);
        total.at(lane, pixel) += value;
    });
    add_group(warp, total);
    each_value([&](int lane, int pixel, int channel, float& value, T&) {
        value -= total.at(lane, pixel) * share;
        if (channel < a.channels) squares.at(lane, pixel) += value * value;
    });
    add_group(warp, squares);
    each_value([&](int lane, int pixel, int channel, float& value, T& there) {
        const float scale = inverse_root(squares.at(lane, pixel) * share + a.epsilon);
        there = from_float<T>(value * scale * stream.factor[channel] + stream.summand[channel]);
    });
}

// A strip of pass 3, from pixel `first` on: the streams from `begin` on.
template <class T, int WIDE>
SEGMIF_INLINE void refine_strip(Warp warp, const Arguments<T>& a, const Packed<T, WIDE>& parameters, int begin,
                                int image, int first) {
    Strip<T, WIDE> semantic, map[TOGETHER<T>];
    semantic.load(warp, a.map(2, image), first);
    map[0].load(warp, a.map(begin, image), first);
    A<T> y[WIDE / 16][2];
    SEGMIF_UNROLL
    for (int part = 0; part < WIDE / 16; ++part) {
        embed(warp, semantic, parameters.to_y(), parameters.embed_bias(), part, y[part]);
    }
    SEGMIF_UNROLL
    for (int i = 1; i < TOGETHER<T>; ++i) map[i].load(warp, a.map(begin + i, image), first);  // while map 0 is refined
    SEGMIF_UNROLL
    for (int i = 0; i < TOGETHER<T>; ++i) {
        const auto stream = parameters.of(i);
        D looked_up[2][WIDE / 8];
        SEGMIF_UNROLL
        for (int tile = 0; tile < WIDE / 4; ++tile) {
            fill(warp, looked_up[tile % 2][tile / 2], [&](int lane, int e) {
                return stream.out_bias[channel_at<Order::RUNS>(tile / 2 * 8 + lane % 4 * 2 + e % 2)];
            });
        }
        SEGMIF_UNROLL
        for (int part = 0; part < WIDE / 16; ++part) {
            look_up<T, WIDE>(warp, y[part], stream.from_y, part, looked_up);
            A<T> u[2];  // made here: before that, an sm_80 would spill at 64 channels
            embed(warp, map[i], stream.to_u, stream.embed_bias, part, u);
            look_up<T, WIDE>(warp, u, stream.from_u, part, looked_up);
        }
        normalise(warp, a, stream, looked_up, map[i]);
        map[i].store(warp, a.out(begin + i, image), first);
    }
}

// Pass 3: block `block` of `blocks` refines its share of the strips of one image.
template <class T, int WIDE>
SEGMIF_INLINE void refine(Team team, const Arguments<T>& a, int block, int blocks, int image, char* shared) {
    const Packed<T, WIDE> parameters{shared};
    const int strips = (a.pixels + STRIP - 1) / STRIP;
    const Warp warp = warp_of(team);
    wait_for_last();
    for (int begin = 0; begin < STREAMS; begin += TOGETHER<T>) {
        load_parameters<T, WIDE>(team, a, image, begin, shared);
        team.sync();
        // from the end: what pass 1 read last is still in the L2 cache
        for (int strip = block * WARPS + warp.number; strip < strips; strip += blocks * WARPS) {
            refine_strip(warp, a, parameters, begin, image, (strips - 1 - strip) * STRIP);
        }
        if (TOGETHER<T> < STREAMS) team.sync();
    }
}

}  // namespace segmif
