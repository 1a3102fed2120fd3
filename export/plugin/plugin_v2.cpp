// The attention as an IPluginV2DynamicExt: TensorRT 8.5 and 8.6, JetPack 5.
#include <cstring>
#include <string>

#include "attention_desc.h"

namespace segmif {
namespace {

using namespace nvinfer1;

class AttentionPlugin final : public IPluginV2DynamicExt {
public:
    explicit AttentionPlugin(float epsilon) : epsilon_(epsilon) {}

    IPluginV2DynamicExt* clone() const noexcept override { return new AttentionPlugin(epsilon_); }

    DimsExprs getOutputDimensions(int32_t output, const DimsExprs* inputs, int32_t,
                                  IExprBuilder&) noexcept override {
        return inputs[output == 0 ? VISIBLE : INFRARED];
    }

    bool supportsFormatCombination(int32_t place, const PluginTensorDesc* tensors, int32_t, int32_t) noexcept override {
        return takes(place, tensors[place], tensors[VISIBLE]);
    }

    void configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                         int32_t) noexcept override {}

    size_t getWorkspaceSize(const PluginTensorDesc* inputs, int32_t, const PluginTensorDesc*,
                            int32_t) const noexcept override {
        const auto attention = describe(inputs[VISIBLE], inputs[VISIBLE].dims, inputs[TEMPERATURE], epsilon_);
        return segmif_attention_workspace(&attention);
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const auto attention = describe(in[VISIBLE], in[VISIBLE].dims, in[TEMPERATURE], epsilon_);
        const size_t bytes = segmif_attention_workspace(&attention);
        return segmif_attention(&attention, inputs, outputs, workspace, bytes, stream);
    }

    DataType getOutputDataType(int32_t, const DataType* inputs, int32_t) const noexcept override {
        return inputs[VISIBLE];
    }

    const char* getPluginType() const noexcept override { return PLUGIN_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    int32_t getNbOutputs() const noexcept override { return OUTPUTS; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    size_t getSerializationSize() const noexcept override { return sizeof epsilon_; }
    void serialize(void* buffer) const noexcept override { std::memcpy(buffer, &epsilon_, sizeof epsilon_); }
    void destroy() noexcept override { delete this; }
    void setPluginNamespace(const char*) noexcept override {}
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }

private:
    float epsilon_;
};

class AttentionCreator final : public IPluginCreator {
public:
    IPluginV2* createPlugin(const char*, const PluginFieldCollection* fields) noexcept override {
        return new AttentionPlugin(float_field(fields, "epsilon", 1e-5f));
    }

    IPluginV2* deserializePlugin(const char*, const void* data, size_t length) noexcept override {
        float epsilon;
        if (length != sizeof epsilon) return nullptr;
        std::memcpy(&epsilon, data, sizeof epsilon);
        return new AttentionPlugin(epsilon);
    }

    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField field{"epsilon", nullptr, PluginFieldType::kFLOAT32, 1};
        static const PluginFieldCollection fields{1, &field};
        return &fields;
    }

    const char* getPluginName() const noexcept override { return PLUGIN_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    void setPluginNamespace(const char*) noexcept override {}
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
};

}  // namespace
}  // namespace segmif

#define SEGMIF_EXPORT extern "C" __attribute__((visibility("default")))

// What TensorRT asks a plugin library for when it is loaded.
SEGMIF_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) {
    static segmif::AttentionCreator creator;
    static nvinfer1::IPluginCreator* const creators[] = {&creator};
    count = 1;
    return creators;
}

SEGMIF_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder*) {}

// For TensorRT 8.5, which does not ask.
SEGMIF_EXPORT bool segmif_register(nvinfer1::IPluginRegistry* registry) {
    int32_t count = 0;
    return registry->registerCreator(*getPluginCreators(count)[0], segmif::PLUGIN_NAMESPACE);
}
