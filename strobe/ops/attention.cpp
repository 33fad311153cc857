#include "strobe/ops/attention.h"

#include "strobe/core/error.h"

namespace strobe {

namespace {

const std::string kNames[] = {"automatic", "naive", "flash1", "flash2", "flash3"};
const std::string kVariants[] = {"full", "no-overlap", "no-specialisation"};

}  // namespace

std::string_view name_of(AttentionAlgorithm algorithm) {
  return kNames[static_cast<int>(algorithm)];
}

AttentionAlgorithm attention_algorithm(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<AttentionAlgorithm>(i);
  fail("attention: unknown algorithm '{}'; known are {}", name, fmt::join(kNames, ", "));
}

std::string_view name_of(AttentionVariant variant) { return kVariants[static_cast<int>(variant)]; }

AttentionVariant attention_variant(std::string_view name) {
  for (size_t i = 0; i < std::size(kVariants); ++i)
    if (name == kVariants[i]) return static_cast<AttentionVariant>(i);
  fail("attention: unknown variant '{}'; known are {}", name, fmt::join(kVariants, ", "));
}

AttentionShape attention_shape(const Tensor& q, const Tensor& k, const AttentionOp& op) {
  return {op.cu_q.dim(0) - 1, op.max_q, op.max_k, q.dim(0),  k.dim(0),
          q.dim(1),           k.dim(1), q.dim(2), op.causal, op.fp8};
}

void check_attention_operands(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o,
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

double attention_flops(const AttentionShape& s, bool backward) {
  const double pairs = static_cast<double>(s.total_q) * static_cast<double>(s.max_k);
  const double forward = 4.0 * pairs * static_cast<double>(s.heads * s.head_dim);
  return forward * (s.causal ? 0.5 : 1.0) * (backward ? 2.5 : 1.0);
}

}  // namespace strobe
