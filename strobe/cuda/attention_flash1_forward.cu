// FlashAttention, forward, as published in 2022. Dao, Fu, Ermon, Rudra, Re, "FlashAttention: Fast
// and Memory-Efficient Exact Attention with IO-Awareness", Algorithm 1.
//
// A thread block owns a whole head of one sequence. Outer loop over blocks of keys, which stay in
// shared memory, a share for each warp; inner loop over queries, whose O, m and l are read from
// device memory, brought up to date and written back, O divided by l each time. All warps take the
// same queries, so their maxima and their shares of O meet in shared memory. Against naive: S and P
// never leave the chip. What flash2 then takes away: the traffic of O, the exchange among warps,
// and a grid of heads x sequences only.
//
// Block   64 keys to a warp: 256 by 4 warps at head size 64, 128 by 2 at 128, 64 by 1 at 256;
//         32 queries at a time (head size 256: 16)
// HBM     K and V once; per block of keys Q, and O in f32 twice
// Shared  K, V, 2 Q and each warp's share of O: 104 KiB at head size 64, 112 at 128, 96 at 256
// Grid    heads x sequences
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_forward.cuh"

namespace strobe::cuda {

namespace {

template <int D>
struct Flash1Sizes {
  static constexpr int kPieces = ForwardSizes<D>::kPieces, kRows = 16 * kPieces;
  static constexpr int kWarps = 256 / D, kThreads = 32 * kWarps, kKeys = 64 * kWarps;
  static constexpr int kKeyBytes = kKeys * D * 2, kQueryBytes = kRows * D * 2;
  static constexpr int kShareFloats = kRows * D, kStateFloats = kRows * (D + 4);
  static constexpr int kShared =
      2 * kKeyBytes + 2 * kQueryBytes + kWarps * (kShareFloats + 2 * kRows) * 4;
  // A warp finishes these of the accumulators of O, counted through all pieces.
  static constexpr int kOwn = kPieces * D / 8 / kWarps;
};

template <int D, bool Drop>
__global__ void __launch_bounds__(Flash1Sizes<D>::kThreads, 2)
    flash1_forward_kernel(const AttentionCall c, float* states) {
  using Sizes = Flash1Sizes<D>;
  constexpr int kPieces = Sizes::kPieces, kRows = Sizes::kRows, kWarps = Sizes::kWarps;
  extern __shared__ __align__(1024) char shared[];

  const int sequence = blockIdx.x / c.heads, head = blockIdx.x % c.heads;
  const int64_t first_q = c.cu_q[sequence], first_k = c.cu_k[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first_q),
                           static_cast<int>(c.cu_k[sequence + 1] - first_k), c.causal};
  const Lane lane;
  const int warp = threadIdx.x / 32, kv_head = head / c.group;
  const uint32_t tile_k = ptx::shared_address(shared), tile_v = tile_k + Sizes::kKeyBytes;
  const uint32_t tiles_q = tile_v + Sizes::kKeyBytes;
  float* const shares =
      reinterpret_cast<float*>(shared + 2 * Sizes::kKeyBytes + 2 * Sizes::kQueryBytes);
  float* const share = shares + warp * Sizes::kShareFloats;
  float* const maxima = shares + kWarps * Sizes::kShareFloats;  // by warp and slot of a row
  float* const sums = maxima + kWarps * kRows;

  using LoadKeys = TileLoader<Sizes::kKeys, D, Sizes::kThreads, Placing::columns>;
  const LoadKeys load_k(c.k.at(first_k, kv_head), c.k.row, c.head_dim, threadIdx.x);
  const LoadKeys load_v(c.v.at(first_k, kv_head), c.v.row, c.head_dim, threadIdx.x);
  const TileLoader<kRows, D, Sizes::kThreads, ForwardSizes<D>::kRowPlacing> load_q(
      c.q.at(first_q, head), c.q.row, c.head_dim, threadIdx.x);
  RowDropout<kPieces> dropout(c.keep, c.dropout_words, lane);
  const uint64_t dropout_key = Drop ? attention_dropout_key(c.state, c.site) : 0;
  const uint32_t rows_first = lane_offset<D>(lane, Order::rows_first);
  const uint32_t columns_first = lane_offset<D>(lane, Order::columns_first);
  const TileReader<D> k(tile_k + warp * 64 * D * 2, columns_first);
  const TileReader<D> v(tile_v + warp * 64 * D * 2, rows_first);

  const int64_t first_state =
      head * block_capacity(c.total_q, c.sequences, kRows) + first_block(first_q, sequence, kRows);
  const int blocks = most(1, ceil_div(mask.keys, Sizes::kKeys));
  const int steps = ceil_div(mask.queries, kRows);
  for (int block = 0; block < blocks; ++block) {
    const int block_key = block * Sizes::kKeys, key = block_key + warp * 64;
    // Rows that see no key at all are done with the first block.
    const int first_step = block == 0 ? 0 : mask.first_query(block_key) / kRows;
    __syncthreads();
    load_k(tile_k, block_key, mask.keys - block_key);
    load_v(tile_v, block_key, mask.keys - block_key);
    load_q(tiles_q + first_step % 2 * Sizes::kQueryBytes, first_step * kRows,
           mask.queries - first_step * kRows);
    ptx::cp_async_commit_group();

    for (int step = first_step; step < steps; ++step) {
      const int row = step * kRows, last = least(row + kRows, mask.queries) - 1;
      const int seen = mask.keys_seen(last);
      ptx::cp_async_wait_group<0>();
      __syncthreads();
      load_q(tiles_q + (step + 1) % 2 * Sizes::kQueryBytes, row + kRows,
             mask.queries - row - kRows);
      ptx::cp_async_commit_group();

      // This warp's share: its 64 keys alone.
      ForwardRows<D, kPieces> rows;
      if (key < seen) {
        const TileReader<D> q(tiles_q + step % 2 * Sizes::kQueryBytes, rows_first);
        if (Drop) dropout.take_rows(dropout_key, blockIdx.x, row, lane);
        forward_step<D, kPieces, Drop>(rows, q, k, v, mask, row, key,
                                       key + 64 > mask.keys_seen(row), c.scale * kLog2e, dropout,
                                       lane);
      }
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float l = row_sum(rows.l[p][half]);
          if (lane.t == 0) {
            maxima[warp * kRows + 16 * p + 8 * half + lane.g] = rows.m[p][half];
            sums[warp * kRows + 16 * p + 8 * half + lane.g] = l;
          }
        }
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
          reinterpret_cast<float4*>(share)[(p * (D / 8) + n) * 32 + lane.id] =
              make_float4(rows.o[p][n][0], rows.o[p][n][1], rows.o[p][n][2], rows.o[p][n][3]);
      }
      __syncthreads();

