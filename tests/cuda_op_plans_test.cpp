// How the CUDA ops cut their work: every element once, in pieces that fit.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "strobe/cuda/gelu_gate.h"
#include "strobe/cuda/op_plans.h"

namespace strobe::cuda {
namespace {

const int64_t kCounts[] = {1, 2, 31, 32, 33, 100, 1024, 4097, 32768, 1 << 20};
const int64_t kColumns[] = {1, 8, 17, 256, 384, 768, 1600, 3072, 50304};

TEST(ErfGate, IsTheNormalDistributionWithinWhatBf16Holds) {
  double gate_error = 0, value_error = 0;
  for (double at = -40; at <= 40; at += 1e-3) {
    const auto x = static_cast<float>(at);
    const double gate = 1 / (1 + std::exp2(double{erf_gate_power(x)}));
    const double phi = 0.5 * std::erfc(-x * std::sqrt(0.5));
    gate_error = std::max(gate_error, std::abs(gate - phi));
    value_error = std::max(value_error, std::abs(x * (gate - phi)));
    ASSERT_TRUE(std::isfinite(gate)) << x;
  }
  EXPECT_LT(gate_error, 1.6e-5);
  EXPECT_LT(value_error, 7.5e-6);
}

TEST(VectorPlace, WalksOverRowsAndTheirRests) {
  for (const int64_t columns : {1, 7, 8, 9, 24, 1031}) {
    uint32_t i = 0;
    for (int64_t row = 0; row < 5; ++row)
      for (int64_t column = 0; column < columns; column += 8, ++i) {
        EXPECT_EQ(vector_place(i, columns).row, row);
        EXPECT_EQ(vector_place(i, columns).column, column);
      }
  }
}

TEST(ColumnSumPlan, CoversTheRowsWithFewPartialSums) {
  for (const int64_t rows : kCounts)
    for (const int64_t columns : kColumns) {
      const ColumnSumPlan plan = column_sum_plan(rows, columns);
      EXPECT_GE(plan.pieces * plan.rows, rows);
      EXPECT_LT((plan.pieces - 1) * plan.rows, rows);
      EXPECT_LE(plan.pieces * columns * 4, std::max<int64_t>(columns * 4, 2 << 20));
    }
}

TEST(NormPlan, GivesEachRowToOneGroup) {
  for (const int64_t rows : {1, 3, 100, 32768})
    for (const int64_t columns : {8, 24, 256, 264, 384, 768, 1024, 1280, 1600, 2304}) {
      ASSERT_TRUE(norm_plan_fits(columns));
      for (const int multiprocessors : {1, 82, 132}) {
        const NormPlan plan = norm_plan(rows, columns, multiprocessors);
        EXPECT_EQ(plan.lanes % 32, 0);
        EXPECT_GE(plan.lanes * 8, columns);
        EXPECT_LE(plan.lanes * plan.groups, kNormThreads);
        EXPECT_GE(plan.groups, 1);
        EXPECT_GE(plan.blocks, 1);
        EXPECT_LT(int64_t{plan.blocks - 1} * plan.groups, rows) << "a block without rows";
      }
    }
  EXPECT_FALSE(norm_plan_fits(100));
  EXPECT_FALSE(norm_plan_fits(4096));
  EXPECT_EQ(norm_plan(32768, 768, 132).blocks, 264);
}

TEST(WideNormBlocks, KeepTheirSumsInSixteenMebibytes) {
  for (const int64_t rows : kCounts)
    for (const int64_t columns : kColumns) {
      const int blocks = wide_norm_blocks(rows, columns);
      EXPECT_GE(blocks, 1);
      EXPECT_LE(blocks, rows);
      EXPECT_LE(blocks * columns * 8, 16 << 20);
    }
}

TEST(SortPlan, CoversEveryKeyIncludingTheOneForBadIds) {
  for (const int64_t entries : kCounts)
    for (const int64_t rows : {1, 2, 255, 256, 1023, 1024, 50257, 50304, 65536, 1 << 20}) {
      const SortPlan plan = sort_plan(entries, rows);
      EXPECT_LE(plan.digit_bits, kMostDigitBits);
      EXPECT_GT(int64_t{1} << (plan.passes * plan.digit_bits), rows);
      EXPECT_GE(plan.tiles * kSortTile, entries);
    }
  EXPECT_EQ(sort_plan(32768, 1023).passes, 1);
  EXPECT_EQ(sort_plan(32768, 50304).passes, 2);
}

TEST(SliceEntries, FitsItsPartialSums) {
  EXPECT_EQ(slice_entries(32768, 768, 32 << 20), 32);
  for (const int64_t entries : kCounts)
    for (const int64_t columns : kColumns) {
      constexpr int64_t kBytes = 16 << 20;
      const int64_t slice = slice_entries(entries, columns, kBytes);
      EXPECT_EQ(slice % 32, 0);
      EXPECT_LE(ceil_div(entries, slice) * 2 * columns * 4, kBytes);
    }
}

TEST(OwnerOfTile, FindsTheTensor) {
  const std::vector<int32_t> counts = {1, 5, 2, 1, 1, 300, 1};
  std::vector<int32_t> first(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), first.begin() + 1);
  for (int count = 1; count <= static_cast<int>(counts.size()); ++count)
    for (int i = 0; i < count; ++i)
      for (int32_t tile = first[i]; tile < first[i + 1]; ++tile)
        EXPECT_EQ(owner_of_tile(first.data(), count, tile), i);
}

}  // namespace
}  // namespace strobe::cuda
