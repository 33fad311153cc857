// The pipeline of the flash3 forward: who hands what to whom through shared memory. A scheduler
// thread publishes items; a producer thread issues the copies of their Q, K and V; consumer
// warpgroups (attention_flash3_forward.cuh) use the stages and release them.
#pragma once

#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_flash3_dropout.cuh"
#include "strobe/cuda/attention_flash3_layout.h"
#include "strobe/cuda/attention_flash3_ring.h"
#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

/// In which order warpgroups begin their products: as they come; in turns, so that the softmax of
/// one runs under the products of another (ping-pong); all at once, so that none does.
enum class Flash3Turns { free, ping_pong, in_step };

template <int HeadDim, int TileKeys>
struct Flash3Operands;  // of bf16: attention_flash3_operands.cuh

/// Sizes. A consumer warpgroup owns 64 queries; TileStages is a power of two. Overlap: a
/// warpgroup's next product runs under its softmax (Algorithm 2). Drop: with dropout. OperandsOf:
/// where Q, K and V come from and what multiplies them.
template <int HeadDim, int Warpgroups, int TileKeys, int TileStages, bool Overlap,
          Flash3Turns Turns = Flash3Turns::free, bool Drop = false,
          template <int, int> class OperandsOf = Flash3Operands>
struct Flash3Sizes {
  using Operands = OperandsOf<HeadDim, TileKeys>;
  static constexpr int kHeadDim = HeadDim, kWarpgroups = Warpgroups, kKeys = TileKeys;
  static constexpr int kStages = TileStages, kQueryStages = 2;
  static constexpr bool kOverlap = Overlap;
  static constexpr Flash3Turns kTurns = Turns;
  static constexpr bool kDrop = Drop;
  static constexpr int kQueries = 64 * Warpgroups;
  static constexpr int kThreads = 128 * (Warpgroups + 1);
  // The registers that the launch gives the block, handed out anew.
  static constexpr int kLaunchRegisters = 65536 / kThreads / 8 * 8;
  static constexpr int kProducerRegisters = Warpgroups == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters =
      (kLaunchRegisters * (Warpgroups + 1) - kProducerRegisters) / Warpgroups / 8 * 8;
  static constexpr int kOutputBytes = 64 * HeadDim * 2;  // of a warpgroup
  static constexpr int kSharedBytes =
      Warpgroups * (kOutputBytes + kQueryStages * Operands::kQueryBytes) +
      TileStages * (Operands::kKeyBytes + Operands::kValueBytes);
};

/// One item of work: a block of queries of one head.
template <class Sizes>
struct Flash3Item {
  int sequence, head, block_row, tiles;  // sequence -1: no more items
  int first_q, first_k, queries, keys;

  __device__ static Flash3Item make(const AttentionCall& c, int index, int chunk) {
    const AttentionItem at =
        forward_item(index, c.sequences * c.heads, ceil_div(c.max_q, Sizes::kQueries), chunk);
    Flash3Item item;
    item.sequence = at.pair / c.heads, item.head = at.pair % c.heads;
    item.first_q = c.cu_q[item.sequence], item.first_k = c.cu_k[item.sequence];
    item.queries = c.cu_q[item.sequence + 1] - item.first_q;
    item.keys = c.cu_k[item.sequence + 1] - item.first_k;
    const AttentionMask mask = item.mask(c.causal);
    item.block_row = first_row(mask, at.block, Sizes::kWarpgroups);
    item.tiles = tiles_seen(mask, item.block_row, Sizes::kQueries, Sizes::kKeys);
    return item;
  }
  __device__ AttentionMask mask(bool causal) const { return {queries, keys, causal}; }
  /// Tiles that some of the 64 queries of warpgroup w see.
  __device__ int tiles_of(bool causal, int w) const {
    return warpgroup_tiles(mask(causal), block_row, w, Sizes::kKeys);
  }
};

/// Shared memory but for the tiles.
template <class Sizes>
struct Flash3Shared {
  uint64_t q_full[Sizes::kWarpgroups][Sizes::kQueryStages];
  uint64_t q_empty[Sizes::kWarpgroups][Sizes::kQueryStages];
  uint64_t k_full[Sizes::kStages], k_empty[Sizes::kStages];
  uint64_t v_full[Sizes::kStages], v_empty[Sizes::kStages];
  uint64_t tail_empty[Sizes::kStages];  // a stage of V is copy_tail's
  uint64_t item_full, item_empty;
  typename Sizes::Operands::TileScales scales[Sizes::kStages];  // come and go with K
  Flash3Item<Sizes> item;
  /// A warp's rows of its item: where they go, how many there are.
  struct Output {
    bf16* o;
    float* lse;
    int rows;
    float scale;  // of the scores
  } outputs[4 * Sizes::kWarpgroups];
  uint64_t dropout_key;

