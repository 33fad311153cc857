// Dropout of attention scores held in mma's accumulators. One Philox call decides a patch of 4 x 4
// scores (ops/dropout_mask.h), which four threads share: a lane group g = 4 r ... 4 r + 3 with one
// t. Four patches are computed at a time, one by each of the four, and exchanged; so a thread makes
// one call for 16 of its scores.
#pragma once

#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/tile.cuh"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

class DropoutPatches {
 public:
  __device__ DropoutPatches(const StepState* state, uint32_t site, uint32_t stream,
                            const Lane& lane)
      : key_(dropout_key(state->seed, state->step, state->micro_step, site)),
        stream_(stream),
        bit0_(lane.g & 1),
        bit1_(lane.g & 2) {}

  /// Which of the four patches this lane computes.
  __device__ int mine() const { return (bit0_ ? 1 : 0) + (bit1_ ? 2 : 0); }

  /// Rows of the accumulators are queries. Given the coordinates of patch mine(), returns for each
  /// of the four patches this lane's row: byte b is key 4 column_patch + b.
  __device__ void by_query(uint32_t (&bytes)[4], uint32_t row_patch, uint32_t column_patch) const {
    draw(bytes, row_patch, column_patch);
    exchange(bytes);
  }
  /// Rows of the accumulators are keys: byte b is query 4 row_patch + b.
  __device__ void by_key(uint32_t (&bytes)[4], uint32_t row_patch, uint32_t column_patch) const {
    uint32_t w[4];
    draw(w, row_patch, column_patch);
    const uint32_t a = ptx::prmt(w[0], w[1], 0x5140), b = ptx::prmt(w[2], w[3], 0x5140);
    const uint32_t c = ptx::prmt(w[0], w[1], 0x7362), d = ptx::prmt(w[2], w[3], 0x7362);
    bytes[0] = ptx::prmt(a, b, 0x5410), bytes[1] = ptx::prmt(a, b, 0x7632);
    bytes[2] = ptx::prmt(c, d, 0x5410), bytes[3] = ptx::prmt(c, d, 0x7632);
    exchange(bytes);
  }

 private:
  __device__ void draw(uint32_t (&w)[4], uint32_t row_patch, uint32_t column_patch) const {
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
    w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
  }
  /// Transposes four words of four lanes.
  __device__ void exchange(uint32_t (&w)[4]) const {
    exchange(w[0], w[1], 4, bit0_), exchange(w[2], w[3], 4, bit0_);
    exchange(w[0], w[2], 8, bit1_), exchange(w[1], w[3], 8, bit1_);
  }
  __device__ static void exchange(uint32_t& low, uint32_t& high, int lanes, bool second) {
    const uint32_t got = __shfl_xor_sync(0xffffffffu, second ? low : high, lanes);
    (second ? low : high) = got;
  }

  uint64_t key_;
  uint32_t stream_;
  bool bit0_, bit1_;
};

/// 0xffff in the halves whose byte is below `keep`: bytes 0 and 1 of `bytes`, or 2 and 3.
__device__ inline uint32_t keep_pair(uint32_t bytes, int pair, int keep) {
  const uint32_t limit = 0x80008000u + 0x10001u * (keep - 1);
  const uint32_t left = limit - ptx::prmt(bytes, 0, pair == 0 ? 0x4140 : 0x4342);
  return ptx::prmt(left, 0, 0xBB99);
}

}  // namespace strobe::cuda
