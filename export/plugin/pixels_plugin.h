// The last pixels as an IPluginV3. TensorRT gives no plugin bytes, so frames come and go as whole levels in FP16 or FP32.
#pragma once

#include "common.h"
#include "pixels.h"

namespace segmif {

constexpr char PIXELS_NAME[] = "Pixels";

class PixelsPlugin final : public IPluginV3,
                           public IPluginV3OneCore,
                           public IPluginV3OneBuild,
                           public IPluginV3OneRuntime {
public:
    explicit PixelsPlugin(int32_t label_stride) : label_stride_(label_stride) {
        field_ = PluginField{STRIDE, &label_stride_, PluginFieldType::kINT32, 1};
        fields_ = PluginFieldCollection{1, &field_};
    }

    static constexpr char STRIDE[] = "label_stride";

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override { return new PixelsPlugin(label_stride_); }

    const char* getPluginName() const noexcept override { return PIXELS_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return OUTPUTS; }

    int32_t getOutputDataTypes(DataType* outputs, int32_t, const DataType* inputs, int32_t) const noexcept override {
        outputs[0] = outputs[1] = outputs[2] = inputs[VISIBLE];
        return 0;
    }

    int32_t getOutputShapes(const DimsExprs* inputs, int32_t count, const DimsExprs*, int32_t, DimsExprs* outputs,
                            int32_t, IExprBuilder&) noexcept override {
        if (count != INPUTS) return -1;
        outputs[0] = inputs[VISIBLE];
        outputs[1] = outputs[2] = inputs[INFRARED];
        return 0;
    }

    bool supportsFormatCombination(int32_t place, const DynamicPluginTensorDesc* tensors, int32_t,
                                   int32_t) noexcept override {
        const PluginTensorDesc& tensor = tensors[place].desc;
        if (tensor.format != TensorFormat::kLINEAR) return false;
        if (place == TINT) return tensor.type == DataType::kFLOAT;
        if (place != VISIBLE) return tensor.type == tensors[VISIBLE].desc.type;
        return tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
    }

    // TensorRT may capture the stream when it times the network, so the kernels are loaded before.
    int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        return prepared(greatest(inputs));
    }

    size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) const noexcept override {
        const SegmifPixels pixels = greatest(inputs);
        return segmif_pixels_workspace(&pixels);
    }

    // At run time this comes before the first `enqueue` of a context, which may be captured.
    int32_t onShapeChange(const PluginTensorDesc* in, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
        return prepared(described(in[INFRARED], in[INFRARED].dims, in[LOGITS].dims));
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const SegmifPixels pixels = described(in[INFRARED], in[INFRARED].dims, in[LOGITS].dims);
        const size_t bytes = segmif_pixels_workspace(&pixels);
        return told(segmif_pixels(&pixels, inputs, outputs, workspace, bytes, stream));
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

private:
    static constexpr int INPUTS = 5, OUTPUTS = 3;
    static constexpr int VISIBLE = 0, INFRARED = 1, LOGITS = 3, TINT = 4;

    static int32_t told(int error) { return segmif::told(PIXELS_NAME, error, segmif_pixels_error); }

    static int32_t prepared(const SegmifPixels& pixels) { return told(segmif_pixels_prepare(&pixels)); }

    SegmifPixels greatest(const DynamicPluginTensorDesc* inputs) const {
        return described(inputs[INFRARED].desc, inputs[INFRARED].max, inputs[LOGITS].max);
    }

    SegmifPixels described(const PluginTensorDesc& infrared, const Dims& sizes, const Dims& logits) const {
        const auto size = [](int64_t count) { return static_cast<int32_t>(count); };
        const int32_t type = infrared.type == DataType::kHALF ? SEGMIF_HALF : SEGMIF_FLOAT;
        return {size(sizes.d[0]), size(sizes.d[1]), size(sizes.d[2]), size(logits.d[1]), label_stride_, type};
    }

    int32_t label_stride_;
    PluginField field_;
    PluginFieldCollection fields_;
};

class PixelsCreator final : public IPluginCreatorV3One {
public:
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* fields, TensorRTPhase) noexcept override {
        return new PixelsPlugin(field_of<int32_t>(fields, PixelsPlugin::STRIDE, PluginFieldType::kINT32, 1));
    }

    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField field{PixelsPlugin::STRIDE, nullptr, PluginFieldType::kINT32, 1};
        static const PluginFieldCollection fields{1, &field};
        return &fields;
    }

    const char* getPluginName() const noexcept override { return PIXELS_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
};

}  // namespace segmif
