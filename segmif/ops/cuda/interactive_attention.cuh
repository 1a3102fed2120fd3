// Hierarchical interactive attention in three passes over little data; definition and formulas: `plain` in
// segmif/ops/interactive_attention.py. B batch, C channels, N pixels, h heads, d = C / h channels a head.
//
//   1. sum_tokens, add_sums   one read of the three maps: the Gram matrices Y Y^T of the key side, in float
//   2. mix                    per image and head: softmax of the d x d context; with the output weights, the 2C columns
//                             of one matrix a stream
//   3. refine                 one more read: embed, multiply with that matrix, residual, LayerNorm, one write
//
// Sums over pixels are made in an order that depends on the sizes alone: the same input gives the same output, bit
// for bit, on every run. Channels are padded to WIDE, a multiple of 16, with zeros that change nothing.
#pragma once

#include "team.cuh"

namespace segmif {

constexpr int SOURCES = 3;      // visible, infrared, semantic
constexpr int STREAMS = 2;      // visible, infrared: those that are refined
constexpr int SUM_PIXELS = 64;  // a tile of pass 1
constexpr int SUM_BLOCKS = 88;  // at most, an image and source: two a multiprocessor of an H100 or H200 for one image
constexpr int PAD = 8;          // elements after each row of a shared matrix, so that its rows start in unlike banks

// Tiles of pass 3: what they need must fit the 99 KiB of an sm_86 (64 KiB of an sm_75, in Half).
template <class T>
constexpr int REFINE_PIXELS = sizeof(T) == 2 ? 32 : 16;

template <class T>
struct Arguments {
    const T* maps[SOURCES];    // (B, C, N), or (B, N, C) where CHANNELS_LAST
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
    float* partial;            // (B, 3, blocks, WIDE, WIDE)
    float* gram;               // (B, 3, WIDE, WIDE)
    T* matrix;                 // (B, 2, WIDE, 2 WIDE)
    int channels, heads, pixels, blocks;
    float epsilon;
};

// Elements that are moved at once: 16 bytes.
template <class T>
struct alignas(16) Run {
    static constexpr int LENGTH = 16 / sizeof(T);
    T element[LENGTH];
};

// Copies `count` elements (0 to a run's length) and puts zeros after them; `whole`: a full run may be moved at once.
template <class T>
SEGMIF_INLINE void copy_run(T* to, const T* from, int count, bool whole) {
    if (count == Run<T>::LENGTH && whole) {
        *reinterpret_cast<Run<T>*>(to) = *reinterpret_cast<const Run<T>*>(from);
    } else {
        for (int k = 0; k < Run<T>::LENGTH; ++k) to[k] = k < count ? from[k] : from_float<T>(0);
    }
}

SEGMIF_INLINE bool begins_run(const void* place) { return reinterpret_cast<std::uintptr_t>(place) % 16 == 0; }

// How many of a run's elements exist where `left` do from its start on.
template <class T>
SEGMIF_INLINE int clamp_run(int left) {
    return left < 0 ? 0 : left < Run<T>::LENGTH ? left : Run<T>::LENGTH;
}

// A tile of one map in shared memory: pixels x WIDE. It lies there as the map lies in memory, so that copying is
// straight either way; zeros where there is no channel or no pixel.
template <class T, int PIXELS, int WIDE, bool CHANNELS_LAST>
struct Tile {
    static constexpr Order ORDER = CHANNELS_LAST ? Order::ROWS : Order::COLUMNS;
    static constexpr int STRIDE = (CHANNELS_LAST ? WIDE : PIXELS) + PAD;
    static constexpr int SIZE = (CHANNELS_LAST ? PIXELS : WIDE) * STRIDE;
    static constexpr int RUN = Run<T>::LENGTH;

    T* data;

    SEGMIF_INLINE Matrix<T, ORDER> matrix() const { return {data, STRIDE}; }
    SEGMIF_INLINE Matrix<const T, ORDER> read() const { return {data, STRIDE}; }

