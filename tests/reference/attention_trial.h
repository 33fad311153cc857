// One attention on a backend, forward and backward, against the reference by FlashAttention's rule:
// the error is at most twice (gradients: three times) that of the plain formula at the same
// precision, plus a rounding floor. Outputs, what is saved and workspaces start out as NaN.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "strobe/ops/backend.h"
#include "tests/reference/attention.h"

namespace strobe::reference {

struct AttentionCase {
  std::vector<int> queries, keys{};  // lengths of the sequences; no keys: as the queries
  int64_t heads = 2, kv_heads = 2, dim = 64;
  bool causal = true;
  float dropout = 0;
  DType dtype = DType::f32;
  bool strided = false;  // q, k, v (and gradients) inside a packed projection
  bool fp8 = false;      // without a backward
  AttentionVariant variant = AttentionVariant::full;
};

std::string name_of(const AttentionCase& c);

struct AttentionResult {
  std::vector<double> o, lse, dq, dk, dv;
  bool operator==(const AttentionResult& y) const = default;
};

struct AttentionTrial {
  explicit AttentionTrial(const AttentionCase& c);

  AttentionResult operator()(Backend& backend, AttentionAlgorithm algorithm);
  /// Runs `times` times over the same operands and counts how many results differ in some bit from
  /// the first.
  int differing(Backend& backend, AttentionAlgorithm algorithm, int times);
  AttentionValues reference(Precision precision) const;

  AttentionCase c;
  std::vector<int> cu_q, cu_k;
  AttentionOp op;
  AttentionShape shape;
  StepState state;
  AttentionValues values;
};

/// The largest difference; infinite if anything is NaN or only one side is infinite.
double largest_error(const std::vector<double>& x, const std::vector<double>& y);
/// "" if `x` keeps the rule; else what is wrong.
std::string broken_rule(const char* what, const std::vector<double>& x,
                        const std::vector<double>& exact, const std::vector<double>& plain,
                        double factor, double epsilon, double floor = 0);
/// Runs the case by each of the algorithms, where a GPU has the choice also with sums in any order;
/// "" or a line for each result that breaks the rule.
std::string broken_rules(Backend& backend, const AttentionCase& c,
                         const std::vector<AttentionAlgorithm>& algorithms);

}  // namespace strobe::reference
