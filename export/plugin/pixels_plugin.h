// The last pixels as TensorRT describes them. It gives no plugin bytes, so frames come and go as whole levels in FP16 or
// FP32.
#pragma once

#include "common.h"
#include "pixels.h"

namespace segmif {

struct Pixels {
    using Attribute = int32_t;
    using Call = SegmifPixels;
    static constexpr char NAME[] = "Pixels", ATTRIBUTE[] = "label_stride";
    static constexpr int32_t USUAL = 1;
    static constexpr int INPUTS = 5, OUTPUTS = 3;
    static constexpr int VISIBLE = 0, INFRARED = 1, LOGITS = 3, TINT = 4;
    static constexpr int LIKE[] = {VISIBLE, INFRARED, INFRARED};

    static constexpr auto workspace = segmif_pixels_workspace;
    static constexpr auto prepare = segmif_pixels_prepare;
    static constexpr auto run = segmif_pixels;
    static constexpr auto text = segmif_pixels_error;

    // All but the tint are alike, in FP32 or FP16.
    static bool takes(int place, const PluginTensorDesc& tensor, const PluginTensorDesc& visible) {
        if (tensor.format != TensorFormat::kLINEAR) return false;
        if (place == TINT) return tensor.type == DataType::kFLOAT;
        if (place != VISIBLE) return tensor.type == visible.type;
        return tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
    }

    static Call describe(const PluginTensorDesc* inputs, int32_t label_stride) {
        const auto size = [](const Dims& dims, int i) { return static_cast<int32_t>(dims.d[i]); };
        const Dims &frame = inputs[INFRARED].dims, &logits = inputs[LOGITS].dims;
        const int32_t type = inputs[INFRARED].type == DataType::kHALF ? SEGMIF_HALF : SEGMIF_FLOAT;
        return {size(frame, 0), size(frame, 1), size(frame, 2), size(logits, 1), label_stride, type};
    }
};

}  // namespace segmif
