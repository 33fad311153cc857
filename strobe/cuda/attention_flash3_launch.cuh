// The launch of a flash3 forward of given sizes.
#pragma once

#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_flash3_forward.cuh"
#include "strobe/cuda/tensor_map.h"

namespace strobe::cuda {

/// How a forward is cut, and the maps of its operands.
template <class Sizes>
struct Flash3Launch {
  int items, chunk;
  CUtensorMap q, k, v;

  explicit Flash3Launch(const AttentionCall& c) {
    const int pairs = c.sequences * c.heads, kv_heads = c.heads / c.group;
    items = ceil_div(c.max_q, Sizes::kQueries) * pairs;
    chunk = even_chunk(pairs, forward_chunk(c));
    if (c.total_q == 0) return;
    q = head_rows_map(c.q, c.total_q, c.heads, c.head_dim, 64);
    k = v = q;  // of no keys there are no copies
    if (c.total_k == 0) return;
    k = head_rows_map(c.k, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
    v = head_rows_map(c.v, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  }
};

template <class Sizes>
inline void launch_flash3_forward(const Device& device, AttentionCall c) {
  const auto kernel = flash3_forward_kernel<Sizes>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Sizes::kSharedBytes),
             "attention forward");
  const Flash3Launch<Sizes> of(c);
  if (of.items == 0 || c.total_q == 0) return;
  c.scale *= kLog2e;
  kernel<<<least(of.items, device.multiprocessors), Sizes::kThreads, Sizes::kSharedBytes,
           device.stream>>>(c, of.q, of.k, of.v, of.items, of.chunk, device.ticket);
  check_launch("attention forward");
}

}  // namespace strobe::cuda
