// What our plugin uses of TensorRT's headers: the shape of the interface only, so that its own code runs without TensorRT.
// The order of virtual functions is not TensorRT's: nothing built with it can be loaded by TensorRT.
#pragma once

#include <cstddef>
#include <cstdint>

using cudaStream_t = void*;

namespace nvinfer1 {

enum class DataType : int32_t { kFLOAT, kHALF };
enum class TensorFormat : int32_t { kLINEAR, kHWC8 };
enum class TensorRTPhase : int32_t { kBUILD, kRUNTIME };
enum class PluginCapabilityType : int32_t { kCORE, kBUILD, kRUNTIME };
enum class PluginFieldType : int32_t { kFLOAT32, kINT32 };

struct Dims {
    int32_t nbDims;
    int64_t d[8];
};
struct PluginTensorDesc {
    Dims dims;
    DataType type;
    TensorFormat format;
};
struct DynamicPluginTensorDesc {
    PluginTensorDesc desc;
    Dims min, max;
};
struct DimsExprs {};
class IExprBuilder {};
class IPluginResourceContext {};

struct PluginField {
    const char* name = nullptr;
    const void* data = nullptr;
    PluginFieldType type = PluginFieldType::kFLOAT32;
    int32_t length = 0;
};
struct PluginFieldCollection {
    int32_t nbFields;
    const PluginField* fields;
};

class ILogger {
public:
    enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, const char* words) noexcept = 0;
    virtual ~ILogger() = default;
};
class ILoggerFinder {
public:
    virtual ILogger* findLogger() = 0;
    virtual ~ILoggerFinder() = default;
};

class IPluginCapability {
public:
    virtual ~IPluginCapability() = default;
};
class IPluginV3 {
public:
    virtual IPluginCapability* getCapabilityInterface(PluginCapabilityType) noexcept = 0;
    virtual IPluginV3* clone() noexcept = 0;
    virtual ~IPluginV3() = default;
};
class IPluginV3OneCore : public IPluginCapability {
public:
    virtual const char* getPluginName() const noexcept = 0;
    virtual const char* getPluginVersion() const noexcept = 0;
    virtual const char* getPluginNamespace() const noexcept = 0;
};
class IPluginV3OneBuild : public IPluginCapability {
public:
    virtual int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                                    int32_t) noexcept = 0;
    virtual int32_t getOutputDataTypes(DataType*, int32_t, const DataType*, int32_t) const noexcept = 0;
    virtual int32_t getOutputShapes(const DimsExprs*, int32_t, const DimsExprs*, int32_t, DimsExprs*, int32_t,
                                    IExprBuilder&) noexcept = 0;
    virtual bool supportsFormatCombination(int32_t, const DynamicPluginTensorDesc*, int32_t, int32_t) noexcept = 0;
    virtual int32_t getNbOutputs() const noexcept = 0;
    virtual size_t getWorkspaceSize(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                                    int32_t) const noexcept = 0;
};
class IPluginV3OneRuntime : public IPluginCapability {
public:
    virtual int32_t onShapeChange(const PluginTensorDesc*, int32_t, const PluginTensorDesc*, int32_t) noexcept = 0;
    virtual int32_t enqueue(const PluginTensorDesc*, const PluginTensorDesc*, const void* const*, void* const*, void*,
                            cudaStream_t) noexcept = 0;
    virtual IPluginV3* attachToContext(IPluginResourceContext*) noexcept = 0;
    virtual const PluginFieldCollection* getFieldsToSerialize() noexcept = 0;
};
class IPluginCreatorInterface {
public:
    virtual ~IPluginCreatorInterface() = default;
};
class IPluginCreatorV3One : public IPluginCreatorInterface {
public:
    virtual IPluginV3* createPlugin(const char*, const PluginFieldCollection*, TensorRTPhase) noexcept = 0;
    virtual const PluginFieldCollection* getFieldNames() noexcept = 0;
    virtual const char* getPluginName() const noexcept = 0;
    virtual const char* getPluginVersion() const noexcept = 0;
    virtual const char* getPluginNamespace() const noexcept = 0;
};

}  // namespace nvinfer1
