// A matrix divided by the roots of its second moments, kept by rows and columns: what Adafactor
// (Shazeer & Stern 2018, arXiv:1804.04235) and NorMuon (Li et al. 2025, arXiv:2510.05491) add to a
// gradient and to Muon. The meaning is ops/backend.h's.
//
// Squares are summed over chunks of a column, and over rows, then the moments move, then the result
// is written with the sums of its squares, tile by tile, and scaled where a norm asks for it. The
// matrices of one shape go together, a layer of the grid each.
// Traffic: x three times, u once or three times. Sums in double, in an order that shapes decide.
#include <utility>

#include "strobe/core/check.h"
#include "strobe/cuda/sum_tiles.cuh"
#include "strobe/cuda/update.h"

namespace strobe::cuda {

namespace {

constexpr int kChunk = 256;  // rows of a column that a thread sums
constexpr int kTile = 4096;  // elements of a block that divides

struct Matrix {
  const float* x;
  float* u;
  float *rows, *columns;  // rows may be null
  int64_t m, n, x_row, u_row;
  const StepState* state;
  MomentScaling op;

  __device__ float value(int64_t i, int64_t j) const {
    return (op.gradient ? state->grad_scale : 1.0f) * x[i * x_row + j];
  }
  __device__ double square(int64_t i, int64_t j) const {
    const float g = value(i, j);
    return g * g + op.eps_square;
  }
  __device__ void move(float& moment, double mean) const {
    const double t = static_cast<double>(state->step + 1);
    const float beta =
        static_cast<float>(op.exponent < 0 ? 1 - pow(t, double{op.exponent}) : double{op.beta});
    moment = beta * moment + (1.0f - beta) * static_cast<float>(mean);
  }
};

// Several of them, which differ in where they lie.
struct Matrices {
  static constexpr int kMost = 64;
  const float* x[kMost];
  float *u[kMost], *rows[kMost], *columns[kMost];
  Matrix shared;

  __device__ Matrix operator[](int i) const {
    Matrix a = shared;
    a.x = x[i], a.u = u[i], a.rows = rows[i], a.columns = columns[i];
    return a;
  }
};

// Doubles in scratch, of each matrix: the rows' mean, their sums, the columns' by chunks, the
// tiles' squares.
struct Sums {
  double *row_mean, *of_rows, *of_columns, *of_u, *of_x;
  int64_t chunks, tiles, stride;

  __device__ Sums operator[](int i) const {
    const int64_t at = i * stride;
    return {row_mean + at, of_rows + at, of_columns + at, of_u + at, of_x + at, chunks, tiles, 0};
  }
};

/// Calls body(i, j) for each element of a block's tile that is the thread's.
template <class Body>
__device__ void for_tile(const Matrix& a, Body body) {
  const int64_t begin = blockIdx.x * int64_t{kTile}, end = min(a.m * a.n, begin + kTile);
  int64_t at = begin + threadIdx.x;
  if (at >= end) return;
  int64_t i = at / a.n, j = at - i * a.n;
  for (; at < end; at += kSumThreads, j += kSumThreads) {
    while (j >= a.n) j -= a.n, ++i;
    body(i, j);
  }
}

__global__ void __launch_bounds__(kSumThreads)
    sum_columns(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.z];
  const Sums sums = each[blockIdx.z];
  const int64_t j = blockIdx.x * int64_t{kSumThreads} + threadIdx.x;
  if (j >= a.n || a.state->halt) return;
  const int64_t begin = blockIdx.y * int64_t{kChunk}, end = min(a.m, begin + kChunk);
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += a.square(i, j);
  sums.of_columns[blockIdx.y * a.n + j] = sum;
}

__global__ void __launch_bounds__(kSumThreads)
    sum_rows(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.y];
  const Sums sums = each[blockIdx.y];
  const int64_t i = blockIdx.x;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < a.n; j += kSumThreads) sum += a.square(i, j);
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) sums.of_rows[i] = sum;
}

__global__ void __launch_bounds__(kSumThreads)
    move_columns(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.y];
  const Sums sums = each[blockIdx.y];
  const int64_t j = blockIdx.x * int64_t{kSumThreads} + threadIdx.x;
  if (j >= a.n || a.state->halt) return;
  double sum = 0;
  for (int64_t chunk = 0; chunk < sums.chunks; ++chunk) sum += sums.of_columns[chunk * a.n + j];
  a.move(a.columns[j], sum / static_cast<double>(a.m));
}

__global__ void __launch_bounds__(kSumThreads)
    move_rows(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.x];
  const Sums sums = each[blockIdx.x];
  if (a.state->halt) return;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < a.m; i += kSumThreads) {
    a.move(a.rows[i], sums.of_rows[i] / static_cast<double>(a.n));
    sum += a.rows[i];
  }
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) *sums.row_mean = sum / static_cast<double>(a.m);
}

__global__ void __launch_bounds__(kSumThreads)
    divide(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.y];
  const Sums sums = each[blockIdx.y];
  const bool halt = a.state->halt;
  const double row_mean = a.rows && !halt ? *sums.row_mean : 1.0;
  double of_u = 0, of_x = 0;
  for_tile(a, [&](int64_t i, int64_t j) {
    float y = 0;
    if (!halt) {
      const float g = a.value(i, j);
      const float share = a.rows ? static_cast<float>(a.rows[i] / row_mean) : 1.0f;
      // The roots, since the product of two small moments would be 0.
      y = g / (sqrtf(share) * sqrtf(a.columns[j]) + a.op.eps);
      of_x += double{g} * g, of_u += double{y} * y;
    }
    a.u[i * a.u_row + j] = y;
  });
  of_u = block_sum<kSumThreads>(of_u);
  __syncthreads();
  of_x = block_sum<kSumThreads>(of_x);
  if (threadIdx.x == 0) sums.of_u[blockIdx.x] = of_u, sums.of_x[blockIdx.x] = of_x;
}

