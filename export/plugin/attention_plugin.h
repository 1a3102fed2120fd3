// The attention as an IPluginV3.
#pragma once

#include "attention_desc.h"
#include "common.h"

namespace segmif {

inline int32_t told_attention(int error) { return told(ATTENTION_NAME, error, segmif_attention_error); }

class AttentionPlugin final : public IPluginV3,
                              public IPluginV3OneCore,
                              public IPluginV3OneBuild,
                              public IPluginV3OneRuntime {
public:
    explicit AttentionPlugin(float epsilon) : epsilon_(epsilon) {
        field_ = PluginField{"epsilon", &epsilon_, PluginFieldType::kFLOAT32, 1};
        fields_ = PluginFieldCollection{1, &field_};
    }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override { return new AttentionPlugin(epsilon_); }

    const char* getPluginName() const noexcept override { return ATTENTION_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return OUTPUTS; }

    int32_t getOutputDataTypes(DataType* outputs, int32_t, const DataType* inputs, int32_t) const noexcept override {
        outputs[0] = outputs[1] = inputs[VISIBLE];
        return 0;
    }

    int32_t getOutputShapes(const DimsExprs* inputs, int32_t count, const DimsExprs*, int32_t, DimsExprs* outputs,
                            int32_t, IExprBuilder&) noexcept override {
        if (count != INPUTS) return -1;
        outputs[0] = inputs[VISIBLE];
        outputs[1] = inputs[INFRARED];
        return 0;
    }

    bool supportsFormatCombination(int32_t place, const DynamicPluginTensorDesc* tensors, int32_t,
                                   int32_t) noexcept override {
        return takes(place, tensors[place].desc, tensors[VISIBLE].desc);
    }

    // TensorRT may capture the stream when it times the network, so the kernels are loaded before.
    int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        const auto attention =
            describe(inputs[VISIBLE].desc, inputs[VISIBLE].max, inputs[TEMPERATURE].desc, epsilon_);
        return told_attention(segmif_attention_prepare(&attention));
    }

    size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) const noexcept override {
        const auto attention =
            describe(inputs[VISIBLE].desc, inputs[VISIBLE].max, inputs[TEMPERATURE].desc, epsilon_);
        return segmif_attention_workspace(&attention);
    }

    // At run time this comes before the first `enqueue` of a context, which may be captured.
    int32_t onShapeChange(const PluginTensorDesc* in, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
        const auto attention = describe(in[VISIBLE], in[VISIBLE].dims, in[TEMPERATURE], epsilon_);
        return told_attention(segmif_attention_prepare(&attention));
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const auto attention = describe(in[VISIBLE], in[VISIBLE].dims, in[TEMPERATURE], epsilon_);
        const size_t bytes = segmif_attention_workspace(&attention);
        return told_attention(segmif_attention(&attention, inputs, outputs, workspace, bytes, stream));
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

private:
    float epsilon_;
    PluginField field_;
    PluginFieldCollection fields_;
};

class AttentionCreator final : public IPluginCreatorV3One {
public:
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* fields, TensorRTPhase) noexcept override {
        return new AttentionPlugin(field_of(fields, "epsilon", PluginFieldType::kFLOAT32, 1e-5f));
    }

    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField field{"epsilon", nullptr, PluginFieldType::kFLOAT32, 1};
        static const PluginFieldCollection fields{1, &field};
        return &fields;
    }

    const char* getPluginName() const noexcept override { return ATTENTION_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
};

}  // namespace segmif
