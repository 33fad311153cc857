// Sizes and index arithmetic of flash3's backward: tiles, shared memory, where dS and dropout's
// bits lie, items of work. No CUDA here (tests/cuda_attention_flash3_backward_test.cpp).
#pragma once

#include "strobe/cuda/attention_layout.h"

namespace strobe::cuda {

/// A thread block owns 128 keys, 64 to each of two consumer warpgroups, and meets kQueries queries
/// at a time. dK and dV of a warpgroup's keys take D registers a thread; S and dP kQueries.
template <int D>
struct Flash3BackwardSizes {
  static_assert(D == 64 || D == 128);
  static constexpr int kConsumers = 2, kKeys = 64 * kConsumers;
  static constexpr int kQueries = D == 64 ? 128 : 64;
  // Q is fetched for the products of the next step, dO for this one's.
  static constexpr int kQueryStages = 3, kGradientStages = 2, kScoreStages = 2;

  static constexpr int kPanels = D / 64;  // of 64 columns, 128 bytes
  static constexpr int kKeyPanelBytes = kKeys * 128, kQueryPanelBytes = kQueries * 128;
  static constexpr int kKeyBytes = kPanels * kKeyPanelBytes;
  static constexpr int kQueryBytes = kPanels * kQueryPanelBytes;
  static constexpr int kScoreBytes = kQueries / 64 * kKeyPanelBytes;  // dS: keys down
  // dQ of a query block: a warpgroup sums 64 x 64 of it, half the queries or half the columns.
  static constexpr int kSumFloats = 64 * 64, kSumBytes = 4 * kSumFloats;
  static constexpr int kStatisticBytes = kQueries * 4;
  // Dropout's bits, of each of the consumers' warps.
  static constexpr int kMaskWords = kQueries / 2, kMaskStages = 2;
  static constexpr int kMaskBytes = 4 * kConsumers * 4 * kMaskWords;

  // Offsets in shared memory. Tiles begin at multiples of 1024.
  static constexpr int kKeysAt = 0, kValuesAt = kKeyBytes;
  static constexpr int kQueriesAt = kValuesAt + kKeyBytes;
  static constexpr int kGradientsAt = kQueriesAt + kQueryStages * kQueryBytes;
  static constexpr int kScoresAt = kGradientsAt + kGradientStages * kQueryBytes;
  static constexpr int kSumsAt = kScoresAt + kScoreStages * kScoreBytes;
  static constexpr int kLseAt = kSumsAt + kConsumers * kSumBytes;
  static constexpr int kDeltaAt = kLseAt + kQueryStages * kStatisticBytes;
  static constexpr int kMasksAt = kDeltaAt + kGradientStages * kStatisticBytes;
  static constexpr int shared(bool drop) {
    return kMasksAt + (drop ? kMaskStages * kMaskBytes : 0);
  }
  // A warpgroup that loads and writes, the consumers, with dropout one that draws the masks.
  static constexpr int threads(bool drop) { return 128 * (1 + kConsumers + drop); }
};

/// A block of keys, its sequence, and the blocks of queries that it visits for each head of its
/// group. No block: there is no more work. It lies in shared memory while it is worked on, and is
/// read from there, since no warp has registers to spare.
struct KeyBlock {
  int sequence, kv_head, block;
  int first_q, first_k, queries, keys;
  int start, visits, blocks;  // block of queries visited first, how many, how many there are

  STROBE_HD constexpr AttentionMask mask(bool causal) const { return {queries, keys, causal}; }
};

/// A place in the walk over a KeyBlock's blocks of queries, the last `visits` ones (BackwardOrder),
/// and over the heads of the group, all of them at each block. It goes round.
struct Visit {
  int i, g = 0;

  STROBE_HD constexpr explicit Visit(const KeyBlock& w) : i(w.start) {}
  STROBE_HD constexpr void next(const KeyBlock& w, int group, BackwardWalk walk) {
    g = g + 1 == group ? 0 : g + 1;
    if (g > 0) return;
    const int first = w.blocks - w.visits, last = w.blocks - 1;
    if (walk == BackwardWalk::falling)
      i = i == first ? last : i - 1;
    else
      i = i == last ? first : i + 1;
  }
  /// At its beginning, or there again.
  STROBE_HD constexpr bool begins(const KeyBlock& w) const { return g == 0 && i == w.start; }
};

/// lse and delta of 16 queries are stored in the order in which a thread reads them: its four of
/// two neighbouring accumulators, columns 2 t and 2 t + 1 of each, are neighbours.
STROBE_HD constexpr int statistic_slot(int query) { return row_of_column_slot(query); }

/// The byte of a tile of 128-byte rows, TMA's 128-byte swizzle, that holds chunk `chunk` (16
/// bytes).
STROBE_HD constexpr int panel_byte(int row, int chunk) {
  return row * 128 + ((chunk ^ (row & 7)) * 16);
}

/// Dropout's bits, 1 where a score is kept, of a warp's 16 keys, in words of four queries and eight
/// keys: those from 4 `key` on and those 8 further on, the queries from 4 `query` on. Byte 2 half +
/// e of a word holds the queries e and 2 + e and the four keys of `half`: bit dropout_bit(key,
/// query) of it. So a thread of the accumulators, keys g + 8 half and queries 8 n + 2 t + e, shifts
/// a word by dropout_shift(g, t) and has its four bits in the signs of the four bytes.
struct DropoutWord {
  int key, query;
};
STROBE_HD constexpr DropoutWord dropout_word(int slot) {
  return {slot / 8 % 2, 2 * (4 * (slot / 16) + slot % 4) + slot / 4 % 2};
}
/// The slot of the word of n = 4 m; those of the next three follow.
STROBE_HD constexpr int dropout_slot(int m, int g, int t) {
  return 16 * m + 8 * (g / 4) + 4 * (t / 2);
}
/// Of a key and a query of a word, 0 to 3 each.
STROBE_HD constexpr int dropout_bit(int key, int query) { return 7 - 4 * (query / 2) - key; }
STROBE_HD constexpr int dropout_shift(int g, int t) { return 4 * (t % 2) + g % 4; }

}  // namespace strobe::cuda
