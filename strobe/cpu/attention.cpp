#include "strobe/cpu/attention.h"

#include <fmt/format.h>

#include "strobe/core/error.h"
#include "strobe/cpu/attention_flash.h"
#include "strobe/cpu/attention_naive.h"

namespace strobe::cpu {

std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                  DType) {
  if (algorithm == AttentionAlgorithm::flash3)
    return "flash3 needs an NVIDIA Hopper GPU; the CPU has naive, flash1 and flash2";
  if (algorithm != AttentionAlgorithm::naive && shape.head_dim > 256)
    return fmt::format("{} takes heads of at most 256 elements, these have {}", name_of(algorithm),
                       shape.head_dim);
  if (shape.fp8) return fmt::format("{} has no FP8; flash3 has", name_of(algorithm));
  if (shape.kv_heads <= 0 || shape.heads % shape.kv_heads != 0)
    return fmt::format("{} heads cannot share {} key-value heads evenly", shape.heads,
                       shape.kv_heads);
  return "";
}

int64_t attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                              DType dtype) {
  return algorithm == AttentionAlgorithm::naive ? naive_saved_bytes(shape, dtype) : 0;
}

int64_t attention_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                  DType dtype, bool backward) {
  return algorithm == AttentionAlgorithm::naive
             ? naive_workspace_bytes(shape, dtype, backward)
             : flash_workspace_bytes(algorithm, shape, dtype, backward);
}

void attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                       const AttentionOp& op, const StepState& state, Tensor workspace) {
  check_attention_operands(q, k, v, o, lse, op);
  if (op.algorithm == AttentionAlgorithm::naive)
    naive_forward(o, lse, saved, q, k, v, op, state, workspace);
  else
    flash_forward(o, lse, q, k, v, op, state, workspace);
}

void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                        Tensor o, Tensor lse, Tensor saved, const AttentionOp& op,
                        const StepState& state, Tensor workspace) {
  check_attention_operands(q, k, v, o, lse, op);
  check_attention_operands(dq, dk, dv, d_o, lse, op);
  if (op.algorithm == AttentionAlgorithm::naive)
    naive_backward(dq, dk, dv, d_o, q, k, v, saved, op, state, workspace);
  else
    flash_backward(dq, dk, dv, d_o, q, k, v, o, lse, op, state, workspace);
}

}  // namespace strobe::cpu
