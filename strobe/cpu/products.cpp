// Products and what is fused with them.
#include "strobe/cpu/cpu_backend.h"
#include "strobe/cpu/gemm.h"
#include "strobe/cpu/kernels.h"

namespace strobe {

using namespace cpu;

void CpuBackend::matmul(Tensor c, Tensor a, Tensor b, bool accumulate) {
  gemm(c, a, b, {.accumulate = accumulate});
}

void CpuBackend::bias_forward(Tensor y, Tensor bias) {
  const int64_t columns = y.dim(1);
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    for_pieces(y.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* row = y.as<T>() + i * columns;
        kernels.add(row, row, bias.as<T>(), columns);
      }
    });
  });
}

void CpuBackend::bias_backward(Tensor dbias, Tensor dy) {
  const int64_t rows = dy.dim(0), columns = dy.dim(1);
  const int64_t grain = column_sum_grain(rows), pieces = (rows + grain - 1) / grain;
  float* partial = partial_sums(pieces, columns);
  with_storage(dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    for_pieces(rows, grain, [&](int64_t begin, int64_t end) {
      float* sums = partial + begin / grain * columns;
      for (int64_t i = begin; i < end; ++i)
        kernels.accumulate(sums, dy.as<T>() + i * columns, columns);
    });
  });
  add_partial_sums(dbias.as<float>(), partial, pieces, columns, columns);
}

float* CpuBackend::partial_sums(int64_t pieces, int64_t columns) {
  partial_.assign(pieces * columns, 0.0f);
  return partial_.data();
}

void CpuBackend::add_partial_sums(float* total, const float* partial, int64_t pieces,
                                  int64_t columns, int64_t stride) {
  const auto& kernels = of<float>(cpu::elementwise());
  for_pieces(columns, 512, [&](int64_t begin, int64_t end) {
    for (int64_t piece = 0; piece < pieces; ++piece)
      kernels.accumulate(total + begin, partial + piece * stride + begin, end - begin);
  });
}

void CpuBackend::linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) {
  gemm(y, x, w, {.bias = bias});
}

// Calls kernel(offset of the row in c, length) for each row of a tile of c (N, columns).
template <class Kernel>
void for_rows(const Tile& tile, int64_t columns, Kernel kernel) {
  for (int64_t i = tile.row; i < tile.row + tile.rows; ++i)
    kernel(i * columns + tile.column, tile.columns);
}

void CpuBackend::linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                     Gelu kind) {
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    const auto gelu = kind == Gelu::tanh ? kernels.gelu_tanh : kernels.gelu_erf;
    gemm(pre, x, w, {.bias = bias, .then = [&](const Tile& tile) {
                       for_rows(tile, pre.dim(1), [&](int64_t at, int64_t n) {
                         gelu(y.as<T>() + at, pre.as<T>() + at, n);
                       });
                     }});
  });
}

void CpuBackend::gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                      Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                      bool recompute) {
  if (recompute) gelu_forward(x, pre, kind);
  linear_backward({}, dw, dbias, dy, x, w);
  with_storage(dpre.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    const auto gelu = kind == Gelu::tanh ? kernels.gelu_tanh_backward : kernels.gelu_erf_backward;
    gemm(dpre, dy, w.transposed(), {.then = [&](const Tile& tile) {
           for_rows(tile, dpre.dim(1), [&](int64_t at, int64_t n) {
             T* d = dpre.as<T>() + at;
             gelu(d, d, pre.as<T>() + at, n);
           });
         }});
  });
  if (dpre_bias) bias_backward(dpre_bias, dpre);
}

}  // namespace strobe
