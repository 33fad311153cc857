// Which random numbers decide which elements of a dropout: the same in every algorithm and backend.
// A kept element is multiplied by Dropout::scale().
//
//   elementwise   One Philox block holds 16 bytes. Block i is for the elements [16 i, 16 i + 16) of
//                 the flat tensor; byte b of word w, (word >> 8 b) & 255, is element 16 i + 4 w +
//                 b, which is kept if its byte is below Dropout::keep_of_256().
//   attention     Universal hashing by multiplication and addition (Dietzfelbinger, "Universal
//                 hashing and k-wise independent random variables via integer arithmetic without
//                 primes", STACS 1996). A query of a head of a sequence has a random multiplier a,
//                 odd, and a random addend c; a pair of keys (2 j, 2 j + 1) has a random word b,
//                 the same for all heads and sequences. Of a b + c modulo 2^32 the lower half
//                 decides key 2 j and the upper half key 2 j + 1 (DroppedNumbers). Queries and keys
//                 are counted from the start of their sequence.
//
// Each of attention's numbers is uniform, and any two of them are independent: those of one query
// by their b, or, of one pair of keys, as halves of a word that is uniform; those of two queries by
// their c. Of more than two that does not hold exactly: two queries of which one's a is a small
// multiple of the other's modulo 2^16, some in ten thousand, drop more or fewer keys together
// than chance, and the even keys of two pairs whose b agree modulo 2^16, one in 65,536, drop
// together in every query and head (tests/attention_dropout_test.cpp measures both). What it buys
// is one multiplication for two scores, where drawing each by Philox cost as much as the softmax.
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

/// The bytes of elements [16 i, 16 i + 16) of an elementwise dropout.
STROBE_HD constexpr Philox::Block dropout_patch(uint64_t key, uint64_t i) {
  return random_block<kDropoutRounds>(key, RandomUse::dropout, 0, i);
}

/// Of attention's query: the number of a pair of keys is multiplier * word + addend.
struct DropoutQuery {
  uint32_t multiplier, addend;
};
/// Block i of a head's queries decides two of them: r = i / 8 * 16 + i % 8 by its first two words,
/// r + 8 by the others. `stream`: sequence * heads + head.
STROBE_HD constexpr Philox::Block attention_dropout_queries(uint64_t key, uint32_t stream,
                                                            uint32_t i) {
  Philox::Block block = random_block<kDropoutRounds>(key, RandomUse::dropout, stream, i);
  block[0] |= 1, block[2] |= 1;
  return block;
}
STROBE_HD constexpr DropoutQuery attention_dropout_query(uint64_t key, uint32_t stream,
                                                         uint32_t query) {
  const Philox::Block block = attention_dropout_queries(key, stream, query / 16 * 8 + query % 8);
  return query / 8 % 2 ? DropoutQuery{block[2], block[3]} : DropoutQuery{block[0], block[1]};
}

/// Block i of the words of pairs of keys: word w is that of pair i / 4 * 16 + i % 4 + 4 w, that is,
/// of the columns of four neighbouring accumulators that a thread of a tensor core's product has.
STROBE_HD constexpr Philox::Block attention_dropout_words(uint64_t key, uint32_t i) {
  return random_block<kDropoutRounds>(key, RandomUse::dropout, 0, uint64_t{1} << 32 | i);
}
/// Where the word of a pair of keys is among those of all blocks.
STROBE_HD constexpr uint32_t attention_dropout_slot(uint32_t pair) {
  return pair / 16 * 16 + pair % 4 * 4 + pair / 4 % 4;
}
STROBE_HD constexpr uint32_t attention_dropout_word(uint64_t key, uint32_t pair) {
  const uint32_t slot = attention_dropout_slot(pair);
  return attention_dropout_words(key, slot / 4)[slot % 4];
}

/// Which of attention's numbers of 16 bits drop their scores: as signed ones, those from `first` on
/// and [-nans, -1]. There are 256 (256 - keep) of them.
///
/// Read as a half-precision float, a number that drops is one that is not below the float whose
/// bits are `first`, or NaN: so one saturating multiply-add, as_float, decides two scores. That
/// needs the 1023 positive and the 1023 negative NaNs to be among those that drop, which they are
/// from 8 of 256 on, and a float `first` of which the next is at least 2^-15 away, up to 91 of 256.
struct DroppedNumbers {
  int32_t first, nans;

  STROBE_HD static constexpr DroppedNumbers of(int32_t keep_of_256) {
    const int32_t count = 256 * (256 - keep_of_256);
    const bool with_nans = count >= 2048 && count < 92 * 256;
    return {0x8000 - count + (with_nans ? 1023 : 0), with_nans ? 1023 : 0};
  }
  STROBE_HD constexpr bool contains(uint32_t number) const {
    const int32_t x = static_cast<int16_t>(static_cast<uint16_t>(number));
    return x >= first || (x < 0 && x >= -nans);
  }
  STROBE_HD constexpr bool as_float() const { return nans > 0; }
  /// The factor and the summand, as bits of half-precision floats, with which
  /// saturate(x * factor + summand) is 1 for the numbers that keep and 0 for those that drop: the
  /// summand is 1 more than what the greatest float below `first` makes, and the next float makes
  /// at least 1 less.
  STROBE_HD constexpr uint32_t factor() const { return 0x8000u | (40u - exponent()) << 10; }
  STROBE_HD constexpr uint32_t summand() const {
    // The float below `first` is m times the distance 2^(exponent - 25), 1024 <= m < 2048.
    const uint32_t m = 1024u | (static_cast<uint32_t>(first - 1) & 1023u);
    return m == 2047 ? 26u << 10 : 25u << 10 | (m + 1 - 1024);
  }

 private:
  STROBE_HD constexpr uint32_t exponent() const { return static_cast<uint32_t>(first - 1) >> 10; }
};

/// Whether the score of `query` and key `key_index` is dropped.
STROBE_HD constexpr bool attention_drops(const DroppedNumbers& dropped, const DropoutQuery& query,
                                         uint32_t word, uint32_t key_index) {
  const uint32_t x = query.multiplier * word + query.addend;
  return dropped.contains(key_index % 2 ? x >> 16 : x & 0xffffu);
}

/// Byte b (0..3) of word w (0..3) of an elementwise patch.
STROBE_HD constexpr uint8_t dropout_byte(const Philox::Block& block, int w, int b) {
  return static_cast<uint8_t>(block[w] >> (8 * b));
}

}  // namespace strobe
