// What the 32 lanes of a warp hold in registers and multiply together: no product's factor or sum ever leaves them.
//
// One product is D (16 x 8) += A (16 x 16) B (16 x 8). Lane 4 group + place holds, as mma.m16n8k16 has it,
//
//   of A  the pairs (row group + 8 h, columns 8 q + 2 place + {0, 1})   at h + 2 q
//   of B  the pairs (rows 8 q + 2 place + {0, 1}, column group)         at q
//   of D  the values (row group + 8 h, column 2 place + e)              at 2 h + e,   h, q and e of {0, 1}
//
// So two neighbouring D are an A of the next product, value for value, and a pixel's channels in A are its channels in
// B: with rows and columns well named, nothing has to move between products. 16 channels are numbered in one of two
// ways: STRAIGHT, or by RUNS, so that a place has four that lie side by side in memory.
#pragma once

#include "team.cuh"
#if defined(__CUDACC__)
#include "tensor_core.cuh"
#endif

namespace segmif {

constexpr int LANES = 32;

// Two values that travel together.
template <class T>
struct PairOf {
    struct alignas(2 * sizeof(T)) type {
        T x, y;
    };
};
#if defined(__CUDACC__)
template <>
struct PairOf<Half> {
    using type = __half2;
};
#endif
template <class T>
using Pair = typename PairOf<T>::type;

template <class T>
SEGMIF_INLINE Pair<T> join(T x, T y) {
    Pair<T> pair;
    pair.x = x, pair.y = y;
    return pair;
}

template <class T>
SEGMIF_INLINE Pair<T> to_pair(float x, float y) {
    return join(from_float<T>(x), from_float<T>(y));
}
#if defined(__CUDACC__)
template <>
SEGMIF_INLINE Pair<Half> to_pair<Half>(float x, float y) {
    return __floats2half2_rn(x, y);  // one instruction
}
#endif

// Four values that lie side by side.
template <class T>
struct alignas(4 * sizeof(T)) Run {
    Pair<T> pair[2];

    SEGMIF_INLINE T get(int i) const { return i % 2 ? pair[i / 2].y : pair[i / 2].x; }
    SEGMIF_INLINE void set(int i, T value) { (i % 2 ? pair[i / 2].y : pair[i / 2].x) = value; }
};

// A word as long as a run: a compiler moves it by one instruction, the parts of a run by several.
template <class T>
struct WordOf {
#if defined(__CUDACC__)
    using type = uint4;
#else
    using type = Run<T>;
#endif
};
#if defined(__CUDACC__)
template <>
struct WordOf<Half> {
    using type = uint2;
};
#endif

// A run that begins at a multiple of its size, all of which exists.
template <class T>
SEGMIF_INLINE Run<T> read_run(const T* from) {
    using Word = typename WordOf<T>::type;
    const Word word = fetch(reinterpret_cast<const Word*>(from));
    Run<T> run;
    std::memcpy(&run, &word, sizeof run);
    return run;
}

template <class T>
SEGMIF_INLINE void write_run(T* to, const Run<T>& run) {
    using Word = typename WordOf<T>::type;
    Word word;
    std::memcpy(&word, &run, sizeof word);
    *reinterpret_cast<Word*>(to) = word;
}

// The first `count` values at `from`, zeros after them.
template <class T>
SEGMIF_INLINE Run<T> read_some(const T* from, int count) {
    Run<T> run;
    SEGMIF_UNROLL
    for (int i = 0; i < 4; ++i) run.set(i, i < count ? fetch(from + i) : from_float<T>(0));
    return run;
}

template <class T>
SEGMIF_INLINE void write_some(T* to, const Run<T>& run, int count) {
    SEGMIF_UNROLL
    for (int i = 0; i < 4; ++i) {
        if (i < count) to[i] = run.get(i);
    }
}

struct Warp {
    int number;  // in its block

