// What attention in FP8 (e4m3) needs beside its kernels: the format, scales of blocks, the random
// rotation, and where elements lie in the tiles that the quantisation pass writes. No CUDA here, so
// that a machine without a GPU can test it (tests/cuda_attention_fp8_test.cpp).
//
// Rotation ("incoherent processing", Shah et al. 2024, section 3.3): q and k are multiplied by
// M = diag(signs) H / sqrt(128), H the Hadamard matrix of 128 and the signs random. M M^T = 1, so
// that q k^T stays, while an outlier of one element is spread over all of them.
//
// Tiles lie in memory as wgmma wants them in shared memory, so that one contiguous copy brings one:
// rows of 128 bytes, their 16-byte chunks swizzled (panel_chunk_byte). QGMMA takes both operands
// with the sum's index contiguous, so values are transposed: 128 rows (elements) by keys, in panels
// of 128 keys. Four consecutive columns of a left operand are one thread's; of S a thread holds
// columns 2 t, 2 t + 1 of every 8. So column p of the values' tile is key column_slot(p): a
// thread's P, rounded, is its part of the left operand as it stands.
#pragma once

#include <bit>

#include "strobe/core/rng.h"
#include "strobe/cuda/attention_flash3_layout.h"

namespace strobe::cuda {

constexpr int kFp8HeadDim = 128;  // of every tile; smaller heads are padded with zeros
constexpr int kFp8QueryRows = 64;
constexpr float kFp8Largest = 448;

/// e4m3: a sign, 4 bits of exponent (bias 7), 3 of fraction; no infinity, NaN is all ones. Rounds
/// to nearest, ties to even; beyond 448 is 448.
STROBE_HD constexpr uint8_t to_e4m3(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint8_t>(u >> 24 & 0x80);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7f;
  if (magnitude >= std::bit_cast<uint32_t>(kFp8Largest)) return sign | 0x7e;
  if (magnitude < std::bit_cast<uint32_t>(0x1p-6f)) {
    // Adding 2^14 leaves steps of 2^-9, those of the subnormal numbers.
    const float y = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(y) & 0xff));
  }
  const uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - ((127 - 7) << 3)));
}
STROBE_HD constexpr float from_e4m3(uint8_t x) {
  const int exponent = x >> 3 & 15, fraction = x & 7;
  if ((x & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  const float y =
      exponent == 0
          ? static_cast<float>(fraction) * 0x1p-9f
          : std::bit_cast<float>((exponent + 120u) << 23 | static_cast<uint32_t>(fraction) << 20);
  return x & 0x80 ? -y : y;
}

/// What a block's elements are divided by, of their largest magnitude. A block of zeros has one
/// too.
STROBE_HD constexpr float fp8_scale(float largest) {
  return (largest < 0x1p-40f ? 0x1p-40f : largest) / kFp8Largest;
}

// ---- rotation ----------------------------------------------------------------------------------

/// Bit e % 32 of word e / 32: whether element e changes its sign.
constexpr Philox::Block rotation_signs() { return random_block(0, RandomUse::rotation, 0, 0); }
STROBE_HD constexpr float with_sign(float x, uint32_t word, int bit) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) ^ word >> bit << 31);
}

// A row of 128 is on four lanes t: 32 x[8 j + i] are elements 32 j + 8 t + i at first and
// 32 t + 8 j + i in the end. Bits 0-2, 5 and 6 of the index are summed over within a lane
// (rotate_in_lane), bits 3 and 4 by exchanges that put them in the place of 5 and 6: half of what a
// lane holds goes to the other, which computes sums and differences of both halves.

template <int Step>
STROBE_HD constexpr void hadamard_step(float (&x)[32]) {
  for (int i = 0; i < 32; ++i)
    if ((i & Step) == 0) {
      const float a = x[i], b = x[i + Step];
      x[i] = a + b, x[i + Step] = a - b;
    }
}
STROBE_HD constexpr void rotate_in_lane(float (&x)[32]) {
  hadamard_step<1>(x), hadamard_step<2>(x), hadamard_step<4>(x);
  hadamard_step<8>(x), hadamard_step<16>(x);
}
/// The i-th of the 16 pairs (without, with) `step` = 8 or 16 in the index.
STROBE_HD constexpr int exchange_index(int i, int step) {
  return (i & ~(step - 1)) * 2 | (i & (step - 1));
}
/// What lane bit `upper` sends of a pair, and what becomes of the pair.
STROBE_HD constexpr float exchange_sent(const float (&x)[32], int i, int step, bool upper) {
  return upper ? x[i] : x[i + step];
}
STROBE_HD constexpr void exchange_received(float (&x)[32], int i, int step, bool upper, float y) {
  const float own = upper ? x[i + step] : x[i];
  x[i] = own + y, x[i + step] = upper ? y - own : own - y;
}

// ---- tiles -------------------------------------------------------------------------------------

/// Where the values of key column_slot(4 word + i), i = 0 ... 3, of an element lie in a tile.
STROBE_HD constexpr int value_word_byte(int element, int word) {
  return panel_chunk_byte(element, word / 4, kFp8HeadDim) + word % 4 * 4;
}
STROBE_HD constexpr int value_tile_bytes(int keys) {
  return ceil_div(keys, 128) * 128 * kFp8HeadDim;
}

/// The parts of the workspace, in bytes from its beginning.
struct Fp8Workspace {
  int64_t q, k, v, q_scales, kv_scales, bytes;
};
constexpr Fp8Workspace fp8_workspace(int64_t sequences, int64_t total_q, int64_t total_k,
                                     int64_t heads, int64_t kv_heads, int keys) {
  const int64_t q_tiles = heads * block_capacity(total_q, sequences, kFp8QueryRows);
  const int64_t kv_tiles = kv_heads * block_capacity(total_k, sequences, keys);
  Fp8Workspace w{};
  w.k = q_tiles * kFp8QueryRows * kFp8HeadDim;
  w.v = w.k + kv_tiles * keys * kFp8HeadDim;
  w.kv_scales = w.v + kv_tiles * value_tile_bytes(keys);
  w.q_scales = w.kv_scales + kv_tiles * 16;
  w.bytes = w.q_scales + q_tiles * 4;
  return w;
}

}  // namespace strobe::cuda
