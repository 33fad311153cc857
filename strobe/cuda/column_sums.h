// The second stage of column sums: partial sums of pieces of rows, added in order.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// Where sums of `columns` go, one to three rows of them; null: nowhere.
struct SumTargets {
  static constexpr int kMost = 3;
  float* row[kMost];
};

/// to.row[k][c] += sum over p of partial[p][k][c].  partial is (pieces, rows, columns).
void add_column_sums(const Device& device, const SumTargets& to, int rows, const float* partial,
                     int64_t pieces, int64_t columns);

}  // namespace strobe::cuda
