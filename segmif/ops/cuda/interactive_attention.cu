// Launches the kernels of interactive_attention.cuh on a GPU; built as C++ for the host, runs their blocks one by one.
#include "interactive_attention.h"

#include <cmath>
#if defined(__CUDACC__)
#include <atomic>
#else
#include <vector>
#endif

#include "interactive_attention.cuh"

namespace segmif {
namespace {

long divide_up(long value, long by) { return (value + by - 1) / by; }
size_t round_up(size_t bytes) { return (bytes + 255) / 256 * 256; }

// The scratch memory of a call: where its three arrays begin.
struct Workspace {
    size_t gram, matrix, end;  // bytes; the partial sums begin at 0

    Workspace(const SegmifAttention& s, int wide, int blocks) {
        const size_t square = static_cast<size_t>(wide) * wide * sizeof(float) * s.batch * SOURCES;
        gram = round_up(square * blocks);
        matrix = gram + round_up(square);
        end = matrix + round_up(static_cast<size_t>(wide) * 2 * wide * sizeof(float) * s.batch * STREAMS);
    }
};

int sum_blocks(const SegmifAttention& s) {
    const long tiles = divide_up(static_cast<long>(s.height) * s.width, SUM_PIXELS);
    return static_cast<int>(tiles < SUM_BLOCKS ? tiles : SUM_BLOCKS);
}

int padded(int channels) { return static_cast<int>(divide_up(channels, 16)) * 16; }

#if defined(__CUDACC__)
// Blocks that the registers of a multiprocessor shall hold at once, at least; its shared memory may hold fewer.
template <class T>
constexpr int RESIDENT = sizeof(T) == 2 ? 4 : 2;

template <class T, int WIDE, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) sum_tokens_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    sum_tokens<T, WIDE, CHANNELS_LAST>(Team{}, a, blockIdx.x, blockIdx.z, blockIdx.y, shared);
}

template <class T, int WIDE>
__global__ void __launch_bounds__(THREADS) add_sums_kernel(const __grid_constant__ Arguments<T> a, long count) {
    const long element = static_cast<long>(blockIdx.x) * THREADS + threadIdx.x;
    if (element < count) add_sums<T, WIDE>(a, element);
}

template <class T, int WIDE>
__global__ void __launch_bounds__(THREADS) mix_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    mix<T, WIDE>(Team{}, a, blockIdx.x, blockIdx.y, blockIdx.z, reinterpret_cast<float*>(shared));
}

template <class T, int WIDE, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) refine_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    refine<T, WIDE, CHANNELS_LAST>(Team{}, a, blockIdx.x, gridDim.x, blockIdx.y, blockIdx.z, shared);
}

// A block gets more than 48 KiB only after this was asked for, on every device anew.
template <class Kernel>
cudaError_t allow(Kernel kernel, int bytes) {
    if (bytes <= 48 * 1024) return cudaSuccess;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

constexpr int DEVICES = 64;  // whose room is remembered

// Blocks of pass 3 that the current GPU holds at once, as its registers and shared memory allow: asked once a device.
template <class T, int WIDE, bool CHANNELS_LAST>
cudaError_t refine_room(int& room) {
    static std::atomic<int> known[DEVICES];  // 0: not asked yet
    int device = 0, processors = 0, held = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error != cudaSuccess) return error;
    room = device < DEVICES ? known[device].load() : 0;
    if (room) return error;
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return error;
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&held, refine_kernel<T, WIDE, CHANNELS_LAST>, THREADS,
                                                          refine_memory<T, WIDE, CHANNELS_LAST>());
    room = processors * held;
    if (error == cudaSuccess && device < DEVICES) known[device] = room;
    return error;
}

// Blocks an image and stream in pass 3: as many as the GPU holds at once, for each loads the weights anew, and one more
// would wait until the others are done.
template <class T>
unsigned refine_blocks(const SegmifAttention& s, const Arguments<T>& a, int room) {
    const long tiles = divide_up(a.pixels, REFINE_PIXELS<T>), share = room / (static_cast<long>(STREAMS) * s.batch);
    return static_cast<unsigned>(tiles < share ? tiles : share < 1 ? 1 : share);
}

