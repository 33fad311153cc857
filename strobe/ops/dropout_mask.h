// Which random byte decides which element of a dropout: the same in every algorithm and backend.
//
// An element is kept if its byte is below Dropout::keep_of_256(), and is then multiplied by
// Dropout::scale(). One Philox block holds 16 bytes and decides a patch of 16 elements. A patch
// takes 7 rounds, not ten: in attention the rounds cost as much as the softmax.
//
//   elementwise   patch i is the elements [16 i, 16 i + 16) of the flat tensor;
//                 byte b of word w is element 16 i + 4 w + b.
//   attention     patch (r, c) of a head is the queries [4 r, 4 r + 4) and the keys [4 c, 4 c + 4),
//                 each counted from the start of its sequence;
//                 byte b of word w is query 4 r + w, key 4 c + b.
// Byte b of a word is (word >> 8 b) & 255.
#pragma once

#include <cstdint>

#include "strobe/core/rng.h"

namespace strobe {

inline constexpr int kDropoutRounds = 7;

/// The key of one dropout of the model in one micro-step. Distinct for steps below 2^44 and
/// micro-steps below 2^20, up to a chance collision of 64-bit values.
STROBE_HD constexpr uint64_t dropout_key(uint64_t seed, int64_t step, int32_t micro_step,
                                         uint32_t site) {
  const uint64_t when = static_cast<uint64_t>(step) << 20 ^ static_cast<uint32_t>(micro_step);
  const Philox::Block block = random_block(seed, RandomUse::dropout, site, when);
  return uint64_t{block[1]} << 32 | block[0];
}

/// The bytes of elements [16 i, 16 i + 16).
STROBE_HD constexpr Philox::Block dropout_patch(uint64_t key, uint64_t i) {
  return random_block<kDropoutRounds>(key, RandomUse::dropout, 0, i);
}

/// The bytes of the 4 x 4 scores at (4 row_patch, 4 column_patch) of head `head` of `heads` in
/// sequence `sequence`.
STROBE_HD constexpr Philox::Block attention_dropout_patch(uint64_t key, int64_t sequence,
                                                          int64_t heads, int64_t head,
                                                          uint32_t row_patch,
                                                          uint32_t column_patch) {
  return random_block<kDropoutRounds>(key, RandomUse::dropout,
                                      static_cast<uint32_t>(sequence * heads + head),
                                      uint64_t{row_patch} << 32 | column_patch);
}

/// Byte b (0..3) of word w (0..3).
STROBE_HD constexpr uint8_t dropout_byte(const Philox::Block& block, int w, int b) {
  return static_cast<uint8_t>(block[w] >> (8 * b));
}

}  // namespace strobe
