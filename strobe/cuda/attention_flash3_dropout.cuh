// Dropout of P held as A fragments of wgmma. One Philox call decides a patch of 4 x 4 scores
// (ops/dropout_mask.h), a thread of the product holds two scores of a patch, so random bytes go
// from lane to lane, by way of shared memory, as they are: a lane makes words of two calls' (a
// permutation of bytes each). A reader compares a word's bytes as high bytes of two bf16 numbers,
// whose order is that of their bits; the comparison gives 0 or 1, which P is multiplied by.
//
// Instructions for 16 scores of a lane: 25 of Philox's rounds and 5 for its counter and keys, 4 to
// words, 1 to store, 4 to load, 24 to apply. The integer pipe takes one every other cycle: the
// permutations, exclusive-ors and comparisons. A product of 64 bits holds its own for four.
#pragma once

#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash3_layout.h"
#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

/// The masks of a warp's 16 queries, tile after tile of `Keys` keys.
template <int Keys>
class Flash3Dropout {
 public:
  static constexpr int kHalves = Keys / 64;  // slots that a lane fills

  /// `row` is the warp's first query, counted from the start of its sequence.
  __device__ Flash3Dropout(const DropoutKeys& keys, uint32_t stream, int keep, int row,
                           const Lane& lane)
      : keys_(keys), stream_(stream), keep_(keep), row_patch_(row / 4), lane_(lane) {}

  /// This lane's slot `half` of the tile of keys from `key` on, into the warp's `bytes`.
  __device__ void draw(uint32_t bytes, int half, int key) const {
    const int slot = 32 * half + lane_.id;
    const MaskSlot at = mask_slot(slot, Keys);
    uint32_t a[4], b[4];
    keys_.draw(a, stream_, row_patch_ + at.row, key / 4 + at.column);
    keys_.draw(b, stream_, row_patch_ + at.row, key / 4 + at.column + 2);
#pragma unroll
    for (int i = 0; i < 4; i += 2)
      ptx::st_shared_u32x4(
          bytes + kMaskSlotBytes * slot + 8 * i,
          {ptx::prmt(a[i], b[i], 0x5140), ptx::prmt(a[i], b[i], 0x7362),
           ptx::prmt(a[i + 1], b[i + 1], 0x5140), ptx::prmt(a[i + 1], b[i + 1], 0x7362)});
  }
  /// Clears the dropped elements of P's fragments.
  __device__ void apply(uint32_t bytes, uint32_t (&p)[Keys / 16][4]) const {
    const uint32_t from = bytes + mask_byte(lane_.g, lane_.t);
    if (keep_ > 128) {
      // The greatest number that is dropped; it is negative.
      const uint32_t greatest = 0x1000100u * keep_;
      for_words(from, [&](uint32_t w, int i, int half) {
        const uint32_t odd = w & 0xff00ff00u, even = ptx::prmt(w, 0, 0x2404);
        p[i][2 + half] = sm90::mul_bf16x2(p[i][2 + half], sm90::set_gt_bf16x2(odd, greatest));
        p[i][half] = sm90::mul_bf16x2(p[i][half], sm90::set_gt_bf16x2(even, greatest));
      });
    } else {
      for_words(from, [&](uint32_t w, int i, int half) {
        const uint32_t dropped = DropoutKeys::dropped(w, keep_);
        p[i][2 + half] &= ~ptx::prmt(dropped, 0, 0xbb99);
        p[i][half] &= ~ptx::prmt(dropped, 0, 0xaa88);
      });
    }
  }

 private:
  template <class F>
  __device__ static void for_words(uint32_t from, const F& f) {
#pragma unroll
    for (int i = 0; i < Keys / 16; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        f(ptx::ld_shared_u32(from + mask_step(half, i, Keys)), i, half);
  }

  const DropoutKeys& keys_;
  uint32_t stream_;
  int keep_, row_patch_;
  const Lane& lane_;
};

}  // namespace strobe::cuda
