// What the warps of flash3's backward share, and the roles beside the consumers': the warp that
// loads, those that sum dQ, those that draw dropout's masks. For files *_sm90.cu.
#pragma once

#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash3_backward_layout.h"
#include "strobe/cuda/attention_flash3_ring.h"
#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

struct Flash3BackwardMaps {
  CUtensorMap q, d_o, k, v;
};

/// What becomes of a consumer's part of dQ of a block of queries: another adds to it later, or it
/// is rounded.
struct RunningQueryGradient {
  bf16* to;    // the part's first row, if rounded
  int rows;    // that there are from there on
  bool begun;  // others' sum lies in the buffer
};

template <int D>
struct Flash3BackwardShared {
  using Sizes = Flash3BackwardSizes<D>;
  uint64_t k_full, v_full, keys_empty;
  uint64_t q_full[Sizes::kQueryStages], q_empty[Sizes::kQueryStages];
  uint64_t d_o_full[Sizes::kGradientStages], d_o_empty[Sizes::kGradientStages];
  uint64_t ds_full[Sizes::kScoreStages];
  uint64_t sum_ready[Sizes::kConsumers], sum_full[Sizes::kConsumers];
  uint64_t mask_full[Sizes::kMaskStages], mask_empty[Sizes::kMaskStages];
  int row[Sizes::kQueryStages];                // the first of its sequence; by q_full and q_empty
  KeyBlock work;                               // guarded by k_full and keys_empty
  KeyBlock next, summed[Sizes::kConsumers];    // of the thread that loads, of those that sum
  RunningQueryGradient dq[Sizes::kConsumers];  // by sum_ready and sum_full

  __device__ static uint32_t at(const uint64_t& barrier) { return ptx::shared_address(&barrier); }
  __device__ void init(bool drop) {
    constexpr int kWarps = 4 * Sizes::kConsumers;
    const auto init = [](const uint64_t& b, int n) { sm90::mbarrier_init(at(b), n); };
    init(k_full, 1), init(v_full, 1);
    // The consumers' warps, dQ's, the mask's.
    init(keys_empty, kWarps + Sizes::kConsumers + (drop ? 4 : 0));
    for (int i = 0; i < Sizes::kQueryStages; ++i) init(q_full[i], 1), init(q_empty[i], kWarps);
    for (int i = 0; i < Sizes::kGradientStages; ++i)
      init(d_o_full[i], 1), init(d_o_empty[i], kWarps);
    for (int i = 0; i < Sizes::kScoreStages; ++i) init(ds_full[i], kWarps);
    for (int i = 0; i < Sizes::kConsumers; ++i) init(sum_ready[i], 1), init(sum_full[i], 4);
    for (int i = 0; i < Sizes::kMaskStages; ++i) init(mask_full[i], 4), init(mask_empty[i], kWarps);
    sm90::fence_mbarrier_init();
  }
};

/// A value that is the same in all lanes, in a uniform register, where the compiler knows that.
__device__ inline int uniform(int x) { return __reduce_or_sync(0xffffffffu, x); }

/// Arrives for a warp whose lanes have all come here.
__device__ inline void arrive(const uint64_t& barrier, const Lane& lane) {
  __syncwarp();
  if (lane.id == 0) sm90::mbarrier_arrive(ptx::shared_address(&barrier));
}
__device__ inline void wait(const uint64_t& barrier, uint32_t parity) {
  sm90::mbarrier_wait(ptx::shared_address(&barrier), parity);
}

/// Where a call's query blocks lie in its workspace: lse and delta of kQueries, a sum and its turn
/// for each consumer.
template <int D>
__device__ inline int64_t query_block(const AttentionBackwardCall& c, const KeyBlock& w, int head,
                                      int i) {
  constexpr int kQueries = Flash3BackwardSizes<D>::kQueries;
  const auto of_a_head = static_cast<int>(block_capacity(c.total_q, c.sequences, kQueries));
  return int64_t{head} * of_a_head + first_block(w.first_q, w.sequence, kQueries) + i;
}

template <int D>
__device__ inline BackwardOrder order_of(const AttentionBackwardCall& c, const KeyBlock& w) {
  using Sizes = Flash3BackwardSizes<D>;
  return {w.mask(c.causal), Sizes::kQueries, Sizes::kKeys, c.walk};
}

