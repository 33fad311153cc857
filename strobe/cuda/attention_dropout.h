// The random words of keys that attention's dropout multiplies (ops/dropout_mask.h): one array for
// all heads and sequences of a call, made before its kernels, which read it from L1.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// The words go on to a multiple of so many keys: tiles reach beyond the end of a sequence.
constexpr int kDropoutTileKeys = 256;
/// Of the longest sequence.
int64_t dropout_words_bytes(int64_t max_k);
/// Writes them, in the order of attention_dropout_words, for the dropout at `site` in this step.
void make_dropout_words(const Device& device, uint32_t* words, int64_t max_k, uint32_t site);

}  // namespace strobe::cuda
