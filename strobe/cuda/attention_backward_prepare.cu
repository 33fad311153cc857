// Before and after the backward's main kernel, memory-bound passes.
//
//   prepare   delta = rowsum(dO * O) (Dao 2023, Algorithm 2, line 2), the log-sum-exp in log2
//   units,
//             turns set to 0, dropout's numbers of queries; reads O and dO once
//   finish    only where dQ was summed by atomic additions: rounds it into dq
#include <cmath>

#include "strobe/cuda/attention_backward.cuh"
#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

template <int D>
__global__ void __launch_bounds__(128) prepare_kernel(const AttentionBackwardCall c) {
  using Sizes = BackwardSizes<D>;
  const int i = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
  if (i == 0 && head == 0 && sequence == 0 && threadIdx.x == 0) *c.ticket = 0;
  const int64_t first = c.cu_q[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first),
                           c.cu_k[sequence + 1] - c.cu_k[sequence], c.causal};
  if (i * Sizes::kQueries >= mask.queries) return;
  const BackwardBlocks<D> at(c, sequence, head, i);
  const int last = least((i + 1) * Sizes::kQueries, mask.queries) - 1;
  const bool unseen = mask.keys_seen(last) == 0;

  constexpr int kLanes = D / 8;  // to a row, 16 bytes each
  const int lane = threadIdx.x % kLanes, d = lane * 8;
  for (int r = threadIdx.x / kLanes; r < Sizes::kQueries; r += 128 / kLanes) {
    const int row = i * Sizes::kQueries + r;
    float sum = 0;
    if (row < mask.queries && d < c.head_dim) {
      sum = dot8(*reinterpret_cast<const uint4*>(c.d_o.at(first + row, head) + d),
                 *reinterpret_cast<const uint4*>(c.o.at(first + row, head) + d));
      if (unseen)
        *reinterpret_cast<uint4*>(c.dq.at(first + row, head) + d) = make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0) {
      // A row that sees nothing, or none, gets P = 2^-inf.
      const float lse = row < mask.queries ? c.lse[head * c.lse_stride + first + row] : -INFINITY;
      c.lse2[at.row() + r] = lse == -INFINITY ? INFINITY : lse * kLog2e;
      c.delta[at.row() + r] = sum / c.keep_scale;
    }
  }
  if (c.keep < 256)
    write_dropout_queries(c, sequence * c.heads + head, i * Sizes::kQueries, Sizes::kQueries,
                          at.row());
  if (c.order == SumOrder::fixed && threadIdx.x < Sizes::kParts * Sizes::kWarps)
    c.turns[at.turn(0, threadIdx.x)] = 0;
  if (c.order == SumOrder::free)
    for (int k = threadIdx.x; k < Sizes::kQueries * D / 4; k += 128)
      reinterpret_cast<float4*>(c.dq_sum + at.sum(0, 0))[k] = make_float4(0, 0, 0, 0);
}

template <int D>
__global__ void __launch_bounds__(BackwardSizes<D>::kThreads)
    finish_kernel(const AttentionBackwardCall c) {
  using Sizes = BackwardSizes<D>;
  const int i = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
  const int64_t first = c.cu_q[sequence];
  const int queries = static_cast<int>(c.cu_q[sequence + 1] - first);
  if (i * Sizes::kQueries >= queries) return;
  const Lane lane;
  const int warp = threadIdx.x / 32;
  const BackwardBlocks<D> at(c, sequence, head, i);
  QueryGradient dq;
#pragma unroll
  for (int part = 0; part < Sizes::kParts; ++part) {
    dq.load_added(c.dq_sum + at.sum(part, warp), lane);
    dq.finish(c.dq, c.dq.at(first, head), i * Sizes::kQueries + warp % Sizes::kQueryWarps * 32,
              queries, part * Sizes::kPart + warp / Sizes::kQueryWarps * 32, c.head_dim,
              c.scale * c.keep_scale, lane);
  }
}

template <int D>
dim3 query_grid(const AttentionBackwardCall& c) {
  return dim3(most(ceil_div(c.max_q, BackwardSizes<D>::kQueries), 1), c.heads, c.sequences);
}

}  // namespace

template <int D>
void prepare_backward(const Device& device, const AttentionBackwardCall& c) {
  prepare_kernel<D><<<query_grid<D>(c), 128, 0, device.stream>>>(c);
  check_launch("attention backward");
}
template <int D>
void finish_backward(const Device& device, const AttentionBackwardCall& c) {
  finish_kernel<D><<<query_grid<D>(c), BackwardSizes<D>::kThreads, 0, device.stream>>>(c);
  check_launch("attention backward");
}

template void prepare_backward<64>(const Device&, const AttentionBackwardCall&);
template void prepare_backward<128>(const Device&, const AttentionBackwardCall&);
template void prepare_backward<256>(const Device&, const AttentionBackwardCall&);
template void finish_backward<64>(const Device&, const AttentionBackwardCall&);
template void finish_backward<128>(const Device&, const AttentionBackwardCall&);
template void finish_backward<256>(const Device&, const AttentionBackwardCall&);

}  // namespace strobe::cuda
