// From memory into the factors of products and back: strips of a map, and weights.
#pragma once

#include "warp.cuh"

namespace segmif {

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

    // From pixel `first` on; zeros beyond the channels and pixels.
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

    // The i-th of the four runs of a lane's block: its start, and how many of its values exist (none if below 1).
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

    // Sets one value of a weight that is read as B, its outputs numbered by RUNS and its inputs STRAIGHT.
    SEGMIF_INLINE void set(int output, int input, T value) const {
        const int position = position_by_runs(output), lane = position % 8 * 4 + input % 8 / 2;
        data[(position / 8 * PARTS + input / 16) * LANES + lane].set(input % 16 / 8 * 2 + input % 2, value);
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
