// Standard attention on the CPU, as the FlashAttention papers' baseline has it: S and P of every
// head exist as (T, T) matrices, and P is kept for the backward.
#pragma once

#include "strobe/cpu/attention.h"

namespace strobe::cpu {

int64_t naive_saved_bytes(const AttentionShape& shape, DType dtype);
int64_t naive_workspace_bytes(const AttentionShape& shape, DType dtype, bool backward);
void naive_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                   const AttentionOp& op, const StepState& state, Tensor workspace);
void naive_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                    Tensor saved, const AttentionOp& op, const StepState& state, Tensor workspace);

}  // namespace strobe::cpu
