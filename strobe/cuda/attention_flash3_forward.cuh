// The flash3 forward's consumers and kernel; attention_flash3_forward_sm90.cu says how it works.
#pragma once

#include <type_traits>

#include "strobe/cuda/attention_flash3_operands.cuh"
#include "strobe/cuda/attention_flash3_pipeline.cuh"
#include "strobe/cuda/attention_flash3_softmax.cuh"

namespace strobe::cuda {

/// A consumer warpgroup: 64 queries of each item.
template <class Sizes>
class Flash3Consumer {
 public:
  static constexpr int D = Sizes::kHeadDim, kKeys = Sizes::kKeys;
  using Item = Flash3Item<Sizes>;
  using Shared = Flash3Shared<Sizes>;
  using Operands = typename Sizes::Operands;
  using Dropout = std::conditional_t<Sizes::kDrop, Flash3Dropout<kKeys>, Flash3NoDropout>;

  __device__ explicit Flash3Consumer(const Flash3Context<Sizes>& x)
      : x_(x), warpgroup_(threadIdx.x / 128), warp_(threadIdx.x / 32 % 4) {}

  __device__ void run() {
    Flash3Items<Sizes> items(x_);
    for (Item item; items.template next<true>(item, lane_.id);) {
      const int row = item.block_row + 64 * warpgroup_;
      const int tiles = item.tiles_of(x_.c.causal, warpgroup_);
      // A product that is behind holds a stage of V, which tiles that are skipped may need; and its
      // O is stored under a second product of the next item.
      if (item.tiles > tiles || tiles == 1) drain();
      for (int tile = item.tiles; tile > tiles; --tile) skip();
      if (tiles > 0)
        attend(item, row + 16 * warp_, tiles);
      else if (row >= 0 && row < item.queries)
        store_nothing(item, row + 16 * warp_);
    }
    drain();
  }

 private:
  __device__ int row_of(int half) const { return lane_.g + 8 * half; }
  __device__ void release(uint64_t& empty) const {
    if (lane_.id == 0) sm90::mbarrier_arrive(x_.at(empty));
  }
  __device__ void wait(uint64_t& full, uint32_t phase) const {
    sm90::mbarrier_wait(x_.at(full), phase);
  }
  __device__ void release_q() { release(x_.shared.q_empty[warpgroup_][q_.stage()]), q_.next(); }
  // Without overlap K and V of a tile are done with before the next tile: one ring counts both.
  __device__ Ring<Sizes::kStages>& v() {
    if constexpr (Sizes::kOverlap)
      return v_;
    else
      return k_;
  }
  __device__ void release_k() {
    release(x_.shared.k_empty[k_.stage()]);
    if constexpr (Sizes::kOverlap) k_.next();
  }
  __device__ void release_v() { release(x_.shared.v_empty[v().stage()]), v().next(); }
  __device__ void wait_v() { wait(x_.shared.v_full[v().stage()], v().phase()); }
  /// A tile that none of these queries sees; no product is behind.
  __device__ void skip() {
    wait(x_.shared.k_full[k_.stage()], k_.phase());
    release_k();
    wait_v();
    release_v();
    take_turn(), give_turn();
  }
  /// Ends an item whose last product is not begun.
  __device__ void drain() {
    if (!pending_) return;
    wait_v();
    begin_output();
    sm90::wgmma_wait_group<0>();
    release_v();
    store_output(begun_);
    pending_ = false;
  }
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

  /// S = Q K^T, begun.
  __device__ void begin_scores() {
    Operands::begin_scores(s_, x_.tiles.q(warpgroup_, q_.stage()), x_.tiles.k(k_.stage()));
  }
  /// O (+)= P V, begun.
  __device__ void begin_output() {
    Operands::begin_output(rows_.o, p_, x_.tiles.v(v().stage()), accumulate_);
    accumulate_ = 1;
  }

