// Hierarchical interactive attention in three passes over little data; definition and formulas: `plain` in
// segmif/ops/interactive_attention.py. B batch, C channels, N pixels, h heads, d = C / h channels a head.
//
//   1. sum_tokens, add_sums   one read of the three maps: the Gram matrices Y Y^T of the key side, in float
//   2. mix                    per image and head: softmax of the d x d context; with the output weights, the 2C columns
//                             of one matrix a stream
//   3. refine                 one more read: embed, multiply with that matrix, residual, LayerNorm, one write
//
// In passes 1 and 3 each warp goes from strip to strip on its own: from memory into registers, through its products,
// back to memory (warp.cuh). Shared memory has only the weights, so no warp waits for another there.
//
// Sums over pixels are made in an order that depends on the sizes and the GPU alone: the same input gives the same
// output, bit for bit, on every run. Channels are padded to WIDE, a multiple of 16, with zeros that change nothing.
#pragma once

#include "warp.cuh"

namespace segmif {

constexpr int SOURCES = 3;      // visible, infrared, semantic
constexpr int STREAMS = 2;      // visible, infrared: those that are refined

template <class T>
struct Arguments {
    const T* maps[SOURCES];    // (B, C, N), or (B, N, C) where channels_last
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
    float* gram;               // (B, 3, WIDE, WIDE)
    T* matrix;                 // (B, 2, WIDE, 2 WIDE)
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

SEGMIF_INLINE float inverse_root(float value) {
#if defined(__CUDACC__)
    return rsqrtf(value);
#else
    return 1 / sqrtf(value);
#endif
}

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
// each, as A. Zeros where there is no pixel.
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

// Between passes 1 and 2: the blocks' sums added up and divided by N; `element` counts over (B, 3, half_gram).
template <class T, int WIDE>
SEGMIF_INLINE void add_sums(const Arguments<T>& a, long element) {
    constexpr int AREA = half_gram<WIDE>;
    const int place = static_cast<int>(element % AREA), lane = place % LANES, i = place / LANES % 4;
    const long gram = element / AREA;
    const float* partial = a.partial + gram * a.blocks * AREA + place;
    float sum = 0;
    for (int block = 0; block < a.blocks; ++block) sum += partial[static_cast<long>(block) * AREA];
    int tile = place / LANES / 4, across = 0;  // of 16 rows, then of 16 columns
    for (; tile >= WIDE / 8 - 2 * across; ++across) tile -= WIDE / 8 - 2 * across;
    const int row = 16 * across + i / 2 * 8 + lane / 4, column = 16 * across + 8 * tile + lane % 4 * 2 + i % 2;
    float* out = a.gram + gram * WIDE * WIDE;
    out[row * WIDE + column] = sum / a.pixels;
    if (tile > 1) out[column * WIDE + row] = sum / a.pixels;  // the square on the diagonal was summed whole
}

// Floats that pass 2 needs: the attention of a head (d x d) and half its context (d x C).
SEGMIF_BOTH constexpr int mix_floats(int channels, int heads) {
    return channels / heads * (channels / heads + channels);
}

// Pass 2: the attention of one head and source; its columns in the matrices of the streams that use it.
template <class T, int WIDE>
SEGMIF_INLINE void mix(Team team, const Arguments<T>& a, int head, int source, int image, float* shared) {
    const int channels = a.channels, size = channels / a.heads;
    float *context = shared, *half = shared + size * size;
    const float* gram = a.gram + (static_cast<long>(image) * SOURCES + source) * WIDE * WIDE;
    const long rows = (static_cast<long>(source) * channels + head * size) * channels;
    const T *key = a.key_weight + rows, *value = a.value_weight + rows;

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
        T* matrix = a.matrix + (static_cast<long>(image) * STREAMS + stream) * WIDE * 2 * WIDE + part * WIDE;
        team.each(channels * size, [&](int i) {
            const int row = i / size, column = i % size;
            float sum = 0;
            for (int k = 0; k < size; ++k) {
                sum += to_float(out[row * 2 * channels + head * size + k]) * context[column * size + k];
            }
            matrix[row * 2 * WIDE + head * size + column] = from_float<T>(sum);
        });
    }
}

// Streams that pass 3 refines at a time, with the semantic map read and embedded once: in float, the weights of both
// would not fit the 99 KiB of an sm_86.
template <class T>
constexpr int TOGETHER = sizeof(T) == 2 ? STREAMS : 1;

constexpr int MATRICES = 3;  // a stream: the embedding of its map, what Y and U are looked up in
constexpr int VECTORS = 4;   // a stream: the biases of embedding and output, the LayerNorm's two

template <class T, int WIDE>
constexpr int refine_memory() {
    return Carver::bytes<Run<T>>((1 + MATRICES * TOGETHER<T>) * Weight<T, WIDE>::SIZE) +
           Carver::bytes<float>((1 + VECTORS * TOGETHER<T>) * WIDE);
}

// The parameters of pass 3 in shared memory: of the semantic map's embedding, then of each stream.
template <class T, int WIDE>
struct Parameters {
    struct Stream {
        Weight<T, WIDE> to_u, from_y, from_u;
        const float *embed_bias, *out_bias, *factor, *summand;
    };
    Run<T>* matrices;
    float* vectors;

