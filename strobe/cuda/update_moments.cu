// A matrix divided by the roots of its second moments, kept by rows and columns: what Adafactor
// (Shazeer & Stern 2018, arXiv:1804.04235) and NorMuon (Li et al. 2025, arXiv:2510.05491) add to a
// gradient and to Muon. The meaning is ops/backend.h's.
//
// Squares are summed over chunks of a column, and over rows, then the moments move, then the result
// is written with the sums of its squares, tile by tile, and scaled where a norm asks for it.
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

// Doubles in scratch: the rows' mean, their sums, the columns' by chunks, the tiles' squares.
struct Sums {
  double *row_mean, *of_rows, *of_columns, *of_u, *of_x;
  int64_t chunks, tiles;
};

__global__ void __launch_bounds__(kSumThreads) sum_columns(Matrix a, Sums sums) {
  const int64_t j = blockIdx.x * int64_t{kSumThreads} + threadIdx.x;
  if (j >= a.n || a.state->halt) return;
  const int64_t begin = blockIdx.y * int64_t{kChunk}, end = min(a.m, begin + kChunk);
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += a.square(i, j);
  sums.of_columns[blockIdx.y * a.n + j] = sum;
}

__global__ void __launch_bounds__(kSumThreads) sum_rows(Matrix a, Sums sums) {
  const int64_t i = blockIdx.x;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < a.n; j += kSumThreads) sum += a.square(i, j);
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) sums.of_rows[i] = sum;
}

__global__ void __launch_bounds__(kSumThreads) move_columns(Matrix a, Sums sums) {
  const int64_t j = blockIdx.x * int64_t{kSumThreads} + threadIdx.x;
  if (j >= a.n || a.state->halt) return;
  double sum = 0;
  for (int64_t chunk = 0; chunk < sums.chunks; ++chunk) sum += sums.of_columns[chunk * a.n + j];
  a.move(a.columns[j], sum / static_cast<double>(a.m));
}

__global__ void __launch_bounds__(kSumThreads) move_rows(Matrix a, Sums sums) {
  if (a.state->halt) return;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < a.m; i += kSumThreads) {
    a.move(a.rows[i], sums.of_rows[i] / static_cast<double>(a.n));
    sum += a.rows[i];
  }
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) *sums.row_mean = sum / static_cast<double>(a.m);
}

__global__ void __launch_bounds__(kSumThreads) divide(Matrix a, Sums sums) {
  const int64_t begin = blockIdx.x * int64_t{kTile}, end = min(a.m * a.n, begin + kTile);
  double of_u = 0, of_x = 0;
  for (int64_t at = begin + threadIdx.x; at < end; at += kSumThreads) {
    const int64_t i = at / a.n, j = at - i * a.n;
    float y = 0;
    if (!a.state->halt) {
      const float g = a.value(i, j);
      const float share = a.rows ? static_cast<float>(a.rows[i] / *sums.row_mean) : 1.0f;
      y = g / (sqrtf(share * a.columns[j]) + a.op.eps);
      of_x += double{g} * g, of_u += double{y} * y;
    }
    a.u[i * a.u_row + j] = y;
  }
  of_u = block_sum<kSumThreads>(of_u);
  __syncthreads();
  of_x = block_sum<kSumThreads>(of_x);
  if (threadIdx.x == 0) sums.of_u[blockIdx.x] = of_u, sums.of_x[blockIdx.x] = of_x;
}

__global__ void __launch_bounds__(kSumThreads) rescale(Matrix a, Sums sums) {
  const double of_u = sum_of_tiles(sums.of_u, sums.tiles);
  __syncthreads();
  const double of_x = sum_of_tiles(sums.of_x, sums.tiles);
  double factor = 1;
  if (a.op.most_rms > 0)
    factor = 1 / max(1.0, sqrt(of_u / static_cast<double>(a.m * a.n)) / a.op.most_rms);
  if (a.op.keep_norm) factor = sqrt(of_x) / (sqrt(of_u) + a.op.eps);
  if (factor == 1 || a.state->halt) return;
  const int64_t begin = blockIdx.x * int64_t{kTile}, end = min(a.m * a.n, begin + kTile);
  for (int64_t at = begin + threadIdx.x; at < end; at += kSumThreads) {
    const int64_t i = at / a.n, j = at - i * a.n;
    a.u[i * a.u_row + j] *= static_cast<float>(factor);
  }
}

}  // namespace

void scale_by_moments(const Device& device, Tensor u, Tensor rows, Tensor columns, Tensor x,
                      const MomentScaling& op) {
  const int64_t m = x.dim(0), n = x.dim(1);
  check(u.dim(0) == m && u.dim(1) == n && columns.numel() == n && (!rows || rows.numel() == m),
        "scale_by_moments: shapes differ");
  check(u.dtype == DType::f32 && x.dtype == DType::f32, "scale_by_moments: takes f32");
  if (m * n == 0) return;
  const Matrix a = {x.as<float>(),
                    u.as<float>(),
                    rows.as<float>(),
                    columns.as<float>(),
                    m,
                    n,
                    x.strides[0],
                    u.strides[0],
                    device.state,
                    op};
  Sums sums;
  sums.chunks = ceil_div(m, kChunk), sums.tiles = ceil_div(m * n, kTile);
  double* next = reinterpret_cast<double*>(device.scratch);
  const auto take = [&](int64_t count) { return std::exchange(next, next + count); };
  sums.row_mean = take(1), sums.of_rows = take(m), sums.of_columns = take(sums.chunks * n);
  sums.of_u = take(sums.tiles), sums.of_x = take(sums.tiles);
  check(reinterpret_cast<char*>(next) - device.scratch <= device.scratch_bytes,
        "scale_by_moments: scratch is too small");
  const dim3 column_blocks(ceil_div(n, kSumThreads), sums.chunks);
  sum_columns<<<column_blocks, kSumThreads, 0, device.stream>>>(a, sums);
  move_columns<<<column_blocks.x, kSumThreads, 0, device.stream>>>(a, sums);
  if (rows) {
    sum_rows<<<m, kSumThreads, 0, device.stream>>>(a, sums);
    move_rows<<<1, kSumThreads, 0, device.stream>>>(a, sums);
  }
  divide<<<sums.tiles, kSumThreads, 0, device.stream>>>(a, sums);
  if (op.most_rms > 0 || op.keep_norm)
    rescale<<<sums.tiles, kSumThreads, 0, device.stream>>>(a, sums);
  check_launch("scale_by_moments");
}

}  // namespace strobe::cuda
