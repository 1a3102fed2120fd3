// Pass 2 of pixels.cuh: fused levels, class ids and confidence.
#pragma once

#include "hue.cuh"

namespace segmif {

constexpr int LOGIT_STRIDE = 4;
constexpr int RUN = 4;  // pixels of a row that a thread makes at a time: those over one column of logits

// As in segmif/model/color.py.
constexpr float STRONGEST = 0.18f, RED = 0.299f, GREEN = 0.587f, BLUE = 0.114f, TIE_BREAK = 0.0005f;
constexpr float ORANGE_RED = 1.402f, ORANGE_GREEN = -0.714136f + 0.344136f, ORANGE_BLUE = -1.772f;

struct Color {
    float red, green, blue;
};

SEGMIF_INLINE float luma(const Color& c) { return RED * c.red + GREEN * c.green + BLUE * c.blue; }

SEGMIF_INLINE float whole_level(float value) { return rintf(fminf(fmaxf(value, 0.0f), 255.0f)); }

// How much more Cr `orange` leaves a channel room for: at least and at most.
SEGMIF_INLINE void narrow(float value, float orange, float& least, float& most) {
    const float full = orange > 0 ? 255 : 0;
    most = fminf(most, (full - value) / orange);
    least = fmaxf(least, (255 - full - value) / orange);
}

// `tinted` of segmif/model/color.py.
SEGMIF_INLINE Color tinted(const Color& c, float shift) {
    float least = -1e30f, most = 1e30f;
    narrow(c.red, ORANGE_RED, least, most);
    narrow(c.green, ORANGE_GREEN, least, most);
    narrow(c.blue, ORANGE_BLUE, least, most);
    shift = fmaxf(fminf(shift, most), least);
    Color changed{rintf(c.red + ORANGE_RED * shift), rintf(c.green + ORANGE_GREEN * shift),
                  rintf(c.blue + ORANGE_BLUE * shift)};
    const float wanted = rintf(luma(c) + TIE_BREAK);
    if (shift != 0) changed.green += rintf((wanted - luma(changed)) / GREEN);
    return {whole_level(changed.red), whole_level(changed.green), whole_level(changed.blue)};
}

// A run of pixels of the fused frame; `place` is its first pixel in the batch, (y, x) in the tile.
template <class T>
SEGMIF_INLINE void color_run(const PixelArguments<T>& a, const Surroundings& s, const Statistics& frame,
                             float strength, long place, int y, int x) {
    Run<T> colors[3], made[3];
    SEGMIF_UNROLL
    for (int k = 0; k < 3; ++k) colors[k] = read_run(a.visible + 3 * place + RUN * k);
    const Run<T> infrared = read_run(a.infrared + place), wanted = read_run(a.fused_luma + place);
    SEGMIF_UNROLL
    for (int k = 0; k < RUN; ++k) {
        const auto channel = [&](int i) { return to_float(colors[(3 * k + i) / RUN].get((3 * k + i) % RUN)); };
        const Color visible{channel(0), channel(1), channel(2)};
        const float change = 255 * to_float(wanted.get(k)) - luma(visible);
        const Color fused{whole_level(visible.red + change), whole_level(visible.green + change),
                          whole_level(visible.blue + change)};
        const float warm = warmth(s, frame, to_float(infrared.get(k)), y, x + k);
        const Color hued = tinted(fused, strength * luma(fused) * warm);
        made[3 * k / RUN].set(3 * k % RUN, from_float<T>(hued.red));
        made[(3 * k + 1) / RUN].set((3 * k + 1) % RUN, from_float<T>(hued.green));
        made[(3 * k + 2) / RUN].set((3 * k + 2) % RUN, from_float<T>(hued.blue));
    }
    SEGMIF_UNROLL
    for (int k = 0; k < 3; ++k) write_run(a.fused + 3 * place + RUN * k, made[k]);
}

// The class ids and confidences of a run of pixels at (row, column) of an image. STRIDE is that of the decision.
template <class T, int STRIDE>
SEGMIF_INLINE void label_run(const PixelArguments<T>& a, int image, int row, int column) {
    constexpr int FACTOR = LOGIT_STRIDE / STRIDE, COUNT = RUN / STRIDE;  // decisions a column of logits
    const int rows = a.height / LOGIT_STRIDE, columns = a.width / LOGIT_STRIDE, own = column / LOGIT_STRIDE;
    const float from_top = (row / STRIDE + 0.5f) / FACTOR - 0.5f;  // may be before the first row
    const int above = static_cast<int>(floorf(from_top));
    const float down = from_top - above;
    const int upper = within(above, rows) * columns, lower = within(above + 1, rows) * columns;
    const int left = within(own - 1, columns), right = within(own + 1, columns);
    const T* logits = a.logits + static_cast<long>(image) * a.classes * rows * columns;

    float best[COUNT], others[COUNT]{}, label[COUNT]{};
    SEGMIF_UNROLL
    for (float& score : best) score = -ENDLESS;
    for (int k = 0; k < a.classes; ++k, logits += static_cast<long>(rows) * columns) {
        const auto at = [&](int x) {
            return to_float(fetch(logits + upper + x)) * (1 - down) + to_float(fetch(logits + lower + x)) * down;
        };
        const float before = at(left), here = at(own), after = at(right);
        SEGMIF_UNROLL
        for (int i = 0; i < COUNT; ++i) {
            const float beside = (i + 0.5f) / FACTOR - 0.5f;
            const float score = beside < 0 ? before * -beside + here * (1 + beside) : here * (1 - beside) + after * beside;
            if (score > best[i]) {
                others[i] = others[i] * expf(best[i] - score) + 1;
                best[i] = score, label[i] = static_cast<float>(k);
            } else {
                others[i] += expf(score - best[i]);
            }
        }
    }
    Run<T> labels, confidence;
    SEGMIF_UNROLL
    for (int k = 0; k < RUN; ++k) {
        labels.set(k, from_float<T>(label[k / STRIDE]));
        confidence.set(k, from_float<T>(rintf(255 / others[k / STRIDE])));
    }
    const long place = image * a.pixels() + static_cast<long>(row) * a.width + column;
    write_run(a.labels + place, labels);
    write_run(a.confidence + place, confidence);
}

// Pass 2 for tile `block` of an image.
template <class T, int STRIDE>
SEGMIF_INLINE void color(Team team, const PixelArguments<T>& a, int block, int image, Surroundings& s) {
    const int across = (a.width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int top = block / across * TILE_ROWS, left = block % across * TILE_COLUMNS;
    constexpr int RUNS = TILE_COLUMNS / RUN;  // of a row
    const auto each_run = [&](auto work) {
        team.template each<TILE_ROWS * RUNS>([&](int i) {
            const int y = i / RUNS, x = i % RUNS * RUN;
            if (left + x < a.width) work(y, x);
        });
    };
    each_run([&](int y, int x) { label_run<T, STRIDE>(a, image, top + y, left + x); });
    wait_for_last();
    const Statistics frame = statistics(team, a, image, s);
    find_bounds(team, a, image, top / CELL, left / CELL, frame, s);
    const float strength = STRONGEST * fminf(fmaxf(a.tint[image], 0.0f), 1.0f);
    each_run([&](int y, int x) {
        const long place = image * a.pixels() + static_cast<long>(top + y) * a.width + left + x;
        color_run(a, s, frame, strength, place, y, x);
    });
}

}  // namespace segmif
