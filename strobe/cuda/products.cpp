#include "strobe/cuda/products.h"

#include <optional>

#include "strobe/core/error.h"
#include "strobe/cuda/column_sums.h"
#include "strobe/cuda/elementwise.h"
#include "strobe/cuda/gemm.h"
#include "strobe/cuda/tiled_product.h"

namespace strobe::cuda {

namespace {

// The library's GELU reads and writes `pre` in vectors of 16 bytes, and is the tanh one. In f32 it
// is less exact than the kernels here.
bool takes_gelu(const Tensor& y, const Tensor& pre, Gelu kind) {
  constexpr int64_t kVector = 8;  // bf16 elements
  const auto aligned = [](const Tensor& x) {
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.strides[1] == 1 &&
           x.dim(1) % kVector == 0 && x.strides[0] % kVector == 0;
  };
  return kind == Gelu::tanh && y.dtype == DType::bf16 && aligned(y) && aligned(pre);
}

// The product as the own kernel takes it: c = a b for row-major bf16. b is copied to scratch
// memory, transposed, unless it is a transposed view. Nothing where the kernel does not take it.
std::optional<TiledProduct> tiled(const Device& device, const Tensor& a, const Tensor& b) {
  if (a.dtype != DType::bf16 || b.dtype != DType::bf16 || a.strides[1] != 1) return {};
  Tensor rows = b.transposed();
  const bool copies = rows.strides[1] != 1;
  if (copies) {
    if (rows.bytes() > device.scratch_bytes) return {};
    rows = Tensor(device.scratch, DType::bf16, {rows.dim(0), rows.dim(1)});
  }
  const TiledProduct product = {.a = a.as<bf16>(),
                                .b = rows.as<bf16>(),
                                .a_row = a.strides[0],
                                .b_row = rows.strides[0],
                                .rows = a.dim(0),
                                .columns = rows.dim(0),
                                .depth = a.dim(1)};
  if (!tiled_product_takes(device, product)) return {};
  if (copies) copy(device, rows, b.transposed());
  return product;
}

// Rows that the own kernel reads and writes in vectors of 16 bytes.
bool whole_rows(const Tensor& x) {
  return !x || (x.contiguous() && x.dtype == DType::bf16 &&
                reinterpret_cast<uintptr_t>(x.data) % 16 == 0);
}

// Whether the own kernel takes c = a b in less time than the library, with the copy of b that it
// may need: measured on an H100, where the own one does not end a short sum with a pause.
bool own_is_faster(const Tensor& c, const Tensor& a, const Tensor& b) {
  constexpr int64_t kLeastRows = 2048, kMostDepth = 2304, kLeastColumns = 1536;
  return whole_rows(c) && c.dim(0) >= kLeastRows && a.dim(1) <= kMostDepth &&
         (b.strides[0] == 1 || c.dim(1) >= kLeastColumns);
}

}  // namespace

void matmul(const Device& device, Tensor c, Tensor a, Tensor b, bool accumulate) {
  device.gemm->run(device, {.c = c, .a = a, .b = b, .accumulate = accumulate});
}

void linear_forward(const Device& device, Tensor y, Tensor x, Tensor w, Tensor bias) {
  if (own_is_faster(y, x, w) && whole_rows(bias)) {
    if (const auto product = tiled(device, x, w))
      return product_bias(device, *product, y.as<bf16>(), bias.as<bf16>());
  }
  Product product = {.c = y, .a = x, .b = w};
  if (bias && y.strides[1] == 1) {
    product.epilogue = Epilogue::bias, product.bias = bias;
    if (device.gemm->can(device, product)) return device.gemm->run(device, product);
  }
  matmul(device, y, x, w, /*accumulate=*/false);
  if (bias) bias_forward(device, y, bias);
}

// The library can sum dy's columns within the product for dw (BGRADA), but has slower algorithms
// for that: on an H100, 247 us against 226 for both apart at K = 768, M = 2304, N = 32768, and so
// on for GPT-2's other shapes.
void linear_backward(const Device& device, Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                     Tensor w) {
  if (dbias) bias_backward(device, dbias, dy);
  if (dw) matmul(device, dw, x.transposed(), dy, /*accumulate=*/true);
  if (dx) linear_forward(device, dx, dy, w.transposed(), Tensor{});
}

void linear_gelu_forward(const Device& device, Tensor y, Tensor pre, Tensor x, Tensor w,
                         Tensor bias, Gelu kind) {
  if (whole_rows(y) && whole_rows(pre) && whole_rows(bias)) {
    if (const auto product = tiled(device, x, w))
      return product_gelu(device, *product, y.as<bf16>(), pre.as<bf16>(), bias.as<bf16>(), kind);
  }
  if (bias && takes_gelu(y, pre, kind)) {
    const Product product = {
        .c = y, .a = x, .b = w, .epilogue = Epilogue::gelu_bias, .bias = bias, .aux = pre};
    if (device.gemm->can(device, product)) return device.gemm->run(device, product);
  }
  linear_forward(device, pre, x, w, bias);
  gelu_forward(device, y, pre, kind);
}

void gelu_linear_backward(const Device& device, Tensor dpre, Tensor dw, Tensor dbias,
                          Tensor dpre_bias, Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                          bool recompute) {
  // Where nothing is recomputed the library and a pass for the bias take less time: 390 us against
  // 420 at GPT-2's sizes, but 530 against 500 where x is made too. It has no GELU by erf.
  const bool own = recompute || kind == Gelu::erf;
  const int64_t rows = pre.dim(0), width = pre.dim(1);
  if (own && whole_rows(dpre) && whole_rows(x) && whole_rows(pre) && w.strides[1] == 1 &&
      (!dpre_bias || sum_rows(rows) * width * 4 <= device.scratch_bytes)) {
    if (const auto product = tiled(device, dy, w.transposed())) {
      float* sums = dpre_bias ? reinterpret_cast<float*>(device.scratch) : nullptr;
      product_gelu_backward(device, *product, dpre.as<bf16>(), recompute ? x.as<bf16>() : nullptr,
                            pre.as<bf16>(), sums, kind);
      if (dpre_bias)
        add_column_sums(device, {{dpre_bias.as<float>()}}, 1, sums, sum_rows(rows), width);
      return linear_backward(device, {}, dw, dbias, dy, x, w);
    }
  }
  if (recompute) gelu_forward(device, x, pre, kind);
  linear_backward(device, {}, dw, dbias, dy, x, w);
  if (takes_gelu(dpre, pre, kind)) {
    const Product product = {
        .c = dpre, .a = dy, .b = w.transposed(), .epilogue = Epilogue::dgelu, .aux = pre};
    if (device.gemm->can(device, product)) {
      device.gemm->run(device, product);
      if (dpre_bias) bias_backward(device, dpre_bias, dpre);
      return;
    }
  }
  matmul(device, dpre, dy, w.transposed(), /*accumulate=*/false);
  gelu_backward(device, dpre, dpre, pre, kind);
  if (dpre_bias) bias_backward(device, dpre_bias, dpre);
}

}  // namespace strobe::cuda