    // Calls copy(shared, global, count) for each run of the tile that starts at pixel `first` of an image at `map`,
    // with count elements that exist (0 to RUN).
    template <class Copy>
    SEGMIF_INLINE void runs(Team team, int first, int pixels, int channels, Copy copy) const {
        constexpr int LENGTH = CHANNELS_LAST ? WIDE : PIXELS, LINES = CHANNELS_LAST ? PIXELS : WIDE;
        const int lines = CHANNELS_LAST ? pixels - first : channels, length = CHANNELS_LAST ? channels : pixels - first;
        const long pitch = CHANNELS_LAST ? channels : pixels;
        const long origin = CHANNELS_LAST ? first * pitch : first;
        team.each(LINES * (LENGTH / RUN), [&](int i) {
            const int line = i / (LENGTH / RUN), start = i % (LENGTH / RUN) * RUN;
            const int left = line < lines ? length - start : 0;
            copy(line * STRIDE + start, origin + line * pitch + start, clamp_run<T>(left));
        });
    }

    SEGMIF_INLINE void load(Team team, const T* map, int first, int pixels, int channels) const {
        const bool whole = (CHANNELS_LAST ? channels : pixels) % RUN == 0 && begins_run(map);
        runs(team, first, pixels, channels,
             [&](int shared, long global, int count) { copy_run(data + shared, map + global, count, whole); });
    }

    SEGMIF_INLINE void store(Team team, T* map, int first, int pixels, int channels) const {
        const bool whole = (CHANNELS_LAST ? channels : pixels) % RUN == 0 && begins_run(map);
        runs(team, first, pixels, channels, [&](int shared, long global, int count) {
            if (count == RUN && whole) {
                *reinterpret_cast<Run<T>*>(map + global) = *reinterpret_cast<const Run<T>*>(data + shared);
            } else {
                for (int k = 0; k < count; ++k) map[global + k] = data[shared + k];
            }
        });
    }
};

// A weight (WIDE x WIDE, output by input) in shared memory.
template <class T, int WIDE>
struct Weight {
    using Rows = Tile<T, WIDE, WIDE, true>;  // its outputs are the pixels of such a tile
    static constexpr int STRIDE = Rows::STRIDE, SIZE = Rows::SIZE;
    T* data;

    SEGMIF_INLINE void load(Team team, const T* weight, int channels) const {
        Rows{data}.load(team, weight, 0, channels, channels);
    }

