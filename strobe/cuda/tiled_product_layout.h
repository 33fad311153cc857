// Index arithmetic of the products in tiled_product_sm90.cu. No CUDA here, so that a machine
// without a GPU can test it (tests/cuda_tiled_product_layout_test.cpp).
#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe::cuda {

/// A tile of c, and the depth of a stage. Two thread blocks of a cluster make two tiles, one below
/// the other, and share the rows of b.
struct TileSizes {
  static constexpr int kRows = 128, kColumns = 192, kDepth = 64, kStages = 5, kCluster = 2;
  static constexpr int kGroup = 32;  // columns of which a thread holds eight neighbours
  static constexpr int kGroups = kColumns / kGroup;
  static constexpr int kRowBytes = kRows * kDepth * 2, kColumnBytes = kColumns * kDepth * 2;
  static constexpr int kStageBytes = kRowBytes + kColumnBytes;
};

/// wgmma gives a thread columns 2 t and 2 t + 1 of every 8. With the rows of b placed so in shared
/// memory, those of four 8s are eight neighbouring columns, 8 t ... 8 t + 7: 16 bytes of bf16.
STROBE_HD constexpr int column_of_group_slot(int slot) {
  return (slot >> 1 & 3) * 8 + (slot >> 3 & 3) * 2 + (slot & 1);
}

/// In which order pairs of tiles are made. Those that run at the same time form a block of about
/// kBand pairs of rows and as many columns, so that both operands are shared in L2 and rows of c
/// are written in long pieces.
struct TileOrder {
  static constexpr int kBand = 8;
  int row_pairs, columns;  // of tiles

  STROBE_HD constexpr TileOrder(int64_t rows, int64_t columns_of_c)
      : row_pairs(static_cast<int>((rows + 2 * TileSizes::kRows - 1) / (2 * TileSizes::kRows))),
        columns(static_cast<int>((columns_of_c + TileSizes::kColumns - 1) / TileSizes::kColumns)) {}
  STROBE_HD constexpr int pairs() const { return row_pairs * columns; }

  struct Pair {
    int row_pair, column;
  };
  STROBE_HD constexpr Pair operator[](int i) const {
    const int first = i / (kBand * columns) * kBand, rest = i % (kBand * columns);
    const int height = row_pairs - first < kBand ? row_pairs - first : kBand;
    return {first + rest % height, rest / height};
  }
};

}  // namespace strobe::cuda