    // Calls work(lane): each lane for itself.
    template <class Work>
    SEGMIF_INLINE void each(Work work) const {
#if defined(__CUDACC__)
        work(static_cast<int>(threadIdx.x) % LANES);
#else
        for (int lane = 0; lane < LANES; ++lane) work(lane);
#endif
    }
};

SEGMIF_INLINE Warp warp_of(Team team) { return {team.rank() / LANES}; }

// N values a lane. An index must be known while compiling, or they would not be registers.
template <class T, int N>
struct Registers {
#if defined(__CUDACC__)
    T own[N];
    SEGMIF_INLINE T& at(int, int i) { return own[i]; }
    SEGMIF_INLINE const T& at(int, int i) const { return own[i]; }
#else
    T of_lane[LANES][N];
    T& at(int lane, int i) { return of_lane[lane][i]; }
    const T& at(int lane, int i) const { return of_lane[lane][i]; }
#endif
};

template <class T>
struct A : Registers<Pair<T>, 4> {};
template <class T>
struct B : Registers<Pair<T>, 2> {};
struct D : Registers<float, 4> {};

// Each value becomes value(lane, i).
template <int N, class Value>
SEGMIF_INLINE void fill(Warp warp, Registers<float, N>& values, Value value) {
    warp.each([&](int lane) {
        SEGMIF_UNROLL
        for (int i = 0; i < N; ++i) values.at(lane, i) = value(lane, i);
    });
}

template <int N>
SEGMIF_INLINE void clear(Warp warp, Registers<float, N>& values) {
    fill(warp, values, [](int, int) { return 0.0f; });
}

#if defined(__CUDACC__)
SEGMIF_INLINE void multiply(Warp, D& d, const A<Half>& a, const B<Half>& b) { tensor_core(d.own, a.own, b.own); }

// d + a b without tensor cores: each lane asks the others for what it needs. It is no part of its callers, which would
// grow to tens of thousands of instructions.
__device__ __noinline__ D multiplied(D d, A<float> a, B<float> b) {
    constexpr unsigned ALL = 0xFFFFFFFFu;
    const int group = threadIdx.x % LANES / 4, place = threadIdx.x % 4;
    SEGMIF_UNROLL
    for (int k = 0; k < 16; ++k) {
        const int q = k / 8, holder = k % 8 / 2;
        float left[2], right[2];
        SEGMIF_UNROLL
        for (int i = 0; i < 2; ++i) {
            left[i] = __shfl_sync(ALL, k % 2 ? a.own[i + 2 * q].y : a.own[i + 2 * q].x, 4 * group + holder);
            right[i] = __shfl_sync(ALL, k % 2 ? b.own[q].y : b.own[q].x, 4 * (2 * place + i) + holder);
        }
        SEGMIF_UNROLL
        for (int i = 0; i < 4; ++i) d.own[i] += left[i / 2] * right[i % 2];
    }
    return d;
}

SEGMIF_INLINE void multiply(Warp, D& d, const A<float>& a, const B<float>& b) { d = multiplied(d, a, b); }
#else
template <class T>
void multiply(Warp warp, D& d, const A<T>& a, const B<T>& b) {
    float left[16][16], right[16][8];
    warp.each([&](int lane) {
        const int group = lane / 4, place = lane % 4;
        for (int i = 0; i < 4; ++i) {
            float* pair = left[group + i % 2 * 8] + i / 2 * 8 + 2 * place;
            pair[0] = to_float(a.at(lane, i).x), pair[1] = to_float(a.at(lane, i).y);
        }
        for (int q = 0; q < 2; ++q) {
            const int row = 8 * q + 2 * place;
            right[row][group] = to_float(b.at(lane, q).x), right[row + 1][group] = to_float(b.at(lane, q).y);
        }
    });
    warp.each([&](int lane) {
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int k = 0; k < 16; ++k) d.at(lane, i) += left[row][k] * right[k][column];
        }
    });
}
#endif

