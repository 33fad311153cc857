// Dropout of P held as A fragments of wgmma. One Philox call decides a patch of 4 x 4 scores
// (ops/dropout_mask.h). A thread holds rows 2 g, 2 g + 1 of a warp's 16 (paired_row) and columns
// 2 t, 2 t + 1 of every 8, so the four threads that differ in the lowest bits of g and t share four
// patches of every 32 columns: each makes one call, and two exchanges hand out the bytes.
#pragma once

#include "strobe/cuda/attention_dropout.cuh"

namespace strobe::cuda {

class Flash3Dropout {
 public:
  /// `row` is the warp's first query, counted from the start of its sequence.
  __device__ Flash3Dropout(const DropoutKeys& keys, uint32_t stream, int keep, int row,
                           const Lane& lane)
      : patches_(keys, stream, keep, lane),
        row_patch_(row / 4 + lane.g / 2),
        column_patch_(4 * (lane.g & 1) + 2 * (lane.t & 1) + lane.t / 2),
        low_rows_(!(lane.g & 1)),
        low_columns_(!(lane.t & 1)) {}

  /// The bytes of 32 keys from `key` on: z[n] is of columns 8 n + 2 t + e, row 2 g + half as byte
  /// 2 half + e.
  __device__ void draw(uint32_t (&z)[4], int key) const {
    uint32_t w[4];
    patches_.draw(w, row_patch_, key / 4 + column_patch_);
    // Rows: of two patches in the lanes g and g ^ 1, the first two rows or the last two of both.
    const uint32_t got0 = __shfl_xor_sync(0xffffffffu, low_rows_ ? w[2] : w[0], 4);
    const uint32_t got1 = __shfl_xor_sync(0xffffffffu, low_rows_ ? w[3] : w[1], 4);
    columns(z[0], z[1], low_rows_ ? w[0] : got0, low_rows_ ? w[1] : got1);
    columns(z[2], z[3], low_rows_ ? got0 : w[2], low_rows_ ? got1 : w[3]);
  }
  /// Clears the dropped elements of P's fragments of 32 keys.
  __device__ void apply(uint32_t (*p)[4], const uint32_t (&z)[4]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) p[i / 4][i % 4] &= patches_.kept(z[i / 2], i % 2);
  }

 private:
  /// Columns: of two patches in the lanes t and t ^ 1, the first two or the last two of both.
  __device__ void columns(uint32_t& even, uint32_t& odd, uint32_t row0, uint32_t row1) const {
    const uint32_t keep = ptx::prmt(row0, row1, low_columns_ ? 0x5410 : 0x7632);
    const uint32_t send = ptx::prmt(row0, row1, low_columns_ ? 0x7632 : 0x5410);
    const uint32_t got = __shfl_xor_sync(0xffffffffu, send, 1);
    even = low_columns_ ? keep : got, odd = low_columns_ ? got : keep;
  }

  DropoutPatches<1> patches_;
  int row_patch_, column_patch_;
  bool low_rows_, low_columns_;
};

}  // namespace strobe::cuda