__global__ void __launch_bounds__(kSumThreads)
    rescale(const __grid_constant__ Matrices all, Sums each) {
  const Matrix a = all[blockIdx.y];
  const Sums sums = each[blockIdx.y];
  const double of_u = sum_of_tiles(sums.of_u, sums.tiles);
  __syncthreads();
  const double of_x = sum_of_tiles(sums.of_x, sums.tiles);
  double factor = 1;
  if (a.op.most_rms > 0)
    factor = 1 / max(1.0, sqrt(of_u / static_cast<double>(a.m * a.n)) / a.op.most_rms);
  if (a.op.keep_norm) factor = sqrt(of_x) / (sqrt(of_u) + a.op.eps);
  factor *= a.op.scale;
  if (factor == 1 || a.state->halt) return;
  for_tile(a, [&](int64_t i, int64_t j) { a.u[i * a.u_row + j] *= static_cast<float>(factor); });
}

struct Operands {
  Tensor u, rows, columns, x;
};

/// Of `count` matrices, each of which operands(i) gives.
template <class Of>
void scale(const Device& device, int64_t count, Of operands, const MomentScaling& op) {
  const Operands first = operands(int64_t{0});
  const int64_t m = first.x.dim(0), n = first.x.dim(1);
  if (m * n == 0) return;
  Sums sums;
  sums.chunks = ceil_div(m, kChunk), sums.tiles = ceil_div(m * n, kTile);
  int64_t doubles = 0;
  double* const scratch = reinterpret_cast<double*>(device.scratch);
  const auto take = [&](int64_t size) { return scratch + std::exchange(doubles, doubles + size); };
  sums.row_mean = take(1), sums.of_rows = take(m), sums.of_columns = take(sums.chunks * n);
  sums.of_u = take(sums.tiles), sums.of_x = take(sums.tiles);
  sums.stride = doubles;
  const int64_t room = std::min<int64_t>(Matrices::kMost, device.scratch_bytes / (8 * doubles));
  check(room > 0, "scale_by_moments: scratch is too small");
  Matrices all;
  all.shared = {nullptr, nullptr, nullptr, nullptr, m, n, 0, 0, device.state, op};
  all.shared.x_row = first.x.strides[0], all.shared.u_row = first.u.strides[0];
  for (int64_t begin = 0; begin < count; begin += room) {
    const int64_t here = std::min(room, count - begin);
    for (int64_t i = 0; i < here; ++i) {
      const Operands a = operands(begin + i);
      check(a.u.dim(0) == m && a.u.dim(1) == n && a.columns.numel() == n &&
                (!a.rows || a.rows.numel() == m),
            "scale_by_moments: shapes differ");
      check(a.u.dtype == DType::f32 && a.x.dtype == DType::f32, "scale_by_moments: takes f32");
      all.x[i] = a.x.as<float>(), all.u[i] = a.u.as<float>();
      all.rows[i] = a.rows.as<float>(), all.columns[i] = a.columns.as<float>();
    }
    const auto blocks = static_cast<unsigned>(ceil_div(n, kSumThreads));
    const auto layers = static_cast<unsigned>(here), tiles = static_cast<unsigned>(sums.tiles);
    const dim3 chunks(blocks, static_cast<unsigned>(sums.chunks), layers);
    sum_columns<<<chunks, kSumThreads, 0, device.stream>>>(all, sums);
    move_columns<<<dim3(blocks, layers), kSumThreads, 0, device.stream>>>(all, sums);
    if (first.rows) {
      sum_rows<<<dim3(static_cast<unsigned>(m), layers), kSumThreads, 0, device.stream>>>(all,
                                                                                          sums);
      move_rows<<<layers, kSumThreads, 0, device.stream>>>(all, sums);
    }
    divide<<<dim3(tiles, layers), kSumThreads, 0, device.stream>>>(all, sums);
    if (op.most_rms > 0 || op.keep_norm || op.scale != 1)
      rescale<<<dim3(tiles, layers), kSumThreads, 0, device.stream>>>(all, sums);
  }
  check_launch("scale_by_moments");
}

}  // namespace

void scale_by_moments(const Device& device, Tensor u, Tensor rows, Tensor columns, Tensor x,
                      const MomentScaling& op) {
  scale(
      device, 1,
      [&](int64_t) {
        return Operands{u, rows, columns, x};
      },
      op);
}

void scale_each_by_moments(const Device& device, Tensor u, std::span<const UpdateTarget> targets,
                           const MomentScaling& op) {
  check(u.rank == 3 && u.contiguous() && u.dim(0) == static_cast<int64_t>(targets.size()),
        "scale_each_by_moments: u is (n, M, N), of as many matrices as there are targets");
  if (u.numel() == 0) return;
  const auto operands = [&](int64_t i) {
    const Tensor matrix = u.rows(i, i + 1).reshape({u.dim(1), u.dim(2)});
    return Operands{matrix, Tensor{}, targets[static_cast<size_t>(i)].state1, matrix};
  };
  scale(device, u.dim(0), operands, op);
}

}  // namespace strobe::cuda
