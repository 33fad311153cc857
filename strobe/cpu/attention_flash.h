// flash1 and flash2 on the CPU: memory and tasks around the kernels of strobe/cpu/isa/attention*.
#pragma once

#include "strobe/cpu/attention.h"

namespace strobe::cpu {

int64_t flash_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                              DType dtype, bool backward);
void flash_forward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, const AttentionOp& op,
                   const StepState& state, Tensor workspace);
void flash_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                    Tensor o, Tensor lse, const AttentionOp& op, const StepState& state,
                    Tensor workspace);

}  // namespace strobe::cpu
