// Index arithmetic of the own products on CUDA, checked without a GPU.
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "strobe/cuda/tiled_product_layout.h"

namespace strobe::cuda {
namespace {

TEST(TiledProduct, ThreadHoldsEightNeighbouringColumns) {
  std::set<int> all;
  for (int slot = 0; slot < TileSizes::kGroup; ++slot) all.insert(column_of_group_slot(slot));
  EXPECT_EQ(all.size(), static_cast<size_t>(TileSizes::kGroup));
  // Thread t of four holds slots 8 b + 2 t and the next, for b = 0 ... 3.
  for (int t = 0; t < 4; ++t)
    for (int b = 0; b < 4; ++b)
      for (int e = 0; e < 2; ++e)
        EXPECT_EQ(column_of_group_slot(8 * b + 2 * t + e), 8 * t + 2 * b + e);
}

TEST(TiledProduct, EveryPairOfTilesIsMadeOnce) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 32}, {256, 192}, {257, 800}, {5632, 50304}, {32768, 3072}}) {
    const TileOrder order(rows, columns);
    std::set<std::pair<int, int>> made;
    for (int i = 0; i < order.pairs(); ++i) made.emplace(order[i].row_pair, order[i].column);
    EXPECT_EQ(made.size(), static_cast<size_t>(order.pairs()));
    EXPECT_GE(order.row_pairs * 2 * TileSizes::kRows, rows);
    EXPECT_LT((order.row_pairs - 1) * 2 * TileSizes::kRows, rows);
    EXPECT_GE(order.columns * TileSizes::kColumns, columns);
    EXPECT_EQ(made.begin()->first, 0);
    EXPECT_EQ(made.rbegin()->first, order.row_pairs - 1);
    EXPECT_EQ(order[order.pairs() - 1].column, order.columns - 1);
  }
}

}  // namespace
}  // namespace strobe::cuda
