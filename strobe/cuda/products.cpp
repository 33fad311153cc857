#include "strobe/cuda/products.h"

#include "strobe/core/error.h"
#include "strobe/cuda/elementwise.h"
#include "strobe/cuda/gemm.h"

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

}  // namespace

void matmul(const Device& device, Tensor c, Tensor a, Tensor b, bool accumulate) {
  device.gemm->run(device, {.c = c, .a = a, .b = b, .accumulate = accumulate});
}

void linear_forward(const Device& device, Tensor y, Tensor x, Tensor w, Tensor bias) {
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
  matmul(device, dw, x.transposed(), dy, /*accumulate=*/true);
  if (dx) matmul(device, dx, dy, w.transposed(), /*accumulate=*/false);
}

void linear_gelu_forward(const Device& device, Tensor y, Tensor pre, Tensor x, Tensor w,
                         Tensor bias, Gelu kind) {
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
