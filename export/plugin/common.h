// What our plugins share: their namespace, the log, the attributes of a node.
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

// The attribute of that name and type, or `otherwise`.
template <class Value>
Value field_of(const PluginFieldCollection* fields, const char* name, PluginFieldType type, Value otherwise) {
    for (int i = 0; fields && i < fields->nbFields; ++i) {
        const PluginField& field = fields->fields[i];
        const char *ours = name, *theirs = field.name;
        while (*ours && *ours == *theirs) ++ours, ++theirs;
        if (*ours == *theirs && field.type == type && field.length == 1) return *static_cast<const Value*>(field.data);
    }
    return otherwise;
}

}  // namespace segmif
