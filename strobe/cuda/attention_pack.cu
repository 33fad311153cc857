// A thread an element: these copies are for shapes that the kernels do not read in place, and for
// naive, whose own traffic is many times theirs.
#include "strobe/cuda/attention_layout.h"
#include "strobe/cuda/attention_pack.h"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 256;

/// Any 2- or 4-byte element is copied as bits.
template <class T>
__global__ void copy_heads_kernel(T* y, const T* x, int64_t rows, int heads, int to, int from,
                                  int64_t y_row, int64_t y_head, int64_t x_row, int64_t x_head) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t r = i / to / heads;
  if (r >= rows) return;
  const int d = static_cast<int>(i % to), h = static_cast<int>(i / to % heads);
  y[r * y_row + h * y_head + d] = d < from ? x[r * x_row + h * x_head + d] : T{0};
}

template <class T, bool To>
__global__ void sequences_kernel(T* packed, T* sequences, const int* cu, int kv_heads, int group,
                                 int longest, int dim, int packed_dim, int64_t row, int64_t head,
                                 int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int d = static_cast<int>(i % dim);
  const int r = static_cast<int>(i / dim % longest),
            g = static_cast<int>(i / dim / longest % group);
  const int kv = static_cast<int>(i / dim / longest / group % kv_heads);
  const int s = static_cast<int>(i / dim / longest / group / kv_heads);
  const bool inside = r < cu[s + 1] - cu[s] && d < packed_dim;
  T* const at = packed + (cu[s] + r) * row + (kv * group + g) * head + d;
  if constexpr (To)
    sequences[i] = inside ? *at : T{0};
  else if (inside)
    *at = sequences[i];
}

template <class T, bool To>
void launch_sequences(const Device& device, const Tensor& packed, void* sequences,
                      const SequenceLayout& l) {
  const int64_t count = l.sequences * l.kv_heads * l.group * l.longest * l.dim;
  if (count == 0) return;
  sequences_kernel<T, To>
      <<<static_cast<unsigned>(ceil_div(count, int64_t{kThreads})), kThreads, 0, device.stream>>>(
          packed.as<T>(), static_cast<T*>(sequences), l.cu, static_cast<int>(l.kv_heads),
          static_cast<int>(l.group), static_cast<int>(l.longest), static_cast<int>(l.dim),
          static_cast<int>(packed.dim(2)), packed.strides[0], packed.strides[1], count);
  check_launch("attention");
}

}  // namespace

void copy_heads(const Device& device, Tensor y, Tensor x) {
  const int64_t count = y.numel();
  if (count == 0) return;
  copy_heads_kernel<uint16_t>
      <<<static_cast<unsigned>(ceil_div(count, int64_t{kThreads})), kThreads, 0, device.stream>>>(
          y.as<uint16_t>(), x.as<uint16_t>(), y.dim(0), static_cast<int>(y.dim(1)),
          static_cast<int>(y.dim(2)), static_cast<int>(x.dim(2)), y.strides[0], y.strides[1],
          x.strides[0], x.strides[1]);
  check_launch("attention");
}

void to_sequences(const Device& device, void* y, Tensor x, const SequenceLayout& layout) {
  x.dtype == DType::f32 ? launch_sequences<uint32_t, true>(device, x, y, layout)
                        : launch_sequences<uint16_t, true>(device, x, y, layout);
}
void from_sequences(const Device& device, Tensor y, const void* x, const SequenceLayout& layout) {
  void* const from = const_cast<void*>(x);
  y.dtype == DType::f32 ? launch_sequences<uint32_t, false>(device, y, from, layout)
                        : launch_sequences<uint16_t, false>(device, y, from, layout);
}

}  // namespace strobe::cuda
