// Launches the kernels of interactive_attention.cuh on a GPU; built as C++ for the host, runs their blocks one by one.
#include "interactive_attention.h"

#include <algorithm>
#include <cmath>
#if !defined(__CUDACC__)
#include <vector>
#endif

#include "host.cuh"
#include "interactive_attention.cuh"

namespace segmif {
namespace {

// Block (head, source) of an image in pass 2; those of one source more share the packing.
template <class T, int WIDE>
SEGMIF_INLINE void mix_or_pack(Team team, const Arguments<T>& a, int head, int source, int image, float* shared) {
    let_next_begin();
    if (source < SOURCES) return mix<T, WIDE>(team, a, head, source, image, shared);
    const Packed<T, WIDE> packed{a.packed + static_cast<long>(image) * Packed<T, WIDE>::IMAGE};
    for (int part = head; part <= STREAMS; part += a.heads) pack<T, WIDE>(team, a, packed, part);
}

// What a call needs to know of a GPU.
struct Found {
    int sum, refine;  // blocks of passes 1 and 3 that it holds at once
    int overlaps;     // whether a kernel may begin before the one in front ends
};

#if defined(__CUDACC__)
template <class T, int WIDE>
__global__ void __launch_bounds__(THREADS) sum_tokens_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    sum_tokens<T, WIDE>(Team{}, a, blockIdx.x, blockIdx.z, blockIdx.y, shared);
}

// Blocks of pass 2 that a multiprocessor must hold; 0: the compiler's choice. For Blackwell, nvcc 13.0 chooses so many
// that values leave the registers. Three are as many as before Blackwell with 48 channels.
template <int WIDE>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int mixers = WIDE >= 48 ? 3 : 0;
#else
constexpr int mixers = 0;
#endif

template <class T, int WIDE>
__global__ void __launch_bounds__(THREADS, mixers<WIDE>) mix_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    mix_or_pack<T, WIDE>(Team{}, a, blockIdx.x, blockIdx.y, blockIdx.z, reinterpret_cast<float*>(shared));
}

template <class T, int WIDE>
__global__ void __launch_bounds__(THREADS) refine_kernel(const __grid_constant__ Arguments<T> a) {
    extern __shared__ __align__(128) char shared[];
    refine<T, WIDE>(Team{}, a, blockIdx.x, gridDim.x, blockIdx.y, shared);
}

// A block gets more than 48 KiB only after this call, once per context of a device.
template <class Kernel>
int allow(Kernel kernel, int bytes) {
    if (bytes <= 48 * 1024) return cudaSuccess;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

// Blocks of a pass that the current GPU holds at once, by its registers and shared memory; found once a device.
template <class T, int WIDE, int PASS, class Kernel>
int ask_room(Kernel kernel, int shared_bytes, int& room) {
    static std::atomic<int> known[DEVICES];
    if (const int error = allow(kernel, shared_bytes)) return error;
    return ask_once(known, room, [&](int device, int& found) {
        int processors = 0, held = 0;
        if (const int error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) return error;
        const int error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&held, kernel, THREADS, shared_bytes);
        found = processors * held;
        return error;
    });
}

template <class T, int WIDE>
int ask(Found& found) {
    static std::atomic<int> known[DEVICES];
    const auto overlap = [](int, int& answer) { return ask_overlap(refine_kernel<T, WIDE>, answer); };
    if (const int error = ask_once(known, found.overlaps, overlap)) return error;
    constexpr int SUM = sum_tokens_memory<T, WIDE>(), REFINE = refine_memory<T, WIDE>();
    const int error = ask_room<T, WIDE, 1>(sum_tokens_kernel<T, WIDE>, SUM, found.sum);
    return error ? error : ask_room<T, WIDE, 3>(refine_kernel<T, WIDE>, REFINE, found.refine);
}

template <class T, int WIDE>
int load_all() {
    for (const int error : {load(sum_tokens_kernel<T, WIDE>), load(mix_kernel<T, WIDE>),
                            load(refine_kernel<T, WIDE>)}) {
        if (error) return error;
    }
    return 0;
}

