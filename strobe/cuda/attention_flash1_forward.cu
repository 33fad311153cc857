// FlashAttention, forward, as published in 2022. Dao, Fu, Ermon, Rudra, Re, "FlashAttention: Fast
// and Memory-Efficient Exact Attention with IO-Awareness", Algorithm 1.
//
// A thread block owns a whole head of one sequence. Outer loop over blocks of keys, which stay in
// shared memory; inner loop over queries, whose O, m and l are read from device memory, brought up
// to date and written back, O divided by l each time. Against naive: S and P never leave the chip.
// What flash2 then takes away: the traffic of O, and a grid of heads x sequences only.
//
// Block   4 warps of 32 queries each (head size 256: 16), which need not wait for each other;
//         256 keys at head size 64, 128 at 128, 64 at 256
// HBM     K and V once; per block of keys Q, and O in f32 twice
// Shared  K, V and each warp's Q: 96 KiB
// Grid    heads x sequences
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_forward.cuh"

namespace strobe::cuda {

namespace {

template <int D>
struct Flash1Sizes : ForwardSizes<D> {
  static constexpr int kRows = 16 * ForwardSizes<D>::kPieces;  // of a warp
  static constexpr int kBlockKeys = 16384 / D, kBlockBytes = kBlockKeys * D * 2;
  static constexpr int kStages = D == 64 ? 2 : 1, kWarpQueryBytes = kRows * D * 2;
  static constexpr int kShared =
      2 * kBlockBytes + kStages * ForwardSizes<D>::kWarps * kWarpQueryBytes;
};

/// O, m and l of a warp's rows between two blocks of keys.
template <int D>
struct State {
  using Sizes = Flash1Sizes<D>;
  static constexpr int kFloats = Sizes::kRows * (D + 2);
  float* at;

  /// As O, divided by l, was left.
  __device__ void load(ForwardRows<D, Sizes::kPieces>& rows, const Lane& lane) const {
#pragma unroll
    for (int p = 0; p < Sizes::kPieces; ++p) {
      float l[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = 16 * p + 8 * half + lane.g;
        rows.m[p][half] = at[Sizes::kRows * D + r];
        l[half] = at[Sizes::kRows * (D + 1) + r];
        rows.l[p][half] = lane.t == 0 ? l[half] : 0;
      }
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const float4 x = ptx::ld_cg_f32x4(at + ((p * (D / 8) + n) * 32 + lane.id) * 4);
        rows.o[p][n][0] = x.x * l[0], rows.o[p][n][1] = x.y * l[0];
        rows.o[p][n][2] = x.z * l[1], rows.o[p][n][3] = x.w * l[1];
      }
    }
  }
  __device__ void store(const ForwardRows<D, Sizes::kPieces>& rows, const Lane& lane) const {
#pragma unroll
    for (int p = 0; p < Sizes::kPieces; ++p) {
      float inverse[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float l = row_sum(rows.l[p][half]);
        inverse[half] = l == 0 ? 0 : 1 / l;
        const int r = 16 * p + 8 * half + lane.g;
        if (lane.t == 0) {
          at[Sizes::kRows * D + r] = rows.m[p][half];
          at[Sizes::kRows * (D + 1) + r] = l;
        }
      }
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
        ptx::st_cg_f32x4(at + ((p * (D / 8) + n) * 32 + lane.id) * 4,
                         {rows.o[p][n][0] * inverse[0], rows.o[p][n][1] * inverse[0],
                          rows.o[p][n][2] * inverse[1], rows.o[p][n][3] * inverse[1]});
    }
    __syncwarp();
  }
};

template <int D, bool Drop>
__global__ void __launch_bounds__(ForwardSizes<D>::kThreads, 2)
    flash1_forward_kernel(const AttentionCall c, float* states) {
  using Sizes = Flash1Sizes<D>;
  extern __shared__ __align__(1024) char shared[];

  const int sequence = blockIdx.x / c.heads, head = blockIdx.x % c.heads;
  const int64_t first_q = c.cu_q[sequence], first_k = c.cu_k[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first_q),
                           static_cast<int>(c.cu_k[sequence + 1] - first_k), c.causal};
  const Lane lane;
  const int warp = threadIdx.x / 32, kv_head = head / c.group;
  const uint32_t tile_k = ptx::shared_address(shared), tile_v = tile_k + Sizes::kBlockBytes;
  char* const tiles_q =
      shared + 2 * Sizes::kBlockBytes + warp * Sizes::kStages * Sizes::kWarpQueryBytes;
  const TileLoader<Sizes::kBlockKeys, D, Sizes::kThreads, Placing::columns> load_k(
      c.k.at(first_k, kv_head), c.k.row, c.head_dim, threadIdx.x);
  const TileLoader<Sizes::kBlockKeys, D, Sizes::kThreads, Placing::columns> load_v(
      c.v.at(first_k, kv_head), c.v.row, c.head_dim, threadIdx.x);
  const TileLoader<Sizes::kRows, D, 32, Sizes::kRowPlacing> load_q(c.q.at(first_q, head), c.q.row, c.head_dim,
                                                      lane.id);
  DropoutPatches<Sizes::kPieces> dropout(c.state, c.site, blockIdx.x, c.keep, lane);

