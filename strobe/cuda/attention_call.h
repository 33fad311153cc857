// What an attention kernel is told: operands, sequences and the op's constants. Passed by value.
#pragma once

#include <cstdint>

#include "strobe/cuda/attention_layout.h"
#include "strobe/cuda/device.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

/// A (rows, heads, head_dim) view of bf16.
struct HeadRows {
  bf16* data = nullptr;
  int64_t row = 0, head = 0;  // strides in elements

  HeadRows() = default;
  explicit HeadRows(const Tensor& x) : data(x.as<bf16>()), row(x.strides[0]), head(x.strides[1]) {}
#ifdef __CUDACC__
  __device__ bf16* at(int64_t r, int64_t h) const { return data + r * row + h * head; }
#endif
};

struct AttentionCall {
  HeadRows q, k, v, o;
  float* lse = nullptr;  // (H, Nq), rows lse_stride apart
  int64_t lse_stride = 0;
  const int *cu_q = nullptr, *cu_k = nullptr;
  int sequences = 0, heads = 0, group = 1, head_dim = 0;  // group: heads / kv_heads
  int max_q = 0, max_k = 0;
  int64_t total_q = 0, total_k = 0;
  bool causal = false;
  float scale = 1;

  const StepState* state = nullptr;         // dropout's key is made of it
  const uint32_t* dropout_words = nullptr;  // attention_dropout.h
  uint32_t site = 0;
  int keep = 256;
  float keep_scale = 1;
};

/// The order of the sum that is dQ, over key blocks that run in different thread blocks.
enum class SumOrder {
  fixed,  // each waits for its turn
  free,   // atomic additions
  alone,  // one thread block does all key blocks of a head, one after another
};

struct AttentionBackwardCall : AttentionCall {
  HeadRows d_o, dq, dk, dv;
  SumOrder order = SumOrder::fixed;
  bool together = false;  // flash3: all key blocks run at once
  BackwardWalk walk = BackwardWalk::rising;
  int chunk = 1;  // backward_item
  // flash3: log2(e) scale, and what dQ and dK are multiplied by in the end.
  float scale2 = 1, gradient_scale = 1;
  // Workspace, by blocks of queries (block_capacity): of each query log2(e) lse, and delta (Dao
  // 2023, Algorithm 2, line 2) over keep_scale (flash3: its negative); dQ in f32, in the order of
  // the accumulators; how many key blocks have added to each part of dQ; the next item of the order
  // of work.
  float *lse2 = nullptr, *delta = nullptr, *dq_sum = nullptr;
  int *turns = nullptr, *ticket = nullptr;
  DropoutQuery* dropout_queries = nullptr;  // with dropout; by blocks of queries too
};

}  // namespace strobe::cuda
