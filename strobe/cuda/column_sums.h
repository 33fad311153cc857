// The second stage of column sums: partial sums of pieces of rows, added in order.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// first[c] += sum over p of partial[p][c], and second[c] the same of partial[p][columns + c].
/// `partial` is (pieces, columns), or (pieces, 2 columns) where `second` is not null.
void add_column_sums(const Device& device, float* first, float* second, const float* partial,
                     int64_t pieces, int64_t columns);

}  // namespace strobe::cuda
