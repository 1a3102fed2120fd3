// The last pixels as C functions, for ctypes and for TensorRT's plugin.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t batch, height, width;  // height and width are multiples of 32
    int32_t classes;
    int32_t label_stride;  // of the class decision: 1, 2 or 4
    int32_t type;          // SEGMIF_FLOAT or SEGMIF_HALF: of all tensors but the tint, which is float
} SegmifPixels;

// Result of the functions below: 0, a positive error of the CUDA runtime, or one of these.
enum {
    SEGMIF_PIXELS_BAD_SIZE = -1,         // a size below 1 or too large, or sides that do not divide by 32
    SEGMIF_PIXELS_BAD_STRIDE = -2,       // label_stride is not 1, 2 or 4
    SEGMIF_PIXELS_BAD_TYPE = -3,         // type is none of the above
    SEGMIF_PIXELS_SMALL_WORKSPACE = -4,  // fewer bytes than segmif_pixels_workspace asks for
    SEGMIF_PIXELS_UNALIGNED = -5         // a tensor or the workspace does not begin at a multiple of 16 bytes
};

// The text of an error.
SEGMIF_API const char* segmif_pixels_error(int error);

// Bytes of scratch memory for a call with these sizes or smaller ones, on any GPU; 0 for invalid sizes.
SEGMIF_API size_t segmif_pixels_workspace(const SegmifPixels* pixels);

// Loads the kernels of a call. After that the call may be the first one in a stream that is being captured.
SEGMIF_API int segmif_pixels_prepare(const SegmifPixels* pixels);

// Enqueues the work on `stream` (a cudaStream_t; not used by the host build).
//
// `inputs` are visible, infrared, fused_luma, logits, tint as `plain` in segmif/model/pixels.py takes them,
// contiguous; `outputs` are fused, labels and confidence, which may not overlap the inputs.
SEGMIF_API int segmif_pixels(const SegmifPixels* pixels, const void* const inputs[5], void* const outputs[3],
                             void* workspace, size_t workspace_bytes, void* stream);

#ifdef __cplusplus
}
#endif
