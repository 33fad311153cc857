#include "strobe/cpu/attention.h"

#include <fmt/format.h>

#include "strobe/core/error.h"
#include "strobe/cpu/attention_flash.h"
#include "strobe/cpu/attention_naive.h"

namespace strobe::cpu {

namespace {

/// Mistakes of the caller: shapes and types that ops/attention.h rules out.
void check_operands(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o,
                    const Tensor& lse, const AttentionOp& op) {
  check(q.rank == 3 && k.rank == 3 && v.rank == 3 && o.rank == 3, "attention: q, k, v, o are 3-d");
  check(q.dtype == k.dtype && q.dtype == v.dtype && q.dtype == o.dtype &&
            (q.dtype == DType::f32 || q.dtype == DType::bf16),
        "attention: q, k, v, o are all f32 or all bf16");
  check(k.dim(0) == v.dim(0) && k.dim(1) == v.dim(1) && q.dim(2) == k.dim(2) &&
            q.dim(2) == v.dim(2) && q.dim(1) % k.dim(1) == 0 && q.shape == o.shape,
        "attention: shapes of q, k, v, o do not match");
  check(q.strides[2] == 1 && k.strides[2] == 1 && v.strides[2] == 1 && o.strides[2] == 1,
        "attention: the last dimension is contiguous");
  check(lse.dtype == DType::f32 && lse.dim(0) == q.dim(1) && lse.dim(1) == q.dim(0),
        "attention: lse is f32 (H, Nq)");
  check(op.scale > 0, "attention: scale is positive");
}

}  // namespace

std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                  DType) {
  if (algorithm == AttentionAlgorithm::flash3)
    return "flash3 needs an NVIDIA Hopper GPU; the CPU has naive, flash1 and flash2";
  if (algorithm != AttentionAlgorithm::naive && shape.head_dim > 256)
    return fmt::format("{} takes heads of at most 256 elements, these have {}", name_of(algorithm),
                       shape.head_dim);
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
  check_operands(q, k, v, o, lse, op);
  if (op.algorithm == AttentionAlgorithm::naive)
    naive_forward(o, lse, saved, q, k, v, op, state, workspace);
  else
    flash_forward(o, lse, q, k, v, op, state, workspace);
}

void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                        Tensor o, Tensor lse, Tensor saved, const AttentionOp& op,
                        const StepState& state, Tensor workspace) {
  check_operands(q, k, v, o, lse, op);
  check_operands(dq, dk, dv, d_o, lse, op);
  if (op.algorithm == AttentionAlgorithm::naive)
    naive_backward(dq, dk, dv, d_o, q, k, v, saved, op, state, workspace);
  else
    flash_backward(dq, dk, dv, d_o, q, k, v, o, lse, op, state, workspace);
}

}  // namespace strobe::cpu