/// The next block of keys, by tickets: a block waits only for those that come before it
/// (backward_item, BackwardOrder). Where all run together they wait for one another, and each
/// thread block does one.
template <int D>
__device__ inline KeyBlock take_key_block(const AttentionBackwardCall& c, bool first) {
  constexpr int kKeys = Flash3BackwardSizes<D>::kKeys;
  const int blocks = ceil_div(c.max_k, kKeys), kv_heads = c.heads / c.group;
  const int pairs = c.sequences * kv_heads;
  for (; first || !c.together; first = false) {
    const int index = c.together ? static_cast<int>(blockIdx.x) : atomicAdd(c.ticket, 1);
    if (index >= pairs * blocks) break;
    const AttentionItem item = backward_item(index, pairs, blocks, c.chunk, c.walk);
    const int s = item.pair / kv_heads;
    KeyBlock w{s,
               item.pair % kv_heads,
               item.block,
               c.cu_q[s],
               c.cu_k[s],
               c.cu_q[s + 1] - c.cu_q[s],
               c.cu_k[s + 1] - c.cu_k[s]};
    if (w.block * kKeys >= w.keys) continue;
    const BackwardOrder order = order_of<D>(c, w);
    w.blocks = order.query_blocks();
    w.visits = w.queries > 0 ? order.visits(w.block) : 0;
    w.start = w.visits > 0 ? order.visited(w.block, 0) : 0;
    return w;
  }
  return {0, 0, -1};
}

/// The producer: one thread.
template <int D>
__device__ inline void load_tiles(const AttentionBackwardCall& c, const Flash3BackwardMaps& maps,
                                  Flash3BackwardShared<D>& shared, uint32_t tiles) {
  using Sizes = Flash3BackwardSizes<D>;
  const auto load = [&](uint32_t to, int panel_bytes, const CUtensorMap& map, int row, int head,
                        const uint64_t& bar) {
    for (int panel = 0; panel < Sizes::kPanels; ++panel)
      sm90::cp_async_bulk_tensor_3d(to + panel * panel_bytes, &map, 64 * panel, row, head,
                                    ptx::shared_address(&bar));
  };
  const auto expect = [&](const uint64_t& bar, uint32_t bytes) {
    sm90::mbarrier_arrive_expect_tx(ptx::shared_address(&bar), bytes);
  };
  Ring<Sizes::kQueryStages> q;
  uint32_t tile = 0;  // steps, of which dO has two stages; in the highest bit key blocks
  KeyBlock& w = shared.next;
  w = take_key_block<D>(c, true);
  for (; w.block >= 0; tile ^= 1u << 31) {
    Visit at(w);
    do {
      const bool first = at.begins(w), visits = w.visits > 0;
      const int head = w.kv_head * c.group + at.g, row = w.first_q + at.i * Sizes::kQueries;
      const int64_t block = query_block<D>(c, w, head, at.i);
      if (visits) {
        const uint64_t& full = shared.q_full[q.stage()];
        wait(shared.q_empty[q.stage()], q.phase() ^ 1);
        shared.row[q.stage()] = at.i * Sizes::kQueries;
        expect(full, Sizes::kQueryBytes + Sizes::kStatisticBytes);
        load(tiles + Sizes::kQueriesAt + q.stage() * Sizes::kQueryBytes, Sizes::kQueryPanelBytes,
             maps.q, row, head, full);
        sm90::cp_async_bulk(tiles + Sizes::kLseAt + q.stage() * Sizes::kStatisticBytes,
                            c.lse2 + block * Sizes::kQueries, Sizes::kStatisticBytes,
                            ptx::shared_address(&full));
        q.next();
      }
      if (first) {
        wait(shared.keys_empty, tile >> 31 ^ 1);
        shared.work = w;
        expect(shared.k_full, Sizes::kKeyBytes);
        load(tiles + Sizes::kKeysAt, Sizes::kKeyPanelBytes, maps.k,
             w.first_k + w.block * Sizes::kKeys, w.kv_head, shared.k_full);
        expect(shared.v_full, Sizes::kKeyBytes);
        load(tiles + Sizes::kValuesAt, Sizes::kKeyPanelBytes, maps.v,
             w.first_k + w.block * Sizes::kKeys, w.kv_head, shared.v_full);
      }
      if (visits) {
        const uint32_t stage = tile % 2;
        const uint64_t& full = shared.d_o_full[stage];
        wait(shared.d_o_empty[stage], (tile / 2 & 1) ^ 1);
        expect(full, Sizes::kQueryBytes + Sizes::kStatisticBytes);
        load(tiles + Sizes::kGradientsAt + stage * Sizes::kQueryBytes, Sizes::kQueryPanelBytes,
             maps.d_o, row, head, full);
        sm90::cp_async_bulk(tiles + Sizes::kDeltaAt + stage * Sizes::kStatisticBytes,
                            c.delta + block * Sizes::kQueries, Sizes::kStatisticBytes,
                            ptx::shared_address(&full));
        ++tile;
      }
      if (visits) at.next(w, c.group, c.walk);
    } while (!at.begins(w));
    w = take_key_block<D>(c, false);
  }
  wait(shared.keys_empty, tile >> 31 ^ 1);
  shared.work = w;
  sm90::mbarrier_arrive(ptx::shared_address(&shared.k_full));
}

