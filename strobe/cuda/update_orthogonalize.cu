// Newton-Schulz iteration for a batch of matrices, as ops/backend.h defines it (Jordan et al. 2024,
// kellerjordan.github.io/posts/muon), on batched products of the library.
//
// All matrices of one shape go together, so that products of a few hundred rows fill the GPU. With
// P = a I + b A + c A^2 each iteration is three products and a touch of the diagonal:
//   A = X X^T;  P = c A A + b A;  P += a I;  X = P X
// X lies in the products' type, twice, since a product may not write what it reads.
// Traffic: x three times and X four times an iteration.
#include "strobe/core/arena.h"
#include "strobe/core/round_up.h"
#include "strobe/cuda/gemm.h"
#include "strobe/cuda/sum_tiles.cuh"
#include "strobe/cuda/update.h"
#include "strobe/cuda/vector.cuh"
#include "strobe/ops/newton_schulz.h"

namespace strobe::cuda {

namespace {

using namespace newton_schulz;

constexpr int kThreads = kSumThreads;

__global__ void __launch_bounds__(kThreads)
    square_tiles_of_each(double* partial, const float* x, int64_t size) {
  const float* const own = x + blockIdx.y * size;
  const int64_t begin = blockIdx.x * int64_t{kSumTile};
  const double sum = sum_tile<true>(own, begin, min(size, begin + kSumTile));
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// y = x / (norm of its matrix + eps)
template <class T>
__global__ void __launch_bounds__(kThreads)
    divide_by_norms(T* y, const float* x, int64_t size, const double* partial, int64_t tiles) {
  const double norm = sqrt(sum_of_tiles(partial + blockIdx.y * tiles, tiles));
  const float factor = static_cast<float>(1.0 / (norm + kNormEps));
  const int64_t first = blockIdx.y * size;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < size;
       i += gridDim.x * int64_t{kThreads})
    y[first + i] = round_to<T>(factor * x[first + i]);
}

// p += a I of each
template <class T>
__global__ void __launch_bounds__(kThreads) add_identity(T* p, int64_t side) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= side) return;
  T& at = p[blockIdx.y * side * side + i * (side + 1)];
  at = round_to<T>(kA + to_float(at));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_back(float* y, const T* x, float factor, int64_t n) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < n;
       i += gridDim.x * int64_t{kThreads})
    y[i] = factor * to_float(x[i]);
}

int64_t padded(int64_t bytes) { return round_up(bytes, Arena::kAlignment); }

}  // namespace

int64_t orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns, DType dtype) {
  const int64_t side = std::min(rows, columns);
  return 2 * padded(n * rows * columns * size_of(dtype)) +
         2 * padded(n * side * side * size_of(dtype));
}

void orthogonalize(const Device& device, Tensor x, float scale, DType dtype, Tensor workspace) {
  const int64_t n = x.dim(0), rows = x.dim(1), columns = x.dim(2);
  const int64_t size = rows * columns, side = std::min(rows, columns);
  check(x.dtype == DType::f32 && x.contiguous(), "orthogonalize: takes contiguous f32");
  if (n * size == 0) return;
  check(workspace.bytes() >= orthogonalize_workspace_bytes(n, rows, columns, dtype),
        "orthogonalize: workspace is too small");
  char* next = workspace.as<char>();
  const auto take = [&](int64_t m, int64_t k) {
    return Tensor(std::exchange(next, next + padded(n * m * k * size_of(dtype))), dtype, {m, k});
  };
  Tensor from = take(rows, columns), to = take(rows, columns);
  const Tensor a = take(side, side), p = take(side, side);

  const int64_t tiles = ceil_div(size, kSumTile);
  check(n * tiles * 8 <= device.scratch_bytes, "orthogonalize: scratch is too small");
  double* partial = reinterpret_cast<double*>(device.scratch);
  square_tiles_of_each<<<dim3(tiles, n), kThreads, 0, device.stream>>>(partial, x.as<float>(),
                                                                       size);
  with_storage(dtype, [&](auto storage) {
    using T = decltype(storage);
    divide_by_norms<<<dim3(ceil_div(size, 8 * kThreads), n), kThreads, 0, device.stream>>>(
        from.as<T>(), x.as<float>(), size, partial, tiles);
  });
  const auto product = [&](Tensor c, Tensor l, Tensor r, float alpha, Tensor addend) {
    device.gemm->run(device, {.c = c,
                              .a = l,
                              .b = r,
                              .alpha = alpha,
                              .addend = addend,
                              .beta = kB,
                              .batch = n,
                              .c_stride = c.numel(),
                              .a_stride = l.numel(),
                              .b_stride = r.numel()});
  };
  for (int i = 0; i < kIterations; ++i) {
    if (rows <= columns)
      product(a, from, from.transposed(), 1, {});
    else
      product(a, from.transposed(), from, 1, {});
    product(p, a, a, kC, /*addend=*/a);
    with_storage(dtype, [&](auto storage) {
      using T = decltype(storage);
      add_identity<<<dim3(ceil_div(side, kThreads), n), kThreads, 0, device.stream>>>(p.as<T>(),
                                                                                      side);
    });
    if (rows <= columns)
      product(to, p, from, 1, {});
    else
      product(to, from, p, 1, {});
    std::swap(from, to);
  }
  with_storage(dtype, [&](auto storage) {
    using T = decltype(storage);
    scale_back<<<std::min<int64_t>(ceil_div(n * size, kThreads), 8192), kThreads, 0,
                 device.stream>>>(x.as<float>(), from.as<T>(), scale, n * size);
  });
  check_launch("orthogonalize");
}

}  // namespace strobe::cuda
