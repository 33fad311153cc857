// Sizes of the backward, and how dQ is laid out while it is summed.
#pragma once

#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_layout.h"
#include "strobe/cuda/tile.cuh"

namespace strobe::cuda {

/// A warp owns 16 * kPieces keys and holds their dK and dV in registers; with head size 256 those
/// do not fit, and a thread block does one of two halves of their columns.
template <int D>
struct BackwardSizes {
  static constexpr int kPieces = D == 64 ? 2 : 1, kWarps = D == 128 ? 8 : 4;
  static constexpr int kThreads = 32 * kWarps, kKeys = 16 * kPieces * kWarps;
  static constexpr int kQueries = D <= 128 ? 64 : 32, kStages = 2;
  static constexpr int kPart = D <= 128 ? D : 128, kParts = D / kPart;
  static constexpr Placing kRowPlacing = kPieces == 2 ? Placing::rows_of_2 : Placing::rows_of_1;
  // Queries whose scores a warp holds at once.
  static constexpr int kColumns = D == 128 ? 64 : 32;
  // dQ of a block of queries: a warp sums 32 x 32 of it.
  static constexpr int kQueryWarps = kQueries / 32;
  static_assert(kQueries * kPart == kWarps * 32 * 32);

  static constexpr int kKeyBytes = kKeys * D * 2, kQueryBytes = kQueries * D * 2;
  static constexpr int kStageBytes = 2 * kQueryBytes + 1024;  // Q, dO; lse, delta, dropout's
  static constexpr int kShared =
      2 * kKeyBytes + kStages * kStageBytes + kKeys * kQueries * 2;  // and dS
};

/// A warp's 32 x 32 of dQ: two accumulators down, four across.
struct QueryGradient {
  float sum[2][4][4];

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        for (int e = 0; e < 4; ++e) sum[i][n][e] = 0;
  }
  /// `from` is the warp's 1024 floats, in the order of the registers.
  __device__ void load(const float* from, const Lane& lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float4 x = ptx::ld_cg_f32x4(from + ((i * 4 + n) * 32 + lane.id) * 4);
        sum[i][n][0] = x.x, sum[i][n][1] = x.y, sum[i][n][2] = x.z, sum[i][n][3] = x.w;
      }
  }
  __device__ void store(float* to, const Lane& lane) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        ptx::st_cg_f32x4(to + ((i * 4 + n) * 32 + lane.id) * 4,
                         {sum[i][n][0], sum[i][n][1], sum[i][n][2], sum[i][n][3]});
  }
  /// Adds in any order. Neighbouring lanes take neighbouring floats.
  __device__ void add(float* to, const Lane& lane) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          ptx::red_add_f32(to + ((i * 4 + n) * 4 + e) * 32 + lane.id, sum[i][n][e]);
  }
  __device__ void load_added(const float* from, const Lane& lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][n][e] = from[((i * 4 + n) * 4 + e) * 32 + lane.id];
  }
  /// Rounds the sum, times `scale`, into dq: its rows are slots of queries from `row` on, its
  /// columns begin at `column`.
  __device__ void finish(const HeadRows& view, bf16* dq, int row, int queries, int column,
                         int head_dim, float scale, const Lane& lane) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = row + row_of_column_slot(16 * i + 8 * half + lane.g);
        if (r >= queries) continue;
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const int d = column + 8 * n + 2 * lane.t;
          if (d < head_dim)
            *reinterpret_cast<uint32_t*>(dq + r * view.row + d) =
                ptx::cvt_rn_bf16x2(sum[i][n][2 * half + 1] * scale, sum[i][n][2 * half] * scale);
        }
      }
  }
};

/// Where a call's query blocks lie in its workspace.
template <int D>
struct BackwardBlocks {
  using Sizes = BackwardSizes<D>;
  int64_t block;  // of head `head`

  __device__ BackwardBlocks(const AttentionBackwardCall& c, int sequence, int head, int i) {
    const int64_t capacity = block_capacity(c.total_q, c.sequences, Sizes::kQueries);
    block = head * capacity + first_block(c.cu_q[sequence], sequence, Sizes::kQueries) + i;
  }
  __device__ int64_t row() const { return block * Sizes::kQueries; }
  /// The sum that one warp makes, and its turn.
  __device__ int64_t sum(int part, int warp) const {
    return ((block * Sizes::kParts + part) * Sizes::kWarps + warp) * 1024;
  }
  __device__ int64_t turn(int part, int warp) const {
    return (block * Sizes::kParts + part) * Sizes::kWarps + warp;
  }
};

}  // namespace strobe::cuda