  /// Shah et al. 2024, Algorithm 2 (with overlap) or 1, for the warp's queries from `row` on.
  __device__ void attend(const Item& item, int row, int tiles) {
    // Row i of the warp sees keys below keys_seen(i).
    const int keys = item.keys, diagonal = x_.c.causal ? row + 1 + keys - item.queries : keys;
    const auto keys_seen = [&](int i) { return most(0, least(keys, diagonal + i)); };
    // Tiles that end beyond are masked. Where rows of the warp belong to the next sequence all are:
    // then each row's maximum is followed for itself, by no vote of those rows.
    const int whole = row + 16 > item.queries ? 0 : keys_seen(0);
    const Dropout dropout(x_.dropout_keys(), output_tile(), item.sequence * x_.c.heads + item.head,
                          x_.c.keep, row, lane_);
    begin_output_rows(item, row);
    float factor[2];

    // The masks of a tile, while P V of the tile before runs.
    const auto draw_masks = [&](int key) {
      if constexpr (Sizes::kDrop) {
        if (key >= 0) dropout.draw(key);
        __syncwarp();
      }
    };
    typename Operands::Scale scale{x_.c.scale};
    const auto softmax = [&](int key, const auto&... finish) {
      return online_softmax<kKeys>(
          s_, rows_.softmax, factor, scale, key + kKeys > whole,
          [&](int half) { return keys_seen(row_of(half)) - key - 2 * lane_.t; }, finish...);
    };
    // The same, and P with dropout; whether the maximum has been followed or not, the exponentials
    // are the same instructions, which costs no registers for a second P.
    const auto softmax_and_dropout = [&](int key, const auto& dropout) {
      float shift[2];
      const bool grown =
          softmax(key, [&](const float(&m)[2]) { shift[0] = m[0], shift[1] = m[1]; });
      const auto exponentials_and = [&](const auto& clear) {
        exponentials<kKeys>(s_, shift, rows_.softmax.l, scale, [&](int i) {
          to_fragment<kKeys>(p_[i], s_, i);
          clear(p_[i], i);
        });
      };
      if (dropout.keeps_most())
        exponentials_and([&](uint32_t(&p)[4], int i) { dropout.clear_as_numbers(p, i); });
      else
        exponentials_and([&](uint32_t(&p)[4], int i) { dropout.clear_as_bits(p, i); });
      __syncwarp();
      return grown;
    };

    rows_.softmax.clear();
    wait(x_.shared.q_full[warpgroup_][q_.stage()], q_.phase());
    draw_masks((tiles - 1) * kKeys);
    if constexpr (Sizes::kOverlap) {
      bool unstored = false;  // O of the item before is whole
      for (int tile = tiles - 1; tile >= 0; --tile) {
        const int key = tile * kKeys;
        wait(x_.shared.k_full[k_.stage()], k_.phase());
        scale.of_tile(output(begun_).scale, x_.scales_at(k_.stage()));
        take_turn();
        begin_scores();
        if (unstored) give_turn(), store_output(begun_ - 1);
        // Of the tile before, perhaps of the item before. If there is none the result is not used.
        wait_v();
        begin_output();
        if (!unstored) give_turn();
        unstored = false;
        sm90::wgmma_wait_group<1>();
        release_k();
        if (tile == 0) release_q();
        const bool grown = softmax(key);
        sm90::wgmma_wait_group<0>();
        if (pending_) release_v();
        if (tile == tiles - 1) {
          unstored = pending_;
          accumulate_ = 0;
        } else if (grown) {
          rows_.rescale(factor);
        }
        Operands::to_fragments(p_, s_);
        pending_ = true;
      }
      finish();
    } else {
      accumulate_ = 0;
      for (int tile = tiles - 1; tile >= 0; --tile) {
        const int key = tile * kKeys;
        wait(x_.shared.k_full[k_.stage()], k_.phase());
        scale.of_tile(output(begun_).scale, x_.scales_at(k_.stage()));
        take_turn();
        begin_scores();
        give_turn();
        sm90::wgmma_wait_group<0>();
        release_k();
        if (tile == 0) release_q();
        if constexpr (Sizes::kDrop) {
          if (softmax_and_dropout(key, dropout) && tile < tiles - 1) rows_.rescale(factor);
        } else {
          if (softmax(key) && tile < tiles - 1) rows_.rescale(factor);
          Operands::to_fragments(p_, s_);
        }
        wait_v();
        begin_output();
        draw_masks(key - kKeys);
        sm90::wgmma_wait_group<0>();
        release_v();
      }
      finish();
      store_output(begun_);
    }
  }
  __device__ uint32_t output_tile() const { return x_.tiles.o(warpgroup_) + warp_ * 16 * D * 2; }
  __device__ typename Shared::Output& output(int item) const {
    return x_.shared.outputs[4 * warpgroup_ + warp_][item & 1];
  }
  __device__ void begin_output_rows(const Item& item, int row) {
    if constexpr (Sizes::kOverlap) ++begun_;
    if (lane_.id == 0)
      output(begun_) = {x_.c.o.at(item.first_q + row, item.head),
                        x_.c.lse + item.head * x_.c.lse_stride + item.first_q + row,
                        item.queries - row, x_.operands.item_scale(x_.c.scale, item, row)};
    __syncwarp();
  }
  /// The log-sum-exp, and the inverse of l: the item's softmax is done, its O may not be.
  __device__ void finish() {
    const typename Shared::Output& out = output(begun_);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Flash3Softmax& x = rows_.softmax;
      const float l = row_sum(x.l[half]);
      const bool nothing = x.m[half] == -INFINITY;
      rows_.inverse[half] = nothing ? 0 : __fdividef(x_.c.keep_scale, l);
      if (lane_.t == 0 && row_of(half) < out.rows)
        out.lse[row_of(half)] = nothing ? -INFINITY : (x.m[half] + __log2f(l)) * kLn2;
    }
  }
  /// O / l, by way of shared memory, which makes 16-byte pieces of 4-byte ones.
  __device__ void store_output(int item) {
    const typename Shared::Output& out = output(item);
    const uint32_t tile = output_tile();
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const float* o = &rows_.o[4 * n + 2 * half];
        const float y = rows_.inverse[half];
        ptx::st_shared_u32(tile + panel_chunk_byte(lane_.g + 8 * half, n, 16) + 4 * lane_.t,
                           ptx::cvt_rn_bf16x2(o[1] * y, o[0] * y));
      }
    __syncwarp();
    constexpr int kChunks = D / 8;
#pragma unroll
    for (int i = lane_.id; i < 16 * kChunks; i += 32) {
      const int slot = i / kChunks, chunk = i % kChunks;
      const uint4 y = ptx::ld_shared_u32x4(tile + panel_chunk_byte(slot, chunk, 16));
      if (slot < out.rows && chunk * 8 < x_.c.head_dim)
        *reinterpret_cast<uint4*>(out.o + slot * x_.c.o.row + chunk * 8) = y;
    }
    __syncwarp();  // the next item's masks come here
  }
  /// Queries that see no key: O = 0.
  __device__ void store_nothing(const Item& item, int row) {
    constexpr int kChunks = D / 8;
    for (int i = lane_.id; i < 16 * kChunks; i += 32) {
      const int r = row + i / kChunks, chunk = i % kChunks;
      if (r >= item.queries || chunk * 8 >= x_.c.head_dim) continue;
      *reinterpret_cast<uint4*>(x_.c.o.at(item.first_q + r, item.head) + chunk * 8) = uint4{};
      if (chunk == 0) x_.c.lse[item.head * x_.c.lse_stride + item.first_q + r] = -INFINITY;
    }
  }

  const Flash3Context<Sizes>& x_;
  const int warpgroup_, warp_;
  const Lane lane_;
  Ring<Sizes::kQueryStages> q_;
  Ring<Sizes::kStages> k_, v_;
  float s_[kKeys / 2];
  Flash3Rows<D> rows_;
  uint32_t p_[Operands::kFragments][4];
  int accumulate_ = 0;
  bool pending_ = false;  // P is of a tile whose product with V is not begun
  int begun_ = 0;         // items; without overlap each is stored before the next
};

template <class Sizes>
__global__ void __launch_bounds__(Sizes::kThreads, 1)
    flash3_forward_kernel(const AttentionCall c,
                          const __grid_constant__ typename Sizes::Operands operands, int items,
                          int chunk, unsigned* ticket) {
  extern __shared__ __align__(1024) char dynamic[];
  __shared__ Flash3Shared<Sizes> shared;
  const int warpgroup = threadIdx.x / 128;
  if (threadIdx.x == 0) shared.init();
  if (Sizes::kDrop) shared.dropout.make(c.state, c.site);
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
