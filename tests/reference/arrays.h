// Operands of an op as plain arrays of doubles, for references that are written once for every
// storage type.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "strobe/core/dtype.h"

namespace strobe::reference {

/// A matrix (a vector is a matrix of one row).
struct Array {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;

  Array() = default;
  Array(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), values(static_cast<size_t>(rows * columns)) {}

  double& operator()(int64_t i, int64_t j) { return values[i * columns + j]; }
  double operator()(int64_t i, int64_t j) const { return values[i * columns + j]; }
  double& operator[](int64_t i) { return values[i]; }
  double operator[](int64_t i) const { return values[i]; }
  int64_t size() const { return static_cast<int64_t>(values.size()); }
};

/// Operands by name, and the storage type that activations are rounded to.
struct Arrays {
  std::map<std::string, Array> of;
  DType dtype = DType::f32;

  Array& operator[](const std::string& name) { return of.at(name); }
  /// x as the storage type holds it, where an op stores an intermediate result.
  double round(double x) const {
    const float single = static_cast<float>(x);
    return dtype == DType::bf16 ? to_float(to_bf16(single)) : single;
  }
};

}  // namespace strobe::reference
