// FlashAttention-2, forward. Dao, "FlashAttention-2: Faster Attention with Better Parallelism and
// Work Partitioning", 2023, Algorithm 1.
//
// A thread block owns a block of queries of one head and walks over the keys that they see, the
// diagonal first; O, m and l stay in registers and O is divided by l once. Against flash1: the
// outer loop is over queries, so nothing is rewritten in device memory; the sequence is split over
// thread blocks; a warp owns rows of S, not columns, so warps exchange nothing.
//
// Block   128 queries by 4 warps (head size 256: 64), tiles of 64 keys, two in flight (cp.async)
// HBM     Q, K, V once and O once, where a chunk of heads fits L2; lse
// Shared  Q and 2 (K + V): 48 KiB at head size 64, 96 at 128, 160 at 256
// Grid    query blocks x heads x sequences, longest first in chunks of heads (forward_item)
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_forward.cuh"

namespace strobe::cuda {

namespace {

template <int D, bool Drop>
__global__ void __launch_bounds__(ForwardSizes<D>::kThreads, (D == 64    ? (Drop ? 2 : 3)
                                                              : D == 128 ? 2
                                                                         : 1))
    flash2_forward_kernel(const AttentionCall c, int chunk) {
  using Sizes = ForwardSizes<D>;
  extern __shared__ __align__(1024) char shared[];

  const AttentionItem item =
      forward_item(blockIdx.x, c.sequences * c.heads, ceil_div(c.max_q, Sizes::kQueries), chunk);
  const int sequence = item.pair / c.heads, head = item.pair % c.heads;
  const int64_t first_q = c.cu_q[sequence], first_k = c.cu_k[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first_q),
                           static_cast<int>(c.cu_k[sequence + 1] - first_k), c.causal};
  const int block_row = item.block * Sizes::kQueries;
  if (block_row >= mask.queries) return;

  const Lane lane;
  const int row = block_row + threadIdx.x / 32 * 16 * Sizes::kPieces;  // the warp's first
  const int last = least(row + 16 * Sizes::kPieces, mask.queries) - 1;
  const int seen_by_all = mask.keys_seen(row), seen = last < row ? 0 : mask.keys_seen(last);
  const int block_last = least(block_row + Sizes::kQueries, mask.queries) - 1;
  const int tiles = ceil_div(mask.keys_seen(block_last), Sizes::kKeys);

  const uint32_t tile_q = ptx::shared_address(shared), stages = tile_q + Sizes::kQueryBytes;
  const int kv_head = head / c.group;
  const TileLoader<Sizes::kKeys, D, Sizes::kThreads, Placing::columns> load_k(
      c.k.at(first_k, kv_head), c.k.row, c.head_dim, threadIdx.x);
  const TileLoader<Sizes::kKeys, D, Sizes::kThreads, Placing::columns> load_v(
      c.v.at(first_k, kv_head), c.v.row, c.head_dim, threadIdx.x);
  const auto load = [&](int tile, uint32_t stage) {
    const int key = tile * Sizes::kKeys;
    load_k(stage, key, mask.keys - key);
    load_v(stage + Sizes::kTileBytes, key, mask.keys - key);
  };
  const TileLoader<Sizes::kQueries, D, Sizes::kThreads, Sizes::kRowPlacing> load_q(
      c.q.at(first_q, head), c.q.row, c.head_dim, threadIdx.x);
  load_q(tile_q, block_row, mask.queries - block_row);
  if (tiles > 0) load(tiles - 1, stages);
  ptx::cp_async_commit_group();

  ForwardRows<D, Sizes::kPieces> rows;
  const float scale2 = c.scale * kLog2e;
  RowDropout<Sizes::kPieces> dropout(c.keep, c.dropout_words, lane);
  if (Drop) dropout.take_rows(attention_dropout_key(c.state, c.site), item.pair, row, lane);
  const uint32_t rows_first = lane_offset<D>(lane, Order::rows_first);
  const uint32_t columns_first = lane_offset<D>(lane, Order::columns_first);
  const TileReader<D> q(tile_q + threadIdx.x / 32 * 16 * Sizes::kPieces * D * 2, rows_first);
  uint32_t stage = stages, other = stages + 2 * Sizes::kTileBytes;
  for (int tile = tiles - 1; tile >= 0; --tile) {
    ptx::cp_async_wait_group<0>();
    __syncthreads();
    if (tile > 0) load(tile - 1, other);
    ptx::cp_async_commit_group();
    const int key = tile * Sizes::kKeys;
    if (key < seen) {
      const TileReader<D> k(stage, columns_first);
      const TileReader<D> v(stage + Sizes::kTileBytes, rows_first);
      forward_step<D, Sizes::kPieces, Drop>(
          rows, q, k, v, mask, row, key, key + Sizes::kKeys > seen_by_all, scale2, dropout, lane);
    }
    const uint32_t swap = stage;
    stage = other, other = swap;
  }
  ptx::cp_async_wait_group<0>();
  __syncthreads();
  store_rows<D, Sizes::kPieces>(rows, shared + (row - block_row) * D * 2, c, c.o.at(first_q, head),
                                c.lse + head * c.lse_stride + first_q, row, mask.queries, lane);
}

template <int D, bool Drop>
void launch(const Device& device, AttentionCall c) {
  using Sizes = ForwardSizes<D>;
  if (Drop) c.keep_scale *= KeptNumbers::kScale;
  const int shared = Sizes::kQueryBytes + 2 * Sizes::kStages * Sizes::kTileBytes;
  const auto kernel = flash2_forward_kernel<D, Drop>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
             "attention forward");
  const int blocks = ceil_div(c.max_q, Sizes::kQueries) * c.sequences * c.heads;
  if (blocks == 0) return;
  kernel<<<blocks, Sizes::kThreads, shared, device.stream>>>(c, forward_chunk(c));
  check_launch("attention forward");
}

}  // namespace

int forward_chunk(const AttentionCall& c) {
  const int64_t head_bytes = int64_t{4} * c.max_k * c.head_dim / c.group;
  return static_cast<int>(most(1, static_cast<int>((16 << 20) / (head_bytes + 1))));
}

void flash2_forward(const Device& device, const AttentionCall& c) {
  const bool drop = c.keep < 256;
  if (c.head_dim <= 64)
    drop ? launch<64, true>(device, c) : launch<64, false>(device, c);
  else if (c.head_dim <= 128)
    drop ? launch<128, true>(device, c) : launch<128, false>(device, c);
  else
    drop ? launch<256, true>(device, c) : launch<256, false>(device, c);
}

}  // namespace strobe::cuda