// Each value becomes the sum of those that the four lanes of a group hold.
template <int N>
SEGMIF_INLINE void add_group(Warp warp, Registers<float, N>& values) {
#if defined(__CUDACC__)
    SEGMIF_UNROLL
    for (int i = 0; i < N; ++i) {
        values.own[i] += __shfl_xor_sync(0xFFFFFFFFu, values.own[i], 1);
        values.own[i] += __shfl_xor_sync(0xFFFFFFFFu, values.own[i], 2);
    }
#else
    const Registers<float, N> before = values;
    warp.each([&](int lane) {
        const int first = lane / 4 * 4;
        for (int i = 0; i < N; ++i) {
            const float left = before.at(first, i) + before.at(first + 1, i);
            values.at(lane, i) = left + before.at(first + 2, i) + before.at(first + 3, i);
        }
    });
#endif
}

enum class Order { STRAIGHT, RUNS };

// The channel at a position: those of 16 are numbered straight, or so that place p has 4 p to 4 p + 3.
template <Order ORDER>
SEGMIF_INLINE int channel_at(int position) {
    if (ORDER == Order::STRAIGHT) return position;
    const int q = position % 16 / 8, place = position % 8 / 2;
    return position / 16 * 16 + 4 * place + 2 * q + position % 2;
}

constexpr int STRIP = 32;  // pixels that a warp works on at a time

// A map of one image, which begins at a multiple of a run's size if its channels or its pixels divide by 4.
template <class T>
struct Map {
    T* data;
    int pixels, channels;
    bool channels_last;  // a pixel's channels lie side by side, or a channel's pixels

    // Whether each run of a strip exists whole or not at all.
    SEGMIF_INLINE bool has_whole_runs() const { return (channels_last ? channels : pixels) % 4 == 0; }

    // Calls work(map) in one of two places, at each of which a compiler knows the layout.
    template <class Work>
    SEGMIF_INLINE void by_layout(Work work) const {
        if (channels_last) {
            work(Map{data, pixels, channels, true});
        } else {
            work(Map{data, pixels, channels, false});
        }
    }
};

// STRIP pixels x WIDE channels of a map: each lane has blocks of 4 pixels x 4 channels, neighbours in memory.
// As A: rows are the pixels of one half, row group + 8 h of half m being pixel 4 group + 2 m + h, and columns are the
// channels, by RUNS. As B, see `pixels`.
template <class T, int WIDE>
struct Strip {
    static constexpr int PARTS = WIDE / 16;
    A<T> half[2][PARTS];

    // From pixel `first` on; zeros where there is no channel or no pixel.
    SEGMIF_INLINE void load(Warp warp, Map<const T> map, int first) {
        if (map.has_whole_runs()) {
            map.by_layout([&](auto known) {
                const auto read = [](const T* from, int count) { return count > 0 ? read_run(from) : Run<T>{}; };
                load_by(warp, known, first, read);
            });
        } else {
            load_by(warp, map, first, [](const T* from, int count) { return read_some(from, count); });
        }
    }

    SEGMIF_INLINE void store(Warp warp, Map<T> map, int first) const {
        if (map.has_whole_runs()) {
            map.by_layout([&](auto known) {
                store_by(warp, known, first, [](T* to, const Run<T>& run, int count) {
                    if (count > 0) write_run(to, run);
                });
            });
        } else {
            store_by(warp, map, first, [](T* to, const Run<T>& run, int count) { write_some(to, run, count); });
        }
    }

    // The pixels of a half's rows group + 8 h as columns of B, their channels as its rows.
    SEGMIF_INLINE B<T> pixels(Warp warp, int m, int part, int h) const {
        B<T> b;
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int q = 0; q < 2; ++q) b.at(lane, q) = half[m][part].at(lane, h + 2 * q);
        });
        return b;
    }