/// Between the lanes t of a row of accumulators: x[i] of lane t becomes x[t] of lane i. Of the
/// pairs of columns 8 i + 2 t, the lane's, it makes columns 8 t ... 8 t + 7.
__device__ inline void transpose_quad(uint32_t (&x)[4], int t) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const bool upper = t & step;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      uint32_t &low = x[step == 1 ? 2 * k : k], &high = x[step == 1 ? 2 * k + 1 : k + 2];
      const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? low : high, step);
      low = upper ? got : low;
      high = upper ? high : got;
    }
  }
}

/// Rounds a row's pairs of columns in four neighbouring accumulators, times `scale`, and stores
/// them 16 bytes a lane, at columns 8 t of `row`.
__device__ inline void store_32_columns(const float2 (&x)[4], bf16* row, bool inside, float scale,
                                        const Lane& lane) {
  uint32_t pairs[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) pairs[n] = ptx::cvt_rn_bf16x2(x[n].y * scale, x[n].x * scale);
  transpose_quad(pairs, lane.t);
  if (inside)
    *reinterpret_cast<uint4*>(row + 8 * lane.t) =
        make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// Brings a consumer's 64 x 64 of dQ to memory: one thread. The first block of keys that comes to a
/// block of queries writes the sum, others add to it. For the last one it fetches the sum, and the
/// consumer rounds it.
template <int D>
__device__ inline void sum_query_gradients(const AttentionBackwardCall& c,
                                           Flash3BackwardShared<D>& shared, uint32_t tiles,
                                           int consumer) {
  using Sizes = Flash3BackwardSizes<D>;
  const uint32_t buffer = tiles + Sizes::kSumsAt + consumer * Sizes::kSumBytes;
  const uint32_t ready = ptx::shared_address(&shared.sum_ready[consumer]);
  const uint64_t& full = shared.sum_full[consumer];
  uint32_t phases = 0;  // of k_full and sum_full, a bit each
  int* given = nullptr;
  // A turn is given away when this thread's copy is complete, which makes its writes visible to
  // this thread only; the release makes them so to who acquires the turn, and begins his copy after
  // a fence between proxies. It waits while the consumers are at their next products.
  const auto give_turn = [&] {
    if (given) {
      sm90::cp_async_bulk_wait_group<0>();
      sm90::red_release_gpu_add(given, 1);
    }
    given = nullptr;
  };
  while (true) {
    give_turn();
    wait(shared.k_full, phases & 1);
    phases ^= 1;
    KeyBlock& w = shared.summed[consumer];
    w = shared.work;
    sm90::mbarrier_arrive(ptx::shared_address(&shared.keys_empty));
    if (w.block < 0) return;
    Visit at(w);
    for (int step = w.visits * c.group; step > 0; --step) {
      const BackwardOrder order = order_of<D>(c, w);
      const int rank = order.rank(at.i, w.block), last = order.contributions(at.i) - 1;
      const int head = w.kv_head * c.group + at.g;
      const int64_t part = query_block<D>(c, w, head, at.i) * Sizes::kConsumers + consumer;
      float* const sum = c.dq_sum + part * Sizes::kSumFloats;
      int* const turn = c.turns + part;
      const bool rounds = rank == last, begun = rank > 0;
      // In a free order all come after the first, and the last after all.
      const int turns = c.order == SumOrder::fixed || rounds ? rank : least(rank, 1);
      int seen = begun ? ptx::ld_acquire_gpu(turn) : 0;
      const auto await_turn = [&] {
        while (seen < turns) seen = ptx::ld_acquire_gpu(turn);
        sm90::fence_proxy_async_global();
      };
      const int row = at.i * Sizes::kQueries + (D == 64 ? 64 * consumer : 0);
      bf16* const to = rounds ? c.dq.at(w.first_q + row, head) : nullptr;
      at.next(w, c.group, c.walk);

      sm90::cp_async_bulk_wait_group_read<0>();  // the buffer is free again
      shared.dq[consumer] = {to, w.queries - row, begun};
      if (rounds && begun) {
        give_turn();
        await_turn();
        sm90::mbarrier_arrive_expect_tx(ready, Sizes::kSumBytes);
        sm90::cp_async_bulk(buffer, sum, Sizes::kSumBytes, ready);
      } else {
        sm90::mbarrier_arrive(ready);
        give_turn();
        if (begun) await_turn();
      }
      wait(full, phases >> 1);
      phases ^= 2;
      if (rounds) continue;
      if (begun)
        sm90::cp_reduce_async_bulk_add_f32(sum, buffer, Sizes::kSumBytes);
      else
        sm90::cp_async_bulk_store(sum, buffer, Sizes::kSumBytes);
      sm90::cp_async_bulk_commit_group();
      given = turn;
    }
  }
}

/// The bits of a word (dropout_bit): the four `queries` by two pairs of keys from `pair` on, and by
/// the two that are 8 keys further on. A sum of halves takes up four decisions, its upper half
/// those of the odd keys: four times what it was and the next one, from 4 on, are 1024 and every
/// other bit of a byte.
template <bool AsFloat>
__device__ inline uint32_t kept_bits(const KeptNumbers& kept, const uint32_t* dropout_words,
                                     int pair, const DropoutQuery* queries) {
  constexpr uint32_t kFour = 0x44004400;
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = __ldg(dropout_words + attention_dropout_slot(pair + i / 2 * 4 + i % 2));
  uint32_t sums[4] = {kFour, kFour, kFour, kFour};
#pragma unroll
  for (int upper = 0; upper < 2; ++upper) {
    const uint4 two = __ldg(reinterpret_cast<const uint4*>(queries) + upper);
    const DropoutQuery query[2] = {{two.x, two.y}, {two.z, two.w}};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int byte = i / 2;  // 2 half + e
      const uint32_t numbers = dropout_numbers(query[byte % 2], words[byte / 2 * 2 + i % 2]);
      sums[byte] = ptx::fma_rn_f16x2(sums[byte], kFour, kept.of<AsFloat>(numbers));
    }
  }
  const uint32_t low = ptx::prmt(sums[0], sums[1], 0x6240);  // of even keys, then of odd ones
  const uint32_t high = ptx::prmt(sums[2], sums[3], 0x6240);
  return 2 * ptx::prmt(low, high, 0x5410) + ptx::prmt(low, high, 0x7632);
}

