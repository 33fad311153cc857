// Rows in the order of their ids.
#pragma once

#include <cuda_runtime_api.h>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// Scratch bytes that sort_ids needs.
int64_t sort_ids_bytes(int64_t count, int64_t rows);

/// The pairs (id, row) of ids[row], sorted by id and then by row, in the first bytes of scratch.
/// An id outside [0, rows) counts as `rows`.
const int2* sort_ids(const Device& device, const int32_t* ids, int64_t count, int64_t rows);

}  // namespace strobe::cuda
