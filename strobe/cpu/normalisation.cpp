// Layer norm, alone and fused with the residual addition and its dropout. A row is normalised while
// the sum is still in cache.
#include "strobe/cpu/cpu_backend.h"
#include "strobe/cpu/dropout.h"
#include "strobe/cpu/kernels.h"

namespace strobe {

using namespace cpu;

void CpuBackend::layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor weight,
                                   Tensor bias, float eps) {
  const int64_t columns = x.dim(1);
  with_storage(x.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto layernorm = of<T>(row_kernels()).layernorm;
    for_pieces(x.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        layernorm(y.as<T>() + i * columns, mean.as<float>() + i, rstd.as<float>() + i,
                  x.as<T>() + i * columns, weight.as<T>(), bias.as<T>(), eps, columns);
    });
  });
}

void CpuBackend::add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                                       Tensor residual, Tensor branch, Tensor weight, Tensor bias,
                                       float eps, Dropout dropout) {
  const int64_t columns = sum.dim(1);
  const DropoutMask mask = dropout_mask(dropout, state_);
  with_storage(sum.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& elements = of<T>(cpu::elementwise());
    const auto layernorm = of<T>(row_kernels()).layernorm;
    for_pieces(sum.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * columns;
        add_dropout_piece(elements, sum.as<T>() + at, residual.as<T>() + at, branch.as<T>() + at,
                          at, columns, mask);
        layernorm(y.as<T>() + at, mean.as<float>() + i, rstd.as<float>() + i, sum.as<T>() + at,
                  weight.as<T>(), bias.as<T>(), eps, columns);
      }
    });
  });
}

template <class Before, class After>
void CpuBackend::norm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy, Tensor x,
                               Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                               const NormAgain& again, Before before, After after) {
  const int64_t rows = x.dim(0), columns = x.dim(1);
  const int64_t grain = column_sum_grain(rows), pieces = (rows + grain - 1) / grain;
  float* partial = partial_sums(pieces, 2 * columns);
  with_storage(x.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(row_kernels());
    for_pieces(rows, grain, [&](int64_t begin, int64_t end) {
      float* sums = partial + begin / grain * 2 * columns;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * columns;
        before(storage, at);
        kernels.layernorm_backward(dx.as<T>() + at, sums, sums + columns, dy.as<T>() + at,
                                   x.as<T>() + at, weight.as<T>(), mean.as<float>()[i],
                                   rstd.as<float>()[i],
                                   dresidual ? dresidual.as<T>() + at : nullptr, columns);
        if (again.y)
          kernels.layernorm(again.y.as<T>() + at, mean.as<float>() + i, rstd.as<float>() + i,
                            x.as<T>() + at, weight.as<T>(), again.bias.as<T>(), again.eps, columns);
        after(storage, at);
      }
    });
  });
  add_partial_sums(dweight.as<float>(), partial, pieces, columns, 2 * columns);
  add_partial_sums(dbias.as<float>(), partial + columns, pieces, columns, 2 * columns);
}

void CpuBackend::layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy, Tensor x,
                                    Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                                    const NormAgain& again) {
  const auto nothing = [](auto, int64_t) {};
  norm_backward(dx, dweight, dbias, dy, x, weight, mean, rstd, dresidual, again, nothing, nothing);
}

void CpuBackend::add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight,
                                        Tensor dbias, Tensor branch_bias, Tensor dy, Tensor dsum,
                                        Tensor sum, Tensor weight, Tensor mean, Tensor rstd,
                                        Dropout dropout, const NormAgain& again, NormPlace place) {
  const int64_t columns = sum.dim(1);
  const DropoutMask mask = dropout_mask(dropout, state_), none = dropout_mask({}, state_);
  const bool joins = place == NormPlace::post && dsum;
  norm_backward(
      dresidual, dweight, dbias, joins ? dresidual : dy, sum, weight, mean, rstd,
      joins ? Tensor{} : dsum, again,
      [&](auto storage, int64_t at) {
        using T = decltype(storage);
        if (joins)
          add_dropout_piece(of<T>(cpu::elementwise()), dresidual.as<T>() + at, dy.as<T>() + at,
                            dsum.as<T>() + at, at, columns, none);
      },
      [&](auto storage, int64_t at) {
        using T = decltype(storage);
        add_dropout_piece(of<T>(cpu::elementwise()), dbranch.as<T>() + at,
                          static_cast<const T*>(nullptr), dresidual.as<T>() + at, at, columns,
                          mask);
      });
  if (branch_bias) bias_backward(branch_bias, dbranch);
}

}  // namespace strobe