      // All shares and what there was: lines 11 to 13 of the algorithm. A warp does kOwn of O's
      // accumulators.
      float* const state = states + (first_state + step) * Sizes::kStateFloats;
      // Several warps read the old m and l, one writes the new: beside the old.
      float* const new_m = state + kRows * (D + block % 2 * 2);
      float* const old_m = state + kRows * (D + (block + 1) % 2 * 2);
      const bool final = block_key + Sizes::kKeys >= seen;
      constexpr int kPerPiece = D / 8 < Sizes::kOwn ? D / 8 : Sizes::kOwn;
#pragma unroll
      for (int first = 0; first < Sizes::kOwn; first += kPerPiece) {
        const int accumulator = warp * Sizes::kOwn + first, p = accumulator / (D / 8);
        float factor[2][kWarps], before[2], inverse[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int slot = 16 * p + 8 * half + lane.g;
          const float m_old = block == 0 ? -INFINITY : old_m[slot];
          const float l_old = block == 0 ? 0 : old_m[kRows + slot];
          float m = m_old;
#pragma unroll
          for (int w = 0; w < kWarps; ++w) m = fmaxf(m, maxima[w * kRows + slot]);
          const float base = m == -INFINITY ? 0 : m;
          before[half] = l_old * ptx::ex2_approx_ftz(m_old - base);
          float l = before[half];
#pragma unroll
          for (int w = 0; w < kWarps; ++w) {
            factor[half][w] = ptx::ex2_approx_ftz(maxima[w * kRows + slot] - base);
            l += sums[w * kRows + slot] * factor[half][w];
          }
          inverse[half] = l == 0 ? 0 : 1 / l;
          if (accumulator % (D / 8) == 0 && lane.t == 0) {  // one warp for each row
            const int r = row + row_of_row_slot(slot, kPieces);
            if (!final) {
              new_m[slot] = m, new_m[kRows + slot] = l;
            } else if (r < mask.queries) {
              c.lse[head * c.lse_stride + first_q + r] = l == 0 ? -INFINITY : (m + log2f(l)) * kLn2;
            }
          }
        }
        float4 old[kPerPiece];
#pragma unroll
        for (int i = 0; i < kPerPiece; ++i)
          old[i] = block == 0 ? make_float4(0, 0, 0, 0)
                              : ptx::ld_cg_f32x4(state + 4 * ((accumulator + i) * 32 + lane.id));
#pragma unroll
        for (int i = 0; i < kPerPiece; ++i) {
          const int at = (accumulator + i) * 32 + lane.id;
          float x[4] = {old[i].x * before[0], old[i].y * before[0], old[i].z * before[1],
                        old[i].w * before[1]};
#pragma unroll
          for (int w = 0; w < kWarps; ++w) {
            const float4 y =
                reinterpret_cast<const float4*>(shares)[w * Sizes::kShareFloats / 4 + at];
            x[0] = fmaf(y.x, factor[0][w], x[0]), x[1] = fmaf(y.y, factor[0][w], x[1]);
            x[2] = fmaf(y.z, factor[1][w], x[2]), x[3] = fmaf(y.w, factor[1][w], x[3]);
          }
          x[0] *= inverse[0], x[1] *= inverse[0], x[2] *= inverse[1], x[3] *= inverse[1];
          if (!final) {
            ptx::st_cg_f32x4(state + 4 * at, {x[0], x[1], x[2], x[3]});
            continue;
          }
          const int d = 8 * ((accumulator + i) % (D / 8)) + 2 * lane.t;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int r = row + row_of_row_slot(16 * p + 8 * half + lane.g, kPieces);
            if (r < mask.queries && d < c.head_dim)
              *reinterpret_cast<uint32_t*>(c.o.at(first_q + r, head) + d) =
                  ptx::cvt_rn_bf16x2(x[2 * half + 1] * c.keep_scale, x[2 * half] * c.keep_scale);
          }
        }
      }
    }
    ptx::cp_async_wait_group<0>();
  }
}

template <int D>
int64_t workspace_bytes(const AttentionShape& shape) {
  using Sizes = Flash1Sizes<D>;
  return shape.heads * block_capacity(shape.total_q, shape.sequences, Sizes::kRows) *
         Sizes::kStateFloats * int64_t{sizeof(float)};
}

template <int D, bool Drop>
void launch(const Device& device, AttentionCall c, char* workspace) {
  using Sizes = Flash1Sizes<D>;
  if (Drop) c.keep_scale *= KeptNumbers::kScale;
  const auto kernel = flash1_forward_kernel<D, Drop>;
  check_cuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Sizes::kShared),
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
