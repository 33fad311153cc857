// Index arithmetic of flash3's backward, on any machine.
#include <gtest/gtest.h>

#include <set>
#include <tuple>
#include <vector>

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

// A lane's 32 patches of two draws reach all lanes as the bits of their own scores.
TEST(CudaAttentionFlash3Backward, DropoutBitsReachTheirScores) {
  // A word as a lane of the drawing warps makes it, a bit named by (draw, query, key).
  using Bit = std::tuple<int, int, int>;
  std::vector<std::vector<Bit>> drawn(32, std::vector<Bit>(32));
  for (int lane = 0; lane < 32; ++lane)
    for (int draw = 0; draw < 2; ++draw)
      for (int q = 0; q < 4; ++q)
        for (int k = 0; k < 4; ++k)
          drawn[lane][patch_bit(q, k) + 16 * draw] = {draw, 4 * drawn_query(lane) + q,
                                                      4 * drawn_key(lane) + k};
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    std::set<int> used;
    for (int n = 0; n < 8; ++n)
      for (int half = 0; half < 2; ++half)
        for (int e = 0; e < 2; ++e) {
          const int draw = n / 4, from = drawing_lane(n % 4, half, g, t);
          const int shift = patch_bit(2 * (t & 1), g & 3);
          // Of the four bits a lane takes, 8 apart, this is the one of (draw, e).
          const Bit bit = drawn[from][shift + 16 * draw + 8 * e];
          EXPECT_EQ(bit, (Bit{draw, 8 * (n % 4) + 2 * t + e, 8 * half + g}));
          EXPECT_EQ(dropout_bit(n, half, e), dropout_bit(n % 4, half, 0) + 16 * draw + 8 * e);
          used.insert(dropout_bit(n, half, e));
        }
    EXPECT_EQ(used.size(), 32u);
  }
}

}  // namespace
}  // namespace strobe::cuda
