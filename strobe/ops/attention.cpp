#include "strobe/ops/attention.h"

#include "strobe/core/error.h"

namespace strobe {

namespace {

const std::string kNames[] = {"automatic", "naive", "flash1", "flash2", "flash3"};

}  // namespace

std::string_view name_of(AttentionAlgorithm algorithm) {
  return kNames[static_cast<int>(algorithm)];
}

AttentionAlgorithm attention_algorithm(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<AttentionAlgorithm>(i);
  fail("attention: unknown algorithm '{}'; known are {}", name, fmt::join(kNames, ", "));
}

AttentionShape attention_shape(const Tensor& q, const Tensor& k, const AttentionOp& op) {
  return {op.cu_q.dim(0) - 1, op.max_q, op.max_k, q.dim(0), k.dim(0),
          q.dim(1),           k.dim(1), q.dim(2), op.causal};
}

double attention_flops(const AttentionShape& s, bool backward) {
  const double pairs = static_cast<double>(s.total_q) * static_cast<double>(s.max_k);
  const double forward = 4.0 * pairs * static_cast<double>(s.heads * s.head_dim);
  return forward * (s.causal ? 0.5 : 1.0) * (backward ? 2.5 : 1.0);
}

}  // namespace strobe
