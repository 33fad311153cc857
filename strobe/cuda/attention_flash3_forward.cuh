// The flash3 forward's consumers, which are the paper's two algorithms line by line, and its
// kernel; attention_flash3_forward_sm90.cu says how it works.
#pragma once

#include <type_traits>

#include "strobe/cuda/attention_flash3_operands.cuh"
#include "strobe/cuda/attention_flash3_output.cuh"
#include "strobe/cuda/attention_flash3_pipeline.cuh"
#include "strobe/cuda/attention_flash3_softmax.cuh"

namespace strobe::cuda {

/// A consumer warpgroup: 64 queries of each item. Beside the lines of its two algorithms are the
/// numbers of the paper's, or what else a line is for.
template <class Sizes>
class Flash3Consumer {
 public:
  static constexpr int D = Sizes::kHeadDim, kKeys = Sizes::kKeys;
  using Item = Flash3Item<Sizes>;
  using Operands = typename Sizes::Operands;

  __device__ explicit Flash3Consumer(const Flash3Context<Sizes>& x)
      : x_(x), warpgroup_(threadIdx.x / 128), warp_(threadIdx.x / 32 % 4) {}

  __device__ void run() {
    Flash3Items<Sizes> items(x_);
    for (Item item; items.template next<true>(item, lane_.id);) {
      const int row = item.block_row + 64 * warpgroup_;
      const int tiles = item.tiles_of(x_.c.causal, warpgroup_);
      for (int tile = item.tiles; tile > tiles; --tile) skip();
      if (tiles > 0)
        attend(item, row + 16 * warp_, tiles);
      else if (row >= 0 && row < item.queries)
        output_.store_nothing(item, row + 16 * warp_);
    }
  }

 private:
  using Dropout = std::conditional_t<Sizes::kDrop, Flash3Dropout<kKeys>, Flash3NoDropout>;
  // With dropout the softmax leaves P in p_, unless a product still reads that of the tile before.
  static constexpr bool kRoundsAtOnce = Sizes::kDrop && !Sizes::kOverlap;
  /// The warp's 16 queries of an item.
  struct Queries {
    WarpMask mask;
    Dropout dropout;
    typename Operands::Scale scale;
  };

  // ---- the algorithms ----
  __device__ void attend(const Item& item, int row, int tiles) {
    Queries queries{{item.mask(x_.c.causal), row},
                    Dropout(x_.c.dropout_words, x_.shared.dropout_key,
                            item.sequence * x_.c.heads + item.head, x_.c.keep, row, lane_),
                    {x_.c.scale}};
    output_.begin(item, row);
    if constexpr (Sizes::kOverlap)
      attend_with_overlap(queries, tiles);
    else
      attend_without_overlap(queries, tiles);
  }

  /// Algorithm 1, lines 13 to 25: each product is waited for.
  __device__ void attend_without_overlap(Queries& queries, int tiles) {
    float factor[2];                                 // e^(m_old - m)
    rows_.softmax.clear(), accumulate_ = 0;          // 13
    wait_q();                                        // 14
    fetch_words(queries, (tiles - 1) * kKeys);       // dropout
    for (int tile = tiles - 1; tile >= 0; --tile) {  // 15, from the last keys on
      const int key = tile * kKeys;
      wait_k(queries);                                       // 16
      take_turn();                                           // ping-pong
      begin_scores();                                        // 17: S = Q K^T
      give_turn();                                           // ping-pong
      sm90::wgmma_wait_group<0>();                           // 17
      release_k();                                           // 22
      if (tile == 0) release_q();                            // for the next item
      const bool grown = softmax(queries, key, factor);      // 18, 19: m, l, P
      if (grown && tile < tiles - 1) rows_.rescale(factor);  // 21: diag(factor) O
      round(queries);                                        // 21: P in bf16
      wait_v();                                              // 20
      begin_output();                                        // 21: O += P V
      fetch_words(queries, key - kKeys);                     // dropout
      sm90::wgmma_wait_group<0>();                           // 21
      release_v();                                           // 22
    }
    output_.finish_softmax(rows_);  // 24
    output_.store(rows_);           // 24, 25
  }

