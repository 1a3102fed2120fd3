// Pass 1 of interactive_attention.cuh: the Gram matrices.
#pragma once

#include "arguments.cuh"
#include "overlap.cuh"

namespace segmif {

// A Gram matrix is symmetric: only its tiles (16 rows x 8 columns) on and above the diagonal are summed, one row of
// tiles after the other, each as a D.
template <int WIDE>
constexpr int gram_tiles = WIDE / 16 * (WIDE / 16 + 1);

template <int WIDE>
constexpr int half_gram = gram_tiles<WIDE> * LANES * 4;  // values

constexpr int SHARERS = WARPS / 2;  // warps whose sums are in shared memory at once

template <class T, int WIDE>
constexpr int sum_tokens_memory() {
    return Carver::bytes<Run<T>>(Weight<T, WIDE>::SIZE) + Carver::bytes<float>(WIDE) +
           Carver::bytes<float>(SHARERS * half_gram<WIDE>);
}

// Y = relu(weight x map + bias) of a half strip's 16 pixels, channels as rows, for the sum that follows: of 16 channels
// each, as A. Zeros beyond the pixels.
template <class T, int WIDE>
SEGMIF_INLINE void embed_turned(Warp warp, const Strip<T, WIDE>& map, int m, Weight<T, WIDE, true> weight,
                                const float* bias, int pixels, A<T> (&tokens)[WIDE / 16]) {
    SEGMIF_UNROLL
    for (int row = 0; row < WIDE / 16; ++row) {
        D product[2];  // columns are the pixels of rows group + 8 h
        SEGMIF_UNROLL
        for (D& each : product) {
            fill(warp, each, [&](int lane, int i) { return bias[16 * row + i / 2 * 8 + lane / 4]; });
        }
        SEGMIF_UNROLL
        for (int part = 0; part < WIDE / 16; ++part) {
            const A<T> rows = weight.rows(warp, row, part);
            SEGMIF_UNROLL
            for (int h = 0; h < 2; ++h) multiply(warp, product[h], rows, map.pixels(warp, m, part, h));
        }
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int i = 0; i < 4; ++i) {  // rows group + 8 h of the channels, pixels of product q
                const int h = i % 2, q = i / 2;
                tokens[row].at(lane, i) = relu_pair<T>(product[q].at(lane, 2 * h), product[q].at(lane, 2 * h + 1));
            }
        });
    }
    if (pixels >= STRIP) return;  // the same for all lanes
    warp.each([&](int lane) {
        SEGMIF_UNROLL
        for (int i = 0; i < WIDE / 4; ++i) {
            const int pixel = lane % 4 * 8 + 2 * m + i % 4 / 2;
            Pair<T>& pair = tokens[i / 4].at(lane, i % 4);
            if (pixel >= pixels) pair.x = from_float<T>(0);
            if (pixel + 4 >= pixels) pair.y = from_float<T>(0);
        }
    });
}

// sum += Y Y^T
template <class T, int WIDE>
SEGMIF_INLINE void add_gram(Warp warp, const A<T> (&tokens)[WIDE / 16], D (&sum)[gram_tiles<WIDE>]) {
    int tile = 0;
    SEGMIF_UNROLL
    for (int row = 0; row < WIDE / 16; ++row) {
        SEGMIF_UNROLL
        for (int column = 2 * row; column < WIDE / 8; ++column, ++tile) {
            B<T> turned;
            warp.each([&](int lane) {
                for (int q = 0; q < 2; ++q) turned.at(lane, q) = tokens[column / 2].at(lane, column % 2 + 2 * q);
            });
            multiply(warp, sum[tile], tokens[row], turned);
        }
    }
}

// The sums of a block's warps, added pair by pair through shared memory; warp 0 has them then.
template <int TILES>
SEGMIF_INLINE void add_warps(Team team, Warp warp, D (&sum)[TILES], float* shared) {
    const auto each_value = [&](int place, auto work) {
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int i = 0; i < 4 * TILES; ++i) {
                work(shared[(place * 4 * TILES + i) * LANES + lane], sum[i / 4].at(lane, i % 4));
            }
        });
    };
    for (int left = WARPS / 2; left > 0; left /= 2) {
        if (warp.number >= left && warp.number < 2 * left) {
            each_value(warp.number - left, [](float& there, float here) { there = here; });
        }
        team.sync();
        if (warp.number < left) each_value(warp.number, [](float there, float& here) { here += there; });
        team.sync();
    }
}

