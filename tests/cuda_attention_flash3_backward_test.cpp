// Index arithmetic of flash3's backward, on any machine.
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "strobe/cuda/attention_flash3_backward_layout.h"

namespace strobe::cuda {
namespace {

template <class Sizes>
void expect_fits() {
  for (int at : {Sizes::kKeysAt, Sizes::kValuesAt, Sizes::kQueriesAt, Sizes::kGradientsAt,
                 Sizes::kScoresAt, Sizes::kSumsAt})
    EXPECT_EQ(at % 1024, 0);
  EXPECT_EQ(Sizes::kLseAt % 16, 0);
  // The rest is for barriers and the block of keys.
  EXPECT_LE(Sizes::shared(true), (227 << 10) - 1536);
  EXPECT_EQ(Sizes::kQueries * 64 * Sizes::kPanels, Sizes::kConsumers * Sizes::kSumFloats);
}

TEST(CudaAttentionFlash3Backward, SharedMemorySuffices) {
  expect_fits<Flash3BackwardSizes<64>>();
  expect_fits<Flash3BackwardSizes<128>>();
}

TEST(CudaAttentionFlash3Backward, VisitsFollowTheOrderForEachHead) {
  for (bool causal : {false, true})
    for (bool together : {false, true})
      for (int group : {1, 3})
        for (int queries : {1, 128, 300, 1000})
          for (int keys : {1, 129, 300, 1100}) {
            const BackwardOrder order{
                {queries, keys, causal}, 128, 128, backward_walk(causal, together, group)};
            for (int j = 0; j < order.key_blocks(); ++j) {
              if (order.visits(j) <= 0) continue;
              const KeyBlock w{0,
                               0,
                               j,
                               0,
                               0,
                               queries,
                               keys,
                               order.visited(j, 0),
                               order.visits(j),
                               order.query_blocks()};
              Visit at(w);
              for (int t = 0; t < w.visits; ++t)
                for (int g = 0; g < group; ++g, at.next(w, group, order.walk)) {
                  ASSERT_EQ(at.begins(w), t == 0 && g == 0);
                  ASSERT_EQ(at.g, g);
                  ASSERT_EQ(at.i, order.visited(j, t)) << causal << together << j << ' ' << t;
                }
              EXPECT_TRUE(at.begins(w));
            }
          }
}

TEST(CudaAttentionFlash3Backward, StatisticsLieInTheOrderOfAccumulators) {
  for (int t = 0; t < 4; ++t)
    for (int n = 0; n < 2; ++n)
      for (int e = 0; e < 2; ++e)
        EXPECT_EQ(statistic_slot(48 + 8 * n + 2 * t + e), 48 + 4 * t + 2 * n + e);
}

TEST(CudaAttentionFlash3Backward, PanelIsSwizzledAndStoresByExclusiveOr) {
  std::set<int> all;
  for (int row = 0; row < 64; ++row)
    for (int chunk = 0; chunk < 8; ++chunk) {
      all.insert(panel_byte(row, chunk));
      EXPECT_EQ(panel_byte(row + 64, chunk), panel_byte(row, chunk) + 64 * 128);
      for (int m = 0; m < 4; ++m)  // what store_scores counts on
        if (chunk < 2) {
          EXPECT_EQ(panel_byte(row, 2 * m + chunk), panel_byte(row, chunk) ^ 32 * m);
        }
    }
  EXPECT_EQ(all.size(), 512u);
  for (int chunk = 0; chunk < 8; ++chunk) {  // eight rows of a matrix, eight groups of banks
    std::set<int> groups;
    for (int row = 8; row < 16; ++row) groups.insert(panel_byte(row, chunk) / 16 % 8);
    EXPECT_EQ(groups.size(), 8u);
  }
}

// The bits of a warp's words are in the signs of the bytes that their threads shift.
TEST(CudaAttentionFlash3Backward, DropoutBitsReachTheirThreads) {
  for (int queries : {64, 128}) {
    std::set<std::array<int, 3>> used;
    for (int g = 0; g < 8; ++g)
      for (int t = 0; t < 4; ++t)
        for (int n = 0; n < queries / 8; ++n)
          for (int half = 0; half < 2; ++half)
            for (int e = 0; e < 2; ++e) {
              const int slot = dropout_slot(n / 4, g, t) + n % 4;
              ASSERT_LT(slot, queries / 2);
              const DropoutWord word = dropout_word(slot);
              const int bit = 7 - dropout_shift(g, t), byte = 2 * half + e;
              // Of the byte's queries e and 2 + e, and of its four keys, the bit is the thread's.
              const int upper = 8 * n + 2 * t + e - 4 * word.query - e;
              const int key = 8 * half + g - 4 * word.key - 8 * half;
              ASSERT_TRUE(upper == 0 || upper == 2);
              ASSERT_TRUE(key >= 0 && key < 4);
              EXPECT_EQ(bit, dropout_bit(key, upper + e));
              used.insert({slot, byte, bit});
            }
    EXPECT_EQ(used.size(), size_t(16) * queries);
  }
}

// A lane that draws several words adds to its first one.
TEST(CudaAttentionFlash3Backward, WordsOfALaneAddUp) {
  for (int first : {0, 32})
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(dropout_word(first + lane).key, dropout_word(lane).key);
      EXPECT_EQ(dropout_word(first + lane).query,
                dropout_word(first).query + dropout_word(lane).query);
    }
}

// What draw_masks sums: from 4 on four times the sum and the next decision, the order being that of
// two queries and in each of two pairs; an even key's bit is above that of the odd key.
TEST(CudaAttentionFlash3Backward, SumsOfDecisionsAreBits) {
  for (int kept = 0; kept < 256; ++kept) {
    const auto keeps = [&](int key, int query) { return kept >> (4 * (query / 2) + key) & 1; };
    int even = 4, odd = 4;
    for (int query : {0, 2})
      for (int pair : {0, 1}) {
        even = 4 * even + keeps(2 * pair, query);
        odd = 4 * odd + keeps(2 * pair + 1, query);
      }
    ASSERT_LT(even, 2048);  // a half has all integers up to there
    const int byte = 2 * (even - 1024) + (odd - 1024);
    for (int query : {0, 2})
      for (int key = 0; key < 4; ++key)
        EXPECT_EQ(byte >> dropout_bit(key, query) & 1, keeps(key, query));
  }
}

}  // namespace
}  // namespace strobe::cuda
