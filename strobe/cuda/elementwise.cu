// Elementwise ops: each operand passes through memory once, a thread takes two vectors of eight
// elements and loads both before it computes.
#include "strobe/cuda/elementwise.h"

#include <type_traits>

#include "strobe/cuda/dropout.cuh"
#include "strobe/cuda/gelu.cuh"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 2;  // of a thread

// ---- y = f(a, b) by element ----------------------------------------------------------------
// A function says how many inputs it reads, and what its block shares (Shared). It is called with
// the number of the vector, for masks.

struct Nothing {
  template <class F>
  __device__ explicit Nothing(const F&) {}
};

struct Constant {
  static constexpr int kInputs = 0;
  using Shared = Nothing;
  float value;
  __device__ Floats operator()(const Floats&, const Floats&, int64_t, const Shared&) const {
    Floats y;
    for (int j = 0; j < kLanes; ++j) y[j] = value;
    return y;
  }
};

struct Identity {
  static constexpr int kInputs = 1;
  using Shared = Nothing;
  __device__ Floats operator()(const Floats& a, const Floats&, int64_t, const Shared&) const {
    return a;
  }
};

struct Axpby {
  static constexpr int kInputs = 2;
  using Shared = Nothing;
  float a, b;
  __device__ Floats operator()(const Floats& x, const Floats& y, int64_t, const Shared&) const {
    Floats out;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) out[j] = a * x[j] + b * y[j];
    return out;
  }
};

template <int kCount>  // 1: dropout(a), 2: b + dropout(a)
struct Drop {
  static constexpr int kInputs = kCount;
  struct Shared : DropoutMask {
    __device__ explicit Shared(const Drop& f) : DropoutMask(f.site) {}
  };
  DropoutSite site;
  __device__ Floats operator()(const Floats& a, const Floats& b, int64_t i,
                               const Shared& mask) const {
    Floats y = mask.apply(a, i);
    if constexpr (kCount == 2) {
#pragma unroll
      for (int j = 0; j < kLanes; ++j) y[j] += b[j];
    }
    return y;
  }
};

template <Gelu kKind>
struct GeluValue {
  static constexpr int kInputs = 1;
  using Shared = Nothing;
  __device__ Floats operator()(const Floats& x, const Floats&, int64_t, const Shared&) const {
    Floats y;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) y[j] = gelu_value<kKind>(x[j]);
    return y;
  }
};

template <Gelu kKind>
struct GeluChain {
  static constexpr int kInputs = 2;
  using Shared = Nothing;
  __device__ Floats operator()(const Floats& dy, const Floats& x, int64_t, const Shared&) const {
    Floats dx;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) dx[j] = dy[j] * gelu_slope<kKind>(x[j]);
    return dx;
  }
};

struct Tanh {
  static constexpr int kInputs = 1;
  using Shared = Nothing;
  __device__ Floats operator()(const Floats& x, const Floats&, int64_t, const Shared&) const {
    Floats y;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) y[j] = tanhf(x[j]);
    return y;
  }
};

struct TanhChain {
  static constexpr int kInputs = 2;
  using Shared = Nothing;
  __device__ Floats operator()(const Floats& dy, const Floats& y, int64_t, const Shared&) const {
    Floats dx;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) dx[j] = dy[j] * (1 - y[j] * y[j]);
    return dx;
  }
};

