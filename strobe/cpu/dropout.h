// Dropout of a piece of a tensor, for the ops that fuse it.
#pragma once

#include <cstring>

#include "strobe/cpu/kernels.h"
#include "strobe/ops/backend.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cpu {

inline DropoutMask dropout_mask(Dropout dropout, const StepState& state) {
  DropoutMask mask;
  mask.key = dropout_key(state.seed, state.step, state.micro_step, dropout.site);
  mask.stream[0] = 0;
  mask.stream[1] = static_cast<uint32_t>(RandomUse::dropout);
  mask.keep = dropout.keep_of_256();
  mask.scale = dropout.scale();
  return mask;
}

/// y = a + dropout(b) over elements [begin, begin + n) of the mask; a may be null for 0.
template <class T>
void add_dropout_piece(const ElementKernels<T>& kernels, T* y, const T* a, const T* b,
                       int64_t begin, int64_t n, const DropoutMask& mask) {
  if (mask.keep < 256)
    kernels.add_dropout(y, a, b, begin, n, mask);
  else if (a)
    kernels.add(y, a, b, n);
  else if (y != b)
    std::memcpy(y, b, n * sizeof(T));
}

}  // namespace strobe::cpu
