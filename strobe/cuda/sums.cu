// Sums in a fixed order: of a tensor, and the norm of all gradients.
#include <cmath>

#include "strobe/cuda/embedding_loss.h"
#include "strobe/cuda/sum_tiles.cuh"
#include "strobe/cuda/update.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

// ---- one tensor ----------------------------------------------------------------------------

template <bool kSquares>
__global__ void __launch_bounds__(kSumThreads)
    sum_tiles(double* partial, const float* x, int64_t n) {
  const int64_t begin = blockIdx.x * int64_t{kSumTile};
  const double total = sum_tile<kSquares>(x, begin, min(n, begin + kSumTile));
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kSumThreads)
    finish_sum(float* out, const double* partial, int64_t count) {
  const double total = sum_of_tiles(partial, count);
  if (threadIdx.x == 0) *out = static_cast<float>(total);
}

// y = x / (norm + eps); every block adds the tiles' sums for itself.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    scale_by_norm(T* y, const float* x, int64_t n, const double* partial, int64_t count, float eps,
                  bool is_aligned) {
  const double norm = sqrt(sum_of_tiles(partial, count));
  const float factor = static_cast<float>(1.0 / (norm + eps));
  for (int64_t at = (blockIdx.x * int64_t{kSumThreads} + threadIdx.x) * kLanes; at < n;
       at += gridDim.x * int64_t{kSumThreads} * kLanes) {
    const bool whole = is_aligned && at + kLanes <= n;
    Floats v = load_some(x + at, n - at, whole);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) v[j] *= factor;
    store_some(y + at, v, n - at, whole);
  }
}

double* partial_sums(const Device& device, int64_t tiles, const char* what) {
  check(tiles * 8 <= device.scratch_bytes, what);
  return reinterpret_cast<double*>(device.scratch);
}

// ---- all gradients -------------------------------------------------------------------------

struct Gradients {
  static constexpr int kMost = 256;
  const float* data[kMost];
  int64_t n[kMost];
  int32_t first_tile[kMost + 1];
  int count = 0;
};

__global__ void __launch_bounds__(kSumThreads)
    square_tiles(double* partial, const __grid_constant__ Gradients grads) {
  const int tile = static_cast<int>(blockIdx.x);
  const int owner = owner_of_tile(grads.first_tile, grads.count, tile);
  const int64_t begin = (tile - grads.first_tile[owner]) * int64_t{kSumTile};
  const double total =
      sum_tile<true>(grads.data[owner], begin, min(grads.n[owner], begin + kSumTile));
  if (threadIdx.x == 0) partial[tile] = total;
}

__global__ void __launch_bounds__(kSumThreads)
    finish_norm(StepState* state, const double* partial, int64_t count, float max_norm) {
  const double norm = sqrt(sum_of_tiles(partial, count));
  if (threadIdx.x > 0) return;
  const float rounded = static_cast<float>(norm);
  const double clipped = max_norm / (norm + 1e-6);
  state->grad_norm = rounded;
  state->grad_scale = max_norm > 0 && clipped < 1.0 ? static_cast<float>(clipped) : 1.0f;
  if (!isfinite(rounded)) state->halt = 1;
}

}  // namespace

void sum(const Device& device, Tensor out, Tensor x) {
  check(x.dtype == DType::f32 && out.dtype == DType::f32, "sum: takes f32");
  const int64_t tiles = ceil_div(x.numel(), kSumTile);
  double* partial = partial_sums(device, tiles, "sum: scratch is too small");
  if (tiles > 0)
    sum_tiles<false><<<tiles, kSumThreads, 0, device.stream>>>(partial, x.as<float>(), x.numel());
  finish_sum<<<1, kSumThreads, 0, device.stream>>>(out.as<float>(), partial, tiles);
  check_launch("sum");
}

void normalize(const Device& device, Tensor y, Tensor x, float eps) {
  check(x.dtype == DType::f32 && x.numel() == y.numel(), "normalize: takes f32 of y's shape");
  const int64_t n = x.numel(), tiles = ceil_div(n, kSumTile);
  if (n == 0) return;
  double* partial = partial_sums(device, tiles, "normalize: scratch is too small");
  sum_tiles<true><<<tiles, kSumThreads, 0, device.stream>>>(partial, x.as<float>(), n);
  const int64_t blocks = std::min<int64_t>(ceil_div(n, kSumThreads * kLanes), 1024);
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    scale_by_norm<<<blocks, kSumThreads, 0, device.stream>>>(y.as<T>(), x.as<float>(), n, partial,
                                                             tiles, eps, aligned(y.data, x.data));
  });
  check_launch("normalize");
}

void grad_norm(const Device& device, std::span<const Tensor> grads, float max_norm) {
  int64_t tiles = 0;
  for (const Tensor& grad : grads) tiles += ceil_div(grad.numel(), kSumTile);
  double* partial = partial_sums(device, tiles, "grad_norm: scratch is too small");
  Gradients table;
  double* to = partial;
  table.first_tile[0] = 0;
  const auto launch = [&] {
    const int32_t here = table.first_tile[table.count];
    if (here > 0) square_tiles<<<here, kSumThreads, 0, device.stream>>>(to, table);
    to += here, table.count = 0;
  };
  for (const Tensor& grad : grads) {
    check(grad.dtype == DType::f32, "grad_norm: takes f32");
    if (grad.numel() == 0) continue;
    const int i = table.count++;
    table.data[i] = grad.as<float>(), table.n[i] = grad.numel();
    const int64_t end = table.first_tile[i] + ceil_div(grad.numel(), kSumTile);
    check(end < INT32_MAX, "grad_norm: too many elements");
    table.first_tile[i + 1] = static_cast<int32_t>(end);
    if (table.count == Gradients::kMost) launch();
  }
  launch();
  finish_norm<<<1, kSumThreads, 0, device.stream>>>(device.state, partial, tiles, max_norm);
  check_launch("grad_norm");
}

}  // namespace strobe::cuda
