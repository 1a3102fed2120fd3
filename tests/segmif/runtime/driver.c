// A CUDA driver without a GPU, as libcuda.so.1: what segmif/runtime/device.py calls, on the memory of the CPU.
//
// Strict where a real driver is: no call without a current context, no handle but one that is alive. `left` counts what
// was not given back. Work is done when it is enqueued, or recorded while its stream is being captured.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, NO_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600 };
enum { EVENT = 0xE7E7, STREAM = 0x5712, GRAPH = 0x6247, READY = 0x4EAD, COPIES = 8 };

typedef struct {
    void* to;
    const void* from;
    size_t size;
} Copy;
typedef struct {
    int kind, recording, count;
    Copy copies[COPIES];
} Handle;  // a stream, what was recorded from it, or that made ready

int left;  // memory, streams, graphs and retained contexts that were not given back
static _Thread_local int depth;  // of this thread's stack of contexts
static char context;

#define NEED_CONTEXT \
    if (!depth) return NO_CONTEXT

static int give(Handle** out, int kind, const Handle* from) {
    *out = calloc(1, sizeof(Handle));
    if (from) **out = *from;
    (*out)->kind = kind;
    ++left;
    return OK;
}
static int take(Handle* handle, int kind) {
    if (!handle || handle->kind != kind) return INVALID_HANDLE;
    handle->kind = 0;  // never freed: a second use is noticed
    --left;
    return OK;
}
static int enqueue(Handle* stream, Copy copy) {
    NEED_CONTEXT;
    if (!stream || stream->kind != STREAM) return INVALID_HANDLE;
    if (stream->recording) {
        if (stream->count == COPIES) return INVALID_VALUE;
        stream->copies[stream->count++] = copy;
    } else {
        memcpy(copy.to, copy.from, copy.size);
    }
    return OK;
}

int cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
int cuDriverGetVersion(int* version) { return *version = 12040, OK; }
int cuDeviceGetCount(int* count) { return *count = 1, OK; }
int cuDeviceGet(int* device, int index) { return *device = 7, index ? 101 : OK; }
int cuDeviceGetName(char* name, int size, int device) { return snprintf(name, size, "Paper GPU"), device == 7 ? OK : 101; }
int cuDeviceComputeCapability(int* major, int* minor, int device) { return *major = 8, *minor = 7, device == 7 ? OK : 101; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    const char* integrated = getenv("FAKE_INTEGRATED");
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated && *integrated == '1' : 0;
    return device == 7 ? OK : 101;
}
int cuDevicePrimaryCtxRetain(void** out, int device) { return *out = &context, ++left, device == 7 ? OK : 101; }
int cuDevicePrimaryCtxRelease_v2(int device) { return --left, device == 7 ? OK : 101; }
int cuCtxPushCurrent_v2(void* pushed) { return ++depth, pushed == &context ? OK : 201; }
int cuCtxPopCurrent_v2(void** out) {
    if (!depth) return NO_CONTEXT;
    *out = &context;
    return --depth, OK;
}
int cuCtxGetCurrent(void** out) { return *out = depth ? &context : NULL, OK; }
int stack_depth(void) { return depth; }

int cuStreamCreate(Handle** out, unsigned flags) {
    NEED_CONTEXT;
    return flags == 1 ? give(out, STREAM, NULL) : INVALID_VALUE;
}
int cuStreamDestroy_v2(Handle* stream) { return take(stream, STREAM); }
int cuStreamSynchronize(Handle* stream) {
    NEED_CONTEXT;
    return stream && stream->kind == STREAM && !stream->recording ? OK : INVALID_HANDLE;
}
int cuEventCreate(Handle** out, unsigned flags) {
    NEED_CONTEXT;
    return flags == 2 ? give(out, EVENT, NULL) : INVALID_VALUE;
}
int cuEventDestroy_v2(Handle* event) { return take(event, EVENT); }
int cuEventRecord(Handle* event, Handle* stream) {
    if (!event || event->kind != EVENT || !stream || stream->kind != STREAM) return INVALID_HANDLE;
    return event->recording = 2, OK;  // not reached at the first question
}
int cuEventQuery(Handle* event) {
    if (!event || event->kind != EVENT) return INVALID_HANDLE;
    return event->recording && --event->recording ? NOT_READY : OK;
}
int cuCtxSynchronize(void) {
    NEED_CONTEXT;
    return OK;
}
int cuMemHostAlloc(void** out, size_t size, unsigned flags) {
    NEED_CONTEXT;
    if (size > 1u << 28) return 2;  // out of memory
    ++left;
    return flags & ~2u ? INVALID_VALUE : (*out = malloc(size)) ? OK : 2;
}
int cuMemFreeHost(void* memory) {
    NEED_CONTEXT;
    return free(memory), --left, OK;
}
int cuMemHostGetDevicePointer_v2(uint64_t* out, void* memory, unsigned flags) {
    return *out = (uint64_t)memory, flags ? INVALID_VALUE : OK;
}
int cuMemAlloc_v2(uint64_t* out, size_t size) {
    NEED_CONTEXT;
    if (size > 1u << 30) return 2;  // out of memory
    ++left;
    return (*out = (uint64_t)malloc(size)) ? OK : 2;
}
int cuMemFree_v2(uint64_t memory) { return free((void*)memory), --left, OK; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, Handle* stream) {
    return enqueue(stream, (Copy){(void*)to, from, size});
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, Handle* stream) {
    return enqueue(stream, (Copy){to, (void*)from, size});
}

int cuStreamBeginCapture_v2(Handle* stream, int mode) {
    NEED_CONTEXT;
    if (!stream || stream->kind != STREAM || stream->recording) return INVALID_HANDLE;
    stream->recording = 1, stream->count = 0;
    return mode == 1 ? OK : INVALID_VALUE;
}
int cuStreamEndCapture(Handle* stream, Handle** out) {
    if (!stream->recording) return INVALID_HANDLE;
    stream->recording = 0;
    return give(out, GRAPH, stream);
}
int cuGraphInstantiateWithFlags(Handle** out, Handle* graph, unsigned long long flags) {
    return graph->kind == GRAPH && !flags ? give(out, READY, graph) : INVALID_VALUE;
}
int cuGraphLaunch(Handle* ready, Handle* stream) {
    NEED_CONTEXT;
    if (!ready || ready->kind != READY) return INVALID_HANDLE;
    for (int i = 0; i < ready->count; ++i) {
        const int error = enqueue(stream, ready->copies[i]);
        if (error) return error;
    }
    return OK;
}
int cuGraphDestroy(Handle* graph) { return take(graph, GRAPH); }
int cuGraphExecDestroy(Handle* ready) { return take(ready, READY); }

int cuGetErrorName(int error, const char** name) { return *name = error == 400 ? "INVALID_HANDLE" : "ANOTHER", OK; }
int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

// Newest form first, as a driver gives it.
int cuGetProcAddress_v2(const char* name, void** out, int version, uint64_t flags, int* status) {
    char newer[128];
    (void)version, (void)flags;
    void* self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    snprintf(newer, sizeof newer, "%s_v2", name);
    *out = dlsym(self, newer);
    if (!*out) *out = dlsym(self, name);
    if (status) *status = *out ? 0 : 1;
    return *out ? OK : NOT_FOUND;
}
int cuGetProcAddress(const char* name, void** out, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, out, version, flags, NULL);
}
