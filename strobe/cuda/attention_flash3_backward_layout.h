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
  // Dropout's bits: a thread's scores, one bit each.
  static constexpr int kMaskWords = kQueries / 64, kMaskStages = 2;
  static constexpr int kMaskBytes = kConsumers * 128 * 4 * kMaskWords;

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

/// lse and delta of 16 queries are stored in the order in which a thread reads them: its four of
/// two neighbouring accumulators, columns 2 t and 2 t + 1 of each, are neighbours.
STROBE_HD constexpr int statistic_slot(int query) { return row_of_column_slot(query); }

/// The byte of a tile of 128-byte rows, TMA's 128-byte swizzle, that holds chunk `chunk` (16
/// bytes).
STROBE_HD constexpr int panel_byte(int row, int chunk) {
  return row * 128 + ((chunk ^ (row & 7)) * 16);
}

/// Dropout's bits of a thread of a consumer, whose scores are keys 16 warp + g, + 8 and queries
/// 8 n + 2 t + e. Word n / 8 holds 64 queries: two draws of 32 queries, of 4 x 2 pairs each. The
/// bits of a pair's two scores are 8 apart, so that a permutation of bytes spreads them to masks.
STROBE_HD constexpr int dropout_bit(int n, int half, int e) {
  return 16 * (n / 4 % 2) + 8 * e + 2 * (n % 4) + half;
}

/// Which patch of 4 x 4 scores (ops/dropout_mask.h) a lane draws, of 16 keys and 32 queries: `key`
/// and `query` count patches. And which lane drew the one with the scores of (n, half) of lane
/// (g, t), n < 4.
STROBE_HD constexpr int drawn_key(int lane) { return lane % 4; }
STROBE_HD constexpr int drawn_query(int lane) { return lane / 4; }
STROBE_HD constexpr int drawing_lane(int n, int half, int g, int t) {
  return (2 * half + g / 4) + 4 * (2 * n + t / 2);
}
/// In a patch's 16 bits, keys and queries counted from its first: where a score's bit is.
STROBE_HD constexpr int patch_bit(int query, int key) {
  return 8 * (query % 2) + 4 * (query / 2) + key;
}

}  // namespace strobe::cuda
