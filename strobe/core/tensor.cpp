#include "strobe/core/tensor.h"

#include <utility>

#include "strobe/core/error.h"

namespace strobe {

namespace {

void set_shape(Tensor& tensor, std::initializer_list<int64_t> shape) {
  check(shape.size() <= Tensor::kMaxRank, "tensor: too many dimensions");
  tensor.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  int64_t stride = 1;
  for (int i = tensor.rank - 1; i >= 0; --i) tensor.strides[i] = stride, stride *= tensor.shape[i];
}

}  // namespace

Tensor::Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape)
    : data(data), dtype(dtype) {
  set_shape(*this, shape);
}

int64_t Tensor::numel() const {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[i];
  return n;
}

bool Tensor::contiguous() const {
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != stride) return false;
    stride *= shape[i];
  }
  return true;
}

Tensor Tensor::reshape(std::initializer_list<int64_t> new_shape) const {
  check(contiguous(), "tensor: reshape of a strided view");
  Tensor out = *this;
  out.shape = {}, out.strides = {};
  set_shape(out, new_shape);
  check(out.numel() == numel(), "tensor: reshape changes the number of elements");
  return out;
}

Tensor Tensor::narrow(int d, int64_t begin, int64_t length) const {
  check(d < rank && begin >= 0 && length >= 0 && begin + length <= shape[d],
        "tensor: narrow out of range");
  Tensor out = *this;
  out.data = static_cast<char*>(data) + begin * strides[d] * size_of(dtype);
  out.shape[d] = length;
  return out;
}

Tensor Tensor::split(int d, int64_t inner) const {
  check(rank < kMaxRank && d < rank && shape[d] % inner == 0, "tensor: split does not divide");
  Tensor out = *this;
  for (int i = rank; i > d + 1; --i) {
    out.shape[i] = shape[i - 1];
    out.strides[i] = strides[i - 1];
  }
  out.rank = rank + 1;
  out.shape[d] = shape[d] / inner;
  out.strides[d] = strides[d] * inner;
  out.shape[d + 1] = inner;
  out.strides[d + 1] = strides[d];
  return out;
}

Tensor Tensor::transposed() const {
  check(rank == 2, "tensor: transposed() takes a matrix");
  Tensor out = *this;
  std::swap(out.shape[0], out.shape[1]);
  std::swap(out.strides[0], out.strides[1]);
  return out;
}

std::string to_string(const Tensor& tensor) {
  std::string out = fmt::format("{} (", name_of(tensor.dtype));
  for (int i = 0; i < tensor.rank; ++i) out += fmt::format("{}{}", i ? ", " : "", tensor.shape[i]);
  return out + ")";
}

}  // namespace strobe
