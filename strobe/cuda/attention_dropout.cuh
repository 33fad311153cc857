// Dropout of attention scores held in mma's accumulators. One Philox call decides a patch of 4 x 4
// scores (ops/dropout_mask.h). Rows and columns are placed so that a thread's accumulators are
// whole patches where a warp's rows are two pieces of 16 high: one call for 16 scores, and no
// exchange. With one piece, two threads share two patches of neighbouring 16s of columns.
#pragma once

#include "strobe/cuda/device.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/tile.cuh"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

/// Philox's round keys of this op in this step, for all threads of a block.
struct DropoutKeys {
  static constexpr int kPairs = (kDropoutRounds + 1) / 2;
  static constexpr uint32_t kLastCounter = static_cast<uint32_t>(RandomUse::dropout);
  uint4 of_two_rounds[kPairs];

  /// By all threads; a barrier must follow.
  __device__ void make(const StepState* state, uint32_t site) {
    if (threadIdx.x >= kPairs) return;
    const uint64_t key = dropout_key(state->seed, state->step, state->micro_step, site);
    const uint32_t a = static_cast<uint32_t>(key) + 2 * threadIdx.x * 0x9E3779B9u;
    const uint32_t b = static_cast<uint32_t>(key >> 32) + 2 * threadIdx.x * 0xBB67AE85u;
    of_two_rounds[threadIdx.x] = make_uint4(a, b, a + 0x9E3779B9u, b + 0xBB67AE85u);
  }
  /// The words of a patch of 4 x 4 scores: attention_dropout_patch.
  __device__ void draw(uint32_t (&w)[4], uint32_t stream, uint32_t row_patch,
                       uint32_t column_patch) const {
    uint32_t c0 = column_patch, c1 = row_patch, c2 = stream, c3 = kLastCounter;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const uint4 key = of_two_rounds[i];
      two_rounds(c0, c1, c2, c3, key, i);
    }
    w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
  }
  /// Rounds 2 i and, if there is one, 2 i + 1.
  __device__ static void two_rounds(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3,
                                    const uint4& key, int i) {
    const auto round = [&](uint32_t key0, uint32_t key1) {
      const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ key0, c1 = static_cast<uint32_t>(b);
      c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ key1, c3 = static_cast<uint32_t>(a);
    };
    round(key.x, key.y);
    if (2 * i + 1 < kDropoutRounds) round(key.z, key.w);
  }
  /// The highest bit of each byte of x: whether it is at least `keep`, that is, drops its score, or
  /// below, that is, keeps it.
  __device__ static uint32_t dropped(uint32_t x, int keep) { return compare<false>(x, keep); }
  __device__ static uint32_t kept(uint32_t x, int keep) { return compare<true>(x, keep); }

 private:
  template <bool Below>
  __device__ static uint32_t compare(uint32_t x, int keep_of_256) {
    const uint32_t keep = 0x1010101u * keep_of_256;
    const uint32_t low = (x | 0x80808080u) - (keep & 0x7f7f7f7fu);
    constexpr int a = 0xf0, b = 0xcc, c = 0xaa, at_least = (a & ~b) | (~(a ^ b) & c);
    return ptx::lop3<(Below ? ~at_least : at_least) & 0xff>(x, keep, low);
  }
};

template <int Pieces>
class DropoutPatches {
 public:
  /// Sixteens of columns that one draw decides.
  static constexpr int kGroups = Pieces == 2 ? 1 : 2;

  __device__ DropoutPatches(const DropoutKeys& keys, uint32_t stream, int keep, const Lane& lane)
      : keys_(keys),
        stream_(stream),
        keep_(keep),
        row_patch_(Pieces == 2 ? lane.g : lane.g / 2),
        column_patch_(Pieces == 2 ? lane.t : lane.t + 4 * (lane.g & 1)),
        second_(Pieces == 1 && lane.g & 1) {}

  /// Rows are queries, columns keys: a warp's from `query`, kGroups sixteens of keys from `key`.
  __device__ void draw_by_query(uint32_t (&w)[4], int query, int key) const {
    draw(w, query / 4 + row_patch_, key / 4 + column_patch_);
    if constexpr (Pieces == 1) exchange(w[0], w[1], w[2], w[3]);
  }
  /// 0xffff in the halves that are kept: row 16 piece + 8 half + g, columns 2 t, 2 t + 1 of 8
  /// `eight` of the draw.
  __device__ uint32_t mask(const uint32_t (&w)[4], int piece, int half, int eight) const {
    return kept(w[2 * (Pieces == 2 ? piece : eight / 2) + half], eight % 2);
  }
  /// 0xffff in the halves whose bytes, the word's lower two or upper two, are below keep.
  __device__ uint32_t kept(uint32_t word, int upper) const {
    const uint32_t pair = ptx::prmt(word, 0, upper ? 0x4342 : 0x4140);
    return ptx::set_lt_u32_f16x2(pair, 0x10001u * keep_);  // bytes, as denormal numbers
  }

  /// Rows are keys, columns queries.
  __device__ void draw_by_key(uint32_t (&w)[4], int key, int query) const {
    draw(w, query / 4 + column_patch_, key / 4 + row_patch_);
    if constexpr (Pieces == 1) {
      uint32_t low0 = ptx::prmt(w[0], w[1], 0x5410), low1 = ptx::prmt(w[2], w[3], 0x5410);
      uint32_t high0 = ptx::prmt(w[0], w[1], 0x7632), high1 = ptx::prmt(w[2], w[3], 0x7632);
      exchange(low0, low1, high0, high1);
      w[0] = low0, w[1] = low1, w[2] = high0, w[3] = high1;
    }
#pragma unroll
    for (uint32_t& x : w) x = DropoutKeys::dropped(x, keep_);
  }
  /// The sign bit where row 16 piece + 8 half + g, column 8 eight + 2 t + odd is dropped.
  __device__ uint32_t sign(const uint32_t (&w)[4], int piece, int half, int eight, int odd) const {
    const int query = 2 * (eight % 2) + odd;
    const uint32_t word = w[Pieces == 2 ? query : 2 * (eight / 2) + query / 2];
    const int byte = Pieces == 2 ? 2 * piece + half : 2 * (query % 2) + half;
    return word << (24 - 8 * byte) & 0x80000000u;
  }

  /// The 16 bytes of one patch.
  __device__ void draw(uint32_t (&w)[4], uint32_t row_patch, uint32_t column_patch) const {
    keys_.draw(w, stream_, row_patch, column_patch);
  }

 private:
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

  const DropoutKeys& keys_;
  uint32_t stream_;
  int keep_;
  int row_patch_, column_patch_;
  bool second_;
};

}  // namespace strobe::cuda
