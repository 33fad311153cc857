// The launch of a flash3 forward of given sizes.
#pragma once

#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_flash3_forward.cuh"
#include "strobe/cuda/tensor_map.h"

namespace strobe::cuda {

/// How a forward is cut.
template <class Sizes>
struct Flash3Launch {
  int items, chunk;

  Flash3Launch(const AttentionCall& c, int heads_in_cache) {
    const int pairs = c.sequences * c.heads;
    items = c.total_q == 0 ? 0 : ceil_div(c.max_q, Sizes::kQueries) * pairs;
    chunk = even_chunk(pairs, heads_in_cache);
  }
};

/// bf16's operands.
template <class Sizes>
inline typename Sizes::Operands flash3_operands(const AttentionCall& c) {
  typename Sizes::Operands x{};
  if (c.total_q == 0) return x;
  const int kv_heads = c.heads / c.group;
  x.q = head_rows_map(c.q, c.total_q, c.heads, c.head_dim, 64);
  x.k = x.v = x.q;  // of no keys there are no copies
  if (c.total_k == 0) return x;
  x.k = head_rows_map(c.k, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  x.v = head_rows_map(c.v, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  return x;
}

/// `heads_in_cache`: whose keys and values fit L2.
template <class Sizes>
inline void launch_flash3_forward(const Device& device, AttentionCall c,
                                  const typename Sizes::Operands& operands, int heads_in_cache) {
  const auto kernel = flash3_forward_kernel<Sizes>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Sizes::kSharedBytes),
             "attention forward");
  const Flash3Launch<Sizes> of(c, heads_in_cache);
  if (of.items == 0) return;
  c.scale *= kLog2e;
  if (Sizes::kDrop) c.keep_scale *= KeptNumbers::kScale;
  kernel<<<least(of.items, device.multiprocessors), Sizes::kThreads, Sizes::kSharedBytes,
           device.stream>>>(c, operands, of.items, of.chunk, device.ticket);
  check_launch("attention forward");
}
template <class Sizes>
inline void launch_flash3_forward(const Device& device, const AttentionCall& c) {
  launch_flash3_forward<Sizes>(device, c, flash3_operands<Sizes>(c), forward_chunk(c));
}

}  // namespace strobe::cuda
