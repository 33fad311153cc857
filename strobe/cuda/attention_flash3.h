// flash3's launches, for GPUs of compute capability 9.0: operands are bf16, strides multiples of 8
// elements, head_dim too and at most 128. strobe/cuda/attention.h is what to call.
#pragma once

#include "strobe/cuda/attention_call.h"
#include "strobe/ops/attention.h"

namespace strobe::cuda {

void flash3_forward(const Device& device, const AttentionCall& c);
/// The benchmark's: without one of its two ideas. No dropout.
void flash3_forward_rung(const Device& device, const AttentionCall& c, AttentionVariant variant);

/// Products in e4m3, of q, k and v quantised block by block on the way; no dropout. `rotated`: q
/// and k are rotated first, which spreads outliers.
void flash3_fp8_forward(const Device& device, const AttentionCall& c, char* workspace,
                        bool rotated);
int64_t flash3_fp8_workspace_bytes(const AttentionShape& shape);

/// c.order is SumOrder::fixed or free. Any forward's lse will do.
void flash3_backward(const Device& device, AttentionBackwardCall c, char* workspace);
int64_t flash3_backward_workspace_bytes(const AttentionShape& shape);
/// Before it: delta = -rowsum(dO * O), the log-sum-exp in log2 units, no turn taken, no ticket
/// given.
void flash3_prepare_backward(const Device& device, const AttentionBackwardCall& c);

}  // namespace strobe::cuda
