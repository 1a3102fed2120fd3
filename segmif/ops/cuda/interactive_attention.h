// The attention kernels as C functions, for ctypes and for TensorRT's plugin.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SEGMIF_CHANNELS_FIRST = 0, SEGMIF_CHANNELS_LAST = 1 };

typedef struct {
    int32_t batch, channels, heads, height, width;
    int32_t type;    // SEGMIF_FLOAT or SEGMIF_HALF: of the maps and all parameters but the temperature, which is float
    int32_t layout;  // of the maps: (B, C, H, W), or (B, H, W, C)
    float epsilon;   // of the LayerNorm
} SegmifAttention;

// Result of the functions below: 0, a positive error of the CUDA runtime, or one of these.
enum {
    SEGMIF_BAD_SIZE = -1,       // a size below 1, or channels that do not divide into the heads
    SEGMIF_TOO_WIDE = -2,       // more than 64 channels
    SEGMIF_BAD_TYPE = -3,       // type or layout is none of the above
    SEGMIF_SMALL_WORKSPACE = -4,  // fewer bytes than segmif_attention_workspace asks for
    SEGMIF_UNALIGNED = -5       // a map or the workspace does not begin at a multiple of 16 bytes
};

// The text of an error.
SEGMIF_API const char* segmif_attention_error(int error);

// Bytes of scratch memory for a call with these sizes or smaller ones, on any GPU; 0 for invalid sizes.
SEGMIF_API size_t segmif_attention_workspace(const SegmifAttention* attention);

// Loads the kernels of a call with this type and number of channels, and asks the current GPU for what the call needs
// to know of it. After that the call may be the first one in a stream that is being captured.
SEGMIF_API int segmif_attention_prepare(const SegmifAttention* attention);

// Enqueues the attention on `stream` (a cudaStream_t; not used by the host build).
//
// `inputs` are visible, infrared, semantic, embed_weight, embed_bias, key_weight, value_weight, temperature,
// out_weight, out_bias, norm_weight, norm_bias as `plain` in segmif/ops/hia.py takes them,
// contiguous; `outputs` are the refined visible and infrared, which may not overlap the inputs.
SEGMIF_API int segmif_attention(const SegmifAttention* attention, const void* const inputs[12],
                                void* const outputs[2], void* workspace, size_t workspace_bytes, void* stream);

#ifdef __cplusplus
}
#endif
