// FlashAttention-3, backward, for Hopper. Dao 2023, Algorithm 2, in the manner of Shah et al. 2024.
//
// A thread block owns 128 keys of one key-value head and walks over the queries that see them. Its
// warps are specialised: one loads tiles by TMA; two warpgroups of consumers own 64 keys each; two
// warps bring dQ to memory; with dropout, a warpgroup draws masks ahead of time. Consumers compute
// S^T = K Q^T and dP^T = V dO^T, keys down: rounded, P^T and dS^T are A fragments of
// dV += P^T dO and dK += dS^T Q. Only dQ = dS K sums over the keys of both, by way of dS in shared
// memory. Products are asynchronous, and each group of them runs under other work:
//
//   S of the next step, dV, dK      under  P = exp(S - lse) of that step
//   dP, and dQ of the step before   under  dS = P (dP - delta), which needs dP only
//
// so that consumers need not keep step: each finds the other's dS of the step before.
//
// dQ is summed over thread blocks in f32, in L2, by bulk copies that add. The first to come to a
// block of queries writes, the last one rounds: no pass before or after. Fixed order: each waits
// for its turn (BackwardOrder). Free: they wait for the first, and the last for them.
//
// Block   128 keys, 3 warpgroups (dropout: 4); queries 128 (head size 128: 64) at a time
// HBM     Q, dO, K, V, dQ, dK, dV once; per key block Q, dO and dQ in f32, from L2
// Shared  K, V, 3 Q, 2 dO, 2 dS, dQ: 212 KiB
// Grid    one thread block a multiprocessor; key blocks by tickets
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_flash3_backward_consumer.cuh"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/tensor_map.h"

namespace strobe::cuda {

namespace {

/// Registers a thread after they are shared out anew: there are 168 for each of 384 threads, 128
/// for each of 512.
template <int D, bool Drop>
struct Flash3BackwardRegisters {
  static constexpr int kConsumer = Drop ? 224 : 232, kProducer = Drop ? 32 : 40;
  static constexpr int kMasks = 32;  // of the warps that draw them
  static_assert(2 * kConsumer + kProducer + (Drop ? kMasks : 0) <= (Drop ? 4 * 128 : 3 * 168));
};

template <int D, bool Drop>
__global__ void __launch_bounds__(Flash3BackwardSizes<D>::threads(Drop), 1)
    flash3_backward_kernel(const __grid_constant__ AttentionBackwardCall c,
                           const __grid_constant__ Flash3BackwardMaps maps) {
  using Registers = Flash3BackwardRegisters<D, Drop>;
  extern __shared__ __align__(1024) char tiles[];
  __shared__ Flash3BackwardShared<D> shared;
  if (threadIdx.x == 0) shared.init(Drop);
  __syncthreads();

  const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);  // the same for a warp
  if (group == 0) {
    sm90::setmaxnreg_dec<Registers::kProducer>();
    const uint32_t base = ptx::shared_address(tiles);
    if (threadIdx.x == 0)
      load_tiles<D>(c, maps, shared, base);
    else if (threadIdx.x == 32 || threadIdx.x == 64)
      sum_query_gradients<D>(c, shared, base, threadIdx.x / 32 - 1);
  } else if (group <= Flash3BackwardSizes<D>::kConsumers) {
    sm90::setmaxnreg_inc<Registers::kConsumer>();
    Consumer<D, Drop>(c, shared, tiles).run();
  } else if constexpr (Drop) {
    sm90::setmaxnreg_dec<Registers::kMasks>();
    const KeptNumbers kept(c.keep);
    kept.dispatch([&](auto as_float) {
      draw_masks<D, as_float()>(c, shared, ptx::shared_address(tiles), kept);
    });
  }
}

struct Workspace {
  int64_t statistics, sum, turns;

