// Dropout of P held as A fragments of wgmma. One Philox call decides a patch of 4 x 4 scores
// (ops/dropout_mask.h), a thread of the product holds two scores of a patch, so bits go from lane
// to lane. They do so by way of shared memory, in words that are cheap at both ends
// (attention_flash3_layout.h): a lane makes a word of two calls and stores it; a reader shifts it
// once, and two permutations of bytes that copy signs are the masks of four scores.
//
// Instructions for 16 scores of a lane: 28 of Philox's rounds and 7 for its counter and keys, 22 to
// a word, 2 to store and load, 20 to apply.
#pragma once

#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash3_layout.h"

namespace strobe::cuda {

/// Who draws: each consumer warp its own masks, in two halves, under its products; or a warpgroup
/// that does nothing else.
enum class Flash3Masks { none, own, warpgroup };

/// The masks of a warp's 16 queries, tile after tile of `Keys` keys.
template <int Keys>
class Flash3Dropout {
 public:
  static constexpr int kHalves = Keys / 64;  // words that a lane makes

  /// `row` is the warp's first query, counted from the start of its sequence.
  __device__ Flash3Dropout(const DropoutKeys& keys, uint32_t stream, int keep, int row,
                           const Lane& lane)
      : keys_(keys), stream_(stream), keep_(keep), row_patch_(row / 4), lane_(lane) {}

  /// This lane's word `half` of the tile of keys from `key` on, into the warp's `words`.
  __device__ void draw(uint32_t words, int half, int key) const {
    const int slot = 32 * half + lane_.id;
    const MaskWord at = mask_word(slot, Keys);
    uint32_t a[4], b[4];
    keys_.draw(a, stream_, row_patch_ + at.row, key / 4 + at.column);
    keys_.draw(b, stream_, row_patch_ + at.row + 2, key / 4 + at.column);
    const uint32_t upper = rows(a), lower = rows(b);
    const uint32_t left = ptx::prmt(upper, lower, 0x5410), right = ptx::prmt(upper, lower, 0x7632);
    ptx::st_shared_u32(words + 4 * slot, (left & 0xf0f0f0f0u) | (right >> 4 & 0x0f0f0f0fu));
  }
  /// Clears the dropped elements of P's fragments.
  __device__ void apply(uint32_t words, uint32_t (&p)[Keys / 16][4]) const {
    const uint32_t from = words + 4 * mask_slot(lane_.g / 4, lane_.t / 2, Keys);
    const int shift = mask_shift(lane_.g, lane_.t);
#pragma unroll
    for (int i = 0; i < Keys / 16; ++i) {
      const uint2 two = ptx::ld_shared_u32x2(from + 8 * i);
      const uint32_t w[2] = {two.x << shift, two.y << shift};
#pragma unroll
      for (int k = 0; k < 4; ++k) p[i][k] &= ~ptx::prmt(w[k / 2], 0, k % 2 ? 0xbbaa : 0x9988);
    }
  }

 private:
  /// The patch's columns as bytes: dropped scores of rows 0 to 3 in bits 7 to 4. The rest is noise.
  __device__ uint32_t rows(const uint32_t (&w)[4]) const {
    uint32_t x = DropoutKeys::dropped(w[3], keep_);
#pragma unroll
    for (int i = 2; i >= 0; --i)
      x = (DropoutKeys::dropped(w[i], keep_) & 0x80808080u) | (x >> 1 & 0x7f7f7f7fu);
    return x;
  }

  const DropoutKeys& keys_;
  uint32_t stream_;
  int keep_, row_patch_;
  const Lane& lane_;
};

}  // namespace strobe::cuda
