// The attention as an IPluginV3: TensorRT 10 and 11, JetPack 6 and 7.
#include <cstdio>

#include "attention_desc.h"

namespace segmif {
namespace {

using namespace nvinfer1;

ILoggerFinder* logger_finder = nullptr;  // of the TensorRT that loaded this library

// Tells the reason of an error of the kernels, which TensorRT would not; gives the error.
int32_t told(int error) {
    if (!error) return 0;
    char words[256];
    std::snprintf(words, sizeof(words), "%s: %s", PLUGIN_NAME, segmif_attention_error(error));
    ILogger* logger = logger_finder ? logger_finder->findLogger() : nullptr;
    if (logger) {
        logger->log(ILogger::Severity::kERROR, words);
    } else {
        std::fprintf(stderr, "%s\n", words);
    }
    return error;
}

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

    const char* getPluginName() const noexcept override { return PLUGIN_NAME; }
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
        return told(segmif_attention_prepare(&attention));
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
        return told(segmif_attention_prepare(&attention));
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const auto attention = describe(in[VISIBLE], in[VISIBLE].dims, in[TEMPERATURE], epsilon_);
        const size_t bytes = segmif_attention_workspace(&attention);
        return told(segmif_attention(&attention, inputs, outputs, workspace, bytes, stream));
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
        return new AttentionPlugin(float_field(fields, "epsilon", 1e-5f));
    }

    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField field{"epsilon", nullptr, PluginFieldType::kFLOAT32, 1};
        static const PluginFieldCollection fields{1, &field};
        return &fields;
    }

    const char* getPluginName() const noexcept override { return PLUGIN_NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
};

}  // namespace
}  // namespace segmif

// TensorRT calls these when it loads a plugin library.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static segmif::AttentionCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
    segmif::logger_finder = finder;
}
