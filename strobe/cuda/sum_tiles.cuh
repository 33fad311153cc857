// Sums over f32 tensors, accumulated in double, in an order that depends on shapes alone: each tile
// of a tensor is summed by a block, and the tiles' sums are added in order.
#pragma once

#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"

namespace strobe::cuda {

inline constexpr int kSumThreads = 256;
inline constexpr int kSumTile = 16384;  // elements of a block

/// The sum over [begin, end) of x, or of its squares; in every thread of a block of kSumThreads.
template <bool kSquares>
__device__ double sum_tile(const float* x, int64_t begin, int64_t end) {
  double total = 0;
  const auto add = [&](float value) {
    const double v = value;
    total += kSquares ? v * v : v;
  };
  const bool aligned = reinterpret_cast<uintptr_t>(x + begin) % 16 == 0;
  const int64_t quads = aligned ? (end - begin) / 4 : 0;
  const float4* from = reinterpret_cast<const float4*>(x + begin);
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < quads; i += kSumThreads) {
    const float4 v = from[i];
    add(v.x), add(v.y), add(v.z), add(v.w);
  }
  for (int64_t i = begin + quads * 4 + threadIdx.x; i < end; i += kSumThreads) add(x[i]);
  return block_sum<kSumThreads>(total);
}

/// The sum of `count` partial sums; in every thread of a block of kSumThreads.
__device__ inline double sum_of_tiles(const double* partial, int64_t count) {
  double total = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) total += partial[i];
  return block_sum<kSumThreads>(total);
}

}  // namespace strobe::cuda
