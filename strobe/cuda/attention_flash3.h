// flash3's launches, for GPUs of compute capability 9.0: operands are bf16, strides multiples of 8
// elements, head_dim too and at most 128. strobe/cuda/attention.h is what to call.
#pragma once

#include "strobe/cuda/attention_call.h"

namespace strobe::cuda {

void flash3_forward(const Device& device, const AttentionCall& c);

}  // namespace strobe::cuda
