// Dropout of attention scores held in mma's accumulators. One Philox call decides a patch of 4 x 4
// scores (ops/dropout_mask.h). Rows and columns are placed so that a thread's accumulators are
// whole patches where a warp's rows are two pieces of 16 high: one call for 16 scores, and no
// exchange. With one piece, two threads share two patches of neighbouring 16s of columns.
#pragma once

#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/tile.cuh"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

template <int Pieces>
class DropoutPatches {
 public:
  /// Sixteens of columns that one draw decides.
  static constexpr int kGroups = Pieces == 2 ? 1 : 2;

  __device__ DropoutPatches(const StepState* state, uint32_t site, uint32_t stream, int keep,
                            const Lane& lane)
      : key_(dropout_key(state->seed, state->step, state->micro_step, site)),
        stream_(stream),
        keep_(keep),
        row_patch_(Pieces == 2 ? lane.g : lane.g / 2),
        column_patch_(Pieces == 2 ? lane.t : lane.t + 4 * (lane.g & 1)),
        second_(Pieces == 1 && lane.g & 1) {}

  /// Rows are queries, columns keys: a warp's from `query`, kGroups sixteens of keys from `key`.
  /// Afterwards mask() tells of each pair of neighbouring keys.
  __device__ void draw_by_query(int query, int key) {
    draw(query / 4 + row_patch_, key / 4 + column_patch_);
    if constexpr (Pieces == 1) exchange(w_[0], w_[1], w_[2], w_[3]);
  }
  /// 0xffff in the halves that are kept: row 16 piece + 8 half + g, columns 2 t, 2 t + 1 of 8
  /// `eight` of the draw.
  __device__ uint32_t mask(int piece, int half, int eight) const {
    const uint32_t bytes = w_[2 * (Pieces == 2 ? piece : eight / 2) + half];
    const uint32_t pair = ptx::prmt(bytes, 0, eight % 2 ? 0x4342 : 0x4140);
    return ptx::set_lt_u32_f16x2(pair, 0x10001u * keep_);  // bytes, as denormal numbers
  }

  /// Rows are keys, columns queries. Afterwards sign() tells of each score.
  __device__ void draw_by_key(int key, int query) {
    draw(query / 4 + column_patch_, key / 4 + row_patch_);
    if constexpr (Pieces == 1) {
      uint32_t low0 = ptx::prmt(w_[0], w_[1], 0x5410), low1 = ptx::prmt(w_[2], w_[3], 0x5410);
      uint32_t high0 = ptx::prmt(w_[0], w_[1], 0x7632), high1 = ptx::prmt(w_[2], w_[3], 0x7632);
      exchange(low0, low1, high0, high1);
      w_[0] = low0, w_[1] = low1, w_[2] = high0, w_[3] = high1;
    }
    const uint32_t keep = 0x1010101u * keep_;
#pragma unroll
    for (uint32_t& x : w_) {  // the highest bit of each byte: whether it is at least `keep`
      const uint32_t low = (x | 0x80808080u) - (keep & 0x7f7f7f7fu);
      x = (x & ~keep) | (~(x ^ keep) & low);
    }
  }
  /// The sign bit where row 16 piece + 8 half + g, column 8 eight + 2 t + odd is dropped.
  __device__ uint32_t sign(int piece, int half, int eight, int odd) const {
    const int query = 2 * (eight % 2) + odd;
    const uint32_t word = w_[Pieces == 2 ? query : 2 * (eight / 2) + query / 2];
    const int byte = Pieces == 2 ? 2 * piece + half : 2 * (query % 2) + half;
    return word << (24 - 8 * byte) & 0x80000000u;
  }

 private:
  __device__ void draw(uint32_t row_patch, uint32_t column_patch) {
    uint32_t c0 = column_patch, c1 = row_patch, c2 = stream_;
    uint32_t c3 = static_cast<uint32_t>(RandomUse::dropout);
    uint32_t key0 = static_cast<uint32_t>(key_), key1 = static_cast<uint32_t>(key_ >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
      const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ key0, c1 = static_cast<uint32_t>(b);
      c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ key1, c3 = static_cast<uint32_t>(a);
      key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    w_[0] = c0, w_[1] = c1, w_[2] = c2, w_[3] = c3;
  }
  /// A patch as its first two rows a and last two b. Of the patches of two lanes, the first keeps
  /// the first rows of both, the second the last rows.
  __device__ void exchange(uint32_t& a0, uint32_t& a1, uint32_t& b0, uint32_t& b1) const {
    const uint32_t got0 = __shfl_xor_sync(0xffffffffu, second_ ? a0 : b0, 4);
    const uint32_t got1 = __shfl_xor_sync(0xffffffffu, second_ ? a1 : b1, 4);
    if (second_)
      a0 = got0, a1 = got1;
    else
      b0 = got0, b1 = got1;
  }

  uint64_t key_;
  uint32_t stream_;
  int keep_;
  int row_patch_, column_patch_;
  bool second_;
  uint32_t w_[4];
};

}  // namespace strobe::cuda
