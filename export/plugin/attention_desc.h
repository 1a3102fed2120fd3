// TensorRT's description of a node's tensors, translated for the kernels.
#pragma once

#include <NvInferRuntime.h>

#include "interactive_attention.h"

namespace segmif {

constexpr char ATTENTION_NAME[] = "InteractiveAttention";
constexpr int INPUTS = 12, OUTPUTS = 2;
constexpr int VISIBLE = 0, INFRARED = 1, SEMANTIC = 2, TEMPERATURE = 7;

inline bool is_map(int place) { return place <= SEMANTIC || place >= INPUTS; }

// Whether the kernels take tensor `place` in this format, given the format of the first map. All maps are alike: FP32
// or FP16 in LINEAR, or FP16 in HWC8 if the number of channels is a multiple of 8.
inline bool takes(int place, const nvinfer1::PluginTensorDesc& tensor, const nvinfer1::PluginTensorDesc& visible) {
    using nvinfer1::DataType;
    using nvinfer1::TensorFormat;
    if (place == VISIBLE) {
        const bool channels_last = tensor.format == TensorFormat::kHWC8 && tensor.type == DataType::kHALF &&
                                   tensor.dims.nbDims == 4 && tensor.dims.d[1] % 8 == 0;
        const bool known = tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
        return channels_last || (known && tensor.format == TensorFormat::kLINEAR);
    }
    if (is_map(place)) return tensor.type == visible.type && tensor.format == visible.format;
    const DataType type = place == TEMPERATURE ? DataType::kFLOAT : visible.type;
    return tensor.type == type && tensor.format == TensorFormat::kLINEAR;
}

inline SegmifAttention describe(const nvinfer1::PluginTensorDesc& visible, const nvinfer1::Dims& sizes,
                                const nvinfer1::PluginTensorDesc& temperature, float epsilon) {
    const bool channels_last = visible.format == nvinfer1::TensorFormat::kHWC8;
    SegmifAttention attention{};
    attention.batch = static_cast<int32_t>(sizes.d[0]);
    attention.channels = static_cast<int32_t>(sizes.d[1]);
    attention.height = static_cast<int32_t>(sizes.d[2]);
    attention.width = static_cast<int32_t>(sizes.d[3]);
    attention.heads = static_cast<int32_t>(temperature.dims.d[1]);
    attention.type = visible.type == nvinfer1::DataType::kHALF ? SEGMIF_HALF : SEGMIF_FLOAT;
    attention.layout = channels_last ? SEGMIF_CHANNELS_LAST : SEGMIF_CHANNELS_FIRST;
    attention.epsilon = epsilon;
    return attention;
}

}  // namespace segmif
