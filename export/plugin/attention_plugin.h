// The attention as TensorRT describes it.
#pragma once

#include "common.h"
#include "interactive_attention.h"

namespace segmif {

struct Attention {
    using Attribute = float;
    using Call = SegmifAttention;
    static constexpr char NAME[] = "InteractiveAttention", ATTRIBUTE[] = "epsilon";
    static constexpr float USUAL = 1e-5f;
    static constexpr int INPUTS = 12, OUTPUTS = 2;
    static constexpr int VISIBLE = 0, INFRARED = 1, SEMANTIC = 2, TEMPERATURE = 7;
    static constexpr int LIKE[] = {VISIBLE, INFRARED};

    static constexpr auto workspace = segmif_attention_workspace;
    static constexpr auto prepare = segmif_attention_prepare;
    static constexpr auto run = segmif_attention;
    static constexpr auto text = segmif_attention_error;

    // All maps are alike: FP32 or FP16 in LINEAR, or FP16 in HWC8 if the number of channels is a multiple of 8.
    static bool takes(int place, const PluginTensorDesc& tensor, const PluginTensorDesc& visible) {
        const bool map = place <= SEMANTIC || place >= INPUTS;
        if (place == VISIBLE) {
            const bool channels_last = tensor.format == TensorFormat::kHWC8 && tensor.type == DataType::kHALF &&
                                       tensor.dims.nbDims == 4 && tensor.dims.d[1] % 8 == 0;
            const bool known = tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
            return channels_last || (known && tensor.format == TensorFormat::kLINEAR);
        }
        if (map) return tensor.type == visible.type && tensor.format == visible.format;
        const DataType type = place == TEMPERATURE ? DataType::kFLOAT : visible.type;
        return tensor.type == type && tensor.format == TensorFormat::kLINEAR;
    }

    static Call describe(const PluginTensorDesc* inputs, float epsilon) {
        const PluginTensorDesc& visible = inputs[VISIBLE];
        const bool channels_last = visible.format == TensorFormat::kHWC8;
        Call call{};
        call.batch = static_cast<int32_t>(visible.dims.d[0]);
        call.channels = static_cast<int32_t>(visible.dims.d[1]);
        call.height = static_cast<int32_t>(visible.dims.d[2]);
        call.width = static_cast<int32_t>(visible.dims.d[3]);
        call.heads = static_cast<int32_t>(inputs[TEMPERATURE].dims.d[1]);
        call.type = visible.type == DataType::kHALF ? SEGMIF_HALF : SEGMIF_FLOAT;
        call.layout = channels_last ? SEGMIF_CHANNELS_LAST : SEGMIF_CHANNELS_FIRST;
        call.epsilon = epsilon;
        return call;
    }
};

}  // namespace segmif