  __device__ void init() {
    sm90::mbarrier_init(at(item_full), 1);
    // A lane of each reader.
    sm90::mbarrier_init(at(item_empty), 1 + Sizes::Operands::kCopiesTails + 4 * Sizes::kWarpgroups);
    for (int w = 0; w < Sizes::kWarpgroups; ++w)
      for (int i = 0; i < Sizes::kQueryStages; ++i)
        sm90::mbarrier_init(at(q_full[w][i]), 1), sm90::mbarrier_init(at(q_empty[w][i]), 4);
    for (int s = 0; s < Sizes::kStages; ++s) {
      sm90::mbarrier_init(at(k_full[s]), 1), sm90::mbarrier_init(at(v_full[s]), 1);
      sm90::mbarrier_init(at(tail_empty[s]), 1);
      sm90::mbarrier_init(at(k_empty[s]), 4 * Sizes::kWarpgroups);
      sm90::mbarrier_init(at(v_empty[s]), 4 * Sizes::kWarpgroups);
    }
    sm90::fence_mbarrier_init();
  }
  static __device__ uint32_t at(uint64_t& barrier) { return ptx::shared_address(&barrier); }
};

/// Where the tiles lie.
template <class Sizes>
struct Flash3Tiles {
  using Operands = typename Sizes::Operands;
  uint32_t base;
  __device__ uint32_t o(int warpgroup) const { return base + warpgroup * Sizes::kOutputBytes; }
  __device__ uint32_t q(int warpgroup, int stage) const {
    return o(Sizes::kWarpgroups) + (Sizes::kWarpgroups * stage + warpgroup) * Operands::kQueryBytes;
  }
  __device__ uint32_t k(int stage) const {
    return q(0, Sizes::kQueryStages) + stage * (Operands::kKeyBytes + Operands::kValueBytes);
  }
  __device__ uint32_t v(int stage) const { return k(stage) + Operands::kKeyBytes; }
};

/// What every role is given.
template <class Sizes>
struct Flash3Context {
  const AttentionCall& c;
  const typename Sizes::Operands& operands;
  Flash3Shared<Sizes>& shared;
  Flash3Tiles<Sizes> tiles;
  uint32_t shared_base;  // the address of `shared`
  int items, chunk;

  /// The address of a barrier.
  __device__ uint32_t at(const uint64_t& barrier) const { return address(&barrier); }
  __device__ uint32_t scales_at(int stage) const { return address(&shared.scales[stage]); }

 private:
  __device__ uint32_t address(const void* member) const {
    return shared_base + static_cast<uint32_t>(static_cast<const char*>(member) -
                                               reinterpret_cast<const char*>(&shared));
  }
};

/// The scheduler: one thread, by a ticket that thread blocks draw in the order in which they become
/// free. Of a launch all draws but the last of each thread block yield items, so that drawing
/// modulo `items` leaves the ticket at zero.
template <class Sizes>
__device__ inline void schedule(const Flash3Context<Sizes>& x, unsigned* ticket) {
  uint32_t phase = 1;
  const auto publish = [&](const Flash3Item<Sizes>& item) {
    sm90::mbarrier_wait(x.at(x.shared.item_empty), phase);
    x.shared.item = item;
    sm90::mbarrier_arrive(x.at(x.shared.item_full));
    phase ^= 1;
  };
  int index = blockIdx.x;
  while (index < x.items) {
    const auto item = Flash3Item<Sizes>::make(x.c, index, x.chunk);
    if (item.block_row < item.queries) publish(item);
    index = static_cast<int>(gridDim.x + atomicInc(ticket, x.items - 1));
  }
  publish({-1});
}

/// The items, for one of its readers.
template <class Sizes>
class Flash3Items {
 public:
  __device__ explicit Flash3Items(const Flash3Context<Sizes>& x) : x_(x) {}
  /// Read by a whole warp or one thread.
  template <bool Warp>
  __device__ bool next(Flash3Item<Sizes>& item, int lane) {
    sm90::mbarrier_wait(x_.at(x_.shared.item_full), phase_);
    item = x_.shared.item;
    if (Warp) __syncwarp();
    if (lane == 0) sm90::mbarrier_arrive(x_.at(x_.shared.item_empty));
    phase_ ^= 1;
    return item.sequence >= 0;
  }

