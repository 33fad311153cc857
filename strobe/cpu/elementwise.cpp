// The elementwise ops of the CPU backend.
#include <cmath>
#include <cstring>

#include "strobe/cpu/cpu_backend.h"
#include "strobe/cpu/dropout.h"
#include "strobe/cpu/kernels.h"

namespace strobe {

using namespace cpu;

void CpuBackend::fill(Tensor y, float value) {
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    T element{};
    of<T>(cpu::elementwise()).from_f32(&element, &value, 1);
    for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if (value == 0)
        std::memset(y.as<T>() + begin, 0, (end - begin) * sizeof(T));
      else
        std::fill(y.as<T>() + begin, y.as<T>() + end, element);
    });
  });
}

namespace {

template <class To, class From>
void copy_row(To* y, const From* x, int64_t n) {
  if constexpr (std::is_same_v<To, From>)
    std::memcpy(y, x, n * sizeof(To));
  else if constexpr (std::is_same_v<To, float>)
    of<From>(cpu::elementwise()).to_f32(y, x, n);
  else
    of<To>(cpu::elementwise()).from_f32(y, x, n);
}

// A matrix of which one side may be transposed, through a small block of contiguous rows.
template <class To, class From>
void copy_block(Tensor y, Tensor x) {
  constexpr int64_t kSide = 64;
  From block[kSide];
  To converted[kSide];
  for (int64_t i = 0; i < y.dim(0); ++i)
    for (int64_t begin = 0; begin < y.dim(1); begin += kSide) {
      const int64_t n = std::min(kSide, y.dim(1) - begin);
      const From* from = x.as<From>() + i * x.strides[0] + begin * x.strides[1];
      To* to = y.as<To>() + i * y.strides[0] + begin * y.strides[1];
      for (int64_t j = 0; j < n; ++j) block[j] = from[j * x.strides[1]];
      copy_row(converted, block, n);
      for (int64_t j = 0; j < n; ++j) to[j * y.strides[1]] = converted[j];
    }
}

template <class To, class From>
void copy_matrix(Tensor y, Tensor x) {
  const bool rows = y.strides[1] == 1 && x.strides[1] == 1;
  const int64_t grain = row_grain(y.dim(1));
  for_pieces(y.dim(0), grain, [&](int64_t begin, int64_t end) {
    if (!rows) return copy_block<To, From>(y.rows(begin, end), x.rows(begin, end));
    for (int64_t i = begin; i < end; ++i)
      copy_row(y.as<To>() + i * y.strides[0], x.as<From>() + i * x.strides[0], y.dim(1));
  });
}

}  // namespace

void CpuBackend::copy(Tensor y, Tensor x) {
  check(y.numel() == x.numel(), "copy: shapes differ");
  if (y.contiguous() && x.contiguous()) {
    if (y.dtype == x.dtype) {
      for_pieces(y.bytes(), 4 * kGrain, [&](int64_t begin, int64_t end) {
        std::memcpy(y.as<char>() + begin, x.as<char>() + begin, end - begin);
      });
      return;
    }
    with_storage(y.dtype, [&](auto to) {
      with_storage(x.dtype, [&](auto from) {
        using To = decltype(to);
        using From = decltype(from);
        for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
          copy_row(y.as<To>() + begin, x.as<From>() + begin, end - begin);
        });
      });
    });
    return;
  }
  check(y.rank == 2 && x.rank == 2 && y.dim(0) == x.dim(0), "copy: strided views must be matrices");
  with_storage(y.dtype, [&](auto to) {
    with_storage(x.dtype, [&](auto from) { copy_matrix<decltype(to), decltype(from)>(y, x); });
  });
}

void CpuBackend::axpby(Tensor y, float a, Tensor x, float b) {
  check(y.numel() == x.numel(), "axpby: shapes differ");
  check(y.dtype == DType::f32 && x.dtype == DType::f32, "axpby: takes f32");
  for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
    cpu::elementwise().axpby(y.as<float>() + begin, a, x.as<float>() + begin, b, end - begin);
  });
}

void CpuBackend::dropout(Tensor y, Tensor x, Dropout dropout) {
  add_dropout(y, Tensor{}, x, dropout);
}

void CpuBackend::add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) {
  check(y.numel() == b.numel() && (!a || y.numel() == a.numel()), "dropout: shapes differ");
  const DropoutMask mask = dropout_mask(dropout, state_);
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      add_dropout_piece(kernels, y.as<T>() + begin, a ? a.as<T>() + begin : nullptr,
                        b.as<T>() + begin, begin, end - begin, mask);
    });
  });
}

void CpuBackend::gelu_forward(Tensor y, Tensor x, Gelu kind) {
  check(y.numel() == x.numel(), "gelu: shapes differ");
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    const auto gelu = kind == Gelu::tanh ? kernels.gelu_tanh : kernels.gelu_erf;
    for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      gelu(y.as<T>() + begin, x.as<T>() + begin, end - begin);
    });
  });
}

void CpuBackend::gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) {
  check(dx.numel() == x.numel() && dy.numel() == x.numel(), "gelu: shapes differ");
  with_storage(dx.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    const auto gelu = kind == Gelu::tanh ? kernels.gelu_tanh_backward : kernels.gelu_erf_backward;
    for_pieces(dx.numel(), kGrain, [&](int64_t begin, int64_t end) {
      gelu(dx.as<T>() + begin, dy.as<T>() + begin, x.as<T>() + begin, end - begin);
    });
  });
}

namespace {

// y = f(a, b) in f32, a block at a time: for ops on a row a sequence, where time does not matter.
template <class F>
void in_f32(Tensor y, Tensor a, Tensor b, const F& f) {
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto& kernels = of<T>(cpu::elementwise());
    for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      constexpr int64_t kBlock = 256;
      float left[kBlock], right[kBlock];
      for (int64_t at = begin; at < end; at += kBlock) {
        const int64_t n = std::min(kBlock, end - at);
        kernels.to_f32(left, a.as<T>() + at, n);
        if (b) kernels.to_f32(right, b.as<T>() + at, n);
        for (int64_t i = 0; i < n; ++i) left[i] = f(left[i], b ? right[i] : 0.0f);
        kernels.from_f32(y.as<T>() + at, left, n);
      }
    });
  });
}

}  // namespace

void CpuBackend::tanh_forward(Tensor y, Tensor x) {
  check(y.numel() == x.numel() && y.dtype == x.dtype, "tanh: shapes differ");
  in_f32(y, x, {}, [](float value, float) { return std::tanh(value); });
}

void CpuBackend::tanh_backward(Tensor dx, Tensor dy, Tensor y) {
  check(dx.numel() == y.numel() && dy.numel() == y.numel(), "tanh: shapes differ");
  in_f32(dx, dy, y, [](float gradient, float value) { return gradient * (1 - value * value); });
}

}  // namespace strobe
