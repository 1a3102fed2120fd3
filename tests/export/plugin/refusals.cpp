// Prints what TensorRT hears of our plugin when it configures, reshapes and runs it with maps that it does not take.
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>

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

int main(int, char** arguments) {
    Finder finder;
    setLoggerFinder(&finder);
    int32_t count = 0;
    auto* creator = static_cast<IPluginCreatorV3One*>(*getCreators(count));
    auto* plugin = creator->createPlugin("attention", nullptr, TensorRTPhase::kRUNTIME);
    auto* build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
    auto* run = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));

    const Dims map{4, {1, std::atoi(arguments[1]), 2, 2}}, temperature{2, {3, 4}};
    DynamicPluginTensorDesc planned[12]{};
    PluginTensorDesc given[12]{};
    for (int i = 0; i < 12; ++i) {
        given[i].dims = i == 7 ? temperature : map;
        planned[i].desc = given[i], planned[i].max = given[i].dims;
    }
    alignas(16) char memory[16];
    const void* inputs[12]{memory, memory, memory};
    void* outputs[2]{memory, memory + 1};  // where no map may begin
    std::printf("configure %d\n", build->configurePlugin(planned, 12, planned, 2));
    std::printf("reshape %d\n", run->onShapeChange(given, 12, given, 2));
    std::printf("enqueue %d\n", run->enqueue(given, given, inputs, outputs, memory, nullptr));
}
