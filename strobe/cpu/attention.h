// Attention on the CPU: the operands of ops/backend.h handed to the kernels of the algorithm that
// op.algorithm names (a chosen one, not `automatic`). Shapes and rules are ops/attention.h's.
#pragma once

#include <cstdint>
#include <string>

#include "strobe/core/tensor.h"
#include "strobe/ops/attention.h"
#include "strobe/ops/backend.h"

namespace strobe::cpu {

/// Why `algorithm` cannot run, in a sentence; "" if it can.
std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                  DType dtype);

/// What the forward keeps for the backward beside o and lse: P for naive, nothing for the others.
int64_t attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                              DType dtype);
int64_t attention_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                  DType dtype, bool backward);

/// `saved` and `workspace` are u8 tensors of at least the bytes stated above, aligned to 64.
void attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                       const AttentionOp& op, const StepState& state, Tensor workspace);
void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                        Tensor o, Tensor lse, Tensor saved, const AttentionOp& op,
                        const StepState& state, Tensor workspace);

}  // namespace strobe::cpu