// Pass 1: block `block` of `blocks` sums Y Y^T over its share of the strips of one image and source.
template <class T, int WIDE>
SEGMIF_INLINE void sum_tokens(Team team, const Arguments<T>& a, int block, int image, int source, char* shared) {
    let_next_begin();
    Carver carver{shared};
    const Weight<T, WIDE, true> weight{carver.take<Run<T>>(Weight<T, WIDE>::SIZE)};
    float* bias = carver.take<float>(WIDE);
    float* exchange = carver.take<float>(SHARERS * half_gram<WIDE>);

    // keys and values of a modality come from its Y, those of the semantic map from its U
    const int row = (2 * source + (source == 2 ? 1 : 0)) * a.channels;
    weight.template load<Order::STRAIGHT, Order::RUNS>(team, a.embed_weight + row * a.channels, a.channels, a.channels);
    load_vector<WIDE>(team, bias, a.embed_bias + row, a.channels);
    const Map<const T> map = a.map(source, image);
    team.sync();

    const Warp warp = warp_of(team);
    D sum[gram_tiles<WIDE>];
    SEGMIF_UNROLL
    for (D& each : sum) clear(warp, each);
    for (int first = (block * WARPS + warp.number) * STRIP; first < a.pixels; first += a.blocks * WARPS * STRIP) {
        Strip<T, WIDE> strip;
        strip.load(warp, map, first);
        SEGMIF_UNROLL
        for (int m = 0; m < 2; ++m) {
            A<T> tokens[WIDE / 16];
            embed_turned(warp, strip, m, weight, bias, a.pixels - first, tokens);
            add_gram<T, WIDE>(warp, tokens, sum);
        }
    }
    add_warps(team, warp, sum, exchange);
    if (warp.number) return;
    const long place = (static_cast<long>(image) * SOURCES + source) * a.blocks + block;
    warp.each([&](int lane) {
        SEGMIF_UNROLL
        for (int i = 0; i < 4 * gram_tiles<WIDE>; ++i) {
            a.partial[place * half_gram<WIDE> + i * LANES + lane] = sum[i / 4].at(lane, i % 4);
        }
    });
}

// The Gram matrix (WIDE x WIDE) of an image's source, divided by N: the sums of its blocks added up, in their order.
template <class T, int WIDE>
SEGMIF_INLINE void add_sums(Team team, const Arguments<T>& a, int image, int source, float* out) {
    constexpr int AREA = half_gram<WIDE>, SIDE_BY_SIDE = 4;  // in one read
    const float* partial = a.partial + (static_cast<long>(image) * SOURCES + source) * a.blocks * AREA;
    team.template each<AREA / SIDE_BY_SIDE>([&](int four) {
        float sum[SIDE_BY_SIDE] = {};
        SEGMIF_UNROLL_BY_16
        for (int block = 0; block < a.blocks; ++block) {
            const Run<float> run = read_written_run(partial + static_cast<long>(block) * AREA + SIDE_BY_SIDE * four);
            SEGMIF_UNROLL
            for (int k = 0; k < SIDE_BY_SIDE; ++k) sum[k] += run.get(k);
        }
        SEGMIF_UNROLL
        for (int k = 0; k < SIDE_BY_SIDE; ++k) {
            const int place = SIDE_BY_SIDE * four + k, lane = place % LANES, i = place / LANES % 4;
            int tile = place / LANES / 4, across = 0;  // of 16 rows, then of 16 columns
            for (; tile >= WIDE / 8 - 2 * across; ++across) tile -= WIDE / 8 - 2 * across;
            const int row = 16 * across + i / 2 * 8 + lane / 4;
            const int column = 16 * across + 8 * tile + lane % 4 * 2 + i % 2;
            out[row * WIDE + column] = sum[k] / a.pixels;
            if (tile > 1) out[column * WIDE + row] = sum[k] / a.pixels;  // the square on the diagonal was summed whole
        }
    });
}

}  // namespace segmif
