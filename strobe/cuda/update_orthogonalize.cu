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
// X begins as x over its norm. The own kernel takes x as it is, rounded, and divides A by the
// norm's square and the first P by the norm: x is read once.
// Traffic: x twice (thrice by the library), and X four times an iteration.
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

__global__ void __launch_bounds__(kThreads)
    square_tiles_of_each(double* partial, const float* x, int64_t size) {
  const float* const own = x + blockIdx.y * size;
  const int64_t begin = blockIdx.x * int64_t{kSumTile};
  const double sum = sum_tile<true>(own, begin, min(size, begin + kSumTile));
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

__device__ float inverse_norm(const double* partial, int64_t tiles) {
  return static_cast<float>(1.0 / (sqrt(sum_of_tiles(partial, tiles)) + kNormEps));
}

// y = x / (norm of its matrix + eps)
template <class T>
__global__ void __launch_bounds__(kThreads)
    divide_by_norms(T* y, const float* x, int64_t size, const double* partial, int64_t tiles) {
  const float factor = inverse_norm(partial + blockIdx.y * tiles, tiles);
  const int64_t first = blockIdx.y * size;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < size;
       i += gridDim.x * int64_t{kThreads})
    y[first + i] = round_to<T>(factor * x[first + i]);
}

// y = x, and sums of squares by tiles. The size of a matrix is a multiple of 8.
__global__ void __launch_bounds__(kThreads)
    round_and_square_tiles(bf16* y, double* partial, const float* x, int64_t size) {
  const int64_t begin = blockIdx.x * int64_t{kSumTile}, end = min(size, begin + kSumTile);
  x += blockIdx.y * size, y += blockIdx.y * size;
  double total = 0;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kLanes; i < end; i += kThreads * kLanes) {
    const Floats v = unpack(load(x + i));
    store(y + i, pack<bf16>(v));
#pragma unroll
    for (int j = 0; j < kLanes; ++j) total += double{v[j]} * v[j];
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
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
                   symmetric_product_takes(device, polynomial) && aligned(x.as<float>());
  if (own) {
    round_and_square_tiles<<<grid, kThreads, 0, device.stream>>>(from.as<bf16>(), partial,
                                                                 x.as<float>(), size);
    invert_norms<<<static_cast<unsigned>(n), kThreads, 0, device.stream>>>(factors, partial, tiles);
  } else {
    square_tiles_of_each<<<grid, kThreads, 0, device.stream>>>(partial, x.as<float>(), size);
    with_storage(dtype, [&](auto storage) {
      using T = decltype(storage);
      divide_by_norms<<<dim3(ceil_div(size, 8 * kThreads), n), kThreads, 0, device.stream>>>(
          from.as<T>(), x.as<float>(), size, partial, tiles);
    });
  }
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
    if (own) {
      gram.a = from.as<bf16>();
      symmetric_product(device, gram);
      symmetric_product(device, polynomial);
      gram.factors = polynomial.factors = nullptr;
    } else {
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
    }
    const bool last = i + 1 == kIterations;
    const Tensor next = last ? Tensor(x.data, DType::f32, {rows, columns}) : to;
    if (rows <= columns)
      product(next, p, from, last ? scale : 1, {});
    else
      product(next, from, p, last ? scale : 1, {});
    std::swap(from, to);
  }
  check_launch("orthogonalize");
}

}  // namespace strobe::cuda
