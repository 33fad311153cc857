// The launch of a flash3 forward of given sizes.
#pragma once

#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_flash3_forward.cuh"
#include "strobe/cuda/tensor_map.h"

namespace strobe::cuda {

template <class Sizes>
inline void launch_flash3_forward(const Device& device, AttentionCall c) {
  const auto kernel = flash3_forward_kernel<Sizes>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Sizes::kSharedBytes),
             "attention forward");
  const int pairs = c.sequences * c.heads, items = ceil_div(c.max_q, Sizes::kQueries) * pairs;
  if (items == 0 || c.total_q == 0) return;
  const int kv_heads = c.heads / c.group;
  const CUtensorMap q = head_rows_map(c.q, c.total_q, c.heads, c.head_dim, 64);
  CUtensorMap k = q, v = q;  // of no keys there are no copies
  if (c.total_k > 0) {
    k = head_rows_map(c.k, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
    v = head_rows_map(c.v, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  }
  c.scale *= kLog2e;
  kernel<<<least(items, device.multiprocessors), Sizes::kThreads, Sizes::kSharedBytes,
           device.stream>>>(c, q, k, v, items, even_chunk(pairs, forward_chunk(c)), device.ticket);
  check_launch("attention forward");
}

}  // namespace strobe::cuda
