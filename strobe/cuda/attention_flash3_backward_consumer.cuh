// The consumers of flash3's backward: all products and what lies between them. Line numbers are
// those of Dao 2023, Algorithm 2. For files *_sm90.cu.
#pragma once

#include <cmath>

#include "strobe/cuda/attention_flash3_backward.cuh"

namespace strobe::cuda {

/// x = a b^T: 64 rows of tile a, tile b; both in panels of 64 columns.
template <int D, int Columns>
__device__ inline void multiply_transposed(float (&x)[Columns / 2], uint32_t a, int a_panel,
                                           uint32_t b, int b_panel) {
  const uint64_t desc_a = sm90::descriptor_k_major(a), desc_b = sm90::descriptor_k_major(b);
#pragma unroll
  for (int d = 0; d < D / 16; ++d)
    sm90::wgmma_m64k16_bf16<Columns, 0, 0>(x, sm90::advance(desc_a, d / 4 * a_panel + d % 4 * 32),
                                           sm90::advance(desc_b, d / 4 * b_panel + d % 4 * 32),
                                           d > 0);
}

/// x += a b: a in A fragments, 16 rows of tile b each.
template <int D, int Pieces>
__device__ inline void multiply(float (&x)[D / 2], const uint32_t (&a)[Pieces][4], uint32_t b,
                                int b_panel) {
  const uint64_t desc_b = sm90::descriptor_mn_major(b, b_panel);
#pragma unroll
  for (int j = 0; j < Pieces; ++j)
    sm90::wgmma_m64k16_bf16<D, 1>(x, a[j], sm90::advance(desc_b, j * 2048), 1);
}

template <int D, bool Drop>
struct Consumer {
  using Sizes = Flash3BackwardSizes<D>;
  static constexpr int kQueries = Sizes::kQueries, kPieces = kQueries / 16;
  // Whether others' sum of dQ is loaded before the product or added after it: what the registers
  // and the compiler permit.
  static constexpr bool kBeginsWithSum = D == 64;

  const AttentionBackwardCall& c;
  Flash3BackwardShared<D>& shared;
  char* const tiles;
  const uint32_t base;
  const int group, warp;
  const Lane lane;

  __device__ Consumer(const AttentionBackwardCall& c, Flash3BackwardShared<D>& shared, char* tiles)
      : c(c),
        shared(shared),
        tiles(tiles),
        base(ptx::shared_address(tiles)),
        group(uniform(threadIdx.x / 128) - 1),
        warp(uniform(threadIdx.x / 32 % 4)) {}

  /// Of this consumer.
  __device__ int first_key() const { return shared.work.block * Sizes::kKeys + 64 * group; }

  /// Rows of a tile that belong to another sequence must be finite: 0 times them is added. By both
  /// consumers.
  __device__ void clear_rows(uint32_t tile, int panel_bytes, int rows, int valid) const {
    if (valid >= rows) return;
    for (int i = valid * 8 + threadIdx.x - 128; i < rows * 8; i += 128 * Sizes::kConsumers)
      for (int panel = 0; panel < Sizes::kPanels; ++panel)
        sm90::st_shared_v4(tile + panel * panel_bytes + i * 16, 0, 0, 0, 0);
    sm90::fence_proxy_async_shared();
    sm90::bar_sync(1, 128 * Sizes::kConsumers);
  }

  /// Queries from here on see all keys of this consumer.
  __device__ int unmasked() const {
    const AttentionMask mask = shared.work.mask(c.causal);
    return first_key() + 64 > mask.keys ? 1 << 30 : mask.first_query(first_key() + 63);
  }
  /// S of keys that a query does not see.
  __device__ void mask_scores(float (&s)[kQueries / 2], int row) const {
    const AttentionMask mask = shared.work.mask(c.causal);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int key = first_key() + 16 * warp + 8 * half + lane.g;
      const int first = key >= mask.keys ? 1 << 30 : mask.first_query(key);
      const int hidden = first - row - 2 * lane.t;
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (8 * n + e < hidden) s[4 * n + 2 * half + e] = -INFINITY;
    }
  }

