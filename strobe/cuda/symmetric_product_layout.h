// Index arithmetic of the products in symmetric_product_sm90.cu. No CUDA here, so that a machine
// without a GPU can test it (tests/cuda_symmetric_product_layout_test.cpp).
#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe::cuda {

/// A tile of c is a square: kGroups warpgroups of 64 rows each. At 768 a side ten of sixteen tiles
/// are made, and those of twelve or thirteen matrices are one to a multiprocessor.
struct SymmetricTile {
  static constexpr int kSide = 192, kDepth = 64, kStages = 3, kCluster = 2, kGroups = kSide / 64;
  static constexpr int kPanelBytes = 64 * 64 * 2;  // 64 elements (128 bytes, swizzled) of 64 rows
  static constexpr int kOperandBytes = kSide * kDepth * 2;
  static constexpr int kStageBytes = 2 * kOperandBytes;
  static constexpr int kStagingBytes = 64 * kSide * 2;  // of a warpgroup's part of c
  static constexpr int kSharedBytes = kStages * kStageBytes + kGroups * kStagingBytes;
};

/// The tiles on and below the diagonal (or above: each is stored twice), two at a time: those of a
/// cluster share the rows of a that are one operand of both, and differ in the other's. In units of
/// tiles.
struct SymmetricPairs {
  int tiles;  // of a side

  STROBE_HD explicit constexpr SymmetricPairs(int64_t side)
      : tiles(static_cast<int>((side + SymmetricTile::kSide - 1) / SymmetricTile::kSide)) {}
  STROBE_HD constexpr int count() const { return (tiles * (tiles + 1) / 2 + 1) / 2; }

  struct Pair {
    int shared, own[2];  // own[1] is -1 where a tile is left over

    STROBE_HD constexpr int own_of(int rank) const {
      return rank == 1 && own[1] >= 0 ? own[1] : own[0];
    }
  };
  STROBE_HD constexpr Pair operator[](int i) const {
    // Down each column, two by two. What is left of every second column lies in the last row.
    for (int column = 0; column < tiles; ++column) {
      const int pairs = (tiles - column) / 2;
      if (i < pairs) return {column, {column + 2 * i, column + 2 * i + 1}};
      i -= pairs;
    }
    const int first = tiles - 1 - 4 * i;
    return {tiles - 1, {first, first >= 2 ? first - 2 : -1}};
  }
};

/// Where the 16 bytes of eight elements lie in a panel of rows of 128 bytes, as TMA's 128-byte
/// swizzle puts them.
STROBE_HD constexpr int panel_byte(int row, int eight) {
  return row * 128 + ((eight ^ (row & 7)) << 4);
}

/// Copies that bring half of an operand, X's rows [first, first + kSide) for 64 of the depth from k
/// on, to shared memory.
///
/// It is one panel of 192 rows of 64 of the depth, copied 96 rows at a time. Where a holds X's
/// transpose it is three panels of 64 of X's rows, each 64 of the depth high, copied 32 of the
/// depth at a time.
struct OperandCopy {
  int at, x, y;  // bytes from the operand's begin; the first element, and row, in a

  static constexpr int count(bool transposed) { return transposed ? SymmetricTile::kGroups : 1; }
  static constexpr int box_rows(bool transposed) {
    return transposed ? SymmetricTile::kDepth / 2 : SymmetricTile::kSide / 2;
  }
  STROBE_HD static constexpr OperandCopy part(bool transposed, int half, int i, int first, int k) {
    constexpr int kPanel = SymmetricTile::kPanelBytes;
    if (transposed) return {i * kPanel + half * (kPanel / 2), first + 64 * i, k + 32 * half};
    return {half * (SymmetricTile::kOperandBytes / 2), k, first + SymmetricTile::kSide / 2 * half};
  }
};

/// A warpgroup's 64 rows of a tile are staged as three panels beside each other, and transposed as
/// three panels below each other. Of sixteen columns 16 i ..., a warp's 16 rows are four matrices
/// 8x8, as an A fragment has them; a lane gives the place of one row of one of them, or, of the
/// transposed, of one column.
STROBE_HD constexpr int staged_row(int i, int warp, int lane) {
  return i / 4 * SymmetricTile::kPanelBytes +
         panel_byte(16 * warp + lane / 8 % 2 * 8 + lane % 8, i % 4 * 2 + lane / 16);
}
STROBE_HD constexpr int staged_column(int i, int warp, int lane) {
  return panel_byte(16 * i + lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2);
}

}  // namespace strobe::cuda
