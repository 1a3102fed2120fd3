// What the C functions of all kernels share.
#pragma once

#define SEGMIF_API __attribute__((visibility("default")))

enum { SEGMIF_FLOAT = 0, SEGMIF_HALF = 1 };
