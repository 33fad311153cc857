// Index arithmetic of the symmetric products on CUDA, checked without a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "strobe/cuda/symmetric_product_layout.h"

namespace strobe::cuda {
namespace {

TEST(SymmetricProduct, EveryTileOfOneSideIsMadeOnce) {
  for (const int64_t side : {1, 192, 193, 384, 576, 768, 1024, 1280, 1600, 4096}) {
    const SymmetricPairs pairs(side);
    ASSERT_GE(int64_t{pairs.tiles} * SymmetricTile::kSide, side);
    ASSERT_LT(int64_t{pairs.tiles - 1} * SymmetricTile::kSide, side);
    std::set<std::pair<int, int>> made;
    int stored = 0, alone = 0;
    for (int i = 0; i < pairs.count(); ++i) {
      const SymmetricPairs::Pair pair = pairs[i];
      alone += pair.own[1] < 0;
      for (int rank = 0; rank < 2; ++rank) {
        const int own = pair.own_of(rank);
        ASSERT_GE(own, 0);
        ASSERT_LT(std::max(own, pair.shared), pairs.tiles);
        if (rank == 1 && pair.own[1] < 0) continue;  // makes its neighbour's again
        made.emplace(std::max(own, pair.shared), std::min(own, pair.shared)), ++stored;
      }
    }
    const int tiles = pairs.tiles * (pairs.tiles + 1) / 2;
    EXPECT_EQ(made.size(), static_cast<size_t>(tiles)) << side;
    EXPECT_EQ(stored, tiles) << side;
    EXPECT_EQ(alone, tiles % 2) << side;
  }
}

TEST(SymmetricProduct, TwelveMatricesOfGpt2AreOneTileToAMultiprocessor) {
  EXPECT_EQ(SymmetricPairs(768).count(), 5);
  EXPECT_LE(12 * SymmetricPairs(768).count(), 132 / SymmetricTile::kCluster);
}

TEST(SymmetricProduct, FitsSharedMemory) {
  EXPECT_LE(SymmetricTile::kSharedBytes, 227 * 1024 - 1024);
  EXPECT_EQ(SymmetricTile::kStagingBytes, SymmetricTile::kGroups * SymmetricTile::kPanelBytes);
  EXPECT_EQ(SymmetricTile::kOperandBytes, SymmetricTile::kGroups * SymmetricTile::kPanelBytes);
}

// Where TMA puts element `x` of row `y` of a box that it copies to `at`, a multiple of 1024.
int swizzled(int at, int x, int y) { return at + panel_byte(y, x / 8) + x % 8 * 2; }

TEST(SymmetricProduct, PanelHoldsEachEightOnceAndThoseOfEightRowsInAllBanks) {
  std::set<int> all;
  for (int row = 0; row < 64; ++row)
    for (int eight = 0; eight < 8; ++eight) all.insert(panel_byte(row, eight));
  EXPECT_EQ(all.size(), 512u);
  EXPECT_EQ(*all.rbegin(), SymmetricTile::kPanelBytes - 16);
  for (int eight = 0; eight < 8; ++eight) {
    std::set<int> banks;
    for (int row = 0; row < 8; ++row) banks.insert(panel_byte(row, eight) % 128);
    EXPECT_EQ(banks.size(), 8u);
  }
}

// wgmma finds element (row, k) of an operand at row * 128 + k * 2, or, of one that lies the other
// way, of panel row / 64 at k * 128 + row % 64 * 2; its address bits 4-6 are then swizzled by 7-9.
TEST(SymmetricProduct, CopiesBringEveryElementWhereTheProductReadsIt) {
  const int first = 384, depth = 128;
  for (const bool transposed : {false, true}) {
    std::map<int, std::pair<int, int>> memory;  // byte: row of X, place in the depth
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < OperandCopy::count(transposed); ++i) {
        const OperandCopy copy = OperandCopy::part(transposed, half, i, first, depth);
        ASSERT_EQ(copy.at % 1024, 0);
        for (int y = 0; y < OperandCopy::box_rows(transposed); ++y)
          for (int x = 0; x < 64; ++x)
            memory[swizzled(copy.at, x, y)] =
                transposed ? std::pair{copy.x + x, copy.y + y} : std::pair{copy.y + y, copy.x + x};
      }
    ASSERT_EQ(memory.size(), size_t{SymmetricTile::kOperandBytes / 2});
    for (int row = 0; row < SymmetricTile::kSide; ++row)
      for (int k = 0; k < SymmetricTile::kDepth; ++k) {
        int at = transposed ? row / 64 * SymmetricTile::kPanelBytes + k * 128 + row % 64 * 2
                            : row * 128 + k * 2;
        at ^= at >> 7 << 4 & 0x70;
        ASSERT_EQ(memory[at], std::pair(first + row, depth + k)) << transposed;
      }
  }
}

// A warp's fragment: thread 4 g + t has columns 2 t and 2 t + 1 of row g of each matrix 8x8; in the
// order rows 0-7, rows 8-15 of the first eight columns, then of the second.
TEST(SymmetricProduct, StagedTileIsStoredAsItIsAndTransposed) {
  std::map<int, std::pair<int, int>> as_it_is, transposed;  // byte: row and column of the tile
  for (int warp = 0; warp < 4; ++warp)
    for (int i = 0; i < SymmetricTile::kSide / 16; ++i)
      for (int lane = 0; lane < 32; ++lane) {
        const int matrix = lane / 8, row = 16 * warp + matrix % 2 * 8;
        const int column = 16 * i + matrix / 2 * 8;
        for (int e = 0; e < 8; ++e) {
          as_it_is[staged_row(i, warp, lane) + 2 * e] = {row + lane % 8, column + e};
          transposed[staged_column(i, warp, lane) + 2 * e] = {row + e, column + lane % 8};
        }
      }
  ASSERT_EQ(as_it_is.size(), size_t{SymmetricTile::kStagingBytes / 2});
  ASSERT_EQ(transposed.size(), as_it_is.size());
  for (int panel = 0; panel < SymmetricTile::kGroups; ++panel)
    for (int y = 0; y < 64; ++y)
      for (int x = 0; x < 64; ++x) {
        const int at = swizzled(panel * SymmetricTile::kPanelBytes, x, y);
        ASSERT_EQ(as_it_is[at], std::pair(y, 64 * panel + x));
        ASSERT_EQ(transposed[at], std::pair(x, 64 * panel + y));
      }
}

}  // namespace
}  // namespace strobe::cuda