  /// P = exp(S - lse), line 11.
  __device__ void exponentials(float (&s)[kQueries / 2], int stage) const {
    const float4* lse =
        reinterpret_cast<const float4*>(tiles + Sizes::kLseAt + stage * Sizes::kStatisticBytes);
#pragma unroll
    for (int m = 0; m < kPieces; ++m) {
      const float4 l = lse[4 * m + lane.t];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        s[8 * m + i] = ptx::ex2_approx_ftz(
            fmaf(s[8 * m + i], c.scale2, i < 4 ? (i % 2 ? -l.y : -l.x) : (i % 2 ? -l.w : -l.z)));
    }
  }

  /// This thread's bits of a step in pieces m and m + 1: for each of their accumulators four, in
  /// the signs of four bytes.
  __device__ void read_masks(uint32_t (&words)[4], int stage, int m) const {
    const uint32_t from =
        base + Sizes::kMasksAt + stage * Sizes::kMaskBytes +
        4 * ((4 * group + warp) * Sizes::kMaskWords + dropout_slot(0, lane.g, lane.t));
    const int shift = dropout_shift(lane.g, lane.t);
    const uint4 x = ptx::ld_shared_u32x4(from + 4 * dropout_slot(m / 2, 0, 0));
    words[0] = x.x << shift, words[1] = x.y << shift;
    words[2] = x.z << shift, words[3] = x.w << shift;
  }

  /// dS = P (dP - delta), line 14. With dropout, dP and for dV also P are 0 where it drops. Delta
  /// is there with its sign changed.
  __device__ void score_gradients(uint32_t (&ds)[kPieces][4], uint32_t (&p)[kPieces][4],
                                  const float (&dp)[kQueries / 2], int stage) const {
    const float4* deltas =
        reinterpret_cast<const float4*>(tiles + Sizes::kDeltaAt + stage * Sizes::kStatisticBytes);
    uint32_t words[4];
#pragma unroll
    for (int m = 0; m < kPieces; ++m) {
      if (Drop && m % 2 == 0) read_masks(words, stage, m);
      const float4 delta = deltas[4 * m + lane.t];
#pragma unroll
      for (int k = 0; k < 4; ++k) {  // the column of 8 k / 2, the row half k % 2
        const float d0 = k < 2 ? delta.x : delta.z, d1 = k < 2 ? delta.y : delta.w;
        uint32_t x = ptx::cvt_rn_bf16x2(dp[8 * m + 2 * k + 1] + d1, dp[8 * m + 2 * k] + d0);
        if constexpr (Drop) {
          const uint32_t keeps = ptx::prmt(words[2 * (m % 2) + k / 2], 0, k % 2 ? 0xbbaa : 0x9988);
          x = (x & keeps) | (ptx::cvt_rn_bf16x2(d1, d0) & ~keeps);
          ds[m][k] = sm90::mul_bf16x2(p[m][k], x);
          // The lesser of P and 0xffff or 0. An AND's P would be copied: 32 registers.
          p[m][k] = sm90::min_u16x2(p[m][k], keeps);
        } else {
          ds[m][k] = sm90::mul_bf16x2(p[m][k], x);
        }
      }
    }
  }

  __device__ void store_scores(const uint32_t (&ds)[kPieces][4], uint32_t to) const {
    const uint32_t at =
        to + (64 * group + 16 * warp) * 128 + panel_byte(lane.id & 15, lane.id / 16);
#pragma unroll
    for (int m = 0; m < kPieces; ++m)
      sm90::stmatrix_x4((at ^ (m % 4 * 32)) + m / 4 * Sizes::kKeyPanelBytes, ds[m]);
    sm90::fence_proxy_async_shared();
  }