/// The warpgroup that draws dropout's masks, ahead of the consumers.
template <int D, bool AsFloat>
__device__ inline void draw_masks(const AttentionBackwardCall& c, Flash3BackwardShared<D>& shared,
                                  uint32_t tiles, const KeptNumbers& kept) {
  using Sizes = Flash3BackwardSizes<D>;
  static_assert(kDropoutTileKeys % Sizes::kKeys == 0);
  const KeyBlock& w = shared.work;
  uint32_t tile = 0;  // steps; in the highest bit key blocks
  for (;; tile ^= 1u << 31) {
    wait(shared.k_full, tile >> 31);
    if (w.block < 0) return;
    Visit at(w);
    if (w.visits > 0) do {
        wait(shared.mask_empty[tile % 2], (tile / 2 & 1) ^ 1);
        // One register, not two: there are none to spare, nor memory for 2^32 queries.
        const auto first =
            static_cast<uint32_t>(query_block<D>(c, w, w.kv_head * c.group + at.g, at.i)) *
            Sizes::kQueries;
#pragma unroll 1
        for (int i = threadIdx.x % 128; i < 4 * Sizes::kConsumers * Sizes::kMaskWords; i += 128) {
          const DropoutWord word = dropout_word(i % Sizes::kMaskWords);
          const int warp = i / Sizes::kMaskWords;  // whose 16 keys
          const int pair = Sizes::kKeys / 2 * w.block + 8 * warp + 2 * word.key;
          ptx::st_shared_u32(tiles + Sizes::kMasksAt + tile % 2 * Sizes::kMaskBytes + 4 * i,
                             kept_bits<AsFloat>(kept, c.dropout_words, pair,
                                                c.dropout_queries + (first + 4 * word.query)));
        }
        arrive(shared.mask_full[tile % 2], Lane());
        at.next(w, c.group, c.walk);
        ++tile;
      } while (!at.begins(w));
    arrive(shared.keys_empty, Lane());
  }
}

}  // namespace strobe::cuda
