// The ops of ops/backend.h that are matrix products, with what follows them where the library can
// do that before it stores its result.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void matmul(const Device& device, Tensor c, Tensor a, Tensor b, bool accumulate);
void linear_forward(const Device& device, Tensor y, Tensor x, Tensor w, Tensor bias);
void linear_backward(const Device& device, Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                     Tensor w);
void linear_gelu_forward(const Device& device, Tensor y, Tensor pre, Tensor x, Tensor w,
                         Tensor bias, Gelu kind);
void gelu_linear_backward(const Device& device, Tensor dpre, Tensor dw, Tensor dbias,
                          Tensor dpre_bias, Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                          bool recompute);

}  // namespace strobe::cuda
