// The network's last pixels in two passes; definition: `plain` in segmif/model/pixels.py. Levels are 0 to 255.
//
//   1. survey   one read of infrared: how often each level occurs, and the sum of each cell of 16 x 16 pixels
//   2. color    what stands out in heat, from both; then a run of pixels a thread: luma and chroma, the hue, and the
//               best class of the logits with its probability, up-sampled here
//
// How often a level occurs says all about a frame: means and deviations come from 256 numbers, not from the pixels.
// It is counted in integers, so the order of counting changes nothing, and nothing needs zeros before.
#pragma once

#include "color.cuh"
#include "survey.cuh"