  const int blocks = most(1, ceil_div(mask.keys, Sizes::kBlockKeys));
  for (int block = 0; block < blocks; ++block) {
    const int block_key = block * Sizes::kBlockKeys;
    __syncthreads();
    load_k(tile_k, block_key, mask.keys - block_key);
    load_v(tile_v, block_key, mask.keys - block_key);
    ptx::cp_async_commit_group();
    // The first rows of this warp that see a key of the block; those that see none are done here
    // with the first block.
    const int first_row = block == 0 ? 0 : mask.first_query(block_key);
    const int first_step = first_row / Sizes::kQueries;
    const auto load = [&](int step) {
      const int row = step * Sizes::kQueries + warp * Sizes::kRows;
      load_q(ptx::shared_address(tiles_q) + step % Sizes::kStages * Sizes::kWarpQueryBytes, row,
             mask.queries - row);
      ptx::cp_async_commit_group();
    };
    load(first_step);
    ptx::cp_async_wait_group<1>();
    __syncthreads();

    for (int step = first_step; step * Sizes::kQueries < mask.queries; ++step) {
      const int row = step * Sizes::kQueries + warp * Sizes::kRows;
      if (row >= mask.queries) break;
      const int last = least(row + Sizes::kRows, mask.queries) - 1;
      const int seen = mask.keys_seen(last), seen_by_all = mask.keys_seen(row);
      if (Sizes::kStages == 2) {
        load(step + 1);
        ptx::cp_async_wait_group<1>();
      } else {
        ptx::cp_async_wait_group<0>();
      }
      __syncwarp();
      char* const tile_q = tiles_q + step % Sizes::kStages * Sizes::kWarpQueryBytes;
      if (block_key < seen || block == 0) {
        const int64_t index = first_block(c.cu_q[sequence], sequence, Sizes::kQueries) + step;
        const State<D> state{
            states + ((head * block_capacity(c.total_q, c.sequences, Sizes::kQueries) + index) *
                          Sizes::kWarps +
                      warp) *
                         State<D>::kFloats};
        ForwardRows<D, Sizes::kPieces> rows;
        if (block > 0) state.load(rows, lane);
        const TileReader<D> q(ptx::shared_address(tile_q), lane, TileReader<D>::rows_first);
        for (int tile = 0; tile < Sizes::kBlockKeys / Sizes::kKeys; ++tile) {
          const int key = block_key + tile * Sizes::kKeys;
          if (key >= seen) break;
          const TileReader<D> k(tile_k + tile * Sizes::kTileBytes, lane,
                                TileReader<D>::columns_first);
          const TileReader<D> v(tile_v + tile * Sizes::kTileBytes, lane,
                                TileReader<D>::rows_first);
          forward_step<D, Sizes::kPieces, Drop>(rows, q, k, v, mask, row, key,
                                                key + Sizes::kKeys > seen_by_all,
                                                c.scale * kLog2e, dropout, lane);
        }
        if (block_key + Sizes::kBlockKeys >= seen)
          store_rows<D, Sizes::kPieces>(rows, tile_q, c, c.o.at(first_q, head),
                                        c.lse + head * c.lse_stride + first_q, row, mask.queries,
                                        lane);
        else
          state.store(rows, lane);
      }
      __syncwarp();
      if (Sizes::kStages == 1) load(step + 1);
    }
    ptx::cp_async_wait_group<0>();
  }
}

template <int D>
int64_t workspace_bytes(const AttentionShape& shape) {
  using Sizes = ForwardSizes<D>;
  return shape.heads * block_capacity(shape.total_q, shape.sequences, Sizes::kQueries) *
         Sizes::kWarps * State<D>::kFloats * int64_t{sizeof(float)};
}

template <int D, bool Drop>
void launch(const Device& device, const AttentionCall& c, char* workspace) {
  using Sizes = Flash1Sizes<D>;
  const auto kernel = flash1_forward_kernel<D, Drop>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Sizes::kShared),
             "attention forward");
  if (c.sequences * c.heads == 0) return;
  kernel<<<c.sequences * c.heads, Sizes::kThreads, Sizes::kShared, device.stream>>>(
      c, reinterpret_cast<float*>(workspace));
  check_launch("attention forward");
}

}  // namespace

int64_t flash1_forward_workspace_bytes(const AttentionShape& shape) {
  if (shape.head_dim <= 64) return workspace_bytes<64>(shape);
  return shape.head_dim <= 128 ? workspace_bytes<128>(shape) : workspace_bytes<256>(shape);
}

void flash1_forward(const Device& device, const AttentionCall& c, char* workspace) {
  const bool drop = c.keep < 256;
  if (c.head_dim <= 64)
    drop ? launch<64, true>(device, c, workspace) : launch<64, false>(device, c, workspace);
  else if (c.head_dim <= 128)
    drop ? launch<128, true>(device, c, workspace) : launch<128, false>(device, c, workspace);
  else
    drop ? launch<256, true>(device, c, workspace) : launch<256, false>(device, c, workspace);
}

}  // namespace strobe::cuda
