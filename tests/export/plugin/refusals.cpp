// Prints what TensorRT hears of a plugin of ours when it configures, reshapes and runs it with what it does not take.
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);
extern "C" void setLoggerFinder(ILoggerFinder* finder);

struct Logger final : ILogger {
    void log(Severity severity, const char* words) noexcept override {
        std::printf("%s: %s\n", severity == Severity::kERROR ? "error" : "note", words);
    }
};

struct Finder final : ILoggerFinder {
    Logger logger;
    ILogger* findLogger() override { return &logger; }
};

static void hear(IPluginV3* plugin, DynamicPluginTensorDesc* planned, PluginTensorDesc* given, int inputs, int outputs) {
    auto* build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
    auto* run = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    for (int i = 0; i < inputs; ++i) planned[i].desc = given[i], planned[i].max = given[i].dims;
    alignas(16) char memory[16];
    const void* from[12]{memory, memory, memory, memory};
    void* to[3]{memory, memory + 1, memory};  // where no tensor may begin
    std::printf("configure %d\n", build->configurePlugin(planned, inputs, planned, outputs));
    std::printf("reshape %d\n", run->onShapeChange(given, inputs, given, outputs));
    std::printf("enqueue %d\n", run->enqueue(given, given, from, to, memory, nullptr));
}

static void hear_attention(IPluginCreatorV3One* creator, int channels) {
    const Dims map{4, {1, channels, 2, 2}}, temperature{2, {3, 4}};
    DynamicPluginTensorDesc planned[12]{};
    PluginTensorDesc given[12]{};
    for (int i = 0; i < 12; ++i) given[i].dims = i == 7 ? temperature : map;
    hear(creator->createPlugin("attention", nullptr, TensorRTPhase::kRUNTIME), planned, given, 12, 2);
}

static void hear_pixels(IPluginCreatorV3One* creator, int height) {
    const int32_t stride = 2;
    const PluginField field{"label_stride", &stride, PluginFieldType::kINT32, 1};
    const PluginFieldCollection fields{1, &field};
    auto* plugin = creator->createPlugin("pixels", &fields, TensorRTPhase::kBUILD);
    auto* run = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    auto* kept = creator->createPlugin("pixels", run->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
    run = static_cast<IPluginV3OneRuntime*>(kept->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    std::printf("label_stride %d\n", *static_cast<const int32_t*>(run->getFieldsToSerialize()->fields[0].data));
    DynamicPluginTensorDesc planned[8]{};
    PluginTensorDesc given[8]{};
    given[0].dims = {4, {1, height, 32, 3}}, given[3].dims = {4, {1, 9, 8, 8}}, given[4].dims = {1, {1}};
    given[1].dims = given[2].dims = {3, {1, height, 32}};
    auto* build = static_cast<IPluginV3OneBuild*>(kept->getCapabilityInterface(PluginCapabilityType::kBUILD));
    const auto taken = [&](DataType frames, DataType tint) {
        for (int i = 0; i < 8; ++i) planned[i].desc.type = i == 4 ? tint : frames;
        bool all = true;
        for (int i = 0; i < 8; ++i) all = all && build->supportsFormatCombination(i, planned, 5, 3);
        return all;
    };
    const bool half = taken(DataType::kHALF, DataType::kFLOAT), tint = taken(DataType::kHALF, DataType::kHALF);
    std::printf("half %d, with its tint %d\n", half, tint);
    hear(kept, planned, given, 5, 3);
}

int main(int, char** arguments) {
    Finder finder;
    setLoggerFinder(&finder);
    int32_t count = 0;
    const int size = std::atoi(arguments[2]);
    IPluginCreatorInterface* const* creators = getCreators(count);
    for (int i = 0; i < count; ++i) {
        auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        const bool attention = !std::strcmp(creator->getPluginName(), "InteractiveAttention");
        if (std::strcmp(creator->getPluginName(), arguments[1])) continue;
        attention ? hear_attention(creator, size) : hear_pixels(creator, size);
    }
}
