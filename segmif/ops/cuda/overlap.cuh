// How the kernels of a call overlap on a GPU of compute capability 9.0 or later (programmatic dependent launch).
//
// Blocks of the next kernel may begin while the last blocks of this one run. Each kernel that is launched so waits before
// it reads what the kernel in front wrote, and reads that by plain loads: a compiler may move those of `fetch`. The first
// kernel of a call is launched as usual, after all that was enqueued before. So what a call is given can be read at once.
#pragma once

#include "team.cuh"

#if !defined(SEGMIF_OVERLAP)
#define SEGMIF_OVERLAP 1
#endif

#if defined(__CUDACC__) && defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ >= 900 && SEGMIF_OVERLAP
#define SEGMIF_WAITS
#endif
#endif

namespace segmif {

// Lets blocks of the next kernel begin, once all blocks of this one have come here.
SEGMIF_INLINE void let_next_begin() {
#if defined(SEGMIF_WAITS)
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Waits for the end of the kernel in front, whose results can be read then.
SEGMIF_INLINE void wait_for_last() {
#if defined(SEGMIF_WAITS)
    cudaGridDependencySynchronize();
#endif
}

}  // namespace segmif