  /// Algorithm 2, lines 2 to 20: S of the next tile and O += P V run under a softmax.
  __device__ void attend_with_overlap(Queries& queries, int tiles) {
    float factor[2];                                              // e^(m_old - m)
    int tile = tiles - 1;                                         // from the last keys on
    rows_.softmax.clear(), accumulate_ = 0;                       // 2
    wait_q();                                                     // 3
    wait_k(queries);                                              // 3
    take_turn();                                                  // ping-pong
    begin_scores();                                               // 4: S_cur = Q K^T
    give_turn();                                                  // ping-pong
    sm90::wgmma_wait_group<0>();                                  // 4
    release_k();                                                  // 5
    fetch_words(queries, tile * kKeys);                           // dropout
    softmax(queries, tile * kKeys, factor);                       // 6: m, l, P_cur
    round(queries);                                               // 6: P_cur in bf16
    while (--tile >= 0) {                                         // 7
      wait_k(queries);                                            // 8
      take_turn();                                                // ping-pong
      begin_scores();                                             // 9: S_next = Q K^T
      wait_v();                                                   // 10
      begin_output();                                             // 11: O += P_cur V
      give_turn();                                                // ping-pong
      sm90::wgmma_wait_group<1>();                                // 12
      release_k();                                                // 15
      fetch_words(queries, tile * kKeys);                         // dropout
      const bool grown = softmax(queries, tile * kKeys, factor);  // 13: m, l, P_next
      sm90::wgmma_wait_group<0>();                                // 14
      release_v();                                                // 15
      if (grown) rows_.rescale(factor);                           // 14: diag(factor) O
      round(queries);                                             // 16: P_next becomes P_cur
    }
    release_q();                    // for the next item
    wait_v();                       // 18
    begin_output();                 // 19: O += P_last V
    output_.finish_softmax(rows_);  // 20
    sm90::wgmma_wait_group<0>();    // 19
    release_v();                    // for the producer
    output_.store(rows_);           // 20
  }
  /// A tile that none of these queries sees.
  __device__ void skip() {
    wait(x_.shared.k_full[k_.stage()], k_.phase());
    release_k();
    wait_v();
    release_v();
    take_turn(), give_turn();
  }

  // ---- their steps ----
  /// S = Q K^T, begun.
  __device__ void begin_scores() {
    Operands::begin_scores(s_, x_.tiles.q(warpgroup_, q_.stage()), x_.tiles.k(k_.stage()));
  }
  /// O (+)= P V, begun.
  __device__ void begin_output() {
    Operands::begin_output(rows_.o, p_, x_.tiles.v(v().stage()), accumulate_);
    accumulate_ = 1;
  }
  /// Mask, m, l, and P in place of S. Where m has been brought up to date the result is true and O
  /// must be multiplied by `factor`.
  __device__ bool softmax(const Queries& queries, int key, float (&factor)[2]) {
    if constexpr (kRoundsAtOnce)
      return softmax_and_round(queries, key, factor);
    else
      return masked_softmax(queries, key, factor);
  }
  template <class... Finish>
  __device__ bool masked_softmax(const Queries& queries, int key, float (&factor)[2],
                                 const Finish&... finish) {
    const auto in_tile = [&](int half) {
      return queries.mask.keys_seen(lane_.g + 8 * half) - key - 2 * lane_.t;
    };
    return online_softmax<kKeys>(s_, rows_.softmax, factor, queries.scale,
                                 key + kKeys > queries.mask.whole, in_tile, finish...);
  }
  /// What is dropped is cleared under the exponentials. Whether the maximum has been followed or
  /// not, these are the same instructions, which costs no registers for a second P.
  __device__ bool softmax_and_round(const Queries& queries, int key, float (&factor)[2]) {
    float shift[2];
    const bool grown = masked_softmax(
        queries, key, factor, [&](const float(&m)[2]) { shift[0] = m[0], shift[1] = m[1]; });
    queries.dropout.dispatch([&](auto as_float) {
      exponentials<kKeys>(s_, shift, rows_.softmax.l, queries.scale, [&](int i) {
        to_fragment<kKeys>(p_[i], s_, i);
        queries.dropout.template clear<as_float()>(p_[i], i);
      });
    });
    return grown;
  }
  /// P, rounded, as the left operand of P V.
  __device__ void round(const Queries& queries) {
    if constexpr (kRoundsAtOnce) return;
    Operands::to_fragments(p_, s_);
    if constexpr (Sizes::kDrop)
      queries.dropout.dispatch([&](auto as_float) {
#pragma unroll
        for (int i = 0; i < kKeys / 16; ++i) queries.dropout.template clear<as_float()>(p_[i], i);
      });
  }
  /// Of the next tile, early enough to be there when P is.
  __device__ void fetch_words(Queries& queries, int key) const {
    if constexpr (Sizes::kDrop)
      if (key >= 0) queries.dropout.fetch(key);
  }

