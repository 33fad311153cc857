// Dropout of P held as A fragments of wgmma. One Philox call decides a patch of 4 x 4 scores
// (ops/dropout_mask.h), a thread of the product holds two scores of a patch, so random bytes go
// from lane to lane, by way of shared memory, as they are: a lane makes words of two calls' (a
// permutation of bytes each). A reader compares a word's bytes as high bytes of two bf16 numbers,
// whose order is that of their bits; the comparison gives 0 or 1, which P is multiplied by.
//
// Instructions for 16 scores of a lane: 11 products and 12 exclusive-ors of Philox, four calls of a
// lane sharing what their columns and rows have in common; 4 to words, 2 to load keys and store, 4
// to load, 24 to apply. A product of 64 bits holds its pipe for four cycles; logic, permutations
// and comparisons hold theirs for two. So a draw takes longer than either product of the tensor
// cores. It runs under P V of the tile before, applying under the exponentials.
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
  static_assert(Keys % 128 == 0 || kHalves == 1);

  /// `keys`: the address of the block's DropoutKeys; `bytes`: of what the warp has for a tile.
  /// `row` is the warp's first query, counted from the start of its sequence.
  __device__ Flash3Dropout(uint32_t keys, uint32_t bytes, uint32_t stream, int keep, int row,
                           const Lane& lane)
      : keys_(keys),
        stream_(stream),
        keep_(keep),
        row_patch_(row / 4 + mask_slot(lane.id, Keys).row),
        column_patch_(mask_slot(lane.id, Keys).column),
        to_(ptx::held(bytes + kMaskSlotBytes * lane.id)),
        from_(ptx::held(bytes + mask_byte(lane.g, lane.t))) {}

  /// This lane's slots of the tile of keys from `key` on.
  __device__ void draw(int key) const {
    uint32_t words[kHalves][2][4];
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        uint32_t(&w)[4] = words[half][b];
        w[0] = column_patch_ + key / 4 + mask_slot(32 * half, Keys).column + 2 * b;
        w[1] = row_patch_ + mask_slot(32 * half, Keys).row;
        w[2] = stream_, w[3] = DropoutKeys::kLastCounter;
      }
#pragma unroll
    for (int i = 0; i < DropoutKeys::kPairs; ++i) {
      const uint4 keys = ptx::ld_shared_u32x4(keys_ + 16 * i);
#pragma unroll
      for (int half = 0; half < kHalves; ++half)
#pragma unroll
        for (int b = 0; b < 2; ++b) {
          uint32_t(&w)[4] = words[half][b];
          DropoutKeys::two_rounds(w[0], w[1], w[2], w[3], keys, i);
        }
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const uint32_t(&a)[4] = words[half][0], (&b)[4] = words[half][1];
        ptx::st_shared_u32x4(
            to_ + 32 * kMaskSlotBytes * half + 8 * i,
            {ptx::prmt(a[i], b[i], 0x5140), ptx::prmt(a[i], b[i], 0x7362),
             ptx::prmt(a[i + 1], b[i + 1], 0x5140), ptx::prmt(a[i + 1], b[i + 1], 0x7362)});
      }
  }

  /// Whether more than half of the bytes keep their scores: what clear_as_numbers asks for.
  __device__ bool keeps_most() const { return keep_ > 128; }
  /// Clears the dropped elements of P's fragment of the keys [16 i, 16 i + 16).
  __device__ void clear_as_numbers(uint32_t (&p)[4], int i) const {
    const uint32_t greatest = 0x1000100u * keep_;  // that is dropped; it is negative
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t w = word(half, i);
      const uint32_t odd = w & 0xff00ff00u, even = ptx::prmt(w, 0, 0x2404);
      p[2 + half] = sm90::mul_bf16x2(p[2 + half], sm90::set_gt_bf16x2(odd, greatest));
      p[half] = sm90::mul_bf16x2(p[half], sm90::set_gt_bf16x2(even, greatest));
    }
  }
  __device__ void clear_as_bits(uint32_t (&p)[4], int i) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t dropped = DropoutKeys::dropped(word(half, i), keep_);
      p[2 + half] &= ~ptx::prmt(dropped, 0, 0xbb99);
      p[half] &= ~ptx::prmt(dropped, 0, 0xaa88);
    }
  }

 private:
  __device__ uint32_t word(int half, int i) const {
    return ptx::ld_shared_u32(from_ + mask_step(half, i, Keys));
  }

  uint32_t keys_, stream_;
  int keep_, row_patch_, column_patch_;
  uint32_t to_, from_;
};

/// In its place where nothing is dropped.
struct Flash3NoDropout {
  template <class... Args>
  __device__ explicit Flash3NoDropout(const Args&...) {}
};

}  // namespace strobe::cuda
