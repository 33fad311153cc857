// Elementwise ops on CUDA, as ops/backend.h defines them. None needs scratch memory but
// bias_backward, which needs the bytes of its plan (column_sums.h): less than 16 MiB.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void fill(const Device& device, Tensor y, float value);
void copy(const Device& device, Tensor y, Tensor x);
void axpby(const Device& device, Tensor y, float a, Tensor x, float b);
void dropout(const Device& device, Tensor y, Tensor x, Dropout dropout);
void add_dropout(const Device& device, Tensor y, Tensor a, Tensor b, Dropout dropout);
void gelu_forward(const Device& device, Tensor y, Tensor x, Gelu kind);
void gelu_backward(const Device& device, Tensor dx, Tensor dy, Tensor x, Gelu kind);
void tanh_forward(const Device& device, Tensor y, Tensor x);
void tanh_backward(const Device& device, Tensor dx, Tensor dy, Tensor y);
void squared_error(const Device& device, Tensor losses, Tensor dx, Tensor x, Tensor targets);
void bias_forward(const Device& device, Tensor y, Tensor bias);
void bias_backward(const Device& device, Tensor dbias, Tensor dy);

}  // namespace strobe::cuda