 private:
  const Flash3Context<Sizes>& x_;
  uint32_t phase_ = 0;
};

/// The producer: one thread issues the copies of all items' Q, K and V, the last keys first.
template <class Sizes>
__device__ inline void produce(const Flash3Context<Sizes>& x) {
  Ring<Sizes::kStages> ring;
  Ring<Sizes::kQueryStages> q_rings[Sizes::kWarpgroups];
  Flash3Items<Sizes> items(x);
  for (Flash3Item<Sizes> item; items.template next<false>(item, 0);) {
    const int kv_head = item.head / x.c.group;
#pragma unroll
    for (int w = 0; w < Sizes::kWarpgroups; ++w) {
      if (item.tiles_of(x.c.causal, w) == 0) continue;
      Ring<Sizes::kQueryStages>& q = q_rings[w];
      sm90::mbarrier_wait(x.at(x.shared.q_empty[w][q.stage()]), q.phase() ^ 1);
      x.operands.copy_queries(x.tiles.q(w, q.stage()), item, item.block_row + 64 * w,
                              x.at(x.shared.q_full[w][q.stage()]));
      q.next();
    }
#pragma unroll 1
    for (int tile = item.tiles - 1; tile >= 0; --tile, ring.next()) {
      const int key = tile * Sizes::kKeys;
      sm90::mbarrier_wait(x.at(x.shared.k_empty[ring.stage()]), ring.phase() ^ 1);
      x.operands.copy_keys(x.tiles.k(ring.stage()), x.scales_at(ring.stage()), item, kv_head, key,
                           x.at(x.shared.k_full[ring.stage()]));
      sm90::mbarrier_wait(x.at(x.shared.v_empty[ring.stage()]), ring.phase() ^ 1);
      if (Sizes::Operands::kCopiesTails && key + Sizes::kKeys > item.keys) {
        sm90::mbarrier_arrive(x.at(x.shared.tail_empty[ring.stage()]));
        continue;
      }
      x.operands.copy_values(x.tiles.v(ring.stage()), item, kv_head, key,
                             x.at(x.shared.v_full[ring.stage()]));
    }
  }
}

/// (bf16) TMA knows no sequences: at the end of one it reads rows of the next. In K those only make
/// scores that are masked; but P's zeros times a NaN in V would be NaN. So where the last tile of a
/// sequence is not full, a warp copies its V, with zeros for the rows that are not there. The
/// producer hands it the stage: all may pass this warp by while there is nothing for it to copy,
/// and a wait for "empty" that comes a whole round of the ring late finds the wrong parity.
template <class Sizes>
__device__ inline void copy_tail(const Flash3Context<Sizes>& x, int lane) {
  Ring<Sizes::kStages> ring;
  uint32_t phases = 0;  // of each stage's tail_empty, a bit
  Flash3Items<Sizes> items(x);
  for (Flash3Item<Sizes> item; items.template next<true>(item, lane);
       ring.skip(most(item.tiles, 0))) {
    const int key = (item.tiles - 1) * Sizes::kKeys;
    if (item.tiles > 0 && key + Sizes::kKeys > item.keys) {
      sm90::mbarrier_wait(x.at(x.shared.tail_empty[ring.stage()]), phases >> ring.stage() & 1);
      phases ^= 1u << ring.stage();
      const bf16* from = x.c.v.at(item.first_k + key, item.head / x.c.group);
      constexpr int kChunks = Sizes::kHeadDim / 8;
#pragma unroll 4
      for (int i = lane; i < Sizes::kKeys * kChunks; i += 32) {
        const int row = i / kChunks, chunk = i % kChunks;
        uint4 y = {};
        if (key + row < item.keys && chunk * 8 < x.c.head_dim)
          y = __ldg(reinterpret_cast<const uint4*>(from + row * x.c.v.row + chunk * 8));
        ptx::st_shared_u32x4(x.tiles.v(ring.stage()) + panel_chunk_byte(row, chunk, Sizes::kKeys),
                             y);
      }
      sm90::fence_proxy_async_shared();
      __syncwarp();
      if (lane == 0) sm90::mbarrier_arrive(x.at(x.shared.v_full[ring.stage()]));
    }
  }
}

}  // namespace strobe::cuda
