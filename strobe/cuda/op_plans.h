// How the ops that are neither products nor attention cut their work: pure functions of shape (and
// of the kind of GPU), so that sums run in an order that no launch decides. They include no CUDA
// header, and are tested on the CPU.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe::cuda {

STROBE_HD constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- rows as vectors -----------------------------------------------------------------------

/// Where vector `i` of rows of `columns` begins, each row cut into vectors of eight and a rest.
struct VectorPlace {
  int64_t row;
  int column;
};

STROBE_HD constexpr VectorPlace vector_place(uint32_t i, int64_t columns) {
  const uint32_t vectors = static_cast<uint32_t>(ceil_div(columns, 8));
  const uint32_t row = i / vectors;  // in 32 bits, which cost a quarter of 64
  return {row, static_cast<int>(i - row * vectors) * 8};
}

// ---- column sums ---------------------------------------------------------------------------

inline constexpr int kColumnTile = 256;  // columns of a block

/// Rows are cut into `pieces` of `rows`; each piece is summed by one block for each column tile.
struct ColumnSumPlan {
  int64_t pieces, rows;
};

/// About eight blocks for each multiprocessor of a large GPU, of 32 rows or more.
constexpr ColumnSumPlan column_sum_plan(int64_t rows, int64_t columns) {
  constexpr int64_t kBlocks = 1056, kLeastRows = 32;
  const int64_t tiles = ceil_div(columns, kColumnTile);
  const int64_t most = std::max<int64_t>(1, ceil_div(rows, kLeastRows));
  const int64_t pieces = std::clamp<int64_t>(ceil_div(kBlocks, tiles), 1, most);
  const int64_t piece_rows = std::max<int64_t>(1, ceil_div(rows, pieces));
  return {ceil_div(rows, piece_rows), piece_rows};
}

// ---- norms' backward -----------------------------------------------------------------------

inline constexpr int kNormThreads = 288;  // of a block, at most: three rows of 768 columns
// Of a multiprocessor. Measured on an H100: with 768 threads, dropout and two outputs the backward
// takes 17 % longer, with more rows on their way 4 % longer.
inline constexpr int kResidentThreads = 576;

/// A block holds `groups` of `lanes` threads; a group takes a row at a time, a thread eight of its
/// columns. Row r belongs to group r % (blocks * groups). The order of sums over rows depends on
/// the number of multiprocessors, so on the kind of GPU.
struct NormPlan {
  int lanes, groups, blocks;
};

constexpr bool norm_plan_fits(int64_t columns) {
  return columns % 8 == 0 && columns <= 8 * kNormThreads;
}
constexpr NormPlan norm_plan(int64_t rows, int64_t columns, int multiprocessors) {
  const int lanes = static_cast<int>(ceil_div(columns / 8, 32) * 32);
  const int groups = kNormThreads / lanes;
  const int64_t most = std::max<int64_t>(1, ceil_div(rows, groups));
  const int64_t blocks = multiprocessors * (kResidentThreads / (lanes * groups));
  return {lanes, groups, static_cast<int>(std::min(blocks, most))};
}

/// Blocks where the plan does not fit: each takes every blocks-th row, and keeps 12 bytes a column.
constexpr int wide_norm_blocks(int64_t rows, int64_t columns) {
  constexpr int64_t kBytes = 16 << 20;
  const int64_t most = std::clamp<int64_t>(kBytes / (12 * columns), 1, 512);
  return static_cast<int>(std::clamp<int64_t>(rows / 4, 1, most));
}

// ---- sorting ids ---------------------------------------------------------------------------

inline constexpr int kSortTile = 1024;     // entries of a block
inline constexpr int kMostDigitBits = 10;  // of a radix pass

/// Keys are 0 .. `rows`, where `rows` stands for an id outside the table.
struct SortPlan {
  int passes, digit_bits;
  int64_t tiles;
};

constexpr SortPlan sort_plan(int64_t entries, int64_t rows) {
  const int bits = std::bit_width(static_cast<uint64_t>(rows));
  const int passes = static_cast<int>(ceil_div(std::max(bits, 1), kMostDigitBits));
  return {passes, static_cast<int>(ceil_div(std::max(bits, 1), passes)),
          ceil_div(entries, kSortTile)};
}

/// Sorted entries are summed in slices. A slice keeps two partial sums of `columns`: of the run of
/// equal ids that began before it, and of the one that goes on after it. Slices are the shortest,
/// from 32 entries, whose partial sums fit into `bytes`.
constexpr int64_t slice_entries(int64_t entries, int64_t columns, int64_t bytes) {
  int64_t slice = 32;
  while (slice < entries && ceil_div(entries, slice) * 2 * columns * 4 > bytes) slice *= 2;
  return slice;
}

// ---- many tensors at once ------------------------------------------------------------------

/// The index i of the tensor that owns `tile`, where first[i] <= tile < first[i + 1].
STROBE_HD constexpr int owner_of_tile(const int32_t* first, int count, int32_t tile) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (first[middle] <= tile)
      low = middle;
    else
      high = middle;
  }
  return low;
}

}  // namespace strobe::cuda
