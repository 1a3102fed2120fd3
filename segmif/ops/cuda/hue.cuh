// What stands out in heat: `warmth` of segmif/model/color.py from what pass 1 counted.
#pragma once

#include "survey.cuh"

namespace segmif {

// As in segmif/model/color.py, in levels.
constexpr int REACH = 2;  // cells to either side of a window
constexpr float BESIDE = 1, OVERALL = 0.5f, COLDEST = -3, WARMEST = 4.5f, OUTLIER = 2;
constexpr float MIN_DEVIATION = 6, NO_DATA = 1.0f / 512, DARK = 8;

constexpr int TILE_ROWS = 32, TILE_COLUMNS = 64;                                       // pixels of a block in pass 2
constexpr int BOUND_ROWS = TILE_ROWS / CELL + 2, BOUND_COLUMNS = TILE_COLUMNS / CELL + 2;  // cells it interpolates
constexpr int FIRST_ROWS = BOUND_ROWS + 2 * REACH, FIRST_COLUMNS = BOUND_COLUMNS + 2 * REACH;
constexpr int RAW_ROWS = FIRST_ROWS + 2 * REACH, RAW_COLUMNS = FIRST_COLUMNS + 2 * REACH;
constexpr float ENDLESS = 1e30f;  // what a window has beyond the frame: nothing
constexpr int SUMS = 16;          // parts of a sum over the levels

// Shared memory of pass 2.
struct Surroundings {
    float counts[LEVELS];
    float parts[2 * SUMS];
    float raw[RAW_ROWS * RAW_COLUMNS];              // means of cells, from 5 cells before the tile
    float least[FIRST_ROWS * FIRST_COLUMNS];        // within the window around each, from 3 cells before it
    float greatest[FIRST_ROWS * FIRST_COLUMNS];
    float coldest[BOUND_ROWS * BOUND_COLUMNS];      // ordinary values, from 1 cell before it
    float warmest[BOUND_ROWS * BOUND_COLUMNS];
};

struct Statistics {
    float level, deviation;
};

// The sum of value(level) over all levels; every thread gets it. `parts` are SUMS of shared memory that nobody reads.
template <class Value>
SEGMIF_INLINE float sum_levels(Team team, float* parts, Value value) {
    team.each(SUMS, [&](int part) {
        float sum = 0;
        for (int k = 0; k < LEVELS / SUMS; ++k) sum += value(part + k * SUMS);
        parts[part] = sum;
    });
    team.sync();
    float sum = 0;
    for (int part = 0; part < SUMS; ++part) sum += parts[part];
    return sum;
}

// Mean and mean deviation of the pixels with data, values beyond OUTLIER deviations clipped.
template <class T>
SEGMIF_INLINE Statistics statistics(Team team, const PixelArguments<T>& a, int image, Surroundings& s) {
    const unsigned* counts = a.counts_of(image);
    team.each(LEVELS, [&](int level) {
        unsigned sum = 0;
        for (int k = 0; k < a.surveys; ++k) sum += counts[k * LEVELS + level];
        s.counts[level] = level ? static_cast<float>(sum) : 0;  // black has no data
    });
    team.sync();
    float *even = s.parts, *odd = s.parts + SUMS;
    const float pixels = fmaxf(sum_levels(team, even, [&](int v) { return s.counts[v]; }), 1.0f);
    float low = 0, high = 255;
    Statistics found{};
    for (int pass = 0; pass < 2; ++pass) {
        const auto clipped = [&](int v) { return fminf(fmaxf(static_cast<float>(v), low), high); };
        found.level = sum_levels(team, odd, [&](int v) { return s.counts[v] * clipped(v); }) / pixels;
        const auto away = [&](int v) { return s.counts[v] * fabsf(clipped(v) - found.level); };
        found.deviation = sum_levels(team, even, away) / pixels;
        low = found.level - OUTLIER * found.deviation, high = found.level + OUTLIER * found.deviation;
    }
    found.deviation = fmaxf(found.deviation, MIN_DEVIATION);
    return found;
}

SEGMIF_INLINE int within(int value, int count) { return value < 0 ? 0 : value < count ? value : count - 1; }

// The best of the window of `from` whose first cell is (row, column), by better(x, y).
template <class Better>
SEGMIF_INLINE float best_around(const float* from, int columns, int row, int column, float worst, Better better) {
    for (int k = 0; k <= 2 * REACH; ++k) {
        SEGMIF_UNROLL
        for (int l = 0; l <= 2 * REACH; ++l) worst = better(worst, from[(row + k) * columns + column + l]);
    }
    return worst;
}

// The ordinary values of the cells of a tile, whose first cell is (row, column), and around it.
template <class T>
SEGMIF_INLINE void find_bounds(Team team, const PixelArguments<T>& a, int image, int row, int column,
                               const Statistics& frame, Surroundings& s) {
    const int rows = a.cell_rows(), columns = a.cell_columns();
    const unsigned* cells = a.cells_of(image);
    const auto least = [](float x, float y) { return fminf(x, y); };
    const auto greatest = [](float x, float y) { return fmaxf(x, y); };
    const auto inside = [&](int y, int x) { return y >= 0 && y < rows && x >= 0 && x < columns; };
    team.each(RAW_ROWS * RAW_COLUMNS, [&](int i) {
        const int y = row - 1 - 2 * REACH + i / RAW_COLUMNS, x = column - 1 - 2 * REACH + i % RAW_COLUMNS;
        const unsigned cell = inside(y, x) ? cells[y * columns + x] : 0;
        const float data = static_cast<float>(cell / HAS_DATA) / (CELL * CELL);
        const float mean = static_cast<float>(cell % HAS_DATA) / (CELL * CELL);
        s.raw[i] = inside(y, x) ? (mean + NO_DATA * frame.level) / (data + NO_DATA) : ENDLESS;
    });
    team.sync();
    team.each(2 * FIRST_ROWS * FIRST_COLUMNS, [&](int i) {
        const int place = i / 2, k = place / FIRST_COLUMNS, l = place % FIRST_COLUMNS;
        const bool there = inside(row - 1 - REACH + k, column - 1 - REACH + l);
        if (i % 2) {
            const float found = best_around(s.raw, RAW_COLUMNS, k, l, ENDLESS, least);
            s.least[place] = there ? found : -ENDLESS;
        } else {
            const auto known = [](float x, float y) { return y < ENDLESS ? fmaxf(x, y) : x; };
            const float found = best_around(s.raw, RAW_COLUMNS, k, l, -ENDLESS, known);
            s.greatest[place] = there ? found : ENDLESS;
        }
    });
    team.sync();
    team.each(2 * BOUND_ROWS * BOUND_COLUMNS, [&](int i) {
        const int place = i / 2;
        // at an edge the last cell counts again
        const int k = within(row - 1 + place / BOUND_COLUMNS, rows) - row + 1;
        const int l = within(column - 1 + place % BOUND_COLUMNS, columns) - column + 1;
        const float overall = fmaxf(OVERALL * frame.deviation, MIN_DEVIATION);
        if (i % 2) {
            const float opened = best_around(s.least, FIRST_COLUMNS, k, l, -ENDLESS, greatest);
            s.warmest[place] = fmaxf(opened + BESIDE * frame.deviation, frame.level + overall);
        } else {
            const float closed = best_around(s.greatest, FIRST_COLUMNS, k, l, ENDLESS, least);
            s.coldest[place] = fminf(closed - BESIDE * frame.deviation, frame.level - overall);
        }
    });
    team.sync();
}

// A value between the four cells around pixel (y, x) of the tile.
SEGMIF_INLINE float between(const float* cells, int y, int x) {
    const float row = (y + 0.5f) / CELL + 0.5f, column = (x + 0.5f) / CELL + 0.5f;  // from one cell before the tile
    const int k = static_cast<int>(row), l = static_cast<int>(column);
    const float down = row - k, right = column - l;
    const float* from = cells + k * BOUND_COLUMNS + l;
    const float upper = from[0] * (1 - right) + from[1] * right;
    const float lower = from[BOUND_COLUMNS] * (1 - right) + from[BOUND_COLUMNS + 1] * right;
    return upper * (1 - down) + lower * down;
}

// How far infrared at pixel (y, x) of the tile stands out.
SEGMIF_INLINE float warmth(const Surroundings& s, const Statistics& frame, float infrared, int y, int x) {
    const float low = between(s.coldest, y, x), high = between(s.warmest, y, x);
    const float beyond = (infrared - fminf(fmaxf(infrared, low), high)) / frame.deviation;
    return fminf(fmaxf(beyond, COLDEST), WARMEST) * fminf(infrared / DARK, 1.0f);
}

}  // namespace segmif
