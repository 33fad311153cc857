// Copies of attention's operands into the layouts that kernels or the library want. A column or row
// that an operand does not have becomes zero.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// y (rows, heads, E) = x (rows, heads, D), with E >= D: more columns, all zero. Or E <= D.
void copy_heads(const Device& device, Tensor y, Tensor x);

/// Operands by sequence and key-value head: (sequences * kv_heads, group * longest, dim),
/// contiguous, from and to packed rows (rows, kv_heads * group, D), with D <= dim.
struct SequenceLayout {
  const int* cu = nullptr;
  int64_t sequences = 0, kv_heads = 0, group = 1, longest = 0, dim = 0;
};
void to_sequences(const Device& device, void* y, Tensor x, const SequenceLayout& layout);
void from_sequences(const Device& device, Tensor y, const void* x, const SequenceLayout& layout);

}  // namespace strobe::cuda