// No __restrict__: y may be a or b.
template <class To, class From, class F>
__global__ void __launch_bounds__(kThreads)
    map(To* y, const From* a, const From* b, int64_t n, bool is_aligned, F f) {
  const typename F::Shared shared(f);
  const int64_t first = blockIdx.x * int64_t{kThreads * kVectors} + threadIdx.x;
  if ((first + (kVectors - 1) * kThreads + 1) * kLanes <= n && is_aligned) {
    Packed<From> in[kVectors][2];
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
      const int64_t at = (first + u * kThreads) * kLanes;
      if constexpr (F::kInputs > 0) in[u][0] = load(a + at);
      if constexpr (F::kInputs > 1) in[u][1] = load(b + at);
    }
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
      const int64_t i = first + u * kThreads;
      Floats x{}, z{};
      if constexpr (F::kInputs > 0) x = unpack(in[u][0]);
      if constexpr (F::kInputs > 1) z = unpack(in[u][1]);
      store(y + i * kLanes, pack<To>(f(x, z, i, shared)));
    }
    return;
  }
  for (int u = 0; u < kVectors; ++u) {
    const int64_t i = first + u * kThreads, at = i * kLanes, count = n - at;
    if (count <= 0) return;
    const bool whole = is_aligned && count >= kLanes;
    Floats x{}, z{};
    if constexpr (F::kInputs > 0) x = load_some(a + at, count, whole);
    if constexpr (F::kInputs > 1) z = load_some(b + at, count, whole);
    store_some(y + at, f(x, z, i, shared), count, whole);
  }
}

template <class To, class From, class F>
void launch_map(const Device& device, To* y, const From* a, const From* b, int64_t n, F f,
                const char* what) {
  if (n == 0) return;
  const int64_t blocks = ceil_div(n, int64_t{kThreads * kVectors * kLanes});
  map<To, From, F><<<blocks, kThreads, 0, device.stream>>>(y, a, b, n, aligned(y, a, b), f);
  check_launch(what);
}

// All operands of one storage type.
template <class F>
void launch_map(const Device& device, Tensor y, Tensor a, Tensor b, F f, const char* what) {
  check(!a || (a.numel() == y.numel() && a.dtype == y.dtype), what);
  check(!b || (b.numel() == y.numel() && b.dtype == y.dtype), what);
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    launch_map<T, T, F>(device, y.as<T>(), a.as<T>(), b.as<T>(), y.numel(), f, what);
  });
}

// ---- strided copies ------------------------------------------------------------------------

constexpr int kSide = 32;  // of a tile
constexpr int kTileRows = 8;

// A tile passes through shared memory, so that each side is walked along its own unit stride.
template <class To, class From>
__global__ void __launch_bounds__(kSide* kTileRows)
    copy_tiles(To* y, const From* x, int64_t rows, int64_t columns, int64_t y_row, int64_t y_column,
               int64_t x_row, int64_t x_column) {
  __shared__ float tile[kSide][kSide + 1];
  const int64_t row = blockIdx.y * int64_t{kSide}, column = blockIdx.x * int64_t{kSide};
  const bool read_columns = x_column <= x_row, write_columns = y_column <= y_row;
  for (int i = warp_id(); i < kSide; i += kTileRows) {
    const int r = read_columns ? i : lane_id(), c = read_columns ? lane_id() : i;
    if (row + r < rows && column + c < columns)
      tile[r][c] = to_float(x[(row + r) * x_row + (column + c) * x_column]);
  }
  __syncthreads();
  for (int i = warp_id(); i < kSide; i += kTileRows) {
    const int r = write_columns ? i : lane_id(), c = write_columns ? lane_id() : i;
    if (row + r < rows && column + c < columns)
      y[(row + r) * y_row + (column + c) * y_column] = round_to<To>(tile[r][c]);
  }
}

constexpr int kBlock = 64;  // side of a tile of bf16 whose rows pass in vectors

// y = x^T of bf16, with vectors on both sides. x (columns, rows) and y (rows, columns), each with
// contiguous rows; both counts are multiples of eight.
__global__ void __launch_bounds__(kThreads)
    transpose_blocks(bf16* y, const bf16* x, int64_t rows, int64_t columns, int64_t y_row,
                     int64_t x_row) {
  __shared__ bf16 tile[kBlock][kBlock + 2];
  constexpr int kAcross = kBlock / kLanes, kPasses = kBlock * kAcross / kThreads;
  const int64_t row = blockIdx.y * int64_t{kBlock}, column = blockIdx.x * int64_t{kBlock};
  const int vector = threadIdx.x % kAcross * kLanes, line = threadIdx.x / kAcross;
  Packed<bf16> raw[kPasses] = {};
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int at = line + i * (kThreads / kAcross);
    if (column + at < columns && row + vector < rows)
      raw[i] = load(x + (column + at) * x_row + row + vector);
  }
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int at = line + i * (kThreads / kAcross);
    uint32_t* to = reinterpret_cast<uint32_t*>(&tile[at][vector]);
    to[0] = raw[i].words.x, to[1] = raw[i].words.y, to[2] = raw[i].words.z, to[3] = raw[i].words.w;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int at = line + i * (kThreads / kAcross);
    if (row + at >= rows || column + vector >= columns) continue;
    Floats out;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) out[j] = to_float(tile[vector + j][at]);
    store(y + (row + at) * y_row + column + vector, pack<bf16>(out));
  }
}

