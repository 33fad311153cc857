// The flash kernels' launches: operands are bf16, strides multiples of 8 elements, head_dim too and
// at most 256. strobe/cuda/attention.h is what to call.
#pragma once

#include "strobe/cuda/attention_call.h"

namespace strobe::cuda {

void flash1_forward(const Device& device, const AttentionCall& c, char* workspace);
void flash2_forward(const Device& device, const AttentionCall& c);
/// flash1's and flash2's: c.order is how they differ.
void flash_backward(const Device& device, AttentionBackwardCall c, char* workspace);

int64_t flash1_forward_workspace_bytes(const AttentionShape& shape);
int64_t flash_backward_workspace_bytes(const AttentionShape& shape);

/// Shared memory of the largest thread block for heads of this size.
int flash_shared_bytes(int head_dim);

/// How many pairs of a sequence and a head the forward works on together.
int forward_chunk(const AttentionCall& c);

}  // namespace strobe::cuda
