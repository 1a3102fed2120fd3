// Our nodes as plugins of TensorRT 10 and 11, JetPack 6 and 7.
#include "attention_plugin.h"
#include "pixels_plugin.h"

// TensorRT calls these when it loads a plugin library.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static segmif::Creator<segmif::Attention> attention;
    static segmif::Creator<segmif::Pixels> pixels;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&attention, &pixels};
    count = 2;
    return creators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
    segmif::logger_finder = finder;
}
