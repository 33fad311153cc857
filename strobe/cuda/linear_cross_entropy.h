// The head and its loss without a pass over the logits, on GPUs that have the product for it.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// Whether the op of ops/backend.h was done; if not, nothing was. Its workspace holds `chunk` rows
/// of logits.
bool linear_cross_entropy(const Device& device, Tensor losses, Tensor dx, Tensor dw, Tensor dbias,
                          Tensor x, Tensor w, Tensor bias, Tensor targets, const CrossEntropy& op,
                          Tensor workspace, int64_t chunk);

}  // namespace strobe::cuda