template <class T, int WIDE, bool CHANNELS_LAST>
int launch(const SegmifAttention& s, const Arguments<T>& a, cudaStream_t stream) {
    constexpr int SUM = sum_tokens_memory<T, WIDE, CHANNELS_LAST>(), REFINE = refine_memory<T, WIDE, CHANNELS_LAST>();
    cudaError_t error = allow(sum_tokens_kernel<T, WIDE, CHANNELS_LAST>, SUM);
    if (error == cudaSuccess) error = allow(refine_kernel<T, WIDE, CHANNELS_LAST>, REFINE);
    int room = 0;
    if (error == cudaSuccess) error = refine_room<T, WIDE, CHANNELS_LAST>(room);
    if (error != cudaSuccess) return error;
    const unsigned refining = refine_blocks(s, a, room);
    const long sums = static_cast<long>(s.batch) * SOURCES * WIDE * WIDE;
    const int mixing = mix_floats(a.channels, a.heads) * sizeof(float);
    sum_tokens_kernel<T, WIDE, CHANNELS_LAST><<<dim3(a.blocks, SOURCES, s.batch), THREADS, SUM, stream>>>(a);
    add_sums_kernel<T, WIDE><<<divide_up(sums, THREADS), THREADS, 0, stream>>>(a, sums);
    mix_kernel<T, WIDE><<<dim3(a.heads, SOURCES, s.batch), THREADS, mixing, stream>>>(a);
    refine_kernel<T, WIDE, CHANNELS_LAST><<<dim3(refining, STREAMS, s.batch), THREADS, REFINE, stream>>>(a);
    return cudaGetLastError();
}
#else
template <class T, int WIDE, bool CHANNELS_LAST>
int launch(const SegmifAttention& s, const Arguments<T>& a, void*) {
    std::vector<float> mixing(mix_floats(a.channels, a.heads));
    // vectors of this type begin at multiples of 16 bytes, as a run of a tile needs
    struct alignas(16) Chunk {
        char bytes[16];
    };
    std::vector<Chunk> shared((sum_tokens_memory<T, WIDE, CHANNELS_LAST>() + refine_memory<T, WIDE, CHANNELS_LAST>()) / 16);
    char* memory = shared.data()->bytes;
    const Team team;
    for (int image = 0; image < s.batch; ++image) {
        for (int source = 0; source < SOURCES; ++source) {
            for (int block = 0; block < a.blocks; ++block) {
                sum_tokens<T, WIDE, CHANNELS_LAST>(team, a, block, image, source, memory);
            }
        }
    }
    for (long i = 0; i < static_cast<long>(s.batch) * SOURCES * WIDE * WIDE; ++i) add_sums<T, WIDE>(a, i);
    for (int image = 0; image < s.batch; ++image) {
        for (int source = 0; source < SOURCES; ++source) {
            for (int head = 0; head < a.heads; ++head) mix<T, WIDE>(team, a, head, source, image, mixing.data());
        }
        for (int stream = 0; stream < STREAMS; ++stream) {
            refine<T, WIDE, CHANNELS_LAST>(team, a, 0, 1, stream, image, memory);
        }
    }
    return 0;
}
#endif

template <class T>
Arguments<T> arguments(const SegmifAttention& s, const void* const* in, void* const* out, char* workspace) {
    const Workspace space(s, padded(s.channels), sum_blocks(s));
    auto input = [&](int i) { return static_cast<const T*>(in[i]); };
    Arguments<T> a{};
    for (int i = 0; i < SOURCES; ++i) a.maps[i] = input(i);
    a.embed_weight = input(3), a.embed_bias = input(4), a.key_weight = input(5), a.value_weight = input(6);
    a.temperature = static_cast<const float*>(in[7]);
    a.out_weight = input(8), a.out_bias = input(9), a.norm_weight = input(10), a.norm_bias = input(11);
    for (int i = 0; i < STREAMS; ++i) a.refined[i] = static_cast<T*>(out[i]);
    a.partial = reinterpret_cast<float*>(workspace);
    a.gram = reinterpret_cast<float*>(workspace + space.gram);
    a.matrix = reinterpret_cast<T*>(workspace + space.matrix);
    a.channels = s.channels, a.heads = s.heads, a.pixels = s.height * s.width, a.blocks = sum_blocks(s);
    a.epsilon = s.epsilon;
    return a;
}