  /// dQ = dS K, line 15: half of the queries, or of the columns.
  __device__ void multiply_query_gradient(float (&dq)[32], uint32_t ds) const {
    constexpr int kPanel = Sizes::kKeyPanelBytes;
    const uint64_t a = sm90::descriptor_mn_major(ds + (D == 64 ? group * kPanel : 0), kPanel);
    const uint64_t b =
        sm90::descriptor_mn_major(base + Sizes::kKeysAt + (D == 64 ? 0 : group * kPanel), kPanel);
#pragma unroll
    for (int j = 0; j < Sizes::kKeys / 16; ++j)
      sm90::wgmma_m64k16_bf16<64, 1, 1>(dq, sm90::advance(a, j * 2048), sm90::advance(b, j * 2048),
                                        j > 0 || kBeginsWithSum);
  }

  /// This thread's accumulators in the buffer of dQ: every 2048 bytes four.
  __device__ uint32_t sum_address() const {
    return base + Sizes::kSumsAt + group * Sizes::kSumBytes + threadIdx.x % 128 * 16;
  }
  /// Where this block is the last of several that add to dQ of step `tile`: begins with their sum.
  __device__ void begin_query_gradient(float (&dq)[32], uint32_t tile) const {
    wait(shared.sum_ready[group], tile & 1);
    const RunningQueryGradient& sum = shared.dq[group];
    const bool begun = sum.to && sum.begun;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float4 x =
          begun ? sm90::ld_shared_v4(sum_address() + n * 2048) : make_float4(0, 0, 0, 0);
      dq[4 * n] = x.x, dq[4 * n + 1] = x.y, dq[4 * n + 2] = x.z, dq[4 * n + 3] = x.w;
    }
  }
  /// Hands dQ to the thread that sums it, or rounds it if this block is the last.
  __device__ void store_query_gradient(float (&dq)[32], uint32_t tile) const {
    if constexpr (!kBeginsWithSum) wait(shared.sum_ready[group], tile & 1);
    const RunningQueryGradient& sum = shared.dq[group];
    if (!sum.to) {
#pragma unroll
      for (int n = 0; n < 8; ++n)
        sm90::st_shared_v4(sum_address() + n * 2048, dq[4 * n], dq[4 * n + 1], dq[4 * n + 2],
                           dq[4 * n + 3]);
      sm90::fence_proxy_async_shared();
    } else {
      if (!kBeginsWithSum && sum.begun)
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const float4 x = sm90::ld_shared_v4(sum_address() + n * 2048);
          dq[4 * n] += x.x, dq[4 * n + 1] += x.y, dq[4 * n + 2] += x.z, dq[4 * n + 3] += x.w;
        }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * warp + 8 * half + lane.g, column = D == 64 ? 0 : 64 * group;
        store_row<64>(dq, half, sum.to + row * c.dq.row + column, row < sum.rows,
                      c.head_dim - column, c.gradient_scale);
      }
    }
    arrive(shared.sum_full[group], lane);
  }

  /// Rounds a row of accumulators, times `scale`, to `row` of `columns` elements.
  template <int Columns>
  __device__ void store_row(const float (&x)[Columns / 2], int half, bf16* row, bool inside,
                            int columns, float scale) const {
#pragma unroll
    for (int i = 0; i < Columns / 32; ++i) {
      float2 pairs[4];
#pragma unroll
      for (int n = 0; n < 4; ++n)
        pairs[n] = make_float2(x[16 * i + 4 * n + 2 * half], x[16 * i + 4 * n + 2 * half + 1]);
      store_32_columns(pairs, row + 32 * i, inside && 32 * i + 8 * lane.t < columns, scale, lane);
    }
  }
  __device__ void store_keys(const float (&x)[D / 2], const HeadRows& view, const KeyBlock& w,
                             float scale) const {
    const int first = w.block * Sizes::kKeys + 64 * group + 16 * warp + lane.g;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + 8 * half;
      bf16* const to = view.at(w.first_k + row, w.kv_head);
      store_row<D>(x, half, to, row < w.keys, c.head_dim, scale);
    }
  }

  __device__ void run() const;
};

