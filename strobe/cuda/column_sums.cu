// Bias gradients, and the second stage of every column sum.
//
// A block of 8 warps takes 256 columns of a piece of rows: a thread adds 8 columns of every eighth
// row, the warps' sums are added in order, and a second kernel adds the pieces in order.
// Traffic: dy once, and pieces * columns * 4 bytes of partial sums, which stay in L2.
#include "strobe/cuda/column_sums.h"

#include "strobe/cuda/elementwise.h"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kWarps = 8;

__device__ float factor_of(const RowFactors& f, int64_t row) {
  if (f.ids) return f.ids[row] == f.id ? 1.0f : 0.0f;
  return f.factors ? f.factors[row] : 1.0f;
}

template <class T>
__global__ void __launch_bounds__(kWarps* kWarp)
    sum_pieces(float* partial, const T* x, RowFactors factors, int64_t rows, int64_t columns,
               int64_t piece_rows, bool whole) {
  __shared__ float sums[kWarps][kColumnTile];
  const int64_t column = blockIdx.x * int64_t{kColumnTile} + lane_id() * kLanes;
  const int64_t begin = blockIdx.y * piece_rows;
  const int64_t end = min(rows, begin + piece_rows);
  Floats total{};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = begin + warp_id(); row < end; row += kWarps) {
      const Floats at = load_some(x + row * columns + column, columns - column, whole);
      const float factor = factor_of(factors, row);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) total[j] = fmaf(factor, at[j], total[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < kLanes; ++j) sums[warp_id()][lane_id() * kLanes + j] = total[j];
  __syncthreads();
  const int64_t mine = blockIdx.x * int64_t{kColumnTile} + threadIdx.x;
  if (mine >= columns) return;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += sums[i][threadIdx.x];
  partial[blockIdx.y * columns + mine] = sum;
}

constexpr int kAdders = 32;  // warps that share the pieces of 32 columns

__global__ void __launch_bounds__(kAdders* kWarp)
    add_pieces(SumTargets to, const float* partial, int64_t pieces, int64_t columns,
               int64_t width) {
  __shared__ float sums[kAdders][kWarp];
  const int64_t column = blockIdx.x * int64_t{kWarp} + lane_id(), row = column / columns;
  // Sums that nobody asks for may not have been written.
  float* const sums_of = column >= width ? nullptr
                         : row == 0      ? to.row[0]
                         : row == 1      ? to.row[1]
                                         : to.row[2];
  float sum = 0;
  if (sums_of) {
#pragma unroll 8
    for (int64_t piece = warp_id(); piece < pieces; piece += kAdders)
      sum += partial[piece * width + column];
  }
  sums[warp_id()][lane_id()] = sum;
  __syncthreads();
  if (warp_id() > 0 || !sums_of) return;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kAdders; ++i) total += sums[i][lane_id()];
  sums_of[column - row * columns] += total;
}

}  // namespace

void add_column_sums(const Device& device, const SumTargets& to, int rows, const float* partial,
                     int64_t pieces, int64_t columns) {
  const int64_t width = rows * columns;
  add_pieces<<<ceil_div(width, kWarp), kAdders * kWarp, 0, device.stream>>>(to, partial, pieces,
                                                                            columns, width);
  check_launch("column sums");
}

int64_t column_sums_bytes(int64_t rows, int64_t columns) {
  return column_sum_plan(rows, columns).pieces * columns * 4;
}

void column_sums(const Device& device, Tensor to, Tensor x, RowFactors factors, char* scratch) {
  const int64_t rows = x.dim(0), columns = x.dim(1);
  const ColumnSumPlan plan = column_sum_plan(rows, columns);
  float* partial = reinterpret_cast<float*>(scratch);
  const dim3 grid(ceil_div(columns, kColumnTile), plan.pieces);
  with_storage(x.dtype, [&](auto storage) {
    using T = decltype(storage);
    sum_pieces<T><<<grid, kWarps * kWarp, 0, device.stream>>>(
        partial, x.as<T>(), factors, rows, columns, plan.rows,
        columns % kLanes == 0 && aligned(x.data));
  });
  check_launch("column sums");
  add_column_sums(device, {{to.as<float>()}}, 1, partial, plan.pieces, columns);
}

void bias_backward(const Device& device, Tensor dbias, Tensor dy) {
  check(dbias.numel() == dy.dim(1) && dbias.dtype == DType::f32, "bias_backward: wrong dbias");
  if (dy.numel() == 0) return;
  check(column_sums_bytes(dy.dim(0), dy.dim(1)) <= device.scratch_bytes,
        "bias_backward: scratch is too small");
  column_sums(device, dbias, dy, {}, device.scratch);
}

}  // namespace strobe::cuda