template <class T, int WIDE>
int launch(const SegmifAttention& s, const Arguments<T>& a, int refining, bool overlaps, void* queue) {
    forget(0);  // what another library left
    cudaStream_t stream = static_cast<cudaStream_t>(queue);
    constexpr int SUM = sum_tokens_memory<T, WIDE>(), REFINE = refine_memory<T, WIDE>();
    const int mixing = mix_floats<WIDE>(a.channels, a.heads) * sizeof(float);
    sum_tokens_kernel<T, WIDE><<<dim3(a.blocks, SOURCES, s.batch), THREADS, SUM, stream>>>(a);
    launch_behind(overlaps, mix_kernel<T, WIDE>, dim3(a.heads, SOURCES + 1, s.batch), mixing, stream, a);
    launch_behind(overlaps, refine_kernel<T, WIDE>, dim3(refining, s.batch), REFINE, stream, a);
    return cudaGetLastError();
}
#else
template <class T, int WIDE>
int load_all() {
    return 0;
}

template <class T, int WIDE>
int ask(Found& found) {
    found = {264, 1, 0};  // blocks share a sum, as on a GPU
    return 0;
}

template <class T, int WIDE>
int launch(const SegmifAttention& s, const Arguments<T>& a, int refining, bool, void*) {
    std::vector<float> mixing(mix_floats<WIDE>(a.channels, a.heads));
    // vectors of this type begin at multiples of 16 bytes, as a run needs
    std::vector<Chunk> shared((sum_tokens_memory<T, WIDE>() + refine_memory<T, WIDE>()) / 16);
    char* memory = shared.data()->bytes;
    const Team team;
    for (int image = 0; image < s.batch; ++image) {
        for (int source = 0; source < SOURCES; ++source) {
            for (int block = 0; block < a.blocks; ++block) sum_tokens<T, WIDE>(team, a, block, image, source, memory);
        }
    }
    for (int image = 0; image < s.batch; ++image) {
        for (int source = 0; source <= SOURCES; ++source) {
            for (int head = 0; head < a.heads; ++head) mix_or_pack<T, WIDE>(team, a, head, source, image, mixing.data());
        }
        for (int block = 0; block < refining; ++block) refine<T, WIDE>(team, a, block, refining, image, memory);
    }
    return 0;
}
#endif

#if defined(__CUDACC__)
constexpr int SUMS = (2 << 20) / THREADS * 256;  // bytes, of as many warps
#else
constexpr int SUMS = 2 << 20;
#endif

// What a call needs that depends on the type of its maps and on their channels.
template <class T, int WIDE>
class Call {
public:
    explicit Call(const SegmifAttention& attention) : s(attention) {
        // A batch larger than that number of blocks has one block an image and source; a smaller batch has no more.
        const size_t images = s.batch, sums = std::max<size_t>(MOST_SUMS, SOURCES * images);
        packed_ = round_up(sums * half_gram<WIDE> * sizeof(float));
        end_ = packed_ + round_up(images * Packed<T, WIDE>::IMAGE);
    }

    size_t workspace() const { return end_; }

    int prepare() const {
        Found found{};
        const int error = load_all<T, WIDE>();
        return forget(error ? error : ask<T, WIDE>(found));
    }

    int run(const void* const* in, void* const* out, char* workspace, void* stream) const {
        Found found{};
        if (const int error = ask<T, WIDE>(found)) return forget(error);
        const auto input = [&](int i) { return static_cast<const T*>(in[i]); };
        Arguments<T> a{};
        for (int i = 0; i < SOURCES; ++i) a.maps[i] = input(i);
        a.embed_weight = input(3), a.embed_bias = input(4), a.key_weight = input(5), a.value_weight = input(6);
        a.temperature = static_cast<const float*>(in[7]);
        a.out_weight = input(8), a.out_bias = input(9), a.norm_weight = input(10), a.norm_bias = input(11);
        for (int i = 0; i < STREAMS; ++i) a.refined[i] = static_cast<T*>(out[i]);
        a.partial = reinterpret_cast<float*>(workspace);
        a.packed = workspace + packed_;
        a.channels = s.channels, a.heads = s.heads, a.pixels = s.height * s.width;
        a.blocks = share(std::min(found.sum, MOST_SUMS), SOURCES);
        a.channels_last = s.layout == SEGMIF_CHANNELS_LAST;
        a.epsilon = s.epsilon;
        return launch<T, WIDE>(s, a, share(found.refine, 1), found.overlaps, stream);
    }

private:
    // Blocks an image and map: as many as the GPU holds at once. Each loads the weights, and one more would wait for
    // the others.
    int share(int room, int maps) const {
        const long most = divide_up(static_cast<long>(s.height) * s.width, STRIP * WARPS);
        const long own = room / (static_cast<long>(maps) * s.batch);
        return static_cast<int>(most < own ? most : own < 1 ? 1 : own);
    }

