// Column sums in a fixed order: of pieces of rows, and then the pieces' sums in order.
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

/// What a row is multiplied by: its factor, 1 where there are none; or whether its id is `id`.
struct RowFactors {
  const float* factors = nullptr;
  const int32_t* ids = nullptr;
  int32_t id = 0;
};

/// to (M) += column sums of x (N, M), each row times its factor. Scratch memory of the size below,
/// which is no part of what is read.
void column_sums(const Device& device, Tensor to, Tensor x, RowFactors factors, char* scratch);
int64_t column_sums_bytes(int64_t rows, int64_t columns);

}  // namespace strobe::cuda
