// The row passes of standard attention between its products (see strobe/cpu/attention_naive.cpp).
// Compiled once per instruction set.
#pragma once

#include <cstdint>

#include "strobe/cpu/isa/attention.h"

namespace strobe::cpu {

/// Rows of scores: f32 on entry, results of the operands' type (f32 or bf16) over the same memory,
/// `stride` bytes from row to row either way.
struct SoftmaxRows {
  AttentionHead head;
  int64_t first, last;  // queries
  char* scores;
  int64_t scores_stride;
  char* p;  // probabilities; may be the scores
  int64_t p_stride;
  float* lse;  // of query 0
};

struct SoftmaxKernels {
  /// p = softmax(scale * scores), lse; with dropout also scores = dropout(p).
  void (*forward)(const SoftmaxRows& rows);
  /// scores = dropout(p): what the forward multiplied v by.
  void (*dropped)(const SoftmaxRows& rows);
  /// scores = scale * p * (dropout(scores) - rowsum(p * dropout(scores))).
  void (*backward)(const SoftmaxRows& rows);
};

struct SoftmaxVariants {
  const SoftmaxKernels *f32, *bf16;
};

namespace baseline {
SoftmaxVariants softmax_kernels();
}
namespace avx2 {
SoftmaxVariants softmax_kernels();
}
namespace avx512 {
SoftmaxVariants softmax_kernels();
}
namespace avx512_bf16 {
SoftmaxVariants softmax_kernels();
}

}  // namespace strobe::cpu
