// Hierarchical interactive attention in three passes over little data; definition and formulas: `plain` in
// segmif/ops/hia.py. B batch, C channels, N pixels, h heads, d = C / h channels a head.
//
//   1. sum_tokens   one read of the three maps: the Gram matrices Y Y^T of the key side, in float
//   2. mix          per image and head: the blocks' sums added; softmax of the d x d context; with the output weights,
//                   the 2C columns of one matrix a stream. Other blocks bring the weights of pass 3 into its order
//   3. refine       one more read: embed, multiply with that matrix, residual, LayerNorm, one write
//
// In passes 1 and 3 each warp goes from strip to strip on its own: from memory into registers, through its products,
// back to memory (warp.cuh, strip.cuh). Shared memory has only the weights, so no warp waits for another there.
//
// Sums over pixels are made in an order that depends on the sizes and the GPU alone: the same input gives the same
// output, bit for bit, on every run. Channels are padded to WIDE, a multiple of 16, with zeros that change nothing.
#pragma once

#include "mix.cuh"
#include "refine.cuh"
#include "sum.cuh"
