// Products of bf16 matrices with their own transposes by an own kernel for Hopper
// (symmetric_product_sm90.cu): what they are symmetric in is computed once and stored twice.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// c = f (alpha X X^T + beta addend + gamma I) for each of a batch of contiguous matrices, where X
/// is a (side, depth), or its transpose where a is (depth, side).  c, addend (side, side); addend
/// is symmetric, or null, and not c. f is the matrix's factor to the power given.
struct SymmetricProduct {
  bf16* c = nullptr;
  const bf16 *a = nullptr, *addend = nullptr;
  int64_t batch = 1, side = 0, depth = 0;
  bool transposed = false;
  float alpha = 1, beta = 0, gamma = 0;
  const float* factors = nullptr;  // of each matrix; null: 1
  int power = 1;                   // 1 or 2
};

/// Whether the kernel takes it on this GPU: sizes a multiple of 8, pointers of 16 bytes.
bool symmetric_product_takes(const Device& device, const SymmetricProduct& p);

void symmetric_product(const Device& device, const SymmetricProduct& p);

}  // namespace strobe::cuda
