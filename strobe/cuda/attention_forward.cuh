// One step of the forward, which flash1 and flash2 share: a warp's rows of queries meet a tile of
// keys. Online softmax in log2 units (Dao et al. 2022, section 3.1; Dao 2023, section 3.1.1).
#pragma once

#include <cmath>

#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/tile.cuh"

namespace strobe::cuda {

/// Sizes. A warp owns 16 * kPieces queries: 32 where registers allow, since every warp reads all of
/// K and V from shared memory, and with 16 that would take longer than the products.
template <int D>
struct ForwardSizes {
  static constexpr int kPieces = D <= 128 ? 2 : 1, kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kQueries = 16 * kPieces * kWarps, kKeys = 64, kStages = 2;
  static constexpr Placing kRowPlacing = kPieces == 2 ? Placing::rows_of_2 : Placing::rows_of_1;
  static constexpr int kTileBytes = kKeys * D * 2, kQueryBytes = kQueries * D * 2;
};

/// What a warp carries from one tile of keys to the next: O, not yet divided by l; the maximum that
/// the exponentials are relative to, in log2 units; each lane's share of l.
template <int D, int Pieces>
struct ForwardRows {
  float o[Pieces][D / 8][4];
  float m[Pieces][2], l[Pieces][2];

  __device__ ForwardRows() {
#pragma unroll
    for (int p = 0; p < Pieces; ++p) {
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
        for (int e = 0; e < 4; ++e) o[p][n][e] = 0;
      m[p][0] = m[p][1] = -INFINITY;
      l[p][0] = l[p][1] = 0;
    }
  }
};

/// S = Q K^T for a warp's queries and 64 keys.
template <int D, int Pieces>
__device__ inline void scores(float (&s)[Pieces][8][4], const TileReader<D>& q,
                              const TileReader<D>& k) {
#pragma unroll
  for (int p = 0; p < Pieces; ++p)
#pragma unroll
    for (int n = 0; n < 8; ++n)
      for (int e = 0; e < 4; ++e) s[p][n][e] = 0;
#pragma unroll
  for (int d = 0; d < D / 16; ++d) {
    uint32_t a[Pieces][4];
#pragma unroll
    for (int p = 0; p < Pieces; ++p) ptx::ldmatrix_x4(a[p], q.at(p, d));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, k.at(j, d));
#pragma unroll
      for (int p = 0; p < Pieces; ++p) {
        ptx::mma_m16n8k16_bf16(s[p][2 * j], a[p], b[0], b[1]);
        ptx::mma_m16n8k16_bf16(s[p][2 * j + 1], a[p], b[2], b[3]);
      }
    }
  }
}

/// The step: S, P and O += P V. The tile's first key is `key`; `masked` where some row of the warp
/// does not see all of it. `row` is the warp's first query.
template <int D, int Pieces, bool Drop>
__device__ inline void forward_step(ForwardRows<D, Pieces>& rows, const TileReader<D>& q,
                                    const TileReader<D>& k, const TileReader<D>& v,
                                    const AttentionMask& mask, int row, int key, bool masked,
                                    float scale2, const RowDropout<Pieces>& dropout,
                                    const Lane& lane) {
  float s[Pieces][8][4];
  uint32_t words[8];  // of dropout
  if constexpr (Drop) dropout.read_words(words, key);
  scores<D, Pieces>(s, q, k);

  if (masked) {
#pragma unroll
    for (int p = 0; p < Pieces; ++p)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int seen = mask.keys_seen(row + row_of_row_slot(16 * p + 8 * half + lane.g, Pieces)) -
                         key - 4 * lane.t;
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (16 * (n / 2) + 2 * (n % 2) + e >= seen) s[p][n][2 * half + e] = -INFINITY;
      }
  }

  // The maximum may lag by 2^8: O and l are rescaled only when it would lag by more.
  bool any = false;
  float factor[Pieces][2];
#pragma unroll
  for (int p = 0; p < Pieces; ++p)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = s[p][0][2 * half];
#pragma unroll
      for (int n = 0; n < 8; ++n)
        most = fmaxf(most, fmaxf(s[p][n][2 * half], s[p][n][2 * half + 1]));
      most = row_max(most) * scale2;
      const bool grows = most > rows.m[p][half] + 8.0f;
      factor[p][half] = grows ? ptx::ex2_approx_ftz(rows.m[p][half] - most) : 1.0f;
      if (grows) rows.m[p][half] = most;
      any |= grows;
    }
  if (__any_sync(0xffffffffu, any)) {
#pragma unroll
    for (int p = 0; p < Pieces; ++p) {
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) rows.o[p][n][e] *= factor[p][e / 2];
      rows.l[p][0] *= factor[p][0], rows.l[p][1] *= factor[p][1];
    }
  }

  uint32_t probabilities[Pieces][4][4];  // A fragments
#pragma unroll
  for (int p = 0; p < Pieces; ++p) {
    const float m0 = rows.m[p][0] == -INFINITY ? 0 : rows.m[p][0];
    const float m1 = rows.m[p][1] == -INFINITY ? 0 : rows.m[p][1];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[p][n][e] = ptx::ex2_approx_ftz(fmaf(s[p][n][e], scale2, e < 2 ? -m0 : -m1));
        rows.l[p][e / 2] += s[p][n][e];
      }
      if (n % 2 == 1) to_a(probabilities[p][n / 2], s[p][n - 1], s[p][n]);
    }
  }
  if constexpr (Drop) dropout.clear(probabilities, words);

#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, v.at(j, d));
#pragma unroll
      for (int p = 0; p < Pieces; ++p) {
        ptx::mma_m16n8k16_bf16(rows.o[p][2 * d], probabilities[p][j], b[0], b[1]);
        ptx::mma_m16n8k16_bf16(rows.o[p][2 * d + 1], probabilities[p][j], b[2], b[3]);
      }
    }
  }
}

/// Divides O by l and stores it, and the log-sum-exp. `tile`, the warp's rows of Q, no longer
/// needed, turns 4-byte pieces into 16-byte ones.
template <int D, int Pieces>
__device__ inline void store_rows(ForwardRows<D, Pieces>& rows, char* tile, const AttentionCall& c,
                                  bf16* o, float* lse, int row, int queries, const Lane& lane) {
  const PairWriter<D> writer(ptx::shared_address(tile), lane);
#pragma unroll
  for (int p = 0; p < Pieces; ++p) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float l = row_sum(rows.l[p][half]);
      const float inverse = l == 0 ? 0 : c.keep_scale / l;
      const int slot = 16 * p + 8 * half + lane.g, r = row_of_row_slot(slot, Pieces);
      if (lane.t == 0 && row + r < queries)
        lse[row + r] = l == 0 ? -INFINITY : (rows.m[p][half] + log2f(l)) * kLn2;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const uint32_t pair = ptx::cvt_rn_bf16x2(rows.o[p][n][2 * half + 1] * inverse,
                                                 rows.o[p][n][2 * half] * inverse);
        writer.write(p, half, n, pair);
      }
    }
  }
  __syncwarp();
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = lane.id; i < 16 * Pieces * kChunks; i += 32) {
    const int r = i / kChunks, chunk = i % kChunks;
    if (row + r < queries && chunk * 8 < c.head_dim)
      *reinterpret_cast<uint4*>(o + (row + r) * c.o.row + chunk * 8) =
          *reinterpret_cast<const uint4*>(tile +
                                          16 * swizzled_chunk(row_slot(r, Pieces), chunk, kChunks));
  }
}

}  // namespace strobe::cuda