// Both sides have contiguous rows.
template <class To, class From>
__global__ void __launch_bounds__(kThreads)
    copy_rows(To* y, const From* x, int64_t rows, int64_t columns, int64_t y_row, int64_t x_row,
              bool whole) {
  const auto [row, column] = vector_place(blockIdx.x * kThreads + threadIdx.x, columns);
  if (row >= rows) return;
  store_some(y + row * y_row + column, load_some(x + row * x_row + column, columns - column, whole),
             columns - column, whole);
}

template <class To, class From>
void copy_matrix(const Device& device, Tensor y, Tensor x) {
  const int64_t rows = y.dim(0), columns = y.dim(1);
  if (y.strides[1] == 1 && x.strides[1] == 1) {
    const bool whole = columns % kLanes == 0 && y.strides[0] % kLanes == 0 &&
                       x.strides[0] % kLanes == 0 && aligned(y.data, x.data);
    const int64_t blocks = ceil_div(count_vectors(rows, columns), kThreads);
    copy_rows<<<blocks, kThreads, 0, device.stream>>>(y.as<To>(), x.as<From>(), rows, columns,
                                                      y.strides[0], x.strides[0], whole);
    return;
  }
  if constexpr (std::is_same_v<To, bf16> && std::is_same_v<From, bf16>) {
    if (y.strides[1] == 1 && x.strides[0] == 1 && rows % kLanes == 0 && columns % kLanes == 0 &&
        y.strides[0] % kLanes == 0 && x.strides[1] % kLanes == 0 && aligned(y.data, x.data)) {
      const dim3 blocks(ceil_div(columns, kBlock), ceil_div(rows, kBlock));
      transpose_blocks<<<blocks, kThreads, 0, device.stream>>>(y.as<bf16>(), x.as<bf16>(), rows,
                                                               columns, y.strides[0], x.strides[1]);
      return;
    }
  }
  const dim3 grid(ceil_div(columns, kSide), ceil_div(rows, kSide));
  copy_tiles<<<grid, kSide * kTileRows, 0, device.stream>>>(y.as<To>(), x.as<From>(), rows, columns,
                                                            y.strides[0], y.strides[1],
                                                            x.strides[0], x.strides[1]);
}

// ---- bias ----------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kThreads)
    add_bias(T* y, const T* bias, int64_t rows, int64_t columns, bool whole) {
  const auto [row, column] = vector_place(blockIdx.x * kThreads + threadIdx.x, columns);
  const int64_t count = columns - column;
  if (row >= rows) return;
  T* at = y + row * columns + column;
  Floats x = load_some(at, count, whole);
  const Floats b = load_some(bias + column, count, whole);
#pragma unroll
  for (int j = 0; j < kLanes; ++j) x[j] += b[j];
  store_some(at, x, count, whole);
}

}  // namespace

void fill(const Device& device, Tensor y, float value) {
  if (y.numel() == 0) return;
  if (value == 0) return check_cuda(cudaMemsetAsync(y.data, 0, y.bytes(), device.stream), "fill");
  launch_map(device, y, Tensor{}, Tensor{}, Constant{value}, "fill");
}

