// Descriptions of tensors in device memory for TMA's copies, made on the host. A kernel takes them
// as `const __grid_constant__ CUtensorMap` parameters.
#pragma once

#include <cuda.h>

#include "strobe/cuda/attention_call.h"

namespace strobe::cuda {

/// The map of a (rows, heads, head_dim) view of bf16 in place. Coordinates (element, row, head); a
/// box is 64 elements (one panel of 128 bytes, 128-byte swizzle) of `box_rows` rows of one head.
/// Elements at or beyond head_dim and rows at or beyond `rows` read as 0 and are not written.
CUtensorMap head_rows_map(const HeadRows& x, int64_t rows, int64_t heads, int64_t head_dim,
                          int box_rows);

/// The map of a matrix of bf16 whose rows, a multiple of 32, come to shared memory in another
/// order: slot 8 b + 2 t + e of each 32 holds row 8 t + 2 b + e (tiled_product_layout.h says why).
/// Coordinates (element, 0, 0, 0, group of 32 rows); a box is 64 elements of `box_groups` groups,
/// with the 128-byte swizzle.
CUtensorMap regrouped_rows_map(const bf16* x, int64_t rows, int64_t columns, int64_t row_stride,
                               int box_groups);

}  // namespace strobe::cuda