    SEGMIF_INLINE explicit Parameters(char* shared) {
        Carver carver{shared};
        matrices = carver.take<Run<T>>((1 + MATRICES * TOGETHER<T>) * Weight<T, WIDE>::SIZE);
        vectors = carver.take<float>((1 + VECTORS * TOGETHER<T>) * WIDE);
    }

    SEGMIF_INLINE Weight<T, WIDE> to_y() const { return {matrices}; }
    SEGMIF_INLINE float* embed_bias() const { return vectors; }
    SEGMIF_INLINE Stream of(int place) const {
        constexpr int SIZE = Weight<T, WIDE>::SIZE;
        Run<T>* own = matrices + (1 + MATRICES * place) * SIZE;
        const float* vector = vectors + (1 + VECTORS * place) * WIDE;
        return {{own}, {own + SIZE}, {own + 2 * SIZE}, vector, vector + WIDE, vector + 2 * WIDE, vector + 3 * WIDE};
    }

    // Those of the streams from `begin` on.
    SEGMIF_INLINE void load(Team team, const Arguments<T>& a, int image, int begin) const {
        constexpr Order STRAIGHT = Order::STRAIGHT, RUNS = Order::RUNS;
        const int channels = a.channels, y = 2 * 2 * channels;  // rows of the embedding
        to_y().template load<STRAIGHT, RUNS>(team, a.embed_weight + y * channels, channels, channels);
        load_vector<WIDE>(team, vectors, a.embed_bias + y, channels);
        for (int place = 0; place < TOGETHER<T>; ++place) {
            const int stream = begin + place, u = (2 * stream + 1) * channels;
            const T* mixed = a.matrix + (static_cast<long>(image) * STREAMS + stream) * WIDE * 2 * WIDE;
            const Stream own = of(place);
            own.to_u.template load<STRAIGHT, RUNS>(team, a.embed_weight + u * channels, channels, channels);
            own.from_y.template load<RUNS, STRAIGHT>(team, mixed, 2 * WIDE, channels);
            own.from_u.template load<RUNS, STRAIGHT>(team, mixed + WIDE, 2 * WIDE, channels);
            const int row = stream * channels;
            const T* sources[VECTORS] = {a.embed_bias + u, a.out_bias + row, a.norm_weight + row, a.norm_bias + row};
            SEGMIF_UNROLL
            for (int i = 0; i < VECTORS; ++i) {
                load_vector<WIDE>(team, vectors + (1 + VECTORS * place + i) * WIDE, sources[i], channels);
            }
        }
    }
};

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

// LayerNorm over the channels of map + looked_up, in float, in the map's place. There are zeros where there is no
// channel, so these stay zero.
template <class T, int WIDE>
SEGMIF_INLINE void normalise(Warp warp, const Arguments<T>& a, const typename Parameters<T, WIDE>::Stream& stream,
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
SEGMIF_INLINE void refine_strip(Warp warp, const Arguments<T>& a, const Parameters<T, WIDE>& parameters, int begin,
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
            A<T> u[2];
            embed(warp, map[i], stream.to_u, stream.embed_bias, part, u);
            look_up<T, WIDE>(warp, y[part], stream.from_y, part, looked_up);
            look_up<T, WIDE>(warp, u, stream.from_u, part, looked_up);
        }
        normalise(warp, a, stream, looked_up, map[i]);
        map[i].store(warp, a.out(begin + i, image), first);
    }
}

// Pass 3: block `block` of `blocks` refines its share of the strips of one image.
template <class T, int WIDE>
SEGMIF_INLINE void refine(Team team, const Arguments<T>& a, int block, int blocks, int image, char* shared) {
    const Parameters<T, WIDE> parameters(shared);
    const Warp warp = warp_of(team);
    for (int begin = 0; begin < STREAMS; begin += TOGETHER<T>) {
        parameters.load(team, a, image, begin);
        team.sync();
        for (int first = (block * WARPS + warp.number) * STRIP; first < a.pixels; first += blocks * WARPS * STRIP) {
            refine_strip(warp, a, parameters, begin, image, first);
        }
        if (TOGETHER<T> < STREAMS) team.sync();
    }
}

}  // namespace segmif