void copy(const Device& device, Tensor y, Tensor x) {
  check(y.numel() == x.numel(), "copy: shapes differ");
  if (y.numel() == 0) return;
  if (y.contiguous() && x.contiguous()) {
    if (y.dtype == x.dtype)
      return check_cuda(
          cudaMemcpyAsync(y.data, x.data, y.bytes(), cudaMemcpyDeviceToDevice, device.stream),
          "copy");
    with_storage(y.dtype, [&](auto to) {
      with_storage(x.dtype, [&](auto from) {
        using To = decltype(to);
        using From = decltype(from);
        launch_map<To, From>(device, y.as<To>(), x.as<From>(), static_cast<const From*>(nullptr),
                             y.numel(), Identity{}, "copy");
      });
    });
    return;
  }
  check(y.rank == 2 && x.rank == 2 && y.dim(0) == x.dim(0), "copy: strided views must be matrices");
  with_storage(y.dtype, [&](auto to) {
    with_storage(x.dtype,
                 [&](auto from) { copy_matrix<decltype(to), decltype(from)>(device, y, x); });
  });
  check_launch("copy");
}

void axpby(const Device& device, Tensor y, float a, Tensor x, float b) {
  check(y.dtype == DType::f32 && x.dtype == DType::f32 && x.numel() == y.numel(),
        "axpby: takes f32 of one shape");
  launch_map(device, y.as<float>(), x.as<float>(), y.as<float>(), y.numel(), Axpby{a, b}, "axpby");
}

void dropout(const Device& device, Tensor y, Tensor x, Dropout dropout) {
  launch_map(device, y, x, Tensor{}, Drop<1>{{device, dropout}}, "dropout");
}

void add_dropout(const Device& device, Tensor y, Tensor a, Tensor b, Dropout dropout) {
  launch_map(device, y, b, a, Drop<2>{{device, dropout}}, "add_dropout");
}

void gelu_forward(const Device& device, Tensor y, Tensor x, Gelu kind) {
  if (kind == Gelu::tanh)
    launch_map(device, y, x, Tensor{}, GeluValue<Gelu::tanh>{}, "gelu_forward");
  else
    launch_map(device, y, x, Tensor{}, GeluValue<Gelu::erf>{}, "gelu_forward");
}

void gelu_backward(const Device& device, Tensor dx, Tensor dy, Tensor x, Gelu kind) {
  if (kind == Gelu::tanh)
    launch_map(device, dx, dy, x, GeluChain<Gelu::tanh>{}, "gelu_backward");
  else
    launch_map(device, dx, dy, x, GeluChain<Gelu::erf>{}, "gelu_backward");
}

void tanh_forward(const Device& device, Tensor y, Tensor x) {
  launch_map(device, y, x, Tensor{}, Tanh{}, "tanh_forward");
}

void tanh_backward(const Device& device, Tensor dx, Tensor dy, Tensor y) {
  launch_map(device, dx, dy, y, TanhChain{}, "tanh_backward");
}

namespace {

__global__ void squared_errors(float* losses, float* dx, const float* x, const float* targets,
                               int64_t rows, const StepState* state) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= rows) return;
  const float difference = isnan(targets[i]) ? 0.0f : x[i] - targets[i];
  losses[i] = difference * difference;
  if (dx) dx[i] = 2 * difference * state->loss_scale;
}

}  // namespace

void squared_error(const Device& device, Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  const int64_t rows = losses.numel();
  check(x.numel() == rows && targets.numel() == rows && (!dx || dx.numel() == rows),
        "squared_error: shapes differ");
  if (rows == 0) return;
  squared_errors<<<ceil_div(rows, kThreads), kThreads, 0, device.stream>>>(
      losses.as<float>(), dx.as<float>(), x.as<float>(), targets.as<float>(), rows, device.state);
  check_launch("squared_error");
}

void bias_forward(const Device& device, Tensor y, Tensor bias) {
  const int64_t rows = y.dim(0), columns = y.dim(1);
  check(bias.numel() == columns && bias.dtype == y.dtype, "bias_forward: wrong bias");
  if (y.numel() == 0) return;
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const bool whole = columns % kLanes == 0 && aligned(y.data, bias.data);
    const int64_t blocks = ceil_div(count_vectors(rows, columns), kThreads);
    add_bias<<<blocks, kThreads, 0, device.stream>>>(y.as<T>(), bias.as<T>(), rows, columns, whole);
  });
  check_launch("bias_forward");
}

}  // namespace strobe::cuda