    // Blocks that sum at a time: 2 MiB of sums (of blocks with 256 threads), more than today's GPUs hold. It does not
    // depend on the GPU, as TensorRT may plan on another one and does not report the size that it planned.
    static constexpr int MOST_SUMS = SUMS / (half_gram<WIDE> * static_cast<int>(sizeof(float)));

    const SegmifAttention& s;
    size_t packed_, end_;  // bytes of the workspace before each; the partial sums come first
};

template <class T, class Work>
auto with_width(const SegmifAttention& s, Work work) {
    switch (divide_up(s.channels, 16)) {
        case 1: return work(Call<T, 16>(s));
        case 2: return work(Call<T, 32>(s));
        case 3: return work(Call<T, 48>(s));
        default: return work(Call<T, 64>(s));
    }
}

// work(call) for arguments that `check` accepted.
template <class Work>
auto with_call(const SegmifAttention& s, Work work) {
    return s.type == SEGMIF_HALF ? with_width<Half>(s, work) : with_width<float>(s, work);
}

int check(const SegmifAttention& s) {
    for (int size : {s.batch, s.channels, s.heads, s.height, s.width}) {
        if (size < 1) return SEGMIF_BAD_SIZE;
    }
    // positions inside an image are counted in int, images by the second or third number of a grid
    const int64_t pixels = static_cast<int64_t>(s.height) * s.width + STRIP;
    const bool countable = s.batch <= 65535 && pixels * 64 <= INT32_MAX;
    if (!countable || s.channels % s.heads) return SEGMIF_BAD_SIZE;
    if (s.channels > 64) return SEGMIF_TOO_WIDE;
    const bool type = s.type == SEGMIF_FLOAT || s.type == SEGMIF_HALF;
    const bool layout = s.layout == SEGMIF_CHANNELS_FIRST || s.layout == SEGMIF_CHANNELS_LAST;
    return type && layout ? 0 : SEGMIF_BAD_TYPE;
}

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
    return segmif::runtime_error(error);
}

size_t segmif_attention_workspace(const SegmifAttention* attention) {
    if (segmif::check(*attention)) return 0;
    return segmif::with_call(*attention, [](const auto& call) { return call.workspace(); });
}

int segmif_attention_prepare(const SegmifAttention* attention) {
    if (const int error = segmif::check(*attention)) return error;
    return segmif::with_call(*attention, [](const auto& call) { return call.prepare(); });
}

int segmif_attention(const SegmifAttention* attention, const void* const inputs[12], void* const outputs[2],
                     void* workspace, size_t workspace_bytes, void* stream) {
    if (const int error = segmif::check(*attention)) return error;
    bool fits = segmif::aligned(workspace);
    for (int i = 0; i < 3; ++i) fits = fits && segmif::aligned(inputs[i]);
    for (int i = 0; i < 2; ++i) fits = fits && segmif::aligned(outputs[i]);
    if (!fits) return SEGMIF_UNALIGNED;
    return segmif::with_call(*attention, [&](const auto& call) {
        if (workspace_bytes < call.workspace()) return static_cast<int>(SEGMIF_SMALL_WORKSPACE);
        return call.run(inputs, outputs, static_cast<char*>(workspace), stream);
    });
}

}  // extern "C"