template <int D, bool Drop>
__device__ inline void Consumer<D, Drop>::run() const {
  const uint32_t tile_k = base + Sizes::kKeysAt, tile_v = base + Sizes::kValuesAt;
  const auto tile_q = [&](int stage) {
    return base + Sizes::kQueriesAt + stage * Sizes::kQueryBytes;
  };
  const auto tile_do = [&](int stage) {
    return base + Sizes::kGradientsAt + stage * Sizes::kQueryBytes;
  };
  const auto tile_ds = [&](uint32_t tile) {
    return base + Sizes::kScoresAt + tile % Sizes::kScoreStages * Sizes::kScoreBytes;
  };
  Ring<Sizes::kQueryStages> q;
  // Steps, of all key blocks; dO, dS and the masks have two stages. In the highest bit key blocks.
  uint32_t tile = 0;

  for (;; tile ^= 1u << 31) {
    wait(shared.k_full, tile >> 31);
    const KeyBlock& w = shared.work;
    if (uniform(w.block) < 0) return;
    int steps = uniform(w.visits * c.group);

    float dk[D / 2], dv[D / 2], s[kQueries / 2], dq[32];  // s: S, then P, then dP
    uint32_t p[kPieces][4], ds[kPieces][4];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;

    // S^T = K Q^T, line 10.
    int row;  // of the step's queries
    const auto multiply_scores = [&] {
      wait(shared.q_full[q.stage()], q.phase());
      row = shared.row[q.stage()];
      clear_rows(tile_q(q.stage()), Sizes::kQueryPanelBytes, kQueries, shared.work.queries - row);
      sm90::wgmma_fence();
      multiply_transposed<D, kQueries>(s, tile_k + group * 64 * 128, Sizes::kKeyPanelBytes,
                                       tile_q(q.stage()), Sizes::kQueryPanelBytes);
      sm90::wgmma_commit_group();
    };
    // dV += P^T dO, line 12; dK += dS^T Q, line 16.
    const auto multiply_key_gradients = [&](int q_stage, int do_stage) {
      sm90::wgmma_fence();
      multiply<D>(dv, p, tile_do(do_stage), Sizes::kQueryPanelBytes);
      multiply<D>(dk, ds, tile_q(q_stage), Sizes::kQueryPanelBytes);
      sm90::wgmma_commit_group();
    };
    const auto finish_key_gradients = [&](int q_stage, int do_stage) {
      sm90::wgmma_wait_group<0>();
      sm90::wgmma_fence_operand(dk);
      sm90::wgmma_fence_operand(dv);
      arrive(shared.q_empty[q_stage], lane);
      arrive(shared.d_o_empty[do_stage], lane);
    };
    // P = exp(S - lse), line 11.
    const auto exponentials_of_scores = [&] {
      sm90::wgmma_fence_operand(s);
      if (row < unmasked()) mask_scores(s, row);
      exponentials(s, q.stage());
      wait(shared.d_o_full[tile % 2], tile / 2 & 1);
    };
    const auto round_probabilities = [&] {
#pragma unroll
      for (int m = 0; m < kPieces; ++m)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          p[m][k] = ptx::cvt_rn_bf16x2(s[8 * m + 2 * k + 1], s[8 * m + 2 * k]);
    };
    // dP^T = V dO^T, line 13.
    const auto multiply_probability_gradients = [&] {
      clear_rows(tile_do(tile % 2), Sizes::kQueryPanelBytes, kQueries, shared.work.queries - row);
      sm90::wgmma_fence();
      multiply_transposed<D, kQueries>(s, tile_v + group * 64 * 128, Sizes::kKeyPanelBytes,
                                       tile_do(tile % 2), Sizes::kQueryPanelBytes);
      sm90::wgmma_commit_group();
    };
    // dS, line 14, kept and shared with the other consumer.
    const auto gradients_of_scores = [&] {
      sm90::wgmma_fence_operand(s);
      if constexpr (Drop) wait(shared.mask_full[tile % 2], tile / 2 & 1);
      score_gradients(ds, p, s, tile % 2);
      if constexpr (Drop) arrive(shared.mask_empty[tile % 2], lane);
    };
    // To have dS of a step says also that dQ of the step before is done with the other stage, which
    // the other consumer may then write.
    const auto share_scores = [&] { arrive(shared.ds_full[tile % 2], lane); };
    // dQ = dS K of a step whose dS the other consumer has written meanwhile, line 15.
    const auto multiply_query_gradients = [&](uint32_t tile) {
      if constexpr (kBeginsWithSum) begin_query_gradient(dq, tile);
      wait(shared.ds_full[tile % 2], tile / 2 & 1);
      sm90::wgmma_fence();
      multiply_query_gradient(dq, tile_ds(tile));
      sm90::wgmma_commit_group();
    };

    const int valid_keys = w.keys - w.block * Sizes::kKeys;
    if (valid_keys < Sizes::kKeys) {
      wait(shared.v_full, tile >> 31);
      clear_rows(tile_k, Sizes::kKeyPanelBytes, Sizes::kKeys, valid_keys);
      clear_rows(tile_v, Sizes::kKeyPanelBytes, Sizes::kKeys, valid_keys);
    }
    if (steps > 0) {
      multiply_scores();
      sm90::wgmma_wait_group<0>();
      exponentials_of_scores();
      wait(shared.v_full, tile >> 31);
      round_probabilities();
      multiply_probability_gradients();
      sm90::wgmma_wait_group<0>();
      gradients_of_scores();
      store_scores(ds, tile_ds(tile));
      share_scores();

      while (--steps > 0) {
        ++tile;
        const int q_before = q.stage();
        q.next();
        multiply_scores();
        multiply_key_gradients(q_before, (tile - 1) % 2);
        sm90::wgmma_wait_group<1>();
        exponentials_of_scores();
        finish_key_gradients(q_before, (tile - 1) % 2);

        round_probabilities();
        if constexpr (D == 64) {
          multiply_query_gradients(tile - 1);
          multiply_probability_gradients();
          sm90::wgmma_wait_group<1>();
          sm90::wgmma_fence_operand(dq);
          store_query_gradient(dq, tile - 1);
          sm90::wgmma_wait_group<0>();
          gradients_of_scores();
          store_scores(ds, tile_ds(tile));
          share_scores();
        } else {  // no registers for dQ and dP at once
          multiply_probability_gradients();
          sm90::wgmma_wait_group<0>();
          gradients_of_scores();
          multiply_query_gradients(tile - 1);
          store_scores(ds, tile_ds(tile));
          sm90::wgmma_wait_group<0>();
          share_scores();
          sm90::wgmma_fence_operand(dq);
          store_query_gradient(dq, tile - 1);
        }
      }
      multiply_key_gradients(q.stage(), tile % 2);
      multiply_query_gradients(tile);
      finish_key_gradients(q.stage(), tile % 2);
      sm90::wgmma_fence_operand(dq);
    }
    const KeyBlock done = shared.work;
    const bool visits = done.visits > 0;
    if (!visits) wait(shared.v_full, tile >> 31);  // V's buffer must not be filled twice at once
    arrive(shared.keys_empty, lane);
    if (visits) {
      store_query_gradient(dq, tile);
      ++tile;
      q.next();
    }
    store_keys(dk, c.dk, done, c.gradient_scale);
    store_keys(dv, c.dv, done, c.keep_scale);
  }
}

}  // namespace strobe::cuda
