// The devices that tests run on, and operands in their memory.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "strobe/ops/backend.h"
#include "strobe/ops/make_backend.h"

namespace strobe::reference {

/// One backend of this name for the whole program: null where the machine has none.
Backend* shared_backend(const std::string& name);

/// For a test's first line: skips it where there is no such device, and says why.
#define STROBE_NEEDS_BACKEND(name)              \
  if (!strobe::reference::shared_backend(name)) \
  GTEST_SKIP() << "NOT TESTED on " << name << ": " << ::strobe::cuda_missing()

/// Values in a backend's memory.
template <class T>
class Placed {
 public:
  Placed(Backend& ops, std::vector<T> values, std::initializer_list<int64_t> shape)
      : ops_(ops), values_(std::move(values)), tensor_(nullptr, dtype_of<T>, shape) {
    tensor_.data = ops_.allocate(tensor_.bytes());
    ops_.upload(tensor_, values_.data());
  }
  Placed(Backend& ops, std::vector<T> values)
      : Placed(ops, values, {static_cast<int64_t>(values.size())}) {}
  ~Placed() { ops_.release(tensor_.data); }
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

  operator Tensor() const { return tensor_; }
  const Tensor& tensor() const { return tensor_; }
  const std::vector<T>& values() {
    ops_.download(values_.data(), tensor_);
    return values_;
  }
  void set(size_t i, T value) {
    values();
    values_[i] = value;
    ops_.upload(tensor_, values_.data());
  }

 private:
  Backend& ops_;
  std::vector<T> values_;
  Tensor tensor_;
};

}  // namespace strobe::reference
