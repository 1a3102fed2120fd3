// Pass 1 of pixels.cuh: levels counted, cells summed.
#pragma once

#include "overlap.cuh"
#include "run.cuh"

namespace segmif {

constexpr int LEVELS = 256;
constexpr int CELL = 16;          // pixels of a side
constexpr int CELLS = 16;         // that a block sums at a time: 256 pixels of a row
constexpr int MOST_SURVEYS = 32;  // blocks an image in pass 1: each block of pass 2 adds up what they counted

template <class T>
struct PixelArguments {
    const T* visible;     // (B, H, W, 3) levels
    const T* infrared;    // (B, H, W) levels
    const T* fused_luma;  // (B, H, W) in [0, 1]
    const T* logits;      // (B, K, H/4, W/4)
    const float* tint;    // (B,)
    T* fused;             // (B, H, W, 3) levels
    T* labels;            // (B, H, W)
    T* confidence;        // (B, H, W)
    unsigned* counts;     // (B, surveys, LEVELS)
    unsigned* cells;      // (B, H/16, W/16): sum of the levels, and over them the number of pixels with data
    int height, width, classes, surveys;

    SEGMIF_INLINE int cell_rows() const { return height / CELL; }
    SEGMIF_INLINE int cell_columns() const { return width / CELL; }
    SEGMIF_INLINE long pixels() const { return static_cast<long>(height) * width; }
    SEGMIF_INLINE unsigned* cells_of(int image) const {
        return cells + static_cast<long>(image) * cell_rows() * cell_columns();
    }
    SEGMIF_INLINE unsigned* counts_of(int image) const {
        return counts + static_cast<long>(image) * surveys * LEVELS;
    }
};

constexpr unsigned HAS_DATA = 1u << 16;  // beside a cell's sum, which is at most 16 x 16 x 255

SEGMIF_INLINE int level_of(float value) {
    const float level = fminf(fmaxf(value, 0.0f), 255.0f);
    return static_cast<int>(level + 0.5f);
}

SEGMIF_INLINE void count(unsigned* counts, int level, unsigned times) {
#if defined(__CUDACC__)
    atomicAdd(counts + level, times);
#else
    counts[level] += times;
#endif
}

constexpr int survey_words = WARPS * LEVELS + CELL * CELLS;  // of shared memory

// Pass 1 for the units `block`, block + surveys, ... of an image: 16 cells side by side, or fewer at the end of a row.
template <class T>
SEGMIF_INLINE void survey(Team team, const PixelArguments<T>& a, int block, int image, unsigned* shared) {
    let_next_begin();
    unsigned *counts = shared, *sums = shared + WARPS * LEVELS;
    const T* infrared = a.infrared + image * a.pixels();
    const int columns = a.cell_columns(), units = (columns + CELLS - 1) / CELLS;
    team.each(WARPS * LEVELS, [&](int i) { counts[i] = 0; });
    team.sync();
    for (int unit = block; unit < units * a.cell_rows(); unit += a.surveys) {
        const int row = unit / units, first = unit % units * CELLS;
        team.each(CELL * CELLS, [&](int i) {  // row i / CELLS of a cell: its 16 pixels
            sums[i] = 0;
            if (first + i % CELLS >= columns) return;
            const T* from = infrared + static_cast<long>(row * CELL + i / CELLS) * a.width + (first + i % CELLS) * CELL;
            unsigned* own = counts + team.rank() / 32 * LEVELS;  // of the warp: fewer wait for one another
            Run<T> runs[CELL / 4];
            SEGMIF_UNROLL
            for (int k = 0; k < CELL / 4; ++k) runs[k] = read_run(from + 4 * k);
            unsigned sum = 0, times = 0;
            int before = 0;
            SEGMIF_UNROLL
            for (int k = 0; k < CELL; ++k) {  // equal neighbours are counted at once
                const int level = level_of(to_float(runs[k / 4].get(k % 4)));
                sum += static_cast<unsigned>(level) + (level > 0 ? HAS_DATA : 0);
                if (level != before && times) count(own, before, times), times = 0;
                before = level, ++times;
            }
            count(own, before, times);
            sums[i] = sum;
        });
        team.sync();
        team.each(CELLS, [&](int cell) {
            unsigned sum = 0;
            for (int k = 0; k < CELL; ++k) sum += sums[k * CELLS + cell];
            if (first + cell < columns) a.cells_of(image)[row * columns + first + cell] = sum;
        });
        team.sync();
    }
    team.each(LEVELS, [&](int level) {
        unsigned sum = 0;
        for (int warp = 0; warp < WARPS; ++warp) sum += counts[warp * LEVELS + level];
        a.counts_of(image)[block * LEVELS + level] = sum;
    });
}

}  // namespace segmif
