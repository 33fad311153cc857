// Standard attention, for strobe/cuda/attention.cpp: S and P in device memory.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

int64_t naive_saved_bytes(const AttentionShape& shape, DType dtype);
int64_t naive_workspace_bytes(const AttentionShape& shape, DType dtype, bool backward);
void naive_forward(const Device& device, Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                   Tensor v, const AttentionOp& op, const uint32_t* dropout_words, char* workspace);
void naive_backward(const Device& device, Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                    Tensor k, Tensor v, Tensor saved, const AttentionOp& op,
                    const uint32_t* dropout_words, char* workspace);

}  // namespace strobe::cuda
