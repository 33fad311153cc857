// Attention on CUDA: the operands of ops/backend.h handed to the kernels of the algorithm that
// op.algorithm names (a chosen one, not `automatic`). Shapes and rules are ops/attention.h's.
//
// The flash algorithms take bf16; where head_dim is a multiple of 8, rows of their operands begin
// at multiples of 16 bytes. cu_q and cu_k are read by kernels, never by the host.
#pragma once

#include <cstdint>
#include <string>

#include "strobe/cuda/device.h"
#include "strobe/ops/attention.h"

namespace strobe::cuda {

/// Why `algorithm` cannot run, in a sentence; "" if it can.
std::string attention_unsupported(const Device& device, AttentionAlgorithm algorithm,
                                  const AttentionShape& shape, DType dtype);

/// What the forward keeps for the backward beside o and lse: P for naive, nothing for the others.
int64_t attention_saved_bytes(const Device& device, AttentionAlgorithm algorithm,
                              const AttentionShape& shape, DType dtype);
int64_t attention_workspace_bytes(const Device& device, AttentionAlgorithm algorithm,
                                  const AttentionShape& shape, DType dtype, bool backward);

/// `saved` and `workspace` are u8 tensors of at least the bytes stated above, aligned to 256.
void attention_forward(const Device& device, Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                       Tensor v, const AttentionOp& op, Tensor workspace);
void attention_backward(const Device& device, Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                        Tensor k, Tensor v, Tensor o, Tensor lse, Tensor saved,
                        const AttentionOp& op, Tensor workspace);

}  // namespace strobe::cuda
