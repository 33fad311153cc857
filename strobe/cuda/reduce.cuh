// Sums over the threads of a warp or a block, in a fixed order.
#pragma once

#include <cuda_runtime.h>

namespace strobe::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kFullWarp = 0xffffffffu;

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }

/// The same bits in every lane, since each step adds the same two numbers.
template <class F>
__device__ F warp_sum(F x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    x += __shfl_xor_sync(kFullWarp, x, distance);
  return x;
}

/// The sum of x in the first half of the lanes, of y in the second: half the shuffles of two sums.
__device__ inline float warp_sum_pair(float x, float y) {
  const bool second = lane_id() >= kWarp / 2;
  float sum = second ? y : x;
  sum += __shfl_xor_sync(kFullWarp, second ? x : y, kWarp / 2);
#pragma unroll
  for (int distance = kWarp / 4; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(kFullWarp, sum, distance);
  return sum;
}

/// The sum over a block of kThreads (a multiple of 32), in every thread. Ends without a barrier:
/// a second call needs one in between.
template <int kThreads, class F>
__device__ F block_sum(F x) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ F sums[kWarps];
  x = warp_sum(x);
  if (lane_id() == 0) sums[warp_id()] = x;
  __syncthreads();
  F total = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) total += sums[i];
  return total;
}

}  // namespace strobe::cuda
