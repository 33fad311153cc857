// Attention in double precision, by the definition, and the same formula evaluated at a lower
// precision: what FlashAttention's own tests compare with.
#pragma once

#include <cstdint>
#include <vector>

#include "strobe/ops/attention.h"
#include "strobe/ops/backend.h"

namespace strobe::reference {

/// Operands as doubles: q, o, d_o (Nq, H, D); k, v (Nk, Hkv, D); lse (H, Nq).
struct AttentionValues {
  std::vector<double> q, k, v, d_o;
  std::vector<double> o, lse, dq, dk, dv;
  double largest_dp = 0;  // of dP = dO V^T: what dS = P (dP - delta) may cancel from
};

/// What results of products and P are rounded to on the way; bf16 keeps scores in f32, bf16_scores
/// rounds S and dP too.
enum class Precision { exact, f32, bf16, bf16_scores };

/// Forward and backward from q, k, v, d_o, one row of scores at a time; sequences and key-value
/// heads side by side (parallel_for), to the same bits.
void attention(AttentionValues& x, const AttentionShape& shape, const AttentionOp& op,
               const std::vector<int>& cu_q, const std::vector<int>& cu_k, const StepState& state,
               Precision precision);

}  // namespace strobe::reference
