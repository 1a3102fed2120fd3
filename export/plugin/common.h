// What our plugins share: their form for TensorRT, the log, the attribute of a node.
#pragma once

#include <NvInferRuntime.h>

#include <cstdio>

namespace segmif {

using namespace nvinfer1;

constexpr char PLUGIN_VERSION[] = "1";
constexpr char PLUGIN_NAMESPACE[] = "segmif";

inline ILoggerFinder* logger_finder = nullptr;  // of the TensorRT that loaded this library

// Tells the reason of an error of the kernels, which TensorRT would not; gives the error.
inline int32_t told(const char* plugin, int error, const char* (*text)(int)) {
    if (!error) return 0;
    char words[256];
    std::snprintf(words, sizeof(words), "%s: %s", plugin, text(error));
    ILogger* logger = logger_finder ? logger_finder->findLogger() : nullptr;
    if (logger) {
        logger->log(ILogger::Severity::kERROR, words);
    } else {
        std::fprintf(stderr, "%s\n", words);
    }
    return error;
}

template <class Value>
constexpr PluginFieldType field_type = PluginFieldType::kFLOAT32;
template <>
constexpr PluginFieldType field_type<int32_t> = PluginFieldType::kINT32;

// The attribute of that name, or `otherwise`.
template <class Value>
Value field_of(const PluginFieldCollection* fields, const char* name, Value otherwise) {
    for (int i = 0; fields && i < fields->nbFields; ++i) {
        const PluginField& field = fields->fields[i];
        const char *ours = name, *theirs = field.name;
        while (*ours && *ours == *theirs) ++ours, ++theirs;
        const bool fits = *ours == *theirs && field.type == field_type<Value> && field.length == 1;
        if (fits) return *static_cast<const Value*>(field.data);
    }
    return otherwise;
}

// An IPluginV3 by what OWN says of a node:
//
//   NAME, INPUTS, OUTPUTS, LIKE    its name, its tensors, and which input each output has the shape of
//   Attribute, ATTRIBUTE, USUAL    its one attribute: type, name, and value if the node has none
//   Call, describe                 the kernels' description of a call, from its inputs and the attribute
//   workspace, prepare, run, text  the kernels' functions for it
//   takes                          whether they take tensor `place` in its format
template <class OWN>
class Plugin : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    using Value = typename OWN::Attribute;

    explicit Plugin(Value attribute) : attribute_(attribute) {
        field_ = PluginField{OWN::ATTRIBUTE, &attribute_, field_type<Value>, 1};
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

    IPluginV3* clone() noexcept override { return new Plugin(attribute_); }
    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }
    const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

    const char* getPluginName() const noexcept override { return OWN::NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return OWN::OUTPUTS; }

    // That of the first input.
    int32_t getOutputDataTypes(DataType* outputs, int32_t, const DataType* inputs, int32_t) const noexcept override {
        for (int i = 0; i < OWN::OUTPUTS; ++i) outputs[i] = inputs[0];
        return 0;
    }

    int32_t getOutputShapes(const DimsExprs* inputs, int32_t count, const DimsExprs*, int32_t, DimsExprs* outputs,
                            int32_t, IExprBuilder&) noexcept override {
        if (count != OWN::INPUTS) return -1;
        for (int i = 0; i < OWN::OUTPUTS; ++i) outputs[i] = inputs[OWN::LIKE[i]];
        return 0;
    }

    bool supportsFormatCombination(int32_t place, const DynamicPluginTensorDesc* tensors, int32_t,
                                   int32_t) noexcept override {
        return OWN::takes(place, tensors[place].desc, tensors[0].desc);
    }

    // TensorRT may capture the stream when it times the network, so the kernels are loaded before.
    int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        return prepared(greatest(inputs));
    }

    size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) const noexcept override {
        const typename OWN::Call call = greatest(inputs);
        return OWN::workspace(&call);
    }

    // At run time this comes before the first `enqueue` of a context, which may be captured.
    int32_t onShapeChange(const PluginTensorDesc* in, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
        return prepared(OWN::describe(in, attribute_));
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        const typename OWN::Call call = OWN::describe(in, attribute_);
        return told(OWN::NAME, OWN::run(&call, inputs, outputs, workspace, OWN::workspace(&call), stream), OWN::text);
    }

private:
    static int32_t prepared(const typename OWN::Call& call) { return told(OWN::NAME, OWN::prepare(&call), OWN::text); }

    // A call with the largest tensors of a profile.
    typename OWN::Call greatest(const DynamicPluginTensorDesc* inputs) const {
        PluginTensorDesc largest[OWN::INPUTS];
        for (int i = 0; i < OWN::INPUTS; ++i) largest[i] = inputs[i].desc, largest[i].dims = inputs[i].max;
        return OWN::describe(largest, attribute_);
    }

    Value attribute_;
    PluginField field_;
    PluginFieldCollection fields_;
};

template <class OWN>
class Creator final : public IPluginCreatorV3One {
public:
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* fields, TensorRTPhase) noexcept override {
        return new Plugin<OWN>(field_of(fields, OWN::ATTRIBUTE, OWN::USUAL));
    }

    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField field{OWN::ATTRIBUTE, nullptr, field_type<typename OWN::Attribute>, 1};
        static const PluginFieldCollection fields{1, &field};
        return &fields;
    }

    const char* getPluginName() const noexcept override { return OWN::NAME; }
    const char* getPluginVersion() const noexcept override { return PLUGIN_VERSION; }
    const char* getPluginNamespace() const noexcept override { return PLUGIN_NAMESPACE; }
};

}  // namespace segmif
