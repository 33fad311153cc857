// A tensor is a trivially copyable view: pointer, dtype, shape, strides. Memory belongs to an
// arena or to the caller; nothing here allocates or frees.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "strobe/core/dtype.h"

namespace strobe {

struct Tensor {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> strides{};  // in elements

  Tensor() = default;
  /// A contiguous, row-major view of `data`.
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape);

  /// True for the default-constructed tensor: an optional operand that is absent.
  bool empty() const { return data == nullptr; }
  explicit operator bool() const { return data != nullptr; }

  int64_t dim(int i) const { return shape[i]; }
  int64_t numel() const;
  /// Bytes of a contiguous tensor of this shape.
  int64_t bytes() const { return numel() * size_of(dtype); }
  bool contiguous() const;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }

  /// Same memory, other shape; the tensor must be contiguous and the element count equal.
  Tensor reshape(std::initializer_list<int64_t> new_shape) const;
  /// Indices [begin, begin + length) of dimension `d`; strides are kept.
  Tensor narrow(int d, int64_t begin, int64_t length) const;
  /// Rows [begin, end) of dimension 0.
  Tensor rows(int64_t begin, int64_t end) const { return narrow(0, begin, end - begin); }
  /// Splits dimension `d` into (shape[d] / inner, inner).
  Tensor split(int d, int64_t inner) const;
  /// A matrix with rows and columns exchanged: same memory, strides swapped.
  Tensor transposed() const;
};

/// "bf16 (64, 768)", for messages.
std::string to_string(const Tensor& tensor);

}  // namespace strobe