  template <int D>
  static Workspace of(int64_t heads, int64_t total_q, int64_t sequences) {
    using Sizes = Flash3BackwardSizes<D>;
    const int64_t blocks = heads * block_capacity(total_q, sequences, Sizes::kQueries);
    const auto rounded = [](int64_t bytes) { return ceil_div(bytes, int64_t{256}) * 256; };
    return {rounded(blocks * Sizes::kStatisticBytes),
            rounded(blocks * Sizes::kConsumers * Sizes::kSumBytes),
            rounded(blocks * Sizes::kConsumers * 4)};
  }
  int64_t bytes() const { return 4 * statistics + sum + turns + 256; }
};

template <int D, bool Drop>
void launch(const Device& device, AttentionBackwardCall& c, char* workspace) {
  using Sizes = Flash3BackwardSizes<D>;
  const Workspace sizes = Workspace::of<D>(c.heads, c.total_q, c.sequences);
  c.lse2 = reinterpret_cast<float*>(workspace);
  c.delta = reinterpret_cast<float*>(workspace + sizes.statistics);
  c.dropout_queries = reinterpret_cast<DropoutQuery*>(workspace + 2 * sizes.statistics);
  c.dq_sum = reinterpret_cast<float*>(workspace + 4 * sizes.statistics);
  c.turns = reinterpret_cast<int*>(workspace + 4 * sizes.statistics + sizes.sum);
  c.ticket = reinterpret_cast<int*>(workspace + sizes.bytes() - 256);
  const int blocks = ceil_div(c.max_k, Sizes::kKeys);
  const int64_t items = int64_t{blocks} * c.sequences * (c.heads / c.group);
  c.scale2 = c.scale * kLog2e;
  c.gradient_scale = c.scale * c.keep_scale;
  c.together = items <= device.multiprocessors;
  c.walk = backward_walk(c.causal, c.together, c.group);
  if (c.walk == BackwardWalk::falling)
    c.chunk = backward_chunk(c.sequences * (c.heads / c.group), blocks, device.multiprocessors,
                             int64_t{8} * c.max_q * c.head_dim * c.group);
  flash3_prepare_backward(device, c);
  if (items == 0) return;

  const int kv_heads = c.heads / c.group;
  Flash3BackwardMaps maps;
  maps.k = head_rows_map(c.k, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  maps.v = head_rows_map(c.v, c.total_k, kv_heads, c.head_dim, Sizes::kKeys);
  maps.q = maps.d_o = maps.k;  // of no queries there are no copies
  if (c.total_q > 0) {
    maps.q = head_rows_map(c.q, c.total_q, c.heads, c.head_dim, Sizes::kQueries);
    maps.d_o = head_rows_map(c.d_o, c.total_q, c.heads, c.head_dim, Sizes::kQueries);
  }
  const auto kernel = flash3_backward_kernel<D, Drop>;
  constexpr int kShared = Sizes::shared(Drop);
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
             "attention backward");
  const int grid =
      static_cast<int>(items < device.multiprocessors ? items : device.multiprocessors);
  kernel<<<grid, Sizes::threads(Drop), kShared, device.stream>>>(c, maps);
  check_launch("attention backward");
}

}  // namespace

int64_t flash3_backward_workspace_bytes(const AttentionShape& shape) {
  return (shape.head_dim <= 64 ? Workspace::of<64>(shape.heads, shape.total_q, shape.sequences)
                               : Workspace::of<128>(shape.heads, shape.total_q, shape.sequences))
      .bytes();
}

void flash3_backward(const Device& device, AttentionBackwardCall c, char* workspace) {
  if (c.max_q == 0 && c.max_k == 0) return;
  const bool drop = c.keep < 256;
  if (c.head_dim <= 64)
    drop ? launch<64, true>(device, c, workspace) : launch<64, false>(device, c, workspace);
  else
    drop ? launch<128, true>(device, c, workspace) : launch<128, false>(device, c, workspace);
}

}  // namespace strobe::cuda
