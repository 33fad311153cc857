// Dropout of attention scores held in a tensor core's accumulators (ops/dropout_mask.h): of a query
// and a pair of keys a multiply-add of integers gives two numbers, one in either half of a
// register, and a multiply-add of halves says which of them keep.
#pragma once

#include <type_traits>

#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_dropout.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/tile.cuh"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

__device__ inline uint64_t attention_dropout_key(const StepState* state, uint32_t site) {
  return dropout_key(state->seed, state->step, state->micro_step, site);
}

/// The numbers of a query and the two keys of `word`.
__device__ inline uint32_t dropout_numbers(const DropoutQuery& query, uint32_t word) {
  return query.multiplier * word + query.addend;
}

/// For the backward: those of `count` queries of a head from `query` on, multiples of 16, at `at`.
/// By all threads of a block.
__device__ inline void write_dropout_queries(const AttentionBackwardCall& c, uint32_t stream,
                                             int query, int count, int64_t at) {
  const int i = threadIdx.x;
  if (i >= count / 2) return;
  const Philox::Block x =
      attention_dropout_queries(attention_dropout_key(c.state, c.site), stream, query / 2 + i);
  const int64_t to = at + i / 8 * 16 + i % 8;
  c.dropout_queries[to] = {x[0], x[1]}, c.dropout_queries[to + 8] = {x[2], x[3]};
}

/// Which numbers keep their scores.
class KeptNumbers {
 public:
  /// What stands for "keeps" in a half; "drops" is 0. As f16 it is 1, as bf16 1 / kScale.
  static constexpr uint32_t kKeeps = 0x3c003c00;
  static constexpr float kScale = 128;

  __device__ explicit KeptNumbers(int keep_of_256) {
    const DroppedNumbers dropped = DroppedNumbers::of(keep_of_256);
    as_float_ = dropped.as_float();
    a_ = 0x10001u * (as_float_ ? dropped.factor() : static_cast<uint16_t>(dropped.first));
    b_ = 0x10001u * (as_float_ ? dropped.summand() : 0u);
  }
  /// f(std::true_type or false_type), which is the AsFloat of its calls of `of`.
  template <class F>
  __device__ void dispatch(const F& f) const {
    if (as_float_)
      f(std::true_type());
    else
      f(std::false_type());
  }
  template <bool AsFloat>
  __device__ uint32_t of(uint32_t numbers) const {
    if constexpr (AsFloat) return ptx::fma_rn_sat_f16x2(numbers, a_, b_);
    // numbers < first, signed: the sign bits of two halves from those of the operands and of the
    // difference of what is below them.
    const uint32_t low = (numbers | 0x80008000u) - (a_ & 0x7fff7fffu);
    constexpr int a = 0xf0, b = 0xcc, c = 0xaa, at_least = (~a & b) | (~(a ^ b) & c);
    return ptx::prmt(ptx::lop3<~at_least & 0xff>(numbers, a_, low), 0, 0xbb99) & kKeeps;
  }

 private:
  bool as_float_;
  uint32_t a_, b_;  // factor and summand, or `first`, in both halves
};

/// A warp's rows of queries in the kernels of mma.sync, `Pieces` 16s, and tiles of 64 keys, both
/// placed as attention_layout.h has it.
template <int Pieces>
class RowDropout {
 public:
  static constexpr int kEights = 8;  // of keys
  static_assert(kDropoutTileKeys % (8 * kEights) == 0);

  __device__ RowDropout(int keep, const uint32_t* words, const Lane& lane)
      : kept_(keep), words_(words + pair_slot(0, lane.t)) {}

  /// The rows from `row` on, counted from the start of their sequence.
  __device__ void take_rows(uint64_t key, uint32_t stream, int row, const Lane& lane) {
#pragma unroll
    for (int p = 0; p < Pieces; ++p)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        rows_[p][half] = attention_dropout_query(
            key, stream, row + row_of_row_slot(16 * p + 8 * half + lane.g, Pieces));
  }
  /// The words of this lane's columns of the tile of keys from `key` on.
  __device__ void read_words(uint32_t (&w)[kEights], int key) const {
#pragma unroll
    for (int n = 0; n < kEights; ++n) w[n] = __ldg(words_ + key / 2 + pair_slot(n, 0));
  }
  /// Clears the dropped elements of P's A fragments, and divides the others by kScale.
  __device__ void clear(uint32_t (&p)[Pieces][kEights / 2][4], const uint32_t (&w)[kEights]) const {
    constexpr uint32_t kMinusZero = 0x80008000;
    kept_.dispatch([&](auto as_float) {
#pragma unroll
      for (int i = 0; i < Pieces; ++i)
#pragma unroll
        for (int n = 0; n < kEights; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            uint32_t& pair = p[i][n / 2][n % 2 * 2 + half];
            const uint32_t numbers = dropout_numbers(rows_[i][half], w[n]);
            pair = ptx::fma_rn_bf16x2(pair, kept_.of<as_float()>(numbers), kMinusZero);
          }
    });
  }

 private:
  KeptNumbers kept_;
  const uint32_t* words_;
  DropoutQuery rows_[Pieces][2];
};

}  // namespace strobe::cuda
