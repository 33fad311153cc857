// Newton-Schulz iteration for a batch of matrices, as ops/backend.h defines it (Jordan et al. 2024,
// kellerjordan.github.io/posts/muon).
//
// All matrices of one shape go together, so that products of a few hundred rows fill the GPU. With
// P = a I + b A + c A^2 each iteration is three products:
//   A = X X^T;  P = c A A + b A + a I;  X = P X
// A and P are symmetric: on Hopper an own kernel makes half of each (symmetric_product.h). X P is
// the library's, as is everything elsewhere, where a I touches the diagonal in a pass of its own.
// X lies in the products' type, twice, since a product may not write what it reads; the last
// product writes x.
//
// X begins as x over its norm. The own kernel takes x as it is, or rounded, and divides A by the
// norm's square and the first P by the norm.
// Traffic: x twice (thrice by the library, or to be rounded), and X four times an iteration.
#include "strobe/core/arena.h"
#include "strobe/core/round_up.h"
#include "strobe/cuda/gemm.h"
#include "strobe/cuda/sum_tiles.cuh"
#include "strobe/cuda/symmetric_product.h"
#include "strobe/cuda/update.h"
#include "strobe/cuda/vector.cuh"
#include "strobe/ops/newton_schulz.h"

namespace strobe::cuda {

namespace {

using namespace newton_schulz;

constexpr int kThreads = kSumThreads;

// Sums of squares by tiles; y = x where y is not null. whole: vectors are, and are aligned.
template <class X>
__global__ void __launch_bounds__(kThreads)
    square_tiles_of_each(double* partial, bf16* y, const X* x, int64_t size, bool whole) {
  const int64_t begin = blockIdx.x * int64_t{kSumTile}, end = min(size, begin + kSumTile);
  const int64_t first = blockIdx.y * size;
  double total = 0;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kLanes; i < end; i += kThreads * kLanes) {
    const Floats v = load_some(x + first + i, end - i, whole);
    if (y) store_some(y + first + i, v, end - i, whole);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) total += double{v[j]} * v[j];
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

__device__ float inverse_norm(const double* partial, int64_t tiles) {
  return static_cast<float>(1.0 / (sqrt(sum_of_tiles(partial, tiles)) + kNormEps));
}

// y = x / (norm of its matrix + eps)
template <class Y, class X>
__global__ void __launch_bounds__(kThreads)
    divide_by_norms(Y* y, const X* x, int64_t size, const double* partial, int64_t tiles) {
  const float factor = inverse_norm(partial + blockIdx.y * tiles, tiles);
  const int64_t first = blockIdx.y * size;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < size;
       i += gridDim.x * int64_t{kThreads})
    y[first + i] = round_to<Y>(factor * to_float(x[first + i]));
}

__global__ void __launch_bounds__(kThreads)
    invert_norms(float* factors, const double* partial, int64_t tiles) {
  const float factor = inverse_norm(partial + blockIdx.x * tiles, tiles);
  if (threadIdx.x == 0) factors[blockIdx.x] = factor;
}

// p += a I of each
template <class T>
__global__ void __launch_bounds__(kThreads) add_identity(T* p, int64_t side) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= side) return;
  T& at = p[blockIdx.y * side * side + i * (side + 1)];
  at = round_to<T>(kA + to_float(at));
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
  check((x.dtype == DType::f32 || x.dtype == dtype) && x.contiguous(),
        "orthogonalize: takes contiguous f32, or the products' type");
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
  check(n * (tiles + 1) * 8 <= device.scratch_bytes, "orthogonalize: scratch is too small");
  double* const partial = reinterpret_cast<double*>(device.scratch);
  float* const factors = reinterpret_cast<float*>(partial + n * tiles);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(n));

  SymmetricProduct gram, polynomial;
  gram.c = a.as<bf16>(), gram.a = from.as<bf16>(), gram.transposed = rows > columns;
  gram.batch = n, gram.side = side, gram.depth = std::max(rows, columns);
  gram.factors = factors, gram.power = 2;
  polynomial.c = p.as<bf16>(), polynomial.a = polynomial.addend = a.as<bf16>();
  polynomial.batch = n, polynomial.side = polynomial.depth = side, polynomial.factors = factors;
  polynomial.alpha = kC, polynomial.beta = kB, polynomial.gamma = kA;
  const bool own = dtype == DType::bf16 && symmetric_product_takes(device, gram) &&
                   symmetric_product_takes(device, polynomial) && aligned(x.as<char>());
  const bool rounds = own && x.dtype == DType::f32;
  with_storage(x.dtype, [&](auto x_storage) {
    using X = decltype(x_storage);
    square_tiles_of_each<<<grid, kThreads, 0, device.stream>>>(
        partial, rounds ? from.as<bf16>() : nullptr, x.as<X>(), size,
        size % kLanes == 0 && aligned(x.as<X>()));
    if (own) {
      invert_norms<<<static_cast<unsigned>(n), kThreads, 0, device.stream>>>(factors, partial,
                                                                             tiles);
      return;
    }
    with_storage(dtype, [&](auto y_storage) {
      using Y = decltype(y_storage);
      divide_by_norms<<<dim3(ceil_div(size, 8 * kThreads), n), kThreads, 0, device.stream>>>(
          from.as<Y>(), x.as<X>(), size, partial, tiles);
    });
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
  static_assert(kIterations > 1, "the last product writes x, which the first may read");
  const Tensor result(x.data, x.dtype, {rows, columns});
  Tensor read = own && !rounds ? result : from;
  for (int i = 0; i < kIterations; ++i) {
    if (own) {
      gram.a = read.as<bf16>();
      symmetric_product(device, gram);
      symmetric_product(device, polynomial);
      gram.factors = polynomial.factors = nullptr;
    } else {
      if (rows <= columns)
        product(a, read, read.transposed(), 1, {});
      else
        product(a, read.transposed(), read, 1, {});
      product(p, a, a, kC, /*addend=*/a);
      with_storage(dtype, [&](auto storage) {
        using T = decltype(storage);
        add_identity<<<dim3(ceil_div(side, kThreads), n), kThreads, 0, device.stream>>>(p.as<T>(),
                                                                                        side);
      });
    }
    const bool last = i + 1 == kIterations;
    const Tensor next = last ? result : to;
    if (rows <= columns)
      product(next, p, read, last ? scale : 1, {});
    else
      product(next, read, p, last ? scale : 1, {});
    read = next;
    std::swap(from, to);
  }
  check_launch("orthogonalize");
}

}  // namespace strobe::cuda
