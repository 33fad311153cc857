// Products of bf16 by an own kernel for Hopper (tiled_product_sm90.cu), c = a b^T, for what the
// library cannot do, or not at full speed, before it stores a result: GELU and its backward with
// the gradient of a bias, and the exponentials of a softmax.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// a (rows, depth) and b (columns, depth), each with contiguous rows of the strides given.
struct TiledProduct {
  const bf16 *a = nullptr, *b = nullptr;
  int64_t a_row = 0, b_row = 0;
  int64_t rows = 0, columns = 0, depth = 0;
};

/// Whether the kernel takes it on this GPU: strides and pointers of 16 bytes, columns a multiple of
/// 32.
bool tiled_product_takes(const Device& device, const TiledProduct& p);

/// c = a b^T + bias, which may be null. Of c and other outputs below, rows are contiguous.
void product_bias(const Device& device, const TiledProduct& p, bf16* c, const bf16* bias);
/// pre = a b^T + bias;  post = gelu(pre), of pre as it is stored.
void product_gelu(const Device& device, const TiledProduct& p, bf16* post, bf16* pre,
                  const bf16* bias, Gelu kind);
/// dpre = (a b^T, rounded) gelu'(pre);  post, which may be null, = gelu(pre). Where sums is not
/// null: sums (sum_rows(rows), columns) are column sums of 64 rows of dpre each.
void product_gelu_backward(const Device& device, const TiledProduct& p, bf16* dpre, bf16* post,
                           const bf16* pre, float* sums, Gelu kind);
constexpr int64_t sum_rows(int64_t rows) { return (rows + 63) / 64; }
/// c = exp(a b^T + bias - shift), shift by rows, and 0 in columns from `used` on; c and bias may be
/// null.
/// sums (exponential_sums(columns), rows): of each row, sums of 192 columns each.
void product_exponentials(const Device& device, const TiledProduct& p, bf16* c, float* sums,
                          const float* shift, const bf16* bias, int64_t used);
constexpr int64_t exponential_sums(int64_t columns) { return (columns + 191) / 192; }

}  // namespace strobe::cuda