    // As a factor on the right of pixels x inputs.
    SEGMIF_INLINE Matrix<const T, Order::COLUMNS> turned() const { return {data, STRIDE}; }
};

// A vector of parameters as WIDE floats in shared memory, zeros after its channels.
template <int WIDE, class T>
SEGMIF_INLINE void load_vector(Team team, float* out, const T* vector, int channels) {
    team.each(WIDE, [&](int i) { out[i] = i < channels ? to_float(vector[i]) : 0; });
}

// relu(pixels x weight^T + bias), PIXELS x WIDE, into `tokens`; through `scratch` (float, PIXELS x (WIDE + PAD)).
// Rows from `rows` on, which are no pixels, become zero.
template <class T, int PIXELS, int WIDE, bool CHANNELS_LAST>
SEGMIF_INLINE void embed(Team team, Tile<T, PIXELS, WIDE, CHANNELS_LAST> tile, Weight<T, WIDE> weight,
                         const float* bias, int rows, float* scratch, T* tokens, int stride) {
    Product<T, PIXELS, WIDE, sizeof(T) == 2> product;
    product.clear();
    product.template add<WIDE>(team, tile.read(), weight.turned());
    product.store(team, scratch, WIDE + PAD);
    team.sync();
    constexpr int LENGTH = Run<T>::LENGTH, ACROSS = WIDE / LENGTH;
    team.each(PIXELS * ACROSS, [&](int i) {
        const int row = i / ACROSS, start = i % ACROSS * LENGTH;
        const float* sums = scratch + row * (WIDE + PAD) + start;
        Run<T> run;
        SEGMIF_UNROLL
        for (int k = 0; k < LENGTH; ++k) {
            const float token = sums[k] + bias[start + k];
            run.element[k] = from_float<T>(token < 0 || row >= rows ? 0 : token);  // keeps what is not a number
        }
        *reinterpret_cast<Run<T>*>(tokens + row * stride + start) = run;
    });
    team.sync();
}

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

template <class T, int WIDE, bool CHANNELS_LAST>
constexpr int sum_tokens_memory() {
    using Pixels = Tile<T, SUM_PIXELS, WIDE, CHANNELS_LAST>;
    return Carver::bytes<T>(Weight<T, WIDE>::SIZE) + Carver::bytes<T>(Pixels::SIZE) +
           Carver::bytes<T>(SUM_PIXELS * (WIDE + PAD)) + Carver::bytes<float>(SUM_PIXELS * (WIDE + PAD)) +
           Carver::bytes<float>(WIDE);
}

// Pass 1: block `block` of `blocks` sums Y Y^T over every blocks-th tile of one image and source.
template <class T, int WIDE, bool CHANNELS_LAST>
SEGMIF_INLINE void sum_tokens(Team team, const Arguments<T>& a, int block, int image, int source, char* shared) {
    constexpr int STRIDE = WIDE + PAD;
    Carver carver{shared};
    const Weight<T, WIDE> weight{carver.take<T>(Weight<T, WIDE>::SIZE)};
    using Pixels = Tile<T, SUM_PIXELS, WIDE, CHANNELS_LAST>;
    const Pixels tile{carver.take<T>(Pixels::SIZE)};
    T* tokens = carver.take<T>(SUM_PIXELS * STRIDE);
    float* scratch = carver.take<float>(SUM_PIXELS * STRIDE);
    float* bias = carver.take<float>(WIDE);

    // keys and values of a modality come from its Y, those of the semantic map from its U
    const int row = (2 * source + (source == 2 ? 1 : 0)) * a.channels;
    weight.load(team, a.embed_weight + row * a.channels, a.channels);
    load_vector<WIDE>(team, bias, a.embed_bias + row, a.channels);
    const T* map = a.maps[source] + static_cast<long>(image) * a.channels * a.pixels;

    Product<T, WIDE, WIDE, sizeof(T) == 2> sum;
    sum.clear();
    for (int first = block * SUM_PIXELS; first < a.pixels; first += a.blocks * SUM_PIXELS) {
        tile.load(team, map, first, a.pixels, a.channels);
        team.sync();
        embed(team, tile, weight, bias, a.pixels - first, scratch, tokens, STRIDE);
        const Matrix<const T, Order::COLUMNS> turned{tokens, STRIDE};
        const Matrix<const T, Order::ROWS> straight{tokens, STRIDE};
        sum.template add<SUM_PIXELS>(team, turned, straight);
    }
    const long place = (static_cast<long>(image) * SOURCES + source) * a.blocks + block;
    sum.store(team, a.partial + place * WIDE * WIDE, WIDE);
}

// Between passes 1 and 2: the blocks' sums added up and divided by N; `element` counts over (B, 3, WIDE, WIDE).
template <class T, int WIDE>
SEGMIF_INLINE void add_sums(const Arguments<T>& a, long element) {
    constexpr int AREA = WIDE * WIDE;
    const float* partial = a.partial + element / AREA * a.blocks * AREA + element % AREA;
    float sum = 0;
    for (int block = 0; block < a.blocks; ++block) sum += partial[static_cast<long>(block) * AREA];
    a.gram[element] = sum / a.pixels;
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

constexpr int VECTORS = 5;  // of pass 3: two biases of the embedding, that of the output, the LayerNorm's two

template <class T, int WIDE, bool CHANNELS_LAST>
constexpr int refine_memory() {
    constexpr int PIXELS = REFINE_PIXELS<T>;
    using Pixels = Tile<T, PIXELS, WIDE, CHANNELS_LAST>;
    return 2 * Carver::bytes<T>(Weight<T, WIDE>::SIZE) + Carver::bytes<T>(WIDE * (2 * WIDE + PAD)) +
           2 * Carver::bytes<T>(Pixels::SIZE) + Carver::bytes<T>(PIXELS * (2 * WIDE + PAD)) +
           Carver::bytes<float>(PIXELS * (WIDE + PAD)) + Carver::bytes<float>(VECTORS * WIDE);
}

// LayerNorm over the channels of map + looked_up + bias, in float, back into the tile of the map. `vectors`: that bias,
// the factors and the summands of the LayerNorm, WIDE each; zeros where there is no channel, so these stay zero.
template <class T, int PIXELS, int WIDE, bool CHANNELS_LAST>
SEGMIF_INLINE void normalise(Team team, const Arguments<T>& a, const float* vectors, const float* looked_up,
                             Tile<T, PIXELS, WIDE, CHANNELS_LAST> tile) {
    const float *bias = vectors, *factor = vectors + WIDE, *summand = vectors + 2 * WIDE;
    team.each_row<PIXELS>([&](int row, Lanes lanes) {
        constexpr int LANES = Team::lanes<PIXELS>(), OWN = WIDE / LANES;
        const auto matrix = tile.matrix();
        float refined[OWN], sum = 0, squares = 0;
        SEGMIF_UNROLL
        for (int k = 0; k < OWN; ++k) {
            const int channel = lanes.rank + k * LANES;
            refined[k] = to_float(matrix.at(row, channel)) + looked_up[row * (WIDE + PAD) + channel] + bias[channel];
            sum += refined[k];
        }
        const float mean = lanes.sum(sum) / a.channels;
        SEGMIF_UNROLL
        for (int k = 0; k < OWN; ++k) {
            refined[k] -= mean;
            if (lanes.rank + k * LANES < a.channels) squares += refined[k] * refined[k];
        }
        const float scale = 1 / sqrtf(lanes.sum(squares) / a.channels + a.epsilon);
        SEGMIF_UNROLL
        for (int k = 0; k < OWN; ++k) {
            const int channel = lanes.rank + k * LANES;
            matrix.at(row, channel) = from_float<T>(refined[k] * scale * factor[channel] + summand[channel]);
        }
    });
}

// Pass 3: block `block` of `blocks` refines every blocks-th tile of one image and stream.
template <class T, int WIDE, bool CHANNELS_LAST>
SEGMIF_INLINE void refine(Team team, const Arguments<T>& a, int block, int blocks, int stream, int image,
                          char* shared) {
    constexpr int PIXELS = REFINE_PIXELS<T>, BOTH = 2 * WIDE + PAD;
    using Pixels = Tile<T, PIXELS, WIDE, CHANNELS_LAST>;
    Carver carver{shared};
    const Weight<T, WIDE> to_y{carver.take<T>(Weight<T, WIDE>::SIZE)}, to_u{carver.take<T>(Weight<T, WIDE>::SIZE)};
    T* matrix = carver.take<T>(WIDE * BOTH);
    const Pixels semantic{carver.take<T>(Pixels::SIZE)}, modality{carver.take<T>(Pixels::SIZE)};
    T* tokens = carver.take<T>(PIXELS * BOTH);
    float* scratch = carver.take<float>(PIXELS * (WIDE + PAD));
    float* vectors = carver.take<float>(VECTORS * WIDE);

    const int channels = a.channels, y = 2 * 2 * channels, u = (2 * stream + 1) * channels;  // rows of the embedding
    to_y.load(team, a.embed_weight + y * channels, channels);
    to_u.load(team, a.embed_weight + u * channels, channels);
    const T* mixed = a.matrix + (static_cast<long>(image) * STREAMS + stream) * WIDE * 2 * WIDE;
    constexpr int LENGTH = Run<T>::LENGTH, ACROSS = 2 * WIDE / LENGTH;
    team.each(WIDE * ACROSS, [&](int i) {
        const int row = i / ACROSS, start = i % ACROSS * LENGTH;
        const int count = clamp_run<T>(row < channels ? channels - start % WIDE : 0);
        copy_run(matrix + row * BOTH + start, mixed + row * 2 * WIDE + start, count, true);
    });
    const T* sources[VECTORS] = {a.embed_bias + y, a.embed_bias + u, a.out_bias + stream * channels,
                                 a.norm_weight + stream * channels, a.norm_bias + stream * channels};
    SEGMIF_UNROLL
    for (int i = 0; i < VECTORS; ++i) load_vector<WIDE>(team, vectors + i * WIDE, sources[i], channels);
    const long image_start = static_cast<long>(image) * channels * a.pixels;
    for (int first = block * PIXELS; first < a.pixels; first += blocks * PIXELS) {
        semantic.load(team, a.maps[2] + image_start, first, a.pixels, channels);
        modality.load(team, a.maps[stream] + image_start, first, a.pixels, channels);
        team.sync();
        const int rows = a.pixels - first;
        embed(team, semantic, to_y, vectors, rows, scratch, tokens, BOTH);
        embed(team, modality, to_u, vectors + WIDE, rows, scratch, tokens + WIDE, BOTH);
        Product<T, PIXELS, WIDE, sizeof(T) == 2> looked_up;
        looked_up.clear();
        const Matrix<const T, Order::ROWS> left{tokens, BOTH};
        const Matrix<const T, Order::COLUMNS> right{matrix, BOTH};
        looked_up.template add<2 * WIDE>(team, left, right);
        looked_up.store(team, scratch, WIDE + PAD);
        team.sync();
        normalise(team, a, vectors + 2 * WIDE, scratch, modality);
        team.sync();
        modality.store(team, a.refined[stream] + image_start, first, a.pixels, channels);
        team.sync();
    }
}

}  // namespace segmif