private:
    template <class Read>
    SEGMIF_INLINE void load_by(Warp warp, Map<const T> map, int first, Read read) {
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int part = 0; part < PARTS; ++part) {
                Run<T> run[4];
                SEGMIF_UNROLL
                for (int i = 0; i < 4; ++i) {
                    const Line line(map, lane, part, i, first);
                    run[i] = read(map.data + line.start, line.count);
                }
                SEGMIF_UNROLL
                for (int i = 0; i < 8; ++i) {
                    const int pixel = i / 2, q = i % 2;
                    half[pixel / 2][part].at(lane, pixel % 2 + 2 * q) =
                        map.channels_last ? run[pixel].pair[q] : join(run[2 * q].get(pixel), run[2 * q + 1].get(pixel));
                }
            }
        });
    }

    template <class Write>
    SEGMIF_INLINE void store_by(Warp warp, Map<T> map, int first, Write write) const {
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int part = 0; part < PARTS; ++part) {
                Run<T> run[4];
                SEGMIF_UNROLL
                for (int i = 0; i < 8; ++i) {
                    const int pixel = i / 2, q = i % 2;
                    const Pair<T>& pair = half[pixel / 2][part].at(lane, pixel % 2 + 2 * q);
                    if (map.channels_last) {
                        run[pixel].pair[q] = pair;
                    } else {
                        run[2 * q].set(pixel, pair.x), run[2 * q + 1].set(pixel, pair.y);
                    }
                }
                SEGMIF_UNROLL
                for (int i = 0; i < 4; ++i) {
                    const Line line(map, lane, part, i, first);
                    write(map.data + line.start, run[i], line.count);
                }
            }
        });
    }

    // The i-th of the four runs of a lane's block: where it starts, how many of its values exist (none if below 1).
    struct Line {
        int start, count;

        template <class Value>
        SEGMIF_INLINE Line(const Map<Value>& map, int lane, int part, int i, int first) {
            const int pixel = first + lane / 4 * 4, channel = 16 * part + lane % 4 * 4;
            if (map.channels_last) {
                start = (pixel + i) * map.channels + channel;
                count = pixel + i < map.pixels ? map.channels - channel : 0;
            } else {
                start = (channel + i) * map.pixels + pixel;
                count = channel + i < map.channels ? map.pixels - pixel : 0;
            }
        }
    };
};

// A weight (WIDE outputs x WIDE inputs) in shared memory, in runs of two pairs that a lane needs side by side: as B,
// both q of 8 outputs (columns) and 16 inputs; as A, both h of 16 outputs (rows) and 8 inputs.
template <class T, int WIDE, bool AS_A = false>
struct Weight {
    static constexpr int PARTS = WIDE / 16, TILES = WIDE / 8, SIZE = TILES * PARTS * LANES;  // runs
    Run<T>* data;

    // From rows of `pitch` values; zeros beyond `channels`.
    template <Order OUTPUTS, Order INPUTS>
    SEGMIF_INLINE void load(Team team, const T* weight, int pitch, int channels) const {
        team.template each<SIZE>([&](int i) {
            const int lane = i % LANES, part = i / LANES % PARTS, tile = i / LANES / PARTS;
            Run<T> run;
            SEGMIF_UNROLL
            for (int k = 0; k < 4; ++k) {
                const int h = AS_A ? k / 2 : tile % 2, q = AS_A ? tile % 2 : k / 2;
                const int output = channel_at<OUTPUTS>(tile / 2 * 16 + 8 * h + lane / 4);
                const int input = channel_at<INPUTS>(16 * part + 8 * q + lane % 4 * 2 + k % 2);
                const bool exists = output < channels && input < channels;
                run.set(k, exists ? fetch(weight + output * pitch + input) : from_float<T>(0));
            }
            data[i] = run;
        });
    }

    // Outputs 8 tile to 8 tile + 7 as columns of B.
    SEGMIF_INLINE B<T> outputs(Warp warp, int tile, int part) const {
        B<T> b;
        warp.each([&](int lane) {
            const Run<T> run = data[(tile * PARTS + part) * LANES + lane];
            SEGMIF_UNROLL
            for (int q = 0; q < 2; ++q) b.at(lane, q) = run.pair[q];
        });
        return b;
    }

    // Outputs 16 row to 16 row + 15 as rows of A.
    SEGMIF_INLINE A<T> rows(Warp warp, int row, int part) const {
        A<T> a;
        warp.each([&](int lane) {
            SEGMIF_UNROLL
            for (int i = 0; i < 4; ++i) {
                a.at(lane, i) = data[((2 * row + i / 2) * PARTS + part) * LANES + lane].pair[i % 2];
            }
        });
        return a;
    }
};

}  // namespace segmif