template <class T, bool CHANNELS_LAST, class Stream>
int launch_wide(const SegmifAttention& s, const Arguments<T>& a, Stream stream) {
    switch (padded(s.channels)) {
        case 16: return launch<T, 16, CHANNELS_LAST>(s, a, stream);
        case 32: return launch<T, 32, CHANNELS_LAST>(s, a, stream);
        case 48: return launch<T, 48, CHANNELS_LAST>(s, a, stream);
        default: return launch<T, 64, CHANNELS_LAST>(s, a, stream);
    }
}

template <class T, class Stream>
int launch_layout(const SegmifAttention& s, const Arguments<T>& a, Stream stream) {
    return s.layout == SEGMIF_CHANNELS_LAST ? launch_wide<T, true>(s, a, stream) : launch_wide<T, false>(s, a, stream);
}

int check(const SegmifAttention& s) {
    for (int size : {s.batch, s.channels, s.heads, s.height, s.width}) {
        if (size < 1) return SEGMIF_BAD_SIZE;
    }
    // positions inside an image are counted in int
    // and images and streams by the second and third number of a grid
    if (s.batch > 65535 || s.channels % s.heads || static_cast<int64_t>(s.height) * s.width * 64 > INT32_MAX) return SEGMIF_BAD_SIZE;
    if (s.channels > 64) return SEGMIF_TOO_WIDE;
    const bool type = s.type == SEGMIF_FLOAT || s.type == SEGMIF_HALF;
    const bool layout = s.layout == SEGMIF_CHANNELS_FIRST || s.layout == SEGMIF_CHANNELS_LAST;
    return type && layout ? 0 : SEGMIF_BAD_TYPE;
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace
}  // namespace segmif

extern "C" {

const char* segmif_attention_error(int error) {
    switch (error) {
        case 0: return "no error";
        case SEGMIF_BAD_SIZE:
            return "a size is below 1 or too large, or the channels do not divide into the heads";
        case SEGMIF_TOO_WIDE: return "more than 64 channels";
        case SEGMIF_BAD_TYPE: return "type or layout is not one of the known ones";
        case SEGMIF_SMALL_WORKSPACE: return "the workspace is smaller than segmif_attention_workspace says";
        case SEGMIF_UNALIGNED: return "a map or the workspace does not begin at a multiple of 16 bytes";
    }
#if defined(__CUDACC__)
    return cudaGetErrorString(static_cast<cudaError_t>(error));
#else
    return "unknown error";
#endif
}

size_t segmif_attention_workspace(const SegmifAttention* attention) {
    if (segmif::check(*attention)) return 0;
    return segmif::Workspace(*attention, segmif::padded(attention->channels), segmif::sum_blocks(*attention)).end;
}

int segmif_attention(const SegmifAttention* attention, const void* const inputs[12], void* const outputs[2],
                     void* workspace, size_t workspace_bytes, void* stream) {
    const SegmifAttention& s = *attention;
    if (const int error = segmif::check(s)) return error;
    if (workspace_bytes < segmif_attention_workspace(attention)) return SEGMIF_SMALL_WORKSPACE;
    bool fits = segmif::aligned(workspace);
    for (int i = 0; i < 3; ++i) fits = fits && segmif::aligned(inputs[i]);
    for (int i = 0; i < 2; ++i) fits = fits && segmif::aligned(outputs[i]);
    if (!fits) return SEGMIF_UNALIGNED;
    char* memory = static_cast<char*>(workspace);
#if defined(__CUDACC__)
    cudaStream_t queue = static_cast<cudaStream_t>(stream);
#else
    void* queue = stream;
#endif
    if (s.type == SEGMIF_HALF) {
        return segmif::launch_layout(s, segmif::arguments<segmif::Half>(s, inputs, outputs, memory), queue);
    }
    return segmif::launch_layout(s, segmif::arguments<float>(s, inputs, outputs, memory), queue);
}

}  // extern "C"