  // ---- the pipeline ----
  __device__ void wait(uint64_t& full, uint32_t phase) const {
    sm90::mbarrier_wait(x_.at(full), phase);
  }
  __device__ void release(uint64_t& empty) const {
    if (lane_.id == 0) sm90::mbarrier_arrive(x_.at(empty));
  }
  // Without overlap K and V of a tile are done with before the next tile: one ring counts both.
  __device__ Ring<Sizes::kStages>& v() {
    if constexpr (Sizes::kOverlap)
      return v_;
    else
      return k_;
  }
  __device__ void wait_q() const { wait(x_.shared.q_full[warpgroup_][q_.stage()], q_.phase()); }
  __device__ void wait_k(Queries& queries) const {
    wait(x_.shared.k_full[k_.stage()], k_.phase());
    queries.scale.of_tile(output_.scale(), x_.scales_at(k_.stage()));
  }
  __device__ void wait_v() { wait(x_.shared.v_full[v().stage()], v().phase()); }
  __device__ void release_q() { release(x_.shared.q_empty[warpgroup_][q_.stage()]), q_.next(); }
  __device__ void release_k() {
    release(x_.shared.k_empty[k_.stage()]);
    if constexpr (Sizes::kOverlap) k_.next();
  }
  __device__ void release_v() { release(x_.shared.v_empty[v().stage()]), v().next(); }
  // Flash3Turns. Every warpgroup passes here as often as an item has tiles.
  __device__ void take_turn() const {
    if constexpr (Sizes::kTurns == Flash3Turns::ping_pong) sm90::bar_sync(1 + warpgroup_, 256);
    if constexpr (Sizes::kTurns == Flash3Turns::in_step)
      sm90::bar_sync(1, 128 * Sizes::kWarpgroups);
  }
  __device__ void give_turn() const {
    if constexpr (Sizes::kTurns == Flash3Turns::ping_pong)
      sm90::bar_arrive(1 + (warpgroup_ + 1) % Sizes::kWarpgroups, 256);
  }

  const Flash3Context<Sizes>& x_;
  const int warpgroup_, warp_;
  const Lane lane_;
  Ring<Sizes::kQueryStages> q_;
  Ring<Sizes::kStages> k_, v_;
  Flash3Output<Sizes> output_{x_, warpgroup_, warp_};
  float s_[kKeys / 2];
  Flash3Rows<D> rows_;
  uint32_t p_[Operands::kFragments][4];
  int accumulate_ = 0;
};

template <class Sizes>
__global__ void __launch_bounds__(Sizes::kThreads, 1)
    flash3_forward_kernel(const AttentionCall c,
                          const __grid_constant__ typename Sizes::Operands operands, int items,
                          int chunk, unsigned* ticket) {
  extern __shared__ __align__(1024) char dynamic[];
  __shared__ Flash3Shared<Sizes> shared;
  const int warpgroup = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    shared.init();
    if (Sizes::kDrop) shared.dropout_key = attention_dropout_key(c.state, c.site);
  }
  __syncthreads();
  const Flash3Context<Sizes> x{c,
                               operands,
                               shared,
                               {ptx::held(ptx::shared_address(dynamic))},
                               ptx::held(ptx::shared_address(&shared)),
                               items,
                               chunk};
  if (warpgroup == Sizes::kWarpgroups) {
    sm90::setmaxnreg_dec<Sizes::kProducerRegisters>();
    const int thread = threadIdx.x % 128;
    if (thread == 0)
      produce<Sizes>(x);
    else if (Sizes::Operands::kCopiesTails && thread / 32 == 1)
      copy_tail<Sizes>(x, thread % 32);
    else if (thread == 64)
      schedule<Sizes>(x, ticket);
  } else {
    sm90::setmaxnreg_inc<Sizes::kConsumerRegisters>();
    if (Sizes::kTurns == Flash3Turns::ping_pong && warpgroup == Sizes::kWarpgroups - 1)
      sm90::bar_arrive(1, 256);
    Flash3Consumer<Sizes>(x).run();
  }
}

}  // namespace strobe::cuda
