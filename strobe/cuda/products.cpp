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

// Whether the product for dw sums dy's columns on its way: it reads dy anyway, but the library has
// fewer algorithms that do.
constexpr bool kBiasGradInProduct = false;

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

void linear_backward(const Device& device, Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                     Tensor w) {
  Product product = {.c = dw, .a = x.transposed(), .b = dy, .accumulate = true};
  bool summed = false;
  if (kBiasGradInProduct && dbias && dw.strides[1] == 1 && dbias.bytes() <= device.scratch_bytes) {
    product.epilogue = Epilogue::bias_grad;
    product.bias = Tensor(device.scratch, DType::f32, {dbias.numel()});
    summed = device.gemm->can(device, product);
    if (!summed) product.epilogue = Epilogue::none, product.bias = {};
  }
  device.gemm->run(device, product);
  if (summed)
    axpby(device, dbias, 1, product.bias, 1);
  else if (dbias)
    bias_backward(device, dbias, dy);
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

void gelu_linear_backward(const Device& device, Tensor dpre, Tensor dw, Tensor dbias, Tensor dy,
                          Tensor x, Tensor pre, Tensor w, Gelu kind) {
  linear_backward(device, {}, dw, dbias, dy, x, w);
  if (takes_gelu(dpre, pre, kind)) {
    const Product product = {
        .c = dpre, .a = dy, .b = w.transposed(), .epilogue = Epilogue::dgelu, .aux = pre};
    if (device.gemm->can(device, product)) return device.gemm->run(device, product);
  }
  matmul(device, dpre, dy, w.transposed(), /*accumulate=*/false);
  gelu_backward(device, dpre, dpre, pre, kind);
}

}  // namespace strobe::cuda
