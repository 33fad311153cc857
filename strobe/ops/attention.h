// Attention as one op with a choice of algorithm.
//
//   o = softmax(scale * q k^T + mask) v,     lse = log sum exp of the same scores
//
// q (Nq, H, D), k and v (Nk, Hkv, D) are strided views with a contiguous last dimension, so packed
// projections and a key-value cache are read in place. Sequence s owns the rows
// [cu_q[s], cu_q[s + 1]) of q and [cu_k[s], cu_k[s + 1]) of k and v. Head h reads key-value head
// h / (H / Hkv). Causal aligns bottom-right: the last query of a sequence sees its last key.
// A query with nothing to attend to gets o = 0, lse = -inf and gradients 0.
//
// (A sliding window, ALiBi slopes and a soft cap belong in AttentionOp when they come.)
#pragma once

#include <string>
#include <string_view>

#include "strobe/core/tensor.h"

namespace strobe {

enum class AttentionAlgorithm { automatic, naive, flash1, flash2, flash3 };

std::string_view name_of(AttentionAlgorithm algorithm);
/// Throws Error for an unknown name, listing the known ones.
AttentionAlgorithm attention_algorithm(std::string_view name);

/// A dropout mask: drop with probability p, keyed by (seed, step, micro-step, site, element). The
/// seed and the steps are read from the backend's StepState. p = 0 switches it off.
struct Dropout {
  float p = 0;
  uint32_t site = 0;  // which dropout of the model this is

  /// The keep probability is rounded to n / 256; strobe/ops/dropout_mask.h says what decides.
  STROBE_HD constexpr int keep_of_256() const {
    // NOLINTNEXTLINE(bugprone-incorrect-roundings): std::lround is not constexpr
    return p <= 0 ? 256 : static_cast<int>((1.0f - p) * 256.0f + 0.5f);
  }
  /// What kept elements are multiplied by, for the probability as rounded.
  STROBE_HD constexpr float scale() const {
    const int keep = keep_of_256();
    return keep > 0 ? 256.0f / static_cast<float>(keep) : 0.0f;
  }
};

/// flash3's forward with one of its two ideas taken away, so that each can be measured. Only the
/// benchmark asks for other than `full`; the other algorithms and the backward do not look.
enum class AttentionVariant { full, no_overlap, no_specialisation };

std::string_view name_of(AttentionVariant variant);
/// Throws Error for an unknown name, listing the known ones.
AttentionVariant attention_variant(std::string_view name);

struct AttentionOp {
  AttentionAlgorithm algorithm = AttentionAlgorithm::automatic;
  AttentionVariant variant = AttentionVariant::full;
  bool causal = true;
  float scale = 1;
  Dropout dropout;
  /// The backward's sums run in a fixed order. Switched off, a GPU may add in any order, which can
  /// be faster; the bits then change from run to run.
  bool deterministic = true;
  /// Products of e4m3, of operands quantised on the way: flash3's forward only, without dropout,
  /// for evaluation and generation. The operands themselves are bf16.
  bool fp8 = false;
  Tensor cu_q, cu_k;             // i32 (S + 1), in the backend's memory
  int64_t max_q = 0, max_k = 0;  // no sequence is longer
};

/// What memory depends on.
struct AttentionShape {
  int64_t sequences, max_q, max_k, total_q, total_k;
  int64_t heads, kv_heads, head_dim;
  bool causal;
  bool fp8 = false;
};

AttentionShape attention_shape(const Tensor& q, const Tensor& k, const AttentionOp& op);

/// Throws for mistakes of the caller: shapes, types and strides that the rules above exclude.
void check_attention_operands(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o,
                              const Tensor& lse, const AttentionOp& op);

/// Multiplications and additions, as the FlashAttention papers count them: 4 H Tq Tk D forward
/// (half if causal), 2.5 times that backward, summed over sequences of the longest length.
double attention_flops(const AttentionShape& shape, bool backward);

}  // namespace strobe
