// Before flash3's backward, a memory-bound pass: reads O and dO once.
//
// A thread block does one block of queries of a head, in the layout of the workspace (query_block
// of attention_flash3_backward.cuh).
#include <cmath>

#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_flash3_backward_layout.h"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 256;

template <int D>
__global__ void __launch_bounds__(kThreads) prepare_kernel(const AttentionBackwardCall c) {
  using Sizes = Flash3BackwardSizes<D>;
  const int i = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
  if (i == 0 && head == 0 && sequence == 0 && threadIdx.x == 0) *c.ticket = 0;
  const int64_t first = c.cu_q[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first),
                           c.cu_k[sequence + 1] - c.cu_k[sequence], c.causal};
  if (i * Sizes::kQueries >= mask.queries) return;
  const int64_t block = head * block_capacity(c.total_q, c.sequences, Sizes::kQueries) +
                        first_block(first, sequence, Sizes::kQueries) + i;
  if (threadIdx.x < Sizes::kConsumers) c.turns[block * Sizes::kConsumers + threadIdx.x] = 0;
  if (c.keep < 256)
    write_dropout_queries(c, sequence * c.heads + head, i * Sizes::kQueries, Sizes::kQueries,
                          block * Sizes::kQueries);
  const int last = least((i + 1) * Sizes::kQueries, mask.queries) - 1;
  const bool unseen = mask.keys_seen(last) == 0;

  constexpr int kLanes = D / 8;  // to a row, 16 bytes each
  constexpr int kPasses = Sizes::kQueries * kLanes / kThreads;
  const int d = threadIdx.x % kLanes * 8;
  uint4 o[kPasses], d_o[kPasses];
  float lse[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = i * Sizes::kQueries + (pass * kThreads + threadIdx.x) / kLanes;
    const bool inside = row < mask.queries && d < c.head_dim;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    o[pass] = inside ? *reinterpret_cast<const uint4*>(c.o.at(first + row, head) + d) : zero;
    d_o[pass] = inside ? *reinterpret_cast<const uint4*>(c.d_o.at(first + row, head) + d) : zero;
    // A row that sees nothing, or none, gets P = 2^-inf.
    lse[pass] = d == 0 && row < mask.queries ? c.lse[head * c.lse_stride + first + row] : -INFINITY;
    if (unseen && inside) *reinterpret_cast<uint4*>(c.dq.at(first + row, head) + d) = zero;
  }
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    float sum = dot8(o[pass], d_o[pass]);
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (d == 0) {
      const int r = (pass * kThreads + threadIdx.x) / kLanes;
      const int64_t at = block * Sizes::kQueries + statistic_slot(r);
      c.lse2[at] = lse[pass] == -INFINITY ? INFINITY : lse[pass] * kLog2e;
      c.delta[at] = -sum / c.keep_scale;  // to be added
    }
  }
}

template <int D>
void launch(const Device& device, const AttentionBackwardCall& c) {
  const dim3 grid(most(ceil_div(c.max_q, Flash3BackwardSizes<D>::kQueries), 1), c.heads,
                  c.sequences);
  prepare_kernel<D><<<grid, kThreads, 0, device.stream>>>(c);
  check_launch("attention backward");
}

}  // namespace

void flash3_prepare_backward(const Device& device, const AttentionBackwardCall& c) {
  c.head_dim <= 64 ? launch<64>(device, c) : launch<128>(device, c);
}

}  // namespace strobe::cuda
